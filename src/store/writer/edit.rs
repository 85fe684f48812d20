//! What one publish changed in one environment, and which SDKs of it need an update.
//!
//! Must not merge new data: `merge` has already put it into the tables. After a removal it raises the version of one
//! remaining item, because nothing else would make SDKs accept the full payload without the removed item.

use std::collections::HashMap;

use super::resolution::Resolved;
use super::version::{Date, Versions};
use crate::store::cache::Cache;
use crate::store::environment::{Environment, SdkChanges};
use crate::store::item::{FlagData, Item, Served};
use crate::store::ring::{Push, Ring};
use crate::store::served::served_text;
use crate::store::server_sdk::push_of;
use crate::store::table::{Entry, Table};

/// How the flags, or the segments, changed.
#[derive(Clone, Copy, Default)]
pub(super) struct ListChanges {
    /// Whether anything was added, changed or removed.
    pub differs: bool,
    /// How many were removed.
    pub removed: usize,
    /// How many of the removed ones SDKs had been sent.
    pub served_removed: usize,
    /// Whether an item replaced one, or undid a removal, that was as new or newer.
    pub goes_back: bool,
    /// Whether an item came that is not newer than everything that ever was in service.
    pub late: bool,
}

/// The changes to one environment. They are in its tables already, but not yet in its history.
pub(super) struct Edit {
    /// Whether the environment was not in service before.
    pub created: bool,
    pub flags: ListChanges,
    pub segments: ListChanges,
    /// The new versions of changed segments, by slot.
    pub segment_versions: HashMap<u32, i64>,
    /// Whether an item was removed that this agent did not have: SDKs of another agent of the cluster may still have it, and
    /// come to this one.
    pub removed_elsewhere: bool,
    /// Assigns versions.
    pub versions: Versions,
    /// The highest version sent before this publish.
    before_ms: i64,
    /// Whether the environment had no items left before this publish. Some SDKs ignored the empty full payload then,
    /// because it has no version that is newer than theirs.
    was_empty: bool,
}

/// Which SDKs of an environment a publish affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Affected {
    /// Server SDKs need an update.
    pub server: bool,
    /// Client SDKs may need an update; that depends on their user.
    pub client: bool,
}

impl Edit {
    /// No changes yet to `environment`, as it was before the publish.
    pub fn new(environment: &Environment, wall_ms: i64) -> Self {
        let before_ms = environment.version_floor_ms();
        let served = environment.flags.served() + environment.segments.served();
        Self {
            created: false,
            flags: ListChanges::default(),
            segments: ListChanges::default(),
            segment_versions: HashMap::new(),
            removed_elsewhere: false,
            versions: Versions::higher_than(before_ms, wall_ms),
            before_ms,
            was_empty: environment.server.removed > 0 && served == 0,
        }
    }

    /// Whether anything changed that SDKs or relay agents may need.
    pub fn differs(&self, environment: &Environment, sequence: u64) -> bool {
        let is_raised = || environment.flags.newest.client_sequence == sequence;
        self.created || self.flags.differs || self.segments.differs || self.removed_elsewhere || is_raised()
    }

    /// The versions of changed items, given their own `updatedAt`s. In a new environment all keep their own, because
    /// no SDK has any of its items.
    pub fn versions_of(&mut self, dates: &[Date]) -> Vec<i64> {
        if !self.created {
            return self.versions.assign(dates);
        }
        dates.iter().for_each(|date| self.versions.record_sent_date(*date));
        dates.iter().map(|date| date.version_ms()).collect()
    }

    /// Raises the client version of flags that use a segment for which another copy is now in effect.
    pub fn raise_client_versions(
        &mut self,
        environment: &Environment,
        resolved: &Resolved,
        sequence: u64,
    ) -> Option<Table<FlagData>> {
        let mut raised_ms = None;
        resolved.raise_client_versions(&environment.flags, sequence, |slots| {
            let mut own_ms = i64::MIN;
            for slot in slots.iter().filter(|slot| resolved.holds(**slot)) {
                match self.segment_versions.get(slot) {
                    Some(version_ms) => own_ms = own_ms.max(*version_ms),
                    // The copy that is now in effect did not change in this environment.
                    None => return *raised_ms.get_or_insert_with(|| self.versions.next_version()),
                }
            }
            own_ms
        })
    }

