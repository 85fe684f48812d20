//! The versions that SDKs are told.
//!
//! Must not read a clock or look at items. SDKs take data, and ask for it, by `updatedAt`, which repeats, goes back, and
//! does not exist for a removal. So every change is told with a version above everything that its environment was
//! told before: its own `updatedAt` where that is newer, else one that is raised.

/// The latest version ever told, in Unix milliseconds (2262-04-11T23:47:16.854Z): the Go SDK counts in nanoseconds, and
/// reconnects without end after that.
const MAX_MS: i64 = i64::MAX / 1_000_000;

/// `updatedAt` of an item as its source gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Date {
    /// In Unix milliseconds, truncated.
    pub ms: i64,
    /// Whether it has digits below the millisecond.
    pub has_microseconds: bool,
}

/// Hands out the versions of one publish to one environment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Versions {
    /// The highest version told so far, or that an SDK has asked with; `i64::MIN` for none.
    highest_ms: i64,
    /// The time of day.
    wall_ms: i64,
}

impl Versions {
    pub fn above(highest_ms: i64, wall_ms: i64) -> Self {
        Self { highest_ms, wall_ms }
    }

    /// The highest version told so far.
    pub fn highest_ms(&self) -> i64 {
        self.highest_ms
    }

    /// Items were told with their own versions, of which this is the highest.
    pub fn note(&mut self, version_ms: i64) {
        self.highest_ms = self.highest_ms.max(version_ms);
    }

    /// An item is told with its own date. The Python SDK rounds it, and may then have a version one above that.
    pub fn note_date(&mut self, date: Date) {
        self.note(date.ms.saturating_add(i64::from(date.has_microseconds)));
    }

    /// The versions of items that changed together, given their own dates: each gets one of its own. What is newer than
    /// everything told goes out as it is, the others after it.
    pub fn of(&mut self, dates: &[Date]) -> Vec<i64> {
        let mut order: Vec<usize> = (0..dates.len()).collect();
        order.sort_by_key(|at| dates[*at].ms);
        let mut versions: Vec<_> = dates.iter().map(|date| date.ms).collect();
        order.retain(|at| {
            let is_newer = dates[*at].ms > self.highest_ms;
            if is_newer {
                self.note_date(dates[*at]);
            }
            !is_newer
        });
        // The last one gets the time of day: many that change at once do not reach into the future.
        let count = i64::try_from(order.len()).unwrap_or(i64::MAX);
        for (place, at) in (0..count).zip(order) {
            versions[at] = self.above_or_at(self.wall_ms.saturating_sub(count - 1 - place));
        }
        versions
    }

    /// A version for something that has no newer one of its own.
    pub fn raise(&mut self) -> i64 {
        self.above_or_at(self.wall_ms)
    }

    /// The next version: `version_ms`, if that is newer than everything told.
    fn above_or_at(&mut self, version_ms: i64) -> i64 {
        let next_ms = self.highest_ms.saturating_add(1).max(version_ms).min(MAX_MS);
        self.highest_ms = self.highest_ms.max(next_ms);
        next_ms
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Date, MAX_MS, Versions};

    fn dates(ms: &[i64]) -> Vec<Date> {
        ms.iter().map(|ms| Date { ms: *ms, has_microseconds: false }).collect()
    }

    #[test]
    fn what_is_newer_than_everything_told_keeps_its_version() {
        let mut versions = Versions::above(100, 1_000);
        assert_eq!(versions.of(&dates(&[150, 120])), [150, 120]);
        assert_eq!(versions.highest_ms(), 150);
    }

    #[test]
    fn what_is_late_shares_a_millisecond_or_goes_back_is_raised_to_the_time_of_day() {
        assert_eq!(Versions::above(100, 1_000).of(&dates(&[50])), [1_000]);
        assert_eq!(Versions::above(100, 1_000).of(&dates(&[200, 200])), [200, 1_000]);
        assert_eq!(Versions::above(100, 1_000).of(&dates(&[60, 300, 50, 300])), [999, 300, 998, 1_000]);
        assert_eq!(Versions::above(5_000, 1_000).of(&dates(&[50, 40])), [5_002, 5_001]);
        assert_eq!(Versions::above(100, 1_000).raise(), 1_000);
        assert_eq!(Versions::above(5_000, 1_000).raise(), 5_001);
    }

    #[test]
    fn the_python_sdk_that_rounds_a_date_up_takes_the_next_change_too() {
        let mut versions = Versions::above(100, 50);
        // To Python it is 728.
        assert_eq!(versions.of(&[Date { ms: 727, has_microseconds: true }]), [727]);
        assert_eq!(versions.of(&dates(&[728])), [729]);
        assert_eq!(versions.of(&dates(&[731])), [731]);
    }

    #[test]
    fn many_at_once_do_not_reach_into_the_future() {
        let versions = Versions::above(100, 10_000).of(&dates(&[1; 500]));
        assert_eq!((versions[0], versions[499]), (9_501, 10_000));
    }

    #[test]
    fn nothing_is_told_that_stops_the_go_sdk() {
        let mut versions = Versions::above(MAX_MS - 1, i64::MAX);
        assert_eq!((versions.raise(), versions.raise()), (MAX_MS, MAX_MS));
        assert_eq!(Versions::above(i64::MIN, i64::MIN).of(&dates(&[i64::MIN, i64::MAX])).len(), 2);
    }

    proptest! {
        #[test]
        fn every_version_is_above_all_told_before_and_none_comes_twice(
            told in 0..50i64, wall in 0..60i64, items in prop::collection::vec(0..60i64, 0..20),
        ) {
            let mut versions = Versions::above(told, wall);
            let given = versions.of(&dates(&items));
            let mut sorted = given.clone();
            sorted.sort_unstable();
            sorted.dedup();
            prop_assert_eq!(sorted.len(), items.len());
            prop_assert!(sorted.first().is_none_or(|lowest| *lowest > told));
            prop_assert_eq!(versions.highest_ms(), sorted.last().copied().unwrap_or(told));
            for (own, version) in items.iter().zip(&given) {
                prop_assert!(own == version || *own <= told || items.iter().filter(|other| *other == own).count() > 1);
            }
        }
    }
}
