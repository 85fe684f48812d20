//! The single writer: puts a change in service, announces it to every reactor, and ends what is over. What comes in is
//! parsed and merged in `dataset` and `upstream`.
//!
//! Must not serve a connection, nor wait for a reader of what it publishes.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::fanout::mailbox::{InService, Mail, Mailbox};
use crate::store::{Change, Moment, Snapshot, Writer, WriterOptions};
use crate::telemetry::metrics::{Metrics, WriterMetrics};

use super::following::{Following, UpstreamStatus};

/// The single writer.
pub struct Ingest {
    pub(super) writer: Writer,
    reactors: Vec<Mailbox>,
    current: Arc<ArcSwap<Snapshot>>,
    pub(super) following: Arc<Following>,
    pub(super) metrics: Arc<WriterMetrics>,
    started: Instant,
    pub(super) wall_ms: fn() -> i64,
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
        let metrics = metrics.writer();
        Self { writer, reactors, current, following, metrics, started: Instant::now(), wall_ms }
    }

    /// The time by which grace periods are measured, in milliseconds.
    pub fn now_ms(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// Tells every reactor which agents are upstream of this one, the nearest first.
    pub fn announce_path(&self, upstream: &[String]) {
        let upstream: Arc<[String]> = upstream.into();
        for reactor in &self.reactors {
            reactor.post(Mail::Path(upstream.clone()));
        }
    }

    /// Changes the status of the server that is followed, and tells every reactor if its state is another.
    pub fn update_status(&self, change: impl FnOnce(&mut UpstreamStatus)) {
        let before = self.following.state();
        self.following.update(change);
        if self.following.state() != before {
            for reactor in &self.reactors {
                reactor.post(Mail::UpstreamStatus);
            }
        }
    }

    /// The state of the server that is followed, shared with the reactors.
    pub fn following(&self) -> &Following {
        &self.following
    }

    /// The time at which data is taken in.
    pub(super) fn now(&self) -> Moment {
        Moment { steady_ms: self.now_ms(), wall_ms: (self.wall_ms)() }
    }

    /// When [`Ingest::expire`] has something to do, by [`Ingest::now_ms`].
    pub fn next_expiry_ms(&self) -> Option<i64> {
        self.writer.next_expiry_ms()
    }

    /// Ends the grace of revoked secrets whose time has come. Says whether there are some left whose time has come, but
    /// which only a full sync ends that is yet to be asked for, or answered.
    pub fn expire(&mut self) -> bool {
        let now_ms = self.now_ms();
        if let Some(change) = self.writer.expire(self.now()) {
            tracing::info!("the grace of revoked secrets is over; their connections are closed");
            self.count(&change.snapshot);
            self.announce(&change, Instant::now(), None);
        }
        let awaiting = self.writer.await_full_sync(now_ms, self.following.asked());
        if awaiting.new > 0 {
            tracing::info!(
                due = awaiting.new,
                "the grace of revoked secrets or environments is due; they stay in service until a full sync, which is \
                 asked for now, confirms that they are gone"
            );
        }
        awaiting.all > 0
    }

    /// Frees snapshots that no reactor uses any more.
    pub fn sweep(&mut self) {
        self.writer.sweep();
        self.count_patterns();
    }

    /// Publishes what regular expressions take, as metrics.
    fn count_patterns(&self) {
        let usage = self.writer.pattern_usage();
        self.metrics.regex_bytes.set(usage.bytes() as u64);
        self.metrics.regex_too_large.set(usage.too_large());
        self.metrics.regex_too_many.set(usage.too_many());
        self.metrics.regex_given_up.set(usage.given_up());
    }

    /// Puts a change in service for everybody. `in_service` is dropped when every reactor serves from it.
    pub(super) fn announce(
        &mut self,
        change: &Arc<Change>,
        arrived: Instant,
        in_service: Option<Arc<InService>>,
    ) {
        // Encoded here, so that no reactor has to: what did not change is shared, so this is cheap but once.
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

    /// Publishes what is in service as metrics.
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
