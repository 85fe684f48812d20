//! What new definitions make of the items of one environment.
//!
//! Must not compile or publish: the caller makes an item of its definition. Here is decided which items are
//! new, changed, gone or the same, and which definitions are too old to count. First a plan is made, so that all that
//! changed together can be given its versions, then the table.
//!
//! A whole list replaces what is there, whatever is newer. Single items and removals are merged by their stamps
//! ([`Stamp`]): the same ones make the same table in any order, however often they come.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::definition::Definition;
use super::version::Date;
use crate::model::stamp::Stamp;
use crate::store::table::{Entry, Position, Positions, Table};

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
    /// These are to be merged into it.
    Some {
        items: &'d [&'d D],
        /// The ids of items that were removed, each with the `updatedAt` of the removal's stamp.
        removed: &'d [(&'d str, i64)],
    },
}

/// What becomes of one place of the table.
enum Step {
    /// The item that is there stays as it is.
    Keep(Position),
    /// An item is made of the definition of this number, in the place of another if there is one.
    Make(usize, Option<Position>),
    /// The definition of this number says the same as the item that is there, and its words count.
    Reword(usize, Position),
}

/// What new definitions make of a table.
pub(super) struct Plan<'d, D> {
    incoming: Incoming<'d, D>,
    steps: Vec<Step>,
    /// How many items are new.
    pub added: usize,
    /// How many are changed.
    pub changed: usize,
    /// The items that are gone.
    pub gone: Vec<Position>,
    /// How many of these SDKs had got.
    pub served_gone: usize,
    /// Whether an item takes the place of one, or of a removal, that is as new or newer.
    pub goes_back: bool,
    /// The removals that count from now on, whether or not there was such an item.
    pub tombstones: Vec<(&'d str, i64)>,
}

/// An item that is to be made of a definition.
pub(super) struct Made<'p, D: Definition> {
    pub definition: &'p D,
    /// What is in service.
    pub old: Option<&'p Entry<D::Item>>,
    /// Both say the same: only the words change.
    pub is_reworded: bool,
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
            Incoming::Some { items, .. } => items.get(index).copied(),
        }
    }

    /// What came in makes of the table. `None` if nothing differs, not even the order. `tombstone` gives the `updatedAt` of an
    /// item that was removed before.
    pub fn plan(
        self,
        table: &Table<D::Item>,
        positions: &Positions,
        tombstone: impl Fn(&str) -> Option<i64>,
    ) -> Option<Plan<'d, D>> {
        match self {
            Incoming::All(definitions) => replace(table, positions, definitions, tombstone),
            Incoming::Some { .. } => merge(table, positions, self, tombstone),
        }
    }
}

impl<'d, D: Definition> Plan<'d, D> {
    fn new(incoming: Incoming<'d, D>) -> Self {
        Self {
            incoming,
            steps: Vec::new(),
            added: 0,
            changed: 0,
            gone: Vec::new(),
            served_gone: 0,
            goes_back: false,
            tombstones: Vec::new(),
        }
    }

    /// Whether SDKs or other agents have anything to learn.
    pub fn differs(&self) -> bool {
        self.added + self.changed + self.gone.len() > 0
    }

    fn make(&mut self, index: usize, definition: &D, old: Option<(Position, &Entry<D::Item>)>) {
        match old {
            Some((_, old)) => {
                self.changed += 1;
                self.goes_back |= definition.updated_at_ms() <= old.own().updated_at_ms;
            }
            None => self.added += 1,
        }
        self.steps.push(Step::Make(index, old.map(|(at, _)| at)));
    }

    fn remove(&mut self, at: Position, old: &Entry<D::Item>) {
        self.gone.push(at);
        self.served_gone += usize::from(old.is_served());
    }

    /// `updatedAt` of each item that SDKs are told of, in the order in which they will be made.
    pub fn dates(&self) -> impl Iterator<Item = Date> {
        let made = self.steps.iter().filter_map(|step| match step {
            Step::Make(index, _) => self.incoming.get(*index),
            Step::Keep(_) | Step::Reword(..) => None,
        });
        made.map(|made| Date { ms: made.updated_at_ms(), has_microseconds: made.has_microseconds() })
    }

