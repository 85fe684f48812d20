//! Flags and segments as the store keeps them.
//!
//! Must not decide anything: an item is what its last definition said, made once and never changed.

use std::sync::Arc;

use super::same::says_the_same;
use crate::eval::{Flag, Segment};

/// What flags and segments have in common: their own JSON, and what it is known by.
#[derive(Debug)]
pub(super) struct Text {
    /// Shared with the writer's table of positions and with every later version of the item.
    pub id: Arc<str>,
    /// The JSON that server SDKs receive, word for word.
    pub raw: Box<str>,
    /// The JSON as it came in, where `raw` got a newer `updatedAt` from us. A source that still holds the
    /// same text has not changed, whatever we made of it.
    pub original: Option<Box<str>>,
    /// `updatedAt` of `raw`, in Unix milliseconds: the version that SDKs know the item by.
    pub updated_at_ms: i64,
}

impl Text {
    /// Whether `raw` is the item as it is served, or as its source held it.
    pub fn is(&self, raw: &str) -> bool {
        *self.raw == *raw || self.original.as_deref() == Some(raw)
    }

    /// Whether `raw`, whose own `updatedAt` is given, is one of the two or says the same in another form. Parses
    /// nothing where the bytes or the versions decide.
    pub fn says(&self, raw: &str, updated_at_ms: i64) -> bool {
        if self.is(raw) || updated_at_ms == self.updated_at_ms && says_the_same(&self.raw, raw) {
            return true;
        }
        self.original.as_deref().is_some_and(|original| says_the_same(original, raw))
    }
}

/// A flag in service.
#[derive(Debug)]
pub(super) struct FlagData {
    pub text: Text,
    pub flag: Flag,
}

/// A segment in service.
#[derive(Debug)]
pub(super) struct SegmentData {
    pub text: Text,
    /// Its place in the table of segments that evaluation reads, the same for every copy of its id.
    pub slot: u32,
    pub segment: Arc<Segment>,
}

/// What a table needs to know of its items.
pub(super) trait Item {
    fn text(&self) -> &Text;
    /// The segments it refers to, by slot.
    fn slots(&self) -> &[u32];
}

impl Item for FlagData {
    fn text(&self) -> &Text {
        &self.text
    }

    fn slots(&self) -> &[u32] {
        self.flag.segment_slots()
    }
}

impl Item for SegmentData {
    fn text(&self) -> &Text {
        &self.text
    }

    fn slots(&self) -> &[u32] {
        &[]
    }
}
