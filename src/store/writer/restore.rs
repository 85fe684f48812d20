//! Extracts the state of a writer, and restores a writer from it.
//!
//! Must not write or read files: it decides what belongs to the state, not how the state is stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::definition::Definition;
use super::duplicate_keys::find_duplicates;
use super::tombstones::Tombstone;
use super::{Moment, Writer, WriterOptions};
use crate::model::dataset::Finding;
use crate::model::environment_id::EnvironmentId;
use crate::model::flag::FlagDef;
use crate::model::parse::{DatasetError, ItemParser};
use crate::model::segment::SegmentDef;
use crate::store::environment::{Environment, EnvironmentSlot, RelayChanges, SdkChanges};
use crate::store::item::{Item, ItemKind, Served, Text};
use crate::store::ring::Ring;
use crate::store::snapshot::{SecretEntry, Secrets, Snapshot};
use crate::store::state::{
    Access, Contents, EnvironmentState, FormerUse, Head, ItemJson, ItemState, Removals, SecretState, State,
    TombstoneState, Versions,
};
use crate::store::table::{Entry, Positions, Table};

/// The publish sequence with which a restored writer begins.
const SEQUENCE: u64 = 1;

impl Writer {
    /// Everything that must survive a restart. Items are shared with the snapshot in service, not copied.
    pub fn state(&self, now: Moment) -> State {
        let records = &self.workspace.records;
        let environments = records.all().map(|(slot, record)| match self.current.environment(slot) {
            Some(environment) => EnvironmentState {
                id: environment.id,
                versions: versions_of(environment),
                contents: Some(self.contents(environment)),
            },
            None => EnvironmentState { id: record.id, versions: record.versions(), contents: None },
        });
        State { head: self.head(), environments: environments.collect(), access: self.access(now) }
    }

    /// What concerns the whole dataset.
    pub fn head(&self) -> Head {
        Head {
            loaded: self.current.loaded(),
            data_version: self.current.data_version(),
            ..self.history.clone()
        }
    }

    /// The environments of the dataset, and who has access to them.
    pub fn access(&self, now: Moment) -> Access {
        let snapshot = &self.current;
        let records = &self.workspace.records;
        let id_of = |slot: EnvironmentSlot| records.get(slot).map(|record| record.id);
        let secret = |(value, entry): (_, &SecretEntry)| {
            let former = entry.former.and_then(|(kind, slot)| {
                let grace_ms = self.grace.left_of_type_ms(value, now.steady_ms).unwrap_or(0);
                Some(FormerUse { kind, environment: id_of(slot)?, grace_ms })
            });
            let grace_ms = self.grace.left_of_secret_ms(value, now.steady_ms);
            let environment = id_of(entry.slot)?;
            Some(SecretState { value: *value, kind: entry.kind, environment, grace_ms, former })
        };
        let mut secrets: Vec<_> = snapshot.secrets.iter().filter_map(secret).collect();
        secrets.sort_unstable_by(|one, other| one.value.as_str().cmp(other.value.as_str()));
        let leaving = self.grace.left_of_environments_ms(now.steady_ms);
        let mut leaving: Vec<_> =
            leaving.into_iter().filter_map(|(slot, left_ms)| Some((id_of(slot)?, left_ms))).collect();
        leaving.sort_unstable();
        let order = snapshot.environments().map(|environment| environment.id()).collect();
        Access { order, secrets, leaving }
    }

