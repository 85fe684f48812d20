//! The next snapshot, while it is built.
//!
//! Must not decide when to publish: the writer hands it new data. It merges the data, resolves shared segments, and
//! records in each environment's history what changed for which kind of SDK.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::definition::{Basis, Definition};
use super::duplicate_keys::{find_duplicates, serve_one_flag_per_key};
use super::edit::{Edit, ListChanges};
use super::merge::{self, Incoming, Plan, ToCompile, id_of};
use super::records::Records;
use super::resolution::{Resolution, Resolved};
use super::tombstones::{Tombstone, Tombstones};
use super::version::Date;
use crate::eval::Compiler;
use crate::model::dataset::Finding;
use crate::model::environment_id::EnvironmentId;
use crate::model::flag::FlagDef;
use crate::model::segment::SegmentDef;
use crate::store::cache::Cache;
use crate::store::change::{Change, ChangedItem, ItemChange, NotNewer, RemovedItem, Report};
use crate::store::environment::{Environment, EnvironmentSlot, ListedSecret};
use crate::store::item::{Served, StoredItem, Text};
use crate::store::snapshot::{Secrets, Snapshot};
use crate::store::table::Entry;

/// What the writer needs to build a snapshot besides the previous one. It lives from publish to publish.
pub(super) struct Workspace {
    pub compiler: Compiler,
    pub resolution: Resolution,
    pub records: Records,
    pub tombstones: Tombstones,
}

impl Workspace {
    pub fn new(compiler: Compiler) -> Self {
        Self {
            compiler,
            resolution: Resolution::default(),
            records: Records::default(),
            tombstones: Tombstones::default(),
        }
    }
}

/// One publish while it is built. `'d` is the lifetime of the new data.
pub(super) struct Draft<'w, 'd> {
    /// The previous snapshot.
    previous: &'w Snapshot,
    workspace: &'w mut Workspace,
    /// The new snapshot so far.
    pub next: Snapshot,
    pub report: Report,
    items: Vec<ChangedItem>,
    secrets_changed: bool,
    /// Whether anything differs from the previous snapshot.
    differs: bool,
    /// Whether the copy of a segment that is in effect may have changed.
    unresolved: bool,
    resolved: Resolved,
    edits: BTreeMap<EnvironmentSlot, Edit>,
    /// Planned flags: they are compiled once the segments of all environments are known.
    flags: Vec<(EnvironmentSlot, Planned<'d, FlagDef<'d>>)>,
    wall_ms: i64,
}

/// The planned changes to one environment's flags or segments, with the versions that SDKs are sent.
struct Planned<'d, D> {
    plan: Plan<'d, D>,
    versions: Vec<i64>,
}

impl<'w, 'd> Draft<'w, 'd> {
    pub fn new(previous: &'w Snapshot, workspace: &'w mut Workspace, wall_ms: i64) -> Self {
        Self {
            previous,
            workspace,
            next: Snapshot { sequence: previous.sequence + 1, ..previous.clone() },
            report: Report::default(),
            items: Vec::new(),
            secrets_changed: false,
            differs: false,
            unresolved: false,
            resolved: Resolved::default(),
            edits: BTreeMap::new(),
            flags: Vec::new(),
            wall_ms,
        }
    }

