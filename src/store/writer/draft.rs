//! The making of one snapshot out of the one before.
//!
//! Must not decide when or why: the writer says what came in. Here it is merged, segments are resolved, and
//! what changed for whom is written into each environment's history.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::duplicate_keys::{find_doubled, settle_doubled};
use super::edit::{Counts, Edit};
use super::merge::{Definition, Incoming, Plan, id_of};
use super::resolution::Resolved;
use super::version::Date;
use super::{Kept, Writer};
use crate::model::dataset::Finding;
use crate::model::flag::FlagDef;
use crate::model::segment::SegmentDef;
use crate::store::change::{Change, Forgotten, Report};
use crate::store::environment::{Cache, Environment, EnvironmentSlot, ListedSecret};
use crate::store::item::{FlagData, Item, SegmentData, Served, Text};
use crate::store::served::served_text;
use crate::store::snapshot::{SecretEntry, Secrets, Snapshot};
use crate::store::table::Entry;

/// One publish in the making.
pub(super) struct Round {
    /// The snapshot as far as it is made.
    pub next: Snapshot,
    pub secrets_changed: bool,
    /// Whether anything differs from the snapshot before.
    differs: bool,
    /// Whether another copy of a segment may count than before.
    unresolved: bool,
    resolved: Resolved,
    edits: BTreeMap<EnvironmentSlot, Edit>,
    wall_ms: i64,
}

/// The flags of one environment, planned: they are compiled when the segments of all environments are known.
pub(super) struct PlannedFlags<'d, 'a> {
    plan: Plan<'d, FlagDef<'a>>,
    versions: Vec<i64>,
}

impl Round {
    pub fn new(current: &Arc<Snapshot>, wall_ms: i64) -> Self {
        let next = Snapshot { sequence: current.sequence + 1, ..(**current).clone() };
        Self {
            next,
            secrets_changed: false,
            differs: false,
            unresolved: false,
            resolved: Resolved::default(),
            edits: BTreeMap::new(),
            wall_ms,
        }
    }

    /// The environments in service.
    pub fn slots(&self) -> Vec<EnvironmentSlot> {
        self.next.environments.iter().flatten().map(|environment| environment.slot).collect()
    }

    pub fn set_loaded(&mut self) {
        if !self.next.loaded {
            self.next.loaded = true;
            self.secrets_changed = true;
            self.differs = true;
        }
    }

    /// The data is as the full sync number `answered` says.
    pub fn set_answered(&mut self, answered: u64) {
        if self.next.answered != answered {
            self.next.answered = answered;
            self.differs = true;
        }
    }

    pub fn set_secrets(&mut self, secrets: Secrets) {
        if *self.next.secrets != secrets {
            self.next.secrets = Arc::new(secrets);
            self.secrets_changed = true;
            self.differs = true;
        }
    }

    pub fn set_order(&mut self, order: &[EnvironmentSlot]) {
        if *self.next.order != *order {
            self.next.membership = self.next.sequence;
            self.next.order = Arc::from(order);
            self.unresolved = true;
            self.differs = true;
        }
    }

    /// Sets an environment's secrets; brings it into service if it is not.
    pub fn list(&mut self, slot: EnvironmentSlot, kept: &Kept, secrets: &[ListedSecret]) {
        self.create(slot, kept);
        let Some(shared) = self.environment(slot) else { return };
        let label = match secrets.first() {
            Some(first) => format!("{}:{}", first.project_key, first.env_key),
            None => kept.id.to_string(),
        };
        if *shared.secrets != *secrets || *shared.label != *label {
            let environment = Arc::make_mut(shared);
            environment.secrets = Arc::from(secrets);
            environment.label = Arc::from(label);
            self.next.membership = self.next.sequence;
            self.differs = true;
        }
    }

    fn environment(&mut self, slot: EnvironmentSlot) -> Option<&mut Arc<Environment>> {
        self.next.environments.get_mut(slot.0 as usize)?.as_mut()
    }

