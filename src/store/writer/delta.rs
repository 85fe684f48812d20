//! Finds what a publish changed in the state that must survive a restart.
//!
//! Must not look at what did not change: a patch to one flag of ten thousand costs as much as its chunk of the table.

use std::sync::Arc;

use super::definition::Definition;
use super::restore::{item_state, removals_of, versions_of};
use super::{Moment, Writer};
use crate::model::flag::FlagDef;
use crate::model::segment::SegmentDef;
use crate::store::change::{Change, ItemChange};
use crate::store::delta::{ContentsDelta, ContentsPatch, Delta, EnvironmentDelta};
use crate::store::environment::Environment;
use crate::store::snapshot::Snapshot;
use crate::store::state::{ItemState, TombstoneState};
use crate::store::table::{Difference, Table};

impl Writer {
    /// What `change`, which has just been published in place of `before`, changed in the state.
    pub fn delta(&self, before: &Snapshot, change: &Change, now: Moment) -> Delta {
        let mut environments = Vec::new();
        let mut lists_differ = false;
        for (slot, record) in self.workspace.records.all() {
            let (old, new) = (before.environment(slot), self.current.environment(slot));
            let contents = match (old, new) {
                (None, None) => continue,
                (Some(_), None) => ContentsDelta::Gone,
                (Some(old), Some(new)) if Arc::ptr_eq(old, new) => continue,
                (Some(old), Some(new)) => self.contents_delta(old, new, change, now),
                (None, Some(new)) => ContentsDelta::All(self.contents(new)),
            };
            lists_differ |= !matches!(&contents, ContentsDelta::Some(patch) if patch.secrets.is_none());
            let versions = new.map_or_else(|| record.versions(), |new| versions_of(new));
            environments.push(EnvironmentDelta { id: record.id, versions, contents });
        }
        let secrets_differ = !Arc::ptr_eq(&before.secrets, &self.current.secrets);
        let order_differs = !Arc::ptr_eq(&before.order, &self.current.order);
        let differs = lists_differ || secrets_differ || order_differs || !self.grace.is_empty();
        let access = differs.then(|| self.access(now));
        Delta { is_full_state: false, head: self.head(), environments, access }
    }

    /// The whole state as a delta, for a new journal.
    pub fn full_state(&self, now: Moment) -> Delta {
        self.state(now).into()
    }

    /// A delta without changed items: only what concerns the whole dataset.
    pub fn head_delta(&self) -> Delta {
        Delta { is_full_state: false, head: self.head(), environments: Vec::new(), access: None }
    }

    fn contents_delta(
        &self,
        old: &Environment,
        new: &Environment,
        change: &Change,
        now: Moment,
    ) -> ContentsDelta {
        let flags = changed::<FlagDef<'_>>(&new.flags, &old.flags);
        let segments = changed::<SegmentDef<'_>>(&new.segments, &old.segments);
        let (Some(flags), Some(segments)) = (flags, segments) else {
            return ContentsDelta::All(self.contents(new));
        };
        let removed = change.items_of(new.slot).filter_map(|item| match item {
            ItemChange::Removed(removed) => Some(TombstoneState {
                kind: removed.kind,
                id: Arc::clone(&removed.id),
                updated_at_ms: removed.updated_at_ms,
                removed_at_ms: now.wall_ms,
            }),
            ItemChange::Added(_) | ItemChange::Changed(_) | ItemChange::Reformatted(_) => None,
        });
        ContentsDelta::Some(ContentsPatch {
            secrets: (old.secrets != new.secrets).then(|| Arc::clone(&new.secrets)),
            removed: removed.collect(),
            removals: removals_of(new),
            flags,
            segments,
        })
    }
}

/// The items that differ; `None` if their order does.
fn changed<D: Definition>(new: &Table<D::Item>, old: &Table<D::Item>) -> Option<Vec<ItemState>> {
    match new.difference(old) {
        Difference::Entries(put) => Some(put.into_iter().map(item_state::<D>).collect()),
        Difference::Order => None,
    }
}
