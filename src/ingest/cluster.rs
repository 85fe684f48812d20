//! Data of other agents of the cluster.
//!
//! Must not know where they keep it. Which of two editions, lists or items is newer is decided here and in the writer; all
//! agents decide alike.

use std::sync::Arc;
use std::time::Instant;

use crate::model::dataset::Dataset;
use crate::model::environment_id::EnvironmentId;
use crate::model::flag::FlagDef;
use crate::model::segment::SegmentDef;
use crate::model::stamp::{Edition, ListStamp};
use crate::store::{ClusterData, ClusterList, Delta, ItemKind, Published, Removal, TombstoneState};
use crate::telemetry::metrics::Source;

use super::report::report_findings;
use super::sink::Origin;
use super::writer::Ingest;

/// Data of the edition in service.
#[derive(Debug, Default)]
pub struct ClusterItems<'d> {
    /// The list of environments and secrets, with its stamp.
    pub list: Option<(ListStamp, ClusterList<'d>)>,
    /// Flags, with the versions that other agents have sent them with.
    pub flags: Vec<FlagDef<'d>>,
    /// Segments.
    pub segments: Vec<SegmentDef<'d>>,
    /// Removed items.
    pub removals: Vec<Removal<'d>>,
    /// Whether it is part of all that the cluster has, and may be old: not a change that was just announced.
    pub is_catch_up: bool,
}

/// All data of a higher edition.
#[derive(Debug)]
pub struct ClusterEdition<'d> {
    /// The edition.
    pub edition: Edition,
    /// The stamp of `list`.
    pub stamp: ListStamp,
    /// The list of environments and secrets.
    pub list: ClusterList<'d>,
    /// The same environments with their items.
    pub dataset: Dataset<'d>,
    /// Removed items.
    pub tombstones: Vec<(EnvironmentId, TombstoneState)>,
}

impl Ingest {
    /// Whether only the cluster can tell if a secret that the data lacks exists: no server is followed.
    pub fn asks_cluster(&self) -> bool {
        !self.writer.follows()
    }

    /// Everything that the cluster had when this was numbered ([`Following::begin_full`](super::Following::begin_full)) is in
    /// service, so secrets that the data lacks are unknown, unless a server may know them.
    pub fn confirm_by_cluster(&mut self, number: u64) {
        if self.asks_cluster() {
            self.confirm(number);
        }
    }

    /// Whether the list of environments and secrets in service certainly has everything.
    pub fn list_is_complete(&self) -> bool {
        self.membership.list_is_complete
    }

    /// The edition of the data in service.
    pub fn edition(&self) -> &Edition {
        self.writer.edition()
    }

    /// The whole state, for the cluster to compare with.
    pub fn full_state(&self) -> Delta {
        self.writer.full_state(self.now())
    }

    /// Other agents have an edition that began then: the next one of this agent is above it.
    pub fn saw_edition(&mut self, edition: &Edition) {
        let highest_ms = &mut self.writer.history_mut().highest_edition_ms;
        *highest_ms = (*highest_ms).max(edition.opened_at_ms);
    }

    /// Decides whether the data file that was loaded at the start is new: not if the cluster has loaded it before. A new one
    /// begins an edition. Returns whether it did.
    pub fn decide_data_file(&mut self, loaded_before: &[String]) -> bool {
        let Some(digest) = self.membership.pending_data_file.take() else { return false };
        if loaded_before.iter().any(|loaded| **loaded == *digest) {
            tracing::info!(
                source = Source::File.as_str(),
                "the cluster has loaded this data file before, so its data, which may be newer, is used"
            );
            return false;
        }
        self.open_edition();
        let snapshot = self.writer.current().clone();
        self.keep(&snapshot, None, Origin::Own, None);
        true
    }

    /// Counts a list or an edition of the cluster that was rejected.
    pub fn rejected_from_cluster(&self) {
        self.metrics.rejected(Source::Cluster);
    }

    /// Merges data of the edition in service. A list that is not newer than that in service is ignored.
    pub fn merge_cluster(&mut self, items: ClusterItems<'_>, arrived: Instant) {
        let ClusterItems { list, flags, segments, removals, is_catch_up } = items;
        if self.writer.follows() {
            flags.iter().for_each(|flag| {
                self.membership.changed_since_request.add(flag.env_id, ItemKind::Flag, flag.id)
            });
            segments.iter().for_each(|one| {
                self.membership.changed_since_request.add(one.env_id, ItemKind::Segment, one.id)
            });
            removals.iter().for_each(|removal| {
                self.membership.changed_since_request.add(removal.env_id, removal.kind, removal.id)
            });
        }
        let list = list.filter(|(stamp, _)| *stamp > self.writer.history_mut().list);
        let has_list = list.is_some();
        let list = list.map(|(stamp, list)| {
            self.writer.history_mut().list = stamp;
            self.membership.list_is_complete = list.is_complete;
            list
        });
        let data = ClusterData { list, flags: &flags, segments: &segments, removals: &removals };
        let published = self.writer.merge_cluster(&data, self.now());
        if is_catch_up && published.report.added > 0 {
            // The server may have removed it while no agent was there to see that; only a full sync tells.
            self.membership.wants_full_sync = true;
        }
        if published.change.is_some() {
            self.log_cluster(&published, arrived, if has_list { "" } else { "changes of another agent" });
        }
        self.publish_cluster(&published, arrived);
    }

    /// Replaces all data by that of a higher edition.
    pub fn adopt_cluster(&mut self, data: ClusterEdition<'_>, arrived: Instant) {
        let history = self.writer.history_mut();
        history.highest_edition_ms = history.highest_edition_ms.max(data.edition.opened_at_ms);
        history.edition = data.edition;
        history.list = data.stamp;
        self.membership.list_is_complete = data.list.is_complete;
        self.membership.pending_data_file = None;
        let published = self.writer.adopt(&data.dataset, &data.list, &data.tombstones, self.now());
        self.membership.wants_full_sync = true;
        self.log_cluster(&published, arrived, "");
        if published.change.is_none() {
            let snapshot = self.writer.current().clone();
            self.keep(&snapshot, None, Origin::Cluster, None);
        }
        self.publish_cluster(&published, arrived);
    }

    /// Whether a full sync from the server is needed, since data of other agents was taken over. Asked once in each turn.
    pub fn take_wants_full_sync(&mut self) -> bool {
        std::mem::take(&mut self.membership.wants_full_sync)
    }

    fn log_cluster(&self, published: &Published, arrived: Instant, changes: &str) {
        let (snapshot, report) = (self.writer.current(), &published.report);
        if changes.is_empty() {
            tracing::info!(
                source = Source::Cluster.as_str(),
                serves = snapshot.serves(),
                data_version = snapshot.data_version(),
                added = report.added,
                changed = report.changed,
                removed = report.removed,
                took_ms = arrived.elapsed().as_millis() as u64,
                "data loaded from the cluster"
            );
        } else {
            tracing::debug!(
                source = Source::Cluster.as_str(),
                added = report.added,
                changed = report.changed,
                removed = report.removed,
                "{changes}"
            );
        }
    }

    fn publish_cluster(&mut self, published: &Published, arrived: Instant) {
        let now_ms = (self.wall_ms)();
        self.following.update(|status| status.last_synced_ms = Some(now_ms));
        let Some(change) = &published.change else { return };
        let change = Arc::clone(change);
        self.announce(&change, arrived, Origin::Cluster, None);
        self.count(&change.snapshot);
        report_findings(published);
    }
}
