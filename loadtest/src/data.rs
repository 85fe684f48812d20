//! The data of the measurements: a dump whose full payload has about 20 KB, the requests of SDKs, and the same messages
//! as files for the floor.

use featbit_agent::model::environment_id::EnvironmentId;
use featbit_agent::protocol::secret::Secret;
use serde_json::{Value, json};

const ENVIRONMENT: [u8; 16] =
    [0xe1, 0xa1, 0xd6, 0xa4, 0x6b, 0x7c, 0x4f, 0x1e, 0x9a, 0x53, 0x3b, 0x8d, 0x3a, 0x0e, 0x7c, 0x11];

/// Flags of about 1 KB each: a full payload of 20 KB, a patch of 1 KB.
pub const FLAGS: usize = 20;

/// The kinds of SDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sdk {
    /// Gets every flag as it is.
    Server,
    /// Gets the flags evaluated for its user; every connection has another one.
    Client,
}

impl Sdk {
    /// Its `type` in the query of a streaming connection.
    pub fn kind(self) -> &'static str {
        match self {
            Sdk::Server => "server",
            Sdk::Client => "client",
        }
    }

    /// The environment's secret of this type.
    pub fn secret(self) -> Secret {
        Secret::build([self as u8 + 7; 16], EnvironmentId::from_bytes(ENVIRONMENT))
    }

    /// The `data-sync` request of connection `number`.
    pub fn ask(self, number: usize) -> String {
        match self {
            Sdk::Server => r#"{"messageType":"data-sync","data":{"timestamp":0}}"#.to_owned(),
            Sdk::Client => {
                let user = user(number);
                json!({"messageType": "data-sync", "data": {"timestamp": 0, "user": user}}).to_string()
            }
        }
    }
}

/// A user with five properties, as browsers send it.
pub fn user(number: usize) -> Value {
    let property = |name: &str, value: String| json!({"name": name, "value": value});
    json!({"keyId": format!("3eacb184-2d79-49df-9ea7-{number:012x}"), "name": format!("User {number}"),
        "customizedProperties": [
            property("country", "de".into()),
            property("plan", "enterprise".into()),
            property("age", (18 + number % 60).to_string()),
            property("email", format!("user.{number}@example.com")),
            property("language", "de-DE".into())]})
}

/// The body of a call with `count` evaluations from number `first` on, each an event of its own, as the Node SDK sends it.
/// A user has a key, a name and two custom properties, and evaluates `of_a_user` flags.
pub fn evaluations(first: usize, count: usize, of_a_user: usize) -> String {
    let events = (first..first + count).map(|number| {
        let (user, flag, on) = (number / of_a_user, number % FLAGS, number % 3 > 0);
        // Real keys have nothing in common that compression could use.
        let (key, name) = (scrambled(user as u64), scrambled(!(user as u64)));
        let key = format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            key >> 32,
            key >> 16 & 0xffff,
            key >> 4 & 0xfff,
            name & 0xfff,
            name >> 16
        );
        json!({
            "user": {"keyId": key, "name": format!("User {:x}", name >> 40),
                "customizedProperties": [{"name": "plan", "value": "enterprise"},
                    {"name": "email", "value": format!("{:x}@example.com", name >> 30)}]},
            "variations": [{"featureFlagKey": format!("flag-number-{flag}"), "sendToExperiment": false,
                "timestamp": 1_780_000_000_000 + number as u64 * 37,
                "variation": {"id": id(flag * 10 + usize::from(!on)), "value": on.to_string()}}]})
    });
    Value::Array(events.collect()).to_string()
}

/// A number that looks random; others for other numbers (the last step of SplitMix64).
fn scrambled(number: u64) -> u64 {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

fn id(number: usize) -> String {
    format!("78e51061-7311-48a3-82ce-{number:012x}")
}

fn flag(number: usize, updated_at_ms: u64) -> Value {
    let variations: Vec<Value> = (0..2)
        .map(|index| json!({"id": id(number * 10 + index), "name": index == 0, "value": (index == 0).to_string()}))
        .collect();
    json!({
        "id": id(number * 10 + 9),
        "envId": EnvironmentId::from_bytes(ENVIRONMENT).to_string(),
        "name": format!("Flag number {number}"),
        "description": "d".repeat(300),
        "key": format!("flag-number-{number}"),
        "variationType": "boolean",
        "variations": variations,
        "targetUsers": [{"variationId": id(number * 10), "keyIds": ["user-1", "user-2"]}],
        "rules": [],
        "isEnabled": true,
        "disabledVariationId": id(number * 10 + 1),
        "fallthrough": {"dispatchKey": null, "includedInExpt": false, "variations": [
            {"id": id(number * 10), "rollout": [0, 0.5], "exptRollout": 1},
            {"id": id(number * 10 + 1), "rollout": [0.5, 1], "exptRollout": 1}]},
        "exptIncludeAllTargets": true,
        "tags": [],
        "isArchived": false,
        "updatedAt": featbit_agent::model::timestamp::format_iso8601(1_700_000_000_000 + updated_at_ms as i64),
    })
}

/// The dump after so many changes of its first flag.
pub fn dump(changes: u64) -> Vec<u8> {
    let flags =
        (0..FLAGS).map(|number| flag(number, if number == 0 { 1000 + changes } else { number as u64 }));
    rp_full(flags.collect()).to_string().into_bytes()
}

/// A dump of so many flags.
pub fn dump_of(flags: usize) -> Vec<u8> {
    rp_full((0..flags).map(|number| flag(number, number as u64)).collect()).to_string().into_bytes()
}

fn rp_full(flags: Vec<Value>) -> Value {
    let environment = EnvironmentId::from_bytes(ENVIRONMENT).to_string();
    let secrets = [Sdk::Server, Sdk::Client].map(|sdk| {
        json!({"type": sdk.kind(), "projectKey": "load", "envId": environment, "envKey": "test",
            "value": sdk.secret().as_str()})
    });
    json!({"eventType": "rp_full", "items": [
        {"envId": environment, "secrets": secrets, "featureFlags": flags, "segments": []}]})
}

/// A full sync of so many flags, as a server sends it to an agent.
pub fn relay_full(flags: usize) -> Vec<u8> {
    let flags = (0..flags).map(|number| flag(number, number as u64)).collect();
    json!({"messageType": "data-sync", "data": rp_full(flags)}).to_string().into_bytes()
}

/// The `number`th change of the first flag, as a server pushes it to an agent.
pub fn relay_patch(number: u64) -> Vec<u8> {
    json!({"messageType": "data-sync", "data": {"eventType": "patch",
        "featureFlags": [flag(0, 1_000_000 + number)], "segments": []}})
    .to_string()
    .into_bytes()
}

/// The messages the floor sends: the same full payload and patch as the agent's.
pub fn floor_messages() -> (Vec<u8>, Vec<u8>) {
    let flags: Vec<Value> = (0..FLAGS).map(|number| flag(number, number as u64)).collect();
    let message = |kind: &str, flags: &[Value]| {
        json!({"messageType": "data-sync", "data": {"eventType": kind, "featureFlags": flags, "segments": []}})
            .to_string()
            .into_bytes()
    };
    (message("full", &flags), message("patch", &flags[..1]))
}
