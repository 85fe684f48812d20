//! The one writer: makes the next snapshot of new data.
//!
//! Must not know where data comes from, tell anybody of a change, or read a clock. There is one, on one thread;
//! it keeps what only it needs (compiler, positions, graces) and frees old snapshots, so that no reactor
//! ever drops the last reference to a large one.

mod draft;
mod duplicate_keys;
mod edit;
mod grace;
mod merge;
mod resolution;
mod version;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use draft::Round;
use duplicate_keys::Doubled;
pub use grace::HeldOn;
use grace::{Grace, Now};
use merge::Incoming;
use resolution::Resolution;

use super::change::{Change, Ending, Published, Report};
use super::environment::{EnvironmentSlot, ListedSecret};
use super::snapshot::{SecretEntry, Secrets, Snapshot};
use super::table::Positions;
use crate::eval::{Compiler, PatternUsage, RegexLimits};
use crate::model::dataset::{Dataset, EnvironmentDef, Finding};
use crate::model::environment_id::EnvironmentId;
use crate::model::flag::FlagDef;
use crate::model::segment::SegmentDef;
use crate::protocol::secret::Secret;

/// How the writer treats new data.
#[derive(Clone, Copy, Debug)]
pub struct WriterOptions {
    /// How long a secret that the dataset no longer lists, or lists with another type, goes on opening what it
    /// opened at least, in milliseconds.
    pub revocation_grace_ms: i64,
    /// What patterns of regular expressions may cost.
    pub regex_limits: RegexLimits,
    /// Whether there is a server to follow: a dataset is then all there is only as far as a full sync says so
    /// ([`Writer::set_answered`]), and a grace ends only by another one ([`Writer::hold_on`]).
    pub follows: bool,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self { revocation_grace_ms: 60_000, regex_limits: RegexLimits::default(), follows: false }
    }
}

/// What the writer keeps of an environment beside the snapshot.
struct Kept {
    id: EnvironmentId,
    flags: Positions,
    segments: Positions,
    /// Flags that share a key.
    doubled: Doubled,
    /// The highest version that SDKs were told when it went out of service, should it come back.
    told_ms: i64,
    /// The highest `updatedAt` that it then had had.
    passed_highest_ms: i64,
}

/// The time at which new data is taken in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// By any clock that does not go back, in milliseconds: graces are measured by it.
    pub steady_ms: i64,
    /// By the clock of the wall, in Unix milliseconds: versions are raised to it.
    pub wall_ms: i64,
}

/// The one writer.
pub struct Writer {
    options: WriterOptions,
    compiler: Compiler,
    current: Arc<Snapshot>,
    old: Vec<Arc<Snapshot>>,
    slots: HashMap<EnvironmentId, EnvironmentSlot>,
    kept: Vec<Kept>,
    resolution: Resolution,
    grace: Grace,
    /// The number of the full sync that the next publish answers.
    answered: u64,
    /// The number of the full sync that proves at least what of the data is gone.
    proved: u64,
}

impl Writer {
    /// A writer with nothing in service yet.
    pub fn new(options: WriterOptions) -> Self {
        Self {
            options,
            compiler: Compiler::new(options.regex_limits),
            current: Snapshot::empty(),
            old: Vec::new(),
            slots: HashMap::new(),
            kept: Vec::new(),
            resolution: Resolution::default(),
            grace: Grace::default(),
            answered: 0,
            proved: 0,
        }
    }

    /// What is in service.
    pub fn current(&self) -> &Arc<Snapshot> {
        &self.current
    }

    /// What [`Self::replace`] takes in next is the answer to the full sync of this number.
    pub fn set_answered(&mut self, number: u64) {
        self.answered = number;
    }

    /// What the full sync of this number lacked, which was taken in last, is gone for certain; what is unknown may not be.
    pub fn set_proved(&mut self, number: u64) {
        self.proved = self.proved.max(number);
    }

    /// What is in service is the answer to the full sync of this number. Returns the publish, if that is news.
    pub fn confirm(&mut self, number: u64) -> Option<Arc<Change>> {
        if !self.options.follows || number <= self.current.answered() {
            return None;
        }
        self.answered = number;
        let mut round = Round::new(&self.current, i64::MIN);
        round.set_answered(number);
        self.finish(round, Report::default()).change
    }

