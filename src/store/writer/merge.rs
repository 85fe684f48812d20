//! What new definitions make of the items of one environment.
//!
//! Must not compile or publish: the caller makes an item of its definition. Here is decided which items are
//! new, changed, gone or the same, and which definitions are too old to count. First a plan is made, so that all that
//! changed together can be given its versions, then the table.

use std::collections::HashMap;
use std::sync::Arc;

use super::version::Date;
use crate::model::flag::FlagDef;
use crate::model::segment::SegmentDef;
use crate::store::item::Item;
use crate::store::table::{Entry, Position, Positions, Table};

/// What flags and segments have in common before they are compiled.
pub(super) trait Definition {
    fn id(&self) -> &str;
    fn raw(&self) -> &str;
    fn updated_at_ms(&self) -> i64;
    /// Whether every SDK takes `raw` as it is.
    fn suits_all_sdks(&self) -> bool;
    /// Whether `updatedAt` has digits below the millisecond.
    fn has_microseconds(&self) -> bool;
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

    fn suits_all_sdks(&self) -> bool {
        self.suits_all_sdks
    }

    fn has_microseconds(&self) -> bool {
        self.has_microseconds
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

    fn suits_all_sdks(&self) -> bool {
        self.suits_all_sdks
    }

    fn has_microseconds(&self) -> bool {
        self.has_microseconds
    }
}

/// A table's successor and what makes it differ.
pub(super) struct Merged<T> {
    pub table: Table<T>,
    /// Where the items stand now, if that differs.
    pub positions: Option<Positions>,
}

/// What came in for the items of one environment.
pub(super) enum Incoming<'d, D> {
    /// The table is to hold exactly these, in this order.
    All(&'d [D]),
    /// These are to be added or replaced.
    Some(&'d [&'d D]),
}

/// What becomes of one place of the table.
enum Step {
    /// The item that is there stays as it is.
    Keep(Position),
    /// An item is made of the definition of this number, in the place of another if there is one.
    Make(usize, Option<Position>),
}

/// What new definitions make of a table.
pub(super) struct Plan<'d, D> {
    incoming: Incoming<'d, D>,
    steps: Vec<Step>,
    /// How many items are new.
    pub added: usize,
    /// How many are changed.
    pub changed: usize,
    /// How many are gone.
    pub gone: usize,
    /// How many of these SDKs had got.
    pub served_gone: usize,
    /// Whether an item takes the place of one that is as new or newer.
    pub goes_back: bool,
}

impl<D> Clone for Incoming<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D> Copy for Incoming<'_, D> {}

impl<'d, D: Definition> Incoming<'d, D> {
    fn get(self, index: usize) -> Option<&'d D> {
        match self {
            Incoming::All(definitions) => definitions.get(index),
            Incoming::Some(definitions) => definitions.get(index).copied(),
        }
    }

    /// What came in makes of the table. `None` if nothing differs, not even the order.
    pub fn plan<T: Item>(self, table: &Table<T>, positions: &Positions) -> Option<Plan<'d, D>> {
        match self {
            Incoming::All(definitions) => replace(table, positions, definitions),
            Incoming::Some(definitions) => upsert(table, positions, definitions),
        }
    }
}

impl<'d, D: Definition> Plan<'d, D> {
    fn new(incoming: Incoming<'d, D>) -> Self {
        let steps = Vec::new();
        Self { incoming, steps, added: 0, changed: 0, gone: 0, served_gone: 0, goes_back: false }
    }

    fn make<T: Item>(&mut self, index: usize, definition: &D, old: Option<(Position, &Entry<T>)>) {
        match old {
            Some((_, old)) => {
                self.changed += 1;
                self.goes_back |= definition.updated_at_ms() <= old.own().updated_at_ms;
            }
            None => self.added += 1,
        }
        self.steps.push(Step::Make(index, old.map(|(at, _)| at)));
    }

    /// `updatedAt` of each item that is to be made, in the order in which they will be.
    pub fn dates(&self) -> impl Iterator<Item = Date> {
        let made = self.steps.iter().filter_map(|step| match step {
            Step::Make(index, _) => self.incoming.get(*index),
            Step::Keep(_) => None,
        });
        made.map(|made| Date { ms: made.updated_at_ms(), has_microseconds: made.has_microseconds() })
    }

