//! Hostile framing that conformance suites lack, over real sockets: splits at every byte, frames across the reactor's
//! shared buffer, odd masks, every first byte, every wrong length, control frames at every place in a message.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::agent::{Agent, Builder};
use common::dataset::{Dataset, Environment, boolean_flag};
use common::frames::{
    BINARY, CLOSE, CONTINUATION, MASK, PING, PONG, RawSocket, TEXT, fragment, frame, upgrade_request, whole,
};
use common::http::Connection;
use common::raw::{connect, request};
use common::rng::Rng;

/// Bytes of the buffer into which a reactor reads from all its connections.
const SHARED_BUFFER_BYTES: usize = 128 * 1024;

/// An agent of one reactor: once it has answered one connection, it has read what came before on another.
fn agent() -> Agent {
    let data = Dataset::of([Environment::new(1).flag(boolean_flag("flag"))]);
    // Where a frame is refused that has not come whole, no close frame of this side is found behind it.
    Builder::offline()
        .data_file(&data)
        .env("EchoPath", "/echo")
        .env("Reactors", "1")
        .env("Limits__CloseSeconds", "100ms")
        .start()
}

fn echo(agent: &Agent) -> RawSocket {
    RawSocket::upgrade(agent.port(), "/echo", &[])
}

/// Comes back when the reactor has read what was sent before on other connections.
fn read_so_far(probe: &mut Connection) {
    probe.send(&request("GET", "/health/liveness", &[], None)).unwrap();
    probe.read_response(false).unwrap().expect(200);
}

fn expect_frame(socket: &mut RawSocket, opcode: u8, payload: &[u8], what: &str) {
    let frame = socket.next();
    assert_eq!(frame.opcode, opcode, "{what}");
    assert!(frame.payload == payload, "{what}: {} bytes came back otherwise", payload.len());
}

/// Messages and control frames whose headers have every form, and what comes back for them.
fn conversation() -> (Vec<u8>, Vec<(u8, Vec<u8>)>) {
    let long = "é".repeat(100).into_bytes();
    let sent = [
        whole(TEXT, b"short"),
        whole(PING, b"ping"),
        whole(BINARY, b""),
        whole(TEXT, &long),
        whole(PONG, b"nobody asked"),
        fragment(TEXT, &long[..3]),
        whole(PING, b""),
        fragment(CONTINUATION, b""),
        whole(CONTINUATION, &long[3..]),
        whole(CLOSE, &[0x0F, 0xA0, b'b', b'y', b'e']),
    ];
    let back = vec![
        (TEXT, b"short".to_vec()),
        (PONG, b"ping".to_vec()),
        (BINARY, Vec::new()),
        (TEXT, long.clone()),
        (PONG, Vec::new()),
        (TEXT, long),
        (CLOSE, vec![0x0F, 0xA0]),
    ];
    (sent.concat(), back)
}

#[test]
fn a_conversation_may_be_split_at_every_byte() {
    let agent = agent();
    let mut probe = connect(&agent);
    let (frames, back) = conversation();
    let mut bytes = upgrade_request("/echo", &[]);
    bytes.extend(frames);
    for at in 1..bytes.len() {
        let (before, after) = bytes.split_at(at);
        let mut socket = RawSocket::connect(agent.port());
        socket.send(before);
        read_so_far(&mut probe);
        socket.send(after);
        assert!(socket.read_head().starts_with("HTTP/1.1 101 "), "split at {at}");
        for (opcode, payload) in &back {
            expect_frame(&mut socket, *opcode, payload, &format!("split at {at}"));
        }
        assert_eq!(socket.next_or_end().unwrap(), None);
    }
}

#[test]
fn a_conversation_may_come_in_portions_of_any_size() {
    let agent = agent();
    let mut probe = connect(&agent);
    let (frames, back) = conversation();
    for size in 1..40 {
        let mut socket = echo(&agent);
        for portion in frames.chunks(size) {
            socket.send(portion);
            read_so_far(&mut probe);
        }
        for (opcode, payload) in &back {
            expect_frame(&mut socket, *opcode, payload, &format!("portions of {size}"));
        }
        assert_eq!(socket.next_or_end().unwrap(), None);
    }
}

