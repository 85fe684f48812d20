//! The writer's work on one thread: parse, merge, publish, announce, report.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::config::Secret;
use crate::fanout::mailbox::{InService, Mail, Mailbox, Reply};
use crate::model::dataset::Dataset;
use crate::model::parse::{DatasetError, DatasetText};
use crate::payload::Payload;
use crate::protocol::status;
use crate::store::{Change, Moment, Published, Snapshot, Writer, WriterOptions};
use crate::telemetry::metrics::{Metrics, Source, WriterMetrics};
use crate::wire::http1::response::error_body;

use super::following::{Following, Standing};
use super::handle::Submission;
use super::inflate::inflate;
use super::report::{LOGGED_MAX, names_of, report_findings, warn_of_dataset, warn_of_harm};

/// What the writer is asked to do.
#[derive(Debug)]
pub enum Job {
    /// A dataset that came by a management call.
    Submission(Submission),
    /// Look at the wishes.
    Wish,
    /// Ask the server by this key from now on.
    Key(Secret),
    /// End.
    Stop,
}

/// What a load brought into service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// `projectKey:envKey` of each environment.
    pub serves: String,
    /// The highest `updatedAt` ever seen.
    pub data_version: i64,
    /// The first things in it that stop or break SDKs.
    pub harms: Vec<String>,
}

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

    /// Tells every reactor which agents are between this one and the source of truth, the nearest first.
    pub fn tell_path(&self, above: &[String]) {
        let above: Arc<[String]> = above.into();
        for reactor in &self.reactors {
            reactor.post(Mail::Path(above.clone()));
        }
    }

    /// Changes where the agent stands, and tells every reactor if FeatBit's word for it is another.
    pub fn stand(&self, change: impl FnOnce(&mut Standing)) {
        let before = self.following.state();
        self.following.update(change);
        if self.following.state() != before {
            for reactor in &self.reactors {
                reactor.post(Mail::Standing);
            }
        }
    }

    /// Where the agent stands, shared with the reactors.
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

    /// Deals with a dataset from a management call; the answer goes out when the data is in service everywhere.
    pub fn take(&mut self, submission: Submission) {
        let Submission { bytes, gzip, bytes_max, mailbox, key, permit } = submission;
        let answer = move |status, body: Vec<u8>| {
            // First: who has the answer may come with the next dataset.
            drop(permit);
            mailbox.post(Mail::Reply { key, reply: Reply { status, body: Payload::private(body) } });
        };
        let bytes = match if gzip { inflate(&bytes, bytes_max) } else { Ok(bytes) } {
            Ok(bytes) => bytes,
            Err(fault) => return answer(fault.status(), error_body(&fault.to_string())),
        };
        match self.load(bytes, Source::Bootstrap, None, Instant::now()) {
            Ok((loaded, change, arrived)) => {
                let body =
                    status::bootstrap_json(&loaded.serves, loaded.data_version, &loaded.harms).into_bytes();
                match change {
                    // The last reactor to serve from the new data sends the answer.
                    Some(change) => {
                        let answer = std::sync::Mutex::new(Some((answer, body)));
                        let in_service = InService::new(move || {
                            let taken = answer.lock().ok().and_then(|mut answer| answer.take());
                            if let Some((answer, body)) = taken {
                                answer(200, body);
                            }
                        });
                        self.announce(&change, arrived, Some(in_service));
                    }
                    None => answer(200, body),
                }
            }
            Err(error) => answer(400, error_body(&error.to_string())),
        }
    }

    /// Loads the content of the data file at `path`, which is named in the log.
    pub fn load_file(&mut self, bytes: Vec<u8>, path: &Path) -> Result<Loaded, DatasetError> {
        let (loaded, change, arrived) = self.load(bytes, Source::File, Some(path), Instant::now())?;
        if let Some(change) = change {
            self.announce(&change, arrived, None);
        }
        Ok(loaded)
    }

    fn load(
        &mut self,
        bytes: Vec<u8>,
        source: Source,
        path: Option<&Path>,
        arrived: Instant,
    ) -> Result<(Loaded, Option<Arc<Change>>, Instant), DatasetError> {
        let mut text = DatasetText::new(bytes);
        let dataset = match text.parse() {
            Ok(dataset) => dataset,
            Err(error) => {
                self.metrics.rejected(source);
                let meanwhile = if self.writer.current().loaded() {
                    "the data in service stays"
                } else {
                    "there is no data yet: SDKs are held, and asked to come back"
                };
                tracing::error!(
                    source = source.as_str(),
                    path = path.map(|path| path.display().to_string()),
                    "a dataset was refused, and {meanwhile}: {error}"
                );
                return Err(error);
            }
        };
        let before = self.writer.current().clone();
        let published = self.writer.replace(&dataset, self.now());
        let now_ms = (self.wall_ms)();
        self.following.update(|standing| standing.last_synced_ms = Some(now_ms));
        let snapshot = self.writer.current();
        let harms = dataset.harms().take(LOGGED_MAX).map(ToString::to_string).collect();
        let loaded = Loaded { serves: snapshot.serves(), data_version: snapshot.data_version(), harms };
        self.metrics.loaded(u64::try_from(arrived.elapsed().as_micros()).unwrap_or(u64::MAX));
        self.count(snapshot);
        self.report(&published, &before, &dataset, source, &loaded, arrived);
        Ok((loaded, published.change, arrived))
    }

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

    fn report(
        &self,
        published: &Published,
        before: &Snapshot,
        dataset: &Dataset<'_>,
        source: Source,
        loaded: &Loaded,
        arrived: Instant,
    ) {
        let (report, warnings) = (&published.report, dataset.warnings.len());
        tracing::info!(
            source = source.as_str(),
            serves = loaded.serves,
            data_version = loaded.data_version,
            added = report.added,
            changed = report.changed,
            removed = report.removed,
            names = names_of(before, published),
            warnings,
            took_ms = arrived.elapsed().as_millis() as u64,
            "{}",
            if published.change.is_some() { "data loaded" } else { "data loaded; nothing in it is new" }
        );
        if published.change.is_some() {
            warn_of_dataset(dataset, (self.wall_ms)());
        }
        if warnings > 0 && published.change.is_some() {
            tracing::warn!(
                "the dataset has {warnings} {}; `featbit-agent check --mode offline --data-file FILE` shows all of them",
                if warnings == 1 { "warning" } else { "warnings" }
            );
            warn_of_harm(dataset);
        }
        for item in report.not_newer.iter().take(LOGGED_MAX) {
            tracing::warn!(
                environment = &*item.environment,
                key = &*item.key,
                "the content changed but `updatedAt` is not newer: SDKs of this agent are told a newer one, so that all of \
                 them take the change; raise it in the data, since FeatBit's server and other agents do not"
            );
        }
        let more = report.not_newer.len().saturating_sub(LOGGED_MAX);
        if more > 0 {
            tracing::warn!("{more} more items changed without a newer `updatedAt`");
        }
        report_findings(published);
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
