//! One environment of a snapshot.
//!
//! Must not change once published, nor know connections. It holds the items, what was removed and when, and
//! the last changes as they go out; `server` and `client` answer SDKs from it, `writer` makes its successor.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::cache::Cache;
use super::item::{FlagData, SegmentData};
use super::ring::Ring;
use super::table::Table;
use crate::model::environment_id::EnvironmentId;
use crate::model::secret::SecretKind;
use crate::protocol::secret::Secret;
use crate::protocol::to_sdk::server_full_len;

/// An environment's place in every snapshot, the same for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnvironmentSlot(pub u32);

/// A secret as the dataset lists it. Never to be logged.
#[derive(Clone, PartialEq, Eq)]
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

/// When something changed for one kind of SDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SdkChanges {
    /// The publish at which anything changed.
    pub changed: u64,
    /// The publish at which something was last removed, which no patch can tell.
    pub removed: u64,
    /// The version that was told with that: who asks for what is newer than less gets everything. `i64::MIN` for none.
    pub removed_version_ms: i64,
}

impl SdkChanges {
    pub const NONE: Self = Self { changed: 0, removed: 0, removed_version_ms: i64::MIN };

    /// Something was removed at `sequence`, and told with this version.
    pub fn removed(&mut self, sequence: u64, version_ms: i64) {
        self.removed = sequence;
        self.removed_version_ms = version_ms;
    }

    /// Whether a request for what is newer than `timestamp_ms` gets everything.
    pub fn needs_full(&self, timestamp_ms: i64) -> bool {
        timestamp_ms == 0 || timestamp_ms > 0 && timestamp_ms < self.removed_version_ms
    }
}

/// When something changed for agents that follow this one. They merge by stamps, so some
/// changes only a full sync can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RelayChanges {
    /// The publish at which anything changed.
    pub changed: u64,
    /// The publish at which something was last removed or went back.
    pub removed: u64,
    /// The highest `updatedAt` that ever was in service, in Unix milliseconds; `i64::MIN` for none.
    pub highest_updated_at_ms: i64,
    /// Who asks for what is newer than this or less may lack something that is older, or hold something
    /// that is gone: needs a full sync. `i64::MIN` for none.
    pub watermark_ms: i64,
}

impl RelayChanges {
    pub const NONE: Self =
        Self { changed: 0, removed: 0, highest_updated_at_ms: i64::MIN, watermark_ms: i64::MIN };

    /// After a change at `sequence` that removed something or took it back, or brought something that is not
    /// newer than all that was in service; `newest_ms` is the newest `updatedAt` there is now.
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
    /// The highest version that any SDK was told, in Unix milliseconds; `i64::MIN` for none.
    pub(super) highest_version_ms: i64,
    /// The highest version above that which an SDK has asked with; shared by all generations of the environment.
    pub(super) asked_version_ms: Arc<AtomicI64>,
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
            asked_version_ms: Arc::new(AtomicI64::new(i64::MIN)),
            ring: Ring::default(),
            cache: Cache::default(),
        }
    }

    /// Sets the secrets that the dataset lists, and the label, which the first of them gives.
    pub(super) fn set_secrets(&mut self, secrets: &[ListedSecret]) {
        self.label = Arc::from(match secrets.first() {
            Some(first) => format!("{}:{}", first.project_key, first.env_key),
            None => self.id.to_string(),
        });
        self.secrets = Arc::from(secrets);
    }

    /// Its place in every snapshot.
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

    /// The publish sequence at which anything of it last changed, for server or for client SDKs.
    pub fn sequence(&self) -> u64 {
        self.server.changed.max(self.client.changed)
    }

    /// Whether a server SDK brought to `from_sequence` lacks anything.
    pub fn server_changed_since(&self, from_sequence: u64) -> bool {
        self.server.changed > from_sequence
    }

    /// Whether a client SDK brought to `from_sequence` can lack anything.
    pub fn client_changed_since(&self, from_sequence: u64) -> bool {
        self.client.changed > from_sequence
    }

    /// An SDK asks for what is newer than `timestamp_ms`. If that is more than anybody was told here (another agent told
    /// it, or this one before a restart), the next change is told above it, unless it lies in the future: it is then
    /// nobody's version.
    pub fn note_asked(&self, timestamp_ms: i64, wall_ms: impl FnOnce() -> i64) {
        if timestamp_ms > self.highest_version_ms && timestamp_ms <= wall_ms() {
            self.asked_version_ms.fetch_max(timestamp_ms, Ordering::Relaxed);
        }
    }

    /// What the next change has to be told above; `i64::MIN` if nothing was told yet.
    pub(super) fn version_floor_ms(&self) -> i64 {
        self.highest_version_ms.max(self.asked_version_ms.load(Ordering::Relaxed))
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

    /// Bytes of the full message to a server SDK. The Rust SDK takes none of more than 1 MiB.
    pub fn full_bytes(&self) -> usize {
        server_full_len(self.flags.encoded_bytes() + self.segments.encoded_bytes())
    }

    /// Whether the dataset lists a secret that opens it.
    pub fn has_secrets(&self) -> bool {
        !self.secrets.is_empty()
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

/// Says which environment it is; its items and secrets do not belong into logs.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Environment({}, {}, sequence {})", self.slot.0, self.label, self.sequence())
    }
}
