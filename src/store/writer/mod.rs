//! The single writer: builds the next snapshot from new data.
//!
//! Must not know where data comes from, announce changes, or read a clock. There is one writer, on one thread. It holds
//! what only it needs (compiler, positions, grace periods) and frees old snapshots, so that no reactor ever drops the last
//! reference to a large one.

mod cluster;
mod definition;
mod delta;
mod draft;
mod duplicate_keys;
mod edit;
mod grace;
mod groups;
mod incoming;
mod list;
mod merge;
mod records;
mod resolution;
mod restore;
mod tombstones;
mod version;

use std::collections::HashSet;
use std::sync::Arc;

use draft::{Draft, Workspace};
pub use grace::AwaitingSync;
use grace::{Grace, Now};
use groups::Groups;
pub use incoming::{ClusterData, ClusterList, Removal};
use list::List;
pub use merge::ChangedSinceRequest;
use merge::Incoming;
use tombstones::Tombstone;

use super::change::{Change, Published, Report};
use super::environment::EnvironmentSlot;
use super::snapshot::Snapshot;
use super::state::{Head, TombstoneState};
use crate::eval::{Compiler, PatternUsage, RegexLimits};
use crate::model::dataset::{Dataset, EnvironmentDef};
use crate::model::environment_id::EnvironmentId;
use crate::model::flag::FlagDef;
use crate::model::segment::SegmentDef;
use crate::model::stamp::Edition;

/// How the writer treats new data.
#[derive(Clone, Copy, Debug)]
pub struct WriterOptions {
    /// The grace period in milliseconds: how long, at least, a secret stays valid after the dataset no longer lists it, or
    /// lists it with another type.
    pub revocation_grace_ms: i64,
    /// Limits for regular expressions.
    pub regex_limits: RegexLimits,
    /// Whether the agent follows a server. A dataset is then complete only if a full sync confirms it
    /// ([`Writer::set_answered`]), and a grace period ends only by another full sync ([`Writer::await_full_sync`]).
    pub follows: bool,
    /// Whether the agent belongs to a cluster. Other agents may have data that it lacks, so secrets that the data lacks are
    /// certainly unknown only after a comparison ([`Writer::confirm`]).
    pub in_cluster: bool,
}

impl WriterOptions {
    /// Whether secrets that the data lacks may exist all the same.
    fn has_to_ask(&self) -> bool {
        self.follows || self.in_cluster
    }
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            revocation_grace_ms: 60_000,
            regex_limits: RegexLimits::default(),
            follows: false,
            in_cluster: false,
        }
    }
}

/// The time at which the writer gets new data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds of any monotonic clock: for grace periods.
    pub steady_ms: i64,
    /// Unix milliseconds of the wall clock: for versions.
    pub wall_ms: i64,
}

/// The single writer.
pub struct Writer {
    options: WriterOptions,
    workspace: Workspace,
    current: Arc<Snapshot>,
    /// Old snapshots and changes that reactors may still read.
    old: Vec<Arc<Snapshot>>,
    published: Vec<Arc<Change>>,
    grace: Grace,
    /// The edition and the like. What the snapshot has too (`loaded`, `data_version`) is not kept up to date here.
    history: Head,
    /// The number of the full sync that the data of the next publish answers.
    answered: u64,
    /// The number of the full sync that certainly lacks what it lacks. It ends grace periods, but does not make unknown
    /// secrets certain.
    proved: u64,
}

impl Writer {
    /// A writer with nothing in service yet.
    pub fn new(options: WriterOptions) -> Self {
        Self {
            options,
            workspace: Workspace::new(Compiler::new(options.regex_limits)),
            current: Snapshot::empty(),
            old: Vec::new(),
            published: Vec::new(),
            grace: Grace::default(),
            history: Head::default(),
            answered: 0,
            proved: 0,
        }
    }

    /// The snapshot in service.
    pub fn current(&self) -> &Arc<Snapshot> {
        &self.current
    }

    /// The edition of the dataset that is in service.
    pub fn edition(&self) -> &Edition {
        &self.history.edition
    }

    /// The edition and what else concerns the whole dataset. The next dataset that is loaded belongs to it.
    pub fn history_mut(&mut self) -> &mut Head {
        &mut self.history
    }

    /// The next dataset given to [`Self::replace`] is the answer to the full sync of this number.
    pub fn set_answered(&mut self, number: u64) {
        self.answered = number;
    }

    /// Confirms that what the last full sync, of this number, lacked was removed: grace periods may end. Unknown secrets
    /// stay undecided.
    pub fn set_removals_confirmed(&mut self, number: u64) {
        self.proved = self.proved.max(number);
    }

