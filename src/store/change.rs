//! What the writer says of new data: the publish that others are told of, and a report for the log.

use std::sync::Arc;

use super::environment::EnvironmentSlot;
use super::item::{Either, ItemKind, SegmentData, StoredItem};
use super::snapshot::Snapshot;
use crate::model::dataset::Finding;

/// One publish, for whoever has to tell others.
#[derive(Clone, Debug)]
pub struct Change {
    /// What is in service from now on.
    pub snapshot: Arc<Snapshot>,
    /// The environments of which something changed for server or client SDKs. One that went out of service
    /// is not among them: its connections have lost their secret.
    pub environments: Vec<EnvironmentSlot>,
    /// Whether a secret came, went or changed its meaning; also when the first data makes unknown secrets
    /// certain.
    pub secrets_changed: bool,
    /// The flags and segments that came, changed or went, by slot and kind, removals last: what a journal of patches has to write. Those of
    /// an environment that went out of service as a whole are not listed.
    pub items: Vec<ChangedItem>,
}

impl Change {
    /// The changes of the flags of one environment, then those of its segments.
    pub fn items_of(&self, slot: EnvironmentSlot) -> impl Iterator<Item = &ItemChange> {
        let first = self.items.partition_point(|item| item.slot < slot);
        let items = self.items.get(first..).unwrap_or_default();
        items.iter().take_while(move |item| item.slot == slot).map(|item| &item.change)
    }
}

/// What happened to one flag or segment.
#[derive(Clone, Debug)]
pub struct ChangedItem {
    /// Its environment.
    pub slot: EnvironmentSlot,
    /// What happened.
    pub change: ItemChange,
}

/// What happened to a flag or segment, as far as the source's own words are concerned. What SDKs are told beside that (an item
/// whose version was raised to tell a removal) is no change of it.
#[derive(Clone, Debug)]
pub enum ItemChange {
    /// It was not there before.
    Added(StoredItem),
    /// It has new content.
    Changed(StoredItem),
    /// It says the same in other words, which count from now on. SDKs are not told.
    Reworded(StoredItem),
    /// It is gone.
    Removed(RemovedItem),
}

impl ItemChange {
    /// Whether it is about a flag or a segment.
    pub fn kind(&self) -> ItemKind {
        match self {
            Self::Added(item) | Self::Changed(item) | Self::Reworded(item) => item.kind(),
            Self::Removed(removed) => removed.kind,
        }
    }

    pub(super) fn is_removal(&self) -> bool {
        matches!(self, Self::Removed(_))
    }

    /// The segment of which another state counts, or none any more.
    pub(super) fn segment(&self) -> Option<&SegmentData> {
        let item = match self {
            Self::Added(item) | Self::Changed(item) => item,
            Self::Removed(removed) => removed.item.as_ref()?,
            Self::Reworded(_) => return None,
        };
        match &item.0 {
            Either::Segment(segment) => Some(segment),
            Either::Flag(_) => None,
        }
    }
}

/// A flag or segment that is gone.
#[derive(Clone, Debug)]
pub struct RemovedItem {
    /// Flag or segment.
    pub kind: ItemKind,
    /// Its id.
    pub id: Arc<str>,
    /// `updatedAt` of the removal's stamp, in Unix milliseconds.
    pub updated_at_ms: i64,
    /// What was in service; `None` if it was not.
    pub item: Option<StoredItem>,
}

/// An item whose content changed without a newer `updatedAt`, which several SDKs ignore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotNewer {
    /// The environment's label.
    pub environment: Arc<str>,
    /// The flag's key, or the segment's id.
    pub key: Box<str>,
    /// Whether what took its place is older, and not as old.
    pub is_older: bool,
}

/// Secrets that no longer open what they did once their grace is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// How many there are.
    pub secrets: usize,
    /// The labels of the environments that they opened, each once, in alphabetical order.
    pub environments: Vec<Arc<str>>,
}

/// What was found while new data was taken in.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was changed without a newer `updatedAt`.
    pub not_newer: Vec<NotNewer>,
    /// What evaluation cannot use; each path begins with the environment's label and the flag's key.
    pub findings: Vec<Finding>,
    /// Secrets that have left the data just now.
    pub secrets_gone: Ending,
    /// Secrets of which the type has changed just now.
    pub secrets_retyped: Ending,
    /// How long such secrets go on working, in milliseconds.
    pub grace_ms: i64,
    /// Flags and segments that were not there before.
    pub added: usize,
    /// Flags and segments with new content.
    pub changed: usize,
    /// Flags and segments that are gone, those of environments that are gone among them: these are still served
    /// until their grace ends.
    pub removed: usize,
}

/// What became of new data.
#[derive(Clone, Debug)]
pub struct Published {
    /// The publish, unless nothing differs from what is in service.
    pub change: Option<Arc<Change>>,
    /// What was found.
    pub report: Report,
}
