//! Which copy of a segment counts.
//!
//! Must not look at users. A shared segment stands in several environments, and evaluation knows one: the
//! copy with the latest `updatedAt` over all environments, as in FeatBit's server; of equally new ones that of
//! the first environment.

use std::collections::HashMap;
use std::sync::Arc;

use super::item::{FlagData, Item, SegmentData};
use super::table::{Entry, Table, mask_of};

/// The copy that counts, by slot.
#[derive(Default)]
pub(super) struct Resolution {
    resolved: Vec<Option<Arc<SegmentData>>>,
}

/// Slots that resolve to another copy than before.
#[derive(Default)]
pub(super) struct Resolved {
    /// Whether what counts now is older than what counted before, or nothing.
    went_back: HashMap<u32, bool>,
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

    /// The copy that counts.
    pub fn get(&self, slot: u32) -> Option<&Arc<SegmentData>> {
        self.resolved.get(slot as usize)?.as_ref()
    }
}

impl Resolved {
    fn exchange(&mut self, slot: u32, old: &mut Option<Arc<SegmentData>>, new: Option<&Arc<SegmentData>>) {
        let back = match (&*old, new) {
            (None, None) => return,
            (Some(old), Some(new)) if Arc::ptr_eq(old, new) => return,
            (Some(old), Some(new)) => new.text.updated_at_ms < old.text.updated_at_ms,
            (Some(_), None) => true,
            (None, Some(_)) => false,
        };
        *old = new.cloned();
        self.went_back.insert(slot, back);
        self.mask |= mask_of(slot);
    }

    pub fn is_empty(&self) -> bool {
        self.went_back.is_empty()
    }

    /// The slots that changed.
    pub fn slots(&self) -> impl Iterator<Item = u32> {
        self.went_back.keys().copied()
    }

    /// Whether one of `slots` resolves to something older than before.
    pub fn went_back(&self, slots: &[u32]) -> bool {
        slots.iter().any(|slot| self.went_back.get(slot) == Some(&true))
    }

    /// The flags that refer to a slot that changed, stamped with `sequence`, unless they were changed at
    /// `sequence` themselves, in a table that has taken them in; `None` if there are none.
    pub fn restamp(
        &self,
        table: &Table<FlagData>,
        resolution: &Resolution,
        sequence: u64,
    ) -> Option<(Table<FlagData>, Vec<Entry<FlagData>>)> {
        if self.is_empty() {
            return None;
        }
        let refers = |entry: &Entry<FlagData>| {
            entry.sequence != sequence
                && entry.data.slots().iter().any(|slot| self.went_back.contains_key(slot))
        };
        let stamped: Vec<_> = table
            .find(|chunk| chunk.may_refer(self.mask), refers)
            .map(|(at, entry)| {
                let own_ms = entry.data.text.updated_at_ms;
                let client_version_ms = resolution.client_version_ms(own_ms, entry.data.slots());
                (at, Entry { client_sequence: sequence, client_version_ms, ..entry.clone() })
            })
            .collect();
        if stamped.is_empty() {
            return None;
        }
        let entries = stamped.iter().map(|(_, entry)| entry.clone()).collect();
        Some((table.with(stamped, Vec::new()), entries))
    }
}
