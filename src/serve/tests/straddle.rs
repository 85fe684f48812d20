//! Frames that lie across the end of the reactor's shared buffer, with every read filling it to the last byte.

use super::*;
use crate::net::io::SHARED_BUFFER_BYTES;

/// A frame of a client with a mask that tells its four bytes apart.
fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x11, 0x22, 0x44, 0x88];
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..126 => bytes.push(0x80 | len as u8),
        len @ 126..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// Sends `bytes` to an echo in reads that fill the buffer, and returns the payloads that came back.
fn echoed(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut bench = Bench::new(|options| options.echo_path = Some("/echo".into()));
    let wire = Fake::default();
    wire.give_room(usize::MAX);
    let key = bench.io.insert(wire.clone(), Origin(0), &mut bench.server);
    let upgrade = b"GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    bench.receive(key, &wire, upgrade);
    assert!(std::mem::take(&mut wire.0.borrow_mut().written).starts_with(b"HTTP/1.1 101 "));
    let mut buffer = vec![0; SHARED_BUFFER_BYTES];
    for portion in bytes.chunks(SHARED_BUFFER_BYTES) {
        wire.0.borrow_mut().incoming.push_back(portion.to_vec());
        bench.io.readable(key, false, &mut buffer, &mut bench.server);
        bench.turns();
        // What is left in the buffer from one read must not matter to the next.
        buffer.fill(0xEE);
    }
    wire.frames()
}

#[test]
fn a_frame_that_begins_before_the_end_of_the_buffer_and_ends_behind_it_is_whole() {
    for len in
        [0, 1, 3, 125, 126, 127, 4000, 65_535, 65_536, SHARED_BUFFER_BYTES - 14, SHARED_BUFFER_BYTES + 9]
    {
        let payload: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        // The last byte of the buffer is this one of the frame: every byte of the header, and some of the payload.
        for last in (1..=20).chain([125, 4000]) {
            let lead = vec![b'x'; SHARED_BUFFER_BYTES - last - 14];
            let bytes =
                [client_frame(0x82, &lead), client_frame(0x82, &payload), client_frame(0x81, b"behind")]
                    .concat();
            let back = echoed(&bytes);
            assert_eq!(back.len(), 3, "{len} bytes, {last} of the frame in the buffer");
            assert!(back == [lead, payload.clone(), b"behind".to_vec()], "{len} bytes, {last} in the buffer");
        }
    }
}

#[test]
fn fragments_and_pings_across_the_end_of_the_buffer_are_put_together() {
    let text = "Ein Zeichen aus mehreren Bytes: 𝄞 é €.".repeat(50).into_bytes();
    for last in 1..30 {
        let lead = vec![b'x'; SHARED_BUFFER_BYTES - last - 14];
        let (first, rest) = text.split_at(33 + last % 4);
        let (second, third) = rest.split_at(rest.len() / 2);
        let bytes = [
            client_frame(0x82, &lead),
            client_frame(0x01, first),
            client_frame(0x89, b"ping"),
            client_frame(0x00, second),
            client_frame(0x80, third),
        ]
        .concat();
        assert!(echoed(&bytes) == [lead, b"ping".to_vec(), text.clone()], "{last} in the buffer");
    }
}
