//! WebSocket framing over real sockets (RFC 6455): fragments, control frames, what is refused, how connections end.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::agent::{Agent, Builder};
use common::dataset::{Dataset, Environment, Kind, boolean_flag, flag};
use common::frames::{
    BINARY, CLOSE, CONTINUATION, MASK, PING, PONG, RawSocket, TEXT, fragment, frame, upgrade_request, whole,
};
use common::rng::Rng;
use common::ws;

const ASK_PING: &[u8] = br#"{"messageType":"ping","data":null}"#;
const PONG_MESSAGE: &str = r#"{"messageType":"pong","data":{}}"#;

fn environment() -> Environment {
    Environment::new(1).flag(boolean_flag("flag"))
}

fn agent() -> Agent {
    Builder::offline()
        .data_file(&Dataset::of([environment()]))
        .env("EchoPath", "/echo")
        .env("Limits__CloseSeconds", "500ms")
        .start()
}

fn target() -> String {
    ws::target(Kind::Server, &environment().secret(Kind::Server))
}

fn streaming(agent: &Agent) -> RawSocket {
    RawSocket::upgrade(agent.port(), &target(), &[])
}

fn echo(agent: &Agent) -> RawSocket {
    RawSocket::upgrade(agent.port(), "/echo", &[])
}

/// The connection is open and nothing is owed: a ping brings its pong and nothing before it.
fn expect_idle(socket: &mut RawSocket) {
    socket.send(&whole(PING, b"still there?"));
    let frame = socket.next();
    assert_eq!((frame.opcode, frame.payload.as_slice()), (PONG, &b"still there?"[..]));
}

#[test]
fn fragments_with_control_frames_between_them_are_one_message() {
    let agent = agent();
    let mut socket = streaming(&agent);
    let (first, rest) = ASK_PING.split_at(5);
    let (second, third) = rest.split_at(11);
    socket.send(&fragment(TEXT, first));
    socket.send(&whole(PING, b"one"));
    socket.send(&fragment(CONTINUATION, second));
    socket.send(&fragment(CONTINUATION, b""));
    socket.send(&whole(PONG, b"unasked"));
    socket.send(&whole(PING, b""));
    socket.send(&whole(CONTINUATION, third));
    for payload in [&b"one"[..], b""] {
        let frame = socket.next();
        assert_eq!((frame.opcode, frame.payload.as_slice()), (PONG, payload));
    }
    socket.expect_text(PONG_MESSAGE);
    expect_idle(&mut socket);
}

#[test]
fn frames_may_be_split_at_every_byte() {
    let agent = agent();
    let mut socket = RawSocket::connect(agent.port());
    let mut bytes = upgrade_request(&target(), &[]);
    bytes.extend(whole(TEXT, ASK_PING));
    bytes.extend(fragment(BINARY, &ASK_PING[..9]));
    bytes.extend(whole(PING, b"between"));
    bytes.extend(whole(CONTINUATION, &ASK_PING[9..]));
    // Longer than a length of seven bits can say.
    let padded = format!(r#"{{"messageType":"ping","data":"{}"}}"#, "é".repeat(200));
    bytes.extend(whole(TEXT, padded.as_bytes()));
    for byte in bytes {
        socket.send(&[byte]);
    }
    assert!(socket.read_head().starts_with("HTTP/1.1 101 "));
    socket.expect_text(PONG_MESSAGE);
    assert_eq!(socket.next().payload, b"between");
    socket.expect_text(PONG_MESSAGE);
    socket.expect_text(PONG_MESSAGE);
    expect_idle(&mut socket);
}

#[test]
fn many_messages_in_one_segment_with_the_handshake_are_all_answered() {
    let agent = agent();
    let mut socket = RawSocket::connect(agent.port());
    let mut bytes = upgrade_request(&target(), &[]);
    for _ in 0..1000 {
        bytes.extend(whole(TEXT, ASK_PING));
    }
    socket.send(&bytes);
    assert!(socket.read_head().starts_with("HTTP/1.1 101 "));
    for _ in 0..1000 {
        socket.expect_text(PONG_MESSAGE);
    }
    expect_idle(&mut socket);
}

/// Pings whose pongs nobody reads until all are sent: the agent stops reading instead of piling them up.
#[test]
fn a_flood_of_pings_is_answered_to_the_last() {
    let agent = agent();
    let socket = streaming(&agent);
    let mut reader = socket;
    let mut writer = reader.clone_for_writing();
    const PINGS: usize = 100_000;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let burst: Vec<u8> = whole(PING, b"0123456789").repeat(1000);
            for _ in 0..PINGS / 1000 {
                writer.send(&burst);
            }
        });
        for _ in 0..PINGS {
            let frame = reader.next();
            assert_eq!((frame.opcode, frame.payload.as_slice()), (PONG, &b"0123456789"[..]));
        }
    });
    expect_idle(&mut reader);
}

