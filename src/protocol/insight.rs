//! Usage events: the body of `POST /api/public/insight/track`.
//!
//! Must not change, store or reject single events: SDKs send different forms, and events are forwarded unmodified. The body
//! must be JSON; events are counted as far as they are recognized.

use super::json::{Cursor, Kind, NotJson, RawText};

/// The header field in which an agent names itself to the server that it sends events to.
pub const SENDER_FIELD: &str = "X-FeatBit-User-Agent";

/// The name under which the agent of this instance sends events.
pub fn sender_name(instance: &str) -> String {
    format!("featbit-agent/{instance}")
}

/// Whether the agent of this instance has sent a request with this user agent.
pub fn is_sent_by(user_agent: &str, instance: &str) -> bool {
    user_agent.strip_prefix("featbit-agent/").is_some_and(|name| name == instance)
}

/// The number of events in a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events: the objects of the array.
    pub events: usize,
    /// Evaluations of flags, over all events.
    pub variations: usize,
    /// Custom metrics, over all events.
    pub metrics: usize,
}

/// The body is not JSON: 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;

impl Fault {
    /// The reason, for the body of the response.
    pub const fn reason(self) -> &'static str {
        "the body is not JSON"
    }
}

/// Checks that `body` is JSON and counts its events. A body that is no array of events is accepted, as by
/// FeatBit's server, with a count of zero.
pub fn check(body: &[u8]) -> Result<Counts, Fault> {
    let text = simdutf8::basic::from_utf8(body).map_err(|_| Fault)?;
    count(text).map_err(|NotJson| Fault)
}

fn count(text: &str) -> Result<Counts, NotJson> {
    let mut cursor = Cursor::new(text);
    let mut counts = Counts::default();
    if cursor.kind()? == Kind::Array {
        cursor.array(|cursor| {
            if cursor.kind()? != Kind::Object {
                return cursor.skip().map(drop);
            }
            counts.events += 1;
            cursor.object(|cursor, name| member(cursor, name, &mut counts))
        })?;
    } else {
        cursor.skip()?;
    }
    cursor.end()?;
    Ok(counts)
}

fn member(cursor: &mut Cursor<'_>, name: RawText<'_>, counts: &mut Counts) -> Result<(), NotJson> {
    let counter = if name.is_in_any_case("variations") {
        &mut counts.variations
    } else if name.is_in_any_case("metrics") {
        &mut counts.metrics
    } else {
        return cursor.skip().map(drop);
    };
    if cursor.kind()? != Kind::Array {
        return cursor.skip().map(drop);
    }
    cursor.array(|cursor| {
        *counter += 1;
        cursor.skip().map(drop)
    })
}

#[cfg(test)]
mod tests;
