//! Messages of a server to an SDK: `data-sync` with flags and segments, and pongs.
//!
//! Must not choose what is sent. The texts of flags and segments are shared between messages, so a message is written around
//! them in pieces. Its length is computed before, so that the header of the WebSocket frame can be written first and nothing
//! has to be moved.
//!
//! | to | message |
//! |---|---|
//! | server SDKs | [`SERVER_FULL`] or [`SERVER_PATCH`], flags, [`SEGMENTS`], segments, [`SERVER_END`] |
//! | client SDKs | [`append_client_start`], evaluated flags, [`CLIENT_END`] |
//! | all | [`PONG_FRAME`] |

use crate::wire::json::append_string;
use crate::wire::ws::frame::{MAX_HEADER_BYTES, append_text_header};

/// Begins a full payload for server SDKs, up to its first flag.
pub const SERVER_FULL: &str = r#"{"messageType":"data-sync","data":{"eventType":"full","featureFlags":["#;

/// Begins a patch for server SDKs, up to its first flag.
pub const SERVER_PATCH: &str = r#"{"messageType":"data-sync","data":{"eventType":"patch","featureFlags":["#;

/// Separates the flags from the segments.
pub const SEGMENTS: &str = r#"],"segments":["#;

/// Ends a message to server SDKs.
pub const SERVER_END: &str = "]}}";

/// Bytes of a full payload for server SDKs, given the bytes of its items with the commas between them.
pub const fn server_full_len(items: usize) -> usize {
    SERVER_FULL.len() + SEGMENTS.len() + SERVER_END.len() + items
}

/// The same for a patch.
pub const fn server_patch_len(items: usize) -> usize {
    SERVER_PATCH.len() + SEGMENTS.len() + SERVER_END.len() + items
}

/// The frame of a patch for server SDKs that holds nothing.
pub const EMPTY_PATCH_FRAME: &[u8] =
    b"\x81\x58{\"messageType\":\"data-sync\",\"data\":{\"eventType\":\"patch\",\"featureFlags\":[],\"segments\":[]}}";

/// The JSON of a flag or of a segment.
#[derive(Clone, Copy, Debug)]
pub enum ItemText<'a> {
    /// Of a flag.
    Flag(&'a str),
    /// Of a segment.
    Segment(&'a str),
}

/// The most bytes that the frame of a patch with one item needs in addition to the item.
pub const ITEM_PATCH_BYTES_MAX: usize = MAX_HEADER_BYTES + server_patch_len(0);

/// Appends the frame of a patch for server SDKs that holds one item.
pub fn append_item_patch(item: ItemText<'_>, out: &mut Vec<u8>) {
    let (flag, segment) = match item {
        ItemText::Flag(text) => (text, ""),
        ItemText::Segment(text) => ("", text),
    };
    append_text_header(server_patch_len(flag.len() + segment.len()), out);
    for part in [SERVER_PATCH, flag, SEGMENTS, segment, SERVER_END] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Appends a message to a client SDK, up to its first flag.
pub fn append_client_start(full: bool, user_key_id: &str, out: &mut Vec<u8>) {
    let kind = if full { "full" } else { "patch" };
    out.extend_from_slice(br#"{"messageType":"data-sync","data":{"eventType":""#);
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(br#"","userKeyId":"#);
    append_string(user_key_id, out);
    out.extend_from_slice(br#","featureFlags":["#);
}

/// Ends a message to a client SDK.
pub const CLIENT_END: &str = "]}}";

/// The answer to a ping.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ws::frame::text_frame;

    #[test]
    fn the_empty_patch_frame_is_what_would_be_written() {
        let message = [SERVER_PATCH, SEGMENTS, SERVER_END].concat();
        assert_eq!(text_frame(message.as_bytes()), EMPTY_PATCH_FRAME);
    }

    #[test]
    fn the_pong_is_one_text_frame() {
        assert_eq!(PONG_FRAME, text_frame(PONG));
    }

    #[test]
    fn a_patch_of_one_item_is_one_frame() {
        for (item, flags, segments) in
            [(ItemText::Flag("{}"), "[{}]", "[]"), (ItemText::Segment("{}"), "[]", "[{}]")]
        {
            let message = format!(
                r#"{{"messageType":"data-sync","data":{{"eventType":"patch","featureFlags":{flags},"segments":{segments}}}}}"#
            );
            let mut frame = Vec::new();
            append_item_patch(item, &mut frame);
            assert_eq!(frame, text_frame(message.as_bytes()));
            assert!(frame.len() <= ITEM_PATCH_BYTES_MAX + 2);
        }
    }

    #[test]
    fn a_message_to_a_client_sdk_is_json() {
        for (full, kind) in [(true, "full"), (false, "patch")] {
            let mut message = Vec::new();
            append_client_start(full, "a\"b", &mut message);
            message.extend_from_slice(CLIENT_END.as_bytes());
            assert_eq!(
                serde_json::from_slice::<serde_json::Value>(&message).unwrap(),
                serde_json::json!({
                    "messageType": "data-sync",
                    "data": { "eventType": kind, "userKeyId": "a\"b", "featureFlags": [] },
                })
            );
        }
    }
}
