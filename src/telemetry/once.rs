//! Rate limits for log lines that peers can cause: one per interval, with the number of suppressed ones.
//!
//! Must not read a clock: the time is an argument.

use std::hash::{BuildHasher, Hash};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The number of events suppressed since the last one that passed. As a field of a log line it is left out if it is 0.
pub type Others = Option<NonZeroU64>;

/// Lets one event through per interval.
#[derive(Debug)]
pub struct RateLimit {
    interval_ms: u64,
    /// When the next one may pass; 0 before the first.
    next_ms: AtomicU64,
    suppressed: AtomicU64,
}

impl RateLimit {
    /// One event each `interval_ms`.
    pub const fn new(interval_ms: u64) -> Self {
        Self { interval_ms, next_ms: AtomicU64::new(0), suppressed: AtomicU64::new(0) }
    }

    /// Whether an event at `now_ms` passes: `Some` with the number of suppressed events since the last one that passed. Of
    /// several threads at the same moment, one passes. After the clock was set back, one passes and a new interval begins.
    pub fn allow(&self, now_ms: u64) -> Option<Others> {
        if self.is_due(now_ms) {
            return Some(NonZeroU64::new(self.suppressed.swap(0, Relaxed)));
        }
        self.suppressed.fetch_add(1, Relaxed);
        None
    }

    /// Whether `events` at `now_ms` are to be reported: `Some` with the number of events since the last report, these
    /// included.
    pub fn count(&self, events: u64, now_ms: u64) -> Option<u64> {
        self.suppressed.fetch_add(events, Relaxed);
        self.is_due(now_ms).then(|| self.suppressed.swap(0, Relaxed))
    }

    /// Whether one could pass now.
    fn would_pass(&self, now_ms: u64) -> bool {
        self.is_over(self.next_ms.load(Relaxed), now_ms)
    }

    fn is_over(&self, next_ms: u64, now_ms: u64) -> bool {
        now_ms >= next_ms || next_ms - now_ms > self.interval_ms
    }

    /// Whether one may pass. If so, a new interval begins.
    fn is_due(&self, now_ms: u64) -> bool {
        let next_ms = self.next_ms.load(Relaxed);
        let new_next_ms = now_ms.saturating_add(self.interval_ms);
        self.is_over(next_ms, now_ms)
            && self.next_ms.compare_exchange(next_ms, new_next_ms, Relaxed, Relaxed).is_ok()
    }
}

/// Places that are tried for a key.
const TRIES: usize = 8;

/// Lets one event through per key and interval, in fixed memory. Keys share a limit only while all places that are tried
/// for them are in use.
#[derive(Debug)]
pub struct RateLimits {
    places: Box<[Place]>,
    hash: std::hash::RandomState,
}

#[derive(Debug)]
struct Place {
    /// The hash of the key whose limit this is; 0 before the first.
    key: AtomicU64,
    limit: RateLimit,
}

impl RateLimits {
    /// One event each `interval_ms` for each key, with `places` for them.
    pub fn new(interval_ms: u64, places: usize) -> Self {
        let place = || Place { key: AtomicU64::new(0), limit: RateLimit::new(interval_ms) };
        Self { places: (0..places.max(1)).map(|_| place()).collect(), hash: std::hash::RandomState::new() }
    }

    /// As [`RateLimit::allow`], for `key`.
    pub fn allow(&self, key: impl Hash, now_ms: u64) -> Option<Others> {
        let hash = self.hash.hash_one(key).max(1);
        let count = self.places.len();
        let first = (hash % count as u64) as usize;
        let tried = || (0..TRIES.min(count)).map(|step| &self.places[(first + step) % count]);
        let own = tried().find(|place| place.key.load(Relaxed) == hash);
        let own = own.or_else(|| tried().find(|place| place.claim(hash, now_ms)));
        own.unwrap_or(&self.places[first]).limit.allow(now_ms)
    }
}

impl Place {
    /// Makes this the place of another key, unless the interval of the key before is not over. Of several threads with
    /// one key, all get the same place.
    fn claim(&self, hash: u64, now_ms: u64) -> bool {
        let before = self.key.load(Relaxed);
        if before != hash && !self.limit.would_pass(now_ms) {
            return false;
        }
        match self.key.compare_exchange(before, hash, Relaxed, Relaxed) {
            Ok(_) if before == hash => true,
            Ok(_) => {
                self.limit.suppressed.store(0, Relaxed);
                true
            }
            Err(now) => now == hash,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_passes_per_interval_and_tells_how_many_did_not() {
        let limit = RateLimit::new(1000);
        assert_eq!(limit.allow(0), Some(None));
        assert_eq!(limit.allow(1), None);
        assert_eq!(limit.allow(999), None);
        assert_eq!(limit.allow(1000), Some(NonZeroU64::new(2)));
        assert_eq!(limit.allow(1001), None);
        assert_eq!(limit.allow(5000), Some(NonZeroU64::new(1)));
    }

    #[test]
    fn events_are_told_with_their_number_once_per_interval() {
        let limit = RateLimit::new(1000);
        assert_eq!(limit.count(3, 0), Some(3));
        assert_eq!(limit.count(4, 1), None);
        assert_eq!(limit.count(5, 999), None);
        assert_eq!(limit.count(6, 1000), Some(15));
        assert_eq!(limit.count(1, 2000), Some(1));
    }

    #[test]
    fn a_clock_set_back_does_not_silence_it() {
        let limit = RateLimit::new(1000);
        assert_eq!(limit.allow(1_000_000), Some(None));
        assert_eq!(limit.allow(5), Some(None));
        assert_eq!(limit.allow(6), None);
    }

    #[test]
    fn of_many_threads_one_passes() {
        let limit = RateLimit::new(1000);
        let passed: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..1000).filter(|_| limit.allow(7).is_some()).count()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 1);
        assert_eq!(limit.allow(2000), Some(NonZeroU64::new(3999)));
    }

    #[test]
    fn keys_have_their_own_limits_within_fixed_memory() {
        let limits = RateLimits::new(1000, 1024);
        assert_eq!((0..8).filter(|key| limits.allow(key, 0).is_some()).count(), 8);
        assert_eq!((0..8).filter(|key| limits.allow(key, 1).is_some()).count(), 0);
        // The number of those held back is each key's own.
        assert_eq!(limits.allow(0, 1000), Some(NonZeroU64::new(1)));
        let one_place = RateLimits::new(1000, 0);
        assert!(one_place.allow("a", 0).is_some());
        assert!(one_place.allow("b", 0).is_none());
    }

    /// What went wrong: five refusals of different kinds had 64 places, in one case of seven two of them had the same
    /// one, and the second was not logged for a minute.
    #[test]
    fn a_few_keys_shared_a_place_and_one_of_them_was_not_logged() {
        for _ in 0..200 {
            let limits = RateLimits::new(1000, 64);
            assert!((0..TRIES).all(|key| limits.allow(key, 0).is_some()));
        }
    }

    #[test]
    fn a_place_is_used_again_when_its_interval_is_over() {
        let limits = RateLimits::new(1000, 2);
        let passed = |now_ms: u64, keys: std::ops::Range<u64>| {
            keys.filter(|key| limits.allow(key, now_ms).is_some()).count()
        };
        assert_eq!(passed(0, 0..4), 2);
        assert_eq!(passed(1000, 4..8), 2);
    }
}