    /// The table that was planned for. `make` compiles what is new or changed.
    pub fn build(
        self,
        table: &Table<D::Item>,
        positions: &Positions,
        mut make: impl FnMut(Made<'_, D>) -> Entry<D::Item>,
    ) -> Merged<D::Item> {
        let mut replaced = Vec::new();
        let mut entries = Vec::new();
        let is_whole = matches!(self.incoming, Incoming::All(_));
        for step in &self.steps {
            let (index, at, is_reworded) = match step {
                Step::Keep(at) => {
                    entries.extend(table.get(*at).cloned());
                    continue;
                }
                Step::Make(index, at) => (*index, *at, false),
                Step::Reword(index, at) => (*index, Some(*at), true),
            };
            let Some(definition) = self.incoming.get(index) else { continue };
            let old = at.and_then(|at| table.get(at));
            let entry = make(Made { definition, old, is_reworded });
            match at {
                Some(at) if !is_whole => replaced.push((at, entry)),
                _ => entries.push(entry),
            }
        }
        let next = if is_whole {
            table.arrange(positions, &entries)
        } else if self.gone.is_empty() {
            table.with(replaced, entries)
        } else {
            let gone: HashSet<_> = self.gone.into_iter().collect();
            let mut replaced: HashMap<_, _> = replaced.into_iter().collect();
            let old = table.places().zip(table.entries()).filter(|(at, _)| !gone.contains(at));
            let stays = old.map(|(at, old)| replaced.remove(&at).unwrap_or_else(|| old.clone()));
            let mut all: Vec<_> = stays.collect();
            all.append(&mut entries);
            table.arrange(positions, &all)
        };
        let positions = next.positions(table);
        Merged { table: next, positions }
    }
}

/// Makes the table hold exactly `definitions`, in their order. An item that says what the one in service does stays as
/// it is.
fn replace<'d, D: Definition>(
    table: &Table<D::Item>,
    positions: &Positions,
    definitions: &'d [D],
    tombstone: impl Fn(&str) -> Option<i64>,
) -> Option<Plan<'d, D>> {
    let is = |(old, new): (&Entry<D::Item>, &D)| *old.own().id == *new.id() && *old.own().raw == *new.raw();
    if table.len() == definitions.len() && table.entries().zip(definitions).all(is) {
        return None;
    }
    let mut plan = Plan::new(Incoming::All(definitions));
    plan.steps.reserve_exact(definitions.len());
    let mut kept = 0;
    for (index, definition) in definitions.iter().enumerate() {
        let at = positions.get(definition.id()).copied();
        let old = at.and_then(|at| Some((at, table.get(at)?)));
        kept += usize::from(old.is_some());
        match old {
            Some((at, same)) if same.own().says(definition.raw(), definition.updated_at_ms()) => {
                plan.steps.push(Step::Keep(at));
            }
            old => {
                let removed_ms = if old.is_none() { tombstone(definition.id()) } else { None };
                plan.goes_back |= removed_ms.is_some_and(|ms| Stamp::removal(ms) >= definition.stamp());
                plan.make(index, definition, old);
            }
        }
    }
    if kept < table.len() {
        let listed: HashSet<&str> = definitions.iter().map(Definition::id).collect();
        let old = table.places().zip(table.entries());
        old.filter(|(_, old)| !listed.contains(&*old.own().id)).for_each(|(at, old)| plan.remove(at, old));
    }
    let in_order = || {
        let places = plan.steps.iter().zip(table.places());
        places.into_iter().all(|(step, place)| matches!(step, Step::Keep(at) if *at == place))
    };
    (plan.differs() || !in_order()).then_some(plan)
}

/// Merges single items and removals: the one of the greatest stamp counts.
fn merge<'d, D: Definition>(
    table: &Table<D::Item>,
    positions: &Positions,
    incoming: Incoming<'d, D>,
    tombstone: impl Fn(&str) -> Option<i64>,
) -> Option<Plan<'d, D>> {
    let Incoming::Some { items, removed } = incoming else { return None };
    let mut newest: HashMap<&str, usize> = HashMap::with_capacity(items.len());
    for (index, definition) in items.iter().enumerate() {
        let kept = newest.entry(definition.id()).or_insert(index);
        if items[*kept].stamp() < definition.stamp() {
            *kept = index;
        }
    }
    let mut removals: HashMap<&str, i64> = HashMap::with_capacity(removed.len());
    for (id, updated_at_ms) in removed {
        let newest_ms = removals.entry(*id).or_insert(*updated_at_ms);
        *newest_ms = (*newest_ms).max(*updated_at_ms);
    }
    let place = |id: &str| {
        let at = positions.get(id).copied()?;
        Some((at, table.get(at)?))
    };
    let mut plan = Plan::new(incoming);
    for (index, definition) in items.iter().enumerate() {
        let id = definition.id();
        let stamp = definition.stamp();
        let is_removed = |updated_at_ms: i64| Stamp::removal(updated_at_ms) >= stamp;
        if newest.get(id) != Some(&index) || removals.get(id).copied().is_some_and(is_removed) {
            continue;
        }
        match place(id) {
            Some((_, old)) if old.own().stamp() >= stamp => {}
            Some((at, old)) if old.own().says(definition.raw(), definition.updated_at_ms()) => {
                plan.steps.push(Step::Reword(index, at));
            }
            None if tombstone(id).is_some_and(is_removed) => {}
            old => plan.make(index, definition, old),
        }
    }
    for (id, _) in removed {
        // Each once, in the order in which they came.
        let Some(updated_at_ms) = removals.remove(*id) else { continue };
        let removal = Stamp::removal(updated_at_ms);
        if newest.get(*id).is_some_and(|index| items[*index].stamp() > removal) {
            continue;
        }
        match place(id) {
            Some((_, old)) if old.own().stamp() > removal => continue,
            Some((at, old)) => plan.remove(at, old),
            None if tombstone(id).is_some_and(|before_ms| before_ms >= updated_at_ms) => continue,
            None => {}
        }
        plan.tombstones.push((*id, updated_at_ms));
    }
    (!plan.steps.is_empty() || !plan.tombstones.is_empty()).then_some(plan)
}

/// The id of an item, shared with its predecessor if there is one.
pub(super) fn id_of<D: Definition>(definition: &D, old: Option<&Entry<D::Item>>) -> Arc<str> {
    old.map_or_else(|| Arc::from(definition.id()), |old| Arc::clone(&old.own().id))
}
