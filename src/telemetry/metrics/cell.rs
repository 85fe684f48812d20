//! Values that one thread writes and a scrape reads.
//!
//! Must not use read-modify-write instructions: with one writer, a load and a store are enough and cost no bus lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only grows. One thread writes it.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `more`. Only the one writer may call it: two writers would lose counts.
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down. One thread writes it.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// One more.
    pub fn increase(&self) {
        self.0.store(self.0.load(Relaxed).saturating_add(1), Relaxed);
    }

    /// One less.
    pub fn decrease(&self) {
        self.0.store(self.0.load(Relaxed).saturating_sub(1), Relaxed);
    }

    /// This many.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The upper bounds of a histogram's buckets, in microseconds; a last bucket counts the rest.
pub(super) const BOUNDS_US: [u64; 17] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000, 60_000_000,
];

const _: () = {
    let mut index = 1;
    while index < BOUNDS_US.len() {
        assert!(BOUNDS_US[index - 1] < BOUNDS_US[index]);
        index += 1;
    }
};

/// How long something took, in buckets from 50 µs to 60 s. One thread writes it.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BOUNDS_US.len() + 1],
    sum_us: Counter,
}

impl Histogram {
    /// Counts an event that took `took_us` microseconds.
    pub fn observe_us(&self, took_us: u64) {
        let bucket = BOUNDS_US.partition_point(|bound| *bound < took_us);
        self.buckets[bucket].add(1);
        self.sum_us.add(took_us);
    }

    pub(super) fn read(&self) -> Reading {
        let mut buckets = [0; BOUNDS_US.len() + 1];
        for (read, bucket) in buckets.iter_mut().zip(&self.buckets) {
            *read = bucket.get();
        }
        Reading { buckets, sum_us: self.sum_us.get() }
    }
}

/// A histogram as it was at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    pub buckets: [u64; BOUNDS_US.len() + 1],
    pub sum_us: u64,
}

impl Reading {
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub fn add(&mut self, other: &Reading) {
        for (own, other) in self.buckets.iter_mut().zip(&other.buckets) {
            *own += other;
        }
        self.sum_us += other.sum_us;
    }

    /// The buckets by their upper ends in seconds.
    pub fn by_seconds(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS_US.iter().map(|bound| *bound as f64 / 1e6).chain([f64::INFINITY]);
        bounds.zip(self.buckets).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn gauges_never_wrap() {
        let gauge = Gauge::default();
        gauge.decrease();
        assert_eq!(gauge.get(), 0);
        gauge.increase();
        gauge.increase();
        gauge.decrease();
        assert_eq!(gauge.get(), 1);
        gauge.set(7);
        assert_eq!(gauge.get(), 7);
    }

    proptest! {
        #[test]
        fn each_time_falls_into_the_first_bucket_that_holds_it(times in prop::collection::vec(0u64..100_000_000, 0..50)) {
            let histogram = Histogram::default();
            let mut expected = [0u64; BOUNDS_US.len() + 1];
            for time in &times {
                histogram.observe_us(*time);
                let place = (0..BOUNDS_US.len()).find(|place| *time <= BOUNDS_US[*place]);
                expected[place.unwrap_or(BOUNDS_US.len())] += 1;
            }
            let reading = histogram.read();
            prop_assert_eq!(reading.buckets, expected);
            prop_assert_eq!(reading.sum_us, times.iter().sum::<u64>());
            prop_assert_eq!(reading.count(), times.len() as u64);
        }
    }
}
