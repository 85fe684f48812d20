//! What an SDK does with a connection: the upgrade, its messages, and a plain store of what it was sent.

use std::collections::BTreeMap;

use featbit_agent::model::timestamp::parse_iso8601_ms;
use featbit_agent::model::user::User;
use serde_json::{Value, json};

use crate::rng::Rng;
use crate::world::{Content, USERS};

/// A `data-sync` message, taken apart without the agent's help.
pub struct DataSync {
    pub full: bool,
    pub user_key: Option<String>,
    /// Whether it is a segment, its id (a client's flag: its key), version and text.
    pub items: Vec<(bool, String, i64, String)>,
}

const PREFIX: &str = r#"{"messageType":"data-sync","data":{"eventType":""#;

impl DataSync {
    /// Every byte outside of the items is compared with what FeatBit writes.
    pub fn parse(text: &str) -> Self {
        let value: Value = serde_json::from_str(text).expect("a message is JSON");
        let mut rest = text.strip_prefix(PREFIX).unwrap_or_else(|| panic!("no data-sync: {text:.200}"));
        let (kind, after) = rest.split_once('"').expect("an event type");
        rest = after.strip_prefix(',').expect("a comma");
        let user_key = value["data"].get("userKeyId").map(|key| key.as_str().expect("a key").to_owned());
        if user_key.is_some() {
            rest = rest.strip_prefix(r#""userKeyId":"#).expect("the user's key comes next");
            rest = &rest[value_end(rest)..];
            rest = rest.strip_prefix(',').expect("a comma");
        }
        let mut items = Vec::new();
        rest = rest.strip_prefix(r#""featureFlags":["#).expect("flags");
        rest = take_items(rest, false, user_key.is_some(), &mut items);
        if user_key.is_none() {
            rest = rest.strip_prefix(r#","segments":["#).expect("segments");
            rest = take_items(rest, true, false, &mut items);
        }
        assert_eq!(rest, "}}");
        let full = match kind {
            "full" => true,
            "patch" => false,
            other => panic!("event type {other}"),
        };
        Self { full, user_key, items }
    }
}

fn take_items<'t>(
    mut rest: &'t str,
    is_segment: bool,
    evaluated: bool,
    items: &mut Vec<(bool, String, i64, String)>,
) -> &'t str {
    while !rest.starts_with(']') {
        let (raw, after) = rest.split_at(value_end(rest));
        let item: Value = serde_json::from_str(raw).expect("an item is JSON");
        let id = item["id"].as_str().expect("an id").to_owned();
        let version_ms = if evaluated {
            item["timestamp"].as_i64().expect("a timestamp")
        } else {
            parse_iso8601_ms(item["updatedAt"].as_str().expect("a time")).expect("a time")
        };
        items.push((is_segment, id, version_ms, raw.to_owned()));
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    &rest[1..]
}

/// Where the JSON object or string that `text` begins with ends.
fn value_end(text: &str) -> usize {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        if depth == 0 && !quoted && matches!(byte, b'"' | b'}' | b']') {
            return at + 1;
        }
    }
    panic!("an unfinished value: {text:.100}")
}

/// The data of an SDK; outlives its connections.
#[derive(Clone, Debug, Default)]
pub struct Store(pub Content);

impl Store {
    /// Takes a message in: of a patch what is newer (server), or not older (browser).
    pub fn apply(&mut self, message: &DataSync, evaluated: bool) {
        if message.full {
            self.0.clear();
        }
        for (is_segment, id, version_ms, raw) in &message.items {
            let key = (*is_segment, id.clone());
            let takes = match self.0.get(&key) {
                None => true,
                Some((old_ms, _)) if evaluated => version_ms >= old_ms,
                Some((old_ms, _)) => version_ms > old_ms,
            };
            if takes {
                self.0.insert(key, (*version_ms, raw.clone()));
            }
        }
    }

