//! What new definitions make of the items of one environment.
//!
//! Must not compile or publish: the caller makes an item of its definition. Here is decided which items are
//! new, changed, gone or the same, and which definitions are too old to count.

use std::collections::HashMap;
use std::sync::Arc;

use super::item::Item;
use super::table::{Entry, Position, Positions, Table};
use crate::model::flag::FlagDef;
use crate::model::segment::SegmentDef;

/// What flags and segments have in common before they are compiled.
pub(super) trait Definition {
    fn id(&self) -> &str;
    fn raw(&self) -> &str;
    fn updated_at_ms(&self) -> i64;
}

impl Definition for FlagDef<'_> {
    fn id(&self) -> &str {
        self.id
    }

    fn raw(&self) -> &str {
        self.raw
    }

    fn updated_at_ms(&self) -> i64 {
        self.updated_at_ms
    }
}

impl Definition for SegmentDef<'_> {
    fn id(&self) -> &str {
        self.id
    }

    fn raw(&self) -> &str {
        self.raw
    }

    fn updated_at_ms(&self) -> i64 {
        self.updated_at_ms
    }
}

/// A table's successor and what makes it differ.
pub(super) struct Merged<T> {
    pub table: Table<T>,
    /// Where the items stand now, if that differs.
    pub positions: Option<Positions>,
    /// What is new or changed, each with the `updatedAt` of what it replaces.
    pub changed: Vec<(Entry<T>, Option<i64>)>,
    /// How many are gone.
    pub gone: usize,
}

impl<T: Item> Merged<T> {
    /// How many of `changed` were not there before.
    pub fn added(&self) -> usize {
        self.changed.iter().filter(|(_, previous)| previous.is_none()).count()
    }

    /// Whether an item took the place of one that was as new or newer.
    pub fn went_back(&self) -> bool {
        let back = |(entry, previous): &(Entry<T>, Option<i64>)| {
            previous.is_some_and(|previous| previous >= entry.data.text().updated_at_ms)
        };
        self.changed.iter().any(back)
    }
}

/// What came in for the items of one environment.
#[derive(Clone, Copy)]
pub(super) enum Incoming<'d, D> {
    /// The table is to hold exactly these, in this order.
    All(&'d [D]),
    /// These are to be added or replaced.
    Some(&'d [&'d D]),
}

impl<D: Definition> Incoming<'_, D> {
    /// The table with what came in. `make` compiles what is new or changed. `None` if nothing differs, not
    /// even the order.
    pub fn merge<T: Item>(
        self,
        table: &Table<T>,
        positions: &Positions,
        make: impl FnMut(&D, Option<&Entry<T>>) -> Entry<T>,
    ) -> Option<Merged<T>> {
        match self {
            Incoming::All(definitions) => replace(table, positions, definitions, make),
            Incoming::Some(definitions) => upsert(table, positions, definitions, make),
        }
    }
}

/// Makes the table hold exactly `definitions`, in their order. An item that says what the one in service does, or what
/// its source gave before, stays as it is.
fn replace<T: Item, D: Definition>(
    table: &Table<T>,
    positions: &Positions,
    definitions: &[D],
    mut make: impl FnMut(&D, Option<&Entry<T>>) -> Entry<T>,
) -> Option<Merged<T>> {
    let is = |entry: &Entry<T>, definition: &D| entry.data.text().is(definition.raw());
    if table.len() == definitions.len() && table.entries().zip(definitions).all(|(old, new)| is(old, new)) {
        return None;
    }
    let mut entries = Vec::with_capacity(definitions.len());
    let mut changed = Vec::new();
    let mut kept = 0;
    for definition in definitions {
        let old = positions.get(definition.id()).and_then(|at| table.get(*at));
        kept += usize::from(old.is_some());
        let says = |old: &&Entry<T>| old.data.text().says(definition.raw(), definition.updated_at_ms());
        match old.filter(says) {
            Some(same) => entries.push(same.clone()),
            None => {
                let entry = make(definition, old);
                changed.push((entry.clone(), old.map(|old| old.data.text().updated_at_ms)));
                entries.push(entry);
            }
        }
    }
    if table.len() == entries.len() && table.entries().zip(&entries).all(|(old, new)| old.is(new)) {
        return None;
    }
    let next = table.arrange(positions, &entries);
    let positions = next.positions(table);
    Some(Merged { table: next, positions, changed, gone: table.len().saturating_sub(kept) })
}

/// Adds or replaces single items: a definition counts unless what is stored is newer or says the same. Of several
/// definitions of one item the newest counts.
fn upsert<T: Item, D: Definition>(
    table: &Table<T>,
    positions: &Positions,
    definitions: &[&D],
    mut make: impl FnMut(&D, Option<&Entry<T>>) -> Entry<T>,
) -> Option<Merged<T>> {
    let mut newest: HashMap<&str, usize> = HashMap::new();
    for (index, definition) in definitions.iter().enumerate() {
        let kept = newest.entry(definition.id()).or_insert(index);
        if definitions[*kept].updated_at_ms() <= definition.updated_at_ms() {
            *kept = index;
        }
    }
    let mut replaced: Vec<(Position, Entry<T>)> = Vec::new();
    let mut added = Vec::new();
    let mut changed = Vec::new();
    for (index, definition) in definitions.iter().enumerate() {
        if newest.get(definition.id()) != Some(&index) {
            continue;
        }
        let at = positions.get(definition.id()).copied();
        let old = at.and_then(|at| table.get(at));
        let text = old.map(|old| old.data.text());
        if text.is_some_and(|old| {
            let updated_at_ms = definition.updated_at_ms();
            old.updated_at_ms > updated_at_ms || old.says(definition.raw(), updated_at_ms)
        }) {
            continue;
        }
        let entry = make(definition, old);
        changed.push((entry.clone(), text.map(|old| old.updated_at_ms)));
        match at {
            Some(at) => replaced.push((at, entry)),
            None => added.push(entry),
        }
    }
    if changed.is_empty() {
        return None;
    }
    let next = table.with(replaced, added);
    let positions = next.positions(table);
    Some(Merged { table: next, positions, changed, gone: 0 })
}

/// The id of an item, shared with its predecessor if there is one.
pub(super) fn id_of<T: Item>(definition: &impl Definition, old: Option<&Entry<T>>) -> Arc<str> {
    old.map_or_else(|| Arc::from(definition.id()), |old| Arc::clone(&old.data.text().id))
}
