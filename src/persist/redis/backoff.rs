//! How long to wait before the next attempt.
//!
//! Must not read a clock or draw random numbers.

use std::time::Duration;

/// At least this long if Redis refuses: every attempt is logged there, and some servers lock users out.
const REFUSED: Duration = Duration::from_secs(5);

/// Counts failures in a row.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: Duration,
    last: Duration,
    failures: u32,
}

impl Backoff {
    /// From `first`, doubling to `last`.
    pub fn new(first: Duration, last: Duration) -> Self {
        Self { first, last, failures: 0 }
    }

    /// Counts a failure and returns the pause after it: between half of a span and the span, so that many agents do not
    /// come back at one moment.
    pub fn failed(&mut self, refused: bool, random: u64) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        let span = doubled.min(self.last);
        let span = if refused { span.max(REFUSED.min(self.last) * 2) } else { span };
        let half_us = u64::try_from(span.as_micros() / 2).unwrap_or(u64::MAX);
        Duration::from_micros(half_us.saturating_add(random % half_us.saturating_add(1).max(1)))
    }

    /// It works again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::Backoff;
    use std::time::Duration;

    #[test]
    fn the_pause_doubles_and_a_refusal_waits_longer() {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let spans: Vec<_> = (0..9).map(|_| backoff.failed(false, 0).as_millis()).collect();
        assert_eq!(spans, [250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
        backoff.reset();
        assert_eq!(backoff.failed(true, 0), Duration::from_secs(5));
        for random in [0, 1, u64::MAX / 2, u64::MAX] {
            let pause = backoff.failed(true, random);
            assert!((Duration::from_secs(5)..=Duration::from_secs(30)).contains(&pause), "{pause:?}");
        }
        for _ in 0..100 {
            assert!(backoff.failed(false, u64::MAX) <= Duration::from_secs(30));
        }
    }
}
