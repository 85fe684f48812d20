//! The delay between attempts: doubles with each failure, with jitter.
//!
//! Must not read a clock: it only counts.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Counts failures in a row.
#[derive(Debug)]
pub(super) struct BackOff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl BackOff {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, failures: 0 }
    }

    /// Counts a failure. Returns the delay after it: between half of the present span and all of it.
    pub(super) fn failed(&mut self) -> Duration {
        let span = self.min.saturating_mul(1 << self.failures.min(20)).min(self.max);
        self.failures += 1;
        let random = RandomState::new().hash_one(self.failures) % 1024;
        span / 2 + span / 2 * random as u32 / 1024
    }

    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_the_longest_and_starts_again() {
        let mut back_off = BackOff::new(Duration::from_secs(1), Duration::from_secs(60));
        for span in [1, 2, 4, 8, 16, 32, 60, 60, 60].map(Duration::from_secs) {
            let delay = back_off.failed();
            assert!(delay >= span / 2 && delay <= span, "{delay:?} of {span:?}");
        }
        back_off.reset();
        assert!(back_off.failed() <= Duration::from_secs(1));
    }
}
