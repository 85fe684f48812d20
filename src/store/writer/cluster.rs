//! Data that other agents of the cluster have stored.
//!
//! Must not know where they store it. Within an edition, items and removals are merged by their stamps, so all agents that
//! get the same ones hold the same; the list of environments and secrets replaces that in service, and the caller knows which of
//! the two is newer. A higher edition replaces everything.

use std::collections::HashSet;

use super::draft::{Draft, Workspace};
use super::groups::Groups;
use super::incoming::{ClusterData, ClusterList};
use super::list::List;
use super::tombstones::{Tombstone, Tombstones};
use super::{ChangedSinceRequest, Moment, Writer};
use crate::model::dataset::Dataset;
use crate::model::environment_id::EnvironmentId;
use crate::store::change::Published;
use crate::store::environment::EnvironmentSlot;
use crate::store::item::ItemKind;
use crate::store::state::TombstoneState;

impl Writer {
    /// Merges what another agent has stored of the edition in service.
    pub fn merge_cluster(&mut self, data: &ClusterData<'_>, now: Moment) -> Published {
        self.begin();
        let due = self.now(now);
        let Self { options, workspace, current, grace, .. } = self;
        let environments = data.list.as_ref().map_or(&[][..], |list| &list.environments);
        let slots: Vec<_> = environments.iter().map(|def| workspace.records.slot_of(def.id)).collect();
        let groups = Groups::of_items(&mut workspace.records, data.flags, data.segments, data.removals);
        let mut draft = Draft::new(current, workspace, now.wall_ms);
        if let Some(cluster) = &data.list {
            draft.set_loaded();
            if !options.has_to_ask() {
                draft.set_answered(u64::MAX);
            }
            let list = List { slots: &slots, environments, cluster: Some(cluster) };
            list.apply(&mut draft, grace, options.revocation_grace_ms, due);
        }
        groups.add_to(&mut draft);
        // Its list may come later. If none comes, it is what an agent has left behind.
        let until_ms = now.steady_ms.saturating_add(options.revocation_grace_ms);
        for slot in groups.slots().filter(|slot| !draft.next.order.contains(slot)) {
            grace.unlisted(slot, until_ms);
        }
        draft.complete_data(data.list.is_none());
        let finished = draft.finish();
        self.publish(finished)
    }

    /// Replaces everything by the data of a higher edition. `dataset` has the environments of `list`, with their items;
    /// `tombstones` replace those known so far. Where a server is followed, unknown secrets are pending until a full sync.
    pub fn adopt(
        &mut self,
        dataset: &Dataset<'_>,
        list: &ClusterList<'_>,
        tombstones: &[(EnvironmentId, TombstoneState)],
        now: Moment,
    ) -> Published {
        let elsewhere = self.removed_elsewhere(tombstones);
        self.workspace.tombstones = Tombstones::default();
        // An earlier full sync proved something about other data only.
        self.answered = 0;
        let published = self.replace_all(dataset, &ChangedSinceRequest::new(), Some((list, &elsewhere)), now);
        self.workspace.tombstones = Tombstones::default();
        for (environment, state) in tombstones {
            let slot = self.workspace.records.slot_of(*environment);
            let tombstone =
                Tombstone { updated_at_ms: state.updated_at_ms, removed_at_ms: state.removed_at_ms };
            self.workspace.tombstones.put(slot, state.kind, &state.id, tombstone);
        }
        published
    }

    /// The environments in which items were removed that this agent neither has nor knows as removed.
    fn removed_elsewhere(
        &mut self,
        tombstones: &[(EnvironmentId, TombstoneState)],
    ) -> HashSet<EnvironmentSlot> {
        let Workspace { records, tombstones: known, .. } = &mut self.workspace;
        let mut elsewhere = HashSet::new();
        for (environment, state) in tombstones {
            let slot = records.slot_of(*environment);
            let is_known = known.get(slot, state.kind, &state.id).is_some_and(|ms| ms >= state.updated_at_ms);
            let is_held = || {
                let record = records.get(slot);
                record.is_some_and(|record| match state.kind {
                    ItemKind::Flag => record.flags.contains_key(&state.id),
                    ItemKind::Segment => record.segments.contains_key(&state.id),
                })
            };
            if !is_known && !is_held() {
                elsewhere.insert(slot);
            }
        }
        elsewhere
    }
}
