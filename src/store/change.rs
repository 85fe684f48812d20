//! What the writer returns for new data: the change, for reactors and the journal, and a report for the log.

use std::sync::Arc;

use super::environment::EnvironmentSlot;
use super::item::{Either, ItemKind, SegmentData, StoredItem};
use super::snapshot::Snapshot;
use crate::model::dataset::Finding;

/// The changes of one publish, for those who send, store or log them.
#[derive(Clone, Debug)]
pub struct Change {
    /// The snapshot that is in service from now on.
    pub snapshot: Arc<Snapshot>,
    /// The environments in which something changed for server or client SDKs. One that went out of service is not
    /// listed: its connections are closed, because their secret is no longer valid.
    pub environments: Vec<EnvironmentSlot>,
    /// Whether a secret was added, removed, or gives access to something else. Also true when the data makes certain that
    /// unknown secrets are invalid.
    pub secrets_changed: bool,
    /// The flags and segments that were added, changed or removed, by slot and kind, removals last: what a journal of
    /// patches has to write. Those of an environment that went out of service as a whole are not listed.
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

/// The change of one flag or segment.
#[derive(Clone, Debug)]
pub struct ChangedItem {
    /// Its environment.
    pub slot: EnvironmentSlot,
    /// How it changed.
    pub change: ItemChange,
}

/// How a flag or segment changed at its source. If only the version that SDKs are sent is raised (so that they accept a
/// removal), that is no change of the item.
#[derive(Clone, Debug)]
pub enum ItemChange {
    /// It is new.
    Added(StoredItem),
    /// It has new content.
    Changed(StoredItem),
    /// It has the same content in another JSON format. SDKs are not sent this.
    Reformatted(StoredItem),
    /// It was removed.
    Removed(RemovedItem),
}

impl ItemChange {
    /// Whether a flag or a segment changed.
    pub fn kind(&self) -> ItemKind {
        match self {
            Self::Added(item) | Self::Changed(item) | Self::Reformatted(item) => item.kind(),
            Self::Removed(removed) => removed.kind,
        }
    }

    pub(super) fn is_removal(&self) -> bool {
        matches!(self, Self::Removed(_))
    }

    /// The segment, if its content changed or it was removed.
    pub(super) fn segment(&self) -> Option<&SegmentData> {
        let item = match self {
            Self::Added(item) | Self::Changed(item) => item,
            Self::Removed(removed) => removed.item.as_ref()?,
            Self::Reformatted(_) => return None,
        };
        match &item.0 {
            Either::Segment(segment) => Some(segment),
            Either::Flag(_) => None,
        }
    }
}

/// A flag or segment that was removed.
#[derive(Clone, Debug)]
pub struct RemovedItem {
    /// Flag or segment.
    pub kind: ItemKind,
    /// Its id.
    pub id: Arc<str>,
    /// `updatedAt` of the removal's stamp, in Unix milliseconds.
    pub updated_at_ms: i64,
    /// The removed item; `None` if it was not in service.
    pub item: Option<StoredItem>,
}

/// An item whose content changed without a newer `updatedAt`, which several SDKs ignore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotNewer {
    /// The environment's label.
    pub environment: Arc<str>,
    /// The flag's key, or the segment's id.
    pub key: Box<str>,
    /// Whether the new content is older than the old one; false if both have the same `updatedAt`.
    pub is_older: bool,
}

/// Secrets that lose access to an environment when their grace period ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndingSecrets {
    /// How many there are.
    pub secrets: usize,
    /// The labels of these environments, each once, in alphabetical order.
    pub environments: Vec<Arc<str>>,
}

/// What the writer found in new data.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Items that changed without a newer `updatedAt`.
    pub not_newer: Vec<NotNewer>,
    /// What evaluation cannot use; each path begins with the environment's label and the flag's key.
    pub findings: Vec<Finding>,
    /// Secrets that the new data no longer lists.
    pub secrets_removed: EndingSecrets,
    /// Secrets that the new data lists with another type.
    pub secrets_retyped: EndingSecrets,
    /// How long these secrets stay valid, in milliseconds.
    pub grace_ms: i64,
    /// Whether an item went back to an older state, or a removal was undone. Stamps alone would have had another result, so
    /// this needs another edition.
    pub defies_stamps: bool,
    /// How many flags and segments are new.
    pub added: usize,
    /// How many flags and segments have new content.
    pub changed: usize,
    /// How many flags and segments were removed, including those of removed environments, which are served until their
    /// grace period ends.
    pub removed: usize,
}

/// The result of new data.
#[derive(Clone, Debug)]
pub struct Published {
    /// The change; `None` if nothing differs from the data in service.
    pub change: Option<Arc<Change>>,
    /// What the writer found in it.
    pub report: Report,
}
