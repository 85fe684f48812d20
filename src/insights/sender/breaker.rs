//! A circuit breaker: after a failure nothing is sent for a time, then one request probes.
//!
//! Must not read a clock or draw random numbers: both are arguments. Times are in milliseconds of a clock that only rises.

use crate::client::retry::Retry;

/// How long the breaker stays open after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A time that grows with each failure.
    Failed,
    /// As `Failed`, and so long in addition, because the server asked for it.
    AskedToWait(u64),
    /// A long time from the first on: it lasts until somebody corrects a setting.
    Refused,
}

/// Whether something may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything may be sent.
    Closed,
    /// Nothing may be sent until this time; then one request.
    Open {
        /// In milliseconds.
        until_ms: u64,
    },
    /// One request is under way, and its outcome decides.
    HalfOpen,
}

impl BreakerState {
    /// The name, for status and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// A circuit breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    retry: Retry,
    state: BreakerState,
}

impl Breaker {
    /// Closed. It is never open for longer than `cap_ms`, unless a server asks for it.
    pub fn new(cap_ms: u64) -> Self {
        Self { retry: Retry::new(cap_ms), state: BreakerState::Closed }
    }

    /// What may be sent.
    pub fn state(&self) -> BreakerState {
        self.state
    }

    /// Whether a request may begin.
    pub fn may_send(&self, now_ms: u64) -> bool {
        match self.state {
            BreakerState::Closed => true,
            BreakerState::Open { until_ms } => now_ms >= until_ms,
            BreakerState::HalfOpen => false,
        }
    }

    /// When a request may begin; `None` if that depends on the outcome of the present one.
    pub fn next_at_ms(&self) -> Option<u64> {
        match self.state {
            BreakerState::Closed => Some(0),
            BreakerState::Open { until_ms } => Some(until_ms),
            BreakerState::HalfOpen => None,
        }
    }

    /// A request begins.
    pub fn begun(&mut self) {
        if matches!(self.state, BreakerState::Open { .. }) {
            self.state = BreakerState::HalfOpen;
        }
    }

    /// The server works.
    pub fn succeeded(&mut self) {
        self.retry.reset();
        self.state = BreakerState::Closed;
    }

    /// The server does not.
    pub fn failed(&mut self, failure: Failure, now_ms: u64, random: u64) {
        let delay_ms = match failure {
            Failure::Failed => self.retry.failed(random),
            // In addition, not instead: those who were told the same time do not come at the same time.
            Failure::AskedToWait(wait_ms) => self.retry.failed(random).saturating_add(wait_ms),
            Failure::Refused => self.retry.refused(random),
        };
        self.state = BreakerState::Open { until_ms: now_ms.saturating_add(delay_ms) };
    }

    /// The request says nothing about what this breaker is for: as if it had not begun.
    pub fn undecided(&mut self, now_ms: u64) {
        if self.state == BreakerState::HalfOpen {
            self.state = BreakerState::Open { until_ms: now_ms };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failure_one_request_probes_and_its_outcome_decides() {
        let mut breaker = Breaker::new(60_000);
        breaker.begun();
        assert!(breaker.may_send(0) && breaker.next_at_ms() == Some(0));
        breaker.failed(Failure::Failed, 10, 700);
        assert_eq!(breaker.state(), BreakerState::Open { until_ms: 710 });
        assert!(!breaker.may_send(709) && breaker.may_send(710));
        breaker.begun();
        assert_eq!(breaker.state().as_str(), "half-open");
        assert!(!breaker.may_send(u64::MAX) && breaker.next_at_ms().is_none());
        breaker.failed(Failure::Failed, 800, 1_999);
        assert_eq!(breaker.next_at_ms(), Some(2_799), "the second delay is from a longer span");
        breaker.begun();
        breaker.undecided(900);
        assert!(breaker.may_send(900));
        breaker.succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
        breaker.failed(Failure::Failed, 0, 1_000);
        assert_eq!(breaker.next_at_ms(), Some(1_000), "the first span again");
    }

    #[test]
    fn a_time_the_server_asks_for_is_kept_and_a_refusal_lasts_from_the_first_on() {
        for random in [0, 1, 12_345, u64::MAX] {
            let mut breaker = Breaker::new(60_000);
            breaker.failed(Failure::AskedToWait(600_000), 5, random);
            let until_ms = breaker.next_at_ms().unwrap();
            assert!((600_005..=601_005).contains(&until_ms), "{until_ms}");
            let mut breaker = Breaker::new(60_000);
            breaker.failed(Failure::Refused, 5, random);
            let until_ms = breaker.next_at_ms().unwrap();
            assert!((30_005..=60_005).contains(&until_ms), "{until_ms}");
        }
    }
}
