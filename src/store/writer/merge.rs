//! Merges new definitions into the items of one environment.
//!
//! Must not compile or publish: the caller compiles each definition. Merging decides which items are new, changed,
//! removed or the same, and ignores definitions that are too old. It first makes a plan, so that the caller can assign
//! versions to all items that changed together, and then builds the table from it.
//!
//! A whole list replaces the table, even where the table has newer items, except what another agent of the cluster has
//! changed since the list was asked for ([`ChangedSinceRequest`]). Single items and removals are merged by their stamps ([`Stamp`]): the
//! same set of them gives the same table in any order, and when repeated.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::definition::Definition;
use super::edit::raised_quietly;
use super::version::Date;
use crate::model::environment_id::EnvironmentId;
use crate::model::stamp::Stamp;
use crate::store::item::ItemKind;
use crate::store::table::{Entry, Position, Positions, Table};

/// The next table, and how it differs.
pub(super) struct Merged<T> {
    pub table: Table<T>,
    /// The positions of the items, if they differ.
    pub positions: Option<Positions>,
}

/// New data for the flags, or the segments, of one environment.
pub(super) enum Incoming<'d, D> {
    /// All items: the table is to have exactly these, in this order.
    All {
        items: &'d [D],
        /// What was changed since the list was asked for: there the newer state wins.
        changed: &'d ChangedSinceRequest,
    },
    /// Single items, to be merged into the table.
    Some {
        items: &'d [&'d D],
        /// The ids of items that were removed, each with the `updatedAt` of the removal's stamp.
        removed: &'d [(&'d str, i64)],
    },
}

/// The items that another agent of the cluster has changed or removed since a full sync was asked for.
#[derive(Debug, Default)]
pub struct ChangedSinceRequest(HashSet<(EnvironmentId, ItemKind, Box<str>)>);

impl ChangedSinceRequest {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an item.
    pub fn add(&mut self, environment: EnvironmentId, kind: ItemKind, id: &str) {
        self.0.insert((environment, kind, id.into()));
    }

    fn has(&self, environment: EnvironmentId, kind: ItemKind, id: &str) -> bool {
        !self.0.is_empty() && self.0.contains(&(environment, kind, Box::from(id)))
    }
}

/// What merging has to know of the environment besides its table.
#[derive(Clone, Copy)]
pub(super) struct Basis<'a, F> {
    pub environment: EnvironmentId,
    /// `updatedAt` of the removal of an item that was removed before.
    pub tombstone: F,
    pub positions: &'a Positions,
}

/// How one item of the table is made.
enum Step {
    /// The existing item stays as it is.
    Keep(Position),
    /// The definition of this index is compiled; it replaces the item at the position, if there is one.
    Make(usize, Option<Position>),
    /// The definition of this index has the same content as the item at the position, in another format: its JSON text
    /// replaces the old one.
    Reformat(usize, Position),
    /// The item at the position stays, but another agent has sent it to server SDKs, or to client SDKs, with this higher
    /// version. Not sent to SDKs that are connected, since they have its content.
    Raise(Position, i64, i64),
}

/// The planned changes of a table.
pub(super) struct Plan<'d, D> {
    incoming: Incoming<'d, D>,
    steps: Vec<Step>,
    /// How many items are new.
    pub added: usize,
    /// How many are changed.
    pub changed: usize,
    /// The positions of removed items.
    pub removed: Vec<Position>,
    /// How many of the removed items SDKs had been sent.
    pub served_removed: usize,
    /// Whether an item replaces one, or undoes a removal, that is as new or newer.
    pub goes_back: bool,
    /// Whether stamps alone would have had another result.
    pub defies_stamps: bool,
    /// The removals that are in effect from now on, whether or not there was such an item.
    pub tombstones: Vec<(&'d str, i64)>,
}