/// Sends all frames without a pause while another thread reads, so that reads fill the shared buffer and end anywhere
/// within a frame.
#[test]
fn frames_may_lie_across_the_end_of_the_shared_buffer() {
    let agent = agent();
    let mut rng = Rng::new(11);
    let sizes: Vec<usize> = [0, 1, 125, 126, 127, 65_535, 65_536]
        .into_iter()
        .chain(SHARED_BUFFER_BYTES - 20..SHARED_BUFFER_BYTES + 4)
        .chain([2 * SHARED_BUFFER_BYTES - 14, 2 * SHARED_BUFFER_BYTES, 3 * SHARED_BUFFER_BYTES + 7])
        .collect();
    for lead in 0..15 {
        // A short message first moves everything that follows by one byte more each time.
        let mut messages = vec![(TEXT, vec![b'x'; lead])];
        for &size in &sizes {
            let opcode = *rng.pick(&[TEXT, BINARY, PING]);
            let size = if opcode == PING { size.min(125) } else { size };
            let letter = b'a' + rng.below(26) as u8;
            messages.push((opcode, vec![letter; size]));
        }
        let mut bytes = Vec::new();
        for (index, (opcode, payload)) in messages.iter().enumerate() {
            let mask = if index % 3 == 0 { [0; 4] } else { MASK };
            if *opcode != PING && index % 4 == 1 && payload.len() > 1 {
                let (first, rest) = payload.split_at(payload.len() / 2);
                bytes.extend(frame(*opcode, Some(mask), first));
                bytes.extend(frame(0x80 | CONTINUATION, Some(mask), rest));
            } else {
                bytes.extend(frame(0x80 | opcode, Some(mask), payload));
            }
        }
        let mut socket = echo(&agent);
        let mut writer = socket.clone_for_writing();
        std::thread::scope(|scope| {
            scope.spawn(|| writer.send(&bytes));
            for (opcode, payload) in &messages {
                let back = if *opcode == PING { PONG } else { *opcode };
                expect_frame(&mut socket, back, payload, &format!("lead {lead}"));
            }
        });
    }
}

#[test]
fn masks_of_zeros_and_ones_are_masks() {
    let agent = agent();
    let mut socket = echo(&agent);
    let masks: Vec<[u8; 4]> = (0..16u8)
        .map(|bits| [0, 1, 2, 3].map(|place| if bits >> place & 1 == 1 { 0xFF } else { 0 }))
        .chain([[0, 0, 0, 1], [0x80, 0, 0, 0], MASK])
        .collect();
    for len in (0..40).chain([125, 126, 127, 1000, 65_535, 65_536]) {
        let text: Vec<u8> = (0..len).map(|at| b'a' + (at % 26) as u8).collect();
        let binary: Vec<u8> = (0..len).map(|at| (at * 7) as u8).collect();
        for mask in &masks {
            for (opcode, payload) in [(TEXT, &text), (BINARY, &binary)] {
                socket.send(&frame(0x80 | opcode, Some(*mask), payload));
                expect_frame(&mut socket, opcode, payload, &format!("{mask:?}"));
            }
        }
    }
    // A message whose fragments have masks of their own.
    let parts: [(&[u8], [u8; 4]); 3] =
        [(b"zero ", [0; 4]), (b"ones ", [0xFF; 4]), (b"both", [0xFF, 0, 0, 0xFF])];
    for (index, (part, mask)) in parts.iter().enumerate() {
        let head = [TEXT, CONTINUATION, 0x80 | CONTINUATION][index];
        socket.send(&frame(head, Some(*mask), part));
    }
    socket.expect_text("zero ones both");
}

/// All 256 first bytes, masked and not: what the standard defines is taken, everything else is a protocol error.
#[test]
fn every_first_byte_is_accepted_or_refused_as_the_standard_says() {
    let agent = agent();
    for first in 0..=255u8 {
        for mask in [Some(MASK), None] {
            let mut socket = echo(&agent);
            let (opcode, is_final) = (first & 0x0F, first & 0x80 != 0);
            socket.send(&frame(first, mask, b""));
            let legal = mask.is_some()
                && first & 0x70 == 0
                && (matches!(opcode, TEXT | BINARY) || is_final && matches!(opcode, CLOSE | PING | PONG));
            if !legal {
                assert_eq!(socket.expect_close().0, 1002, "{first:#04x}, mask {mask:?}");
                continue;
            }
            // What a legal frame brings, and that the connection goes on.
            let mut then = Vec::new();
            match (opcode, is_final) {
                (CLOSE, _) => {
                    assert_eq!(socket.expect_close_and_end().0, 1005);
                    continue;
                }
                (PING, _) => then.push((PONG, b"".to_vec())),
                (PONG, _) => {}
                (_, true) => then.push((opcode, b"".to_vec())),
                (_, false) => {
                    socket.send(&whole(CONTINUATION, b"end"));
                    then.push((opcode, b"end".to_vec()));
                }
            }
            socket.send(&whole(TEXT, b"next"));
            then.push((TEXT, b"next".to_vec()));
            for (opcode, payload) in then {
                expect_frame(&mut socket, opcode, &payload, &format!("{first:#04x}"));
            }
        }
    }
}

/// A header with a length in a form of the test's choice.
fn with_length(first: u8, form: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first, 0x80 | form];
    match form {
        126 => bytes.extend((length as u16).to_be_bytes()),
        _ => bytes.extend(length.to_be_bytes()),
    }
    bytes.extend(MASK);
    bytes
}

