//! Relays against a plain twin that applies messages as FeatBit's agent does.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::support::*;
use super::twin::{Edit, apply, edit};
use crate::model::environment_id::EnvironmentId;
use crate::model::timestamp::parse_iso8601_ms;
use crate::payload::Payload;
use crate::protocol::from_relay::RelayRequest;
use crate::store::{NeedsFull, PatchForm, Scope, Snapshot};

/// The name of the process.
const OWN: &str = "own";

/// What a relay holds: by environment its secrets, and its items by list and id.
#[derive(Clone, Debug, Default)]
struct Relay {
    secrets: BTreeMap<String, Value>,
    items: BTreeMap<Key, Value>,
    /// `updatedAt` of what was removed. FeatBit's agent does not remember it, and takes an item that is as new as the one it
    /// has; one of ours merges by stamps.
    removed: Option<BTreeMap<Key, i64>>,
}

/// Environment, list and id.
type Key = (String, &'static str, String);

impl PartialEq for Relay {
    fn eq(&self, other: &Self) -> bool {
        (&self.secrets, &self.items) == (&other.secrets, &other.items)
    }
}

fn version(item: &Value) -> i64 {
    parse_iso8601_ms(item["updatedAt"].as_str().unwrap()).unwrap()
}

impl Relay {
    fn take(&mut self, message: &Value) {
        assert_eq!(message["messageType"], "data-sync");
        let data = &message["data"];
        match data["eventType"].as_str().unwrap() {
            "rp_full" => {
                let before = std::mem::take(&mut self.items);
                self.secrets.clear();
                let removed = self.removed.take();
                for item in data["items"].as_array().unwrap() {
                    let id = item["envId"].as_str().unwrap().to_owned();
                    self.secrets.insert(id, item["secrets"].clone());
                    self.upsert(item);
                }
                self.removed = removed.map(|mut removed| {
                    removed.extend(before.iter().map(|(key, item)| (key.clone(), version(item))));
                    removed
                        .retain(|key, _| !self.items.contains_key(key) && self.secrets.contains_key(&key.0));
                    removed
                });
            }
            "rp_patch" => {
                for item in data["items"].as_array().unwrap() {
                    assert_eq!(item["secrets"], json!([]));
                    self.upsert(item);
                }
            }
            "patch" => self.upsert(data),
            other => panic!("{other}"),
        }
    }

    fn upsert(&mut self, lists: &Value) {
        for list in ["featureFlags", "segments"] {
            for item in lists[list].as_array().unwrap() {
                let text = |name: &str| item[name].as_str().unwrap().to_owned();
                let key = (text("envId"), list, text("id"));
                let is_newer = |old: &Value| match self.removed {
                    None => version(old) <= version(item),
                    Some(_) => (version(old), old.to_string()) < (version(item), item.to_string()),
                };
                let removed_ms = self.removed.as_ref().and_then(|removed| removed.get(&key));
                let was_removed = removed_ms.is_some_and(|removed_ms| *removed_ms >= version(item));
                if !was_removed && self.items.get(&key).is_none_or(is_newer) {
                    self.removed.as_mut().map(|removed| removed.remove(&key));
                    self.items.insert(key, item.clone());
                }
            }
        }
    }

    /// Its request when it reconnects.
    fn holds(&self, digest: Option<String>) -> RelayRequest {
        let newest = |id: &str| {
            let own = self.items.iter().filter(|((environment, ..), _)| environment == id);
            own.map(|(_, item)| version(item)).max().unwrap_or(0)
        };
        let environments: Vec<_> =
            self.secrets.keys().map(|id| (EnvironmentId::parse(id).unwrap(), newest(id))).collect();
        let timestamp_ms = environments.iter().map(|(_, newest)| *newest).max().unwrap_or(0);
        RelayRequest { timestamp_ms, environments, digest, verify: None }
    }

    fn full(snapshot: &Snapshot, scope: &Scope) -> Self {
        let mut relay = Self::default();
        for message in messages(&[snapshot.relay_full(scope, false)]) {
            relay.take(&message);
        }
        relay
    }
}

/// Brings a relay to now: by pushes, by what it asks for, or by all.
fn bring(relay: &mut Relay, snapshot: &Snapshot, scope: &Scope, from: Option<u64>, digest: Option<String>) {
    let mut frames = Vec::new();
    let result = match from {
        Some(from) => snapshot.relay_since(scope, from, &mut frames),
        None => snapshot.relay_patch(scope, &relay.holds(digest), OWN).map(|patch| frames.push(patch)),
    };
    if result == Err(NeedsFull) {
        assert!(frames.is_empty());
        frames.push(snapshot.relay_full(scope, false));
    }
    for message in messages(&frames) {
        relay.take(&message);
    }
}

#[test]
fn a_push_to_a_relay_is_the_one_to_server_sdks() {
    let mut writer = writer();
    let mut worlds =
        vec![world(1, vec![thing("f", 1, "a")], vec![]), world(2, vec![thing("f", 1, "a")], vec![])];
    let before = change(&mut writer, &worlds).snapshot.sequence();
    worlds[0].flags = vec![thing("f", 2, "b")];
    let snapshot = change(&mut writer, &worlds).snapshot.clone();
    let (mut pushed, mut own) = (Vec::new(), Vec::new());
    snapshot.relay_since(&Scope::All, before, &mut pushed).unwrap();
    environment(&snapshot, 1).server_since(before, PatchForm::Batch, &mut own);
    let bytes = |payloads: &[Payload]| payloads.iter().flat_map(Payload::to_vec).collect::<Vec<u8>>();
    assert_eq!(bytes(&pushed), bytes(&own));
    assert!(pushed.iter().all(|payload| payload.private_bytes() == 0));
}

#[test]
fn a_scope_names_environments_by_label_or_id_and_holds_nothing_else() {
    let mut writer = writer();
    let worlds: Vec<_> = (1..=3).map(|number| world(number, vec![thing("f", 1, "a")], vec![])).collect();
    let before = change(&mut writer, &worlds).snapshot.clone();
    let id = worlds[2].id().to_string();
    let scope = Scope::Only(["project:env-1".into(), id.as_str().into(), "project:other".into()].into());
    let relay = Relay::full(&before, &scope);
    assert_eq!(relay.secrets.keys().cloned().collect::<Vec<_>>(), [worlds[0].id().to_string(), id]);
    let mut changed = worlds.clone();
    changed[1].flags[0].version_ms = 2;
    let snapshot = change(&mut writer, &changed).snapshot.clone();
    let mut frames = Vec::new();
    snapshot.relay_since(&scope, before.sequence(), &mut frames).unwrap();
    assert!(frames.is_empty());
    assert_eq!(before.relay_digest(&scope, OWN), snapshot.relay_digest(&scope, OWN));
    assert_ne!(snapshot.relay_digest(&scope, OWN), snapshot.relay_digest(&Scope::All, OWN));
}

#[test]
fn an_agent_that_sends_a_digest_gets_a_full_sync_after_a_revocation() {
    let mut writer = writer();
    let mut worlds = vec![world(1, vec![thing("f", 5, "a")], vec![])];
    let before = change(&mut writer, &worlds).snapshot.clone();
    let relay = Relay::full(&before, &Scope::All);
    let digest = before.relay_digest(&Scope::All, OWN);
    worlds[0].secrets.pop();
    let snapshot = change(&mut writer, &worlds).snapshot.clone();
    assert!(snapshot.relay_since(&Scope::All, before.sequence(), &mut Vec::new()).is_err());
    assert!(snapshot.relay_patch(&Scope::All, &relay.holds(Some(digest)), OWN).is_err());
    assert!(snapshot.relay_patch(&Scope::All, &relay.holds(None), OWN).is_ok());
}

#[test]
fn a_process_that_was_started_anew_does_not_know_what_it_removed_and_sends_everything() {
    let mut writer = writer();
    let snapshot = change(&mut writer, &[world(1, vec![thing("f", 5, "a")], vec![])]).snapshot.clone();
    let relay = Relay::full(&snapshot, &Scope::All);
    let digest = snapshot.relay_digest(&Scope::All, OWN);
    assert!(snapshot.relay_patch(&Scope::All, &relay.holds(Some(digest.clone())), OWN).is_ok());
    assert!(snapshot.relay_patch(&Scope::All, &relay.holds(Some(digest)), "other").is_err());
}

#[test]
fn a_dataset_says_that_it_is_provisional_where_it_is() {
    let mut writer = writer();
    let snapshot = change(&mut writer, &[world(1, vec![], vec![])]).snapshot.clone();
    assert_eq!(messages(&[snapshot.relay_full(&Scope::All, false)])[0]["data"]["provisional"], true);
    assert_eq!(messages(&[snapshot.relay_full(&Scope::All, true)])[0]["data"].get("provisional"), None);
}

#[test]
fn a_dataset_says_that_it_is_empty_by_its_scope_and_not_by_a_loss() {
    let mut writer = writer();
    let data = |snapshot: &Snapshot, scope: &Scope, certain| {
        messages(&[snapshot.relay_full(scope, certain)])[0]["data"].clone()
    };
    let nowhere = Scope::Only(["no:where".into()].into());
    let lost = writer.current().clone();
    for scope in [&Scope::All, &nowhere] {
        assert_eq!(data(&lost, scope, true).get("outOfScope"), None, "nothing is served at all");
    }
    let snapshot = change(&mut writer, &[world(1, vec![], vec![])]).snapshot.clone();
    assert_eq!(data(&snapshot, &Scope::All, true).get("outOfScope"), None);
    let empty = data(&snapshot, &nowhere, false);
    assert_eq!(empty["items"], json!([]));
    assert_eq!((&empty["outOfScope"], &empty["provisional"]), (&json!(true), &json!(true)));
    assert_eq!(data(&snapshot, &nowhere, true)["outOfScope"], true);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever happens, and however often it was disconnected or behind, a relay ends with the whole dataset.
    #[test]
    fn every_relay_ends_with_the_data_of_now(
        steps in prop::collection::vec((prop::collection::vec(edit(), 1..4), 0..5u8), 1..12),
        only in any::<bool>(),
        is_ours in any::<bool>(),
    ) {
        let scope = match only {
            true => Scope::Only(["project:env-1".into(), "project:env-2".into()].into()),
            false => Scope::All,
        };
        let mut writer = writer();
        let mut worlds = vec![world(1, vec![thing("f0", 1, "c0")], vec![]), world(2, vec![], vec![])];
        let first = change(&mut writer, &worlds).snapshot.clone();
        let mut relay = Relay::full(&first, &scope);
        relay.removed = is_ours.then(BTreeMap::new);
        let mut at = first;
        let last = steps.len() - 1;
        for (index, (edits, what)) in steps.iter().enumerate() {
            edits.iter().for_each(|edit: &Edit| apply(&mut worlds, edit));
            load(&mut writer, &worlds);
            let now = writer.current().clone();
            match what {
                // Behind: it hears of this later.
                0 if index < last => continue,
                // It was away, and says what it has.
                1 => {
                    let digest = at.relay_digest(&scope, OWN);
                    bring(&mut relay, &now, &scope, None, Some(digest));
                }
                _ => bring(&mut relay, &now, &scope, Some(at.sequence()), None),
            }
            prop_assert_eq!(&relay, &Relay::full(&now, &scope));
            at = now;
        }
    }
}
