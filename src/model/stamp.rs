//! Which of two states of an item is newer, wherever they come from.
//!
//! Must not know where a state comes from or when it arrived. All agents that get the same states, in any order and any
//! number of times, keep the same one: that with the greatest stamp.

/// What decides which state of a flag or segment is newer: the greater stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp<'a> {
    /// `updatedAt` from the source, in Unix milliseconds. For a removal: that of the removed state of the item.
    pub updated_at_ms: i64,
    /// Decides if `updatedAt` is the same.
    pub content: Content<'a>,
}

/// The content of an item. Of two contents with the same `updatedAt`, the greater one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content<'a> {
    /// The source's JSON, compared byte by byte. The order has no meaning; it only makes all agents choose the same one.
    Json(&'a str),
    /// The item was removed. Greater than every JSON, so that the removed item does not come back when it arrives late.
    Removed,
}

impl<'a> Stamp<'a> {
    /// The stamp of an item.
    pub fn of(updated_at_ms: i64, json: &'a str) -> Self {
        Self { updated_at_ms, content: Content::Json(json) }
    }

    /// The stamp of a removal.
    pub fn removal(updated_at_ms: i64) -> Self {
        Self { updated_at_ms, content: Content::Removed }
    }
}

/// Which generation of the dataset data belongs to. A dataset that replaces everything (a bootstrap call, a data file)
/// begins a new edition. Data of a higher edition replaces all data of a lower one, whatever the stamps are.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edition {
    /// When it began, in Unix milliseconds. 0 before the first one.
    pub opened_at_ms: i64,
    /// The instance that began it: decides between two of the same millisecond.
    pub instance: String,
}

impl Edition {
    /// A new edition, which is higher than all that began at `highest_ms` or earlier, even if that lies in the future because
    /// a clock was wrong.
    pub fn after(highest_ms: i64, now_ms: i64, instance: &str) -> Self {
        Self { opened_at_ms: later_than(highest_ms, now_ms), instance: instance.to_owned() }
    }
}

/// Which list of environments and secrets is newer, within an edition: the greater stamp. The list has no date of its own,
/// so the agent that gets a new list from its source stamps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListStamp {
    /// When the list was changed, in Unix milliseconds. 0 before the first one.
    pub changed_at_ms: i64,
    /// The instance that stamped it.
    pub instance: String,
}

impl ListStamp {
    /// The stamp of a list that replaces the one with this stamp.
    pub fn next(&self, now_ms: i64, instance: &str) -> Self {
        Self { changed_at_ms: later_than(self.changed_at_ms, now_ms), instance: instance.to_owned() }
    }
}

fn later_than(before_ms: i64, now_ms: i64) -> i64 {
    before_ms.saturating_add(1).max(now_ms)
}

#[cfg(test)]
mod tests {
    use super::{Edition, ListStamp, Stamp};

    #[test]
    fn a_newer_date_wins_then_a_removal_then_the_greater_bytes() {
        let ascending = [
            Stamp::of(1, "z"),
            Stamp::removal(1),
            Stamp::of(2, ""),
            Stamp::of(2, "Z"),
            Stamp::of(2, "a"),
            Stamp::of(2, "a\u{e9}"),
            Stamp::removal(2),
            Stamp::of(3, "a"),
        ];
        assert!(ascending.is_sorted_by(|one, next| one < next));
    }

    #[test]
    fn a_later_edition_is_higher_then_that_of_the_greater_instance() {
        let edition = |opened_at_ms, instance: &str| Edition { opened_at_ms, instance: instance.to_owned() };
        let ascending = [Edition::default(), edition(1, "b"), edition(2, "a"), edition(2, "b")];
        assert!(ascending.is_sorted_by(|one, next| one < next));
    }

    /// An agent whose clock was a year ahead must not win for a year.
    #[test]
    fn a_clock_in_the_future_does_not_make_later_editions_lose() {
        let future = Edition::after(0, 1_000_000, "z");
        let next = Edition::after(future.opened_at_ms, 5, "a");
        assert!(next > future);
        assert_eq!(Edition::after(next.opened_at_ms, 2_000_000, "a").opened_at_ms, 2_000_000);
        let list = ListStamp::default().next(9, "b");
        assert_eq!(list, ListStamp { changed_at_ms: 9, instance: "b".to_owned() });
        assert!(list.next(1, "a") > list);
    }
}
