//! The single writer: puts a change in service, announces it to every reactor, and ends grace periods. `dataset` and
//! `upstream` parse and merge new data.
//!
//! Must not serve a connection, nor wait for a reactor.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::fanout::mailbox::{InService, Mail, Mailbox};
use crate::model::parse::DatasetError;
use crate::model::stamp::Edition;
use crate::store::{Change, ChangedSinceRequest, Moment, Snapshot, State, Writer, WriterOptions};
use crate::telemetry::metrics::{Metrics, WriterMetrics};

use super::following::{Following, UpstreamStatus};
use super::membership::Membership;
use super::sink::{Answer, ChangeSink, ChangeSinks, Origin};

/// The single writer.
pub struct Ingest {
    pub(super) writer: Writer,
    reactors: Vec<Mailbox>,
    current: Arc<ArcSwap<Snapshot>>,
    pub(super) following: Arc<Following>,
    pub(super) metrics: Arc<WriterMetrics>,
    started: Instant,
    pub(super) wall_ms: fn() -> i64,
    /// The random name of this process.
    pub(super) instance: String,
    pub(super) sinks: ChangeSinks,
    pub(super) membership: Membership,
    /// The data file that the restored data has loaded.
    pub(super) restored_file: Option<Box<str>>,
}

impl Ingest {
    /// A writer that announces to `reactors` and publishes in `current`.
    pub fn new(
        options: WriterOptions,
        reactors: Vec<Mailbox>,
        current: Arc<ArcSwap<Snapshot>>,
        following: Arc<Following>,
        metrics: &Metrics,
        wall_ms: fn() -> i64,
    ) -> Self {
        let writer = Writer::new(options);
        current.store(writer.current().clone());
        Self {
            writer,
            reactors,
            current,
            following,
            metrics: metrics.writer(),
            started: Instant::now(),
            wall_ms,
            instance: String::new(),
            sinks: ChangeSinks::default(),
            membership: Membership::default(),
            restored_file: None,
        }
    }

    /// Sets the name of this process, by which two editions of the same millisecond differ.
    pub fn set_instance(&mut self, instance: &str) {
        instance.clone_into(&mut self.instance);
    }

    /// Joins a cluster, whose agents get every change from `sink`. What they have is newer than a data file that they have
    /// loaded before.
    pub fn join_cluster(&mut self, sink: Box<dyn ChangeSink>, wait: Duration) {
        self.membership.is_member = true;
        self.add_sink(sink, wait);
    }

    /// Continues with a saved state, before there is any other data. Unknown secrets are pending until the sources have
    /// started ([`Self::sources_started`]).
    ///
    /// # Errors
    /// If an item of it cannot be read.
    pub fn restore(&mut self, options: WriterOptions, state: State) -> Result<(), DatasetError> {
        let data_file = state.head.data_file.clone();
        self.writer = Writer::restore(options, state, self.now())?;
        self.writer.leave_undecided();
        self.restored_file = data_file;
        let snapshot = self.writer.current().clone();
        let environments = snapshot.environments().map(|environment| environment.slot()).collect();
        let change =
            Change { snapshot: snapshot.clone(), environments, secrets_changed: true, items: Vec::new() };
        self.announce_to_reactors(&Arc::new(change), Instant::now(), None);
        self.count(&snapshot);
        Ok(())
    }

    /// Every source has had the chance to load what is newer than the saved state: a data file, say. Where no server is
    /// followed, secrets that the data lacks are unknown from now on.
    pub fn sources_started(&mut self) {
        if let Some(change) = self.writer.decide() {
            self.announce_to_reactors(&change, Instant::now(), None);
        }
    }

    /// The dataset that comes next begins a new edition, which is higher than any seen so far.
    pub(super) fn open_edition(&mut self) {
        let now_ms = (self.wall_ms)();
        let history = self.writer.history_mut();
        let highest_ms = history.highest_edition_ms.max(history.edition.opened_at_ms);
        history.edition = Edition::after(highest_ms, now_ms, &self.instance);
        history.highest_edition_ms = history.edition.opened_at_ms;
        self.membership.pending_data_file = None;
    }

    /// A full sync is requested: from now on, changes by other agents of the cluster are newer than what it brings.
    pub fn full_sync_requested(&mut self) {
        self.membership.changed_since_request = ChangedSinceRequest::new();
    }

