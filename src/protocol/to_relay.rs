//! Messages of a server to a relay agent: FeatBit's messages, and additions of this agent, which FeatBit's agent ignores.
//!
//! Must not apply the data, and must not parse a message twice. A message of an unknown kind is no error, because FeatBit's
//! agent ignores it.
//!
//! | message | parsed as | written by |
//! |---|---|---|
//! | `data-sync`, `rp_full` | [`ToRelay::Full`] | [`FULL_START`], [`append_environment_start`] …, [`append_full_end`] |
//! | `data-sync`, `rp_patch` | [`ToRelay::Patch`] | [`PATCH_START`], [`append_environment_start`] …, [`END`] |
//! | `data-sync`, `patch` | [`ToRelay::Change`] | the frames of server SDKs, see [`super::to_sdk`] |
//! | `data-sync`, `full` | [`ToRelay::Environment`] | only FeatBit 6 sends it |
//! | `rp-verified` | [`ToRelay::Verified`] | [`verified`] |
//! | `rp-path` | [`ToRelay::Path`] | [`path`] |
//! | `rp-state` | [`ToRelay::State`] | [`state`] |
//! | `pong` | [`ToRelay::Pong`] | [`super::to_sdk::PONG_FRAME`] |

use crate::model::dataset::Dataset;
use crate::model::environment_id::EnvironmentId;
use crate::model::parse::{
    self, Changes, DatasetError, DatasetText, Fields, Findings, Path, Value, pick, read_changes,
};
use crate::model::secret::SecretDef;
use crate::wire::json::append_string;

use super::relay_path::{PATH_MAX, is_path};
use super::status::SyncState;

/// A message, borrowed from its text.
#[derive(Clone, Debug)]
pub enum ToRelay<'a> {
    /// `rp_full`, a full sync: all data that the relay agent is to serve.
    Full {
        /// All environments with their secrets, flags and segments.
        dataset: Dataset<'a>,
        /// The dataset may be incomplete: the sender follows a server itself, and has not had a full sync from it since this
        /// one was requested. Only this agent sends it.
        provisional: bool,
        /// The dataset is empty, because none of the sender's environments is in the relay agent's scope. Only this agent
        /// sends it.
        out_of_scope: bool,
    },
    /// `rp_patch`: the items newer than the requested times, without secrets. It also lists environments without changes.
    Patch(Dataset<'a>),
    /// `patch`: flags and segments that have just changed.
    Change(Changes<'a>),
    /// `full`, which FeatBit 6 sends without a request: all flags and segments of the environment that they name, without
    /// secrets. No environment if there are no items; several if they name several, which no known server does.
    Environment(Dataset<'a>),
    /// `rp-verified`: the full sync of this number was complete when it was requested. Only this agent sends it.
    Verified(u64),
    /// `rp-path`: the processes from the sender to the FeatBit server ([`super::relay_path`]). Only this agent sends it.
    Path(Vec<String>),
    /// `rp-state`: the state of the sender's own upstream; `None` for an unknown state. Only this agent sends
    /// it.
    State(Option<SyncState>),
    /// `pong`: the answer to a ping.
    Pong,
    /// A `data-sync` of this unknown `eventType`.
    UnknownSync(&'a str),
    /// A message of this unknown `messageType`.
    Unknown(&'a str),
}

/// The kind of a `data-sync`, by its `eventType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// `rp_full`.
    Full,
    /// `rp_patch`.
    Patch,
    /// `patch`.
    Change,
    /// `full`.
    Environment,
}

/// Why a whole message was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageError {
    /// Its kind, if that could be read.
    pub kind: Option<MessageKind>,
    /// The errors, with their paths.
    pub faults: DatasetError,
}

impl From<DatasetError> for MessageError {
    fn from(faults: DatasetError) -> Self {
        Self { kind: None, faults }
    }
}

impl std::fmt::Display for MessageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.faults.fmt(f)
    }
}

impl std::error::Error for MessageError {}

// Reading.

impl<'a> ToRelay<'a> {
    /// Parses a message. Costs as much as [`DatasetText::parse`].
    ///
    /// # Errors
    /// As [`DatasetText::parse`], with paths that begin at the message. But of two flags or segments with the same id the newer
    /// is used, and a flag, segment or secret that cannot be read is left out
    /// ([`LeftOut`](crate::model::dataset::LeftOut)).
    pub fn parse(text: &'a mut DatasetText) -> Result<Self, MessageError> {
        let parsed = text.parsed()?;
        let mut findings = Findings::quiet();
        let root = Path::Root("the message");
        let Some(fields) = findings.required_object(parsed.root(), &root) else {
            return fail(findings);
        };
        pick!(fields => message_type: "messageType", data: "data");
        let message_type = findings.required_text(message_type, &root, "messageType");
        if findings.faults() > 0 {
            return fail(findings);
        }
        if !message_type.eq_ignore_ascii_case("data-sync") {
            let read = Self::parse_small(message_type, data.and_then(|data| data.fields()));
            return Ok(read.unwrap_or(ToRelay::Unknown(message_type)));
        }
        let path = root.key("data");
        let data = data.unwrap_or(Value::new(&[]));
        let Some(fields) = findings.required_object(data, &path) else {
            return fail(findings);
        };
        pick!(fields => event_type: "eventType", provisional: "provisional", out_of_scope: "outOfScope");
        let event_type = findings.required_text(event_type, &path, "eventType");
        if findings.faults() > 0 {
            return fail(findings);
        }
        let is_true = |field: Option<Value<'_, '_>>| field.and_then(|value| value.as_bool()).unwrap_or(false);
        let (kind, message) = match event_type {
            "rp_full" => {
                let (provisional, out_of_scope) = (is_true(provisional), is_true(out_of_scope));
                let full = parse::read_full(&parsed, data, &path).map(|dataset| {
                    let out_of_scope = out_of_scope && dataset.environments.is_empty();
                    ToRelay::Full { dataset, provisional, out_of_scope }
                });
                (MessageKind::Full, full)
            }
            "rp_patch" => (MessageKind::Patch, parse::read_patch(&parsed, data, &path).map(ToRelay::Patch)),
            "patch" => (MessageKind::Change, read_changes(&parsed, data, &path).map(ToRelay::Change)),
            "full" => {
                let environment = parse::read_environment(&parsed, data, &path);
                (MessageKind::Environment, environment.map(ToRelay::Environment))
            }
            other => return Ok(ToRelay::UnknownSync(other)),
        };
        message.map_err(|faults| MessageError { kind: Some(kind), faults })
    }