#[test]
fn a_closing_handshake_ends_with_the_peers_own_code() {
    let agent = agent();
    for path in [streaming as fn(&Agent) -> RawSocket, echo] {
        for code in [1000u16, 1001, 1007, 3000, 4003, 4999] {
            let mut socket = path(&agent);
            socket.send(&whole(CLOSE, &[&code.to_be_bytes()[..], "bye €".as_bytes()].concat()));
            assert_eq!(socket.expect_close_and_end().0, code);
        }
        let mut socket = path(&agent);
        socket.send(&whole(CLOSE, b""));
        assert_eq!(socket.expect_close_and_end().0, 1005, "no code for no code");
    }
}

#[test]
fn messages_before_a_close_are_answered_and_none_after_it() {
    let agent = agent();
    let mut socket = streaming(&agent);
    let mut bytes = whole(TEXT, ASK_PING);
    bytes.extend(whole(CLOSE, &1000u16.to_be_bytes()));
    bytes.extend(whole(TEXT, ASK_PING));
    socket.send(&bytes);
    socket.expect_text(PONG_MESSAGE);
    assert_eq!(socket.expect_close_and_end().0, 1000);
}

#[test]
fn a_peer_that_half_closes_is_answered_and_closed() {
    let agent = agent();
    let mut socket = streaming(&agent);
    socket.send(&whole(TEXT, ASK_PING));
    socket.finish();
    socket.expect_text(PONG_MESSAGE);
    assert_eq!(socket.next_or_end().unwrap(), None);
}

#[test]
fn protocol_errors_are_closed_with_the_matching_code() {
    let agent = agent();
    let overlong_126 = [&[0x81, 0x80 | 126, 0, 5][..], &MASK, b"hello"].concat();
    let overlong_127 = [&[0x81, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0, 5][..], &MASK, b"hello"].concat();
    let top_bit = [&[0x82, 0x80 | 127, 0x80, 0, 0, 0, 0, 0, 0, 0][..], &MASK].concat();
    let cases: Vec<(&str, u16, Vec<u8>)> = vec![
        ("an unmasked frame", 1002, frame(0x81, None, ASK_PING)),
        ("an unmasked control frame", 1002, frame(0x89, None, b"")),
        ("the first reserved bit", 1002, frame(0xC1, Some(MASK), ASK_PING)),
        ("the second reserved bit", 1002, frame(0xA1, Some(MASK), ASK_PING)),
        ("the third reserved bit", 1002, frame(0x99, Some(MASK), b"")),
        ("a reserved data opcode", 1002, whole(3, b"")),
        ("a reserved control opcode", 1002, whole(11, b"")),
        ("a fragmented ping", 1002, fragment(PING, b"")),
        ("a ping of 126 bytes", 1002, whole(PING, &[0; 126])),
        ("a length of 16 bits too long for 5", 1002, overlong_126),
        ("a length of 64 bits too long for 5", 1002, overlong_127),
        ("a length with the top bit", 1002, top_bit),
        ("a continuation of nothing", 1002, whole(CONTINUATION, b"x")),
        ("a message within a message", 1002, [fragment(TEXT, b"{"), whole(TEXT, b"{}")].concat()),
        ("a close code of one byte", 1002, whole(CLOSE, &[3])),
        ("a close code that may not be sent", 1002, whole(CLOSE, &1005u16.to_be_bytes())),
        ("a close code of nobody", 1002, whole(CLOSE, &2000u16.to_be_bytes())),
        ("a close reason that is no UTF-8", 1007, whole(CLOSE, &[0x03, 0xE8, 0xFF])),
        ("text that is no UTF-8", 1007, whole(TEXT, b"\"\xC3\x28\"")),
        ("text cut within a character", 1007, whole(TEXT, "é".as_bytes().split_at(1).0)),
        ("a fragment that no continuation can mend", 1007, fragment(TEXT, b"\xED\xA0\x80")),
    ];
    for path in [streaming as fn(&Agent) -> RawSocket, echo] {
        for (what, code, bytes) in &cases {
            let mut socket = path(&agent);
            socket.send(bytes);
            assert_eq!(socket.expect_close().0, *code, "{what}");
        }
    }
    expect_idle(&mut streaming(&agent));
}

