//! The data of the comparison: a dump whose full payload has about 20 KB, and the same as ready-made files for the
//! floor.

use featbit_agent::model::environment_id::EnvironmentId;
use featbit_agent::protocol::secret::Secret;
use serde_json::{Value, json};

const ENVIRONMENT: [u8; 16] =
    [0xe1, 0xa1, 0xd6, 0xa4, 0x6b, 0x7c, 0x4f, 0x1e, 0x9a, 0x53, 0x3b, 0x8d, 0x3a, 0x0e, 0x7c, 0x11];

/// Flags of about 1 KB each: a full payload of 20 KB, a patch of 1 KB.
const FLAGS: usize = 20;

/// The environment's server secret.
pub fn secret() -> Secret {
    Secret::build([7; 16], EnvironmentId::from_bytes(ENVIRONMENT))
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
    let environment = EnvironmentId::from_bytes(ENVIRONMENT).to_string();
    let secret = json!({"type": "server", "projectKey": "load", "envId": environment, "envKey": "test",
        "value": secret().as_str()});
    let flags: Vec<Value> = (0..FLAGS)
        .map(|number| flag(number, if number == 0 { 1000 + changes } else { number as u64 }))
        .collect();
    json!({"eventType": "rp_full", "items": [
        {"envId": environment, "secrets": [secret], "featureFlags": flags, "segments": []}]})
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
