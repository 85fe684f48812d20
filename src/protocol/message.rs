//! Messages that SDKs send on a stream: `{"messageType": string, "data": any}`.
//!
//! Must not answer or judge who may send what: a server SDK's message is parsed like a client's. Whatever is not
//! understood is ignored with a reason, never an error: the connection stays open, as with FeatBit's server.

use super::json::{Cursor, Kind, NotJson, RawText};
use super::user::{self, UserFault};
use crate::model::user::User;

/// The answer to a ping, word for word.
pub const PONG: &[u8] = br#"{"messageType":"pong","data":{}}"#;

/// [`PONG`] as a whole WebSocket frame.
pub const PONG_FRAME: &[u8] = &{
    assert!(PONG.len() < 126);
    let mut frame = [0; PONG.len() + 2];
    frame[0] = 0x81;
    frame[1] = PONG.len() as u8;
    let (_, payload) = frame.split_at_mut(2);
    payload.copy_from_slice(PONG);
    frame
};

/// A message, as far as the agent cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// To be answered with [`PONG`].
    Ping,
    /// To be answered with the same text.
    Echo,
    /// A request for flags.
    DataSync(DataSync),
    /// The status of a relay agent, which an agent takes note of and does not answer.
    RelayStatus,
    /// Nothing to do.
    Ignored(IgnoreReason),
}

/// A request for everything that changed since a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSync {
    /// The newest `updatedAt` that the SDK has, in Unix milliseconds; 0 asks for everything.
    pub timestamp_ms: i64,
    /// The user to evaluate for: only client SDKs send one, and one that is not valid counts as none.
    pub user: Option<User>,
    /// There is none because it has more custom properties than allowed.
    pub user_is_too_large: bool,
}

/// Why a message is ignored; for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IgnoreReason {
    /// It is not JSON.
    NotJson,
    /// It is no object, or lacks a `messageType` that is a string, or `data`.
    NoEnvelope,
    /// Its type is not one of those known.
    UnknownType,
    /// It is a request for flags whose `data` is no object or whose `timestamp` is no number.
    BadRequest,
}

impl IgnoreReason {
    /// A name for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            IgnoreReason::NotJson => "not_json",
            IgnoreReason::NoEnvelope => "no_envelope",
            IgnoreReason::UnknownType => "unknown_type",
            IgnoreReason::BadRequest => "bad_request",
        }
    }
}

impl From<NotJson> for IgnoreReason {
    fn from(_: NotJson) -> Self {
        IgnoreReason::NotJson
    }
}

/// Parses a message, text or binary. A user may have up to `properties_max` custom properties.
pub fn parse(message: &[u8], properties_max: usize) -> Incoming {
    // What the SDKs send every few seconds, word for word: Node, browser, Java; Rust, .NET; Go; Python.
    match message {
        br#"{"messageType":"ping","data":null}"#
        | br#"{"messageType":"ping","data":{}}"#
        | br#"{"messageType":"ping","data":{"timestamp":0}}"#
        | br#"{"messageType": "ping", "data": null}"# => Incoming::Ping,
        _ => parse_any(message, properties_max).unwrap_or_else(Incoming::Ignored),
    }
}

fn parse_any(message: &[u8], properties_max: usize) -> Result<Incoming, IgnoreReason> {
    let text = simdutf8::basic::from_utf8(message).map_err(|_| IgnoreReason::NotJson)?;
    if let Some(asked) = usual_data_sync(text, properties_max) {
        return Ok(Incoming::DataSync(asked));
    }
    let envelope = Envelope::parse(text)?;
    let (Some(message_type), Some(data)) = (envelope.message_type, envelope.data) else {
        return Err(IgnoreReason::NoEnvelope);
    };
    if message_type.is_in_any_case("data-sync") {
        data_sync(&mut Cursor::new(data), properties_max).map(Incoming::DataSync)
    } else if message_type.is_in_any_case("ping") {
        Ok(Incoming::Ping)
    } else if message_type.is_in_any_case("echo") {
        Ok(Incoming::Echo)
    } else if message_type.is_in_any_case("rp-agent-status") {
        Ok(Incoming::RelayStatus)
    } else {
        Err(IgnoreReason::UnknownType)
    }
}

/// The two members of every message. The last of several of one name wins, as in .NET.
#[derive(Default)]
struct Envelope<'t> {
    /// `None` also if it is no string.
    message_type: Option<RawText<'t>>,
    data: Option<&'t str>,
}

impl<'t> Envelope<'t> {
    fn parse(text: &'t str) -> Result<Self, IgnoreReason> {
        let mut cursor = Cursor::new(text);
        let mut envelope = Envelope::default();
        if cursor.kind()? != Kind::Object {
            cursor.skip()?;
            cursor.end()?;
            return Err(IgnoreReason::NoEnvelope);
        }
        cursor.object(|cursor, name| {
            if name.is("messageType") {
                envelope.message_type = if cursor.kind()? == Kind::Text {
                    Some(cursor.string()?)
                } else {
                    cursor.skip()?;
                    None
                };
            } else {
                let value = cursor.skip()?;
                if name.is("data") {
                    envelope.data = Some(value);
                }
            }
            Ok::<(), NotJson>(())
        })?;
        cursor.end()?;
        Ok(envelope)
    }
}

/// A request for flags whose members stand as most SDKs write them: its `data` need not be skipped before it is read.
/// Whatever else it may be is left to the long way.
fn usual_data_sync(text: &str, properties_max: usize) -> Option<DataSync> {
    const START: &str = r#"{"messageType":"data-sync","data":"#;
    if !text.starts_with(START) {
        return None;
    }
    let mut cursor = Cursor::inside_object(text, START.len());
    let asked = data_sync(&mut cursor, properties_max).ok()?;
    cursor.end_of_object().ok()?;
    Some(asked)
}

/// `data` of a request for flags. Names are compared as they are, those within the user in either case.
fn data_sync(cursor: &mut Cursor<'_>, properties_max: usize) -> Result<DataSync, IgnoreReason> {
    if cursor.kind()? != Kind::Object {
        return Err(IgnoreReason::BadRequest);
    }
    let mut timestamp_ms = Some(0);
    let mut user = Err(UserFault::Blank);
    cursor.object(|cursor, name| {
        if name.is("timestamp") {
            timestamp_ms = if cursor.kind()? == Kind::Number {
                // As .NET's `TryGetInt64`: what is no integer literal of 64 bits counts as 0.
                Some(cursor.number()?.parse().unwrap_or(0))
            } else {
                cursor.skip()?;
                None
            };
        } else if name.is("user") {
            user = user::read(cursor, properties_max)?;
        } else {
            cursor.skip()?;
        }
        Ok::<(), NotJson>(())
    })?;
    let timestamp_ms = timestamp_ms.ok_or(IgnoreReason::BadRequest)?;
    let user_is_too_large = user == Err(UserFault::TooManyProperties);
    Ok(DataSync { timestamp_ms, user: user.ok(), user_is_too_large })
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
