//! What the worker tells, merged into the data.
//!
//! Must not block: the worker waits for this thread, never the other way round.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::register::{Register, stamp_of};
use super::sink;
use super::texts::{self, Sorted};
use crate::ingest::{ClusterEdition, ClusterItems, Ingest, ResyncReason};
use crate::model::dataset::{Dataset, EnvironmentDef, LeftOut};
use crate::model::parse::DatasetText;
use crate::model::stamp::Edition;
use crate::persist::redis::{self, Command, Data, Event, Record, Worker};
use crate::protocol::to_relay::ToRelay;
use crate::store::{ClusterList, Removal};
use crate::sync::source::Source;

/// The worker wakes the thread; this is only how often the thread looks by itself.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How long after the first sight of an unknown secret the cluster is asked. What another agent has just taken in is in Redis
/// by then; and as anybody can send unknown secrets, Redis is not asked more often.
const CHECK_AFTER: Duration = Duration::from_secs(2);

/// The cluster's Redis as a source of data.
pub struct RedisSource {
    worker: Arc<Worker>,
    wall_ms: fn() -> i64,
    /// The edition of the events that come, and their records, until the last one. Items come before the list that has their
    /// environment.
    coming: Option<(Edition, Vec<Record>)>,
    /// What could not be read, as it was last logged.
    logged: Option<String>,
    /// Whether to ask the cluster for what is new, since an SDK has sent a secret that the data lacks.
    wants_check: bool,
    /// When to ask.
    check_at: Instant,
}

impl RedisSource {
    /// A source of what `worker` reads.
    pub fn new(worker: Arc<Worker>, wall_ms: fn() -> i64) -> Self {
        Self { worker, wall_ms, coming: None, logged: None, wants_check: false, check_at: Instant::now() }
    }

    /// Asks the cluster soon whether it knows the secrets that this agent does not.
    fn want_check(&mut self, ingest: &Ingest) {
        if ingest.asks_cluster() && !self.wants_check {
            self.wants_check = true;
            self.check_at = Instant::now() + CHECK_AFTER;
        }
    }

    fn data(&mut self, ingest: &mut Ingest, data: Data) {
        ingest.saw_edition(&data.edition);
        if data.first {
            self.coming = Some((data.edition.clone(), Vec::new()));
        }
        // Parts without the first one, or of another edition, mean nothing: the worker begins anew.
        let Some((edition, records)) = &mut self.coming else { return };
        if *edition != data.edition {
            return self.coming = None;
        }
        records.extend(data.records);
        if !data.last {
            return;
        }
        let Some((edition, records)) = self.coming.take() else { return };
        // This agent began a higher edition while this was on its way.
        if edition < *ingest.edition() {
            return;
        }
        // A data file that was loaded at the start, and that the cluster does not know, is newer than what the cluster has.
        if data.is_complete && ingest.decide_data_file(&data.digests) {
            return;
        }
        if edition > *ingest.edition() {
            self.adopt(ingest, edition, data.register, &records);
        } else {
            self.merge(ingest, data.register, &records, data.is_complete);
        }
    }

    fn merge(
        &mut self,
        ingest: &mut Ingest,
        register: Option<redis::Register>,
        records: &[Record],
        is_catch_up: bool,
    ) {
        let arrived = Instant::now();
        let sorted = Sorted::of(records);
        let mut text = DatasetText::new(sorted.patch());
        let mut dataset = match ToRelay::parse(&mut text) {
            Ok(ToRelay::Patch(dataset)) => dataset,
            Ok(_) => Dataset::default(),
            Err(error) => return self.reject(ingest, &error.to_string()),
        };
        sorted.set_sent_versions(&mut dataset);
        self.report(&sorted, &dataset.left_out);
        let parsed = register.as_ref().and_then(|register| self.register(ingest, register));
        let mut list_text = DatasetText::new(parsed.as_ref().map_or(Vec::new(), texts::list));
        let list = match (&register, &parsed) {
            (Some(register), Some(parsed)) => match environments(&mut list_text) {
                Ok(environments) => {
                    let list = cluster_list(environments, parsed, (self.wall_ms)());
                    Some((stamp_of(register), list))
                }
                Err(error) => return self.reject(ingest, &error),
            },
            _ => None,
        };
        let (mut flags, mut segments) = (Vec::new(), Vec::new());
        for environment in dataset.environments {
            flags.extend(environment.flags);
            segments.extend(environment.segments);
        }
        let removals = sorted.removals.iter().map(|(environment, removal)| Removal {
            env_id: *environment,
            kind: removal.kind,
            id: &removal.id,
            updated_at_ms: removal.updated_at_ms,
        });
        let removals = removals.collect();
        ingest.merge_cluster(ClusterItems { list, flags, segments, removals, is_catch_up }, arrived);
    }

