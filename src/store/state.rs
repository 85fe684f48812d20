//! The part of the data that must survive a restart.
//!
//! Must not know a file format or a disk. [`Writer::state`](super::Writer::state) extracts it from a writer, sharing the
//! items; [`Writer::restore`](super::Writer::restore) makes a writer from it that serves the same.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

use super::environment::ListedSecret;
use super::item::{ItemKind, StoredItem};
use crate::model::environment_id::EnvironmentId;
use crate::model::secret::SecretKind;
use crate::model::stamp::{Edition, ListStamp};
use crate::protocol::secret::Secret;

/// The state of a writer, as far as SDKs, relay agents and the next change depend on it. Times are Unix milliseconds, except
/// remaining times; `i64::MIN` means none.
///
/// Publish sequences and the numbers of full syncs are left out, because each process counts its own. So what a full sync
/// confirmed before the restart needs another full sync: until then unknown secrets stay pending, and grace periods that
/// are due do not end.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct State {
    /// What concerns the whole dataset.
    pub head: Head,
    /// All environments that ever were in service, oldest first.
    pub environments: Vec<EnvironmentState>,
    /// The environments of the dataset, and who has access to them.
    pub access: Access,
}

/// What concerns the whole dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The edition of the dataset.
    pub edition: Edition,
    /// When the latest edition that was ever seen began, whether or not it was used.
    pub highest_edition_ms: i64,
    /// The stamp of the list of environments and secrets.
    pub list: ListStamp,
    /// The digest of the data file that was loaded last, so that a restart does not load it again as new.
    pub data_file: Option<Box<str>>,
    /// Whether a dataset has been loaded.
    pub loaded: bool,
    /// The highest `updatedAt` ever in service.
    pub data_version: i64,
}

/// The environments of the dataset, and the secrets that give access to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The environments of the dataset, in its order.
    pub order: Vec<EnvironmentId>,
    /// The valid secrets, in ascending order.
    pub secrets: Vec<SecretState>,
    /// Environments that the dataset no longer has: the rest of their grace periods in milliseconds, in the order of their
    /// ids.
    pub leaving: Vec<(EnvironmentId, i64)>,
}

/// An environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentState {
    /// Its id.
    pub id: EnvironmentId,
    /// The versions that were used in it.
    pub versions: Versions,
    /// Its contents; `None` if it is out of service (it may come back).
    pub contents: Option<Contents>,
}

/// The highest versions of an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The highest version that any SDK was sent.
    pub highest_ms: i64,
    /// The highest version that an SDK has asked with, if it is higher than all that were sent.
    pub requested_ms: i64,
    /// The highest `updatedAt` that ever was in service.
    pub highest_updated_at_ms: i64,
}

/// What was sent with the last removals of an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removals {
    /// The version with which server SDKs were sent the last removal.
    pub server_version_ms: i64,
    /// The same for client SDKs.
    pub client_version_ms: i64,
    /// Downstream agents that ask for changes since this time, or an earlier one, need a full sync.
    pub relay_watermark_ms: i64,
}

/// The contents of an environment in service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The secrets that the dataset lists for it.
    pub secrets: Arc<[ListedSecret]>,
    /// Its flags, in order.
    pub flags: Vec<ItemState>,
    /// Its segments, in order.
    pub segments: Vec<ItemState>,
    /// What was sent with the last removals.
    pub removals: Removals,
    /// Removed items, by kind and id.
    pub tombstones: Vec<TombstoneState>,
}

/// A flag or segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemState {
    /// Its id.
    pub id: Arc<str>,
    /// The source's JSON, unmodified.
    pub json: ItemJson,
    /// The version that server SDKs are sent.
    pub version_ms: i64,
    /// The version that client SDKs are sent; `i64::MIN` for segments.
    pub client_version_ms: i64,
    /// Whether SDKs get it. They do not if another flag with the same key is served.
    pub is_served: bool,
}

/// The JSON of an item: shared with the writer's snapshot, or read from storage.
#[derive(Clone)]
pub enum ItemJson {
    /// Shared with an item in service.
    Stored(StoredItem),
    /// Read from storage: a part of what was read, which stays in memory as long as this does. Not UTF-8 is as no text.
    Read(Bytes),
}

impl ItemJson {
    /// `updatedAt` in Unix milliseconds, as the item in service has it; `None` if it was read from storage.
    pub fn updated_at_ms(&self) -> Option<i64> {
        match self {
            ItemJson::Stored(item) => Some(item.stamp().updated_at_ms),
            ItemJson::Read(_) => None,
        }
    }
}

impl Deref for ItemJson {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            ItemJson::Stored(item) => item.json(),
            // Checked again, as the file may have changed: that takes less than a copy of it would.
            ItemJson::Read(text) => std::str::from_utf8(text).unwrap_or_default(),
        }
    }
}

/// Prints the length only: items must not get into logs.
impl std::fmt::Debug for ItemJson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ItemJson({} bytes)", self.len())
    }
}

impl PartialEq for ItemJson {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for ItemJson {}

/// A flag or segment that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TombstoneState {
    /// Flag or segment.
    pub kind: ItemKind,
    /// Its id.
    pub id: Arc<str>,
    /// `updatedAt` of the removal's stamp.
    pub updated_at_ms: i64,
    /// When the writer recorded the removal.
    pub removed_at_ms: i64,
}

/// A valid secret. Never to be logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretState {
    /// The secret itself.
    pub value: Secret,
    /// Which SDKs it is for.
    pub kind: SecretKind,
    /// The environment that it gives access to.
    pub environment: EnvironmentId,
    /// The rest of its grace period in milliseconds, if the dataset no longer lists it.
    pub grace_ms: Option<i64>,
    /// Its former type and environment, if its type was changed.
    pub former: Option<FormerUse>,
}

/// What a secret gave access to before its type was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormerUse {
    /// Which SDKs it was for.
    pub kind: SecretKind,
    /// The environment that it gave access to.
    pub environment: EnvironmentId,
    /// How much longer it does so, in milliseconds.
    pub grace_ms: i64,
}

/// Prints counts only: secrets and items must not get into logs.
impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let contents = self.environments.iter().filter_map(|one| one.contents.as_ref());
        let items: usize = contents.map(|contents| contents.flags.len() + contents.segments.len()).sum();
        write!(
            f,
            "State({} environments, {items} items, {} secrets)",
            self.environments.len(),
            self.access.secrets.len()
        )
    }
}
