//! Everything of the data that a restart must keep.
//!
//! Must not know a file format or a disk. [`Writer::state`](super::Writer::state) takes it out of a writer by
//! reference, [`Writer::restore`](super::Writer::restore) makes a writer of it that serves the same.

use std::ops::Deref;
use std::sync::Arc;

use super::environment::ListedSecret;
use super::item::{ItemKind, StoredItem};
use crate::model::environment_id::EnvironmentId;
use crate::model::secret::SecretKind;
use crate::model::stamp::Edition;
use crate::protocol::secret::Secret;

/// What a writer holds, as far as SDKs, other agents and the next change depend on it. Times are Unix milliseconds unless they
/// say how much is left; `i64::MIN` stands for none.
///
/// Not in it: publish sequences, which order what happens within one process, and the numbers of full syncs, which a process
/// counts by itself. What a full sync had proved has to be asked for again: until then unknown secrets are undecided, and
/// what was due to leave stays.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The edition of the dataset.
    pub edition: Edition,
    /// Whether a dataset has been loaded.
    pub loaded: bool,
    /// The highest `updatedAt` ever in service.
    pub data_version: i64,
    /// All environments that ever were in service, in the order in which they came.
    pub environments: Vec<EnvironmentState>,
    /// Those that the dataset holds, in its order.
    pub order: Vec<EnvironmentId>,
    /// The secrets that open something, in ascending order.
    pub secrets: Vec<SecretState>,
}

/// An environment.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvironmentState {
    /// Its id.
    pub id: EnvironmentId,
    /// The highest version that any SDK was told.
    pub highest_version_ms: i64,
    /// The highest version above that which an SDK has asked with.
    pub asked_version_ms: i64,
    /// The highest `updatedAt` that ever was in service.
    pub highest_updated_at_ms: i64,
    /// What it holds; `None` if it is out of service and may come back.
    pub contents: Option<Contents>,
}

/// What an environment in service holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Contents {
    /// The secrets that the dataset lists for it.
    pub secrets: Arc<[ListedSecret]>,
    /// Its flags, in order.
    pub flags: Vec<ItemState>,
    /// Its segments, in order.
    pub segments: Vec<ItemState>,
    /// The version with which server SDKs were told of the last removal.
    pub server_removal_version_ms: i64,
    /// The same for client SDKs.
    pub client_removal_version_ms: i64,
    /// Agents that follow this one and ask for what is newer than this or less need a full sync.
    pub relay_watermark_ms: i64,
    /// What was removed, by kind and id.
    pub tombstones: Vec<TombstoneState>,
    /// What is left of its grace, in milliseconds, if the dataset no longer holds it.
    pub grace_ms: Option<i64>,
}

/// A flag or segment.
#[derive(Clone, PartialEq, Eq)]
pub struct ItemState {
    /// Its JSON as the source gave it, word for word.
    pub words: Words,
    /// The version that server SDKs are told.
    pub version_ms: i64,
    /// The version that client SDKs are told; `i64::MIN` for segments.
    pub client_version_ms: i64,
    /// Whether SDKs get it: they do not if another flag has its key.
    pub is_served: bool,
}

/// The JSON of an item: shared with the writer that it was taken from, or read from elsewhere.
#[derive(Clone)]
pub enum Words {
    /// As it is in service.
    Stored(StoredItem),
    /// Read.
    Read(Arc<str>),
}

impl Deref for Words {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Words::Stored(item) => item.words(),
            Words::Read(text) => text,
        }
    }
}

impl PartialEq for Words {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Words {}

/// A flag or segment that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TombstoneState {
    /// Flag or segment.
    pub kind: ItemKind,
    /// Its id.
    pub id: Arc<str>,
    /// `updatedAt` of the removal's stamp.
    pub updated_at_ms: i64,
    /// When the removal was taken in.
    pub removed_at_ms: i64,
}

/// A secret that opens an environment. Never to be logged.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretState {
    /// The secret itself.
    pub value: Secret,
    /// Which SDKs it is for.
    pub kind: SecretKind,
    /// The environment that it opens.
    pub environment: EnvironmentId,
    /// What is left of its grace, in milliseconds, if the dataset no longer lists it.
    pub grace_ms: Option<i64>,
    /// What it opened to the other kind before its type was changed.
    pub former: Option<FormerUse>,
}

/// What a secret opened before its type was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormerUse {
    /// Which SDKs it was for.
    pub kind: SecretKind,
    /// The environment that it opened.
    pub environment: EnvironmentId,
    /// How much longer it does, in milliseconds.
    pub grace_ms: i64,
}

/// Says how much it holds; its secrets and items do not belong into logs.
impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let contents = self.environments.iter().filter_map(|one| one.contents.as_ref());
        let items: usize = contents.map(|contents| contents.flags.len() + contents.segments.len()).sum();
        write!(
            f,
            "State({} environments, {items} items, {} secrets)",
            self.environments.len(),
            self.secrets.len()
        )
    }
}
