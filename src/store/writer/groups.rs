//! New items by environment.
//!
//! Must not decide which of them are used: `merge` does.

use std::collections::HashMap;

use super::draft::Draft;
use super::incoming::Removal;
use super::merge::Incoming;
use super::records::Records;
use crate::model::flag::FlagDef;
use crate::model::segment::SegmentDef;
use crate::store::environment::EnvironmentSlot;
use crate::store::item::ItemKind;

/// New data by environment, in the order in which the environments first appear in it.
#[derive(Default)]
pub(super) struct Groups<'d> {
    groups: Vec<(EnvironmentSlot, Group<'d>)>,
    places: HashMap<EnvironmentSlot, usize>,
}

#[derive(Default)]
struct Group<'d> {
    flags: Vec<&'d FlagDef<'d>>,
    segments: Vec<&'d SegmentDef<'d>>,
    removed_flags: Vec<(&'d str, i64)>,
    removed_segments: Vec<(&'d str, i64)>,
}

impl<'d> Groups<'d> {
    /// Sorts items and removals by environment.
    pub fn of_items(
        records: &mut Records,
        flags: &'d [FlagDef<'d>],
        segments: &'d [SegmentDef<'d>],
        removals: &'d [Removal<'d>],
    ) -> Self {
        let mut groups = Self::default();
        flags.iter().for_each(|flag| groups.of(records.slot_of(flag.env_id)).flags.push(flag));
        for segment in segments {
            groups.of(records.slot_of(segment.env_id)).segments.push(segment);
        }
        for removal in removals {
            let group = groups.of(records.slot_of(removal.env_id));
            let list = match removal.kind {
                ItemKind::Flag => &mut group.removed_flags,
                ItemKind::Segment => &mut group.removed_segments,
            };
            list.push((removal.id, removal.updated_at_ms));
        }
        groups
    }

    fn of(&mut self, slot: EnvironmentSlot) -> &mut Group<'d> {
        let at = *self.places.entry(slot).or_insert(self.groups.len());
        if at == self.groups.len() {
            self.groups.push((slot, Group::default()));
        }
        &mut self.groups[at].1
    }

    /// The environments.
    pub fn slots(&self) -> impl Iterator<Item = EnvironmentSlot> {
        self.groups.iter().map(|(slot, _)| *slot)
    }

    /// Merges the data into `draft`, by stamps.
    pub fn add_to(&'d self, draft: &mut Draft<'_, 'd>) {
        for (slot, group) in &self.groups {
            let flags = Incoming::Some { items: &group.flags, removed: &group.removed_flags };
            let segments = Incoming::Some { items: &group.segments, removed: &group.removed_segments };
            draft.add_data(*slot, flags, segments);
        }
    }
}
