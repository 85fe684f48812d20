//! What the writer knows of each environment besides the snapshot.
//!
//! Must be used by the writer only: positions for fast look-ups, and data of environments that may come back.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::environment_id::EnvironmentId;
use crate::store::environment::EnvironmentSlot;
use crate::store::state::Versions;
use crate::store::table::Positions;

/// The ids of flags that share a key, or did before the current publish; one list per key.
pub(super) type Duplicates = Vec<Vec<Arc<str>>>;

/// One environment.
pub(super) struct Record {
    pub id: EnvironmentId,
    pub flags: Positions,
    pub segments: Positions,
    /// Flags that share a key.
    pub duplicates: Duplicates,
    /// The highest version that SDKs were sent, or asked with, by the time the environment went out of service: needed if
    /// it comes back.
    pub highest_version_ms: i64,
    /// The highest `updatedAt` that it ever had by then.
    pub highest_updated_at_ms: i64,
}

impl Record {
    fn new(id: EnvironmentId) -> Self {
        Self {
            id,
            flags: Positions::default(),
            segments: Positions::default(),
            duplicates: Duplicates::new(),
            highest_version_ms: i64::MIN,
            highest_updated_at_ms: i64::MIN,
        }
    }

    /// The highest versions of an environment that is out of service.
    pub fn versions(&self) -> Versions {
        Versions {
            highest_ms: self.highest_version_ms,
            requested_ms: i64::MIN,
            highest_updated_at_ms: self.highest_updated_at_ms,
        }
    }

    /// Records that the environment went out of service, with its highest version and `updatedAt`.
    pub fn close(&mut self, highest_version_ms: i64, highest_updated_at_ms: i64) {
        *self = Self { highest_version_ms, highest_updated_at_ms, ..Self::new(self.id) };
    }
}

/// All environments that ever were in service, by slot.
#[derive(Default)]
pub(super) struct Records {
    slots: HashMap<EnvironmentId, EnvironmentSlot>,
    records: Vec<Record>,
}

impl Records {
    /// The slot of an environment; a new environment gets a new one.
    pub fn slot_of(&mut self, id: EnvironmentId) -> EnvironmentSlot {
        *self.slots.entry(id).or_insert_with(|| {
            self.records.push(Record::new(id));
            EnvironmentSlot(self.records.len() as u32 - 1)
        })
    }

    /// The slot of an environment; `None` if it never was in service.
    pub fn find(&self, id: EnvironmentId) -> Option<EnvironmentSlot> {
        self.slots.get(&id).copied()
    }

    pub fn get(&self, slot: EnvironmentSlot) -> Option<&Record> {
        self.records.get(slot.0 as usize)
    }

    pub fn get_mut(&mut self, slot: EnvironmentSlot) -> Option<&mut Record> {
        self.records.get_mut(slot.0 as usize)
    }

    /// All records in the order of their slots.
    pub fn all(&self) -> impl Iterator<Item = (EnvironmentSlot, &Record)> {
        (0..).map(EnvironmentSlot).zip(&self.records)
    }
}