    fn create(&mut self, slot: EnvironmentSlot, kept: &Kept) {
        let at = slot.0 as usize;
        if self.next.environments.len() <= at {
            let mut longer = std::mem::take(&mut self.next.environments).into_vec();
            longer.resize(at + 1, None);
            self.next.environments = longer.into_boxed_slice();
        }
        if self.next.environments[at].is_some() {
            return;
        }
        let mut environment = Environment::empty(slot, kept.id);
        environment.told_ms = kept.told_ms;
        environment.passed.highest_ms = kept.passed_highest_ms;
        let mut edit = Edit::new(&environment, self.wall_ms);
        edit.created = true;
        self.edits.insert(slot, edit);
        self.next.environments[at] = Some(Arc::new(environment));
    }

    /// Takes an environment out of service, and every secret that opens it.
    pub fn remove(&mut self, slot: EnvironmentSlot) -> Option<Arc<Environment>> {
        let gone = self.next.environments.get_mut(slot.0 as usize)?.take()?;
        let former = |entry: &SecretEntry| entry.former.is_some_and(|former| former.1 == slot);
        if self.next.secrets.values().any(|entry| entry.slot == slot || former(entry)) {
            let mut secrets = (*self.next.secrets).clone();
            secrets.retain(|_, entry| entry.slot != slot);
            for entry in secrets.values_mut().filter(|entry| former(entry)) {
                entry.former = None;
            }
            self.set_secrets(secrets);
        }
        if self.next.order.contains(&slot) {
            let order: Vec<_> = self.next.order.iter().copied().filter(|other| *other != slot).collect();
            self.set_order(&order);
        }
        self.edits.remove(&slot);
        self.unresolved = true;
        self.differs = true;
        Some(gone)
    }

    /// Takes in segments and plans the flags, and gives all that changed its versions; to be done for all environments
    /// before their flags are taken in.
    pub fn merge_segments<'d, 'a>(
        &mut self,
        writer: &mut Writer,
        slot: EnvironmentSlot,
        flags: Incoming<'d, FlagDef<'a>>,
        segments: Incoming<'_, SegmentDef<'_>>,
        report: &mut Report,
    ) -> Option<PlannedFlags<'d, 'a>> {
        let Writer { compiler, kept, .. } = writer;
        let kept = kept.get_mut(slot.0 as usize)?;
        self.create(slot, kept);
        let (sequence, wall_ms) = (self.next.sequence, self.wall_ms);
        let shared = self.next.environments.get_mut(slot.0 as usize)?.as_mut()?;
        let edit = self.edits.entry(slot).or_insert_with(|| Edit::new(shared, wall_ms));
        let flag_plan = flags.plan(&shared.flags, &kept.flags);
        let segment_plan = segments.plan(&shared.segments, &kept.segments);
        let mut dates: Vec<_> = flag_plan.iter().flat_map(Plan::dates).collect();
        let flag_count = dates.len();
        dates.extend(segment_plan.iter().flat_map(Plan::dates));
        let mut versions = edit.versions_of(&dates);
        let highest_ms = shared.passed.highest_ms;
        let late = |dates: &[Date]| dates.iter().any(|date| date.ms <= highest_ms);
        if let Some(plan) = &flag_plan {
            edit.flags = counts(plan, late(&dates[..flag_count]), report);
        }
        let planned =
            flag_plan.map(|plan| PlannedFlags { plan, versions: versions.drain(..flag_count).collect() });
        let Some(plan) = segment_plan else { return planned };
        edit.segments = counts(&plan, late(&dates[flag_count..]), report);

        let label = Arc::clone(&shared.label);
        let mut versions = versions.into_iter();
        let merged = plan.build(&shared.segments, &kept.segments, |def, old| {
            note_forgotten(def, def.id, old, &label, report);
            let segment = compile(report, &label, def.id, |findings| compiler.segment(def, findings));
            let slot = compiler.slots.slot(def.id);
            let version_ms = versions.next().unwrap_or(def.updated_at_ms);
            edit.segment_versions.insert(slot, version_ms);
            let data = Arc::new(SegmentData { text: own(def, old), slot, segment: Arc::new(segment) });
            let served = served(def, version_ms);
            Entry { data, sequence, client_sequence: 0, version_ms, client_version_ms: i64::MIN, served }
        });
        let environment = Arc::make_mut(shared);
        environment.segments = merged.table;
        environment.cache = Cache::default();
        if let Some(positions) = merged.positions {
            kept.segments = positions;
        }
        self.unresolved = true;
        self.differs = true;
        planned
    }