    /// Confirms that the data in service is the complete answer to the full sync of this number. Returns the change, if
    /// that was not known before. Without data nothing is confirmed: a cluster that has none yet knows of no secret.
    pub fn confirm(&mut self, number: u64) -> Option<Arc<Change>> {
        let knows = !self.options.has_to_ask() || number <= self.current.answered();
        if knows || !self.current.loaded() {
            return None;
        }
        self.answered = number;
        let mut draft = Draft::new(&self.current, &mut self.workspace, i64::MIN);
        draft.set_answered(number);
        let finished = draft.finish();
        self.publish(finished).change
    }

    /// Leaves secrets that the restored data lacks pending until [`Self::decide`]: newer data may be about to come.
    pub fn leave_undecided(&mut self) {
        Arc::make_mut(&mut self.current).answered = 0;
    }

    /// Where no server is followed: no newer data is about to come, so secrets that the data in service lacks are unknown.
    /// Returns the change, if that was not known before.
    pub fn decide(&mut self) -> Option<Arc<Change>> {
        if self.options.has_to_ask() || !self.current.loaded() {
            return None;
        }
        let mut draft = Draft::new(&self.current, &mut self.workspace, i64::MIN);
        draft.set_answered(u64::MAX);
        let finished = draft.finish();
        self.publish(finished).change
    }

    /// Replaces everything by a dataset. It is compared with the data in service: items with the same content stay as
    /// they are, whatever their format; removed environments and secrets stay until their grace period from `now` ends.
    pub fn replace(&mut self, dataset: &Dataset<'_>, now: Moment) -> Published {
        self.replace_except(dataset, &ChangedSinceRequest::new(), now)
    }

    /// The same for a full sync from upstream, with one exception: of the items in `changed`, which were changed since the
    /// full sync was requested, the newer state stays.
    pub fn replace_except(
        &mut self,
        dataset: &Dataset<'_>,
        changed: &ChangedSinceRequest,
        now: Moment,
    ) -> Published {
        self.replace_all(dataset, changed, None, now)
    }

