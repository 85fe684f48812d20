//! What the status says beyond FeatBit's own form, for operators: under the one extra key `agent`.
//!
//! Must not hold a secret, a key, or what belongs to a user.

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
    /// This process and the agents that it follows, the nearest first.
    pub path: &'a [String],
    /// Every environment that is served, in the order of the data.
    pub environments: Vec<Environment<'a>>,
    /// The agents that follow this one.
    pub children: Vec<Child>,
}

/// An agent that follows this one.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Child {
    /// Since when it is connected.
    pub connected_since: Moment,
    /// The name it registered under, once it has reported it.
    pub agent_id: Option<String>,
    /// When it last reported its status.
    pub reported_at: Option<Moment>,
    /// That report: FeatBit's status.
    pub status: Option<serde_json::Value>,
}

/// The server that is followed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Upstream<'a> {
    /// Its address, without credentials and query.
    pub address: &'a str,
    /// Since when the present connection is open.
    pub connected_since: Option<Moment>,
    /// Attempts to connect that failed since the last one that did not.
    pub failed_attempts: u64,
    /// Connections opened after the first.
    pub reconnects: u64,
    /// What went wrong last.
    pub last_error: Option<LastError<'a>>,
}

/// What went wrong, and when.
#[derive(Debug, Serialize)]
pub struct LastError<'a> {
    /// When it went wrong.
    pub at: Moment,
    /// What went wrong, where, and what to do.
    pub message: &'a str,
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

/// FeatBit's status, an object, with the details added to it.
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