    /// Takes in flags; to be done when segments are resolved.
    pub fn merge_flags(
        &mut self,
        writer: &mut Writer,
        slot: EnvironmentSlot,
        planned: PlannedFlags<'_, '_>,
        report: &mut Report,
    ) {
        let Writer { compiler, kept, resolution, .. } = writer;
        let Some(kept) = kept.get_mut(slot.0 as usize) else { return };
        let (sequence, wall_ms) = (self.next.sequence, self.wall_ms);
        let Some(shared) = self.next.environments.get_mut(slot.0 as usize).and_then(Option::as_mut) else {
            return;
        };
        let edit = self.edits.entry(slot).or_insert_with(|| Edit::new(shared, wall_ms));
        let label = Arc::clone(&shared.label);
        let mut versions = planned.versions.into_iter();
        let (mut keys_differ, mut renamed) = (false, 0);
        let merged = planned.plan.build(&shared.flags, &kept.flags, |def, old| {
            note_forgotten(def, def.key, old, &label, report);
            if let Some(old) = old.filter(|old| old.data.flag.key() != def.key) {
                keys_differ = true;
                renamed += usize::from(old.is_served());
            }
            let flag = compile(report, &label, def.key, |findings| compiler.flag(def, findings));
            let version_ms = versions.next().unwrap_or(def.updated_at_ms);
            let slots = flag.segment_slots();
            let client_version_ms = match edit.created {
                true => resolution.client_version_ms(version_ms, slots),
                false => slots
                    .iter()
                    .filter_map(|slot| edit.segment_versions.get(slot))
                    .fold(version_ms, |a, b| a.max(*b)),
            };
            let data = Arc::new(FlagData { text: own(def, old), flag });
            let served = served(def, version_ms);
            Entry { data, sequence, client_sequence: sequence, version_ms, client_version_ms, served }
        });
        // SDKs know flags by their key: the one of before is gone.
        edit.flags.served_gone += renamed;
        let environment = Arc::make_mut(shared);
        environment.flags = merged.table;
        environment.cache = Cache::default();
        if let Some(positions) = merged.positions {
            kept.flags = positions;
            keys_differ = true;
        }
        if keys_differ {
            kept.doubled = find_doubled(&environment.flags);
        }
        if !kept.doubled.is_empty() {
            settle_doubled(environment, kept, edit, sequence, report);
        }
        self.differs = true;
    }

    /// Decides which copy of each segment counts from now on.
    pub fn resolve_all(&mut self, writer: &mut Writer) {
        if !std::mem::take(&mut self.unresolved) {
            return;
        }
        let tables = self.next.in_order();
        self.resolved = writer.resolution.resolve(tables.iter().map(|environment| &environment.segments));
        self.take_in_segments(writer);
    }

    /// The same if nothing but single segments changed: looks at no others.
    pub fn resolve_changed(&mut self, writer: &mut Writer) {
        if !std::mem::take(&mut self.unresolved) {
            return;
        }
        let Writer { kept, resolution, .. } = writer;
        let environments = self.next.in_order();
        let sequence = self.next.sequence;
        let changed = environments.iter().flat_map(|environment| {
            environment
                .segments
                .find(|chunk| chunk.newest.sequence == sequence, |entry| entry.sequence == sequence)
        });
        for (_, entry) in changed {
            let copies = environments.iter().filter_map(|environment| {
                let positions = &kept.get(environment.slot.0 as usize)?.segments;
                let at = positions.get(&entry.data.text.id)?;
                Some(&environment.segments.get(*at)?.data)
            });
            resolution.resolve_one(entry.data.slot, copies, &mut self.resolved);
        }
        self.take_in_segments(writer);
    }

