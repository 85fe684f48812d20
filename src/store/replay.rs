//! Rebuilds a state from a whole state and the changes after it, as a journal has them.
//!
//! Must not decide what is newer: it repeats what the writer that made the deltas did.

use std::collections::HashMap;
use std::sync::Arc;

use super::delta::{ContentsDelta, ContentsPatch, Delta};
use super::environment::ListedSecret;
use super::item::ItemKind;
use super::state::{
    Access, Contents, EnvironmentState, Head, ItemState, Removals, State, TombstoneState, Versions,
};
use crate::model::environment_id::EnvironmentId;

/// A state under construction.
#[derive(Default)]
pub struct Replay {
    head: Head,
    access: Access,
    environments: Vec<Environment>,
    slots: HashMap<EnvironmentId, usize>,
}

struct Environment {
    id: EnvironmentId,
    versions: Versions,
    contents: Option<ContentsReplay>,
}

struct ContentsReplay {
    secrets: Arc<[ListedSecret]>,
    removals: Removals,
    flags: Items,
    segments: Items,
    tombstones: HashMap<(ItemKind, Arc<str>), TombstoneState>,
}

/// Items in their order; a removed one leaves a gap.
#[derive(Default)]
struct Items {
    items: Vec<Option<ItemState>>,
    places: HashMap<Arc<str>, usize>,
}

impl Items {
    fn put(&mut self, item: ItemState) {
        match self.places.get(&item.id) {
            Some(place) => self.items[*place] = Some(item),
            None => {
                self.places.insert(Arc::clone(&item.id), self.items.len());
                self.items.push(Some(item));
            }
        }
    }

    fn remove(&mut self, id: &str) {
        if let Some(place) = self.places.remove(id) {
            self.items[place] = None;
        }
    }
}

impl Replay {
    /// Applies the next delta.
    pub fn apply(&mut self, delta: Delta) {
        if delta.is_full_state {
            *self = Self::default();
        }
        self.head = delta.head;
        for changed in delta.environments {
            let environment = self.environment(changed.id, changed.versions);
            environment.versions = changed.versions;
            match changed.contents {
                ContentsDelta::Gone => environment.contents = None,
                ContentsDelta::All(contents) => environment.contents = Some(contents.into()),
                ContentsDelta::Some(patch) => {
                    if let Some(contents) = &mut environment.contents {
                        contents.apply(patch);
                    }
                }
            }
        }
        if let Some(access) = delta.access {
            self.access = access;
        }
    }

    /// The state after the last delta.
    pub fn finish(self) -> State {
        let environments = self.environments.into_iter().map(|environment| EnvironmentState {
            id: environment.id,
            versions: environment.versions,
            contents: environment.contents.map(ContentsReplay::finish),
        });
        State { head: self.head, environments: environments.collect(), access: self.access }
    }

    fn environment(&mut self, id: EnvironmentId, versions: Versions) -> &mut Environment {
        let next = self.environments.len();
        let slot = *self.slots.entry(id).or_insert(next);
        if slot == next {
            self.environments.push(Environment { id, versions, contents: None });
        }
        &mut self.environments[slot]
    }
}

impl ContentsReplay {
    fn apply(&mut self, patch: ContentsPatch) {
        if let Some(secrets) = patch.secrets {
            self.secrets = secrets;
        }
        self.removals = patch.removals;
        for item in patch.flags {
            self.tombstones.remove(&(ItemKind::Flag, Arc::clone(&item.id)));
            self.flags.put(item);
        }
        for item in patch.segments {
            self.tombstones.remove(&(ItemKind::Segment, Arc::clone(&item.id)));
            self.segments.put(item);
        }
        for removed in patch.removed {
            match removed.kind {
                ItemKind::Flag => self.flags.remove(&removed.id),
                ItemKind::Segment => self.segments.remove(&removed.id),
            }
            self.tombstones.insert((removed.kind, Arc::clone(&removed.id)), removed);
        }
    }

    fn finish(self) -> Contents {
        let mut tombstones: Vec<_> = self.tombstones.into_values().collect();
        tombstones.sort_unstable_by(|one, other| (one.kind, &one.id).cmp(&(other.kind, &other.id)));
        Contents {
            secrets: self.secrets,
            flags: self.flags.items.into_iter().flatten().collect(),
            segments: self.segments.items.into_iter().flatten().collect(),
            removals: self.removals,
            tombstones,
        }
    }
}

impl From<Contents> for ContentsReplay {
    fn from(contents: Contents) -> Self {
        let items = |states: Vec<ItemState>| {
            let mut items = Items::default();
            states.into_iter().for_each(|state| items.put(state));
            items
        };
        let tombstones = contents.tombstones.into_iter();
        Self {
            secrets: contents.secrets,
            removals: contents.removals,
            flags: items(contents.flags),
            segments: items(contents.segments),
            tombstones: tombstones.map(|one| ((one.kind, Arc::clone(&one.id)), one)).collect(),
        }
    }
}