    /// Replaces everything by a dataset. It is diffed against what is in service: items that say the same, in
    /// whatever form, stay as they are, environments and secrets that are gone stay until `now` + grace.
    pub fn replace(&mut self, dataset: &Dataset<'_>, now: Moment) -> Published {
        let now_ms = now.steady_ms;
        let mut report = Report::default();
        // What nobody reads any more must not count against what is compiled now.
        self.sweep();
        self.compiler.begin_change();
        let slots: Vec<_> = dataset.environments.iter().map(|def| self.slot_of(def.id)).collect();
        let mut round = Round::new(&self.current, now.wall_ms);
        round.set_loaded();
        round.set_answered(if self.options.follows { self.answered } else { u64::MAX });

        let until_ms = now_ms.saturating_add(self.options.revocation_grace_ms);
        let mut secrets = Secrets::default();
        for (slot, def) in slots.iter().zip(&dataset.environments) {
            self.list(*slot, def, &mut round, &mut secrets, &mut report);
            self.grace.listed(*slot);
        }
        let begun = self.grace.carry(&mut secrets, &self.current.secrets, until_ms);
        report.secrets_gone = self.ending(&begun.gone);
        report.secrets_retyped = self.ending(&begun.retyped);
        report.grace_ms = self.options.revocation_grace_ms;
        self.grace.expire_secrets(&mut secrets, self.now(now_ms));
        round.set_secrets(secrets);
        for slot in round.slots() {
            if !slots.contains(&slot)
                && self.grace.gone(slot, until_ms)
                && let Some(gone) = self.current.environment(slot)
            {
                report.removed += gone.flag_count() + gone.segment_count();
            }
        }
        round.set_order(&slots);
        self.remove_due(&mut round, now_ms);

        let mut planned = Vec::with_capacity(slots.len());
        for (slot, def) in slots.iter().zip(&dataset.environments) {
            let (flags, segments) = (Incoming::All(&def.flags[..]), Incoming::All(&def.segments[..]));
            planned.push((*slot, round.merge_segments(self, *slot, flags, segments, &mut report)));
        }
        round.resolve_all(self);
        for (slot, flags) in planned {
            if let Some(flags) = flags {
                round.merge_flags(self, slot, flags, &mut report);
            }
        }
        self.finish(round, report)
    }

    /// Adds or replaces single items, as a patch from upstream has them: one that is older than what is in
    /// service, or says the same, changes nothing. An environment that is not known yet comes to be
    /// without secrets.
    pub fn upsert(&mut self, flags: &[FlagDef<'_>], segments: &[SegmentDef<'_>], now: Moment) -> Published {
        let now_ms = now.steady_ms;
        let mut report = Report::default();
        // What nobody reads any more must not count against what is compiled now.
        self.sweep();
        self.compiler.begin_change();
        let mut groups: Vec<(EnvironmentSlot, Vec<&FlagDef<'_>>, Vec<&SegmentDef<'_>>)> = Vec::new();
        let mut group_of = |slot: EnvironmentSlot| match groups.iter().position(|group| group.0 == slot) {
            Some(at) => at,
            None => {
                groups.push((slot, Vec::new(), Vec::new()));
                groups.len() - 1
            }
        };
        let flag_groups: Vec<_> = flags.iter().map(|flag| group_of(self.slot_of(flag.env_id))).collect();
        let segment_groups: Vec<_> =
            segments.iter().map(|segment| group_of(self.slot_of(segment.env_id))).collect();
        for (flag, at) in flags.iter().zip(flag_groups) {
            groups[at].1.push(flag);
        }
        for (segment, at) in segments.iter().zip(segment_groups) {
            groups[at].2.push(segment);
        }

        let mut round = Round::new(&self.current, now.wall_ms);
        let expired = self.grace.is_over(self.now(now_ms));
        self.expire_in(&mut round, now_ms);
        let mut planned = Vec::with_capacity(groups.len());
        for (slot, flags, segments) in &groups {
            let (flags, segments) = (Incoming::Some(&flags[..]), Incoming::Some(&segments[..]));
            planned.push((*slot, round.merge_segments(self, *slot, flags, segments, &mut report)));
        }
        match expired {
            true => round.resolve_all(self),
            false => round.resolve_changed(self),
        }
        for (slot, flags) in planned {
            if let Some(flags) = flags {
                round.merge_flags(self, slot, flags, &mut report);
            }
        }
        self.finish(round, report)
    }

    /// Puts in service that an environment holds exactly these flags and segments, in this order. Its secrets stay as they
    /// are, whatever the definition says of them, and so does every other environment.
    pub fn replace_items(&mut self, def: &EnvironmentDef<'_>, now: Moment) -> Published {
        let mut report = Report::default();
        // What nobody reads any more must not count against what is compiled now.
        self.sweep();
        self.compiler.begin_change();
        let slot = self.slot_of(def.id);
        let mut round = Round::new(&self.current, now.wall_ms);
        self.expire_in(&mut round, now.steady_ms);
        let (flags, segments) = (Incoming::All(&def.flags[..]), Incoming::All(&def.segments[..]));
        let flags = round.merge_segments(self, slot, flags, segments, &mut report);
        round.resolve_all(self);
        if let Some(flags) = flags {
            round.merge_flags(self, slot, flags, &mut report);
        }
        self.finish(round, report)
    }

