//! A plain model of the data: what a dump says, and the changes its authors make.

use std::collections::BTreeMap;

use featbit_agent::model::environment_id::EnvironmentId;
use featbit_agent::model::secret::SecretKind;
use featbit_agent::model::timestamp::format_iso8601;
use featbit_agent::protocol::secret::Secret;
use serde_json::{Value, json};

use crate::rng::Rng;

/// When the first items were changed, in Unix milliseconds.
const START_MS: i64 = 1_706_745_600_000;

/// A flag or a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub id: String,
    pub version_ms: i64,
    pub raw: String,
}

/// An environment as the dump has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    pub number: u8,
    pub secrets: Vec<(SecretKind, u8)>,
    pub flags: Vec<Item>,
    pub segments: Vec<Item>,
}

/// Items by whether they are segments and by id, as text with their version: the data that a server SDK must have.
pub type Content = BTreeMap<(bool, String), (i64, String)>;

/// The whole dump.
#[derive(Clone, Debug)]
pub struct World {
    pub environments: Vec<Environment>,
    newest_ms: i64,
    edits: usize,
    /// Some items are large, so that sockets fill up.
    bulky: bool,
}

pub fn id_of(environment: u8) -> EnvironmentId {
    EnvironmentId::from_bytes([environment; 16])
}

pub fn secret(number: u8, environment: u8) -> Secret {
    Secret::build([number; 16], id_of(environment))
}

/// Names of users; what is known of them follows from the name.
pub const USERS: [&str; 4] = ["u0", "u1", "u2", "ünï \"3\""];

impl Environment {
    fn new(number: u8) -> Self {
        let secrets = vec![(SecretKind::Server, 1), (SecretKind::Client, 2)];
        Self { number, secrets, flags: Vec::new(), segments: Vec::new() }
    }

    pub fn content(&self) -> Content {
        let flags = self.flags.iter().map(|item| (false, item));
        let all = flags.chain(self.segments.iter().map(|item| (true, item)));
        all.map(|(kind, item)| ((kind, item.id.clone()), (item.version_ms, item.raw.clone()))).collect()
    }

    pub fn dump(&self) -> String {
        let id = id_of(self.number);
        let secrets: Vec<Value> = self
            .secrets
            .iter()
            .map(|(kind, number)| {
                json!({"type": kind.as_str(), "projectKey": "p", "envId": id.to_string(),
                    "envKey": format!("e{}", self.number), "value": secret(*number, self.number).as_str()})
            })
            .collect();
        let texts =
            |items: &[Item]| items.iter().map(|item| item.raw.as_str()).collect::<Vec<_>>().join(", ");
        format!(
            r#"{{"envId":"{id}","secrets":{},"featureFlags":[{}],"segments":[{}]}}"#,
            Value::from(secrets),
            texts(&self.flags),
            texts(&self.segments)
        )
    }
}

