//! Which of two states of an item is the newer one, wherever they come from.
//!
//! Must not know where a state comes from or when it arrived. Whoever has seen the same states, in whatever order and
//! however often, keeps the same one: the greatest stamp.

/// What one state of a flag or segment is merged by. The greater stamp is newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp<'a> {
    /// `updatedAt` as the source gave it, in Unix milliseconds. Of a removal: that of the item as it was when it was
    /// removed.
    pub updated_at_ms: i64,
    /// Decides where `updatedAt` is the same.
    pub content: Content<'a>,
}

/// What an item says. Of two contents with the same `updatedAt` the greater one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content<'a> {
    /// The source's own JSON, word for word, compared byte by byte. No content is truer than the other; all agents have to
    /// choose the same one.
    Words(&'a str),
    /// The item was removed. Greater than every text: the item that was removed does not come back when it arrives late,
    /// and its text need not be remembered to know that.
    Removed,
}

impl<'a> Stamp<'a> {
    /// The stamp of an item that is there.
    pub fn of(updated_at_ms: i64, words: &'a str) -> Self {
        Self { updated_at_ms, content: Content::Words(words) }
    }

    /// The stamp of a removal.
    pub fn removal(updated_at_ms: i64) -> Self {
        Self { updated_at_ms, content: Content::Removed }
    }
}

/// Which generation of the dataset data belongs to. A dataset that replaces everything (a bootstrap call, a data file)
/// opens a new one; between two, the higher one counts as a whole, whatever the stamps say.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edition {
    /// When it was opened, in Unix milliseconds. 0 before the first one.
    pub opened_at_ms: i64,
    /// Who opened it: decides between two of the same millisecond.
    pub instance: String,
}

#[cfg(test)]
mod tests {
    use super::{Edition, Stamp};

    #[test]
    fn a_newer_date_counts_then_the_greater_bytes_and_a_removal_above_all_of_its_millisecond() {
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
    fn an_edition_that_was_opened_later_is_higher_then_that_of_the_greater_instance() {
        let edition = |opened_at_ms, instance: &str| Edition { opened_at_ms, instance: instance.to_owned() };
        let ascending = [Edition::default(), edition(1, "b"), edition(2, "a"), edition(2, "b")];
        assert!(ascending.is_sorted_by(|one, next| one < next));
    }
}
