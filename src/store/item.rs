//! Flags and segments in the store.
//!
//! Must not change: a new definition of an item makes a new value.

use std::sync::Arc;

use super::same_json::is_same_json;
use crate::eval::{Flag, Segment};
use crate::model::stamp::Stamp;

/// What flags and segments have in common: the source's JSON, its id and its date.
#[derive(Debug)]
pub(super) struct Text {
    /// Shared with the writer's table of positions and with every later version of the item.
    pub id: Arc<str>,
    /// The source's JSON, unmodified. Merging, backups and relay agents use this text.
    pub raw: Box<str>,
    /// `updatedAt` of `raw`, in Unix milliseconds.
    pub updated_at_ms: i64,
}

impl Text {
    /// Whether `raw`, which has this `updatedAt`, has the same content, whatever its format. Parses the JSON only if the
    /// bytes differ and the dates do not.
    pub fn has_content_of(&self, raw: &str, updated_at_ms: i64) -> bool {
        *self.raw == *raw || updated_at_ms == self.updated_at_ms && is_same_json(&self.raw, raw)
    }

    /// The stamp by which it is merged.
    pub fn stamp(&self) -> Stamp<'_> {
        Stamp::of(self.updated_at_ms, &self.raw)
    }
}

/// The text that SDKs get of an item.
#[derive(Clone, Debug)]
pub(super) enum Served {
    /// The source's JSON.
    Unmodified,
    /// A modified text: with a generated version, or without parts that SDKs do not accept.
    Modified(Arc<str>),
    /// None: another flag with the same key is served.
    Nothing,
}

impl Served {
    /// The text that SDKs get of the item with the text `source`, if any.
    pub fn of<'a>(&'a self, source: &'a Text) -> Option<&'a str> {
        match self {
            Served::Unmodified => Some(&source.raw),
            Served::Modified(text) => Some(text),
            Served::Nothing => None,
        }
    }

    /// Whether both are the same text of one item. Equal texts in different allocations are not the same.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Served::Unmodified, Served::Unmodified) | (Served::Nothing, Served::Nothing) => true,
            (Served::Modified(one), Served::Modified(other)) => Arc::ptr_eq(one, other),
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
    /// Its index in the list of segments for evaluation, the same for every copy with its id.
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

    /// The name for logs: a flag's key, a segment's id.
    pub fn name(&self) -> &str {
        match &self.0 {
            Either::Flag(flag) => flag.flag.key(),
            Either::Segment(segment) => &segment.text.id,
        }
    }

    /// The source's JSON, unmodified.
    pub fn json(&self) -> &str {
        &self.text().raw
    }

    /// The stamp by which it is merged.
    pub fn stamp(&self) -> Stamp<'_> {
        self.text().stamp()
    }
}

/// Prints which item it is: its content must not get into logs.
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