    /// Writes the changes into the environment's history, and returns which SDKs they affect.
    pub fn write_history(&mut self, environment: &mut Environment, sequence: u64) -> Affected {
        let is_restored = self.created && self.before_ms != i64::MIN;
        // Python, Java and Go SDKs may still hold the items from before the environment was emptied: only a full removes
        // them.
        let refilled = self.was_empty && (self.flags.differs || self.segments.differs);
        let flags_removed = self.flags.served_removed > 0 || is_restored;
        let removed = flags_removed || refilled || self.segments.served_removed > 0;
        self.raise_for_removal(environment, removed, flags_removed, sequence);
        let (flags, segments) = (environment.flags.newest, environment.segments.newest);
        let newest_ms = flags.version_ms.max(segments.version_ms);
        for version_ms in [newest_ms, flags.client_version_ms] {
            self.versions.record_sent(version_ms);
        }
        environment.highest_version_ms = self.versions.highest_ms();

        let version_ms =
            |newest_ms: i64| if newest_ms == i64::MIN { environment.highest_version_ms } else { newest_ms };
        let affected = Affected {
            server: self.changes_server(environment, removed, sequence),
            client: self.changes_client(environment, flags_removed, sequence),
        };
        let removal = |changes: &mut SdkChanges, removed: bool, newest_ms: i64| {
            changes.changed = sequence;
            if removed {
                changes.removed(sequence, version_ms(newest_ms));
            } else if self.created {
                changes.removed(sequence, i64::MIN);
            }
        };
        let (mut server, mut client) = (environment.server, environment.client);
        if affected.server {
            removal(&mut server, removed, newest_ms);
        }
        if affected.client {
            removal(&mut client, flags_removed, flags.client_version_ms);
        }
        (environment.server, environment.client) = (server, client);

        let changed_for_relays = self.created || self.flags.differs || self.segments.differs;
        if changed_for_relays {
            let removed = self.created || self.either(|changes| changes.removed > 0 || changes.goes_back);
            let late = self.either(|changes| changes.late);
            let newest_ms = flags.updated_at_ms.max(segments.updated_at_ms);
            environment.for_relays = environment.for_relays.after(sequence, removed, late, newest_ms);
        }
        if affected.server || changed_for_relays {
            environment.ring = match (self.created, removed) {
                (true, _) => Ring::starting_at(sequence),
                (false, true) => environment.ring.with(sequence, Push::Full),
                (false, false) => environment.ring.with(sequence, push_of(environment, sequence - 1)),
            };
        }
        if self.removed_elsewhere {
            self.note_removal_elsewhere(environment);
        }
        affected
    }

    /// An SDK that asks with an older version than now gets a full sync. Nothing is pushed, since SDKs that are connected never
    /// had the item from this agent.
    fn note_removal_elsewhere(&mut self, environment: &mut Environment) {
        let version_ms = self.versions.next_version();
        // The full sync must be newer than what any SDK has.
        if let Some(flags) = raise_newest_quietly(&environment.flags, version_ms) {
            environment.flags = flags;
        } else if let Some(segments) = raise_newest_quietly(&environment.segments, version_ms) {
            environment.segments = segments;
        }
        environment.highest_version_ms = self.versions.highest_ms();
        environment.server.removed_version_ms = version_ms;
        environment.client.removed_version_ms = version_ms;
        let relays = &mut environment.for_relays;
        relays.watermark_ms = relays.watermark_ms.max(relays.highest_updated_at_ms);
        environment.cache = Cache::default();
    }

    fn either(&self, is: impl Fn(&ListChanges) -> bool) -> bool {
        is(&self.flags) || is(&self.segments)
    }

    fn changes_server(&self, environment: &Environment, removed: bool, sequence: u64) -> bool {
        let changed = || !environment.changed_since(sequence - 1, |item| item.is_served()).is_empty();
        self.created || removed || changed()
    }