    /// Ends the graces that are over; to be called at [`Self::next_expiry_ms`], and when a full sync was answered.
    /// Returns the publish, if there was any.
    pub fn expire(&mut self, now: Moment) -> Option<Arc<Change>> {
        let now_ms = now.steady_ms;
        self.sweep();
        if !self.grace.is_over(self.now(now_ms)) {
            return None;
        }
        let mut round = Round::new(&self.current, now.wall_ms);
        self.expire_in(&mut round, now_ms);
        round.resolve_all(self);
        self.finish(round, Report::default()).change
    }

    /// Where a server is followed, holds on to what is due: its grace is over when a full sync of a number above `asked`,
    /// as many as have been asked for, is answered for certain and still lacks it.
    pub fn hold_on(&mut self, now_ms: i64, asked: u64) -> HeldOn {
        if self.options.follows { self.grace.hold_on(now_ms, asked) } else { HeldOn::default() }
    }

    /// What graces are judged by.
    fn now(&self, now_ms: i64) -> Now {
        Now { now_ms, answered: self.options.follows.then(|| self.current.answered().max(self.proved)) }
    }

    /// What compiled regular expressions take.
    pub fn pattern_usage(&self) -> &Arc<PatternUsage> {
        self.compiler.pattern_usage()
    }

    /// When the next grace is due, by the clock of `now_ms`, that is not held on to.
    pub fn next_expiry_ms(&self) -> Option<i64> {
        self.grace.next_ms()
    }

    /// Frees the old snapshots that nobody reads any more, and returns how many are still read. Every publish
    /// does so too; call it now and then while nothing is published.
    pub fn sweep(&mut self) -> usize {
        // The writer holds one reference; nobody can make another out of it meanwhile.
        self.old.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        self.old.len()
    }

    /// The slot of an environment, the same one each time.
    fn slot_of(&mut self, id: EnvironmentId) -> EnvironmentSlot {
        *self.slots.entry(id).or_insert_with(|| {
            self.kept.push(Kept {
                id,
                flags: Positions::default(),
                segments: Positions::default(),
                doubled: Doubled::new(),
                told_ms: i64::MIN,
                passed_highest_ms: i64::MIN,
            });
            EnvironmentSlot(self.kept.len() as u32 - 1)
        })
    }

    /// Puts what the dataset says of an environment beside its items into `round`.
    fn list(
        &self,
        slot: EnvironmentSlot,
        def: &EnvironmentDef<'_>,
        round: &mut Round,
        secrets: &mut Secrets,
        report: &mut Report,
    ) {
        let mut listed = Vec::with_capacity(def.secrets.len());
        for secret in &def.secrets {
            let Some(value) = Secret::parse(secret.value) else {
                let path = format!("{}:{}.secrets", secret.project_key, secret.env_key);
                report.findings.push(Finding { path, message: "not a secret of 44 characters".to_owned() });
                continue;
            };
            secrets.entry(value).or_insert(SecretEntry { kind: secret.kind, slot, former: None });
            let (project_key, env_key) = (secret.project_key.into(), secret.env_key.into());
            listed.push(ListedSecret { kind: secret.kind, project_key, env_key, value });
        }
        let kept = &self.kept[slot.0 as usize];
        round.list(slot, kept, &listed);
    }

    /// Names the environments, as they were called before, of secrets of which a grace has begun.
    fn ending(&self, slots: &[EnvironmentSlot]) -> Ending {
        let labels = slots.iter().filter_map(|slot| self.current.environment(*slot));
        let labels: BTreeSet<_> = labels.map(|environment| Arc::clone(&environment.label)).collect();
        Ending { secrets: slots.len(), environments: labels.into_iter().collect() }
    }

    fn expire_in(&mut self, round: &mut Round, now_ms: i64) {
        let now = self.now(now_ms);
        if self.grace.is_over(now) {
            let mut secrets = (*round.next.secrets).clone();
            if self.grace.expire_secrets(&mut secrets, now) {
                round.set_secrets(secrets);
            }
            self.remove_due(round, now_ms);
        }
    }

    fn remove_due(&mut self, round: &mut Round, now_ms: i64) {
        for slot in self.grace.expire_environments(self.now(now_ms)) {
            if let Some(gone) = round.remove(slot) {
                let kept = &mut self.kept[slot.0 as usize];
                kept.told_ms = gone.told_or_asked_ms();
                kept.passed_highest_ms = gone.passed.highest_ms;
                kept.doubled = Doubled::new();
                kept.flags = Positions::default();
                kept.segments = Positions::default();
            }
        }
    }

    /// Publishes what `round` made, if it made anything.
    fn finish(&mut self, round: Round, report: Report) -> Published {
        let change = round.finish(self).map(|change| {
            let old = std::mem::replace(&mut self.current, Arc::clone(&change.snapshot));
            self.old.push(old);
            Arc::new(change)
        });
        self.sweep();
        Published { change, report }
    }
}
