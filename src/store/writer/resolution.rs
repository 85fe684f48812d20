//! Which copy of a shared segment is in effect.
//!
//! Must not look at users. Several environments may have a copy of a shared segment, and evaluation uses one for all: the
//! copy with the latest `updatedAt`, as in FeatBit's server; of equally new ones, that of the first environment.

use std::collections::HashSet;
use std::sync::Arc;

use crate::store::item::{FlagData, Item, SegmentData};
use crate::store::table::{Entry, Table, mask_of};

/// The copy in effect, by slot.
#[derive(Default)]
pub(super) struct Resolution {
    resolved: Vec<Option<Arc<SegmentData>>>,
}

/// Slots that resolve to another copy than before.
#[derive(Default)]
pub(super) struct Resolved {
    slots: HashSet<u32>,
    mask: u64,
}

impl Resolution {
    /// `updatedAt` of the copy in effect.
    fn updated_at_ms(&self, slot: u32) -> Option<i64> {
        Some(self.resolved.get(slot as usize)?.as_ref()?.text.updated_at_ms)
    }

    /// The newest of an item's own `updatedAt` and those of the segments at `slots`.
    pub fn client_version_ms(&self, updated_at_ms: i64, slots: &[u32]) -> i64 {
        slots.iter().filter_map(|slot| self.updated_at_ms(*slot)).fold(updated_at_ms, i64::max)
    }

    /// Resolves every slot again from the segments of all environments, in the environments' order. Returns the slots
    /// that changed; [`Self::get`] gives the copy of each.
    pub fn resolve<'a>(&mut self, tables: impl Iterator<Item = &'a Table<SegmentData>>) -> Resolved {
        let mut next: Vec<Option<&Arc<SegmentData>>> = vec![None; self.resolved.len()];
        for segment in tables.flat_map(Table::entries).map(|entry| &entry.data) {
            let slot = segment.slot as usize;
            if next.len() <= slot {
                next.resize(slot + 1, None);
            }
            if next[slot].is_none_or(|newest| newest.text.updated_at_ms < segment.text.updated_at_ms) {
                next[slot] = Some(segment);
            }
        }
        self.resolved.resize(next.len(), None);
        let mut changed = Resolved::default();
        for (slot, (old, new)) in self.resolved.iter_mut().zip(next).enumerate() {
            changed.exchange(slot as u32, old, new);
        }
        changed
    }

    /// Resolves one slot again from the copies of its segment, in the environments' order.
    pub fn resolve_one<'a>(
        &mut self,
        slot: u32,
        copies: impl Iterator<Item = &'a Arc<SegmentData>>,
        changed: &mut Resolved,
    ) {
        if self.resolved.len() <= slot as usize {
            self.resolved.resize(slot as usize + 1, None);
        }
        let newer = |newest: Option<&'a Arc<SegmentData>>, copy: &'a Arc<SegmentData>| match newest {
            Some(newest) if newest.text.updated_at_ms >= copy.text.updated_at_ms => Some(newest),
            _ => Some(copy),
        };
        changed.exchange(slot, &mut self.resolved[slot as usize], copies.fold(None, newer));
    }

    /// Replaces a copy by one with the same content in another JSON format: nothing that depends on it changes.
    pub fn replace_json(&mut self, old: &Arc<SegmentData>, new: &Arc<SegmentData>) {
        let in_effect = self.resolved.get_mut(old.slot as usize).and_then(Option::as_mut);
        if let Some(in_effect) = in_effect.filter(|copy| Arc::ptr_eq(copy, old)) {
            *in_effect = Arc::clone(new);
        }
    }

    /// The copy in effect.
    pub fn get(&self, slot: u32) -> Option<&Arc<SegmentData>> {
        self.resolved.get(slot as usize)?.as_ref()
    }
}

impl Resolved {
    fn exchange(&mut self, slot: u32, old: &mut Option<Arc<SegmentData>>, new: Option<&Arc<SegmentData>>) {
        let same = match (&*old, new) {
            (None, None) => true,
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !same {
            *old = new.cloned();
            self.slots.insert(slot);
            self.mask |= mask_of(slot);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The slots that changed.
    pub fn slots(&self) -> impl Iterator<Item = u32> {
        self.slots.iter().copied()
    }

    /// Whether this slot changed.
    pub fn holds(&self, slot: u32) -> bool {
        self.slots.contains(&slot)
    }

    /// The table with higher client versions of the flags that use a segment at a changed slot. `version_of` gives the
    /// version from a flag's segment slots. Flags that changed at `sequence` themselves are left out, because they have a
    /// new version already. `None` if there are no such flags.
    pub fn raise_client_versions(
        &self,
        table: &Table<FlagData>,
        sequence: u64,
        mut version_of: impl FnMut(&[u32]) -> i64,
    ) -> Option<Table<FlagData>> {
        if self.is_empty() {
            return None;
        }
        let refers = |entry: &Entry<FlagData>| {
            entry.client_sequence != sequence
                && entry.data.slots().iter().any(|slot| self.slots.contains(slot))
        };
        let raised: Vec<_> = table
            .find(|chunk| chunk.may_refer(self.mask), refers)
            .map(|(at, entry)| {
                let client_version_ms = version_of(entry.data.slots());
                (at, Entry { client_sequence: sequence, client_version_ms, ..entry.clone() })
            })
            .collect();
        (!raised.is_empty()).then(|| table.with(raised, Vec::new()))
    }
}