#[test]
fn utf8_may_be_cut_between_fragments_within_a_character() {
    let agent = agent();
    let text = "𝄞 é €".as_bytes();
    let mut socket = echo(&agent);
    for (index, byte) in text.iter().enumerate() {
        let opcode = if index == 0 { TEXT } else { CONTINUATION };
        socket.send(&if index + 1 < text.len() {
            fragment(opcode, &[*byte])
        } else {
            whole(opcode, &[*byte])
        });
    }
    socket.expect_text("𝄞 é €");
}

#[test]
fn a_message_beyond_the_limit_is_closed_with_1009_and_one_at_it_is_not() {
    let agent = Builder::offline()
        .data_file(&Dataset::of([environment()]))
        .env("Limits__MessageBytes", "1024")
        .start();
    let padded = |length: usize| {
        let empty = r#"{"messageType":"ping","data":""}"#.len();
        format!(r#"{{"messageType":"ping","data":"{}"}}"#, "x".repeat(length - empty)).into_bytes()
    };
    let mut socket = streaming(&agent);
    socket.send(&whole(TEXT, &padded(1024)));
    socket.expect_text(PONG_MESSAGE);
    let at_limit = padded(1024);
    socket.send(&[fragment(TEXT, &at_limit[..1000]), whole(CONTINUATION, &at_limit[1000..])].concat());
    socket.expect_text(PONG_MESSAGE);
    socket.send(&whole(TEXT, &padded(1025)));
    assert_eq!(socket.expect_close().0, 1009);

    let mut socket = streaming(&agent);
    socket.send(&[fragment(TEXT, &at_limit[..1000]), fragment(CONTINUATION, &at_limit[..25])].concat());
    assert_eq!(socket.expect_close().0, 1009, "the sum of the fragments counts");

    // The header is enough; what follows it is thrown away until the peer is done.
    let mut socket = streaming(&agent);
    socket.send(&whole(BINARY, &[0; 100_000])[..14]);
    assert_eq!(socket.next().close().0, 1009);
    let _ = socket.try_send(&[0; 200_000]);
    socket.finish();
    assert_eq!(socket.next_or_end().unwrap(), None);
    agent.wait_metric_at_least("featbit_agent_limits_hit_total", "message_bytes", 3.0);
}

#[test]
fn the_echo_path_returns_texts_and_binaries_of_every_size() {
    let agent = agent();
    let mut rng = Rng::new(5);
    let mut socket = echo(&agent);
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 131_072, 1_000_000, 5_000_000] {
        let text: Vec<u8> = (0..length).map(|_| b'a' + rng.below(26) as u8).collect();
        let binary: Vec<u8> = (0..length).map(|_| rng.below(256) as u8).collect();
        for (opcode, payload) in [(TEXT, text), (BINARY, binary)] {
            for mask in [MASK, [0; 4], [0xFF, 0, 0xFF, 0]] {
                socket.send(&frame(0x80 | opcode, Some(mask), &payload));
                let back = socket.next();
                assert_eq!(back.opcode, opcode);
                assert!(back.payload == payload, "{length} bytes came back otherwise");
            }
        }
    }
    expect_idle(&mut socket);
}

