//! Messages between a relay and what it follows, as the followed side reads and writes them: FeatBit's own, and what
//! agents of this make say to each other beyond that (FeatBit's ignore it).
//!
//! Must not judge who may ask for what. These come a few a minute, so they are read by a general parser.

use serde::Deserialize;
use serde_json::Value;

use crate::model::environment_id::EnvironmentId;
use crate::model::relay_path::is_path;

use super::status::SyncState;

pub use crate::model::relay_path::PATH_MAX;

/// The header field of the answer to a relay's upgrade that names the agents between it and the source of truth: the
/// random name of the answering process, then of what that follows, and so on.
pub const PATH_FIELD: &str = "X-FeatBit-Relay-Path";

/// What a relay sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromRelay {
    /// To be answered with a pong.
    Ping,
    /// To be answered with the same text.
    Echo,
    /// A request for data.
    Sync(RelaySync),
    /// Its status.
    Status {
        /// The name it registered under.
        agent_id: String,
        /// FeatBit's status, as JSON.
        status: Value,
    },
    /// Nothing to do: not understood, or not meant for this side.
    Ignored,
}

/// What a relay says that it has, and wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelaySync {
    /// 0 asks for all.
    pub timestamp_ms: i64,
    /// Each environment it has, with the highest `updatedAt`, in Unix milliseconds.
    pub environments: Vec<(EnvironmentId, i64)>,
    /// A digest of its environments and secrets; agents of this make alone send one.
    pub digest: Option<String>,
    /// It looks for a secret that it does not know, and wants to be told, with this number, when what it was sent is
    /// certain. Agents of this make alone.
    pub verify: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    message_type: String,
    #[serde(default)]
    data: Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SyncData {
    timestamp: Value,
    envs: Vec<EnvironmentData>,
    secrets: Option<String>,
    verify: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EnvironmentData {
    env_id: String,
    #[serde(default)]
    timestamp: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatusData {
    agent_id: String,
    status: String,
}

/// Reads a relay's message.
pub fn parse(message: &[u8]) -> FromRelay {
    let Ok(Envelope { message_type, data }) = serde_json::from_slice(message) else {
        return FromRelay::Ignored;
    };
    match message_type.to_ascii_lowercase().as_str() {
        "ping" => FromRelay::Ping,
        "echo" => FromRelay::Echo,
        "data-sync" => sync(data).map_or(FromRelay::Ignored, FromRelay::Sync),
        "rp-agent-status" => status(data).unwrap_or(FromRelay::Ignored),
        _ => FromRelay::Ignored,
    }
}

fn sync(data: Value) -> Option<RelaySync> {
    let SyncData { timestamp, envs, secrets, verify } = serde_json::from_value(data).ok()?;
    let timestamp_ms = match &timestamp {
        Value::Null => 0,
        Value::Number(number) => number.as_i64().unwrap_or(0),
        _ => return None,
    };
    let environments = envs.iter().map(|one| Some((EnvironmentId::parse(&one.env_id)?, one.timestamp)));
    Some(RelaySync {
        timestamp_ms,
        environments: environments.collect::<Option<_>>()?,
        digest: secrets,
        verify,
    })
}

fn status(data: Value) -> Option<FromRelay> {
    let StatusData { agent_id, status } = serde_json::from_value(data).ok()?;
    let status: Value = serde_json::from_str(&status).ok()?;
    status.is_object().then_some(FromRelay::Status { agent_id, status })
}

/// What tells a relay that nothing exists that it was not sent before it asked with this number.
pub fn verified(number: u64) -> String {
    format!(r#"{{"messageType":"rp-verified","data":{{"verify":{number}}}}}"#)
}

/// What tells a relay that the path above it is another one from now on.
pub fn path(names: &[String]) -> String {
    serde_json::json!({ "messageType": "rp-path", "data": { "path": names } }).to_string()
}

/// What tells a relay where this agent stands with what it follows itself.
pub fn state(state: SyncState) -> String {
    format!(r#"{{"messageType":"rp-state","data":{{"state":"{}"}}}}"#, state.as_str())
}

/// The names of a path, as [`PATH_FIELD`] carries them. Empty if they are not such names, or too many.
pub fn parse_path(value: &str) -> Vec<String> {
    let names: Vec<String> = value.split(',').map(|name| name.trim().to_owned()).collect();
    if is_path(&names) { names } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_featbits_agent_sends_and_what_this_one_adds() {
        let id = "84e8a446-59bc-49f5-bd3a-12313237697e";
        let message = format!(
            r#"{{"messageType":"data-sync","data":{{"timestamp":9,"envs":[{{"envId":"{id}","timestamp":7}}]}}}}"#
        );
        let plain = RelaySync {
            timestamp_ms: 9,
            environments: vec![(EnvironmentId::parse(id).unwrap(), 7)],
            ..RelaySync::default()
        };
        assert_eq!(parse(message.as_bytes()), FromRelay::Sync(plain));
        let more = br#"{"messageType":"Data-Sync","data":{"timestamp":0,"secrets":"ab","verify":3}}"#;
        let expected = RelaySync { digest: Some("ab".into()), verify: Some(3), ..RelaySync::default() };
        assert_eq!(parse(more), FromRelay::Sync(expected));
        assert_eq!(parse(br#"{"messageType":"ping","data":{}}"#), FromRelay::Ping);
        let status =
            br#"{"messageType":"rp-agent-status","data":{"agentId":"a","status":"{\"serves\":\"x\"}"}}"#;
        let expected =
            FromRelay::Status { agent_id: "a".into(), status: serde_json::json!({ "serves": "x" }) };
        assert_eq!(parse(status), expected);
    }

    #[test]
    fn what_is_not_understood_is_ignored() {
        for text in [
            "",
            "{}",
            "[]",
            r#"{"messageType":1,"data":{}}"#,
            r#"{"messageType":"data-sync"}"#,
            r#"{"messageType":"data-sync","data":{"timestamp":"0"}}"#,
            r#"{"messageType":"data-sync","data":{"timestamp":1,"envs":[{"envId":"no id","timestamp":1}]}}"#,
            r#"{"messageType":"rp-agent-status","data":{"agentId":"a","status":"[]"}}"#,
            r#"{"messageType":"rp-agent-status","data":{"agentId":"a","status":{}}}"#,
            r#"{"messageType":"other","data":{}}"#,
        ] {
            assert_eq!(parse(text.as_bytes()), FromRelay::Ignored, "{text}");
        }
    }

    #[test]
    fn a_path_is_a_few_plain_names() {
        assert_eq!(parse_path("ab, cd"), ["ab", "cd"]);
        for bad in ["", "a,,b", "a b", "ä", &"x".repeat(65), &["a"; PATH_MAX + 1].join(",")] {
            assert!(parse_path(bad).is_empty(), "{bad}");
        }
    }
}