/// A definition that is to be compiled.
pub(super) struct ToCompile<'p, D: Definition> {
    pub definition: &'p D,
    /// The item that it replaces.
    pub old: Option<&'p Entry<D::Item>>,
    /// Whether both have the same content, so that only the format of the JSON changes.
    pub is_reformatted: bool,
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
            Incoming::All { items, .. } => items.get(index),
            Incoming::Some { items, .. } => items.get(index).copied(),
        }
    }

    /// Plans how this data changes the table. `None` if nothing differs, not even the order.
    pub fn plan(
        self,
        table: &Table<D::Item>,
        basis: Basis<'_, impl Fn(&str) -> Option<i64>>,
    ) -> Option<Plan<'d, D>> {
        match self {
            Incoming::All { items, changed } => replace(table, basis, items, changed),
            Incoming::Some { .. } => merge(table, basis, self),
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
            removed: Vec::new(),
            served_removed: 0,
            goes_back: false,
            defies_stamps: false,
            tombstones: Vec::new(),
        }
    }

    /// Whether anything changes for SDKs or relay agents.
    pub fn differs(&self) -> bool {
        self.added + self.changed + self.removed.len() > 0
    }

    fn make(&mut self, index: usize, definition: &D, old: Option<(Position, &Entry<D::Item>)>) {
        match old {
            Some((_, old)) => {
                self.changed += 1;
                self.goes_back |= definition.updated_at_ms() <= old.source().updated_at_ms;
                self.defies_stamps |= definition.stamp() < old.source().stamp();
            }
            None => self.added += 1,
        }
        self.steps.push(Step::Make(index, old.map(|(at, _)| at)));
    }

    fn remove(&mut self, at: Position, old: &Entry<D::Item>) {
        self.removed.push(at);
        self.served_removed += usize::from(old.is_served());
    }

    /// `updatedAt` of each item that needs a version, in the order in which [`Self::build`] makes them.
    pub fn dates(&self) -> impl Iterator<Item = Date> {
        let made = self.steps.iter().filter_map(|step| match step {
            Step::Make(index, _) => self.incoming.get(*index),
            Step::Keep(_) | Step::Reformat(..) | Step::Raise(..) => None,
        });
        made.map(|made| Date {
            ms: made.updated_at_ms(),
            has_microseconds: made.has_microseconds(),
            sent_ms: made.sent_ms(),
        })
    }

    /// Builds the planned table. `make` compiles each new or changed item.
    pub fn build(
        self,
        table: &Table<D::Item>,
        positions: &Positions,
        mut make: impl FnMut(ToCompile<'_, D>) -> Entry<D::Item>,
    ) -> Merged<D::Item> {
        let mut replaced = Vec::new();
        let mut entries = Vec::new();
        let is_whole = matches!(self.incoming, Incoming::All { .. });
        for step in &self.steps {
            let (index, at, is_reformatted) = match step {
                Step::Keep(at) => {
                    entries.extend(table.get(*at).cloned());
                    continue;
                }
                Step::Raise(at, sent_ms, client_sent_ms) => {
                    let raised = |old| raised_quietly(old, *sent_ms, *client_sent_ms);
                    replaced.extend(table.get(*at).map(|old| (*at, raised(old))));
                    continue;
                }
                Step::Make(index, at) => (*index, *at, false),
                Step::Reformat(index, at) => (*index, Some(*at), true),
            };
            let Some(definition) = self.incoming.get(index) else { continue };
            let old = at.and_then(|at| table.get(at));
            let entry = make(ToCompile { definition, old, is_reformatted });
            match at {
                Some(at) if !is_whole => replaced.push((at, entry)),
                _ => entries.push(entry),
            }
        }
        let next = if is_whole {
            table.arrange(positions, &entries)
        } else if self.removed.is_empty() {
            table.with(replaced, entries)
        } else {
            let removed: HashSet<_> = self.removed.into_iter().collect();
            let mut replaced: HashMap<_, _> = replaced.into_iter().collect();
            let old = table.all_positions().zip(table.entries()).filter(|(at, _)| !removed.contains(at));
            let stays = old.map(|(at, old)| replaced.remove(&at).unwrap_or_else(|| old.clone()));
            let mut all: Vec<_> = stays.collect();
            all.append(&mut entries);
            table.arrange(positions, &all)
        };
        let positions = next.positions(table);
        Merged { table: next, positions }
    }
}

