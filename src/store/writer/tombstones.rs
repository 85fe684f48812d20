//! Removed items, so that none comes back when an older state of it arrives late.
//!
//! Must not grow without bound: the oldest tombstones are dropped first. An item with a tombstone is not in service.

use std::collections::HashMap;
use std::sync::Arc;

use crate::store::environment::EnvironmentSlot;
use crate::store::item::ItemKind;

/// Most tombstones kept, of all environments together: about 10 MB.
const TOMBSTONES_MAX: usize = 64 * 1024;
/// How many are dropped at once when there are more, so that sorting them is rare.
const DROPPED_AT_ONCE: usize = TOMBSTONES_MAX / 8;
/// A removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tombstone {
    /// `updatedAt` of the removal's stamp, in Unix milliseconds.
    pub updated_at_ms: i64,
    /// When the writer recorded it, in Unix milliseconds of the wall clock.
    pub removed_at_ms: i64,
}

/// The removals, by environment and kind.
#[derive(Default)]
pub(super) struct Tombstones {
    lists: HashMap<(EnvironmentSlot, ItemKind), HashMap<Arc<str>, Tombstone, foldhash::fast::RandomState>>,
    count: usize,
}

impl Tombstones {
    /// `updatedAt` of the removal of an item, if it was removed.
    pub fn get(&self, slot: EnvironmentSlot, kind: ItemKind, id: &str) -> Option<i64> {
        Some(self.lists.get(&(slot, kind))?.get(id)?.updated_at_ms)
    }

    /// Records that an item was removed. Of several removals of one item the newest is kept.
    pub fn put(&mut self, slot: EnvironmentSlot, kind: ItemKind, id: &Arc<str>, tombstone: Tombstone) {
        let list = self.lists.entry((slot, kind)).or_default();
        match list.get_mut(id) {
            Some(old) if old.updated_at_ms >= tombstone.updated_at_ms => {}
            Some(old) => *old = tombstone,
            None => {
                list.insert(Arc::clone(id), tombstone);
                self.count += 1;
            }
        }
        if self.count > TOMBSTONES_MAX {
            self.drop_oldest();
        }
    }

    /// Drops the tombstone of an item, because the item is in service.
    pub fn clear(&mut self, slot: EnvironmentSlot, kind: ItemKind, id: &str) {
        if let Some(list) = self.lists.get_mut(&(slot, kind)) {
            self.count -= usize::from(list.remove(id).is_some());
        }
    }

    /// Drops the tombstones of an environment that went out of service.
    pub fn clear_environment(&mut self, slot: EnvironmentSlot) {
        for kind in [ItemKind::Flag, ItemKind::Segment] {
            let list = self.lists.remove(&(slot, kind)).unwrap_or_default();
            self.count -= list.len();
        }
    }

    /// Drops the tombstones that were recorded before this time, in Unix milliseconds, and returns them.
    pub fn drop_older_than(
        &mut self,
        before_ms: i64,
    ) -> Vec<(EnvironmentSlot, ItemKind, Arc<str>, Tombstone)> {
        let mut dropped = Vec::new();
        for ((slot, kind), list) in &mut self.lists {
            let old = list.extract_if(|_, one| one.removed_at_ms < before_ms);
            dropped.extend(old.map(|(id, one)| (*slot, *kind, id, one)));
        }
        self.count -= dropped.len();
        dropped
    }

    /// The tombstones of one environment, ordered by kind and id.
    pub fn of(&self, slot: EnvironmentSlot) -> Vec<(ItemKind, Arc<str>, Tombstone)> {
        let mut all = Vec::new();
        for kind in [ItemKind::Flag, ItemKind::Segment] {
            let list = self.lists.get(&(slot, kind)).into_iter().flatten();
            all.extend(list.map(|(id, tombstone)| (kind, Arc::clone(id), *tombstone)));
        }
        all.sort_unstable_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
        all
    }

    fn drop_oldest(&mut self) {
        let mut times: Vec<_> =
            self.lists.values().flat_map(HashMap::values).map(|one| one.removed_at_ms).collect();
        let (_, oldest_ms, _) = times.select_nth_unstable(DROPPED_AT_ONCE - 1);
        let oldest_ms = *oldest_ms;
        // Many may have been removed in the same millisecond: drop only as many as necessary.
        let mut to_drop = DROPPED_AT_ONCE;
        for list in self.lists.values_mut() {
            list.retain(|_, one| {
                let dropped = one.removed_at_ms <= oldest_ms && to_drop > 0;
                to_drop -= usize::from(dropped);
                !dropped
            });
        }
        self.count = self.lists.values().map(HashMap::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: EnvironmentSlot = EnvironmentSlot(0);

    fn put(tombstones: &mut Tombstones, id: usize, removed_at_ms: i64) {
        let id: Arc<str> = id.to_string().into();
        tombstones.put(SLOT, ItemKind::Flag, &id, Tombstone { updated_at_ms: 1, removed_at_ms });
    }

    #[test]
    fn the_newest_removal_of_an_item_is_kept_until_it_is_in_service() {
        let (mut tombstones, id) = (Tombstones::default(), "a".into());
        for updated_at_ms in [5, 7, 6] {
            let tombstone = Tombstone { updated_at_ms, removed_at_ms: 0 };
            tombstones.put(SLOT, ItemKind::Flag, &id, tombstone);
        }
        assert_eq!(tombstones.get(SLOT, ItemKind::Flag, "a"), Some(7));
        assert_eq!(tombstones.get(SLOT, ItemKind::Segment, "a"), None);
        assert_eq!((tombstones.of(SLOT).len(), tombstones.count), (1, 1));
        tombstones.clear(SLOT, ItemKind::Flag, "a");
        assert_eq!((tombstones.get(SLOT, ItemKind::Flag, "a"), tombstones.count), (None, 0));
    }

    #[test]
    fn tombstones_are_dropped_by_age_and_said_once() {
        let mut tombstones = Tombstones::default();
        (0..10).for_each(|number| put(&mut tombstones, number, number as i64));
        let mut dropped: Vec<_> =
            tombstones.drop_older_than(4).into_iter().map(|(.., id, _)| id.to_string()).collect();
        dropped.sort();
        assert_eq!(dropped, ["0", "1", "2", "3"]);
        assert_eq!((tombstones.of(SLOT).len(), tombstones.count), (6, 6));
        assert!(tombstones.drop_older_than(4).is_empty());
    }

    #[test]
    fn the_oldest_tombstones_are_dropped_beyond_the_limit() {
        let mut tombstones = Tombstones::default();
        for number in 0..3 * TOMBSTONES_MAX {
            put(&mut tombstones, number, number as i64);
            assert!(tombstones.count <= TOMBSTONES_MAX);
        }
        let is_known = |number: usize| tombstones.get(SLOT, ItemKind::Flag, &number.to_string()).is_some();
        assert!(is_known(3 * TOMBSTONES_MAX - 1) && is_known(5 * TOMBSTONES_MAX / 2) && !is_known(0));
        assert_eq!(tombstones.of(SLOT).len(), tombstones.count);
    }

    #[test]
    fn of_many_removals_in_one_millisecond_only_some_are_dropped() {
        let mut tombstones = Tombstones::default();
        (0..=TOMBSTONES_MAX).for_each(|number| put(&mut tombstones, number, 0));
        assert_eq!(tombstones.count, TOMBSTONES_MAX + 1 - DROPPED_AT_ONCE);
    }
}