#[test]
fn fragments_of_megabytes_are_echoed_as_one_message() {
    let agent = agent();
    let mut socket = echo(&agent);
    let part = "0123456789abcdé".repeat(20_000);
    for index in 0..10 {
        socket.send(&fragment(if index == 0 { TEXT } else { CONTINUATION }, part.as_bytes()));
    }
    socket.send(&whole(CONTINUATION, b"end"));
    let back = socket.next();
    assert!(back.opcode == TEXT && back.text() == part.repeat(10) + "end");
}

/// What went wrong: what a client had asked for before it ended its sending was not all answered when the answers
/// were larger than the socket takes at once.
#[test]
fn everything_asked_before_a_half_close_is_answered_to_a_slow_reader() {
    const ASKED: usize = 10;
    let long = "x".repeat(300_000);
    let environment = environment().flag(flag("long", "string", &["short", &long]));
    let agent = Builder::offline().data_file(&Dataset::of([environment])).start();
    let mut socket = RawSocket::connect_with_window(agent.port(), 32 * 1024);
    socket.send(&upgrade_request(&target(), &[]));
    assert!(socket.read_head().starts_with("HTTP/1.1 101 "));
    let ask = br#"{"messageType":"data-sync","data":{"timestamp":0}}"#;
    socket.send(&[whole(TEXT, ask).repeat(ASKED), whole(TEXT, ASK_PING)].concat());
    socket.finish();
    for number in 0..ASKED {
        assert!(socket.next().payload.len() > 300_000, "answer {number}");
    }
    socket.expect_text(PONG_MESSAGE);
    assert_eq!(socket.next_or_end().unwrap(), None);
}

#[test]
fn without_an_upgrade_streaming_is_not_found_and_a_broken_upgrade_says_what_is_wrong() {
    let agent = agent();
    agent.get("/streaming?type=server&token=x", &[]).expect(404);
    let version = agent
        .get(
            "/streaming",
            &[
                ("Upgrade", "websocket"),
                ("Connection", "Upgrade"),
                ("Sec-WebSocket-Version", "12"),
                ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ],
        )
        .expect(426);
    assert_eq!(version.header("sec-websocket-version"), Some("13"));
    agent
        .get(
            "/streaming",
            &[("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13")],
        )
        .expect(400);
}

#[test]
fn extensions_and_subprotocols_are_never_accepted() {
    let agent = agent();
    let mut socket = RawSocket::connect(agent.port());
    socket.send(&upgrade_request(
        &target(),
        &[
            ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
            ("Sec-WebSocket-Protocol", "featbit"),
        ],
    ));
    let head = socket.read_head().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(!head.contains("sec-websocket-extensions") && !head.contains("sec-websocket-protocol"), "{head}");
    expect_idle(&mut socket);
}

#[test]
fn a_handshake_that_stops_half_way_is_closed() {
    let agent =
        Builder::offline().data_file(&Dataset::of([environment()])).env("Limits__HeadSeconds", "1").start();
    let mut silent = RawSocket::connect(agent.port());
    let mut half = RawSocket::connect(agent.port());
    let request = upgrade_request(&target(), &[]);
    half.send(&request[..request.len() - 3]);
    assert!(half.read_head().starts_with("HTTP/1.1 408 "));
    assert_eq!(silent.next_or_end().unwrap(), None, "nothing was asked, so that nothing is answered");
}