    /// Parses messages without flags and segments. `None` for any other message, or if its `data` has the wrong form.
    fn parse_small(message_type: &str, data: Option<Fields<'_, 'a>>) -> Option<Self> {
        match message_type {
            "pong" => Some(ToRelay::Pong),
            "rp-verified" => {
                pick!(data? => verify: "verify");
                Some(ToRelay::Verified(verify?.as_u64()?))
            }
            "rp-path" => {
                pick!(data? => path: "path");
                // One more than allowed is enough to detect that there are too many.
                let names = path?.elements()?.take(PATH_MAX + 1);
                let names: Vec<&str> = names.map(|name| name.as_str()).collect::<Option<_>>()?;
                is_path(&names).then(|| ToRelay::Path(names.into_iter().map(str::to_owned).collect()))
            }
            "rp-state" => {
                pick!(data? => state: "state");
                Some(ToRelay::State(SyncState::parse(state?.as_str()?)))
            }
            _ => None,
        }
    }
}

fn fail<'a>(findings: Findings) -> Result<ToRelay<'a>, MessageError> {
    match findings.finish() {
        Err(faults) => Err(faults.into()),
        // Only called after an error, so there is at least one.
        Ok(_) => Ok(ToRelay::Unknown("")),
    }
}

// Writing. Full syncs share the text of their items with other payloads, so a message is written in pieces, in this order.

/// Begins an `rp_full`, up to its first environment.
pub const FULL_START: &str = r#"{"messageType":"data-sync","data":{"eventType":"rp_full","items":["#;

/// Begins an `rp_patch`, up to its first environment.
pub const PATCH_START: &str = r#"{"messageType":"data-sync","data":{"eventType":"rp_patch","items":["#;

/// Begins a dump, which is also the `data` of an `rp_full`, up to its first environment.
pub const DUMP_START: &str = r#"{"eventType":"rp_full","items":["#;

/// Appends an environment up to its first flag.
pub fn append_environment_start<'s>(
    id: EnvironmentId,
    secrets: impl IntoIterator<Item = SecretDef<'s>>,
    out: &mut Vec<u8>,
) {
    let id = id.to_string();
    let mut field = |before: &str, value: &str| {
        out.extend_from_slice(before.as_bytes());
        append_string(value, out);
    };
    field(r#"{"envId":"#, &id);
    let mut before = r#","secrets":[{"type":"#;
    let mut any = false;
    for secret in secrets {
        field(before, secret.kind.as_str());
        field(r#","projectKey":"#, secret.project_key);
        field(r#","envId":"#, &id);
        field(r#","envKey":"#, secret.env_key);
        field(r#","value":"#, secret.value);
        before = r#"},{"type":"#;
        any = true;
    }
    let end: &[u8] = if any { br#"}],"featureFlags":["# } else { br#","secrets":[],"featureFlags":["# };
    out.extend_from_slice(end);
}

/// Separates the flags of an environment from its segments.
pub const SEGMENTS: &str = r#"],"segments":["#;

/// Ends an environment. Environments are separated by commas.
pub const ENVIRONMENT_END: &str = "]}";

/// Ends an `rp_patch`.
pub const END: &str = "]}}";

/// Ends a dump.
pub const DUMP_END: &str = "]}";

/// Appends the end of an `rp_full`. [`ToRelay::Full`] explains the two arguments.
pub fn append_full_end(provisional: bool, out_of_scope: bool, out: &mut Vec<u8>) {
    out.push(b']');
    if out_of_scope {
        out.extend_from_slice(br#","outOfScope":true"#);
    }
    if provisional {
        out.extend_from_slice(br#","provisional":true"#);
    }
    out.extend_from_slice(b"}}");
}

/// Writes `rp-verified`.
pub fn verified(number: u64) -> String {
    format!(r#"{{"messageType":"rp-verified","data":{{"verify":{number}}}}}"#)
}

/// Writes `rp-path`.
pub fn path(names: &[String]) -> String {
    serde_json::json!({ "messageType": "rp-path", "data": { "path": names } }).to_string()
}

/// Writes `rp-state`.
pub fn state(state: SyncState) -> String {
    format!(r#"{{"messageType":"rp-state","data":{{"state":"{}"}}}}"#, state.as_str())
}

#[cfg(test)]
mod tests;
