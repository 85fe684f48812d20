//! Why the agent closes a WebSocket: the close code and the text that the peer gets, and the label in metrics.

use crate::protocol::close::{CloseCode, REFUSED_REASON};
use crate::telemetry::metrics::Closed;
use crate::wire::ws::reader::Violation;

/// Why the agent closes a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// It may not come in. Its SDK never comes back.
    Refused,
    /// Its secret is gone. Its SDK never comes back.
    Revoked,
    /// Its secret opens another environment now: it is let in there when it comes back.
    OtherEnvironment,
    /// Its token is out of time.
    TokenOutOfTime,
    /// What it showed could not be judged in time, as the text says.
    Undecided(&'static str),
    /// The data for a downstream agent cannot be put together now.
    Busy,
    /// It has been silent for too long.
    Silent,
    /// Memory is short, and it holds much of it.
    Memory,
    /// The agent ends.
    Shutdown,
    /// It broke the protocol, or its message is too long.
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
            CloseReason::TokenOutOfTime => CloseCode::POLICY,
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
            CloseReason::TokenOutOfTime => "the token is out of time: check the clock",
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
            CloseReason::TokenOutOfTime => Closed::Expired,
            CloseReason::Undecided(_) | CloseReason::Busy => Closed::Undecided,
            CloseReason::Silent => Closed::Limit,
            CloseReason::Memory => Closed::Memory,
            CloseReason::Shutdown => Closed::Shutdown,
            CloseReason::Violation(violation) if violation.code == CloseCode::TOO_BIG => Closed::Limit,
            CloseReason::Violation(_) => Closed::Protocol,
        }
    }

    /// Whether an SDK that is closed for this never comes back.
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
            CloseReason::TokenOutOfTime,
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