#[test]
fn lengths_in_a_longer_form_than_needed_and_impossible_ones_are_refused() {
    let agent = agent();
    let refused = |bytes: &[u8], code: u16, what: &str| {
        let mut socket = echo(&agent);
        socket.send(bytes);
        assert_eq!(socket.expect_close().0, code, "{what}");
    };
    for length in (0..126).step_by(5).chain([125]) {
        for (form, first) in [(126, 0x81), (127, 0x82), (126, 0x01)] {
            let mut bytes = with_length(first, form, length);
            bytes.extend(vec![0; length as usize]);
            refused(&bytes, 1002, &format!("{length} as {form}"));
        }
    }
    for length in [126, 127, 1000, 65_535] {
        refused(&with_length(0x82, 127, length), 1002, &format!("{length} in 64 bits"));
    }
    for length in [1 << 63, u64::MAX, 1 << 63 | 5, 1 << 63 | 70_000] {
        refused(&with_length(0x82, 127, length), 1002, &format!("{length} has the top bit"));
    }
    // Legal, and more than anybody takes: refused by its header alone.
    for length in [(1 << 63) - 1, 1 << 62, 1 << 32, 64 * 1024 * 1024 + 1] {
        refused(&with_length(0x82, 127, length), 1009, &format!("{length}"));
    }
    // Control frames have no longer forms at all.
    for opcode in [CLOSE, PING, PONG] {
        for form in [126, 127] {
            refused(&with_length(0x80 | opcode, form, 126), 1002, &format!("control frame of form {form}"));
        }
    }
}

#[test]
fn control_frames_may_come_at_every_place_in_a_fragmented_message() {
    const PARTS: usize = 6;
    let agent = agent();
    let mut socket = echo(&agent);
    let text = "µ and € and 𝄞, cut within characters".as_bytes();
    let parts: Vec<&[u8]> = text.chunks(text.len().div_ceil(PARTS)).collect();
    assert_eq!(parts.len(), PARTS);
    let head = |index: usize| {
        let opcode = if index == 0 { TEXT } else { CONTINUATION };
        if index + 1 == PARTS { 0x80 | opcode } else { opcode }
    };
    // Every choice of gaps before, between and after the fragments that have a ping or a pong.
    for places in 0..1u32 << (PARTS + 1) {
        let mut bytes = Vec::new();
        let mut pings = Vec::new();
        for gap in 0..=PARTS {
            if places >> gap & 1 == 1 {
                let payload = format!("{places} {gap}").into_bytes();
                bytes.extend(whole(if gap % 3 == 2 { PONG } else { PING }, &payload));
                if gap % 3 != 2 {
                    pings.push((gap, payload));
                }
            }
            if let Some(part) = parts.get(gap) {
                bytes.extend(frame(head(gap), Some(MASK), part));
            }
        }
        socket.send(&bytes);
        for (gap, payload) in &pings {
            if *gap < PARTS {
                expect_frame(&mut socket, PONG, payload, "a ping within");
            }
        }
        expect_frame(&mut socket, TEXT, text, "the message");
        if let Some((PARTS, payload)) = pings.last() {
            expect_frame(&mut socket, PONG, payload, "a ping behind");
        }
    }
    // A close frame anywhere within ends it: what was begun is never delivered.
    for gap in 1..PARTS {
        let mut socket = echo(&agent);
        let mut bytes: Vec<u8> = (0..gap).flat_map(|at| frame(head(at), Some(MASK), parts[at])).collect();
        bytes.extend(whole(CLOSE, &1000u16.to_be_bytes()));
        bytes.extend((gap..PARTS).flat_map(|at| frame(head(at), Some(MASK), parts[at])));
        socket.send(&bytes);
        assert_eq!(socket.expect_close_and_end().0, 1000, "close before fragment {gap}");
    }
}

/// Compression (sections 12 and 13 of the Autobahn testsuite) is not offered: no form of asking for it is accepted, and
/// a message that is marked as compressed is refused.
#[test]
fn compression_is_not_accepted_in_any_form() {
    let agent = agent();
    for offer in [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; server_max_window_bits=8, permessage-deflate",
        "permessage-bzip2",
        "x-webkit-deflate-frame",
        ";;,=",
    ] {
        let mut socket = RawSocket::connect(agent.port());
        socket.send(&upgrade_request("/echo", &[("Sec-WebSocket-Extensions", offer)]));
        let head = socket.read_head().to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101 ") && !head.contains("extensions"), "{offer}: {head}");
        socket.send(&whole(TEXT, b"plain"));
        socket.expect_text("plain");
        // "Hello" as the standard's example compresses it (RFC 7692 section 7.2.3.1).
        socket.send(&frame(0xC0 | TEXT, Some(MASK), &[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00]));
        assert_eq!(socket.expect_close().0, 1002, "{offer}");
    }
}
