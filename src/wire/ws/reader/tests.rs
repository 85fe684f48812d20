use super::*;
use proptest::prelude::*;

/// A message or violation with everything owned, to compare runs.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
    Violation(u16),
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text(text) => Seen::Text(text.to_vec()),
            Event::Binary(bytes) => Seen::Binary(bytes.to_vec()),
            Event::Ping(payload) => Seen::Ping(payload.to_vec()),
            Event::Pong => Seen::Pong,
            Event::Close { code } => Seen::Close(code.map(CloseCode::get)),
        }
    }
}

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
const MAX: usize = 1000;

/// A masked frame as a client sends it; `first` is the byte of FIN, reserved bits and opcode.
fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len @ 126..=0xFFFF => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// Feeds `pieces` one after the other, as a connection does, until the input, a close or a violation ends it.
fn read(pieces: &[&[u8]], max: usize) -> (Vec<Seen>, Reader) {
    let (mut reader, mut buffer, mut seen) = (Reader::new(), Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        let mut at = 0;
        loop {
            let held = buffer.len() - at;
            match reader.step(&mut buffer[at..], max) {
                Ok(Step::Incomplete { needed }) => {
                    assert!(needed > held, "asks for more than it has");
                    assert!(needed <= max.max(125).saturating_add(14), "never asks for more than a message");
                    break;
                }
                Ok(Step::Consumed(consumed)) => at += consumed,
                Ok(Step::Event { event, consumed }) => {
                    seen.push(event.into());
                    at += consumed;
                    if matches!(seen.last(), Some(Seen::Close(_))) {
                        return (seen, reader);
                    }
                }
                Err(violation) => {
                    seen.push(Seen::Violation(violation.code.get()));
                    return (seen, reader);
                }
            }
        }
        buffer.drain(..at);
    }
    (seen, reader)
}

fn read_whole(bytes: &[u8]) -> Vec<Seen> {
    read(&[bytes], MAX).0
}

/// The plain twin: one byte after the other off an iterator, everything copied, UTF-8 by the standard library.
fn read_plainly(bytes: &[u8], max: usize) -> Vec<Seen> {
    let (mut seen, mut at, mut message) = (Vec::new(), 0usize, None::<(bool, Vec<u8>)>);
    loop {
        match plain_frame(&bytes[at..], &mut message, max) {
            Ok(None) => return seen,
            Ok(Some((len, event))) => {
                at += len;
                seen.extend(event);
                if matches!(seen.last(), Some(Seen::Close(_))) {
                    return seen;
                }
            }
            Err(code) => {
                seen.push(Seen::Violation(code));
                return seen;
            }
        }
    }
}

type Plain = Result<Option<(usize, Option<Seen>)>, u16>;

fn plain_frame(bytes: &[u8], message: &mut Option<(bool, Vec<u8>)>, max: usize) -> Plain {
    let mut input = bytes.iter().copied();
    let (Some(first), Some(second)) = (input.next(), input.next()) else { return Ok(None) };
    let (fin, opcode, masked, short) = (first >> 7 == 1, first & 15, second >> 7 == 1, second & 127);
    let is_control = opcode >= 8;
    if first & 0b0111_0000 != 0
        || !matches!(opcode, 0 | 1 | 2 | 8 | 9 | 10)
        || !masked
        || is_control && (!fin || short > 125)
    {
        return Err(1002);
    }
    let extended = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    if bytes.len() < 2 + extended + 4 {
        return Ok(None);
    }
    let mut len = if extended == 0 { u128::from(short) } else { 0 };
    for _ in 0..extended {
        len = len * 256 + u128::from(input.next().unwrap());
    }
    if extended == 2 && len < 126 || extended == 8 && !(65_536..1 << 63).contains(&len) {
        return Err(1002);
    }
    let before = message.as_ref().map(|(_, bytes)| bytes.len());
    if !is_control && (opcode == 0) != before.is_some() {
        return Err(1002);
    }
    if !is_control && len + before.unwrap_or(0) as u128 > max as u128 {
        return Err(1009);
    }
    let key: Vec<u8> = input.by_ref().take(4).collect();
    if (input.len() as u128) < len {
        return Ok(None);
    }
    let payload: Vec<u8> = input.take(len as usize).enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
    let total = 2 + extended + 4 + payload.len();
    Ok(Some((total, plain_event(opcode, fin, payload, message)?)))
}