    fn changes_client(&self, environment: &Environment, flags_removed: bool, sequence: u64) -> bool {
        let is_new = |entry: &Entry<FlagData>| entry.client_sequence == sequence && entry.is_served();
        let changed = || {
            environment.flags.find(|chunk| chunk.newest.client_sequence >= sequence, is_new).next().is_some()
        };
        self.created || flags_removed || changed()
    }

    /// A removal has no version of its own. So one remaining item gets a higher version: the full payload is then newer
    /// than what any SDK has, and every kind of SDK accepts it.
    fn raise_for_removal(
        &mut self,
        environment: &mut Environment,
        removed: bool,
        flags_removed: bool,
        sequence: u64,
    ) {
        let (flags, segments) = (environment.flags.newest, environment.segments.newest);
        let newest_ms = flags.version_ms.max(segments.version_ms);
        let for_clients = flags_removed && flags.client_version_ms <= self.before_ms;
        let for_servers = removed && newest_ms <= self.before_ms;
        if !for_clients && !for_servers {
            return;
        }
        let version_ms = self.versions.next_version();
        let raised =
            if for_clients { None } else { raise_newest(&environment.segments, version_ms, sequence, false) };
        if let Some(segments) = raised {
            environment.segments = segments;
        } else if let Some(flags) = raise_newest(&environment.flags, version_ms, sequence, for_clients) {
            environment.flags = flags;
        } else if let Some(segments) = raise_newest(&environment.segments, version_ms, sequence, false) {
            environment.segments = segments;
        }
        environment.cache = Cache::default();
    }
}

/// The table with a higher version of its newest item, for server SDKs and, with `for_clients`, for client SDKs. `None`
/// if the table serves no item.
fn raise_newest<T: Item>(
    table: &Table<T>,
    version_ms: i64,
    sequence: u64,
    for_clients: bool,
) -> Option<Table<T>> {
    let newest_ms = table.newest.version_ms;
    let is_newest = |entry: &Entry<T>| entry.is_served() && entry.version_ms == newest_ms;
    let (at, entry) = table.find(|chunk| chunk.newest.version_ms == newest_ms, is_newest).next()?;
    let mut raised = raised(entry, version_ms, sequence);
    if !for_clients {
        raised.client_sequence = entry.client_sequence;
        raised.client_version_ms = entry.client_version_ms;
    }
    Some(table.with(vec![(at, raised)], Vec::new()))
}

/// The same for both kinds of SDK, without telling those that are connected.
fn raise_newest_quietly<T: Item>(table: &Table<T>, version_ms: i64) -> Option<Table<T>> {
    let newest_ms = table.newest.version_ms;
    let is_newest = |entry: &Entry<T>| entry.is_served() && entry.version_ms == newest_ms;
    let (at, entry) = table.find(|chunk| chunk.newest.version_ms == newest_ms, is_newest).next()?;
    Some(table.with(vec![(at, raised_quietly(entry, version_ms, version_ms))], Vec::new()))
}

/// The item with higher versions, as SDKs get it from now on if they ask for it.
pub(super) fn raised_quietly<T: Item>(old: &Entry<T>, sent_ms: i64, client_sent_ms: i64) -> Entry<T> {
    let raised = match sent_ms > old.version_ms {
        true => raised(old, sent_ms, old.sequence),
        false => old.clone(),
    };
    let client_version_ms = match old.client_version_ms {
        // A segment.
        i64::MIN => i64::MIN,
        before_ms => before_ms.max(client_sent_ms),
    };
    Entry { client_sequence: old.client_sequence, client_version_ms, ..raised }
}

/// The item as SDKs get it from the publish `sequence` on, with the version `version_ms`.
pub(super) fn raised<T: Item>(entry: &Entry<T>, version_ms: i64, sequence: u64) -> Entry<T> {
    let served = served_text(&entry.source().raw, version_ms)
        .map_or(Served::Unmodified, |text| Served::Modified(text.into()));
    Entry {
        sequence,
        client_sequence: sequence,
        version_ms,
        client_version_ms: version_ms,
        served,
        data: entry.data.clone(),
    }
}
