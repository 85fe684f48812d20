//! Flags and segments as the store keeps them.
//!
//! Must not decide anything: an item is what its last definition said, made once and never changed.

use std::sync::Arc;

use super::same::says_the_same;
use crate::eval::{Flag, Segment};
use crate::model::stamp::Stamp;

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

    /// What it is merged by.
    pub fn stamp(&self) -> Stamp<'_> {
        Stamp::of(self.updated_at_ms, &self.raw)
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

/// A flag or a segment in service, shared with the snapshots that hold it.
#[derive(Clone)]
pub struct StoredItem(pub(super) Either);

/// What a [`StoredItem`] is.
#[derive(Clone)]
pub(super) enum Either {
    Flag(Arc<FlagData>),
    Segment(Arc<SegmentData>),
}

/// Which of the two lists of an environment an item is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ItemKind {
    /// A feature flag.
    Flag,
    /// A segment.
    Segment,
}

impl StoredItem {
    fn text(&self) -> &Text {
        match &self.0 {
            Either::Flag(flag) => &flag.text,
            Either::Segment(segment) => &segment.text,
        }
    }

    /// Whether it is a flag or a segment.
    pub fn kind(&self) -> ItemKind {
        match &self.0 {
            Either::Flag(_) => ItemKind::Flag,
            Either::Segment(_) => ItemKind::Segment,
        }
    }

    /// Its id, unique among those of its kind in its environment.
    pub fn id(&self) -> &Arc<str> {
        &self.text().id
    }

    /// What people call it: a flag's key, a segment's id.
    pub fn name(&self) -> &str {
        match &self.0 {
            Either::Flag(flag) => flag.flag.key(),
            Either::Segment(segment) => &segment.text.id,
        }
    }

    /// Its JSON as the source gave it, word for word.
    pub fn words(&self) -> &str {
        &self.text().raw
    }

    /// What it is merged by.
    pub fn stamp(&self) -> Stamp<'_> {
        self.text().stamp()
    }
}

/// Says which item it is; its content does not belong into logs.
impl std::fmt::Debug for StoredItem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoredItem({:?} {}, {} ms)", self.kind(), self.id(), self.text().updated_at_ms)
    }
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