/// Plans a table with exactly `definitions`, in their order. An item in service with the same content stays as it is. Of
/// the items in `changed`, the newer state wins.
fn replace<'d, D: Definition>(
    table: &Table<D::Item>,
    basis: Basis<'_, impl Fn(&str) -> Option<i64>>,
    definitions: &'d [D],
    changed: &'d ChangedSinceRequest,
) -> Option<Plan<'d, D>> {
    let is =
        |(old, new): (&Entry<D::Item>, &D)| *old.source().id == *new.id() && *old.source().raw == *new.raw();
    if table.len() == definitions.len() && table.entries().zip(definitions).all(is) {
        return None;
    }
    let was_changed = |id: &str| changed.has(basis.environment, D::KIND, id);
    let mut plan = Plan::new(Incoming::All { items: definitions, changed });
    plan.steps.reserve_exact(definitions.len());
    let mut kept = 0;
    for (index, definition) in definitions.iter().enumerate() {
        let at = basis.positions.get(definition.id()).copied();
        let old = at.and_then(|at| Some((at, table.get(at)?)));
        kept += usize::from(old.is_some());
        match old {
            Some((at, same))
                if same.source().has_content_of(definition.raw(), definition.updated_at_ms()) =>
            {
                plan.steps.push(Step::Keep(at));
            }
            Some((at, newer))
                if newer.source().stamp() > definition.stamp() && was_changed(definition.id()) =>
            {
                plan.steps.push(Step::Keep(at));
            }
            old => {
                let removed_ms = if old.is_none() { (basis.tombstone)(definition.id()) } else { None };
                let is_removed = removed_ms.is_some_and(|ms| Stamp::removal(ms) >= definition.stamp());
                if is_removed && was_changed(definition.id()) {
                    continue;
                }
                plan.goes_back |= is_removed;
                plan.defies_stamps |= is_removed;
                plan.make(index, definition, old);
            }
        }
    }
    if kept < table.len() {
        let listed: HashSet<&str> = definitions.iter().map(Definition::id).collect();
        let old = table.all_positions().zip(table.entries());
        for (at, old) in old.filter(|(_, old)| !listed.contains(&*old.source().id)) {
            match was_changed(&old.source().id) {
                true => plan.steps.push(Step::Keep(at)),
                false => plan.remove(at, old),
            }
        }
    }
    let in_order = || {
        let places = plan.steps.iter().zip(table.all_positions());
        places.into_iter().all(|(step, place)| matches!(step, Step::Keep(at) if *at == place))
    };
    (plan.differs() || !in_order()).then_some(plan)
}

/// Plans the merge of single items and removals: of each item, the greatest stamp wins.
fn merge<'d, D: Definition>(
    table: &Table<D::Item>,
    basis: Basis<'_, impl Fn(&str) -> Option<i64>>,
    incoming: Incoming<'d, D>,
) -> Option<Plan<'d, D>> {
    let Basis { positions, tombstone, .. } = basis;
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
            Some((at, old)) if old.source().stamp() == stamp => {
                let (sent_ms, client_sent_ms) = (definition.sent_ms(), definition.client_sent_ms());
                let is_higher = sent_ms > old.version_ms || client_sent_ms > old.client_version_ms;
                if is_higher && old.is_served() {
                    plan.steps.push(Step::Raise(at, sent_ms, client_sent_ms));
                }
            }
            Some((_, old)) if old.source().stamp() > stamp => {}
            Some((at, old)) if old.source().has_content_of(definition.raw(), definition.updated_at_ms()) => {
                plan.steps.push(Step::Reformat(index, at));
            }
            None if tombstone(id).is_some_and(is_removed) => {}
            old => plan.make(index, definition, old),
        }
    }
    for (id, _) in removed {
        // Each item once, in the order of the data.
        let Some(updated_at_ms) = removals.remove(*id) else { continue };
        let removal = Stamp::removal(updated_at_ms);
        if newest.get(*id).is_some_and(|index| items[*index].stamp() > removal) {
            continue;
        }
        match place(id) {
            Some((_, old)) if old.source().stamp() > removal => continue,
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
    old.map_or_else(|| Arc::from(definition.id()), |old| Arc::clone(&old.source().id))
}
