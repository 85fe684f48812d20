//! One environment of a snapshot.
//!
//! Must not change once published, nor know connections. It holds the items, when something was removed, and the encoded
//! latest changes. `server_sdk`, `client_sdk` and `relay` read it; `writer` builds the next one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::cache::Cache;
use super::flags_by_key::FlagsByKey;
use super::item::{FlagData, SegmentData};
use super::ring::Ring;
use super::table::Table;
use crate::eval::Flag;
use crate::model::environment_id::EnvironmentId;
use crate::model::secret::SecretKind;
use crate::protocol::secret::Secret;
use crate::protocol::to_sdk::server_full_len;

/// An environment's index in every snapshot. It stays the same as long as the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnvironmentSlot(pub u32);

/// A secret as the dataset lists it. Never to be logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedSecret {
    /// Which SDKs it is for.
    pub kind: SecretKind,
    /// The project's key, as shown in the agent's status.
    pub project_key: Box<str>,
    /// The environment's key, as shown in the agent's status.
    pub env_key: Box<str>,
    /// The secret itself.
    pub value: Secret,
}

/// When the data last changed for one kind of SDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SdkChanges {
    /// The publish sequence of the last change.
    pub changed: u64,
    /// The publish sequence of the last removal, which no patch can express.
    pub removed: u64,
    /// The version that was sent with the last removal: an SDK that asks with an older one gets a full. `i64::MIN` for
    /// none.
    pub removed_version_ms: i64,
}

impl SdkChanges {
    pub const NONE: Self = Self { changed: 0, removed: 0, removed_version_ms: i64::MIN };

    /// Records that something was removed at `sequence`, and that this version was sent with the removal.
    pub fn removed(&mut self, sequence: u64, version_ms: i64) {
        self.removed = sequence;
        self.removed_version_ms = version_ms;
    }

    /// Whether a request for changes since `timestamp_ms` gets a full.
    pub fn needs_full(&self, timestamp_ms: i64) -> bool {
        timestamp_ms == 0 || timestamp_ms > 0 && timestamp_ms < self.removed_version_ms
    }
}

/// When the data last changed for downstream agents. They merge by stamps, so some changes need a full sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RelayChanges {
    /// The publish sequence of the last change.
    pub changed: u64,
    /// The publish sequence at which something was last removed, or replaced by an older state.
    pub removed: u64,
    /// The highest `updatedAt` that ever was in service, in Unix milliseconds; `i64::MIN` for none.
    pub highest_updated_at_ms: i64,
    /// An agent that asks for changes since this time, or an earlier one, needs a full sync: it may lack an older item, or
    /// still have a removed one. `i64::MIN` for none.
    pub watermark_ms: i64,
}

impl RelayChanges {
    pub const NONE: Self =
        Self { changed: 0, removed: 0, highest_updated_at_ms: i64::MIN, watermark_ms: i64::MIN };

    /// The state after a change at `sequence`. `removed`: it removed an item, or replaced one by an older state. `late`: it
    /// added an item that is not newer than everything that was in service. `newest_ms` is the newest `updatedAt` now.
    pub fn after(self, sequence: u64, removed: bool, late: bool, newest_ms: i64) -> Self {
        let watermark_ms = if removed || late {
            self.highest_updated_at_ms.max(self.watermark_ms)
        } else {
            self.watermark_ms
        };
        let removed = if removed { sequence } else { self.removed };
        Self {
            changed: sequence,
            removed,
            highest_updated_at_ms: self.highest_updated_at_ms.max(newest_ms),
            watermark_ms,
        }
    }
}

/// An environment as it was at one publish sequence.
#[derive(Clone)]
pub struct Environment {
    pub(super) slot: EnvironmentSlot,
    pub(super) id: EnvironmentId,
    pub(super) label: Arc<str>,
    pub(super) secrets: Arc<[ListedSecret]>,
    pub(super) flags: Table<FlagData>,
    pub(super) segments: Table<SegmentData>,
    pub(super) server: SdkChanges,
    pub(super) client: SdkChanges,
    pub(super) for_relays: RelayChanges,
    /// The highest version that any SDK was sent, in Unix milliseconds; `i64::MIN` for none.
    pub(super) highest_version_ms: i64,
    /// The highest version that an SDK has asked with, if it is higher than that. Shared with the environment in earlier and
    /// later snapshots.
    pub(super) requested_version_ms: Arc<AtomicI64>,
    pub(super) ring: Ring,
    pub(super) cache: Cache,
}

