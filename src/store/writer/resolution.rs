//! Which copy of a segment counts.
//!
//! Must not look at users. A shared segment stands in several environments, and evaluation knows one: the
//! copy with the latest `updatedAt` over all environments, as in FeatBit's server; of equally new ones that of
//! the first environment.

use std::collections::HashSet;
use std::sync::Arc;

use crate::store::item::{FlagData, Item, SegmentData};
use crate::store::table::{Entry, Table, mask_of};

/// The copy that counts, by slot.
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
    /// `updatedAt` of the copy that counts.
    fn updated_at_ms(&self, slot: u32) -> Option<i64> {
        Some(self.resolved.get(slot as usize)?.as_ref()?.text.updated_at_ms)
    }

    /// The newest `updatedAt` among an item's own and those of the segments at `slots`.
    pub fn client_version_ms(&self, updated_at_ms: i64, slots: &[u32]) -> i64 {
        slots.iter().filter_map(|slot| self.updated_at_ms(*slot)).fold(updated_at_ms, i64::max)
    }

    /// Decides anew for every slot from all environments' segments, in the environments' order. Returns what
    /// changed; the copy of each of these is then given by [`Self::get`].
    pub fn resolve<'a>(&mut self, tables: impl Iterator<Item = &'a Table<SegmentData>>) -> Resolved {
        let mut next: Vec<Option<&Arc<SegmentData>>> = vec![None; self.resolved.len()];
        for segment in tables.flat_map(Table::entries).map(|entry| &entry.data) {
            let slot = segment.slot as usize;
            if next.len() <= slot {
                next.resize(slot + 1, None);
            }
            if next[slot].is_none_or(|counts| counts.text.updated_at_ms < segment.text.updated_at_ms) {
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

    /// Decides anew for one slot from the copies of its segment, in the environments' order.
    pub fn resolve_one<'a>(
        &mut self,
        slot: u32,
        copies: impl Iterator<Item = &'a Arc<SegmentData>>,
        changed: &mut Resolved,
    ) {
        if self.resolved.len() <= slot as usize {
            self.resolved.resize(slot as usize + 1, None);
        }
        let newer = |counts: Option<&'a Arc<SegmentData>>, copy: &'a Arc<SegmentData>| match counts {
            Some(counts) if counts.text.updated_at_ms >= copy.text.updated_at_ms => Some(counts),
            _ => Some(copy),
        };
        changed.exchange(slot, &mut self.resolved[slot as usize], copies.fold(None, newer));
    }

    /// A copy has other words that say the same: nothing that depends on it changes.
    pub fn reword(&mut self, old: &Arc<SegmentData>, new: &Arc<SegmentData>) {
        let counts = self.resolved.get_mut(old.slot as usize).and_then(Option::as_mut);
        if let Some(counts) = counts.filter(|counts| Arc::ptr_eq(counts, old)) {
            *counts = Arc::clone(new);
        }
    }

    /// The copy that counts.
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

    /// The flags that refer to a slot that changed, told at `sequence` with the version that `version_of` their slots
    /// gives, unless they were changed at `sequence` themselves, in a table that has taken them in; `None` if there are none.
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