    /// The snapshot in service before this publish.
    pub fn previous(&self) -> &'w Snapshot {
        self.previous
    }

    /// The slot of an environment; a new environment gets a new one.
    pub fn slot_of(&mut self, id: EnvironmentId) -> EnvironmentSlot {
        self.workspace.records.slot_of(id)
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

    /// Records that the data is the answer to the full sync number `answered`.
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

    /// Sets which environments the dataset has, in its order.
    pub fn set_order(&mut self, order: &[EnvironmentSlot]) {
        if *self.next.order != *order {
            self.next.set_order(order);
            self.next.membership = self.next.sequence;
            self.unresolved = true;
            self.differs = true;
        }
    }

    /// Sets an environment's secrets; brings it into service if it is not.
    pub fn list(&mut self, slot: EnvironmentSlot, secrets: &[ListedSecret]) {
        self.create(slot);
        let Some(shared) = self.next.environment_mut(slot) else { return };
        if *shared.secrets != *secrets {
            Arc::make_mut(shared).set_secrets(secrets);
            self.next.membership = self.next.sequence;
            self.differs = true;
        }
    }

    fn create(&mut self, slot: EnvironmentSlot) {
        let Some(record) = self.workspace.records.get(slot) else { return };
        if self.next.environment(slot).is_some() {
            return;
        }
        let mut environment = Environment::empty(slot, record.id);
        environment.highest_version_ms = record.highest_version_ms;
        environment.for_relays.highest_updated_at_ms = record.highest_updated_at_ms;
        let mut edit = Edit::new(&environment, self.wall_ms);
        edit.created = true;
        self.edits.insert(slot, edit);
        self.next.put(Arc::new(environment));
    }

    /// Takes an environment out of service, and every secret that opens it.
    pub fn remove(&mut self, slot: EnvironmentSlot) {
        let Some(removed) = self.next.take(slot) else { return };
        if self.next.secrets.values().any(|entry| entry.opens(slot)) {
            let mut secrets = (*self.next.secrets).clone();
            secrets.retain(|_, entry| entry.slot != slot);
            for entry in secrets.values_mut().filter(|entry| entry.opens(slot)) {
                entry.former = None;
            }
            self.set_secrets(secrets);
        }
        if self.next.order.contains(&slot) {
            let order: Vec<_> = self.next.order.iter().copied().filter(|other| *other != slot).collect();
            self.set_order(&order);
        }
        if let Some(record) = self.workspace.records.get_mut(slot) {
            record.close(removed.version_floor_ms(), removed.for_relays.highest_updated_at_ms);
        }
        self.workspace.tombstones.clear_environment(slot);
        self.edits.remove(&slot);
        self.unresolved = true;
        self.differs = true;
    }

    /// Merges segments, plans flags, and assigns versions to all that changed. [`Self::complete_data`] merges the flags.
    pub fn add_data(
        &mut self,
        slot: EnvironmentSlot,
        flags: Incoming<'d, FlagDef<'d>>,
        segments: Incoming<'d, SegmentDef<'d>>,
    ) {
        self.create(slot);
        let flag_plan = self.plan(slot, flags);
        let segment_plan = self.plan(slot, segments);
        let Some(shared) = self.next.environment(slot) else { return };
        let report = &mut self.report;
        let edit = self.edits.entry(slot).or_insert_with(|| Edit::new(shared, self.wall_ms));
        let mut dates: Vec<_> = flag_plan.iter().flat_map(Plan::dates).collect();
        let flag_count = dates.len();
        dates.extend(segment_plan.iter().flat_map(Plan::dates));
        let mut versions = edit.versions_of(&dates);
        let segment_versions = versions.split_off(flag_count);
        let highest_ms = shared.for_relays.highest_updated_at_ms;
        let late = |dates: &[Date]| dates.iter().any(|date| date.ms <= highest_ms);
        if let Some(plan) = flag_plan {
            edit.flags = list_changes(&plan, late(&dates[..flag_count]), report);
            self.flags.push((slot, Planned { plan, versions }));
        }
        if let Some(plan) = segment_plan {
            edit.segments = list_changes(&plan, late(&dates[flag_count..]), report);
            self.unresolved = true;
            self.build(slot, Planned { plan, versions: segment_versions });
        }
    }

    /// Items of an environment of this publish were removed that this agent did not have.
    pub fn removed_elsewhere(&mut self, slot: EnvironmentSlot) {
        if let Some(edit) = self.edits.get_mut(&slot) {
            edit.removed_elsewhere = true;
        }
    }

    /// Decides which copy of each segment is in effect, and merges the flags. `single`: only single segments changed, so
    /// that only those are resolved again.
    pub fn complete_data(&mut self, single: bool) {
        if std::mem::take(&mut self.unresolved) {
            match single {
                true => self.resolve_changed(),
                false => self.resolve_all(),
            }
            if !self.resolved.is_empty() {
                let resolution = &self.workspace.resolution;
                let segment = |slot| resolution.get(slot).map(|data| Arc::clone(&data.segment));
                self.next.segments =
                    self.next.segments.with(self.resolved.slots().map(|slot| (slot, segment(slot))));
                self.differs = true;
            }
        }
        for (slot, planned) in std::mem::take(&mut self.flags) {
            let keys_differ = self.build(slot, planned);
            let Self { workspace, next, edits, report, .. } = self;
            let sequence = next.sequence;
            let Some(record) = workspace.records.get_mut(slot) else { continue };
            let (Some(shared), Some(edit)) = (next.environment_mut(slot), edits.get_mut(&slot)) else {
                continue;
            };
            if keys_differ {
                record.duplicates = find_duplicates(&shared.flags);
            }
            if !record.duplicates.is_empty() {
                serve_one_flag_per_key(Arc::make_mut(shared), record, edit, sequence, report);
            }
        }
    }

    fn resolve_all(&mut self) {
        let tables = self.next.in_order();
        self.resolved =
            self.workspace.resolution.resolve(tables.iter().map(|environment| &environment.segments));
    }

    fn resolve_changed(&mut self) {
        let Workspace { records, resolution, .. } = &mut *self.workspace;
        let environments = self.next.in_order();
        let changed = self.items.iter().filter_map(|item| item.change.segment());
        for changed in changed {
            let copies = environments.iter().filter_map(|environment| {
                let at = records.get(environment.slot)?.segments.get(&changed.text.id)?;
                Some(&environment.segments.get(*at)?.data)
            });
            resolution.resolve_one(changed.slot, copies, &mut self.resolved);
        }
    }

    /// Plans how new data changes the flags or segments of an environment. `None` if nothing differs.
    fn plan<D: Definition>(
        &mut self,
        slot: EnvironmentSlot,
        incoming: Incoming<'d, D>,
    ) -> Option<Plan<'d, D>> {
        let Workspace { records, tombstones, .. } = &mut *self.workspace;
        let shared = self.next.environment(slot)?;
        let basis = merge::Basis {
            environment: shared.id,
            tombstone: |id: &str| tombstones.get(slot, D::KIND, id),
            positions: D::positions(records.get_mut(slot)?),
        };
        incoming.plan(D::table(shared), basis)
    }

    /// Applies planned changes to the environment. Returns whether items were added, removed, moved or renamed.
    fn build<D: Definition>(&mut self, slot: EnvironmentSlot, planned: Planned<'_, D>) -> bool {
        self.record_removals(slot, &planned.plan);
        let Self { workspace, next, edits, report, items, .. } = self;
        let Workspace { compiler, resolution, records, tombstones } = &mut **workspace;
        let sequence = next.sequence;
        let (Some(record), Some(edit)) = (records.get_mut(slot), edits.get_mut(&slot)) else { return false };
        let Some(shared) = next.environment_mut(slot) else { return false };
        let label = Arc::clone(&shared.label);
        let basis = Basis { sequence, resolution };
        let mut versions = planned.versions.into_iter();
        let (mut is_renamed, mut renamed, mut reformatted) = (false, 0, Vec::new());
        let merged = planned.plan.build(D::table(shared), D::positions(record), |made| {
            let ToCompile { definition, old, is_reformatted } = made;
            let text = Text {
                id: id_of(definition, old),
                raw: definition.raw().into(),
                updated_at_ms: definition.updated_at_ms(),
            };
            let data = Arc::new(compile(report, &label, definition.name(), |findings| {
                definition.compile(text, compiler, findings)
            }));
            let mut add_change = |change: fn(StoredItem) -> ItemChange| {
                items.push(ChangedItem { slot, change: change(D::stored(&data)) });
            };
            if let Some(old) = old.filter(|_| is_reformatted) {
                add_change(ItemChange::Reformatted);
                reformatted.push((Arc::clone(&old.data), Arc::clone(&data)));
                let served = match old.served {
                    Served::Nothing => Served::Nothing,
                    Served::Unmodified | Served::Modified(_) => definition.served(old.version_ms),
                };
                return Entry { data, served, ..old.clone() };
            }
            report_if_not_newer(definition, old, &label, report);
            if let Some(old) = old.filter(|old| definition.is_renamed(old)) {
                is_renamed = true;
                renamed += usize::from(old.is_served());
            }
            match old {
                Some(_) => add_change(ItemChange::Changed),
                None => {
                    tombstones.clear(slot, D::KIND, definition.id());
                    add_change(ItemChange::Added);
                }
            }
            let version_ms = versions.next().unwrap_or(definition.updated_at_ms());
            let (client_sequence, client_version_ms) = D::client_version(&data, version_ms, edit, basis);
            let client_version_ms = client_version_ms.max(definition.client_sent_ms());
            let served = definition.served(version_ms);
            Entry { data, sequence, client_sequence, version_ms, client_version_ms, served }
        });
        reformatted.iter().for_each(|(old, new)| D::replace_json(resolution, old, new));
        // SDKs identify flags by key: to them, a renamed flag is a removed one and a new one.
        edit.flags.served_removed += renamed;
        let environment = Arc::make_mut(shared);
        *D::table_mut(environment) = merged.table;
        let newest = D::table(environment).newest;
        let newest_ms = newest.version_ms.max(newest.client_version_ms);
        // Higher than before only if another agent's version was taken over: others are recorded with the history.
        environment.highest_version_ms = environment.highest_version_ms.max(newest_ms);
        environment.cache = Cache::default();
        self.differs = true;
        match merged.positions {
            Some(positions) => {
                *D::positions(record) = positions;
                true
            }
            None => is_renamed,
        }
    }

    /// Records removals as tombstones, so that removed items do not come back with late data.
    fn record_removals<D: Definition>(&mut self, slot: EnvironmentSlot, plan: &Plan<'_, D>) {
        let Some(shared) = self.next.environment(slot) else { return };
        let mut record_removal = |id: &Arc<str>, updated_at_ms, item| {
            let tombstone = Tombstone { updated_at_ms, removed_at_ms: self.wall_ms };
            self.workspace.tombstones.put(slot, D::KIND, id, tombstone);
            let removed = RemovedItem { kind: D::KIND, id: Arc::clone(id), updated_at_ms, item };
            self.items.push(ChangedItem { slot, change: ItemChange::Removed(removed) });
        };
        let mut removed: BTreeMap<&str, i64> = plan.tombstones.iter().copied().collect();
        for old in plan.removed.iter().filter_map(|at| D::table(shared).get(*at)) {
            let own = old.source();
            let updated_at_ms = removed.remove(&*own.id).unwrap_or(own.updated_at_ms);
            record_removal(&own.id, updated_at_ms, Some(D::stored(&old.data)));
        }
        let removes_unknown = !removed.is_empty();
        removed
            .into_iter()
            .for_each(|(id, updated_at_ms)| record_removal(&Arc::from(id), updated_at_ms, None));
        if removes_unknown {
            self.removed_elsewhere(slot);
            self.differs = true;
        }
    }

    /// Completes the snapshot. No change if it does not differ from the previous one.
    pub fn finish(mut self) -> (Option<Change>, Report) {
        self.raise_client_versions();
        let environments = self.write_histories();
        let Self { next, report, mut items, secrets_changed, differs, .. } = self;
        if !differs {
            return (None, report);
        }
        items.sort_by_key(|item| (item.slot, item.change.kind(), item.change.is_removal()));
        (Some(Change { snapshot: Arc::new(next), environments, secrets_changed, items }), report)
    }

    /// Raises the client version of flags that use a segment for which another copy is now in effect.
    fn raise_client_versions(&mut self) {
        if self.resolved.is_empty() {
            return;
        }
        let (sequence, wall_ms) = (self.next.sequence, self.wall_ms);
        for environment in self.next.environments.iter_mut().flatten() {
            let edit = self.edits.entry(environment.slot);
            let edit = edit.or_insert_with(|| Edit::new(environment, wall_ms));
            if let Some(flags) = edit.raise_client_versions(environment, &self.resolved, sequence) {
                Arc::make_mut(environment).flags = flags;
            }
        }
    }

    /// Writes the changes of each changed environment into its history. Returns the environments whose SDKs need an
    /// update.
    fn write_histories(&mut self) -> Vec<EnvironmentSlot> {
        let sequence = self.next.sequence;
        let mut environments = Vec::new();
        for (slot, mut edit) in std::mem::take(&mut self.edits) {
            let Some(shared) = self.next.environment_mut(slot) else { continue };
            if !edit.differs(shared, sequence) {
                continue;
            }
            let environment = Arc::make_mut(shared);
            let affected = edit.write_history(environment, sequence);
            let highest_ms = environment.for_relays.highest_updated_at_ms;
            if affected.server || affected.client {
                let before = self.previous.environment(slot);
                if before.is_some_and(|before| before.cache.full_frame.get().is_some()) {
                    // SDKs asked for the previous full payload, so they will ask for this one. Built here, no reactor has to.
                    environment.full_frame();
                }
                environments.push(slot);
            }
            self.differs = true;
            self.next.data_version = self.next.data_version.max(highest_ms);
        }
        environments
    }
}

