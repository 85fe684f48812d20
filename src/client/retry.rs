//! The delay before the next attempt: exponential back-off with full jitter.
//!
//! Must not read a clock or draw random numbers: both are arguments. Times are in milliseconds.

/// The first delay is at most this long; each failure doubles the maximum.
const BASE_MS: u64 = 1_000;

/// Counts failures and returns the delay after each.
#[derive(Clone, Debug)]
pub struct Retry {
    cap_ms: u64,
    failures: u32,
}

impl Retry {
    /// No failure yet. No delay is longer than `cap_ms`.
    pub fn new(cap_ms: u64) -> Self {
        Self { cap_ms, failures: 0 }
    }

    /// Counts a failure and returns the delay after it: random, up to a maximum that starts at one second and doubles with
    /// each failure. So many agents that lost the same server do not reconnect at the same time.
    pub fn failed(&mut self, random: u64) -> u64 {
        let doubled = BASE_MS.checked_shl(self.failures.min(32)).unwrap_or(u64::MAX);
        self.failures = self.failures.saturating_add(1);
        random % (doubled.min(self.cap_ms) + 1)
    }

    /// Counts a refusal and returns the delay after it: random, between half the cap and the cap. A refusal usually lasts
    /// until an operator corrects a key or a licence.
    pub fn refused(&mut self, random: u64) -> u64 {
        self.failures = self.failures.saturating_add(1);
        self.cap_ms - random % (self.cap_ms / 2 + 1)
    }

    /// Forgets all failures, so that the next delay is short again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Limits how often something is done: at once if the last time was long ago, otherwise after a growing delay.
#[derive(Clone, Debug)]
pub struct Throttle {
    retry: Retry,
    last_ms: Option<u64>,
}

impl Throttle {
    /// No delay is longer than `cap_ms`. "Long ago" means at least twice `cap_ms`.
    pub fn new(cap_ms: u64) -> Self {
        Self { retry: Retry::new(cap_ms), last_ms: None }
    }

    /// The time at which something that is requested at `now_ms` may be done.
    pub fn next_ms(&mut self, now_ms: u64, random: u64) -> u64 {
        let quiet_ms = self.last_ms.map(|last_ms| now_ms.saturating_sub(last_ms));
        let delay_ms = match quiet_ms {
            Some(quiet_ms) if quiet_ms < 2 * self.retry.cap_ms => self.retry.failed(random),
            _ => {
                self.retry.reset();
                0
            }
        };
        let at_ms = now_ms + delay_ms;
        self.last_ms = Some(at_ms);
        at_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_delay_doubles_up_to_the_cap_and_starts_again_after_a_reset() {
        let mut retry = Retry::new(60_000);
        let spans: Vec<u64> = (0..8)
            .map(|failures| {
                let span = (1_000u64 << failures).min(60_000);
                assert_eq!(retry.clone().failed(span + 1), 0, "a full turn of the span");
                assert_eq!(retry.failed(span), span);
                span
            })
            .collect();
        assert_eq!(spans, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        retry.reset();
        assert_eq!(retry.failed(1_000), 1_000);
    }

    #[test]
    fn a_throttle_delays_only_what_follows_soon() {
        let mut throttle = Throttle::new(60_000);
        assert_eq!(throttle.next_ms(5, 999), 5);
        assert_eq!(throttle.next_ms(10, 999), 1_009);
        assert_eq!(throttle.next_ms(1_010, 1_999), 3_009);
        assert_eq!(throttle.next_ms(3_009 + 120_000, 999), 123_009);
    }

    proptest! {
        #[test]
        fn no_delay_is_beyond_the_cap(cap_ms in 1u64..100_000, randoms in prop::collection::vec(any::<u64>(), 1..60)) {
            let (mut failing, mut refused) = (Retry::new(cap_ms), Retry::new(cap_ms));
            for random in randoms {
                prop_assert!(failing.failed(random) <= cap_ms);
                let delay_ms = refused.refused(random);
                prop_assert!(delay_ms <= cap_ms && delay_ms >= cap_ms - cap_ms / 2);
            }
        }
    }
}
