//! How long to wait before something is tried again: exponential back-off with full jitter.
//!
//! Must not read a clock or a source of chance: both are arguments.

/// The first delay is drawn from this span; each failure doubles it.
const BASE_MS: u64 = 1_000;

/// Counts failures and draws delays.
#[derive(Clone, Debug)]
pub(super) struct Retry {
    cap_ms: u64,
    failures: u32,
}

impl Retry {
    /// Delays of up to `cap_ms`.
    pub fn new(cap_ms: u64) -> Self {
        Self { cap_ms, failures: 0 }
    }

    /// Counts a failure and draws the delay after it: anything from nothing to a second doubled by each failure,
    /// so that many agents that lost one server do not come back together.
    pub fn failed(&mut self, random: u64) -> u64 {
        let doubled = BASE_MS.checked_shl(self.failures.min(32)).unwrap_or(u64::MAX);
        self.failures = self.failures.saturating_add(1);
        random % (doubled.min(self.cap_ms) + 1)
    }

    /// Counts a refusal and draws the delay after it: from half the cap to the cap. It passes only when somebody
    /// mends a key or a licence.
    pub fn refused(&mut self, random: u64) -> u64 {
        self.failures = self.failures.saturating_add(1);
        self.cap_ms - random % (self.cap_ms / 2 + 1)
    }

    /// Forgets the failures.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Lets something be repeated at once if it was long ago, else after a growing delay.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    retry: Retry,
    last_ms: Option<u64>,
}

impl Gate {
    /// Delays of up to `cap_ms`; twice that without a use is long ago.
    pub fn new(cap_ms: u64) -> Self {
        Self { retry: Retry::new(cap_ms), last_ms: None }
    }

    /// When what is wanted at `now_ms` may be done.
    pub fn pass_ms(&mut self, now_ms: u64, random: u64) -> u64 {
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

/// Numbers that look random, of a seed (SplitMix64). Not for secrets.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// The same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_span_doubles_up_to_the_cap_and_begins_anew_after_a_reset() {
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
    fn what_was_long_ago_passes_at_once() {
        let mut gate = Gate::new(60_000);
        assert_eq!(gate.pass_ms(5, 999), 5);
        assert_eq!(gate.pass_ms(10, 999), 1_009);
        assert_eq!(gate.pass_ms(1_010, 1_999), 3_009);
        assert_eq!(gate.pass_ms(3_009 + 120_000, 999), 123_009);
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