/// ListChanges the changes of a plan, and adds them to the report.
fn list_changes<D: Definition>(plan: &Plan<'_, D>, late: bool, report: &mut Report) -> ListChanges {
    report.added += plan.added;
    report.changed += plan.changed;
    report.removed += plan.removed.len();
    report.defies_stamps |= plan.defies_stamps;
    ListChanges {
        differs: plan.differs(),
        removed: plan.removed.len(),
        served_removed: plan.served_removed,
        goes_back: plan.goes_back,
        late,
    }
}

/// Adds an item to the report if its content changes without a newer `updatedAt`.
fn report_if_not_newer<D: Definition>(
    definition: &D,
    old: Option<&Entry<D::Item>>,
    label: &Arc<str>,
    report: &mut Report,
) {
    let Some(old_ms) = old.map(|old| old.source().updated_at_ms) else { return };
    let own_ms = definition.updated_at_ms();
    if own_ms <= old_ms {
        report.not_newer.push(NotNewer {
            environment: Arc::clone(label),
            key: definition.name().into(),
            is_older: own_ms < old_ms,
        });
    }
}

/// Compiles an item, and adds the environment's label and the item's name to the path of each finding.
fn compile<C>(report: &mut Report, label: &str, name: &str, make: impl FnOnce(&mut Vec<Finding>) -> C) -> C {
    let before = report.findings.len();
    let compiled = make(&mut report.findings);
    for finding in &mut report.findings[before..] {
        finding.path = format!("{label}/{name}.{}", finding.path);
    }
    compiled
}
