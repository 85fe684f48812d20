//! The scripts of the stand-in of FeatBit's evaluation server, one by one: what a server and a network may do to an agent.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::Duration;

use common::agent::API_KEY;
use common::dataset::{Dataset, Environment, boolean_flag};
use common::frames::{BINARY, CLOSE, Frame, PING, PONG, RawSocket, TEXT, fragment, frame, whole};
use common::http::{self, Connection};
use common::server::Server;
use common::server::peer::{ask, data, full, open};
use common::server::script::{Answer, Opening, Register, Shape};
use common::{SOON, wait_until};

const REGISTER: &str = "/api/public/agent/register";

fn register(server: &Server) -> std::io::Result<http::Response> {
    let headers = [("Authorization", API_KEY)];
    http::post_json(server.port(), REGISTER, &headers, "\"agent-1\"")
}

fn environment() -> Environment {
    Environment::new(1).flag(boolean_flag("first")).flag(boolean_flag("second"))
}

#[test]
fn scripted_registrations() {
    let server = Server::start(&Dataset::default());
    server.next_registers([
        Register::Id("other-id"),
        Register::Status(403),
        Register::Status(503),
        Register::Text(200, "text/html", "<html>"),
        Register::Redirect(307, "http://127.0.0.1:1/".into()),
    ]);
    assert_eq!(register(&server).unwrap().expect(200).text(), "other-id");
    register(&server).unwrap().expect(403);
    register(&server).unwrap().expect(503);
    assert_eq!(register(&server).unwrap().expect(200).text(), "<html>");
    assert_eq!(register(&server).unwrap().expect(307).header("location"), Some("http://127.0.0.1:1/"));
    server.next_registers([Register::Garbage, Register::Half, Register::Reset, Register::Reset]);
    assert_eq!(register(&server).unwrap_err().kind(), ErrorKind::InvalidData);
    assert_eq!(register(&server).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(register(&server).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(register(&server).unwrap_err().kind(), ErrorKind::ConnectionReset);
    server.script(|script| script.register_always = Some(Register::Never));
    let mut connection = Connection::open(server.port()).unwrap();
    let request = format!("POST {REGISTER} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n\"a\"");
    connection.send(request.as_bytes()).unwrap();
    server.wait_registrations(10);
    connection.stream().set_nonblocking(true).unwrap();
    assert_eq!(connection.stream().read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    // After the script, and on another path.
    server.script(|script| script.register_always = None);
    assert_eq!(register(&server).unwrap().expect(200).text(), "agent-1");
    http::get(server.port(), "/elsewhere?x", &[]).unwrap().expect(404);
    http::get(server.port(), REGISTER, &[]).unwrap().expect(405);
    assert_eq!(server.other_requests(), ["/elsewhere?x"]);
}

/// What a connection ends with: the kind of the error, or nothing.
fn end_of(mut socket: RawSocket) -> Option<ErrorKind> {
    loop {
        match socket.next_or_end() {
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(error) => return Some(error.kind()),
        }
    }
}

#[test]
fn scripted_handshakes() {
    let server = Server::start(&Dataset::of([environment()])).lenient();
    let target = format!("/streaming?type=relay-proxy&token={API_KEY}");
    let head = |opening: Opening| {
        server.next_openings([opening]);
        let mut socket = RawSocket::connect(server.port());
        socket.send(&common::frames::upgrade_request(&target, &[]));
        (socket.try_read_head(), socket)
    };
    for status in [401, 403, 404, 500, 502] {
        let (head, _) = head(Opening::Status(status));
        assert!(head.unwrap().starts_with(&format!("HTTP/1.1 {status} ")));
    }
    let (redirected, _) = head(Opening::Redirect(301, "ws://127.0.0.1:1/streaming".into()));
    assert!(redirected.unwrap().contains("Location: ws://127.0.0.1:1/streaming\r\n"));
    let (wrong, _) = head(Opening::WrongAccept);
    let wrong = wrong.unwrap();
    assert!(wrong.starts_with("HTTP/1.1 101 ") && !wrong.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{wrong}");
    assert!(head(Opening::ResetBeforeUpgrade).0.is_none());
    assert_eq!(server.handshakes().len(), 8);
    assert!(server.relays().is_empty(), "nothing was opened");

    server.next_openings([Opening::Close(1012), Opening::ResetAfterUpgrade]);
    assert_eq!(open(&server, API_KEY).expect_close_and_end().0, 1012);
    assert_eq!(end_of(open(&server, API_KEY)), Some(ErrorKind::ConnectionReset));

    server.next_openings([Opening::ResetAtRequest, Opening::EndAfterAnswer, Opening::Silent]);
    let mut socket = open(&server, API_KEY);
    ask(&mut socket, 0, &[]);
    assert_eq!(end_of(socket), Some(ErrorKind::ConnectionReset));
    let mut socket = open(&server, API_KEY);
    full(&mut socket);
    assert_eq!(end_of(socket), None);
    let mut socket = open(&server, API_KEY);
    ask(&mut socket, 0, &[]);
    socket.send(&whole(PING, b"x"));
    let relay = server.wait_request(4);
    assert!(!socket.has_input() && relay.is_open());
    relay.reset();
    assert_eq!(end_of(socket), Some(ErrorKind::ConnectionReset));
    relay.wait_for_end();
}

#[test]
fn an_answer_can_end_within() {
    let server = Server::start(&Dataset::of([environment()])).lenient();
    server.next_openings([Opening::ResetWithin(50)]);
    let target = format!("/streaming?type=relay-proxy&token={API_KEY}");
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    std::io::Write::write_all(&mut stream, &common::frames::upgrade_request(&target, &[])).unwrap();
    let request = br#"{"messageType":"data-sync","data":{"timestamp":0}}"#;
    std::io::Write::write_all(&mut stream, &whole(TEXT, request)).unwrap();
    let mut all = Vec::new();
    let error = stream.read_to_end(&mut all).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let head = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert!(all.len() - head <= 50, "{}", all.len() - head);
}

#[test]
fn answers_and_messages_of_any_kind() {
    let server = Server::start(&Dataset::of([environment()])).lenient();
    server.next_answers([
        Answer::Text("not JSON".into()),
        Answer::Binary("{}".into()),
        Answer::Bytes(vec![0xFF, 0xFE]),
        Answer::None,
        Answer::Honest,
    ]);
    let mut socket = open(&server, API_KEY);
    for _ in 0..5 {
        ask(&mut socket, 0, &[]);
    }
    assert_eq!(socket.next(), Frame { opcode: TEXT, payload: b"not JSON".to_vec() });
    assert_eq!(socket.next(), Frame { opcode: BINARY, payload: b"{}".to_vec() });
    assert_eq!(socket.next(), Frame { opcode: TEXT, payload: vec![0xFF, 0xFE] });
    assert_eq!(data(&mut socket)["eventType"], "rp_full");
    let relay = server.wait_relay(0);
    relay.ping();
    assert_eq!(socket.next().opcode, PING);
    socket.send(&whole(PONG, b"there?"));
    socket.send(&whole(PING, b"and you?"));
    assert_eq!(socket.next(), Frame { opcode: PONG, payload: b"and you?".to_vec() });
    assert_eq!(relay.protocol_pongs(), 1);
    relay.send_raw(&frame(0x80 | TEXT, None, b"raw"));
    socket.expect_text("raw");
    relay.end();
    assert!(socket.next_or_end().unwrap().is_none());
}

#[test]
fn messages_can_be_sent_slowly_in_many_frames_with_pings_between() {
    let server = Server::start(&Dataset::of([environment()])).lenient();
    let shape = Shape { frame_bytes: 100, pings_between: true, drip: Some((64, Duration::from_millis(1))) };
    server.script(|script| script.shape = shape);
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let target = format!("ws://127.0.0.1/streaming?type=relay-proxy&token={API_KEY}");
    let (mut client, _) = tungstenite::client(target, &mut stream).unwrap();
    client.send(tungstenite::Message::text(r#"{"messageType":"data-sync","data":{"timestamp":0}}"#)).unwrap();
    let mut pings = 0;
    let whole = loop {
        match client.read().unwrap() {
            tungstenite::Message::Ping(_) => pings += 1,
            other => break other,
        }
    };
    assert_eq!(whole.to_text().unwrap(), server.full(API_KEY));
    assert_eq!(pings, whole.len().div_ceil(100) - 1);
    let relay = server.wait_relay(0);
    wait_until("the pongs", SOON, || (relay.protocol_pongs() > 0).then_some(()));
}

#[test]
fn the_agents_close_is_answered_and_seen() {
    let server = Server::start(&Dataset::of([environment()]));
    let mut socket = open(&server, API_KEY);
    full(&mut socket);
    socket.send(&whole(CLOSE, &1001u16.to_be_bytes()));
    assert_eq!(socket.expect_close_and_end().0, 1001);
    drop(socket);
    assert_eq!(server.wait_relay(0).wait_for_end().code, Some(1001));
    // Each code that a server may send.
    for code in
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4000, 4003, 4999]
    {
        server.next_openings([Opening::Close(code)]);
        assert_eq!(open(&server, API_KEY).expect_close_and_end().0, code);
    }
}

#[test]
fn a_server_that_is_away_refuses_and_comes_back_on_its_port() {
    let server = Server::start(&Dataset::of([environment()])).lenient();
    let mut socket = open(&server, API_KEY);
    full(&mut socket);
    server.stop_listening();
    assert_eq!(register(&server).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    full(&mut socket);
    server.start_listening();
    register(&server).unwrap().expect(200);
    server.script(|script| script.resets = 1);
    assert_eq!(register(&server).unwrap_err().kind(), ErrorKind::ConnectionReset);
    register(&server).unwrap().expect(200);
    server.crash();
    assert_eq!(end_of(socket), Some(ErrorKind::ConnectionReset));
    assert_eq!(register(&server).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    server.start_listening();
    full(&mut open(&server, API_KEY));
}

#[test]
fn forbidden_messages_of_an_agent_are_recorded_as_faults() {
    for bytes in [
        frame(0x80 | TEXT, None, b"{}"),
        frame(0xC0 | TEXT, Some([1, 2, 3, 4]), b"{}"),
        whole(0, b"{}"),
        [fragment(TEXT, b"{"), whole(TEXT, b"}")].concat(),
        whole(TEXT, b"no JSON"),
        whole(TEXT, br#"{"messageType":"unheard-of","data":{}}"#),
        whole(TEXT, br#"{"messageType":"data-sync","data":{}}"#),
        whole(TEXT, br#"{"messageType":"rp-agent-status","data":{"agentId":"a","status":{}}}"#),
    ] {
        let server = Server::start(&Dataset::of([environment()])).lenient();
        open(&server, API_KEY).send(&bytes);
        wait_until("the fault", SOON, || (server.faults().len() == 1).then_some(()));
    }
}
