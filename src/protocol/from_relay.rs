//! What a relay agent says to the server that it follows: FeatBit's messages, and what agents of this make add to them
//! (FeatBit's server ignores it).
//!
//! Must not decide what is asked for, or who may ask. A few of these messages come in a minute, so a general parser
//! reads them.

use std::fmt::Write;

use serde::Deserialize;
use serde_json::Value;

use crate::model::environment_id::EnvironmentId;

use super::status::Status;
use crate::wire::json;

/// The `type` of a relay agent's stream; SDKs have `server` and `client`.
pub const STREAM_TYPE: &str = "relay-proxy";

/// A sign of life that is answered by a pong.
pub const PING: &str = r#"{"messageType":"ping","data":{}}"#;

/// The longest message that FeatBit's server reads, in bytes, with some room to spare. It ignores longer ones and says
/// nothing.
pub const MESSAGE_BYTES_MAX: usize = 8_000;

/// A message of a relay agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromRelay {
    /// To be answered with a pong.
    Ping,
    /// To be answered with the same text.
    Echo,
    /// A request for data.
    DataSync(RelayRequest),
    /// Its status.
    Status {
        /// The name it registered under.
        agent_id: String,
        /// FeatBit's status, a JSON object.
        status: Value,
    },
    /// Not understood, or not meant for this side.
    Ignored,
}

impl FromRelay {
    /// Reads a message.
    pub fn parse(message: &[u8]) -> Self {
        let Ok(Envelope { message_type, data }) = serde_json::from_slice(message) else {
            return FromRelay::Ignored;
        };
        match message_type.to_ascii_lowercase().as_str() {
            "ping" => FromRelay::Ping,
            "echo" => FromRelay::Echo,
            "data-sync" => RelayRequest::parse(data).map_or(FromRelay::Ignored, FromRelay::DataSync),
            "rp-agent-status" => parse_status(data).unwrap_or(FromRelay::Ignored),
            _ => FromRelay::Ignored,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    message_type: String,
    #[serde(default)]
    data: Value,
}

/// `data-sync`: what a relay agent has, and asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayRequest {
    /// What is newer than this is asked for, in Unix milliseconds. 0 asks for a full sync.
    pub timestamp_ms: i64,
    /// The same for each environment that it has.
    pub environments: Vec<(EnvironmentId, i64)>,
    /// A digest of its environments and secrets, by which a patch is known to be enough. Agents of this make only.
    pub digest: Option<String>,
    /// Asks for `rp-verified` with this number as soon as it is certain that nothing exists that the answer lacks: the
    /// agent has seen an unknown secret. Agents of this make only.
    pub verify: Option<u64>,
}

impl RelayRequest {
    /// Asks for a full sync.
    pub fn full() -> Self {
        Self::default()
    }

    /// Asks for a full sync, and to be told when it is certain that it lacks nothing.
    pub fn verified_full(number: u64) -> Self {
        Self { verify: Some(number), ..Self::default() }
    }

    /// Whether it asks for a full sync.
    pub fn is_full(&self) -> bool {
        self.timestamp_ms == 0
    }

    /// The message.
    pub fn write(&self) -> String {
        let mut text = format!(r#"{{"messageType":"data-sync","data":{{"timestamp":{}"#, self.timestamp_ms);
        // Writing to a string cannot fail.
        if let Some(digest) = &self.digest {
            let _ = write!(text, r#","secrets":{}"#, json::string(digest));
        }
        for (index, (id, timestamp_ms)) in self.environments.iter().enumerate() {
            text.push_str(if index == 0 { r#","envs":["# } else { "," });
            let _ = write!(text, r#"{{"envId":"{id}","timestamp":{timestamp_ms}}}"#);
        }
        if !self.environments.is_empty() {
            text.push(']');
        }
        if let Some(number) = self.verify {
            let _ = write!(text, r#","verify":{number}"#);
        }
        text.push_str("}}");
        text
    }

    fn parse(data: Value) -> Option<Self> {
        let RequestData { timestamp, envs, secrets, verify } = serde_json::from_value(data).ok()?;
        let timestamp_ms = match &timestamp {
            Value::Null => 0,
            Value::Number(number) => number.as_i64().unwrap_or(0),
            _ => return None,
        };
        let environments = envs.iter().map(|one| Some((EnvironmentId::parse(&one.env_id)?, one.timestamp)));
        Some(Self {
            timestamp_ms,
            environments: environments.collect::<Option<_>>()?,
            digest: secrets,
            verify,
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RequestData {
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

/// `rp-agent-status`, as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusReport {
    /// The message.
    pub text: String,
    /// Names of environments that had no room in it.
    pub left_out: usize,
}

impl StatusReport {
    /// The report of a status, of at most [`MESSAGE_BYTES_MAX`]: names of environments that have no room are left out
    /// and counted. `None` if there is no room for `agent_id`.
    pub fn write(agent_id: &str, status: &Status<'_>) -> Option<Self> {
        let fits = |text: &String| text.len() <= MESSAGE_BYTES_MAX;
        let whole = write_status(agent_id, status);
        if fits(&whole) {
            return Some(Self { text: whole, left_out: 0 });
        }
        let names: Vec<&str> = status.serves.split(',').collect();
        let cut = |kept: usize| {
            let serves = format!("{},… ({} more)", names[..kept].join(","), names.len() - kept);
            write_status(agent_id, &Status { serves: serves.trim_start_matches(','), ..*status })
        };
        // The most names that fit, found by halving: `fit` of them do, `too_many` do not.
        let (mut fit, mut too_many) = (0, names.len().min(MESSAGE_BYTES_MAX));
        while fit + 1 < too_many {
            let middle = fit.midpoint(too_many);
            if fits(&cut(middle)) { fit = middle } else { too_many = middle }
        }
        Some(Self { text: cut(fit), left_out: names.len() - fit }).filter(|report| fits(&report.text))
    }
}

/// The message; the status in it is a text that holds JSON.
fn write_status(agent_id: &str, status: &Status<'_>) -> String {
    format!(
        r#"{{"messageType":"rp-agent-status","data":{{"agentId":{},"status":{}}}}}"#,
        json::string(agent_id),
        json::string(&status.to_json())
    )
}

fn parse_status(data: Value) -> Option<FromRelay> {
    let StatusData { agent_id, status } = serde_json::from_value(data).ok()?;
    let status: Value = serde_json::from_str(&status).ok()?;
    status.is_object().then_some(FromRelay::Status { agent_id, status })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatusData {
    agent_id: String,
    status: String,
}

/// The body of a registration over HTTP: the agent's name. The answer is the name that counts, as plain text.
pub fn write_registration(agent_id: &str) -> String {
    json::string(agent_id)
}

/// Reads the body of a registration; `None` if it is no JSON string, or a blank one.
pub fn parse_registration(body: &[u8]) -> Option<String> {
    serde_json::from_slice::<String>(body).ok().filter(|name| !name.trim().is_empty())
}

#[cfg(test)]
mod tests;
