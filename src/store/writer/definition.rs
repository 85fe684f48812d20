//! Flags and segments as the data defines them, before they are compiled.
//!
//! Must not decide whether a definition is used: `merge` does. All differences between flags and segments are in this
//! file, so that the rest of the writer treats both alike.

use std::sync::Arc;

use super::edit::Edit;
use super::records::Record;
use super::resolution::Resolution;
use crate::eval::Compiler;
use crate::model::dataset::Finding;
use crate::model::flag::FlagDef;
use crate::model::segment::SegmentDef;
use crate::model::stamp::Stamp;
use crate::store::environment::Environment;
use crate::store::item::{Either, FlagData, Item, ItemKind, SegmentData, Served, StoredItem, Text};
use crate::store::served::served_text;
use crate::store::table::{Entry, Positions, Table};

/// A flag or a segment before it is compiled.
pub(super) trait Definition {
    /// The compiled form.
    type Item: Item;
    const KIND: ItemKind;

    fn id(&self) -> &str;
    /// The name for logs: a flag's key, a segment's id.
    fn name(&self) -> &str;
    fn raw(&self) -> &str;
    fn updated_at_ms(&self) -> i64;
    /// Whether every SDK accepts `raw` unmodified.
    fn suits_all_sdks(&self) -> bool;
    /// Whether `updatedAt` has digits below the millisecond.
    fn has_microseconds(&self) -> bool;
    /// The version with which another agent of the cluster has sent it to SDKs; `i64::MIN` for none.
    fn sent_ms(&self) -> i64;
    /// The same for client SDKs, which are not sent segments.
    fn client_sent_ms(&self) -> i64 {
        i64::MIN
    }
    fn compile(&self, text: Text, compiler: &mut Compiler, findings: &mut Vec<Finding>) -> Self::Item;

    /// The stamp by which it is merged.
    fn stamp(&self) -> Stamp<'_> {
        Stamp::of(self.updated_at_ms(), self.raw())
    }

    /// The text that SDKs get of it with this version.
    fn served(&self, version_ms: i64) -> Served {
        if version_ms == self.updated_at_ms() && self.suits_all_sdks() {
            return Served::Unmodified;
        }
        served_text(self.raw(), version_ms).map_or(Served::Unmodified, |text| Served::Modified(text.into()))
    }

    /// Whether it has another key than `old`, so that SDKs take it for another flag.
    fn is_renamed(&self, old: &Entry<Self::Item>) -> bool;
    /// The publish sequence and the version with which client SDKs get an item that has just changed.
    fn client_version(item: &Self::Item, version_ms: i64, edit: &mut Edit, basis: Basis<'_>) -> (u64, i64);

    fn table(environment: &Environment) -> &Table<Self::Item>;
    fn table_mut(environment: &mut Environment) -> &mut Table<Self::Item>;
    fn positions(record: &mut Record) -> &mut Positions;
    fn stored(item: &Arc<Self::Item>) -> StoredItem;
    /// The JSON of an item was replaced by one with the same content in another format.
    fn replace_json(_resolution: &mut Resolution, _old: &Arc<Self::Item>, _new: &Arc<Self::Item>) {}
}

/// What [`Definition::client_version`] depends on besides the item.
#[derive(Clone, Copy)]
pub(super) struct Basis<'r> {
    pub sequence: u64,
    pub resolution: &'r Resolution,
}

impl Definition for FlagDef<'_> {
    type Item = FlagData;
    const KIND: ItemKind = ItemKind::Flag;

    fn id(&self) -> &str {
        self.id
    }

    fn name(&self) -> &str {
        self.key
    }

    fn raw(&self) -> &str {
        self.raw
    }

    fn updated_at_ms(&self) -> i64 {
        self.updated_at_ms
    }

    fn suits_all_sdks(&self) -> bool {
        self.suits_all_sdks
    }

    fn has_microseconds(&self) -> bool {
        self.has_microseconds
    }

    fn sent_ms(&self) -> i64 {
        self.sent_ms
    }

    fn client_sent_ms(&self) -> i64 {
        self.client_sent_ms
    }

    fn compile(&self, text: Text, compiler: &mut Compiler, findings: &mut Vec<Finding>) -> FlagData {
        FlagData { text, flag: compiler.flag(self, findings) }
    }

    fn is_renamed(&self, old: &Entry<FlagData>) -> bool {
        old.data.flag.key() != self.key
    }

    /// A flag's client version also rises when a segment that it uses changes.
    fn client_version(item: &FlagData, version_ms: i64, edit: &mut Edit, basis: Basis<'_>) -> (u64, i64) {
        let slots = item.flag.segment_slots();
        let client_version_ms = match edit.created {
            true => basis.resolution.client_version_ms(version_ms, slots),
            false => {
                let changed = slots.iter().filter_map(|slot| edit.segment_versions.get(slot));
                changed.fold(version_ms, |highest_ms, changed_ms| highest_ms.max(*changed_ms))
            }
        };
        (basis.sequence, client_version_ms)
    }

    fn table(environment: &Environment) -> &Table<FlagData> {
        &environment.flags
    }

    fn table_mut(environment: &mut Environment) -> &mut Table<FlagData> {
        &mut environment.flags
    }

    fn positions(record: &mut Record) -> &mut Positions {
        &mut record.flags
    }

    fn stored(item: &Arc<FlagData>) -> StoredItem {
        StoredItem(Either::Flag(Arc::clone(item)))
    }
}

impl Definition for SegmentDef<'_> {
    type Item = SegmentData;
    const KIND: ItemKind = ItemKind::Segment;

    fn id(&self) -> &str {
        self.id
    }

    fn name(&self) -> &str {
        self.id
    }

    fn raw(&self) -> &str {
        self.raw
    }

    fn updated_at_ms(&self) -> i64 {
        self.updated_at_ms
    }

    fn suits_all_sdks(&self) -> bool {
        self.suits_all_sdks
    }

    fn has_microseconds(&self) -> bool {
        self.has_microseconds
    }

    fn sent_ms(&self) -> i64 {
        self.sent_ms
    }

    fn compile(&self, text: Text, compiler: &mut Compiler, findings: &mut Vec<Finding>) -> SegmentData {
        let segment = Arc::new(compiler.segment(self, findings));
        SegmentData { text, slot: compiler.slots.slot(self.id), segment }
    }

    fn is_renamed(&self, _old: &Entry<SegmentData>) -> bool {
        false
    }

    /// Client SDKs get no segments; the flags that use a segment take over its version.
    fn client_version(item: &SegmentData, version_ms: i64, edit: &mut Edit, _basis: Basis<'_>) -> (u64, i64) {
        edit.segment_versions.insert(item.slot, version_ms);
        (0, i64::MIN)
    }

    fn table(environment: &Environment) -> &Table<SegmentData> {
        &environment.segments
    }

    fn table_mut(environment: &mut Environment) -> &mut Table<SegmentData> {
        &mut environment.segments
    }

    fn positions(record: &mut Record) -> &mut Positions {
        &mut record.segments
    }

    fn stored(item: &Arc<SegmentData>) -> StoredItem {
        StoredItem(Either::Segment(Arc::clone(item)))
    }

    fn replace_json(resolution: &mut Resolution, old: &Arc<SegmentData>, new: &Arc<SegmentData>) {
        resolution.replace_json(old, new);
    }
}