    fn replace_all(
        &mut self,
        dataset: &Dataset<'_>,
        changed: &ChangedSinceRequest,
        cluster: Option<(&ClusterList<'_>, &HashSet<EnvironmentSlot>)>,
        now: Moment,
    ) -> Published {
        self.begin();
        let due = self.now(now);
        let Self { options, workspace, current, grace, answered, .. } = self;
        let slots: Vec<_> =
            dataset.environments.iter().map(|def| workspace.records.slot_of(def.id)).collect();
        let mut draft = Draft::new(current, workspace, now.wall_ms);
        draft.set_loaded();
        draft.set_answered(if options.has_to_ask() { *answered } else { u64::MAX });
        let (cluster, elsewhere) = cluster.unzip();
        let list = List { slots: &slots, environments: &dataset.environments, cluster };
        list.apply(&mut draft, grace, options.revocation_grace_ms, due);
        for (slot, def) in slots.iter().zip(&dataset.environments) {
            let flags = Incoming::All { items: &def.flags, changed };
            let segments = Incoming::All { items: &def.segments, changed };
            draft.add_data(*slot, flags, segments);
        }
        elsewhere.into_iter().flatten().for_each(|slot| draft.removed_elsewhere(*slot));
        draft.complete_data(false);
        let finished = draft.finish();
        self.publish(finished)
    }

    /// Merges single items of a patch from upstream: see [`Self::merge`].
    pub fn upsert(&mut self, flags: &[FlagDef<'_>], segments: &[SegmentDef<'_>], now: Moment) -> Published {
        self.merge(flags, segments, &[], now)
    }

    /// Merges single items and removals by their stamps ([`Stamp`](crate::model::stamp::Stamp)). One that is older than the
    /// item in service, or than its removal, changes nothing. The same set gives the same result in any order, and when
    /// repeated. An unknown environment is created without secrets.
    pub fn merge(
        &mut self,
        flags: &[FlagDef<'_>],
        segments: &[SegmentDef<'_>],
        removals: &[Removal<'_>],
        now: Moment,
    ) -> Published {
        self.begin();
        let due = self.now(now);
        let Self { workspace, current, grace, .. } = self;
        let groups = Groups::of_items(&mut workspace.records, flags, segments, removals);
        let mut draft = Draft::new(current, workspace, now.wall_ms);
        let has_expired = expire(grace, &mut draft, due);
        groups.add_to(&mut draft);
        draft.complete_data(!has_expired);
        let finished = draft.finish();
        self.publish(finished)
    }

    /// Whether this state of an item, or a newer one, was removed, and the item is not in service.
    pub fn is_removed(&self, item: &Removal<'_>) -> bool {
        let tombstone = |slot| self.workspace.tombstones.get(slot, item.kind, item.id);
        let removed_ms = self.workspace.records.find(item.env_id).and_then(tombstone);
        removed_ms.is_some_and(|removed_ms| removed_ms >= item.updated_at_ms)
    }

    /// Replaces all flags and segments of one environment, in this order. Its secrets stay as they are, whatever the
    /// definition says of them, and so does every other environment.
    pub fn replace_items(&mut self, def: &EnvironmentDef<'_>, now: Moment) -> Published {
        self.begin();
        let due = self.now(now);
        let Self { workspace, current, grace, .. } = self;
        let slot = workspace.records.slot_of(def.id);
        let mut draft = Draft::new(current, workspace, now.wall_ms);
        expire(grace, &mut draft, due);
        let none = ChangedSinceRequest::new();
        let flags = Incoming::All { items: &def.flags, changed: &none };
        draft.add_data(slot, flags, Incoming::All { items: &def.segments, changed: &none });
        draft.complete_data(false);
        let finished = draft.finish();
        self.publish(finished)
    }

    /// GraceEnd the grace periods that are over. To be called at [`Self::next_expiry_ms`], and when a full sync was answered.
    /// Returns the change, if there was any.
    pub fn expire(&mut self, now: Moment) -> Option<Arc<Change>> {
        self.sweep();
        let due = self.now(now);
        let Self { workspace, current, grace, .. } = self;
        let mut draft = Draft::new(current, workspace, now.wall_ms);
        if !expire(grace, &mut draft, due) {
            return None;
        }
        draft.complete_data(false);
        let finished = draft.finish();
        self.publish(finished).change
    }

    /// In agent mode, makes grace periods that are due wait for a full sync. They end when a full sync with a number higher
    /// than `asked`, the number of those requested so far, is confirmed and still lacks the secret or environment.
    pub fn await_full_sync(&mut self, now_ms: i64, asked: u64) -> AwaitingSync {
        match self.options.follows {
            true => self.grace.await_full_sync(now_ms, asked),
            false => AwaitingSync::default(),
        }
    }

    /// Forgets removals that were recorded before this time, in Unix milliseconds, and returns them.
    pub fn forget_removals(&mut self, before_ms: i64) -> Vec<(EnvironmentId, TombstoneState)> {
        let Workspace { tombstones, records, .. } = &mut self.workspace;
        let dropped = tombstones.drop_older_than(before_ms).into_iter();
        let states = dropped.filter_map(|(slot, kind, id, tombstone)| {
            let Tombstone { updated_at_ms, removed_at_ms } = tombstone;
            Some((records.get(slot)?.id, TombstoneState { kind, id, updated_at_ms, removed_at_ms }))
        });
        states.collect()
    }

    /// Whether a server is followed.
    pub fn follows(&self) -> bool {
        self.options.follows
    }

    /// How many resources compiled regular expressions use.
    pub fn pattern_usage(&self) -> &Arc<PatternUsage> {
        self.workspace.compiler.pattern_usage()
    }

    /// When the next grace period is due, by [`Moment::steady_ms`]; not of those that wait for a full sync.
    pub fn next_expiry_ms(&self) -> Option<i64> {
        self.grace.next_ms()
    }

    /// Frees old snapshots that no reactor reads any more, and returns how many are still read. Every publish does so
    /// too; call this now and then while nothing is published.
    pub fn sweep(&mut self) -> usize {
        // If the writer has the only reference, no other thread can get another one meanwhile.
        self.published.retain(|change| Arc::strong_count(change) > 1);
        self.old.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        self.old.len()
    }

    /// What decides whether a grace period is over.
    fn now(&self, now: Moment) -> Now {
        let answered = self.options.follows.then(|| self.current.answered().max(self.proved));
        Now { now_ms: now.steady_ms, answered }
    }

    /// Frees unused data before new data is compiled, so that it does not count against the limits of regular expressions.
    fn begin(&mut self) {
        self.sweep();
        self.workspace.compiler.begin_change();
    }

    /// Puts a finished draft in service, if it changed anything.
    fn publish(&mut self, (change, report): (Option<Change>, Report)) -> Published {
        let change = change.map(|change| {
            let old = std::mem::replace(&mut self.current, Arc::clone(&change.snapshot));
            self.old.push(old);
            let change = Arc::new(change);
            self.published.push(Arc::clone(&change));
            change
        });
        self.sweep();
        Published { change, report }
    }
}

/// Takes secrets and environments out of service whose grace period is over. Returns whether there were any.
fn expire(grace: &mut Grace, draft: &mut Draft<'_, '_>, now: Now) -> bool {
    if !grace.is_over(now) {
        return false;
    }
    let mut secrets = (*draft.next.secrets).clone();
    if grace.expire_secrets(&mut secrets, now) {
        draft.set_secrets(secrets);
    }
    grace.expire_environments(now).into_iter().for_each(|slot| draft.remove(slot));
    true
}