impl Environment {
    pub(super) fn empty(slot: EnvironmentSlot, id: EnvironmentId) -> Self {
        Self {
            slot,
            id,
            label: Arc::from(id.to_string()),
            secrets: Arc::from([]),
            flags: Table::empty(),
            segments: Table::empty(),
            server: SdkChanges::NONE,
            client: SdkChanges::NONE,
            for_relays: RelayChanges::NONE,
            highest_version_ms: i64::MIN,
            requested_version_ms: Arc::new(AtomicI64::new(i64::MIN)),
            ring: Ring::default(),
            cache: Cache::default(),
        }
    }

    /// Sets the secrets that the dataset lists, and the label, which comes from the first of them.
    pub(super) fn set_secrets(&mut self, secrets: &[ListedSecret]) {
        self.label = Arc::from(match secrets.first() {
            Some(first) => format!("{}:{}", first.project_key, first.env_key),
            None => self.id.to_string(),
        });
        self.secrets = Arc::from(secrets);
    }

    /// Its index in every snapshot.
    pub fn slot(&self) -> EnvironmentSlot {
        self.slot
    }

    /// Its id.
    pub fn id(&self) -> EnvironmentId {
        self.id
    }

    /// `projectKey:envKey` of its first secret, else its id.
    pub fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// The publish sequence at which it last changed for server or client SDKs.
    pub fn sequence(&self) -> u64 {
        self.server.changed.max(self.client.changed)
    }

    /// Whether a server SDK that is up to date with `from_sequence` lacks anything.
    pub fn server_changed_since(&self, from_sequence: u64) -> bool {
        self.server.changed > from_sequence
    }

    /// Whether a client SDK that is up to date with `from_sequence` may lack anything.
    pub fn client_changed_since(&self, from_sequence: u64) -> bool {
        self.client.changed > from_sequence
    }

    /// Records that an SDK asks for changes since `timestamp_ms`. If this is higher than every version sent here (the SDK got
    /// it from another agent, or from this one before a restart), the next change gets a higher version still. A time in the
    /// future is ignored, because no agent sends one.
    pub fn record_requested_version(&self, timestamp_ms: i64, wall_ms: impl FnOnce() -> i64) {
        if timestamp_ms > self.highest_version_ms && timestamp_ms <= wall_ms() {
            self.requested_version_ms.fetch_max(timestamp_ms, Ordering::Relaxed);
        }
    }

    /// The next change needs a version higher than this; `i64::MIN` if nothing was sent yet.
    pub(super) fn version_floor_ms(&self) -> i64 {
        self.highest_version_ms.max(self.requested_version_ms.load(Ordering::Relaxed))
    }

    /// The highest `updatedAt` that ever was in service, in Unix milliseconds.
    pub fn highest_updated_at_ms(&self) -> Option<i64> {
        Some(self.for_relays.highest_updated_at_ms).filter(|ms| *ms != i64::MIN)
    }

    /// The highest `updatedAt` among the items it has now, in Unix milliseconds.
    pub fn newest_updated_at_ms(&self) -> Option<i64> {
        let newest_ms = self.flags.newest.updated_at_ms.max(self.segments.newest.updated_at_ms);
        Some(newest_ms).filter(|ms| *ms != i64::MIN)
    }

    /// Bytes of the full message to a server SDK. The Rust SDK accepts no more than 1 MiB.
    pub fn full_bytes(&self) -> usize {
        server_full_len(self.flags.encoded_bytes() + self.segments.encoded_bytes())
    }

    /// The secrets that the dataset lists for it. Never to be logged.
    pub fn listed_secrets(&self) -> &[ListedSecret] {
        &self.secrets
    }

    /// Whether the dataset lists a secret for it.
    pub fn has_secrets(&self) -> bool {
        !self.secrets.is_empty()
    }

    /// The flag that SDKs get under this key. The first call after a change looks at all flags.
    pub fn flag(&self, key: &str) -> Option<&Flag> {
        self.flags_by_key().find(&self.flags, key)
    }

    /// Whether FeatBit wants usage events about every flag.
    pub fn all_insights_enabled(&self) -> bool {
        self.flags_by_key().all_insights
    }

    fn flags_by_key(&self) -> &FlagsByKey {
        self.cache.flags_by_key.get_or_init(|| Arc::new(FlagsByKey::new(&self.flags)))
    }

    /// How many flags it has.
    pub fn flag_count(&self) -> usize {
        self.flags.len()
    }

    /// How many segments it has.
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }
}

/// Prints which environment it is: items and secrets must not get into logs.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Environment({}, {}, sequence {})", self.slot.0, self.label, self.sequence())
    }
}