    /// Milliseconds since the start, by a monotonic clock: for grace periods.
    pub fn now_ms(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// Sends every reactor the names of the agents upstream of this one, the nearest first.
    pub fn announce_path(&self, upstream: &[String]) {
        let upstream: Arc<[String]> = upstream.into();
        for reactor in &self.reactors {
            reactor.post(Mail::Path(upstream.clone()));
        }
    }

    /// Changes the upstream status, and notifies every reactor if the state is another.
    pub fn update_status(&self, change: impl FnOnce(&mut UpstreamStatus)) {
        let before = self.following.state();
        self.following.update(change);
        if self.following.state() != before {
            for reactor in &self.reactors {
                reactor.post(Mail::UpstreamStatus);
            }
        }
    }

    /// The upstream status and requests for a full sync, shared with the reactors.
    pub fn following(&self) -> &Following {
        &self.following
    }

    /// The time for data that arrives now.
    pub(super) fn now(&self) -> Moment {
        Moment { steady_ms: self.now_ms(), wall_ms: (self.wall_ms)() }
    }

    /// When to call [`Ingest::expire`] next, by [`Ingest::now_ms`]; `None` if no grace period will be due.
    pub fn next_expiry_ms(&self) -> Option<i64> {
        self.writer.next_expiry_ms()
    }

    /// Ends grace periods that are over. Returns whether some are due but wait for a full sync, which still has to be
    /// requested or answered.
    pub fn expire(&mut self) -> bool {
        let now_ms = self.now_ms();
        if let Some(change) = self.writer.expire(self.now()) {
            tracing::info!("the grace period of revoked secrets is over; their connections are closed");
            self.count(&change.snapshot);
            self.announce(&change, Instant::now(), Origin::Own, None);
        }
        let awaiting = self.writer.await_full_sync(now_ms, self.following.requested_full_syncs());
        if awaiting.new > 0 {
            tracing::info!(
                due = awaiting.new,
                "the grace period of revoked secrets or environments is due; they stay in service until a full sync, which \
                 the agent requests now, confirms that they were removed"
            );
        }
        awaiting.all > 0
    }

    /// Frees snapshots that no reactor uses any more.
    pub fn sweep(&mut self) {
        self.writer.sweep();
        self.forget_old_removals();
        self.count_patterns();
    }

    /// Updates the metrics of regular expressions.
    fn count_patterns(&self) {
        let usage = self.writer.pattern_usage();
        self.metrics.regex_bytes.set(usage.bytes() as u64);
        self.metrics.regex_too_large.set(usage.too_large());
        self.metrics.regex_too_many.set(usage.too_many());
        self.metrics.regex_given_up.set(usage.given_up());
    }

    /// Sends a change to every reactor, and to all that keep changes. The last reference to `answer` is dropped when every
    /// reactor serves the new snapshot and the change is durable.
    pub(super) fn announce(
        &mut self,
        change: &Arc<Change>,
        arrived: Instant,
        origin: Origin,
        answer: Option<Arc<Answer>>,
    ) {
        let before = self.current.load_full();
        let waiting = answer.clone();
        self.announce_to_reactors(change, arrived, waiting.map(|waiting| InService::new(|| drop(waiting))));
        self.keep(&before, Some(change), origin, answer.as_ref());
    }

    fn announce_to_reactors(
        &mut self,
        change: &Arc<Change>,
        arrived: Instant,
        in_service: Option<Arc<InService>>,
    ) {
        // Encoded here, so that no reactor has to. Only the first time is expensive: unchanged parts are shared.
        for slot in &change.environments {
            if let Some(environment) = change.snapshot.environment(*slot) {
                environment.build_full();
            }
        }
        self.current.store(change.snapshot.clone());
        self.metrics.published.add(1);
        for reactor in &self.reactors {
            let change = change.clone();
            reactor.post(Mail::Change { change, arrived, in_service: in_service.clone() });
        }
    }

    /// Updates the metrics of the data in service.
    pub(super) fn count(&self, snapshot: &Snapshot) {
        let (mut environments, mut flags, mut segments) = (0, 0, 0);
        for environment in snapshot.environments() {
            environments += 1;
            flags += environment.flag_count() as u64;
            segments += environment.segment_count() as u64;
        }
        self.metrics.data_version.set(u64::try_from(snapshot.data_version()).unwrap_or(0));
        self.metrics.environments.set(environments);
        self.metrics.flags.set(flags);
        self.metrics.segments.set(segments);
        self.metrics.secrets.set(snapshot.secret_count() as u64);
        self.count_patterns();
    }
}
