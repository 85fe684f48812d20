//! Reads what a FeatBit server says to a relay, one message at a time.
//!
//! Must not apply anything, nor look twice at a message: it comes out as what it brings. What is of no known kind
//! is told apart from what is broken, since FeatBit's own agent passes over the former.

use crate::model::dataset::{Dataset, LeftOut};
use crate::model::flag::FlagDef;
use crate::model::relay_path::{PATH_MAX, is_path};
use crate::model::segment::SegmentDef;

use super::dump::{self, Twice};
use super::findings::{DatasetError, Findings, Path};
use super::items;
use super::lint::SegmentIndex;
use super::tape::{Fields, Value, pick};
use super::text::Parsed;

/// A message of a FeatBit server, borrowed from its text.
#[derive(Clone, Debug)]
pub enum ServerMessage<'a> {
    /// `rp_full`: everything the relay is to serve.
    Full {
        /// Every environment with all it holds.
        dataset: Dataset<'a>,
        /// The sender does not vouch that secrets it leaves out do not exist: it was not asked for this, or has
        /// not asked its own server since it was. Only agents of our make say so.
        provisional: bool,
        /// It holds nothing, and the sender says why: nothing of what it has itself is open to this relay. Only agents
        /// of our make say so.
        out_of_scope: bool,
    },
    /// `rp_patch`: what is newer than what was asked for, and no secrets. An environment stands in it even if it
    /// has nothing new.
    Patch(Dataset<'a>),
    /// `patch`: items that changed at the server just now.
    Change {
        /// Flags, usually one or none.
        flags: Vec<FlagDef<'a>>,
        /// Segments, usually one or none.
        segments: Vec<SegmentDef<'a>>,
        /// Those that cannot be read.
        left_out: LeftOut<'a>,
    },
    /// `full`, which FeatBit 6 sends unasked: all flags and segments of the environment that they name, and no secrets. No
    /// environment if there are none, and several if they name several, which no server is known to do.
    Environment(Dataset<'a>),
    /// `rp-verified`, of agents of our make only: what was sent before is certainly all there was when the full sync
    /// of this number was asked for.
    Verified(u64),
    /// `rp-path`, of agents of our make only: the random names of the processes from the sender to the source of truth.
    Path(Vec<String>),
    /// `rp-state`, of agents of our make only: FeatBit's word for where the sender stands with what it follows itself.
    State(&'a str),
    /// A `data-sync` of an unknown `eventType`, which is this.
    OtherSync(&'a str),
    /// Anything else, by its `messageType`.
    Other(&'a str),
}

/// What a message of a known kind is.
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

/// Why a message was refused whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageError {
    /// What it is, as far as that could be read.
    pub kind: Option<MessageKind>,
    /// Its faults.
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

/// Reads the message.
pub(super) fn read<'a>(parsed: &Parsed<'a>) -> Result<ServerMessage<'a>, MessageError> {
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
    if message_type == "rp-verified" {
        let verified = data.and_then(|data| data.fields()).and_then(verified);
        return Ok(verified.map_or(ServerMessage::Other(message_type), ServerMessage::Verified));
    }
    if message_type == "rp-path" {
        let path = data.and_then(|data| data.fields()).and_then(path_names);
        return Ok(path.map_or(ServerMessage::Other(message_type), ServerMessage::Path));
    }
    if message_type == "rp-state" {
        let state = data.and_then(|data| data.fields()).and_then(state_word);
        return Ok(state.map_or(ServerMessage::Other(message_type), ServerMessage::State));
    }
    if !message_type.eq_ignore_ascii_case("data-sync") {
        return Ok(ServerMessage::Other(message_type));
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
    let (kind, message) = match event_type {
        "rp_full" => {
            let is_said =
                |said: Option<Value<'_, '_>>| said.and_then(|value| value.as_bool()).unwrap_or(false);
            let provisional = is_said(provisional);
            let mut findings = Findings::default();
            require_secrets(&mut findings, data, &path);
            let dataset = dump::read_at(parsed, data, &path, findings, Twice::NewerCounts);
            (
                MessageKind::Full,
                dataset.map(|dataset| {
                    let out_of_scope = is_said(out_of_scope) && dataset.environments.is_empty();
                    ServerMessage::Full { dataset, provisional, out_of_scope }
                }),
            )
        }
        "rp_patch" => {
            let dataset = dump::read_at(parsed, data, &path, findings, Twice::NewerCounts);
            (MessageKind::Patch, dataset.map(ServerMessage::Patch))
        }
        "patch" => (MessageKind::Change, change(parsed, data, &path, findings)),
        "full" => {
            let dataset = dump::read_environment(parsed, data, &path, findings);
            (MessageKind::Environment, dataset.map(ServerMessage::Environment))
        }
        other => return Ok(ServerMessage::OtherSync(other)),
    };
    message.map_err(|faults| MessageError { kind: Some(kind), faults })
}

/// Notes a fault where an item has no list of secrets: a server says what opens an environment, and nothing said must not
/// be taken for nothing opens it. What else is wrong is found by whoever reads the items.
fn require_secrets(findings: &mut Findings, data: Value<'_, '_>, path: &Path<'_>) {
    let items = data.fields().and_then(|fields| {
        pick!(fields => items: "items");
        items?.elements()
    });
    for (index, item) in items.into_iter().flatten().enumerate() {
        let Some(fields) = item.fields() else { continue };
        pick!(fields => secrets: "secrets");
        if secrets.is_none_or(|secrets| secrets.is_null()) {
            findings.required_list(secrets, &path.item("items", index), "secrets");
        }
    }
}

/// The number that is verified.
fn verified(fields: Fields<'_, '_>) -> Option<u64> {
    pick!(fields => verify: "verify");
    verify.and_then(|value| value.as_u64())
}

/// Where the sender stands.
fn state_word<'a>(fields: Fields<'_, 'a>) -> Option<&'a str> {
    pick!(fields => state: "state");
    state.and_then(|value| value.as_str())
}

/// The names of a path, if they are such.
fn path_names(fields: Fields<'_, '_>) -> Option<Vec<String>> {
    pick!(fields => path: "path");
    // One more than there may be is enough to see that there are too many.
    let names = path?.elements()?.take(PATH_MAX + 1);
    let names: Vec<&str> = names.map(|name| name.as_str()).collect::<Option<_>>()?;
    is_path(&names).then(|| names.into_iter().map(str::to_owned).collect())
}

fn change<'a>(
    parsed: &Parsed<'a>,
    data: Value<'_, 'a>,
    path: &Path<'_>,
    mut findings: Findings,
) -> Result<ServerMessage<'a>, DatasetError> {
    pick!(findings.object(data, path) => flags: "featureFlags", segments: "segments");
    let unknown = SegmentIndex::default();
    let mut left_out = LeftOut::default();
    let mut elements = findings.list(flags, path, "featureFlags").enumerate().peekable();
    let mut flags = Vec::with_capacity(elements.len());
    while let Some((index, element)) = elements.next() {
        let raw = parsed.raw(element, elements.peek().map(|(_, next)| *next));
        let faults = findings.faults();
        let flag = items::flag(&mut findings, &path.item("featureFlags", index), element, raw, &unknown);
        if findings.leave_out(faults, &mut left_out) {
            left_out.flags.push(dump::lost(element, None, "id"));
        } else {
            flags.extend(flag);
        }
    }
    let mut elements = findings.list(segments, path, "segments").enumerate().peekable();
    let mut segments = Vec::with_capacity(elements.len());
    while let Some((index, element)) = elements.next() {
        let raw = parsed.raw(element, elements.peek().map(|(_, next)| *next));
        let faults = findings.faults();
        let segment = items::segment(&mut findings, &path.item("segments", index), element, raw);
        if findings.leave_out(faults, &mut left_out) {
            left_out.segments.push(dump::lost(element, None, "id"));
        } else {
            segments.extend(segment);
        }
    }
    findings.finish()?;
    Ok(ServerMessage::Change { flags, segments, left_out })
}

fn fail<'a>(findings: Findings) -> Result<ServerMessage<'a>, MessageError> {
    match findings.finish() {
        Err(faults) => Err(faults.into()),
        // Only asked after a fault; should there be none, the message says nothing.
        Ok(_) => Ok(ServerMessage::Other("")),
    }
}
