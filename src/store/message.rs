//! The texts around the items of a `data-sync` message, and its WebSocket frame.
//!
//! Must not choose what is sent. Messages are written straight into their buffer: their length is known
//! before, so that the frame header comes first and nothing is moved.

use tungstenite::protocol::frame::coding::{Data, OpCode};

use super::item::{FlagData, SegmentData, Served};
use super::table::Entry;
use crate::wire::ws::frame::{MAX_HEADER_BYTES, header};

/// What a message begins with, up to its first flag.
pub(super) const SERVER_FULL: &str =
    r#"{"messageType":"data-sync","data":{"eventType":"full","featureFlags":["#;
/// The same for a patch.
pub(super) const SERVER_PATCH: &str =
    r#"{"messageType":"data-sync","data":{"eventType":"patch","featureFlags":["#;
/// What stands between the flags and the segments.
pub(super) const SEGMENTS: &str = r#"],"segments":["#;
/// What ends a message to a server SDK.
pub(super) const SERVER_END: &str = "]}}";

/// Bytes of a full message to a server SDK whose items take `items` bytes.
pub(super) const fn full_len(items: usize) -> usize {
    SERVER_FULL.len() + SEGMENTS.len() + SERVER_END.len() + items
}

/// A patch that holds nothing, as a whole WebSocket frame.
pub(super) const EMPTY_PATCH_FRAME: &[u8] =
    b"\x81\x58{\"messageType\":\"data-sync\",\"data\":{\"eventType\":\"patch\",\"featureFlags\":[],\"segments\":[]}}";

/// Appends the header of an unmasked text frame whose message has `len` bytes.
pub(super) fn append_header(len: usize, out: &mut Vec<u8>) {
    let mut bytes = [0; MAX_HEADER_BYTES];
    let used = header(OpCode::Data(Data::Text), len, &mut bytes);
    out.extend_from_slice(&bytes[..used]);
}

/// A flag or a segment on its way to server SDKs or to other agents.
#[derive(Clone, Copy)]
pub(super) enum Changed<'a> {
    Flag(&'a Entry<FlagData>),
    Segment(&'a Entry<SegmentData>),
}

/// Whose text of an item goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Words {
    /// That for SDKs.
    Served,
    /// The source's own, for other agents.
    Own,
}

impl<'a> Changed<'a> {
    /// The item's JSON; `None` if SDKs get nothing of it.
    pub fn text(self, words: Words) -> Option<&'a str> {
        match (self, words) {
            (Changed::Flag(flag), Words::Served) => flag.served_text(),
            (Changed::Segment(segment), Words::Served) => segment.served_text(),
            (Changed::Flag(flag), Words::Own) => Some(&flag.own().raw),
            (Changed::Segment(segment), Words::Own) => Some(&segment.own().raw),
        }
    }

    /// Whether SDKs get anything of it.
    pub fn is_served(self) -> bool {
        self.text(Words::Served).is_some()
    }

    /// Whether SDKs get the source's own words.
    pub fn is_as_it_is(self) -> bool {
        let (Changed::Flag(Entry { served, .. }) | Changed::Segment(Entry { served, .. })) = self;
        matches!(served, Served::AsItIs)
    }

    /// The version that server SDKs are told.
    pub fn version_ms(self) -> i64 {
        match self {
            Changed::Flag(flag) => flag.version_ms,
            Changed::Segment(segment) => segment.version_ms,
        }
    }

    /// `updatedAt` as the source gave it, in Unix milliseconds.
    pub fn updated_at_ms(self) -> i64 {
        match self {
            Changed::Flag(flag) => flag.own().updated_at_ms,
            Changed::Segment(segment) => segment.own().updated_at_ms,
        }
    }
}

/// Appends the frame of a patch that holds one item alone, of which `text` is the JSON.
fn append_frame(item: Changed<'_>, text: &str, out: &mut Vec<u8>) {
    append_header(SERVER_PATCH.len() + text.len() + SEGMENTS.len() + SERVER_END.len(), out);
    let (before, after) = match item {
        Changed::Flag(_) => (text, ""),
        Changed::Segment(_) => ("", text),
    };
    for part in [SERVER_PATCH, before, SEGMENTS, after, SERVER_END] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// The frames of one-item patches, in the given order.
pub(super) fn frames(changed: &[Changed<'_>], words: Words) -> Vec<u8> {
    let around = MAX_HEADER_BYTES + SERVER_PATCH.len() + SEGMENTS.len() + SERVER_END.len();
    let texts = || changed.iter().filter_map(|item| Some((*item, item.text(words)?)));
    let mut out = Vec::with_capacity(texts().map(|(_, text)| around + text.len()).sum());
    texts().for_each(|(item, text)| append_frame(item, text, &mut out));
    out
}

/// Appends a message to a client SDK up to its first flag.
pub(super) fn append_client_start(full: bool, user_key_id: &str, out: &mut Vec<u8>) {
    let kind = if full { "full" } else { "patch" };
    out.extend_from_slice(br#"{"messageType":"data-sync","data":{"eventType":""#);
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(br#"","userKeyId":"#);
    append_json_string(user_key_id, out);
    out.extend_from_slice(br#","featureFlags":["#);
}

/// What ends a message to a client SDK.
pub(super) const CLIENT_END: &[u8] = b"]}}";

/// Appends `text` as a JSON string.
pub(super) fn append_json_string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    // Nearly always all of it: looked through without leaving early, and copied at once.
    if text.bytes().fold(true, |plain, byte| plain & (byte >= 0x20) & (byte != b'"') & (byte != b'\\')) {
        out.extend_from_slice(text.as_bytes());
        return out.push(b'"');
    }
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_patch_frame_is_what_would_be_written() {
        let mut out = Vec::new();
        let message = [SERVER_PATCH, SEGMENTS, SERVER_END].concat();
        append_header(message.len(), &mut out);
        out.extend_from_slice(message.as_bytes());
        assert_eq!(out, EMPTY_PATCH_FRAME);
    }

    #[test]
    fn json_strings_read_back_as_they_were() {
        for text in ["", "plain", "\"\\/\u{0}\u{1f}\n\u{7f}", "客户 😀"] {
            let mut out = Vec::new();
            append_json_string(text, &mut out);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
