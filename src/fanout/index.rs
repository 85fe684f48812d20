//! A reactor's streaming connections by environment, with the publish sequence that each is up to date with.
//!
//! An entry never moves. So a connection finds its entry without a look-up, and connections can be added and removed
//! during a walk.

use std::collections::VecDeque;

use crate::model::secret::SecretKind;
use crate::net::slab::Key;
use crate::store::EnvironmentSlot;

/// Most connections of one slice. The reactor handles its sockets between two slices.
pub const WALK_SLICE: usize = 256;

/// The sequence of a connection that has not requested data yet: nothing is pushed to it.
const NOT_REQUESTED: u64 = u64::MAX;
/// The sequence of a free entry.
const VACANT: u64 = u64::MAX - 1;

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Key,
    sequence: u64,
}

/// The position of a connection in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexPosition {
    /// Its environment.
    pub slot: EnvironmentSlot,
    /// Its kind of SDK.
    pub kind: SecretKind,
    /// The index of its entry.
    entry: u32,
}

#[derive(Debug, Default)]
struct Members {
    entries: Vec<Entry>,
    vacant: Vec<u32>,
    /// The next entry of the current walk.
    cursor: Option<usize>,
    /// Whether another change came during the walk, so that it has to start again.
    again: bool,
}

impl Members {
    fn len(&self) -> usize {
        self.entries.len() - self.vacant.len()
    }
}

/// The index of one reactor.
#[derive(Debug, Default)]
pub struct Index {
    members: Vec<[Members; 2]>,
    walks: VecDeque<(EnvironmentSlot, SecretKind)>,
}

fn column(kind: SecretKind) -> usize {
    match kind {
        SecretKind::Server => 0,
        SecretKind::Client => 1,
    }
}

impl Index {
    /// Adds a connection that has not requested data yet.
    pub fn add(&mut self, slot: EnvironmentSlot, kind: SecretKind, key: Key) -> IndexPosition {
        let row = slot.0 as usize;
        if self.members.len() <= row {
            self.members.resize_with(row + 1, Default::default);
        }
        let members = &mut self.members[row][column(kind)];
        let entry = Entry { key, sequence: NOT_REQUESTED };
        let at = match members.vacant.pop() {
            Some(at) => {
                members.entries[at as usize] = entry;
                at
            }
            None => {
                members.entries.push(entry);
                (members.entries.len() - 1) as u32
            }
        };
        IndexPosition { slot, kind, entry: at }
    }

    /// Removes a connection and frees its entry.
    pub fn remove(&mut self, position: IndexPosition) {
        if let Some(members) = self.members_mut(position.slot, position.kind) {
            if let Some(entry) = members.entries.get_mut(position.entry as usize) {
                entry.sequence = VACANT;
                members.vacant.push(position.entry);
            }
            if members.vacant.len() == members.entries.len() {
                members.entries = Vec::new();
                members.vacant = Vec::new();
            }
        }
    }

    /// The sequence that a connection is up to date with; `None` if it has not requested data yet.
    pub fn sequence(&self, position: IndexPosition) -> Option<u64> {
        let entry = self.members(position.slot, position.kind)?.entries.get(position.entry as usize)?;
        (entry.sequence < VACANT).then_some(entry.sequence)
    }

    /// Records the sequence that a connection is up to date with.
    pub fn set_sequence(&mut self, position: IndexPosition, sequence: u64) {
        if let Some(members) = self.members_mut(position.slot, position.kind)
            && let Some(entry) = members.entries.get_mut(position.entry as usize)
        {
            entry.sequence = sequence;
        }
    }

    /// Starts a walk over the connections of an environment, or makes the current one start again.
    pub fn environment_changed(&mut self, slot: EnvironmentSlot) {
        for kind in [SecretKind::Server, SecretKind::Client] {
            if let Some(members) = self.members_mut(slot, kind)
                && members.len() > 0
            {
                if members.cursor.is_some() {
                    members.again = true;
                } else {
                    members.cursor = Some(0);
                    self.walks.push_back((slot, kind));
                }
            }
        }
    }

    /// The next slice of the current walk: connections that have requested data and are behind `sequence_of` their
    /// environment. Returns the environment, and whether this was the walk's last slice.
    pub fn next_slice(
        &mut self,
        sequence_of: impl Fn(EnvironmentSlot) -> u64,
        slice: &mut Vec<(Key, IndexPosition, u64)>,
    ) -> Option<(EnvironmentSlot, bool)> {
        slice.clear();
        let (slot, kind) = *self.walks.front()?;
        let target = sequence_of(slot);
        let mut finished = true;
        if let Some(members) = self.members_mut(slot, kind) {
            let start = members.cursor.unwrap_or(0);
            let mut at = start;
            while at < members.entries.len() && slice.len() < WALK_SLICE && at - start < WALK_SLICE * 16 {
                let entry = members.entries[at];
                if entry.sequence < target {
                    let position = IndexPosition { slot, kind, entry: at as u32 };
                    slice.push((entry.key, position, entry.sequence));
                }
                at += 1;
            }
            if at < members.entries.len() {
                members.cursor = Some(at);
                finished = false;
            } else if std::mem::take(&mut members.again) {
                members.cursor = Some(0);
                finished = false;
            } else {
                members.cursor = None;
            }
        }
        if finished {
            self.walks.pop_front();
        }
        Some((slot, finished))
    }

