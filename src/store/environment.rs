//! One environment of a snapshot.
//!
//! Must not change once published, nor know connections. It holds the items, what was removed and when, and
//! the last changes as they go out; `server` and `client` answer SDKs from it, `writer` makes its successor.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;

use super::item::{FlagData, SegmentData};
use super::message::full_len;
use super::ring::Ring;
use super::server::PatchForm;
use super::table::Table;
use crate::model::environment_id::EnvironmentId;
use crate::model::secret::SecretKind;
use crate::payload::Payload;
use crate::protocol::secret::Secret;

/// An environment's place in every snapshot, the same for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnvironmentSlot(pub u32);

/// A secret as the dataset lists it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ListedSecret {
    pub kind: SecretKind,
    pub project_key: Box<str>,
    pub env_key: Box<str>,
    pub value: Secret,
}

/// When something changed for one kind of SDK, by publish sequence and by `updatedAt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct History {
    /// When anything changed.
    pub changed: u64,
    /// When last something was removed or went back, which no patch can tell.
    pub removed: u64,
    /// The highest version that ever was served, in Unix milliseconds; `i64::MIN` for none.
    pub highest_ms: i64,
    /// Who asks for what is newer than this or less may lack something that is older, or hold something
    /// that is gone: gets a full. `i64::MIN` for none.
    pub watermark_ms: i64,
}

impl History {
    pub const NONE: Self = Self { changed: 0, removed: 0, highest_ms: i64::MIN, watermark_ms: i64::MIN };

    /// After a change at `sequence` that removed something or took it back, or brought something that is not
    /// newer than all that was served; `newest_ms` is the newest version there is now.
    pub fn after(self, sequence: u64, removed: bool, late: bool, newest_ms: i64) -> Self {
        let watermark_ms =
            if removed || late { self.highest_ms.max(self.watermark_ms) } else { self.watermark_ms };
        let removed = if removed { sequence } else { self.removed };
        Self { changed: sequence, removed, highest_ms: self.highest_ms.max(newest_ms), watermark_ms }
    }

    /// Whether a request for what is newer than `timestamp_ms` gets a full.
    pub fn needs_full(&self, timestamp_ms: i64) -> bool {
        timestamp_ms == 0 || timestamp_ms > 0 && timestamp_ms <= self.watermark_ms
    }
}

/// When something came that is not newer than all that was served before. Python (before 1.2), Java and Go SDKs take
/// only what is newer than all they have; what they lack, a full brings as soon as there is anything newer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lateness {
    /// When last nothing of a change was newer.
    pub late: u64,
    /// When last something was, and such an SDK could not be brought up to it by patches.
    pub caught_up: u64,
}

impl Lateness {
    /// After a change at `sequence`: `newer` if it brought anything newer, `all_newer` if nothing else.
    pub fn after(self, sequence: u64, newer: bool, all_newer: bool) -> Self {
        match (newer, all_newer && self.late <= self.caught_up) {
            (false, _) => Self { late: sequence, ..self },
            (true, false) => Self { caught_up: sequence, ..self },
            (true, true) => self,
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
    pub(super) server: History,
    pub(super) client: History,
    pub(super) lateness: Lateness,
    pub(super) ring: Ring,
    pub(super) cache: Cache,
}

/// Payloads made when first asked for. Cloned with an environment whose items stay, else begun anew.
#[derive(Clone, Default)]
pub(super) struct Cache {
    pub full_frame: OnceLock<Payload>,
    pub full_body: OnceLock<Payload>,
    pub full_gzip: OnceLock<Payload>,
    /// The last patch that answered a `data-sync`: after a pause, many SDKs ask with the same timestamp.
    pub patch: Arc<ArcSwapOption<SyncPatch>>,
}

/// An answer to a `data-sync` by timestamp.
pub(super) struct SyncPatch {
    pub timestamp_ms: i64,
    pub form: PatchForm,
    pub frames: Arc<[u8]>,
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
            server: History::NONE,
            client: History::NONE,
            lateness: Lateness::default(),
            ring: Ring::default(),
            cache: Cache::default(),
        }
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

    /// The highest `updatedAt` it ever served, in Unix milliseconds.
    pub fn highest_updated_at_ms(&self) -> Option<i64> {
        Some(self.server.highest_ms).filter(|ms| *ms != i64::MIN)
    }

    /// The highest `updatedAt` among the items it has now, in Unix milliseconds.
    pub fn newest_updated_at_ms(&self) -> Option<i64> {
        let newest_ms = self.flags.newest.updated_at_ms.max(self.segments.newest.updated_at_ms);
        Some(newest_ms).filter(|ms| *ms != i64::MIN)
    }

    /// Bytes of the full message to a server SDK. The Rust SDK takes none of more than 1 MiB.
    pub fn full_bytes(&self) -> usize {
        full_len(self.flags.encoded_bytes() + self.segments.encoded_bytes())
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
