//! Messages of an SDK on a stream: `{"messageType": string, "data": any}`.
//!
//! Must not decide which SDK may send which message: messages of server and client SDKs are parsed alike. A message that is
//! not understood is ignored, with a reason, and is no error: the connection stays open, as with FeatBit's server.

use super::json::{Cursor, Kind, NotJson, RawText};
use super::user::{self, UserFault};
use crate::model::user::User;

/// A message, as far as the agent uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromSdk {
    /// A ping, which is answered with a pong.
    Ping,
    /// An echo, which is answered with the same text.
    Echo,
    /// A request for flags.
    DataSync(SdkRequest),
    /// The status of a relay agent, which gets no answer.
    RelayStatus,
    /// A message that is ignored.
    Ignored(IgnoreReason),
}

/// `data-sync`: a request for the flags that changed since a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdkRequest {
    /// The newest version that the SDK has, in Unix milliseconds; 0 requests everything.
    pub timestamp_ms: i64,
    /// The user to evaluate for. Only client SDKs send one; an invalid one is ignored.
    pub user: Option<User>,
    /// Whether the user is ignored because it has more custom properties than allowed.
    pub user_is_too_large: bool,
}

/// Why a message is ignored; for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IgnoreReason {
    /// It is not JSON.
    NotJson,
    /// It is not an object with a string `messageType` and `data`.
    NoEnvelope,
    /// Its type is not one of those known.
    UnknownType,
    /// It is a request for flags without an object `data` that has a number `timestamp`.
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

impl FromSdk {
    /// Parses a message, text or binary. A user may have up to `properties_max` custom properties.
    pub fn parse(message: &[u8], properties_max: usize) -> Self {
        // The exact pings that the SDKs send every few seconds: Node, browser, Java; Rust, .NET; Go; Python.
        match message {
            br#"{"messageType":"ping","data":null}"#
            | br#"{"messageType":"ping","data":{}}"#
            | br#"{"messageType":"ping","data":{"timestamp":0}}"#
            | br#"{"messageType": "ping", "data": null}"# => FromSdk::Ping,
            _ => parse_any(message, properties_max).unwrap_or_else(FromSdk::Ignored),
        }
    }
}

fn parse_any(message: &[u8], properties_max: usize) -> Result<FromSdk, IgnoreReason> {
    let text = simdutf8::basic::from_utf8(message).map_err(|_| IgnoreReason::NotJson)?;
    if let Some(asked) = usual_data_sync(text, properties_max) {
        return Ok(FromSdk::DataSync(asked));
    }
    let envelope = Envelope::parse(text)?;
    let (Some(message_type), Some(data)) = (envelope.message_type, envelope.data) else {
        return Err(IgnoreReason::NoEnvelope);
    };
    if message_type.is_in_any_case("data-sync") {
        data_sync(&mut Cursor::new(data), properties_max).map(FromSdk::DataSync)
    } else if message_type.is_in_any_case("ping") {
        Ok(FromSdk::Ping)
    } else if message_type.is_in_any_case("echo") {
        Ok(FromSdk::Echo)
    } else if message_type.is_in_any_case("rp-agent-status") {
        Ok(FromSdk::RelayStatus)
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

/// Parses a request for flags whose members are in the order of most SDKs, so that its `data` need not be skipped before it
/// is read. `None` for every other message, which the general parser reads.
fn usual_data_sync(text: &str, properties_max: usize) -> Option<SdkRequest> {
    const START: &str = r#"{"messageType":"data-sync","data":"#;
    if !text.starts_with(START) {
        return None;
    }
    let mut cursor = Cursor::inside_object(text, START.len());
    let asked = data_sync(&mut cursor, properties_max).ok()?;
    cursor.end_of_object().ok()?;
    Some(asked)
}

/// Parses the `data` of a request for flags. Names are case-sensitive, except those within the user.
fn data_sync(cursor: &mut Cursor<'_>, properties_max: usize) -> Result<SdkRequest, IgnoreReason> {
    if cursor.kind()? != Kind::Object {
        return Err(IgnoreReason::BadRequest);
    }
    let mut timestamp_ms = Some(0);
    let mut user = Err(UserFault::Blank);
    cursor.object(|cursor, name| {
        if name.is("timestamp") {
            timestamp_ms = if cursor.kind()? == Kind::Number {
                // As .NET's `TryGetInt64`: anything but an integer literal of 64 bits is read as 0.
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
    Ok(SdkRequest { timestamp_ms, user: user.ok(), user_is_too_large })
}

#[cfg(test)]
mod tests;
