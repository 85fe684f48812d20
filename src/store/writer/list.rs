//! The list of environments and their secrets, as a dataset has it.
//!
//! Must not touch items. What the new list lacks stays in service until its grace period ends.

use std::collections::{BTreeSet, HashSet};

use super::draft::Draft;
use super::grace::{Grace, Now};
use super::incoming::ClusterList;
use crate::model::dataset::{EnvironmentDef, Finding};
use crate::protocol::secret::Secret;
use crate::store::change::EndingSecrets;
use crate::store::environment::{EnvironmentSlot, ListedSecret};
use crate::store::snapshot::{SecretEntry, Secrets, Snapshot};

/// The new list. `slots` are those of `environments`.
pub(super) struct List<'l, 'd> {
    pub slots: &'l [EnvironmentSlot],
    pub environments: &'l [EnvironmentDef<'d>],
    /// What another agent of the cluster knows of grace periods.
    pub cluster: Option<&'l ClusterList<'d>>,
}

impl List<'_, '_> {
    /// Replaces the list in `draft`. Grace periods begin, with this length in milliseconds, and end with it.
    pub fn apply(&self, draft: &mut Draft<'_, '_>, grace: &mut Grace, grace_ms: i64, due: Now) {
        let until_ms = due.now_ms.saturating_add(grace_ms);
        let mut secrets = Secrets::default();
        for (slot, def) in self.slots.iter().zip(self.environments) {
            list(*slot, def, draft, &mut secrets);
            grace.listed(*slot);
        }
        let begun = grace.carry_over(&mut secrets, &draft.previous().secrets, until_ms);
        draft.report.secrets_removed = ending(draft.previous(), &begun.unlisted);
        draft.report.secrets_retyped = ending(draft.previous(), &begun.retyped);
        draft.report.grace_ms = grace_ms;
        if let Some(cluster) = self.cluster {
            take_over_graces(cluster, draft, grace, &mut secrets, due.now_ms);
        }
        let listed: HashSet<_> = self.slots.iter().copied().collect();
        for slot in draft.slots() {
            if !listed.contains(&slot)
                && grace.unlisted(slot, until_ms)
                && let Some(unlisted) = draft.previous().environment(slot)
            {
                draft.report.removed += unlisted.flag_count() + unlisted.segment_count();
            }
        }
        draft.set_order(self.slots);
        if let Some(cluster) = self.cluster.filter(|cluster| cluster.is_complete) {
            confirm(cluster, draft, grace);
        }
        grace.expire_secrets(&mut secrets, due);
        draft.set_secrets(secrets);
        grace.expire_environments(due).into_iter().for_each(|slot| draft.remove(slot));
    }
}

/// Takes over the grace periods of secrets and environments that this agent does not know, as after a restart.
fn take_over_graces(
    list: &ClusterList<'_>,
    draft: &mut Draft<'_, '_>,
    grace: &mut Grace,
    secrets: &mut Secrets,
    now_ms: i64,
) {
    for (id, left_ms) in list.leaving.iter().filter(|(_, left_ms)| *left_ms > 0) {
        let slot = draft.slot_of(*id);
        if draft.next.environment(slot).is_none() {
            draft.list(slot, &[]);
            grace.unlisted(slot, now_ms.saturating_add(*left_ms));
        }
    }
    for state in &list.leaving_secrets {
        let Some(left_ms) = state.grace_ms.filter(|left_ms| *left_ms > 0) else { continue };
        let slot = draft.slot_of(state.environment);
        if secrets.contains_key(&state.value) || draft.next.environment(slot).is_none() {
            continue;
        }
        secrets.insert(state.value, SecretEntry { kind: state.kind, slot, former: None });
        grace.restore_secret(state.value, now_ms.saturating_add(left_ms));
    }
}

/// What another agent has neither listed nor in a grace period was removed for good.
fn confirm(list: &ClusterList<'_>, draft: &mut Draft<'_, '_>, grace: &mut Grace) {
    let secrets: HashSet<_> = list.leaving_secrets.iter().map(|state| state.value).collect();
    let environments: HashSet<_> = list.leaving.iter().map(|(id, _)| draft.slot_of(*id)).collect();
    grace.confirm_but(|secret| secrets.contains(secret), |slot| environments.contains(&slot));
}

/// Adds an environment of the dataset, without its items, to `draft`.
fn list(slot: EnvironmentSlot, def: &EnvironmentDef<'_>, draft: &mut Draft<'_, '_>, secrets: &mut Secrets) {
    let mut listed = Vec::with_capacity(def.secrets.len());
    for secret in &def.secrets {
        let Some(value) = Secret::parse(secret.value) else {
            let path = format!("{}:{}.secrets", secret.project_key, secret.env_key);
            let message = "not a secret of 44 characters".to_owned();
            draft.report.findings.push(Finding { path, message });
            continue;
        };
        secrets.entry(value).or_insert(SecretEntry { kind: secret.kind, slot, former: None });
        let (project_key, env_key) = (secret.project_key.into(), secret.env_key.into());
        listed.push(ListedSecret { kind: secret.kind, project_key, env_key, value });
    }
    draft.list(slot, &listed);
}

/// The secrets whose grace period has begun, with the labels of their environments before the change.
fn ending(before: &Snapshot, slots: &[EnvironmentSlot]) -> EndingSecrets {
    let labels = slots.iter().filter_map(|slot| before.environment(*slot));
    let labels: BTreeSet<_> = labels.map(|environment| environment.label().clone()).collect();
    EndingSecrets { secrets: slots.len(), environments: labels.into_iter().collect() }
}
