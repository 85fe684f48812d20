//! Why the agent closes a WebSocket: the close code and text for the peer, and the label in metrics.

use crate::protocol::close::{CloseCode, REFUSED_REASON};
use crate::telemetry::metrics::Closed;
use crate::wire::ws::reader::Violation;

/// Why the agent closes a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// Access is refused. The SDK never reconnects.
    Refused,
    /// Its secret was removed. The SDK never reconnects.
    Revoked,
    /// Its secret now opens another environment. The SDK reconnects and gets that one.
    OtherEnvironment,
    /// The time in its token is too far from this machine's clock.
    ClockMismatch,
    /// Its secret or token could not be judged in time; the text says why.
    Undecided(&'static str),
    /// The agent cannot build the full sync for a downstream agent now.
    Busy,
    /// It has been silent for too long.
    Silent,
    /// Memory is short, and it uses much of it.
    Memory,
    /// The agent shuts down.
    Shutdown,
    /// It violated the protocol, or its message is too long.
    Violation(Violation),
}

impl CloseReason {
    /// The code of the close frame.
    pub fn code(self) -> CloseCode {
        match self {
            CloseReason::Refused | CloseReason::Revoked => CloseCode::REFUSED,
            CloseReason::OtherEnvironment | CloseReason::Silent | CloseReason::Shutdown => {
                CloseCode::GOING_AWAY
            }
            CloseReason::ClockMismatch => CloseCode::POLICY,
            CloseReason::Undecided(_) | CloseReason::Busy => CloseCode::INTERNAL_ERROR,
            CloseReason::Memory => CloseCode::TRY_AGAIN_LATER,
            CloseReason::Violation(violation) => violation.code,
        }
    }

    /// The text of the close frame.
    pub fn text(self) -> &'static str {
        match self {
            CloseReason::Refused | CloseReason::Revoked => REFUSED_REASON,
            CloseReason::OtherEnvironment => "the secret opens another environment now",
            CloseReason::ClockMismatch => "the token is out of time: check the clock",
            CloseReason::Undecided(text) => text,
            CloseReason::Busy => "too much to do, try again",
            CloseReason::Silent => "silent for too long",
            CloseReason::Memory => "memory for output is short, try again later",
            CloseReason::Shutdown => "the agent is shutting down",
            CloseReason::Violation(violation) => violation.reason,
        }
    }

    /// Its label in metrics.
    pub fn label(self) -> Closed {
        match self {
            CloseReason::Refused => Closed::Refused,
            CloseReason::Revoked | CloseReason::OtherEnvironment => Closed::Revoked,
            CloseReason::ClockMismatch => Closed::Expired,
            CloseReason::Undecided(_) | CloseReason::Busy => Closed::Undecided,
            CloseReason::Silent => Closed::Limit,
            CloseReason::Memory => Closed::Memory,
            CloseReason::Shutdown => Closed::Shutdown,
            CloseReason::Violation(violation) if violation.code == CloseCode::TOO_BIG => Closed::Limit,
            CloseReason::Violation(_) => Closed::Protocol,
        }
    }

    /// Whether an SDK never reconnects after this close.
    pub fn is_final(self) -> bool {
        self.code() == CloseCode::REFUSED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refusals_are_final() {
        let violation = Violation { code: CloseCode::PROTOCOL_ERROR, reason: "a frame without a mask" };
        let others = [
            CloseReason::OtherEnvironment,
            CloseReason::ClockMismatch,
            CloseReason::Undecided("later"),
            CloseReason::Busy,
            CloseReason::Silent,
            CloseReason::Memory,
            CloseReason::Shutdown,
            CloseReason::Violation(violation),
        ];
        assert!(others.iter().all(|reason| !reason.is_final()));
        assert!(CloseReason::Refused.is_final() && CloseReason::Revoked.is_final());
    }

    #[test]
    fn a_message_that_is_too_long_counts_as_a_limit_and_other_violations_as_the_protocol() {
        let violation = |code| CloseReason::Violation(Violation { code, reason: "" });
        assert_eq!(violation(CloseCode::TOO_BIG).label(), Closed::Limit);
        assert_eq!(violation(CloseCode::INVALID_DATA).label(), Closed::Protocol);
    }
}
