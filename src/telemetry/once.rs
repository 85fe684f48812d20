//! Log lines that a peer can cause: said once in a while, with the number of those kept back.
//!
//! Must not read a clock: the time is an argument.

use std::hash::{BuildHasher, Hash};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How many were held back since one was last let through. As a field of a log line it is left out if there were none.
pub type Others = Option<NonZeroU64>;

/// Lets one event through per interval.
#[derive(Debug)]
pub struct RateLimit {
    interval_ms: u64,
    /// When the next one may pass; 0 before the first.
    next_ms: AtomicU64,
    held_back: AtomicU64,
}

impl RateLimit {
    /// One event each `interval_ms`.
    pub const fn new(interval_ms: u64) -> Self {
        Self { interval_ms, next_ms: AtomicU64::new(0), held_back: AtomicU64::new(0) }
    }

    /// Whether an event at `now_ms` passes: `Some` of how many were held back since the last one that did. Of
    /// several threads at the same moment, one passes. A clock that was set back far lets one pass and starts
    /// anew.
    pub fn allow(&self, now_ms: u64) -> Option<Others> {
        if self.is_due(now_ms) {
            return Some(NonZeroU64::new(self.held_back.swap(0, Relaxed)));
        }
        self.held_back.fetch_add(1, Relaxed);
        None
    }

    /// Whether `events` at `now_ms` are to be told: `Some` of how many there were since it was last told, these
    /// included.
    pub fn count(&self, events: u64, now_ms: u64) -> Option<u64> {
        self.held_back.fetch_add(events, Relaxed);
        self.is_due(now_ms).then(|| self.held_back.swap(0, Relaxed))
    }

    /// Whether one may pass; it does then.
    fn is_due(&self, now_ms: u64) -> bool {
        let next_ms = self.next_ms.load(Relaxed);
        let due = now_ms >= next_ms || next_ms - now_ms > self.interval_ms;
        let new_next_ms = now_ms.saturating_add(self.interval_ms);
        due && self.next_ms.compare_exchange(next_ms, new_next_ms, Relaxed, Relaxed).is_ok()
    }
}

/// Lets one event through per key and interval, in fixed memory: two keys that share a place share a limit.
#[derive(Debug)]
pub struct RateLimits {
    places: Box<[RateLimit]>,
    hash: std::hash::RandomState,
}

impl RateLimits {
    /// One event each `interval_ms` for each key, with `places` for them.
    pub fn new(interval_ms: u64, places: usize) -> Self {
        let places = (0..places.max(1)).map(|_| RateLimit::new(interval_ms)).collect();
        Self { places, hash: std::hash::RandomState::new() }
    }

    /// As [`RateLimit::allow`], for `key`.
    pub fn allow(&self, key: impl Hash, now_ms: u64) -> Option<Others> {
        let place = self.hash.hash_one(key) % self.places.len() as u64;
        self.places[place as usize].allow(now_ms)
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
        let passed = (0..8).filter(|key| limits.allow(key, 0).is_some()).count();
        assert!(passed > 1);
        assert_eq!((0..8).filter(|key| limits.allow(key, 1).is_some()).count(), 0);
        let one_place = RateLimits::new(1000, 0);
        assert!(one_place.allow("a", 0).is_some());
        assert!(one_place.allow("b", 0).is_none());
    }
}
