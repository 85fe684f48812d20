//! What one publish did to one environment, and which of its SDKs have to learn of it.
//!
//! Must not take in new data: tables have done that before. It may only raise the version of an item, where nothing else
//! would tell SDKs that something is gone.

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

/// What became of the flags or of the segments.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    /// Whether anything was added, changed or removed.
    pub differs: bool,
    /// How many are gone.
    pub gone: usize,
    /// How many of these SDKs had got.
    pub served_gone: usize,
    /// Whether an item took the place of one, or of a removal, that was as new or newer.
    pub goes_back: bool,
    /// Whether something came that was not newer than all that ever was in service.
    pub late: bool,
}

/// What happened to one environment. Its tables have taken it in already, its history has not.
pub(super) struct Edit {
    /// It was not in service before.
    pub created: bool,
    pub flags: Counts,
    pub segments: Counts,
    /// The versions of segments that changed, by their slot.
    pub segment_versions: HashMap<u32, i64>,
    /// Gives out versions.
    pub versions: Versions,
    /// The highest version told before.
    before_ms: i64,
    /// The last item was gone before: the full that told it was newer than nothing, and some SDKs pass over such.
    was_empty: bool,
}

/// Whom a publish concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Affected {
    /// Server SDKs lack something now.
    pub server: bool,
    /// Client SDKs can lack something now.
    pub client: bool,
}

impl Edit {
    /// The environment as it was before.
    pub fn new(environment: &Environment, wall_ms: i64) -> Self {
        let before_ms = environment.version_floor_ms();
        let served = environment.flags.served() + environment.segments.served();
        Self {
            created: false,
            flags: Counts::default(),
            segments: Counts::default(),
            segment_versions: HashMap::new(),
            versions: Versions::above(before_ms, wall_ms),
            before_ms,
            was_empty: environment.server.removed > 0 && served == 0,
        }
    }

    /// Whether anything happened that SDKs or other agents may have to be told.
    pub fn differs(&self, environment: &Environment, sequence: u64) -> bool {
        let is_raised = || environment.flags.newest.client_sequence == sequence;
        self.created || self.flags.differs || self.segments.differs || is_raised()
    }

    /// The versions of items that changed, given their own `updatedAt`s. What comes with the environment keeps its own:
    /// nobody has any of it.
    pub fn versions_of(&mut self, dates: &[Date]) -> Vec<i64> {
        if !self.created {
            return self.versions.of(dates);
        }
        dates.iter().for_each(|date| self.versions.note_date(*date));
        dates.iter().map(|date| date.ms).collect()
    }

    /// Gives the flags that use a segment of which another copy counts now a newer version for client SDKs.
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
                    // What counts now did not change in this environment.
                    None => return *raised_ms.get_or_insert_with(|| self.versions.raise()),
                }
            }
            own_ms
        })
    }

    /// Writes into the environment's history what happened to it, and returns whom that concerns.
    pub fn settle(&mut self, environment: &mut Environment, sequence: u64) -> Affected {
        let comes_back = self.created && self.before_ms != i64::MIN;
        // Python, Java and Go still have what was there before it was emptied: only a full takes it from them.
        let refilled = self.was_empty && (self.flags.differs || self.segments.differs);
        let flags_gone = self.flags.served_gone > 0 || comes_back;
        let gone = flags_gone || refilled || self.segments.served_gone > 0;
        self.raise_for_removal(environment, gone, flags_gone, sequence);
        let (flags, segments) = (environment.flags.newest, environment.segments.newest);
        let newest_ms = flags.version_ms.max(segments.version_ms);
        for version_ms in [newest_ms, flags.client_version_ms] {
            self.versions.note(version_ms);
        }
        environment.highest_version_ms = self.versions.highest_ms();

        let version_ms =
            |newest_ms: i64| if newest_ms == i64::MIN { environment.highest_version_ms } else { newest_ms };
        let affected = Affected {
            server: self.changes_server(environment, gone, sequence),
            client: self.changes_client(environment, flags_gone, sequence),
        };
        let removal = |changes: &mut SdkChanges, gone: bool, newest_ms: i64| {
            changes.changed = sequence;
            if gone {
                changes.removed(sequence, version_ms(newest_ms));
            } else if self.created {
                changes.removed(sequence, i64::MIN);
            }
        };
        let (mut server, mut client) = (environment.server, environment.client);
        if affected.server {
            removal(&mut server, gone, newest_ms);
        }
        if affected.client {
            removal(&mut client, flags_gone, flags.client_version_ms);
        }
        (environment.server, environment.client) = (server, client);

        let changed_for_relays = self.created || self.flags.differs || self.segments.differs;
        if changed_for_relays {
            let removed = self.created || self.either(|counts| counts.gone > 0 || counts.goes_back);
            let late = self.either(|counts| counts.late);
            let newest_ms = flags.updated_at_ms.max(segments.updated_at_ms);
            environment.for_relays = environment.for_relays.after(sequence, removed, late, newest_ms);
        }
        if affected.server || changed_for_relays {
            environment.ring = match (self.created, gone) {
                (true, _) => Ring::begun_at(sequence),
                (false, true) => environment.ring.with(sequence, Push::Full),
                (false, false) => environment.ring.with(sequence, push_of(environment, sequence - 1)),
            };
        }
        affected
    }

    fn either(&self, is: impl Fn(&Counts) -> bool) -> bool {
        is(&self.flags) || is(&self.segments)
    }

    fn changes_server(&self, environment: &Environment, gone: bool, sequence: u64) -> bool {
        let changed = || !environment.changed_since(sequence - 1, |item| item.is_served()).is_empty();
        self.created || gone || changed()
    }

    fn changes_client(&self, environment: &Environment, flags_gone: bool, sequence: u64) -> bool {
        let is_new = |entry: &Entry<FlagData>| entry.client_sequence == sequence && entry.is_served();
        let changed = || {
            environment.flags.find(|chunk| chunk.newest.client_sequence >= sequence, is_new).next().is_some()
        };
        self.created || flags_gone || changed()
    }

    /// A removal has no version: one item of what is left gets a newer one, so that everything is newer than what any SDK
    /// has, and every kind of SDK takes it.
    fn raise_for_removal(
        &mut self,
        environment: &mut Environment,
        gone: bool,
        flags_gone: bool,
        sequence: u64,
    ) {
        let (flags, segments) = (environment.flags.newest, environment.segments.newest);
        let newest_ms = flags.version_ms.max(segments.version_ms);
        let for_clients = flags_gone && flags.client_version_ms <= self.before_ms;
        let for_servers = gone && newest_ms <= self.before_ms;
        if !for_clients && !for_servers {
            return;
        }
        let version_ms = self.versions.raise();
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

/// The table with a newer version of its newest item, for server SDKs and perhaps for client SDKs. `None` if it has none.
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

/// The item as it is told from this publish on, with this version.
pub(super) fn raised<T: Item>(entry: &Entry<T>, version_ms: i64, sequence: u64) -> Entry<T> {
    let served =
        served_text(&entry.own().raw, version_ms).map_or(Served::AsItIs, |text| Served::Text(text.into()));
    Entry {
        sequence,
        client_sequence: sequence,
        version_ms,
        client_version_ms: version_ms,
        served,
        data: entry.data.clone(),
    }
}