    fn adopt(
        &mut self,
        ingest: &mut Ingest,
        edition: Edition,
        register: Option<redis::Register>,
        records: &[Record],
    ) {
        let arrived = Instant::now();
        let Some(register) = register else {
            return self.reject(ingest, "an edition came without its list of environments");
        };
        let Some(parsed) = self.register(ingest, &register) else { return };
        let sorted = Sorted::of(records);
        let mut text = DatasetText::new(sorted.full(&parsed));
        let mut dataset = match full(&mut text) {
            Ok(dataset) => dataset,
            Err(error) => return self.reject(ingest, &error),
        };
        sorted.set_sent_versions(&mut dataset);
        self.report(&sorted, &dataset.left_out);
        let list = cluster_list(Vec::new(), &parsed, (self.wall_ms)());
        let stamp = stamp_of(&register);
        let tombstones = sorted.removals.clone();
        ingest.adopt_cluster(ClusterEdition { edition, stamp, list, dataset, tombstones }, arrived);
    }

    fn register(&mut self, ingest: &Ingest, register: &redis::Register) -> Option<Register> {
        if register.stamp.0 == 0 && register.body.is_empty() {
            return None;
        }
        match Register::parse(&register.body) {
            Ok(register) => Some(register),
            Err(place) => {
                self.reject(
                    ingest,
                    &format!("the list of environments is not what an agent writes ({place})"),
                );
                None
            }
        }
    }

    /// A list or an edition cannot be used as a whole.
    fn reject(&mut self, ingest: &Ingest, why: &str) {
        ingest.rejected_from_cluster();
        self.unreadable(why);
    }

    /// Counts what could not be read, and logs it once.
    fn report(&mut self, sorted: &Sorted<'_>, left_out: &LeftOut<'_>) {
        self.worker.count_unreadable(sorted.unreadable + left_out.count());
        match (left_out.is_empty(), sorted.unreadable) {
            (true, 0) => {}
            (true, count) => self.unreadable(&format!("{count} records were not written by an agent")),
            (false, _) => self.unreadable(&left_out.to_string()),
        }
    }

    fn unreadable(&mut self, what: &str) {
        if self.logged.as_deref() != Some(what) {
            tracing::error!(
                redis = self.worker.status().address,
                "data in Redis cannot be read and is left out; the last good data stays: {what}. If another program writes \
                 these keys, give the agents a Redis__KeyPrefix of their own"
            );
            self.logged = Some(what.to_owned());
        }
    }
}

impl Source for RedisSource {
    fn receive(&mut self, ingest: &mut Ingest) {
        while let Ok(event) = self.worker.events().try_recv() {
            match event {
                Event::Status(_) => {}
                Event::Data(data) => self.data(ingest, data),
                Event::NeedFullState => {
                    // Redis has nothing newer, so it does not know the file.
                    ingest.decide_data_file(&[]);
                    self.worker.send(if ingest.snapshot().loaded() {
                        sink::full_state(
                            &ingest.full_state(),
                            ingest.snapshot(),
                            ingest.list_is_complete(),
                            (self.wall_ms)(),
                        )
                    } else {
                        Command::Nothing
                    });
                    // What was asked for without a connection is lost.
                    self.want_check(ingest);
                }
                Event::Checked(number) => ingest.confirm_by_cluster(number),
            }
        }
    }

    fn act(&mut self, ingest: &mut Ingest, _grace_due: bool) {
        if self.wants_check && self.check_at <= Instant::now() {
            self.wants_check = false;
            self.worker.send(Command::Check(ingest.following().begin_full()));
        }
    }

    fn wait(&self) -> Duration {
        match self.wants_check {
            true => self.check_at.saturating_duration_since(Instant::now()),
            false => LOOK_EVERY,
        }
    }

    /// Only where no server is followed, which would know better.
    fn refresh(&mut self, ingest: &Ingest, _why: ResyncReason) {
        self.want_check(ingest);
    }
}

fn full(text: &mut DatasetText) -> Result<Dataset<'_>, String> {
    match ToRelay::parse(text) {
        Ok(ToRelay::Full { dataset, .. }) => Ok(dataset),
        Ok(_) => Err("the list of environments cannot be read".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn environments(text: &mut DatasetText) -> Result<Vec<EnvironmentDef<'_>>, String> {
    full(text).map(|dataset| dataset.environments)
}

fn cluster_list<'d>(
    environments: Vec<EnvironmentDef<'d>>,
    register: &Register,
    now_ms: i64,
) -> ClusterList<'d> {
    ClusterList {
        environments,
        is_complete: register.complete,
        leaving_secrets: register.leaving_secrets(now_ms),
        leaving: register.leaving(now_ms),
    }
}