fn plain_event(
    opcode: u8,
    fin: bool,
    payload: Vec<u8>,
    message: &mut Option<(bool, Vec<u8>)>,
) -> Result<Option<Seen>, u16> {
    match opcode {
        9 => return Ok(Some(Seen::Ping(payload))),
        10 => return Ok(Some(Seen::Pong)),
        8 if payload.is_empty() => return Ok(Some(Seen::Close(None))),
        8 => {
            let code = payload.iter().take(2).fold(0u32, |code, byte| code * 256 + u32::from(*byte));
            let allowed = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];
            if payload.len() < 2 || !(allowed.contains(&code) || (3000..5000).contains(&code)) {
                return Err(1002);
            }
            return match String::from_utf8(payload[2..].to_vec()) {
                Ok(_) => Ok(Some(Seen::Close(Some(code as u16)))),
                Err(_) => Err(1007),
            };
        }
        0 => message.as_mut().unwrap().1.extend(payload),
        _ => *message = Some((opcode == 1, payload)),
    }
    let (is_text, bytes) = message.as_ref().unwrap();
    if *is_text {
        match std::str::from_utf8(bytes) {
            Err(error) if fin || error.error_len().is_some() => return Err(1007),
            _ => {}
        }
    }
    if !fin {
        return Ok(None);
    }
    let (is_text, bytes) = message.take().unwrap();
    Ok(Some(if is_text { Seen::Text(bytes) } else { Seen::Binary(bytes) }))
}

/// As [`read`], but passes over what is too big; with how often.
fn read_passing(pieces: &[&[u8]], max: usize) -> (Vec<Seen>, usize) {
    let (mut reader, mut buffer, mut seen, mut passed_over) = (Reader::new(), Vec::new(), Vec::new(), 0);
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let held = buffer.len();
            let done = match reader.step(&mut buffer, max) {
                Ok(Step::Incomplete { needed }) => {
                    assert!(needed > held && needed <= max.max(125) + 14, "{needed} of {held}");
                    break;
                }
                Ok(Step::Consumed(consumed)) => consumed,
                Ok(Step::Event { event, consumed }) => {
                    seen.push(event.into());
                    consumed
                }
                Err(violation) if violation.code == CloseCode::TOO_BIG => {
                    passed_over += 1;
                    reader.pass_over(&buffer)
                }
                Err(violation) => {
                    seen.push(Seen::Violation(violation.code.get()));
                    return (seen, passed_over);
                }
            };
            assert!(done > 0 && done <= held);
            buffer.drain(..done);
        }
        reader.settle();
    }
    assert_eq!((buffer.len(), reader.memory_bytes()), (0, 0), "nothing is kept");
    (seen, passed_over)
}

#[test]
fn what_is_too_big_can_be_passed_over_without_the_bytes_around_it() {
    let (long, half) = (client_frame(0x81, &[b'x'; 70_000]), [b'y'; 600]);
    let frames = [
        client_frame(0x81, b"before"),
        long,
        client_frame(0x89, b"p"),
        // Too big by its second fragment, with a ping within it, a third fragment, and one of nothing.
        client_frame(0x01, &half),
        client_frame(0x00, &half),
        client_frame(0x89, b"q"),
        client_frame(0x00, &half),
        client_frame(0x80, b""),
        client_frame(0x81, b"after"),
        // Its second message begins within the first, which is not allowed however long that is.
        client_frame(0x01, &[b'z'; 2000]),
        client_frame(0x81, b"never"),
    ];
    let expected = vec![
        Seen::Text(b"before".to_vec()),
        Seen::Ping(b"p".to_vec()),
        Seen::Ping(b"q".to_vec()),
        Seen::Text(b"after".to_vec()),
        Seen::Violation(1002),
    ];
    let bytes = frames.concat();
    for size in [1, 7, 4096, bytes.len()] {
        let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
        assert_eq!(read_passing(&pieces, MAX), (expected.clone(), 3), "pieces of {size}");
    }
    let whole = frames[..9].concat();
    assert_eq!(read_passing(&[&whole], MAX), (expected[..4].to_vec(), 2));
}