    pub(super) fn contents(&self, environment: &Environment) -> Contents {
        let tombstones = self.workspace.tombstones.of(environment.slot).into_iter();
        let tombstones = tombstones.map(|(kind, id, Tombstone { updated_at_ms, removed_at_ms })| {
            TombstoneState { kind, id, updated_at_ms, removed_at_ms }
        });
        Contents {
            secrets: Arc::clone(&environment.secrets),
            flags: environment.flags.entries().map(item_state::<FlagDef<'_>>).collect(),
            segments: environment.segments.entries().map(item_state::<SegmentDef<'_>>).collect(),
            removals: removals_of(environment),
            tombstones: tombstones.collect(),
        }
    }

    /// A writer that serves the same payloads as the one that `state` was taken from, with the same versions. The rest of a
    /// grace period starts at `now`. In agent mode, a secret that the state lacks is not certainly unknown until a full
    /// sync has been answered. Takes the state apart as it goes, so that a large dataset is not in memory twice.
    ///
    /// # Errors
    /// If the JSON of a flag or segment cannot be read.
    pub fn restore(options: WriterOptions, state: State, now: Moment) -> Result<Self, DatasetError> {
        let mut writer = Self::new(options);
        let State { head, environments, access } = state;
        let Head { loaded, data_version, .. } = head;
        writer.history = head;
        if !loaded && environments.is_empty() {
            return Ok(writer);
        }
        writer.workspace.compiler.begin_change();
        let mut snapshot = Snapshot {
            sequence: SEQUENCE,
            membership: SEQUENCE,
            data_version,
            loaded,
            answered: if loaded && !options.has_to_ask() { u64::MAX } else { 0 },
            ..(*writer.current).clone()
        };
        let mut parser = ItemParser::default();
        for environment in environments {
            let restored = writer.restore_environment(environment, &mut parser)?;
            restored.into_iter().for_each(|restored| snapshot.put(Arc::new(restored)));
        }
        for (id, left_ms) in access.leaving {
            if let Some(slot) = writer.workspace.records.find(id) {
                writer.grace.unlisted(slot, now.steady_ms.saturating_add(left_ms));
            }
        }
        // A file that lists an environment without contents must not end the agent.
        let listed = access.order.iter().filter_map(|id| writer.workspace.records.find(*id));
        let order: Vec<_> = listed.filter(|slot| snapshot.environment(*slot).is_some()).collect();
        snapshot.set_order(&order);
        snapshot.secrets = Arc::new(writer.restore_secrets(&access.secrets, now));
        let tables = snapshot.in_order();
        let resolved =
            writer.workspace.resolution.resolve(tables.iter().map(|environment| &environment.segments));
        let segment = |slot| writer.workspace.resolution.get(slot).map(|data| Arc::clone(&data.segment));
        snapshot.segments = snapshot.segments.with(resolved.slots().map(|slot| (slot, segment(slot))));
        writer.current = Arc::new(snapshot);
        Ok(writer)
    }

    fn restore_environment(
        &mut self,
        state: EnvironmentState,
        parser: &mut ItemParser,
    ) -> Result<Option<Environment>, DatasetError> {
        let Versions { highest_ms, requested_ms, highest_updated_at_ms } = state.versions;
        let slot = self.workspace.records.slot_of(state.id);
        let Some(contents) = state.contents else {
            if let Some(record) = self.workspace.records.get_mut(slot) {
                record.close(highest_ms, highest_updated_at_ms);
            }
            return Ok(None);
        };
        let mut environment = Environment::empty(slot, state.id);
        environment.set_secrets(&contents.secrets);
        environment.highest_version_ms = highest_ms;
        environment.requested_version_ms = Arc::new(AtomicI64::new(requested_ms));
        let sdk_changes =
            |removed_version_ms| SdkChanges { changed: SEQUENCE, removed: SEQUENCE, removed_version_ms };
        environment.server = sdk_changes(contents.removals.server_version_ms);
        environment.client = sdk_changes(contents.removals.client_version_ms);
        environment.for_relays = RelayChanges {
            changed: SEQUENCE,
            removed: SEQUENCE,
            highest_updated_at_ms,
            watermark_ms: contents.removals.relay_watermark_ms,
        };
        environment.ring = Ring::starting_at(SEQUENCE);

        let mut segments = Vec::with_capacity(contents.segments.len());
        for item in contents.segments {
            segments.push(parser.with_segment(&item.json, |segment| self.restore_item(&segment, &item))?);
        }
        let mut flags = Vec::with_capacity(contents.flags.len());
        for item in contents.flags {
            flags.push(parser.with_flag(&item.json, |flag| self.restore_item(&flag, &item))?);
        }
        let (flags, flag_positions) = table_of(flags);
        let (segments, segment_positions) = table_of(segments);
        if let Some(record) = self.workspace.records.get_mut(slot) {
            record.duplicates = find_duplicates(&flags);
            (record.flags, record.segments) = (flag_positions, segment_positions);
        }
        (environment.flags, environment.segments) = (flags, segments);
        for tombstone in contents.tombstones {
            let TombstoneState { kind, id, updated_at_ms, removed_at_ms } = tombstone;
            let tombstone = Tombstone { updated_at_ms, removed_at_ms };
            self.workspace.tombstones.put(slot, kind, &id, tombstone);
        }
        Ok(Some(environment))
    }

    fn restore_item<D: Definition>(&mut self, definition: &D, state: &ItemState) -> Entry<D::Item> {
        let is_same_id = *state.id == *definition.id();
        let text = Text {
            id: if is_same_id { Arc::clone(&state.id) } else { Arc::from(definition.id()) },
            raw: definition.raw().into(),
            updated_at_ms: definition.updated_at_ms(),
        };
        // Findings were reported when the item first arrived.
        let mut findings: Vec<Finding> = Vec::new();
        let data = Arc::new(definition.compile(text, &mut self.workspace.compiler, &mut findings));
        Entry {
            data,
            sequence: SEQUENCE,
            client_sequence: if D::KIND == ItemKind::Flag { SEQUENCE } else { 0 },
            version_ms: state.version_ms,
            client_version_ms: state.client_version_ms,
            served: if state.is_served { definition.served(state.version_ms) } else { Served::Nothing },
        }
    }

    fn restore_secrets(&mut self, states: &[SecretState], now: Moment) -> Secrets {
        let mut secrets = Secrets::default();
        let slot_of = |id: EnvironmentId| self.workspace.records.find(id);
        for state in states {
            let Some(slot) = slot_of(state.environment) else { continue };
            let ends = |grace_ms: i64| now.steady_ms.saturating_add(grace_ms);
            if let Some(grace_ms) = state.grace_ms {
                self.grace.restore_secret(state.value, ends(grace_ms));
            }
            let former = state.former.as_ref().and_then(|former| {
                self.grace.restore_type(state.value, ends(former.grace_ms));
                Some((former.kind, slot_of(former.environment)?))
            });
            secrets.insert(state.value, SecretEntry { kind: state.kind, slot, former });
        }
        secrets
    }
}

pub(super) fn item_state<D: Definition>(entry: &Entry<D::Item>) -> ItemState {
    ItemState {
        id: Arc::clone(&entry.source().id),
        json: ItemJson::Stored(D::stored(&entry.data)),
        version_ms: entry.version_ms,
        client_version_ms: entry.client_version_ms,
        is_served: entry.is_served(),
    }
}

pub(super) fn versions_of(environment: &Environment) -> Versions {
    Versions {
        highest_ms: environment.highest_version_ms,
        requested_ms: environment.requested_version_ms.load(Ordering::Relaxed),
        highest_updated_at_ms: environment.for_relays.highest_updated_at_ms,
    }
}

pub(super) fn removals_of(environment: &Environment) -> Removals {
    Removals {
        server_version_ms: environment.server.removed_version_ms,
        client_version_ms: environment.client.removed_version_ms,
        relay_watermark_ms: environment.for_relays.watermark_ms,
    }
}

fn table_of<T: Item>(entries: Vec<Entry<T>>) -> (Table<T>, Positions) {
    let empty = Table::empty();
    let table = empty.with(Vec::new(), entries);
    let positions = table.positions(&empty).unwrap_or_default();
    (table, positions)
}
