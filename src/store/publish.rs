//! The making of one snapshot out of the one before.
//!
//! Must not decide when or why: the writer says what came in. Here it is merged, segments are resolved, and
//! what changed for whom is written into each environment's history.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::edit::Edit;
use super::environment::{Cache, Environment, EnvironmentSlot, ListedSecret};
use super::item::{FlagData, Item, SegmentData, Text};
use super::merge::{Definition, Incoming, Merged, id_of};
use super::resolution::Resolved;
use super::snapshot::{SecretEntry, Secrets, Snapshot};
use super::stamp::with_updated_at;
use super::table::Entry;
use super::writer::{Change, Forgotten, Kept, Report, Writer};
use crate::model::dataset::Finding;
use crate::model::flag::FlagDef;
use crate::model::segment::SegmentDef;

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
}

impl Round {
    pub fn new(current: &Arc<Snapshot>) -> Self {
        let next = Snapshot { sequence: current.sequence + 1, ..(**current).clone() };
        Self {
            next,
            secrets_changed: false,
            differs: false,
            unresolved: false,
            resolved: Resolved::default(),
            edits: BTreeMap::new(),
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
        environment.server.highest_ms = kept.server_highest_ms;
        environment.client.highest_ms = kept.client_highest_ms;
        self.next.environments[at] = Some(Arc::new(environment));
        self.edits.entry(slot).or_default().created = true;
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

    /// Gives an `updatedAt` to items of the environment that were changed without one: later than what it
    /// served and than `newest_ms`, the latest among its new definitions.
    pub fn stamp(&mut self, slot: EnvironmentSlot, newest_ms: i64) {
        let Some(environment) = self.environment(slot) else { return };
        let after_ms = environment.server.highest_ms.max(newest_ms);
        self.edits.entry(slot).or_default().stamp_ms = Some(after_ms);
    }

    /// Takes in segments; to be done for all environments before their flags.
    pub fn merge_segments(
        &mut self,
        writer: &mut Writer,
        slot: EnvironmentSlot,
        incoming: Incoming<'_, SegmentDef<'_>>,
        report: &mut Report,
    ) {
        let Writer { compiler, kept, .. } = writer;
        let Some(kept) = kept.get_mut(slot.0 as usize) else { return };
        self.create(slot, kept);
        let sequence = self.next.sequence;
        let Some(shared) = self.next.environments.get_mut(slot.0 as usize).and_then(Option::as_mut) else {
            return;
        };
        let edit = self.edits.entry(slot).or_default();
        let label = Arc::clone(&shared.label);
        let merged = incoming.merge(&shared.segments, &kept.segments, |def, old| {
            let text = text_of(def, old, &mut edit.stamp_ms);
            if forgotten(def, old) {
                report
                    .forgotten_updated_at
                    .push(Forgotten { environment: label.clone(), key: def.id.into() });
            }
            let segment = compile(report, &label, def.id, |findings| compiler.segment(def, findings));
            let slot = compiler.slots.slot(def.id);
            let data = Arc::new(SegmentData { text, slot, segment: Arc::new(segment) });
            Entry { data, sequence, client_sequence: 0, client_version_ms: i64::MIN }
        });
        let Some(merged) = merged else { return };
        merged.count(report);
        let environment = Arc::make_mut(shared);
        edit.segments_gone = merged.gone;
        edit.segments_back = merged.went_back();
        edit.segments = merged.changed;
        environment.segments = merged.table;
        environment.cache = Cache::default();
        if let Some(positions) = merged.positions {
            kept.segments = positions;
        }
        self.unresolved = true;
        self.differs = true;
    }

    /// Takes in flags; to be done when segments are resolved.
    pub fn merge_flags(
        &mut self,
        writer: &mut Writer,
        slot: EnvironmentSlot,
        incoming: Incoming<'_, FlagDef<'_>>,
        report: &mut Report,
    ) {
        let Writer { compiler, kept, resolution, .. } = writer;
        let Some(kept) = kept.get_mut(slot.0 as usize) else { return };
        self.create(slot, kept);
        let sequence = self.next.sequence;
        let Some(shared) = self.next.environments.get_mut(slot.0 as usize).and_then(Option::as_mut) else {
            return;
        };
        let edit = self.edits.entry(slot).or_default();
        let label = Arc::clone(&shared.label);
        let merged = incoming.merge(&shared.flags, &kept.flags, |def, old| {
            let text = text_of(def, old, &mut edit.stamp_ms);
            if forgotten(def, old) {
                report
                    .forgotten_updated_at
                    .push(Forgotten { environment: label.clone(), key: def.key.into() });
            }
            let flag = compile(report, &label, def.key, |findings| match &text.original {
                None => compiler.flag(def, findings),
                Some(_) => {
                    let updated_at_ms = text.updated_at_ms;
                    compiler.flag(&FlagDef { raw: &text.raw, updated_at_ms, ..def.clone() }, findings)
                }
            });
            let client_version_ms = resolution.client_version_ms(text.updated_at_ms, flag.segment_slots());
            let data = Arc::new(FlagData { text, flag });
            Entry { data, sequence, client_sequence: sequence, client_version_ms }
        });
        let Some(merged) = merged else { return };
        merged.count(report);
        let environment = Arc::make_mut(shared);
        edit.flags_gone = merged.gone;
        edit.flags_back = merged.went_back();
        edit.flags = merged.changed;
        environment.flags = merged.table;
        environment.cache = Cache::default();
        if let Some(positions) = merged.positions {
            kept.flags = positions;
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
        for (entry, _) in self.edits.values().flat_map(|edit| &edit.segments) {
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
        let sequence = self.next.sequence;
        for environment in self.next.environments.iter_mut().flatten() {
            let restamped = self.resolved.restamp(&environment.flags, &writer.resolution, sequence);
            if let Some((flags, entries)) = restamped {
                self.edits.entry(environment.slot).or_default().restamped = entries;
                Arc::make_mut(environment).flags = flags;
            }
        }
        let mut environments = Vec::new();
        for (slot, edit) in std::mem::take(&mut self.edits) {
            if !edit.changes_server() && !edit.changes_client() {
                continue;
            }
            let before = writer.current.environment(slot).cloned();
            let place = self.next.environments.get_mut(slot.0 as usize);
            let Some(shared) = place.and_then(Option::as_mut) else { continue };
            let environment = Arc::make_mut(shared);
            edit.settle(environment, &self.resolved, sequence);
            if before.is_some_and(|before| before.cache.full_frame.get().is_some()) {
                // Somebody asked for the last one, so that somebody will ask for this one: not on a reactor.
                environment.full_frame();
            }
            let highest_ms = environment.server.highest_ms;
            self.next.data_version = self.next.data_version.max(highest_ms);
            self.differs = true;
            environments.push(slot);
        }
        if !self.differs {
            return None;
        }
        Some(Change { snapshot: Arc::new(self.next), environments, secrets_changed: self.secrets_changed })
    }
}

/// Whether an item's content changes without a newer `updatedAt`.
fn forgotten<T: Item>(def: &impl Definition, old: Option<&Entry<T>>) -> bool {
    old.is_some_and(|old| def.updated_at_ms() <= old.data.text().updated_at_ms)
}

/// The text of an item, with a newer `updatedAt` if it lacks one and `stamp_ms`, the last one given, is there.
fn text_of<T: Item>(def: &impl Definition, old: Option<&Entry<T>>, stamp_ms: &mut Option<i64>) -> Text {
    let id = id_of(def, old);
    if forgotten(def, old)
        && let Some(last_ms) = stamp_ms
        && let Some(raw) = with_updated_at(def.raw(), last_ms.saturating_add(1))
    {
        *last_ms += 1;
        return Text { id, raw: raw.into(), original: Some(def.raw().into()), updated_at_ms: *last_ms };
    }
    Text { id, raw: def.raw().into(), original: None, updated_at_ms: def.updated_at_ms() }
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

impl<T: Item> Merged<T> {
    fn count(&self, report: &mut Report) {
        let added = self.added();
        report.added += added;
        report.changed += self.changed.len() - added;
        report.removed += self.gone;
    }
}