    /// The table that was planned for. `make` compiles what is new or changed.
    pub fn build<T: Item>(
        self,
        table: &Table<T>,
        positions: &Positions,
        mut make: impl FnMut(&D, Option<&Entry<T>>) -> Entry<T>,
    ) -> Merged<T> {
        let mut replaced = Vec::new();
        let mut entries = Vec::new();
        for step in &self.steps {
            match step {
                Step::Keep(at) => entries.extend(table.get(*at).cloned()),
                Step::Make(index, at) => {
                    let Some(definition) = self.incoming.get(*index) else { continue };
                    let entry = make(definition, at.and_then(|at| table.get(at)));
                    match (self.incoming, at) {
                        (Incoming::Some(_), Some(at)) => replaced.push((*at, entry)),
                        (Incoming::Some(_), None) | (Incoming::All(_), _) => entries.push(entry),
                    }
                }
            }
        }
        let next = match self.incoming {
            Incoming::All(_) => table.arrange(positions, &entries),
            Incoming::Some(_) => table.with(replaced, entries),
        };
        let positions = next.positions(table);
        Merged { table: next, positions }
    }
}

/// Makes the table hold exactly `definitions`, in their order. An item that says what the one in service does stays as
/// it is.
fn replace<'d, T: Item, D: Definition>(
    table: &Table<T>,
    positions: &Positions,
    definitions: &'d [D],
) -> Option<Plan<'d, D>> {
    let is = |(old, new): (&Entry<T>, &D)| *old.own().id == *new.id() && *old.own().raw == *new.raw();
    if table.len() == definitions.len() && table.entries().zip(definitions).all(is) {
        return None;
    }
    let mut plan = Plan::new(Incoming::All(definitions));
    plan.steps.reserve_exact(definitions.len());
    let (mut kept, mut served) = (0, 0);
    for (index, definition) in definitions.iter().enumerate() {
        let at = positions.get(definition.id()).copied();
        let old = at.and_then(|at| Some((at, table.get(at)?)));
        kept += usize::from(old.is_some());
        served += usize::from(old.is_some_and(|(_, old)| old.is_served()));
        match old {
            Some((at, same)) if same.own().says(definition.raw(), definition.updated_at_ms()) => {
                plan.steps.push(Step::Keep(at));
            }
            old => plan.make(index, definition, old),
        }
    }
    plan.gone = table.len().saturating_sub(kept);
    plan.served_gone = table.served().saturating_sub(served);
    let in_order = || {
        let places = plan.steps.iter().zip(table.places());
        places.into_iter().all(|(step, place)| matches!(step, Step::Keep(at) if *at == place))
    };
    let differs = plan.gone + plan.added + plan.changed > 0 || !in_order();
    differs.then_some(plan)
}

/// Adds or replaces single items: a definition counts unless what is stored is newer or says the same. Of several
/// definitions of one item the newest counts.
fn upsert<'d, T: Item, D: Definition>(
    table: &Table<T>,
    positions: &Positions,
    definitions: &'d [&'d D],
) -> Option<Plan<'d, D>> {
    let mut newest: HashMap<&str, usize> = HashMap::new();
    for (index, definition) in definitions.iter().enumerate() {
        let kept = newest.entry(definition.id()).or_insert(index);
        if definitions[*kept].updated_at_ms() <= definition.updated_at_ms() {
            *kept = index;
        }
    }
    let mut plan = Plan::new(Incoming::Some(definitions));
    for (index, definition) in definitions.iter().enumerate() {
        if newest.get(definition.id()) != Some(&index) {
            continue;
        }
        let at = positions.get(definition.id()).copied();
        let old = at.and_then(|at| Some((at, table.get(at)?)));
        let stays = old.is_some_and(|(_, old)| {
            let updated_at_ms = definition.updated_at_ms();
            old.own().updated_at_ms > updated_at_ms || old.own().says(definition.raw(), updated_at_ms)
        });
        if !stays {
            plan.make(index, definition, old);
        }
    }
    (!plan.steps.is_empty()).then_some(plan)
}

/// The id of an item, shared with its predecessor if there is one.
pub(super) fn id_of<T: Item>(definition: &impl Definition, old: Option<&Entry<T>>) -> Arc<str> {
    old.map_or_else(|| Arc::from(definition.id()), |old| Arc::clone(&old.own().id))
}
