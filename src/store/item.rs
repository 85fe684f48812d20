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
    /// The JSON as its source gave it, word for word: what is merged, backed up and passed on to other agents.
    pub raw: Box<str>,
    /// `updatedAt` of `raw`, in Unix milliseconds.
    pub updated_at_ms: i64,
}

impl Text {
    /// Whether `raw`, whose own `updatedAt` is given, says the same, in whatever form. Parses nothing where the bytes or
    /// the times decide.
    pub fn says(&self, raw: &str, updated_at_ms: i64) -> bool {
        *self.raw == *raw || updated_at_ms == self.updated_at_ms && says_the_same(&self.raw, raw)
    }
}

/// What SDKs get of an item.
#[derive(Clone, Debug)]
pub(super) enum Served {
    /// The source's own words.
    AsItIs,
    /// Another text: with a version of ours, or without what they cannot take.
    Text(Arc<str>),
    /// Nothing: another flag of the same key counts.
    Not,
}

impl Served {
    /// The text that SDKs get of the item `own`, if any.
    pub fn of<'a>(&'a self, own: &'a Text) -> Option<&'a str> {
        match self {
            Served::AsItIs => Some(&own.raw),
            Served::Text(text) => Some(text),
            Served::Not => None,
        }
    }

    /// Whether both are the same text of the same item. Two that were made apart are not.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Served::AsItIs, Served::AsItIs) | (Served::Not, Served::Not) => true,
            (Served::Text(one), Served::Text(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
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
