//! One gate for all streams: while no connection to the server is possible they wait together, and one of them probes.
//!
//! Must not read a clock or draw random numbers. Times are in milliseconds of a clock that only rises.

use crate::insights::queue::StreamKey;

use super::breaker::{Breaker, BreakerState, Failure};
use super::outcome::Outcome;

/// The gate.
#[derive(Clone, Debug)]
pub struct ServerGate {
    breaker: Breaker,
    /// The stream that probes.
    probe: Option<StreamKey>,
    reason: Option<String>,
}

impl ServerGate {
    /// Open. No delay is longer than `retry_cap_ms`.
    pub fn new(retry_cap_ms: u64) -> Self {
        Self { breaker: Breaker::new(retry_cap_ms), probe: None, reason: None }
    }

    /// Whether a request of any stream may begin.
    pub fn may_send(&self, now_ms: u64) -> bool {
        self.breaker.may_send(now_ms)
    }

    /// When a request may begin; `None` while one probes.
    pub fn next_at_ms(&self) -> Option<u64> {
        self.breaker.next_at_ms()
    }

    /// A request of this stream begins.
    pub fn begun(&mut self, stream: StreamKey) {
        self.breaker.begun();
        if self.breaker.state() == BreakerState::HalfOpen {
            self.probe = Some(stream);
        }
    }

    /// A request of this stream has ended.
    pub fn ended(&mut self, stream: StreamKey, outcome: &Outcome, now_ms: u64, random: u64) {
        let was_probe = self.probe == Some(stream);
        if was_probe {
            self.probe = None;
        }
        if outcome.is_abandoned() {
            if was_probe {
                self.breaker.undecided(now_ms);
            }
        } else if !outcome.is_no_connection() {
            // There was a connection, and be it of a request that began before the gate closed.
            self.breaker.succeeded();
            self.probe = None;
            self.reason = None;
        } else if was_probe || self.breaker.state() == BreakerState::Closed {
            // Those that were under way when the gate closed fail for the same reason: that counts once.
            self.breaker.failed(Failure::Failed, now_ms, random);
            self.reason = Some(outcome.to_string());
        }
    }

    /// The state, for status and metrics.
    pub fn state(&self) -> BreakerState {
        self.breaker.state()
    }

    /// Why no connection is possible, without addresses; `None` while it is, as far as known.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insights::sender::tests::{no_connection, stream};

    #[test]
    fn without_a_connection_all_wait_and_one_probes() {
        let (one, two) = (stream(1), stream(2));
        let mut gate = ServerGate::new(60_000);
        gate.begun(one);
        gate.begun(two);
        assert!(gate.may_send(0));
        gate.ended(one, &no_connection(), 10, 500);
        assert!(!gate.may_send(509) && gate.may_send(510));
        assert_eq!(gate.reason(), Some("no connection (connect)"));
        // It was under way already: no second failure.
        gate.ended(two, &no_connection(), 400, 999);
        assert_eq!(gate.next_at_ms(), Some(510));
        gate.begun(two);
        assert!(!gate.may_send(u64::MAX) && gate.next_at_ms().is_none());
        gate.ended(two, &no_connection(), 1_000, 1_999);
        assert_eq!(gate.next_at_ms(), Some(2_999));
        gate.begun(one);
        gate.ended(one, &Outcome::Rejected { status: 400 }, 4_000, 0);
        assert_eq!((gate.state(), gate.reason()), (BreakerState::Closed, None));
    }

    #[test]
    fn one_that_began_before_and_finds_a_connection_opens_the_gate_for_all() {
        let (one, two) = (stream(1), stream(2));
        let mut gate = ServerGate::new(60_000);
        gate.begun(one);
        gate.begun(two);
        gate.ended(one, &no_connection(), 0, 1_000);
        gate.ended(two, &Outcome::Taken, 1, 0);
        assert!(gate.may_send(1));
    }

    #[test]
    fn a_probe_that_is_abandoned_says_nothing() {
        use super::super::outcome::Fault;
        let mut gate = ServerGate::new(60_000);
        gate.begun(stream(1));
        gate.ended(stream(1), &no_connection(), 0, 1_000);
        gate.begun(stream(2));
        gate.ended(stream(2), &Outcome::Again(Fault::Abandoned), 1_500, 0);
        assert!(gate.may_send(1_500) && gate.reason().is_some());
    }
}
