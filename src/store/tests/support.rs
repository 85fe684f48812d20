//! Small datasets for tests, and an SDK that applies messages as the Node SDK does.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::model::environment_id::EnvironmentId;
use crate::model::secret::SecretKind;
use crate::model::timestamp::format_iso8601;
use crate::model::user::User;
use crate::payload::Payload;
use crate::protocol::secret::Secret;
use crate::store::{
    Change, Environment, EnvironmentSlot, Moment, PatchForm, Poll, Published, Snapshot, SyncKind, Writer,
    WriterOptions,
};

/// A flag or a segment. The content of a flag is the value it serves, that of a segment the one user in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thing {
    pub id: String,
    pub version_ms: i64,
    pub content: String,
    /// The segments that a flag uses.
    pub uses: Vec<String>,
}

pub fn thing(id: &str, version_ms: i64, content: &str) -> Thing {
    Thing { id: id.to_owned(), version_ms, content: content.to_owned(), uses: Vec::new() }
}

impl Thing {
    pub fn using(mut self, segments: &[&str]) -> Self {
        self.uses = segments.iter().map(|id| (*id).to_owned()).collect();
        self
    }
}

/// An environment, known by a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    pub number: u8,
    /// The kind of each secret and a number that makes it unique.
    pub secrets: Vec<(SecretKind, u8)>,
    pub flags: Vec<Thing>,
    pub segments: Vec<Thing>,
}

pub fn world(number: u8, flags: Vec<Thing>, segments: Vec<Thing>) -> World {
    let secrets = vec![(SecretKind::Server, number), (SecretKind::Client, number + 100)];
    World { number, secrets, flags, segments }
}

impl World {
    pub fn id(&self) -> EnvironmentId {
        EnvironmentId::from_bytes([self.number; 16])
    }
}

pub fn secret(number: u8, environment: u8) -> Secret {
    Secret::build([number; 16], EnvironmentId::from_bytes([environment; 16]))
}

pub fn flag_json(environment: EnvironmentId, flag: &Thing) -> String {
    let rules = match flag.uses.is_empty() {
        true => json!([]),
        false => json!([{
            "id": "r", "name": "segments", "dispatchKey": null, "includedInExpt": false,
            "conditions": [{"id": "c", "property": "User is in segment", "op": null,
                "value": serde_json::to_string(&flag.uses).unwrap()}],
            "variations": [{"id": "in", "rollout": [0, 1], "exptRollout": 1}]
        }]),
    };
    json!({
        "id": flag.id, "envId": environment.to_string(), "name": flag.id, "key": format!("key-{}", flag.id),
        "description": "", "variationType": "string",
        "variations": [{"id": "v", "name": "v", "value": flag.content}, {"id": "in", "name": "in", "value": "in"}],
        "targetUsers": [], "rules": rules, "isEnabled": true, "disabledVariationId": "v",
        "fallthrough": {"dispatchKey": null, "includedInExpt": false,
            "variations": [{"id": "v", "rollout": [0, 1], "exptRollout": 1}]},
        "exptIncludeAllTargets": false, "tags": [],
        "updatedAt": format_iso8601(flag.version_ms), "isArchived": false
    })
    .to_string()
}

pub fn segment_json(environment: EnvironmentId, segment: &Thing) -> String {
    json!({
        "id": segment.id, "envId": environment.to_string(), "name": segment.id, "description": "",
        "included": [segment.content], "excluded": [], "rules": [],
        "updatedAt": format_iso8601(segment.version_ms), "isArchived": false
    })
    .to_string()
}

