//! Messages of a relay agent to its upstream: FeatBit's messages, and additions of this agent, which FeatBit's server
//! ignores.
//!
//! Must not decide what is requested, or which agent may request it. Only a few of these messages arrive per minute, so a
//! general JSON parser reads them.

use std::fmt::Write;

use serde::Deserialize;
use serde_json::Value;

use crate::model::environment_id::EnvironmentId;

use super::status::Status;
use crate::wire::json;

/// The `type` of a relay agent's stream; SDKs have `server` and `client`.
pub const STREAM_TYPE: &str = "relay-proxy";

/// A ping, which is answered with a pong.
pub const PING: &str = r#"{"messageType":"ping","data":{}}"#;

/// The longest message that is sent, in bytes: somewhat less than FeatBit's server reads. It silently ignores longer ones.
pub const MESSAGE_BYTES_MAX: usize = 8_000;

/// A message of a relay agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromRelay {
    /// A ping, which is answered with a pong.
    Ping,
    /// An echo, which is answered with the same text.
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
    /// A message that is not understood, or not one of a relay agent.
    Ignored,
}

impl FromRelay {
    /// Parses a message.
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

/// `data-sync`: what a relay agent has, and what it requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayRequest {
    /// Requests items newer than this, in Unix milliseconds. 0 requests a full sync.
    pub timestamp_ms: i64,
    /// The same for each environment that it has.
    pub environments: Vec<(EnvironmentId, i64)>,
    /// A digest of its environments and secrets, which shows whether a patch is enough. Only this agent sends it.
    pub digest: Option<String>,
    /// Requests `rp-verified` with this number as soon as it is certain that the answer is complete: an SDK sent the agent an
    /// unknown secret. Only this agent sends it.
    pub verify: Option<u64>,
}

impl RelayRequest {
    /// Requests a full sync.
    pub fn full() -> Self {
        Self::default()
    }

    /// Requests a full sync, and `rp-verified` when it is certain that the full sync is complete.
    pub fn verified_full(number: u64) -> Self {
        Self { verify: Some(number), ..Self::default() }
    }

    /// Whether it requests a full sync.
    pub fn is_full(&self) -> bool {
        self.timestamp_ms == 0
    }

    /// Writes the message.
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

/// `rp-agent-status`: the status of a relay agent, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusReport {
    /// The message.
    pub text: String,
    /// How many names of environments did not fit.
    pub left_out: usize,
}

impl StatusReport {
    /// Writes a status in at most [`MESSAGE_BYTES_MAX`] bytes: names of environments that do not fit are left out and counted.
    /// `None` if even `agent_id` does not fit.
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
        // Bisection for the most names that fit: `fit` of them do, `too_many` do not.
        let (mut fit, mut too_many) = (0, names.len().min(MESSAGE_BYTES_MAX));
        while fit + 1 < too_many {
            let middle = fit.midpoint(too_many);
            if fits(&cut(middle)) { fit = middle } else { too_many = middle }
        }
        Some(Self { text: cut(fit), left_out: names.len() - fit }).filter(|report| fits(&report.text))
    }
}

/// Writes the message; the status in it is a string that contains JSON.
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

/// Writes the body of a registration over HTTP: the agent's name. The response is the name that is in effect, as plain text.
pub fn write_registration(agent_id: &str) -> String {
    json::string(agent_id)
}

/// Parses the body of a registration; `None` if it is not a JSON string, or blank.
pub fn parse_registration(body: &[u8]) -> Option<String> {
    serde_json::from_slice::<String>(body).ok().filter(|name| !name.trim().is_empty())
}

#[cfg(test)]
mod tests;