    fn take_in_segments(&mut self, writer: &Writer) {
        if self.resolved.is_empty() {
            return;
        }
        let segment = |slot| writer.resolution.get(slot).map(|data| Arc::clone(&data.segment));
        self.next.segments = self.next.segments.with(self.resolved.slots().map(|slot| (slot, segment(slot))));
        self.differs = true;
    }

    /// Completes the snapshot; `None` if it would not differ from the one before.
    pub fn finish(mut self, writer: &Writer) -> Option<Change> {
        let (sequence, wall_ms) = (self.next.sequence, self.wall_ms);
        if !self.resolved.is_empty() {
            for environment in self.next.environments.iter_mut().flatten() {
                let edit = self.edits.entry(environment.slot);
                let edit = edit.or_insert_with(|| Edit::new(environment, wall_ms));
                if let Some(flags) = edit.restamp(environment, &self.resolved, sequence) {
                    Arc::make_mut(environment).flags = flags;
                }
            }
        }
        let mut environments = Vec::new();
        for (slot, mut edit) in std::mem::take(&mut self.edits) {
            let place = self.next.environments.get_mut(slot.0 as usize);
            let Some(shared) = place.and_then(Option::as_mut) else { continue };
            if !edit.differs(shared, sequence) {
                continue;
            }
            let environment = Arc::make_mut(shared);
            let means = edit.settle(environment, sequence);
            self.differs = true;
            self.next.data_version = self.next.data_version.max(environment.passed.highest_ms);
            if !means.server && !means.client {
                continue;
            }
            let before = writer.current.environment(slot);
            if before.is_some_and(|before| before.cache.full_frame.get().is_some()) {
                // Somebody asked for the last one, so that somebody will ask for this one: not on a reactor.
                environment.full_frame();
            }
            environments.push(slot);
        }
        if !self.differs {
            return None;
        }
        Some(Change { snapshot: Arc::new(self.next), environments, secrets_changed: self.secrets_changed })
    }
}

/// What a plan does, also for the report.
fn counts<D: Definition>(plan: &Plan<'_, D>, late: bool, report: &mut Report) -> Counts {
    report.added += plan.added;
    report.changed += plan.changed;
    report.removed += plan.gone;
    Counts {
        differs: plan.added + plan.changed + plan.gone > 0,
        gone: plan.gone,
        served_gone: plan.served_gone,
        goes_back: plan.goes_back,
        late,
    }
}

/// Notes an item of which the content changes without a newer `updatedAt`.
fn note_forgotten<T: Item>(
    def: &impl Definition,
    key: &str,
    old: Option<&Entry<T>>,
    label: &Arc<str>,
    report: &mut Report,
) {
    let Some(old_ms) = old.map(|old| old.own().updated_at_ms) else { return };
    let own_ms = def.updated_at_ms();
    if own_ms <= old_ms {
        let is_older = own_ms < old_ms;
        report.forgotten_updated_at.push(Forgotten {
            environment: Arc::clone(label),
            key: key.into(),
            is_older,
        });
    }
}

/// An item's own text.
fn own<T: Item>(def: &impl Definition, old: Option<&Entry<T>>) -> Text {
    Text { id: id_of(def, old), raw: def.raw().into(), updated_at_ms: def.updated_at_ms() }
}

/// What SDKs get of an item that is told with this version.
fn served(def: &impl Definition, version_ms: i64) -> Served {
    if version_ms == def.updated_at_ms() && def.suits_all_sdks() {
        return Served::AsItIs;
    }
    served_text(def.raw(), version_ms).map_or(Served::AsItIs, |text| Served::Text(text.into()))
}

/// Compiles, and says of what is found where it was found.
fn compile<C>(report: &mut Report, label: &str, key: &str, make: impl FnOnce(&mut Vec<Finding>) -> C) -> C {
    let before = report.findings.len();
    let compiled = make(&mut report.findings);
    for finding in &mut report.findings[before..] {
        finding.path = format!("{label}/{key}.{}", finding.path);
    }
    compiled
}