pub fn dump_json(worlds: &[World]) -> String {
    let items: Vec<String> = worlds
        .iter()
        .map(|world| {
            let id = world.id();
            let secrets: Vec<Value> = world
                .secrets
                .iter()
                .map(|(kind, number)| {
                    json!({"type": kind.as_str(), "projectKey": "project", "envId": id.to_string(),
                        "envKey": format!("env-{}", world.number), "value": secret(*number, world.number).as_str()})
                })
                .collect();
            let flags: Vec<_> = world.flags.iter().map(|flag| flag_json(id, flag)).collect();
            let segments: Vec<_> = world.segments.iter().map(|segment| segment_json(id, segment)).collect();
            format!(
                r#"{{"envId":"{id}","secrets":{},"featureFlags":[{}],"segments":[{}]}}"#,
                serde_json::to_string(&secrets).unwrap(),
                flags.join(","),
                segments.join(",")
            )
        })
        .collect();
    format!(r#"{{"eventType":"rp_full","items":[{}]}}"#, items.join(","))
}

/// A writer with a grace of 100 ms.
pub fn writer() -> Writer {
    Writer::new(WriterOptions { revocation_grace_ms: 100, ..WriterOptions::default() })
}

/// A moment of the monotonic clock; the wall clock stands still.
pub fn at(steady_ms: i64) -> Moment {
    Moment { steady_ms, wall_ms: 0 }
}

pub fn load_text(writer: &mut Writer, dump: &str, now: Moment) -> Published {
    let mut text = crate::model::parse::DatasetText::new(dump.as_bytes().to_vec());
    writer.replace(&text.parse().unwrap(), now)
}

pub fn load_at(writer: &mut Writer, worlds: &[World], now_ms: i64) -> Published {
    load_text(writer, &dump_json(worlds), at(now_ms))
}

pub fn load(writer: &mut Writer, worlds: &[World]) -> Published {
    load_at(writer, worlds, 0)
}

/// Adds or replaces single items of the environment with this number.
pub fn upsert(writer: &mut Writer, number: u8, flags: &[Thing], segments: &[Thing]) -> Published {
    upsert_at(writer, number, flags, segments, 0)
}

/// The same at a time of day.
pub fn upsert_at(
    writer: &mut Writer,
    number: u8,
    flags: &[Thing],
    segments: &[Thing],
    wall_ms: i64,
) -> Published {
    let patch = World { number, secrets: vec![], flags: flags.to_vec(), segments: segments.to_vec() };
    let mut text = crate::model::parse::DatasetText::new(dump_json(&[patch]).into_bytes());
    let dataset = text.parse().unwrap();
    let def = &dataset.environments[0];
    writer.upsert(&def.flags, &def.segments, Moment { steady_ms: 0, wall_ms })
}

/// Loads and returns the change.
pub fn change(writer: &mut Writer, worlds: &[World]) -> Arc<Change> {
    load(writer, worlds).change.unwrap()
}

/// The environment with this number, in service.
pub fn environment(snapshot: &Snapshot, number: u8) -> Arc<Environment> {
    let slot = slot(snapshot, number);
    Arc::clone(snapshot.environment(slot).unwrap())
}

pub fn slot(snapshot: &Snapshot, number: u8) -> EnvironmentSlot {
    let id = EnvironmentId::from_bytes([number; 16]);
    let mut all = snapshot.environments.iter().flatten();
    all.find(|environment| environment.id() == id).unwrap().slot()
}

pub fn user(key: &str) -> User {
    User::new(key, Some(key), &[]).unwrap()
}

/// The messages in a run of unmasked, final text frames.
pub fn messages(payloads: &[Payload]) -> Vec<Value> {
    let bytes = payloads.iter().flat_map(Payload::to_vec).collect::<Vec<u8>>();
    let mut rest = &bytes[..];
    let mut messages = Vec::new();
    while let [first, second, after @ ..] = rest {
        assert_eq!(*first, 0x81);
        let (len, after) = match second {
            126 => (usize::from(u16::from_be_bytes(after[..2].try_into().unwrap())), &after[2..]),
            127 => (u64::from_be_bytes(after[..8].try_into().unwrap()) as usize, &after[8..]),
            len => (usize::from(*len), after),
        };
        let (message, after) = after.split_at(len);
        messages.push(serde_json::from_slice(message).unwrap());
        rest = after;
    }
    assert!(rest.is_empty());
    messages
}

/// What a message is, in short: its kind and the ids of its flags and segments.
pub fn brief(message: &Value) -> String {
    let data = &message["data"];
    let ids = |name: &str| {
        let items = data[name].as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    let kind = data["eventType"].as_str().unwrap();
    match data.get("segments") {
        Some(_) => format!("{kind} {}/{}", ids("featureFlags"), ids("segments")),
        None => format!("{kind} {}", ids("featureFlags")),
    }
}

pub fn sync(environment: &Environment, timestamp_ms: i64, form: PatchForm) -> Vec<String> {
    let mut out = Vec::new();
    let kind = environment.server_sync(timestamp_ms, form, &mut out);
    let messages = messages(&out);
    let kind_text = if kind == SyncKind::Full { "full" } else { "patch" };
    assert!(messages.iter().all(|message| message["data"]["eventType"] == kind_text));
    messages.iter().map(brief).collect()
}

pub fn since(environment: &Environment, from_sequence: u64) -> Vec<String> {
    since_as(environment, from_sequence, PatchForm::Batch)
}

pub fn since_as(environment: &Environment, from_sequence: u64, form: PatchForm) -> Vec<String> {
    let mut out = Vec::new();
    let kind = environment.server_since(from_sequence, form, &mut out);
    let messages = messages(&out);
    assert_eq!(kind.is_none(), messages.is_empty());
    messages.iter().map(brief).collect()
}

pub fn poll(environment: &Environment, timestamp_ms: i64) -> Option<Value> {
    match environment.server_poll(timestamp_ms) {
        Poll::Empty => None,
        Poll::Body(body) => Some(serde_json::from_slice(&body.to_vec()).unwrap()),
    }
}

pub fn client_sync(snapshot: &Snapshot, number: u8, key: &str, timestamp_ms: i64) -> Value {
    let mut out = Vec::new();
    let environment = environment(snapshot, number);
    let outcome = environment.client_sync(snapshot.segments(), &user(key), timestamp_ms, &mut out);
    let message: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(message["data"]["featureFlags"].as_array().unwrap().len(), outcome.flags);
    assert_eq!(message["data"]["eventType"] == "full", outcome.kind == SyncKind::Full);
    message
}

pub fn client_since(snapshot: &Snapshot, number: u8, key: &str, from_sequence: u64) -> Option<Value> {
    let mut out = Vec::new();
    let environment = environment(snapshot, number);
    let kind = environment.client_since(snapshot.segments(), &user(key), from_sequence, &mut out);
    if kind.is_none() {
        assert!(out.is_empty());
        return None;
    }
    Some(serde_json::from_slice(&out).unwrap())
}

/// What an SDK holds: items by list and id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sdk {
    pub items: BTreeMap<(&'static str, String), Value>,
}

impl Sdk {
    /// Replaces its data by a full; of a patch it accepts the items that `takes` says, given the versions that it has and is
    /// sent.
    pub fn apply(&mut self, message: &Value, takes: impl Fn(i64, i64) -> bool) {
        let data = &message["data"];
        if data["eventType"] == "full" {
            self.items.clear();
        }
        for list in ["featureFlags", "segments"] {
            for item in data[list].as_array().map(Vec::as_slice).unwrap_or_default() {
                let key = (list, item["id"].as_str().unwrap().to_owned());
                if self.items.get(&key).is_none_or(|old| takes(version(old), version(item))) {
                    self.items.insert(key, item.clone());
                }
            }
        }
    }

    /// The highest version it holds, which it asks with.
    pub fn version_ms(&self) -> i64 {
        self.items.values().map(version).max().unwrap_or(0)
    }
}

/// The version that an item is sent with.
pub fn version(item: &Value) -> i64 {
    match item.get("timestamp") {
        Some(timestamp) => timestamp.as_i64().unwrap(),
        None => crate::model::timestamp::parse_iso8601_ms(item["updatedAt"].as_str().unwrap()).unwrap(),
    }
}
