//! Hostile frames, made by a script so that every unusual header is soon reached. The reader and a simple reference reader
//! must see the same messages, and the same violation if there is one.
#![no_main]

use featbit_agent::wire::ws::close::CloseCode;
use featbit_agent::wire::ws::reader::{Event, Reader, Step};
use libfuzzer_sys::fuzz_target;

const MESSAGE_BYTES_MAX: usize = 512;

#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
    Violation(u16),
}

/// One frame of the script: first byte, form of the length, mask, what the length says beyond the truth, payload.
struct Frame<'s> {
    first: u8,
    masked: bool,
    /// 0: as short as possible; 1: 16 bits; 2: 64 bits; 3: 64 bits with the top bit.
    form: u8,
    key: [u8; 4],
    payload: &'s [u8],
}

/// Takes the next frame off the script: a first byte, a control byte, the number of payload bytes, the payload.
fn next<'s>(script: &mut &'s [u8]) -> Option<Frame<'s>> {
    let (&[first, control, len], rest) = script.split_first_chunk()?;
    // Reserved bits and unknown opcodes only now and then: else hardly a script would come further than one frame.
    let first = if control & 0x80 == 0 { first & 0x8F } else { first };
    let masked = control & 0x70 != 0x70;
    let form = if control & 0x0C == 0x0C { control & 0x03 } else { 0 };
    let (payload, rest) = rest.split_at(usize::from(len).min(rest.len()));
    *script = rest;
    let key = match control & 0x03 {
        0 => [0; 4],
        1 => [0xFF; 4],
        _ => [control, len, first, 0x5A],
    };
    Some(Frame { first, masked, form, key, payload })
}

impl Frame<'_> {
    fn append(&self, bytes: &mut Vec<u8>) {
        let mask_bit = if self.masked { 0x80 } else { 0 };
        let len = self.payload.len();
        bytes.push(self.first);
        match self.form {
            0 if len < 126 => bytes.push(mask_bit | len as u8),
            0 | 1 => {
                bytes.push(mask_bit | 126);
                bytes.extend((len as u16).to_be_bytes());
            }
            form => {
                bytes.push(mask_bit | 127);
                let top = if form == 3 { 1 << 63 } else { 0 };
                bytes.extend((top | len as u64).to_be_bytes());
            }
        }
        if self.masked {
            bytes.extend(self.key);
            bytes.extend(self.payload.iter().zip(self.key.iter().cycle()).map(|(byte, key)| byte ^ key));
        } else {
            bytes.extend(self.payload);
        }
    }
}

/// What RFC 6455 says about the frames one after another, written without regard to cost.
fn twin(frames: &[Frame<'_>]) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut message: Option<(bool, Vec<u8>)> = None;
    for frame in frames {
        let (opcode, is_final) = (frame.first & 0x0F, frame.first & 0x80 != 0);
        let is_control = opcode >= 8;
        let len = frame.payload.len();
        let short = frame.form == 0 || frame.form == 1 && len >= 126;
        let continues = opcode == 0;
        let broken = frame.first & 0x70 != 0
            || !matches!(opcode, 0 | 1 | 2 | 8 | 9 | 10)
            || is_control && (!is_final || len > 125 || frame.form != 0)
            || !frame.masked
            || !short
            || !is_control && continues != message.is_some();
        if broken {
            seen.push(Seen::Violation(1002));
            return seen;
        }
        if is_control {
            let payload = frame.payload;
            seen.push(match opcode {
                9 => Seen::Ping(payload.to_vec()),
                10 => Seen::Pong,
                _ => close(payload),
            });
            if opcode == 8 {
                return seen;
            }
            continue;
        }
        let (is_text, mut bytes) = message.take().unwrap_or((opcode == 1, Vec::new()));
        bytes.extend(frame.payload);
        if bytes.len() > MESSAGE_BYTES_MAX {
            seen.push(Seen::Violation(1009));
            return seen;
        }
        let hopeless = match std::str::from_utf8(&bytes) {
            Ok(_) => false,
            Err(error) => is_final || error.error_len().is_some(),
        };
        if is_text && hopeless {
            seen.push(Seen::Violation(1007));
            return seen;
        }
        match (is_final, is_text) {
            (false, _) => message = Some((is_text, bytes)),
            (true, true) => seen.push(Seen::Text(bytes)),
            (true, false) => seen.push(Seen::Binary(bytes)),
        }
    }
    seen
}

fn close(payload: &[u8]) -> Seen {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Seen::Close(None) } else { Seen::Violation(1002) };
    };
    let code = u16::from_be_bytes(*code);
    match code {
        1000..=1003 | 1007..=1014 | 3000..=4999 if std::str::from_utf8(reason).is_ok() => {
            Seen::Close(Some(code))
        }
        1000..=1003 | 1007..=1014 | 3000..=4999 => Seen::Violation(1007),
        _ => Seen::Violation(1002),
    }
}

fn read(bytes: &[u8], portion: usize) -> Vec<Seen> {
    let mut reader = Reader::new();
    let mut kept: Vec<u8> = Vec::new();
    let mut seen = Vec::new();
    for part in bytes.chunks(portion.max(1)) {
        kept.extend_from_slice(part);
        loop {
            let (event, consumed) = match reader.step(&mut kept, MESSAGE_BYTES_MAX) {
                Ok(Step::Incomplete { .. }) => break,
                Ok(Step::Consumed(consumed)) => (None, consumed),
                Ok(Step::Event { event, consumed }) => (
                    Some(match event {
                        Event::Text(text) => Seen::Text(text.to_vec()),
                        Event::Binary(bytes) => Seen::Binary(bytes.to_vec()),
                        Event::Ping(payload) => Seen::Ping(payload.to_vec()),
                        Event::Pong => Seen::Pong,
                        Event::Close { code } => Seen::Close(code.map(CloseCode::get)),
                    }),
                    consumed,
                ),
                Err(violation) => {
                    seen.push(Seen::Violation(violation.code.get()));
                    return seen;
                }
            };
            kept.drain(..consumed);
            let ends = matches!(event, Some(Seen::Close(_)));
            seen.extend(event);
            if ends {
                return seen;
            }
        }
    }
    assert!(kept.is_empty(), "whole frames were sent, and some of them kept");
    assert!(reader.memory_bytes() <= 2 * MESSAGE_BYTES_MAX + 128, "more is stored than a message has");
    seen
}

fuzz_target!(|data: &[u8]| {
    let Some((&portion, mut script)) = data.split_first() else { return };
    let frames: Vec<_> = std::iter::from_fn(|| next(&mut script)).take(64).collect();
    let mut bytes = Vec::new();
    frames.iter().for_each(|frame| frame.append(&mut bytes));
    assert_eq!(read(&bytes, usize::from(portion)), twin(&frames));
});