#[test]
fn an_idle_reader_is_one_pointer() {
    assert_eq!(size_of::<Reader>(), 8);
    assert_eq!(Reader::new().memory_bytes(), 0);
}

#[test]
fn reads_the_rfc_examples() {
    assert_eq!(read_whole(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), [Seen::Text(b"Hello".into())]);
    assert_eq!(read_whole(b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"), [Seen::Pong]);
}

#[test]
fn control_frames_may_come_between_fragments() {
    let bytes = [
        client_frame(0x01, b"Hel"),
        client_frame(0x89, b"ping"),
        client_frame(0x00, b""),
        client_frame(0x8A, b""),
        client_frame(0x80, b"lo"),
        client_frame(0x82, b"\xFF"),
    ]
    .concat();
    let expected =
        [Seen::Ping(b"ping".into()), Seen::Pong, Seen::Text(b"Hello".into()), Seen::Binary(vec![0xFF])];
    assert_eq!(read_whole(&bytes), expected);
}

#[test]
fn fragments_are_let_go_once_their_message_was_handed_out() {
    let mut reader = Reader::new();
    let mut first = client_frame(0x01, &[b'x'; 100]);
    assert_eq!(reader.step(&mut first, MAX), Ok(Step::Consumed(106)));
    assert!(reader.memory_bytes() >= 100);
    let mut last = client_frame(0x80, b"");
    assert!(matches!(reader.step(&mut last, MAX), Ok(Step::Event { event: Event::Text(_), consumed: 6 })));
    assert_eq!(reader.step(&mut [], MAX), Ok(Step::Incomplete { needed: 2 }));
    assert_eq!(reader.memory_bytes(), 0);
}

#[test]
fn protocol_errors_close_with_1002() {
    for (name, bytes) in [
        ("reserved bit 1", client_frame(0xC1, b"")),
        ("reserved bit 2", client_frame(0xA1, b"")),
        ("reserved bit 3", client_frame(0x91, b"")),
        ("reserved data opcode", client_frame(0x83, b"")),
        ("reserved control opcode", client_frame(0x8B, b"")),
        ("not masked", vec![0x81, 0x00]),
        ("fragmented ping", client_frame(0x09, b"")),
        ("long ping", client_frame(0x89, &[0; 126])),
        ("16 bits for 125", [&[0x81, 0xFE, 0, 125][..], &KEY].concat()),
        ("64 bits for 65535", [&[0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF][..], &KEY].concat()),
        ("top bit of the length", [&[0x81, 0xFF, 0x80, 0, 0, 0, 0, 1, 0, 0][..], &KEY].concat()),
        ("continuation of nothing", client_frame(0x80, b"")),
        ("message within a message", [client_frame(0x01, b""), client_frame(0x81, b"")].concat()),
        ("close code of one byte", client_frame(0x88, b"\x03")),
    ] {
        assert_eq!(read_whole(&bytes), [Seen::Violation(1002)], "{name}");
        assert_eq!(read_plainly(&bytes, MAX), [Seen::Violation(1002)], "{name}");
    }
}

#[test]
fn close_codes_are_those_that_may_be_sent() {
    for code in 0..=u16::MAX {
        let allowed = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        let expected = if allowed { Seen::Close(Some(code)) } else { Seen::Violation(1002) };
        assert_eq!(read_whole(&client_frame(0x88, &code.to_be_bytes())), [expected], "{code}");
    }
    assert_eq!(read_whole(&client_frame(0x88, b"")), [Seen::Close(None)]);
    assert_eq!(read_whole(&client_frame(0x88, b"\x03\xE8bye")), [Seen::Close(Some(1000))]);
    assert_eq!(read_whole(&client_frame(0x88, b"\x03\xE8\xFF")), [Seen::Violation(1007)]);
}

#[test]
fn a_message_too_big_is_refused_before_its_payload_arrives() {
    let fits = client_frame(0x81, &[b'x'; MAX]);
    assert_eq!(read_whole(&fits), [Seen::Text(vec![b'x'; MAX])]);
    let too_big = client_frame(0x81, &[b'x'; MAX + 1]);
    assert_eq!(read_whole(&too_big[..8]), [Seen::Violation(1009)]);
    let mut fragments = [client_frame(0x02, &[0; 600]), client_frame(0x00, &[0; 400])].concat();
    assert_eq!(read_whole(&fragments), []);
    fragments.extend(&client_frame(0x80, &[0; 1])[..6]);
    assert_eq!(read_whole(&fragments), [Seen::Violation(1009)]);
    let huge = [&[0x82, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF][..], &KEY].concat();
    assert_eq!(read_whole(&huge), [Seen::Violation(1009)]);
    assert_eq!(read(&[&huge], usize::MAX).0, [], "no overflow without a limit");
}

#[test]
fn text_is_checked_across_fragments() {
    let text = "κόaσμε 😀b".as_bytes();
    for split in 0..=text.len() {
        let (before, after) = text.split_at(split);
        let bytes = [client_frame(0x01, before), client_frame(0x80, after)].concat();
        assert_eq!(read_whole(&bytes), [Seen::Text(text.into())], "split at {split}");
    }
    for first in 0..=text.len() {
        for second in first..=text.len() {
            let pieces = [(0x01, &text[..first]), (0x00, &text[first..second]), (0x80, &text[second..])];
            let bytes: Vec<u8> = pieces.iter().flat_map(|(byte, piece)| client_frame(*byte, piece)).collect();
            assert_eq!(read_whole(&bytes), [Seen::Text(text.into())], "split at {first} and {second}");
        }
    }
    let unfinished = [client_frame(0x01, b"\xCE"), client_frame(0x80, b"")].concat();
    assert_eq!(read_whole(&unfinished), [Seen::Violation(1007)]);
    assert_eq!(read_whole(&client_frame(0x81, b"\xED\xA0\x80")), [Seen::Violation(1007)]);
}

#[test]
fn text_that_no_continuation_can_save_is_refused_at_once() {
    let hopeless = client_frame(0x01, b"\xCE\xBA\xF4\x90");
    assert_eq!(read_whole(&hopeless), [Seen::Violation(1007)]);
    let still_possible = client_frame(0x01, b"\xCE\xBA\xF4\x8F");
    assert_eq!(read_whole(&still_possible), []);
    let split = [client_frame(0x01, b"\xF4"), client_frame(0x00, b"\x90")].concat();
    assert_eq!(read_whole(&split), [Seen::Violation(1007)]);
}

/// Frames that mostly make sense, in an order that sometimes does.
fn some_frames() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        3 => "[a-zκ😀]{0,60}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..150),
        1 => (0u16..5100, "[a-zé]{0,4}").prop_map(|(code, reason)| {
            [&code.to_be_bytes(), reason.as_bytes()].concat()
        }),
        1 => Just(vec![b'y'; 400]),
    ];
    let first = prop_oneof![
        20 => prop::sample::select(vec![0x81u8, 0x82, 0x01, 0x02, 0x00, 0x00, 0x80, 0x80, 0x89, 0x8A]),
        1 => Just(0x88),
        1 => any::<u8>(),
    ];
    prop::collection::vec((first, payload), 0..12)
        .prop_map(|frames| frames.iter().flat_map(|(first, payload)| client_frame(*first, payload)).collect())
}

