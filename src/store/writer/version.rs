//! The versions that SDKs are sent.
//!
//! Must not read a clock or look at items. SDKs compare data, and ask for it, by `updatedAt`. That value repeats, goes
//! back, and does not exist for a removal. So every change is sent with a version higher than any sent before in its
//! environment: with its own `updatedAt` if that is higher, else with a generated version.

/// The highest version that is ever sent, in Unix milliseconds (2262-04-11T23:47:16.854Z). The Go SDK counts in
/// nanoseconds: a later version makes it reconnect without end.
const MAX_MS: i64 = i64::MAX / 1_000_000;

/// `updatedAt` of an item as its source gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Date {
    /// In Unix milliseconds, truncated.
    pub ms: i64,
    /// Whether it has digits below the millisecond.
    pub has_microseconds: bool,
    /// The version with which another agent of the cluster has sent the item; `i64::MIN` for none.
    pub sent_ms: i64,
}

impl Date {
    /// The version of the item if no other was sent yet that is as high.
    pub fn version_ms(self) -> i64 {
        self.ms.max(self.sent_ms)
    }
}

/// Assigns the versions of one publish in one environment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Versions {
    /// The highest version that was sent so far, or that an SDK has asked with; `i64::MIN` for none.
    highest_ms: i64,
    /// The current time, in Unix milliseconds.
    wall_ms: i64,
}

impl Versions {
    /// Versions higher than `highest_ms`, and up to date with the current time `wall_ms`.
    pub fn higher_than(highest_ms: i64, wall_ms: i64) -> Self {
        Self { highest_ms, wall_ms }
    }

    /// The highest version that was sent so far.
    pub fn highest_ms(&self) -> i64 {
        self.highest_ms
    }

    /// Records that items were sent with versions of at most `version_ms`.
    pub fn record_sent(&mut self, version_ms: i64) {
        self.highest_ms = self.highest_ms.max(version_ms);
    }

    /// Records that an item was sent with its own `updatedAt`. The Python SDK rounds it, so that its version may be one
    /// millisecond higher.
    pub fn record_sent_date(&mut self, date: Date) {
        self.record_sent(date.ms.saturating_add(i64::from(date.has_microseconds)).max(date.sent_ms));
    }

    /// Assigns a different version to each of several items that changed together, given their own `updatedAt`s. An item
    /// newer than everything sent so far keeps its own, or the version that another agent of the cluster has sent it with; the
    /// others get the next higher versions.
    pub fn assign(&mut self, dates: &[Date]) -> Vec<i64> {
        let mut order: Vec<usize> = (0..dates.len()).collect();
        order.sort_by_key(|at| dates[*at].version_ms());
        let mut versions: Vec<_> = dates.iter().map(|date| date.version_ms()).collect();
        order.retain(|at| {
            let is_newer = dates[*at].version_ms() > self.highest_ms;
            if is_newer {
                self.record_sent_date(dates[*at]);
            }
            !is_newer
        });
        // The last one gets the current time, so that no version lies in the future when many items change at once.
        let count = i64::try_from(order.len()).unwrap_or(i64::MAX);
        for (index, at) in (0..count).zip(order) {
            versions[at] = self.next_at_least(self.wall_ms.saturating_sub(count - 1 - index));
        }
        versions
    }

    /// The next version, for a change whose own `updatedAt` is not higher than what was sent.
    pub fn next_version(&mut self) -> i64 {
        self.next_at_least(self.wall_ms)
    }

    /// The next version, which is at least `version_ms`.
    fn next_at_least(&mut self, version_ms: i64) -> i64 {
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
        ms.iter().map(|ms| Date { ms: *ms, has_microseconds: false, sent_ms: i64::MIN }).collect()
    }

    #[test]
    fn an_item_newer_than_all_that_was_sent_keeps_its_version() {
        let mut versions = Versions::higher_than(100, 1_000);
        assert_eq!(versions.assign(&dates(&[150, 120])), [150, 120]);
        assert_eq!(versions.highest_ms(), 150);
    }

    #[test]
    fn late_repeated_and_older_dates_get_versions_up_to_the_current_time() {
        assert_eq!(Versions::higher_than(100, 1_000).assign(&dates(&[50])), [1_000]);
        assert_eq!(Versions::higher_than(100, 1_000).assign(&dates(&[200, 200])), [200, 1_000]);
        assert_eq!(
            Versions::higher_than(100, 1_000).assign(&dates(&[60, 300, 50, 300])),
            [999, 300, 998, 1_000]
        );
        assert_eq!(Versions::higher_than(5_000, 1_000).assign(&dates(&[50, 40])), [5_002, 5_001]);
        assert_eq!(Versions::higher_than(100, 1_000).next_version(), 1_000);
        assert_eq!(Versions::higher_than(5_000, 1_000).next_version(), 5_001);
    }

    #[test]
    fn the_python_sdk_which_rounds_dates_up_accepts_the_next_change() {
        let mut versions = Versions::higher_than(100, 50);
        // The Python SDK rounds it to 728.
        assert_eq!(versions.assign(&[Date { ms: 727, has_microseconds: true, sent_ms: i64::MIN }]), [727]);
        assert_eq!(versions.assign(&dates(&[728])), [729]);
        assert_eq!(versions.assign(&dates(&[731])), [731]);
    }

    #[test]
    fn many_changes_at_once_get_no_version_in_the_future() {
        let versions = Versions::higher_than(100, 10_000).assign(&dates(&[1; 500]));
        assert_eq!((versions[0], versions[499]), (9_501, 10_000));
    }

    #[test]
    fn no_version_stops_the_go_sdk() {
        let mut versions = Versions::higher_than(MAX_MS - 1, i64::MAX);
        assert_eq!((versions.next_version(), versions.next_version()), (MAX_MS, MAX_MS));
        assert_eq!(Versions::higher_than(i64::MIN, i64::MIN).assign(&dates(&[i64::MIN, i64::MAX])).len(), 2);
    }

    proptest! {
        #[test]
        fn every_version_is_unique_and_higher_than_all_sent_before(
            sent in 0..50i64, wall in 0..60i64, items in prop::collection::vec(0..60i64, 0..20),
        ) {
            let mut versions = Versions::higher_than(sent, wall);
            let given = versions.assign(&dates(&items));
            let mut sorted = given.clone();
            sorted.sort_unstable();
            sorted.dedup();
            prop_assert_eq!(sorted.len(), items.len());
            prop_assert!(sorted.first().is_none_or(|lowest| *lowest > sent));
            prop_assert_eq!(versions.highest_ms(), sorted.last().copied().unwrap_or(sent));
            for (own, version) in items.iter().zip(&given) {
                prop_assert!(own == version || *own <= sent || items.iter().filter(|other| *other == own).count() > 1);
            }
        }
    }
}