pub fn dump(environments: &[Environment]) -> Vec<u8> {
    let items: Vec<_> = environments.iter().map(Environment::dump).collect();
    format!(r#"{{"eventType":"rp_full","items":[{}]}}"#, items.join(",")).into_bytes()
}

impl World {
    pub fn new(rng: &mut Rng) -> Self {
        let environments = (1..=1 + rng.below(3) as u8).map(Environment::new).collect();
        let mut world = Self { environments, newest_ms: START_MS, edits: 0, bulky: rng.percent(40) };
        for at in 0..world.environments.len() {
            for _ in 0..rng.below(6) {
                world.put(rng, at);
            }
        }
        world
    }

    /// One change as an author makes it.
    pub fn edit(&mut self, rng: &mut Rng) {
        if self.environments.is_empty() {
            return self.come_and_go(rng);
        }
        let at = rng.below(self.environments.len());
        let environment = &mut self.environments[at];
        match rng.below(100) {
            0..62 => drop(self.put(rng, at)),
            62..76 => {
                let items = if rng.percent(70) { &mut environment.flags } else { &mut environment.segments };
                if !items.is_empty() {
                    items.remove(rng.below(items.len()));
                }
            }
            76..86 => {
                let secret = (*rng.pick(&[SecretKind::Server, SecretKind::Client]), 1 + rng.below(4) as u8);
                match environment.secrets.iter().position(|(_, number)| *number == secret.1) {
                    Some(at) => drop(environment.secrets.remove(at)),
                    None => environment.secrets.push(secret),
                }
            }
            86..90 => {
                if !environment.flags.is_empty() {
                    environment.flags.rotate_left(1);
                }
            }
            90..93 => self.environments.rotate_left(1),
            _ => self.come_and_go(rng),
        }
    }

    fn come_and_go(&mut self, rng: &mut Rng) {
        let number = 1 + rng.below(3) as u8;
        match self.environments.iter().position(|environment| environment.number == number) {
            Some(at) => drop(self.environments.remove(at)),
            None => self.environments.push(Environment::new(number)),
        }
    }

    /// Adds or changes a flag or a segment of an environment, and says which it was.
    pub fn put(&mut self, rng: &mut Rng, at: usize) -> (bool, Item) {
        let version_ms = match rng.below(10) {
            0..6 => self.newest_ms + 1 + rng.below(3) as i64,
            6..8 => self.newest_ms,
            _ => START_MS.max(self.newest_ms - rng.below(12) as i64),
        };
        self.newest_ms = self.newest_ms.max(version_ms);
        self.edits += 1;
        let padding = if self.bulky && rng.percent(30) { rng.below(20_000) } else { rng.below(30) };
        let environment = &mut self.environments[at];
        let is_segment = rng.percent(35);
        let (items, item) = if is_segment {
            let item = segment(rng, environment.number, version_ms, self.edits, padding);
            (&mut environment.segments, item)
        } else {
            (&mut environment.flags, flag(rng, environment.number, version_ms, self.edits, padding))
        };
        match items.iter_mut().find(|old| old.id == item.id) {
            Some(old) => *old = item.clone(),
            None => items.push(item.clone()),
        }
        (is_segment, item)
    }
}

fn segment(rng: &mut Rng, environment: u8, version_ms: i64, edit: usize, padding: usize) -> Item {
    let id = format!("s{}", rng.below(3));
    let included: Vec<_> = USERS.iter().filter(|_| rng.percent(40)).collect();
    let raw = json!({
        "id": id, "envId": id_of(environment).to_string(), "name": format!("edit {edit}"),
        "description": "x".repeat(padding), "included": included, "excluded": [], "rules": [],
        "updatedAt": format_iso8601(version_ms), "isArchived": false
    });
    Item { id, version_ms, raw: raw.to_string() }
}

fn flag(rng: &mut Rng, environment: u8, version_ms: i64, edit: usize, padding: usize) -> Item {
    let id = format!("f{}", rng.below(7));
    let everybody = |variation: &str| json!([{"id": variation, "rollout": [0, 1], "exptRollout": 1}]);
    let condition = match rng.below(3) {
        0 => json!({"property": "group", "op": "Equal", "value": rng.pick(&["g0", "g1"])}),
        1 => {
            json!({"property": "User is in segment", "op": null, "value": format!("[\"s{}\"]", rng.below(4))})
        }
        _ => {
            json!({"property": "User is not in segment", "op": "", "value": format!("[\"s{}\",\"s1\"]", rng.below(4))})
        }
    };
    let rules = json!([{"id": "r", "name": "rule", "dispatchKey": null, "includedInExpt": false,
        "conditions": [condition], "variations": everybody("b")}]);
    let rules = if rng.percent(70) { rules } else { json!([]) };
    let fallthrough = if rng.percent(50) {
        everybody("a")
    } else {
        json!([{"id": "a", "rollout": [0, 0.5], "exptRollout": 0}, {"id": "b", "rollout": [0.5, 1], "exptRollout": 0.3}])
    };
    let raw = json!({
        "id": id, "envId": id_of(environment).to_string(), "name": "n", "key": format!("key-{id}"),
        "description": "é\\\"]}".repeat(padding / 5), "variationType": "string",
        "variations": [{"id": "a", "name": "a", "value": format!("edit {edit}")},
            {"id": "b", "name": "b", "value": "b"}],
        "targetUsers": if rng.percent(20) { json!([{"keyIds": [USERS[1]], "variationId": "b"}]) } else { json!([]) },
        "rules": rules, "isEnabled": rng.percent(85), "disabledVariationId": "b",
        "fallthrough": {"dispatchKey": null, "includedInExpt": true, "variations": fallthrough},
        "exptIncludeAllTargets": false, "tags": [],
        "updatedAt": format_iso8601(version_ms), "isArchived": rng.percent(10)
    });
    // Blanks and a number that would not survive a second writing: the text has to arrive as it is.
    Item { id, version_ms, raw: raw.to_string().replacen('{', "{ \"odd\" : 1.50e+0 ,", 1) }
}
