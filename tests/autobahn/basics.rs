//! Sections 1 to 4: framing, pings, reserved bits, opcodes.

use crate::case::{Case, End, Seen, Step};
use crate::common::frames::{BINARY, CLOSE, MASK, PING, PONG, TEXT, frame, whole};

/// All cases of these sections.
pub fn cases() -> Vec<Case> {
    [framing(), pings(), reserved_bits(), opcodes()].concat()
}

/// 1.1: text, 1.2: binary; of sizes around those where the form of the length changes.
fn framing() -> Vec<Case> {
    let mut cases = Vec::new();
    for (section, opcode, kind, fill) in [(1, TEXT, "text", b'*'), (2, BINARY, "binary", 0xFE)] {
        let case = |number: usize, len: usize, how: &str| {
            Case::new(format!("1.{section}.{number}"), format!("{kind} of {len} bytes{how}"))
        };
        let seen = |len: usize| match opcode {
            TEXT => Seen::Text(vec![fill; len]),
            _ => Seen::Binary(vec![fill; len]),
        };
        let sizes = [0, 125, 126, 127, 128, 65_535, 65_536];
        for (index, len) in sizes.into_iter().enumerate() {
            cases
                .push(case(index + 1, len, "").send(&[whole(opcode, &vec![fill; len])]).expect(&[seen(len)]));
        }
        let chopped = case(8, 65_536, ", in portions of 997");
        cases.push(chopped.chop(&[whole(opcode, &[fill; 65_536])], 997).expect(&[seen(65_536)]));
    }
    cases
}

fn pings() -> Vec<Case> {
    let pong = |payload: &[u8]| Seen::Pong(payload.to_vec());
    let bytes = [0x00, 0xFF, 0xFE, 0xFD, 0xFC, 0xFB, 0x00, 0xFF];
    let ten: Vec<_> = (0..10).map(|number| format!("payload-{number}").into_bytes()).collect();
    let ten_pings: Vec<_> = ten.iter().map(|payload| whole(PING, payload)).collect();
    let ten_pongs: Vec<_> = ten.iter().map(|payload| pong(payload)).collect();
    vec![
        Case::new("2.1", "ping without payload").send(&[whole(PING, b"")]).expect(&[pong(b"")]),
        Case::new("2.2", "ping with text").send(&[whole(PING, b"a ping")]).expect(&[pong(b"a ping")]),
        Case::new("2.3", "ping with bytes that are no UTF-8")
            .send(&[whole(PING, &bytes)])
            .expect(&[pong(&bytes)]),
        Case::new("2.4", "ping of 125 bytes")
            .send(&[whole(PING, &[0xFE; 125])])
            .expect(&[pong(&[0xFE; 125])]),
        Case::new("2.5", "ping of 126 bytes").send(&[whole(PING, &[0xFE; 126])]).end(End::ByPeer(1002)),
        Case::new("2.6", "ping of 125 bytes, byte by byte")
            .chop(&[whole(PING, &[0xFE; 125])], 1)
            .expect(&[pong(&[0xFE; 125])]),
        Case::new("2.7", "pong that nobody asked for").send(&[whole(PONG, b"")]),
        Case::new("2.8", "the same with a payload").send(&[whole(PONG, b"unasked")]),
        Case::new("2.9", "the same, then a ping")
            .send(&[whole(PONG, b"unasked"), whole(PING, b"asked")])
            .expect(&[pong(b"asked")]),
        Case::new("2.10", "ten pings").send(&ten_pings).expect(&ten_pongs),
        Case::new("2.11", "ten pings, byte by byte").chop(&ten_pings, 1).expect(&ten_pongs),
    ]
}

/// A frame with these reserved bits, 1 to 7.
fn reserved(bits: u8, opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(0x80 | bits << 4 | opcode, Some(MASK), payload)
}

fn reserved_bits() -> Vec<Case> {
    let hello = b"Hello, world!";
    let echo = [Seen::Text(hello.to_vec())];
    let text_then = |bad: Vec<u8>| [whole(TEXT, hello), bad, whole(PING, b"")];
    let fails = |case: Case| case.end(End::ByPeer(1002));
    let fails_after_echo = |case: Case| case.expect(&echo).or(&[]).end(End::ByPeer(1002));
    vec![
        fails(Case::new("3.1", "text, reserved bits 1").send(&[reserved(1, TEXT, hello)])),
        fails_after_echo(
            Case::new("3.2", "text; text, reserved bits 2; ping").send(&text_then(reserved(2, TEXT, hello))),
        ),
        fails_after_echo(
            Case::new("3.3", "text; text, reserved bits 3; ping; frame by frame")
                .send_each(&text_then(reserved(3, TEXT, hello))),
        ),
        fails_after_echo(
            Case::new("3.4", "text; text, reserved bits 4; ping; byte by byte")
                .chop(&text_then(reserved(4, TEXT, hello)), 1),
        ),
        fails(Case::new("3.5", "binary, reserved bits 5").send(&[reserved(5, BINARY, &[0, 0xFF, 0xFE])])),
        fails(Case::new("3.6", "ping, reserved bits 6").send(&[reserved(6, PING, hello)])),
        fails(Case::new("3.7", "close, reserved bits 7").send(&[reserved(7, CLOSE, &1000u16.to_be_bytes())])),
    ]
}

/// 4.1: opcodes 3 to 7, 4.2: 11 to 15; alone, with a payload, and after a message.
fn opcodes() -> Vec<Case> {
    let hello = b"Hello, world!";
    let echo = [Seen::Text(hello.to_vec())];
    let mut cases = Vec::new();
    for (section, first) in [(1, 3u8), (2, 11)] {
        for place in 1..=5u8 {
            let opcode = first + place - 1;
            let payload: &[u8] = if place % 2 == 0 || place == 5 { b"reserved" } else { b"" };
            let of = if payload.is_empty() { "without" } else { "with" };
            let bad = whole(opcode, payload);
            let number = format!("4.{section}.{place}");
            let about = format!("opcode {opcode} {of} payload");
            let frames = [whole(TEXT, hello), bad.clone(), whole(PING, b"")];
            let case = match place {
                1 | 2 => Case::new(number, about).send(&[bad]),
                3 | 4 => {
                    Case::new(number, format!("text; {about}; ping")).send(&frames).expect(&echo).or(&[])
                }
                _ => Case::new(number, format!("text; {about}; ping; byte by byte"))
                    .step(Step::Chop(frames.concat(), 1))
                    .expect(&echo)
                    .or(&[]),
            };
            cases.push(case.end(End::ByPeer(1002)));
        }
    }
    cases
}