    /// The timestamp it asks with.
    pub fn version_ms(&self) -> i64 {
        self.0.values().map(|(version_ms, _)| *version_ms).max().unwrap_or(0)
    }
}

pub fn user_json(user: usize) -> Value {
    json!({"keyId": USERS[user], "name": null, "customizedProperties": [{"name": "group", "value": group(user)}]})
}

pub fn user(user: usize) -> User {
    User::new(USERS[user], None, &[("group", Some(group(user)))]).expect("a small user")
}

fn group(user: usize) -> &'static str {
    ["g0", "g1"][user % 2]
}

/// A masked frame.
pub fn frame(rng: &mut Rng, first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
        len => {
            out.push(0x80 | 126);
            out.extend((len as u16).to_be_bytes());
        }
    }
    let mask = (rng.next() as u32).to_be_bytes();
    out.extend(mask);
    out.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    out
}

/// A text message in one frame, or in two with a ping between.
pub fn message(rng: &mut Rng, text: &str) -> Vec<u8> {
    if !rng.percent(10) || text.len() < 2 {
        return frame(rng, 0x81, text.as_bytes());
    }
    let (first, second) = text.as_bytes().split_at(1 + rng.below(text.len() - 1));
    let mut out = frame(rng, 0x01, first);
    out.extend(frame(rng, 0x80, second));
    out
}

/// What the server sent, frame by frame.
#[derive(Debug, Default)]
pub struct Received {
    bytes: Vec<u8>,
    pub upgraded: bool,
    /// An answer that is no upgrade.
    pub http_error: Option<String>,
}

/// A frame of the server.
pub enum Frame {
    Text(String),
    Pong,
    Close(Option<u16>),
}

impl Received {
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn next(&mut self) -> Option<Frame> {
        if !self.upgraded {
            let end = self.bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
            let head = String::from_utf8(self.bytes.drain(..end + 4).collect()).expect("a head is text");
            if !head.starts_with("HTTP/1.1 101 ") {
                self.http_error = Some(head);
                self.bytes.clear();
                return None;
            }
            assert!(head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
            self.upgraded = true;
        }
        let &[first, second, ref after @ ..] = &self.bytes[..] else { return None };
        assert_eq!(second & 0x80, 0, "a server's frame has no mask");
        let (header, length) = match (second, after) {
            (126, &[a, b, ..]) => (4, usize::from(u16::from_be_bytes([a, b]))),
            (127, &[a, b, c, d, e, f, g, h, ..]) => {
                (10, u64::from_be_bytes([a, b, c, d, e, f, g, h]) as usize)
            }
            (126 | 127, _) => return None,
            (length, _) => (2, usize::from(length)),
        };
        if self.bytes.len() < header + length {
            return None;
        }
        let payload = self.bytes[header..header + length].to_vec();
        self.bytes.drain(..header + length);
        Some(match first {
            0x81 => Frame::Text(String::from_utf8(payload).expect("a text is UTF-8")),
            0x8A => Frame::Pong,
            0x88 => Frame::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code))),
            other => panic!("a frame of type {other:#x}"),
        })
    }
}

/// The items a connection was sent, so that nothing is sent twice and no item goes back.
#[derive(Debug, Default)]
pub struct Seen(BTreeMap<(bool, String), (i64, String)>);

impl Seen {
    /// `repeats`: the SDK has asked again, and may be answered with what was on its way already.
    pub fn take(&mut self, message: &DataSync, repeats: bool) {
        if message.full {
            self.0.clear();
        }
        for (is_segment, id, version_ms, raw) in &message.items {
            let key = (*is_segment, id.clone());
            if let Some((old_ms, old)) = self.0.get(&key) {
                assert!(version_ms >= old_ms, "{id} went back from {old_ms} to {version_ms} by a patch");
                let evaluated = message.user_key.is_some();
                // A client's flag is sent again when a segment has changed, and may evaluate to the same.
                assert!(repeats || evaluated || old != raw, "{id} was pushed twice: {raw:.200}");
            }
            self.0.insert(key, (*version_ms, raw.clone()));
        }
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}