proptest! {
    #[test]
    fn equals_the_plain_twin_however_the_bytes_arrive(
        mut bytes in some_frames(),
        damage in prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>())),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        if let (Some((at, byte)), false) = (damage, bytes.is_empty()) {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let expected = read_plainly(&bytes, MAX);
        prop_assert_eq!(&read_whole(&bytes), &expected);
        let each_byte: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&read(&each_byte, MAX).0, &expected);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let (seen, reader) = read(&pieces, MAX);
        prop_assert_eq!(&seen, &expected);
        prop_assert!(reader.memory_bytes() <= 2 * MAX + size_of::<Fragments>());
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), max in 0usize..300) {
        prop_assert_eq!(read(&[&bytes], max).0, read_plainly(&bytes, max));
    }

    #[test]
    fn reads_what_tungstenite_writes(text in "\\PC{0,300}", mask: [u8; 4]) {
        use tungstenite::protocol::frame::Frame;
        let mut frame = Frame::message(text.clone(), OpCode::Data(Data::Text), true);
        frame.header_mut().mask = Some(mask);
        let mut bytes = Vec::new();
        frame.format(&mut bytes).unwrap();
        prop_assert_eq!(read(&[&bytes], 10_000).0, [Seen::Text(text.into_bytes())]);
    }
}
