//! What the evaluation server knows: environments with their items and secrets, and which of them a relay proxy key
//! opens. Makes the messages that relay agents get of it.

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::common::dataset::{Dataset, Environment};

/// The server's data.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Every environment, in or out of any scope.
    pub environments: Vec<Environment>,
    /// Relay proxy keys and the ids of the environments they open.
    pub scopes: Vec<(String, Vec<String>)>,
}

impl Model {
    /// One key that opens every environment of a dataset.
    pub fn of(key: &str, data: &Dataset) -> Self {
        let ids = data.environments.iter().map(|environment| environment.id.clone()).collect();
        Self { environments: data.environments.clone(), scopes: vec![(key.into(), ids)] }
    }

    /// The environment of that id.
    pub fn environment(&mut self, id: &str) -> &mut Environment {
        let found = self.environments.iter_mut().find(|environment| environment.id == id);
        found.unwrap_or_else(|| panic!("no environment {id}"))
    }

    /// The ids that a key opens.
    pub fn scope(&mut self, key: &str) -> &mut Vec<String> {
        let found = self.scopes.iter_mut().find(|(have, _)| have == key);
        &mut found.unwrap_or_else(|| panic!("no key {key}")).1
    }

    /// Whether there is such a key.
    pub fn knows(&self, key: &str) -> bool {
        key.starts_with("rp-") && self.scopes.iter().any(|(have, _)| have == key)
    }

    fn in_scope(&self, key: &str) -> Vec<&Environment> {
        let ids = self.scopes.iter().find(|(have, _)| have == key).map(|(_, ids)| ids.as_slice());
        let ids = ids.unwrap_or_default();
        ids.iter().filter_map(|id| self.environments.iter().find(|have| have.id == *id)).collect()
    }

    /// The environments whose changes a connection gets as long as it is open: that of each server secret.
    pub fn mapped(&self, key: &str) -> Vec<String> {
        let mut mapped = Vec::new();
        for environment in self.in_scope(key) {
            let servers = environment.secrets.iter().filter(|secret| secret["type"] == "server").count();
            mapped.extend(std::iter::repeat_n(environment.id.clone(), servers));
        }
        mapped
    }

    /// The answer to a request of `key`'s connection, which was mapped when it was opened.
    pub fn answer(&self, key: &str, mapped: &[String], request: &Value) -> String {
        let data = &request["data"];
        if data["timestamp"].as_i64().unwrap_or_default() == 0 {
            self.full(key)
        } else {
            self.patch(mapped, data)
        }
    }

    /// Everything a key opens now. Environments are known by their secrets: one without any is not there.
    fn full(&self, key: &str) -> String {
        let environments =
            self.in_scope(key).into_iter().filter(|environment| !environment.secrets.is_empty());
        let items = environments.map(|environment| item(environment, &environment.secrets, i64::MIN));
        data_sync("rp_full", items)
    }

    /// What is newer than the request says, once for each server secret of the time when the connection was opened.
    fn patch(&self, mapped: &[String], data: &Value) -> String {
        let since = |id: &str| -> i64 {
            let known = data["envs"].as_array().into_iter().flatten().find(|have| have["envId"] == id);
            known.and_then(|known| known["timestamp"].as_i64()).unwrap_or(0)
        };
        let environments =
            mapped.iter().filter_map(|id| self.environments.iter().find(|have| have.id == *id));
        data_sync("rp_patch", environments.map(|environment| item(environment, &[], since(&environment.id))))
    }

    /// Puts an item in the place of that with its id; a new one goes to the end.
    pub fn upsert(items: &mut Vec<Value>, item: Value) {
        match items.iter_mut().find(|have| have["id"] == item["id"]) {
            Some(have) => *have = item,
            None => items.push(item),
        }
    }

    /// Gives the flags of an environment that use a segment the time of its change, as the server does without a push.
    pub fn touch_users_of(environment: &mut Environment, segment: &Value) {
        let id = segment["id"].as_str().expect("a segment has an id");
        for flag in &mut environment.flags {
            if flag["rules"].to_string().contains(id) {
                flag["updatedAt"] = segment["updatedAt"].clone();
            }
        }
    }
}

/// What is pushed of a changed flag.
pub fn flag_patch(flag: &Value) -> String {
    message(&json!({ "eventType": "patch", "featureFlags": [flag], "segments": [] }).to_string())
}

/// The full of one environment that FeatBit 6 pushes after a recovery.
pub fn environment_full(environment: &Environment) -> String {
    let (flags, segments) = (newer(&environment.flags, i64::MIN), newer(&environment.segments, i64::MIN));
    message(&format!(r#"{{"eventType":"full","featureFlags":[{flags}],"segments":[{segments}]}}"#))
}

/// What is pushed of a changed segment.
pub fn segment_patch(segment: &Value) -> String {
    message(&json!({ "eventType": "patch", "featureFlags": [], "segments": [segment] }).to_string())
}

/// A message of items as they are, honest or not.
pub fn data_sync(event_type: &str, items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    message(&format!(r#"{{"eventType":"{event_type}","items":[{}]}}"#, items.join(",")))
}

fn message(data: &str) -> String {
    escaped(&format!(r#"{{"messageType":"data-sync","data":{data}}}"#))
}

fn item(environment: &Environment, secrets: &[Value], since: i64) -> String {
    let secrets: Vec<String> = secrets.iter().map(Value::to_string).collect();
    format!(
        r#"{{"envId":"{}","secrets":[{}],"featureFlags":[{}],"segments":[{}]}}"#,
        environment.id,
        secrets.join(","),
        newer(&environment.flags, since),
        newer(&environment.segments, since),
    )
}

/// Items newer than `since`, in the order of the server's index: by time, then by id.
fn newer(items: &[Value], since: i64) -> String {
    let mut newer: Vec<(i64, &Value)> =
        items.iter().map(|item| (at_ms(item), item)).filter(|&(at, _)| at > since).collect();
    newer.sort_by(|(at, item), (other_at, other)| {
        at.cmp(other_at).then_with(|| item["id"].as_str().cmp(&other["id"].as_str()))
    });
    let texts: Vec<String> = newer.into_iter().map(|(_, item)| item.to_string()).collect();
    texts.join(",")
}

/// When an item was changed, in Unix milliseconds.
pub fn at_ms(item: &Value) -> i64 {
    let text = item["updatedAt"].as_str().expect("updatedAt is a text");
    let at = OffsetDateTime::parse(text, &Rfc3339).expect("updatedAt is a time");
    i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000)).expect("a time of this age")
}

/// JSON text as .NET writes it: in ASCII, and with more escapes than JSON asks for.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('"') => out.push_str("\\u0022"),
                Some(other) => out.extend(['\\', other]),
                None => out.push('\\'),
            },
            '<' | '>' | '&' | '\'' | '`' => out.push_str(&format!("\\u{:04X}", character as u32)),
            character if character.is_ascii() => out.push(character),
            character => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04X}"));
                }
            }
        }
    }
    out
}
