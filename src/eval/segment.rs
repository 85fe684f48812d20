//! Segments of users, and the table in which flags look them up.
//!
//! Flags refer to segments by slot, not by id, so that adding, changing or removing a segment does not change the flags that
//! refer to it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::condition::Condition;
use super::keys::KeySet;
use crate::model::user::User;

/// Assigns a slot to each segment id, for the life of the process.
///
/// An id without a segment gets a slot too, so that its flags need not change when the segment appears.
#[derive(Debug, Default)]
pub struct SegmentSlots {
    slots: HashMap<Box<str>, u32>,
}

impl SegmentSlots {
    /// No slots yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The slot of the segment `id`; a new one if it has none yet.
    pub fn slot(&mut self, id: &str) -> u32 {
        if let Some(slot) = self.get(id) {
            return slot;
        }
        // Four billion ids do not fit into memory.
        let slot = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.slots.insert(id.into(), slot);
        slot
    }

    /// The slot of the segment `id`, if it has one.
    pub fn get(&self, id: &str) -> Option<u32> {
        self.slots.get(id).copied()
    }

    /// The number of assigned slots.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether no slot is assigned.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

/// A segment, compiled.
#[derive(Debug)]
pub struct Segment {
    pub(super) arena: Box<str>,
    pub(super) included: KeySet,
    pub(super) excluded: KeySet,
    pub(super) conditions: Box<[Condition]>,
    /// The conditions of each rule.
    pub(super) rules: Box<[Range<u32>]>,
}

impl Segment {
    /// Whether `user` is in the segment: excluded users are not, included ones are, and of the others those for
    /// whom all conditions of a rule hold.
    pub fn contains(&self, user: &User) -> bool {
        let key = user.key_id();
        if self.excluded.contains(key) {
            return false;
        }
        self.included.contains(key) || self.rules.iter().any(|rule| self.rule_holds(rule, user))
    }

    fn rule_holds(&self, rule: &Range<u32>, user: &User) -> bool {
        let conditions = self.conditions.get(rule.start as usize..rule.end as usize).unwrap_or(&[]);
        // Segments do not nest: a condition of a segment cannot refer to segments.
        conditions.iter().all(|condition| condition.holds(user, &self.arena, |_| false))
    }

    /// Memory of the segment in bytes, without the patterns that it shares with others.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.arena.len()
            + self.included.memory_bytes()
            + self.excluded.memory_bytes()
            + size_of_val(&*self.conditions)
            + self.conditions.iter().map(Condition::memory_bytes).sum::<usize>()
            + size_of_val(&*self.rules)
    }
}

/// Segments in one chunk of a table.
const CHUNK: usize = 128;

type Chunk = [Option<Arc<Segment>>; CHUNK];

/// A table of segments by slot. Clones share its chunks, and a changed segment copies one chunk.
#[derive(Clone, Debug, Default)]
pub struct Segments {
    chunks: Vec<Arc<Chunk>>,
}

impl Segments {
    /// The segment in `slot`; `None` if no environment has it.
    pub fn get(&self, slot: u32) -> Option<&Segment> {
        self.arc(slot).map(|segment| &**segment)
    }

    /// Whether `user` is in the segment in `slot`.
    pub(super) fn contain(&self, slot: u32, user: &User) -> bool {
        self.get(slot).is_some_and(|segment| segment.contains(user))
    }

    /// The segment in `slot`, shared.
    pub fn arc(&self, slot: u32) -> Option<&Arc<Segment>> {
        let slot = slot as usize;
        self.chunks.get(slot / CHUNK)?[slot % CHUNK].as_ref()
    }

    /// The table with `changes`: a segment to put into a slot, or `None` to remove one.
    pub fn with(&self, changes: impl IntoIterator<Item = (u32, Option<Arc<Segment>>)>) -> Segments {
        let mut chunks = self.chunks.clone();
        for (slot, segment) in changes {
            let slot = slot as usize;
            if chunks.len() <= slot / CHUNK {
                if segment.is_none() {
                    continue;
                }
                chunks.resize_with(slot / CHUNK + 1, || Arc::new([const { None }; CHUNK]));
            }
            Arc::make_mut(&mut chunks[slot / CHUNK])[slot % CHUNK] = segment;
        }
        Segments { chunks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn segment(included: &str) -> Arc<Segment> {
        Arc::new(Segment {
            arena: "".into(),
            included: KeySet::new([included]),
            excluded: KeySet::default(),
            conditions: Box::new([]),
            rules: Box::new([]),
        })
    }

    #[test]
    fn an_id_keeps_its_slot() {
        let mut slots = SegmentSlots::new();
        assert_eq!((slots.get("a"), slots.is_empty()), (None, true));
        assert_eq!((slots.slot("a"), slots.slot("b"), slots.slot("a")), (0, 1, 0));
        assert_eq!((slots.get("b"), slots.len()), (Some(1), 2));
    }

    #[test]
    fn one_change_copies_one_chunk() {
        let all = Segments::default().with((0..1000).map(|slot| (slot, Some(segment("x")))));
        let changed = all.with([(300, Some(segment("y")))]);
        let shared =
            all.chunks.iter().zip(&changed.chunks).filter(|(old, new)| Arc::ptr_eq(old, new)).count();
        assert_eq!((all.chunks.len(), shared), (8, 7));
        assert!(Arc::ptr_eq(all.arc(301).unwrap(), changed.arc(301).unwrap()));
    }

    proptest! {
        #[test]
        fn holds_what_a_map_holds(
            rounds in prop::collection::vec(prop::collection::vec((0u32..400, any::<bool>()), 0..20), 0..6)
        ) {
            let mut twin = BTreeMap::new();
            let mut table = Segments::default();
            for round in rounds {
                let before = (table.clone(), twin.clone());
                let changes: Vec<_> = round.iter().map(|(slot, put)| (*slot, put.then(|| segment("x")))).collect();
                table = table.with(changes.iter().cloned());
                for (slot, segment) in changes {
                    match segment {
                        Some(segment) => drop(twin.insert(slot, segment)),
                        None => drop(twin.remove(&slot)),
                    }
                }
                for (table, twin) in [(&table, &twin), (&before.0, &before.1)] {
                    for slot in 0..500 {
                        prop_assert_eq!(table.arc(slot).map(Arc::as_ptr), twin.get(&slot).map(Arc::as_ptr));
                    }
                }
            }
        }
    }
}
