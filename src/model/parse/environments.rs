//! The environments of a dump while it is read, and checks between their items.
//!
//! Must not read JSON: it gets parsed flags, segments and secrets.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use foldhash::fast::RandomState;

use super::findings::{Findings, Path};
use crate::model::dataset::EnvironmentDef;
use crate::model::environment_id::EnvironmentId;
use crate::model::flag::FlagDef;
use crate::model::segment::SegmentDef;
use crate::model::stamp::Stamp;

pub(super) type Map<K, V> = HashMap<K, V, RandomState>;

/// A position in the dump: the index of the item, and the index in its list.
pub(super) type Position = (usize, usize);

/// The flag that is served, of those with the same key: its position and its rank.
pub(super) struct Counting<'a> {
    position: Position,
    rank: (bool, i64, &'a str),
}

/// The environments so far, and the positions of their items.
#[derive(Default)]
pub(super) struct Environments<'a> {
    pub list: Vec<EnvironmentDef<'a>>,
    pub seen: Vec<Seen<'a>>,
    slots: Map<EnvironmentId, usize>,
    last: Option<(EnvironmentId, usize)>,
}

#[derive(Default)]
pub(super) struct Seen<'a> {
    /// The index of the item that first names the environment.
    pub item: usize,
    pub flag_ids: Map<&'a str, Position>,
    /// The flag that is served, by key.
    pub flag_keys: Map<&'a str, Counting<'a>>,
    pub segment_ids: Map<&'a str, Position>,
}

impl<'a> Environments<'a> {
    /// The index of environment `id`, which the item with index `item` names or contains.
    pub fn named_by(&mut self, id: EnvironmentId, item: usize) -> usize {
        if let Some((last, slot)) = self.last
            && last == id
        {
            return slot;
        }
        let slot = *self.slots.entry(id).or_insert_with(|| {
            self.list.push(EnvironmentDef {
                id,
                secrets: Vec::new(),
                flags: Vec::new(),
                segments: Vec::new(),
            });
            self.seen.push(Seen { item, ..Seen::default() });
            self.list.len() - 1
        });
        self.last = Some((id, slot));
        slot
    }

    /// The number of items of an environment so far, counted by `of`.
    pub fn count(&self, id: EnvironmentId, of: impl FnOnce(&EnvironmentDef<'a>) -> usize) -> usize {
        self.slots.get(&id).and_then(|slot| self.list.get(*slot)).map_or(0, of)
    }

    pub fn get(&mut self, id: EnvironmentId, item: usize) -> (&mut EnvironmentDef<'a>, &mut Seen<'a>) {
        let slot = self.named_by(id, item);
        (&mut self.list[slot], &mut self.seen[slot])
    }
}

impl Environments<'_> {
    /// Reserves memory for the flags and segments of an item.
    pub fn reserve(&mut self, id: EnvironmentId, item: usize, flags: usize, segments: usize) {
        let (environment, seen) = self.get(id, item);
        environment.flags.reserve(flags);
        environment.segments.reserve(segments);
        seen.flag_ids.reserve(flags);
        seen.flag_keys.reserve(flags);
        seen.segment_ids.reserve(segments);
    }
}

/// The properties that decide between two items with the same id. Their [`Position`] is then the index among those that are kept.
pub(super) trait Stamped<'a> {
    fn id(&self) -> &'a str;
    fn stamp(&self) -> Stamp<'a>;
}

impl<'a> Stamped<'a> for FlagDef<'a> {
    fn id(&self) -> &'a str {
        self.id
    }

    fn stamp(&self) -> Stamp<'a> {
        self.stamp()
    }
}

impl<'a> Stamped<'a> for SegmentDef<'a> {
    fn id(&self) -> &'a str {
        self.id
    }

    fn stamp(&self) -> Stamp<'a> {
        self.stamp()
    }
}

/// Adds `item`, or replaces an older one with the same id.
pub(super) fn keep_newer<'a, T: Stamped<'a>>(ids: &mut Map<&'a str, Position>, kept: &mut Vec<T>, item: T) {
    match ids.entry(item.id()) {
        Entry::Vacant(entry) => {
            entry.insert((0, kept.len()));
            kept.push(item);
        }
        Entry::Occupied(entry) => {
            if let Some(old) = kept.get_mut(entry.get().1)
                && old.stamp() < item.stamp()
            {
                *old = item;
            }
        }
    }
}

/// Reports an id that occurs twice: FeatBit keeps items by environment and id, so one of the two would be lost silently.
pub(super) fn check_unique<'a>(
    findings: &mut Findings,
    path: &Path<'_>,
    ids: &mut Map<&'a str, Position>,
    id: &'a str,
    list: &str,
    position: Position,
) {
    match ids.entry(id) {
        Entry::Vacant(entry) => {
            entry.insert(position);
        }
        Entry::Occupied(entry) => {
            let (item, index) = *entry.get();
            findings.fault(
                &path.key("id"),
                format_args!(
                    "is the id of items[{item}].{list}[{index}] too, in the same environment; change one"
                ),
            );
        }
    }
}

/// Reports a key that occurs twice: SDKs get only one flag of each key, the newest that is not archived, of equally new ones
/// that with the greater id.
pub(super) fn check_key<'a>(
    findings: &mut Findings,
    path: &Path<'_>,
    keys: &mut Map<&'a str, Counting<'a>>,
    flag: &FlagDef<'a>,
    position: Position,
) {
    let rank = (!flag.is_archived, flag.updated_at_ms, flag.id);
    match keys.entry(flag.key) {
        Entry::Vacant(entry) => {
            entry.insert(Counting { position, rank });
        }
        Entry::Occupied(mut entry) => {
            let (item, index) = entry.get().position;
            let left_out = if rank >= entry.get().rank {
                entry.insert(Counting { position, rank });
                "that one is left out"
            } else {
                "this one is left out"
            };
            // Not reported as harmful: publishing reports which one it leaves out.
            findings.warn(
                &path.key("key"),
                format_args!(
                    "is the key of items[{item}].featureFlags[{index}] too, and SDKs are given only the newest that is \
                     not archived: {left_out}. With both, the Java SDK would never be ready, and the Android SDK would \
                     drop the message; remove one, or change its key"
                ),
            );
        }
    }
}
