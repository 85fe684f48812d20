//! Data from the upstream server: full syncs, single environments and items, and the confirmation that a full sync is complete.
//!
//! Must not decide whether the data can be trusted: `sync` does.

use std::sync::Arc;
use std::time::Instant;

use crate::model::ahead::find_ahead;
use crate::model::dataset::{Dataset, EnvironmentDef};
use crate::model::environment_id::EnvironmentId;
use crate::model::flag::FlagDef;
use crate::model::segment::SegmentDef;
use crate::store::{Published, Removal, Snapshot};
use crate::telemetry::metrics::Source;

use super::report::{
    names_of, report_findings, warn_of_future_dates, warn_of_harm, warn_of_harm_in, warn_of_older,
};
use super::sink::Origin;
use super::writer::Ingest;

impl Ingest {
    /// The snapshot in service.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        self.writer.current()
    }

    /// Whether this state of an item, or a newer one, was removed, and the item is not in service.
    pub fn is_removed(&self, item: &Removal<'_>) -> bool {
        self.writer.is_removed(item)
    }

    /// Replaces all data by that of a full sync. `answered`: the number of the full sync of which it is certainly the complete
    /// answer. Returns the environments in which something changed for SDKs.
    pub fn load_full(
        &mut self,
        dataset: &Dataset<'_>,
        answered: Option<u64>,
        arrived: Instant,
    ) -> Vec<EnvironmentId> {
        if let Some(number) = answered {
            self.writer.set_answered(number);
        }
        let first = !self.snapshot().loaded();
        let before = self.snapshot().clone();
        let published =
            self.writer.replace_except(dataset, &self.membership.changed_since_request, self.now());
        self.begin_edition_if_it_defies_stamps(&published);
        self.membership.list_is_complete = answered.is_some();
        self.synced();
        self.metrics.loaded(u64::try_from(arrived.elapsed().as_micros()).unwrap_or(u64::MAX));
        let changed = self.publish(&published, arrived);
        let (snapshot, report) = (self.snapshot(), &published.report);
        if first || !changed.is_empty() {
            tracing::info!(
                source = Source::Upstream.as_str(),
                serves = snapshot.serves(),
                data_version = snapshot.data_version(),
                added = report.added,
                changed = report.changed,
                removed = report.removed,
                names = names_of(&before, &published),
                warnings = dataset.warnings.len(),
                took_ms = arrived.elapsed().as_millis() as u64,
                "data loaded"
            );
            warn_of_older(report);
            warn_of_harm(dataset);
            warn_of_future_dates(dataset.find_ahead((self.wall_ms)()));
        } else {
            tracing::debug!(source = Source::Upstream.as_str(), "full sync; nothing in it is new");
        }
        changed
    }

    /// Replaces all flags and segments of an environment that is in service. Its secrets stay.
    pub fn load_environment(&mut self, environment: &EnvironmentDef<'_>, arrived: Instant) {
        let before = self.snapshot().clone();
        let published = self.writer.replace_items(environment, self.now());
        self.begin_edition_if_it_defies_stamps(&published);
        self.synced();
        let changed = self.publish(&published, arrived);
        let (snapshot, report) = (self.snapshot(), &published.report);
        tracing::info!(
            source = Source::Upstream.as_str(),
            environment = &*snapshot.label_of(environment.id),
            data_version = snapshot.data_version(),
            added = report.added,
            changed = report.changed,
            removed = report.removed,
            names = names_of(&before, &published),
            took_ms = arrived.elapsed().as_millis() as u64,
            "the server sent the whole of one environment unasked, as it does after a recovery{}",
            if changed.is_empty() { "; nothing in it is new" } else { "" }
        );
        warn_of_older(report);
        let (flags, segments) = (environment.flags.iter(), environment.segments.iter());
        warn_of_future_dates(find_ahead(flags, segments, (self.wall_ms)(), |id| snapshot.label_of(id)));
    }

    /// Merges single items by their stamps. One that is older than the item in service, or than its removal, changes nothing.
    pub fn merge_items(&mut self, flags: &[FlagDef<'_>], segments: &[SegmentDef<'_>], arrived: Instant) {
        let published = self.writer.upsert(flags, segments, self.now());
        self.synced();
        let report = &published.report;
        if published.change.is_some() {
            tracing::debug!(
                source = Source::Upstream.as_str(),
                added = report.added,
                changed = report.changed,
                data_version = self.snapshot().data_version(),
                "data changed"
            );
            let snapshot = self.snapshot();
            let label = |id| snapshot.label_of(id);
            warn_of_future_dates(find_ahead(flags.iter(), segments.iter(), (self.wall_ms)(), label));
            warn_of_harm_in(flags, segments);
        }
        self.publish(&published, arrived);
    }

    /// Confirms that what the last full sync, of this number, lacked was removed, so that grace periods may end.
    pub fn confirm_removals(&mut self, answered: Option<u64>) {
        if let Some(number) = answered {
            self.writer.set_removals_confirmed(number);
        }
    }

    /// Confirms that the data in service is the complete answer to the full sync of this number.
    pub fn confirm(&mut self, number: u64) {
        if let Some(change) = self.writer.confirm(number) {
            self.announce(&change, Instant::now(), Origin::Own, None);
        }
    }

    /// Counts a message of the server whose data was rejected.
    pub fn rejected(&self) {
        self.metrics.rejected(Source::Upstream);
    }

    /// The server went back to older data: other agents of the cluster, which merge by stamps, must take all of it.
    fn begin_edition_if_it_defies_stamps(&mut self, published: &Published) {
        if published.report.defies_stamps {
            self.open_edition();
        }
    }

    fn synced(&self) {
        let now_ms = (self.wall_ms)();
        self.following.update(|status| status.last_synced_ms = Some(now_ms));
    }

    fn publish(&mut self, published: &Published, arrived: Instant) -> Vec<EnvironmentId> {
        let Some(change) = &published.change else { return Vec::new() };
        self.announce(change, arrived, Origin::Own, None);
        self.count(&change.snapshot);
        report_findings(published);
        let environments = change.environments.iter().filter_map(|slot| change.snapshot.environment(*slot));
        environments.map(|environment| environment.id()).collect()
    }
}
