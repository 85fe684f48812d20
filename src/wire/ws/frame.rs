//! Frames that the server sends (RFC 6455 section 5).
//!
//! Must not fragment, mask or compress: a server's message is one unmasked frame with FIN set, so that its bytes can
//! be shared by every connection that gets it.

use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::close::CloseCode;

/// The longest header of a frame without mask, in bytes.
pub const MAX_HEADER_BYTES: usize = 10;

/// The longest payload of a control frame, in bytes (RFC 6455 section 5.5).
pub const MAX_CONTROL_PAYLOAD_BYTES: usize = 125;

/// Writes the header of an unmasked, final frame and returns how many bytes of `into` it takes: 2, 4 or 10.
pub fn header(opcode: OpCode, payload_len: usize, into: &mut [u8; MAX_HEADER_BYTES]) -> usize {
    into[0] = 0x80 | u8::from(opcode);
    match payload_len {
        0..=125 => {
            into[1] = payload_len as u8;
            2
        }
        126..=0xFFFF => {
            into[1] = 126;
            into[2..4].copy_from_slice(&(payload_len as u16).to_be_bytes());
            4
        }
        _ => {
            into[1] = 127;
            into[2..10].copy_from_slice(&(payload_len as u64).to_be_bytes());
            10
        }
    }
}

/// Appends the header of a text message of `payload_len` bytes.
pub fn append_text_header(payload_len: usize, out: &mut Vec<u8>) {
    let mut head = [0; MAX_HEADER_BYTES];
    let head_len = header(OpCode::Data(Data::Text), payload_len, &mut head);
    out.extend_from_slice(&head[..head_len]);
}

/// A whole frame with a copy of `payload`.
pub fn frame(opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let mut head = [0; MAX_HEADER_BYTES];
    let head_len = header(opcode, payload.len(), &mut head);
    let mut frame = Vec::with_capacity(head_len + payload.len());
    frame.extend_from_slice(&head[..head_len]);
    frame.extend_from_slice(payload);
    frame
}

/// A text message. `payload` must be UTF-8.
pub fn text_frame(payload: &[u8]) -> Vec<u8> {
    frame(OpCode::Data(Data::Text), payload)
}

/// A binary message.
pub fn binary_frame(payload: &[u8]) -> Vec<u8> {
    frame(OpCode::Data(Data::Binary), payload)
}

/// The pong for a ping with this payload, of which at most 125 bytes are sent.
pub fn pong_frame(payload: &[u8]) -> Vec<u8> {
    frame(OpCode::Control(Control::Pong), &payload[..payload.len().min(MAX_CONTROL_PAYLOAD_BYTES)])
}

/// A close frame with a code and a reason. The reason is cut to the 123 bytes that fit into a control frame.
pub fn close_frame(code: CloseCode, reason: &str) -> Vec<u8> {
    let mut end = reason.len().min(MAX_CONTROL_PAYLOAD_BYTES - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = Vec::with_capacity(2 + end);
    payload.extend_from_slice(&code.get().to_be_bytes());
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    frame(OpCode::Control(Control::Close), &payload)
}

/// The answer to a client's close frame: with the client's code, or without one if it gave none.
pub fn close_reply(code: Option<CloseCode>) -> Vec<u8> {
    match code {
        Some(code) => close_frame(code, ""),
        None => frame(OpCode::Control(Control::Close), b""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_their_shortest_form() {
        for (len, expected) in [
            (0usize, vec![0x81, 0]),
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (65_535, vec![0x81, 126, 0xFF, 0xFF]),
            (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut head = [0; MAX_HEADER_BYTES];
            let written = header(OpCode::Data(Data::Text), len, &mut head);
            assert_eq!(&head[..written], expected, "{len}");
        }
    }

    #[test]
    fn whole_frames() {
        assert_eq!(text_frame(b"Hello"), b"\x81\x05Hello");
        assert_eq!(binary_frame(b"\0\xFF"), b"\x82\x02\0\xFF");
        assert_eq!(pong_frame(b"Hello"), b"\x8A\x05Hello");
        assert_eq!(close_frame(CloseCode::new(4003), "no"), b"\x88\x04\x0F\xA3no");
        assert_eq!(close_reply(None), b"\x88\x00");
        assert_eq!(close_reply(Some(CloseCode::NORMAL)), b"\x88\x02\x03\xE8");
    }

    #[test]
    fn control_payloads_never_exceed_125_bytes() {
        let long = "é".repeat(100);
        let close = close_frame(CloseCode::GOING_AWAY, &long);
        assert_eq!(close[1], 124, "cut at a character, not within one");
        assert!(std::str::from_utf8(&close[4..]).is_ok());
        assert_eq!(pong_frame(&[7; 300])[1], 125);
    }
}
