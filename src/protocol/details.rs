//! The part of the status that FeatBit's agent does not have, for operators: under the additional key `agent`.
//!
//! Must not contain a secret, a key, or data of a user.

use serde::Serialize;

use super::status::iso_8601;

/// The value of `agent`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Details<'a> {
    /// The agent's version.
    pub version: &'a str,
    /// A random name of this process.
    pub instance: &'a str,
    /// `agent` or `offline`.
    pub mode: &'a str,
    /// The upstream, if there is one.
    pub upstream: Option<Upstream<'a>>,
    /// The backup file, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<Backup>,
    /// The cluster's Redis, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<Redis>,
    /// Usage events.
    pub events: Events,
    /// This process and the agents upstream of it, the nearest first.
    pub path: &'a [String],
    /// Every environment that is served, in the order of the data.
    pub environments: Vec<Environment<'a>>,
    /// The downstream agents.
    pub children: Vec<Child>,
}

/// A downstream agent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Child {
    /// When it connected.
    pub connected_since: Moment,
    /// The name under which it registered; `None` until it has reported its status.
    pub agent_id: Option<String>,
    /// When it last reported its status.
    pub reported_at: Option<Moment>,
    /// The reported status, in FeatBit's format.
    pub status: Option<serde_json::Value>,
}

/// The upstream server.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Upstream<'a> {
    /// Its address, without credentials and query.
    pub address: &'a str,
    /// When the present connection was opened.
    pub connected_since: Option<Moment>,
    /// Failed attempts to connect since the last successful one.
    pub failed_attempts: u64,
    /// Connections opened after the first.
    pub reconnects: u64,
    /// The last error.
    pub last_error: Option<LastError<'a>>,
}

/// An error of the upstream connection.
#[derive(Debug, Serialize)]
pub struct LastError<'a> {
    /// When it happened.
    pub at: Moment,
    /// What failed, where, and what to do.
    pub message: &'a str,
}

/// The backup file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Backup {
    /// Its bytes in use.
    pub bytes: u64,
    /// Whether it does not hold the newest data, because of an error or a disk that hangs.
    pub is_stale: bool,
    /// Since when.
    pub stale_since: Option<Moment>,
    /// The present error.
    pub error: Option<String>,
}

/// The cluster's Redis.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Redis {
    /// Where it is, without credentials.
    pub address: String,
    /// `connecting`, `connected`, `away`, or `refused` with the reason.
    pub state: String,
    /// Since when.
    pub since: Moment,
    /// The last change of the cluster that was read.
    pub sequence: u64,
    /// Changes that were announced and not yet read.
    pub lag: u64,
    /// Why changes of other agents are only polled for, if they are.
    pub polling: Option<String>,
    /// The last error.
    pub last_error: Option<OwnedError>,
}

/// Usage events.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Events {
    /// What leaves the machine, in words.
    pub summary: String,
    /// The mode where no override says otherwise.
    pub mode: &'static str,
    /// The overrides.
    pub overrides: Vec<EventsOverride>,
    /// What the key of pseudonyms can be told by: agents with the same id have the same key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pseudonym_key_id: Option<String>,
    /// Events that wait to be sent.
    pub waiting: u64,
    /// When the oldest of them came.
    pub oldest: Option<Moment>,
    /// Disk that they take, in bytes.
    pub spool_bytes: u64,
    /// Disk of the mode local, in bytes.
    pub local_bytes: u64,
    /// Why the server cannot be reached; `None` if it can, or was not needed yet.
    pub unreachable: Option<String>,
    /// The environments whose events the server does not take at present.
    pub paused: Vec<PausedEvents>,
}

/// An environment with another mode of usage events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventsOverride {
    /// As the settings name it.
    pub environment: String,
    /// Its mode.
    pub mode: &'static str,
}

/// An environment whose usage events the server does not take at present.
#[derive(Debug, Serialize)]
pub struct PausedEvents {
    /// `projectKey:envKey`, or its id.
    pub environment: String,
    /// The kind of the secret: `server` or `client`.
    pub secret: &'static str,
    /// Why, such as `status 503`.
    pub reason: String,
}

/// An error that happened.
#[derive(Debug, Serialize)]
pub struct OwnedError {
    /// When it happened.
    pub at: Moment,
    /// What failed, where, and what to do.
    pub message: String,
}

/// One environment.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Environment<'a> {
    /// `projectKey:envKey` of its first secret, else its id.
    pub name: &'a str,
    /// Its id.
    pub id: String,
    /// How many flags it has.
    pub flags: usize,
    /// How many segments it has.
    pub segments: usize,
    /// The highest `updatedAt` it ever served, in Unix milliseconds; 0 for none.
    pub data_version: i64,
    /// Streaming connections of SDKs, as of a second ago.
    pub connections: Connections,
}

/// How many streaming connections there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Connections {
    /// Of server SDKs.
    pub server: u64,
    /// Of client SDKs.
    pub client: u64,
}

/// A moment in Unix milliseconds, written in ISO 8601.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub i64);

impl Serialize for Moment {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&iso_8601(self.0))
    }
}

/// FeatBit's status (a JSON object) with the details added.
pub fn with_details(status: String, details: &Details<'_>) -> String {
    let Ok(details) = serde_json::to_string(details) else { return status };
    match status.strip_suffix('}') {
        Some(open) => format!("{open},\"agent\":{details}}}"),
        None => status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_one_key_beside_featbits_own() {
        let details = Details {
            version: "1.2.3",
            instance: "ab",
            mode: "agent",
            upstream: Some(Upstream {
                address: "wss://server",
                connected_since: Some(Moment(0)),
                failed_attempts: 2,
                reconnects: 3,
                last_error: Some(LastError { at: Moment(1), message: "no \"way\"" }),
            }),
            backup: None,
            redis: None,
            events: Events {
                summary: "usage events are counted and dropped".into(),
                mode: "drop",
                overrides: vec![EventsOverride { environment: "p:e".into(), mode: "local" }],
                pseudonym_key_id: None,
                waiting: 1,
                oldest: Some(Moment(3)),
                spool_bytes: 2,
                local_bytes: 0,
                unreachable: None,
                paused: vec![PausedEvents {
                    environment: "p:e".into(),
                    secret: "client",
                    reason: "status 503".into(),
                }],
            },
            path: &["ab".into(), "cd".into()],
            children: vec![Child {
                connected_since: Moment(2),
                agent_id: Some("edge".into()),
                reported_at: None,
                status: None,
            }],
            environments: vec![Environment {
                name: "p:e",
                id: "i".into(),
                flags: 1,
                segments: 2,
                data_version: 9,
                connections: Connections { server: 3, client: 4 },
            }],
        };
        let text = with_details(r#"{"serves":"p:e"}"#.into(), &details);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["serves"], "p:e");
        assert_eq!(json["agent"]["upstream"]["connectedSince"], "1970-01-01T00:00:00.000Z");
        assert_eq!(json["agent"]["upstream"]["lastError"]["message"], "no \"way\"");
        assert_eq!(json["agent"]["environments"][0]["connections"]["client"], 4);
        assert_eq!(json.as_object().unwrap().len(), 2);
    }
}