    /// Whether a walk is under way.
    pub fn is_walking(&self) -> bool {
        !self.walks.is_empty()
    }

    /// Whether a walk through an environment is under way or waiting.
    pub fn is_walking_through(&self, slot: EnvironmentSlot) -> bool {
        self.members
            .get(slot.0 as usize)
            .is_some_and(|row| row.iter().any(|members| members.cursor.is_some()))
    }

    /// Connections of an environment and kind, in no particular order.
    pub fn keys(&self, slot: EnvironmentSlot, kind: SecretKind) -> impl Iterator<Item = Key> {
        self.members(slot, kind)
            .into_iter()
            .flat_map(|members| &members.entries)
            .filter(|entry| entry.sequence != VACANT)
            .map(|entry| entry.key)
    }

    /// Number of connections of an environment and kind.
    pub fn count(&self, slot: EnvironmentSlot, kind: SecretKind) -> usize {
        self.members(slot, kind).map_or(0, Members::len)
    }

    /// The number of slots up to the highest one that ever had a connection.
    pub fn slots(&self) -> usize {
        self.members.len()
    }

    fn members(&self, slot: EnvironmentSlot, kind: SecretKind) -> Option<&Members> {
        self.members.get(slot.0 as usize).map(|row| &row[column(kind)])
    }

    fn members_mut(&mut self, slot: EnvironmentSlot, kind: SecretKind) -> Option<&mut Members> {
        self.members.get_mut(slot.0 as usize).map(|row| &mut row[column(kind)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const SLOT: EnvironmentSlot = EnvironmentSlot(3);

    fn walk_to_the_end(index: &mut Index, target: u64) -> Vec<Key> {
        let mut slice = Vec::new();
        let mut seen = Vec::new();
        while index.next_slice(|_| target, &mut slice).is_some() {
            for (key, position, _) in &slice {
                index.set_sequence(*position, target);
                seen.push(*key);
            }
        }
        seen
    }

    #[test]
    fn only_connections_that_requested_data_and_are_behind_are_visited() {
        let mut index = Index::default();
        let asked = index.add(SLOT, SecretKind::Server, Key::from_u64(1));
        index.add(SLOT, SecretKind::Server, Key::from_u64(2));
        let current = index.add(SLOT, SecretKind::Client, Key::from_u64(3));
        index.set_sequence(asked, 4);
        index.set_sequence(current, 5);
        index.environment_changed(SLOT);
        assert_eq!(walk_to_the_end(&mut index, 5), [Key::from_u64(1)]);
        assert!(!index.is_walking());
        assert_eq!(index.sequence(asked), Some(5));
    }

    #[test]
    fn a_change_during_a_walk_reaches_those_already_passed() {
        let mut index = Index::default();
        let positions: Vec<_> =
            (0..1000).map(|n| index.add(SLOT, SecretKind::Server, Key::from_u64(n))).collect();
        for position in &positions {
            index.set_sequence(*position, 1);
        }
        index.environment_changed(SLOT);
        let mut slice = Vec::new();
        index.next_slice(|_| 2, &mut slice).unwrap();
        assert_eq!(slice.len(), WALK_SLICE);
        for (_, position, _) in &slice {
            index.set_sequence(*position, 2);
        }
        index.environment_changed(SLOT);
        walk_to_the_end(&mut index, 3);
        assert!(positions.iter().all(|position| index.sequence(*position) == Some(3)));
    }

    proptest! {
        #[test]
        fn after_any_additions_and_removals_a_walk_reaches_every_connection(
            steps in prop::collection::vec((0u8..4, any::<prop::sample::Index>()), 1..400)
        ) {
            let mut index = Index::default();
            let mut twin: HashMap<Key, IndexPosition> = HashMap::new();
            let mut sequence = 1;
            let mut next = 0;
            let mut slice = Vec::new();
            for (step, pick) in steps {
                match step {
                    0 | 1 => {
                        let key = Key::from_u64(next);
                        next += 1;
                        let position = index.add(SLOT, SecretKind::Client, key);
                        index.set_sequence(position, sequence);
                        prop_assert!(twin.values().all(|other| *other != position));
                        twin.insert(key, position);
                    }
                    2 if !twin.is_empty() => {
                        let mut keys: Vec<_> = twin.keys().copied().collect();
                        keys.sort();
                        let key = *pick.get(&keys);
                        index.remove(twin.remove(&key).unwrap());
                    }
                    _ => {
                        sequence += 1;
                        index.environment_changed(SLOT);
                        if let Some((_, _)) = index.next_slice(|_| sequence, &mut slice) {
                            for (key, position, _) in &slice {
                                prop_assert_eq!(twin.get(key), Some(position));
                                index.set_sequence(*position, sequence);
                            }
                        }
                    }
                }
                prop_assert_eq!(index.count(SLOT, SecretKind::Client), twin.len());
            }
            walk_to_the_end(&mut index, sequence);
            for position in twin.values() {
                prop_assert_eq!(index.sequence(*position), Some(sequence));
            }
            let mut keys: Vec<_> = index.keys(SLOT, SecretKind::Client).collect();
            keys.sort();
            let mut expected: Vec<_> = twin.keys().copied().collect();
            expected.sort();
            prop_assert_eq!(keys, expected);
        }
    }
}
