//! Sections 9 and 10: large messages, many of them, small fragments, small portions.

use crate::case::{Case, Seen, Step};
use crate::common::frames::{BINARY, CONTINUATION, TEXT, fragment, whole};
use crate::common::rng::Rng;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// All cases of these sections.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in [Kind::Text, Kind::Binary] {
        let section = |text: u8| if kind == Kind::Text { text } else { text + 1 };
        cases.extend(whole_messages(section(1), kind));
        cases.extend(in_fragments(section(3), kind));
        cases.extend(in_portions(section(5), kind));
        cases.extend(round_trips(section(7), kind));
    }
    cases.sort_by_key(|(section, _)| *section);
    let mut cases: Vec<Case> = cases.into_iter().map(|(_, case)| case).collect();
    let payload = Kind::Text.payload(65_536);
    cases.push(
        Case::new("10.1.1", "text of 65536 bytes in fragments of 1300")
            .step(Step::Send(in_parts(Kind::Text, &payload, 1300)))
            .expect(&[Kind::Text.seen(payload)]),
    );
    cases
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
}

impl Kind {
    fn opcode(self) -> u8 {
        if self == Kind::Text { TEXT } else { BINARY }
    }

    fn name(self) -> &'static str {
        if self == Kind::Text { "text" } else { "binary" }
    }

    fn seen(self, payload: Vec<u8>) -> Seen {
        if self == Kind::Text { Seen::Text(payload) } else { Seen::Binary(payload) }
    }

    /// Content in which a byte that is lost, doubled or misplaced shows; text also holds characters of several bytes.
    fn payload(self, len: usize) -> Vec<u8> {
        let mut rng = Rng::new(len as u64);
        if self == Kind::Binary {
            return (0..len).map(|_| rng.below(256) as u8).collect();
        }
        let mut text = String::with_capacity(len + 4);
        while text.len() < len {
            text.push(*rng.pick(&['a', 'Z', '0', ' ', 'é', '€', '𝄞']));
        }
        while text.len() > len {
            text.pop();
        }
        let missing = len - text.len();
        text.extend(std::iter::repeat_n('x', missing));
        text.into_bytes()
    }
}

fn size(bytes: usize) -> String {
    match bytes {
        MIB.. => format!("{} MiB", bytes / MIB),
        KIB.. => format!("{} KiB", bytes / KIB),
        _ => format!("{bytes} bytes"),
    }
}

/// A message in fragments of at most `part` bytes.
fn in_parts(kind: Kind, payload: &[u8], part: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + payload.len() / part * 14 + 14);
    let mut parts = payload.chunks(part).peekable();
    let mut opcode = kind.opcode();
    while let Some(part) = parts.next() {
        bytes.extend(if parts.peek().is_some() { fragment(opcode, part) } else { whole(opcode, part) });
        opcode = CONTINUATION;
    }
    bytes
}

fn case(section: u8, index: usize, about: String) -> Case {
    Case::new(format!("9.{section}.{}", index + 1), about)
}

/// 9.1 and 9.2.
fn whole_messages(section: u8, kind: Kind) -> Vec<(u8, Case)> {
    let sizes = [64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB];
    let of_size = |(index, bytes)| {
        let payload = kind.payload(bytes);
        let case = case(section, index, format!("{} of {}", kind.name(), size(bytes)));
        (section, case.send(&[whole(kind.opcode(), &payload)]).expect(&[kind.seen(payload)]))
    };
    sizes.into_iter().enumerate().map(of_size).collect()
}

/// 9.3 and 9.4.
fn in_fragments(section: u8, kind: Kind) -> Vec<(u8, Case)> {
    let parts = [64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB];
    let payload = kind.payload(4 * MIB);
    let in_parts_of = |(index, part)| {
        let about = format!("{} of 4 MiB in fragments of {}", kind.name(), size(part));
        let case = case(section, index, about).step(Step::Send(in_parts(kind, &payload, part)));
        (section, case.expect(&[kind.seen(payload.clone())]))
    };
    parts.into_iter().enumerate().map(in_parts_of).collect()
}

/// 9.5 and 9.6.
fn in_portions(section: u8, kind: Kind) -> Vec<(u8, Case)> {
    let payload = kind.payload(MIB);
    let in_portions_of = |(index, portion)| {
        let about = format!("{} of 1 MiB, sent in portions of {}", kind.name(), size(portion));
        let case = case(section, index, about).chop(&[whole(kind.opcode(), &payload)], portion);
        (section, case.expect(&[kind.seen(payload.clone())]))
    };
    [64, 128, 256, 512, KIB, 2 * KIB].into_iter().enumerate().map(in_portions_of).collect()
}

/// 9.7 and 9.8.
fn round_trips(section: u8, kind: Kind) -> Vec<(u8, Case)> {
    const MESSAGES: usize = 1000;
    let of_size = |(index, bytes)| {
        let about = format!("{MESSAGES} round trips of {} of {}", kind.name(), size(bytes));
        let trips = Step::RoundTrips(kind.opcode(), kind.payload(bytes), MESSAGES);
        (section, case(section, index, about).step(trips).expect(&[Seen::RoundTrips(MESSAGES)]))
    };
    [0, 16, 64, 256, KIB, 4 * KIB].into_iter().enumerate().map(of_size).collect()
}
