//! Frames of a client and the messages made of them: in one buffer and byte by byte, the same must come out. Where nothing
//! is wrong with them, who only drops them finds the same close frame.
#![no_main]

use featbit_agent::wire::ws::close::CloseCode;
use featbit_agent::wire::ws::reader::{Event, Reader, Step};
use featbit_agent::wire::ws::rest::Rest;
use libfuzzer_sys::fuzz_target;

const MESSAGE_BYTES_MAX: usize = 1024;

#[derive(Debug, PartialEq)]
enum Seen {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
    Violation(u16),
}

/// Feeds `data` to a reader in portions of `portion` bytes, as a connection does.
fn read(data: &[u8], portion: usize) -> Vec<Seen> {
    let mut reader = Reader::new();
    let mut kept: Vec<u8> = Vec::new();
    let mut seen = Vec::new();
    for part in data.chunks(portion) {
        kept.extend_from_slice(part);
        loop {
            let held = kept.len();
            let consumed = match reader.step(&mut kept, MESSAGE_BYTES_MAX) {
                Ok(Step::Incomplete { needed }) => {
                    assert!(needed > held && needed <= MESSAGE_BYTES_MAX + 14);
                    break;
                }
                Ok(Step::Consumed(consumed)) => consumed,
                Ok(Step::Event { event, consumed }) => {
                    let is_close = matches!(event, Event::Close { .. });
                    seen.push(match event {
                        Event::Text(text) => {
                            assert!(std::str::from_utf8(text).is_ok());
                            Seen::Text(text.to_vec())
                        }
                        Event::Binary(bytes) => Seen::Binary(bytes.to_vec()),
                        Event::Ping(payload) => {
                            assert!(payload.len() <= 125);
                            Seen::Ping(payload.to_vec())
                        }
                        Event::Pong => Seen::Pong,
                        Event::Close { code } => Seen::Close(code.map(CloseCode::get)),
                    });
                    if is_close {
                        return seen;
                    }
                    consumed
                }
                Err(violation) => {
                    seen.push(Seen::Violation(violation.code.get()));
                    return seen;
                }
            };
            assert!(consumed > 0 && consumed <= held);
            kept.drain(..consumed);
        }
    }
    seen
}

fuzz_target!(|data: &[u8]| {
    let seen = read(data, data.len().max(1));
    assert_eq!(seen, read(data, 1));
    let (mut rest, mut bytewise) = (Rest::default(), Rest::default());
    let closed = rest.drop(data);
    assert_eq!(closed, data.iter().any(|byte| bytewise.drop(&[*byte])));
    match seen.last() {
        Some(Seen::Close(_)) => assert!(closed),
        Some(Seen::Violation(_)) => {}
        Some(Seen::Text(_) | Seen::Binary(_) | Seen::Ping(_) | Seen::Pong) | None => assert!(!closed),
    }
});
