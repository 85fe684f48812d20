//! Gives changes of this agent to the worker, which stores them for the other agents.
//!
//! Must not block, nor store again what came from the cluster: the worker compares with what Redis has.

use std::sync::Arc;
use std::time::Duration;

use super::{records, register};
use crate::ingest::{ChangeSink, Origin, PublishedChange};
use crate::model::environment_id::EnvironmentId;
use crate::model::stamp::Edition;
use crate::persist::redis::{Command, Worker};
use crate::store::{ContentsDelta, Delta, Snapshot, TombstoneState};

use super::records::Field;

/// Saves every change in the cluster's Redis.
pub struct RedisSink {
    worker: Arc<Worker>,
    /// The data file of the last change.
    data_file: Option<Box<str>>,
}

impl RedisSink {
    /// A sink that gives changes to `worker`.
    pub fn new(worker: Arc<Worker>) -> Self {
        Self { worker, data_file: None }
    }
}

impl ChangeSink for RedisSink {
    fn accept(&mut self, change: &PublishedChange<'_>) {
        let PublishedChange { delta, snapshot, list_is_complete, origin, at_ms, .. } = *change;
        if delta.is_full_state {
            // A new edition. Another agent's is in Redis already.
            if origin == Origin::Own {
                self.worker.send(full_state(delta, snapshot, list_is_complete, at_ms));
            }
            return;
        }
        let own_register = || register::of_delta(delta, snapshot, list_is_complete, at_ms);
        let register = if origin == Origin::Own { own_register() } else { None };
        let mut records = records::of_delta(delta, snapshot);
        if origin == Origin::Cluster {
            // Only versions that this agent had to raise are new; the place is that of the other agent.
            records.iter_mut().for_each(|record| record.place = 0);
        }
        let digest = delta.head.data_file.clone().filter(|_| self.data_file != delta.head.data_file);
        self.data_file.clone_from(&delta.head.data_file);
        if register.is_some() || !records.is_empty() || digest.is_some() {
            let edition = delta.head.edition.clone();
            self.worker.send(Command::Write { edition, register, records, digest: digest.map(Into::into) });
        }
        for gone in delta.environments.iter().filter(|one| matches!(one.contents, ContentsDelta::Gone)) {
            let edition = delta.head.edition.clone();
            let environment = gone.id.to_string();
            self.worker.send(Command::RemoveEnvironment { edition, environment });
        }
    }

    /// The worker itself asks for the whole state, by an event.
    fn keep_full_state(&mut self, _whole: &Arc<Delta>, _snapshot: &Snapshot, _at_ms: i64) {}

    fn forget(&mut self, edition: &Edition, removals: &[(EnvironmentId, TombstoneState)]) {
        let tombstones = removals.iter().map(|(environment, removal)| {
            let field = Field { environment: *environment, kind: removal.kind, id: &removal.id };
            (field.text(), removal.updated_at_ms)
        });
        self.worker.send(Command::Forget { edition: edition.clone(), tombstones: tombstones.collect() });
    }

    fn stop(&mut self, within: Duration) {
        if !self.worker.stop(within) {
            tracing::warn!(
                "Redis did not answer while the agent stopped, so the agent does not wait any longer. The other agents may \
                 lack its last changes until it runs again"
            );
        }
    }
}

/// The command that stores a whole state.
pub(super) fn full_state(delta: &Delta, snapshot: &Snapshot, list_is_complete: bool, at_ms: i64) -> Command {
    Command::FullState {
        edition: delta.head.edition.clone(),
        register: register::of_delta(delta, snapshot, list_is_complete, at_ms).unwrap_or_default(),
        records: records::of_delta(delta, snapshot),
        digests: delta.head.data_file.iter().map(|digest| digest.to_string()).collect(),
    }
}
