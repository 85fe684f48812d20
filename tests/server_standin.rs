//! The stand-in of FeatBit's evaluation server (`tests/common/server/`) against what the real one said, and its scripts
//! one by one: what agents are tested against is itself tested.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::Duration;

use common::agent::API_KEY;
use common::dataset::{
    Dataset, Environment, Kind, START_MS, boolean_flag, iso, rule, segment, segment_condition, serve, touch,
};
use common::frames::{BINARY, CLOSE, Frame, PING, PONG, RawSocket, TEXT, fragment, frame, whole};
use common::http::{self, Connection};
use common::server::Server;
use common::server::held::Holding;
use common::server::model::Model;
use common::server::script::{Answer, Opening, Register, Shape};
use common::{SOON, wait_until};
use serde_json::{Value, json};

const REGISTER: &str = "/api/public/agent/register";

fn recorded() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/relay.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The recorded server, with the recorded key.
fn recorded_server() -> Server {
    let data = Dataset::from_json(&recorded()["dump"]);
    Server::start_with(Model::of("rp-harness-api-key", &data)).lenient()
}

fn open(server: &Server, key: &str) -> RawSocket {
    RawSocket::upgrade(server.port(), &format!("/streaming?type=relay-proxy&token={key}"), &[])
}

fn ask(socket: &mut RawSocket, timestamp: i64, environments: &[(&str, i64)]) {
    let environments: Vec<Value> =
        environments.iter().map(|(id, at)| json!({ "envId": id, "timestamp": at })).collect();
    let request =
        json!({ "messageType": "data-sync", "data": { "timestamp": timestamp, "envs": environments } });
    socket.send(&whole(TEXT, request.to_string().as_bytes()));
}

fn data(socket: &mut RawSocket) -> Value {
    let frame = socket.next();
    let mut message: Value = serde_json::from_str(frame.text()).unwrap();
    assert_eq!(message["messageType"], "data-sync");
    message["data"].take()
}

fn full(socket: &mut RawSocket) -> Value {
    ask(socket, 0, &[]);
    let data = data(socket);
    assert_eq!(data["eventType"], "rp_full");
    data
}

/// Nothing was sent before now.
fn expect_nothing(socket: &mut RawSocket) {
    socket.send(&whole(TEXT, br#"{"messageType":"ping","data":{}}"#));
    socket.expect_text(r#"{"messageType":"pong","data":{}}"#);
}

fn register(server: &Server) -> std::io::Result<http::Response> {
    let headers = [("Authorization", API_KEY)];
    http::post_json(server.port(), REGISTER, &headers, "\"agent-1\"")
}

fn two_environments() -> (Environment, Environment) {
    let mut later = boolean_flag("later");
    touch(&mut later, 2000);
    let mut people = segment("people");
    touch(&mut people, 1000);
    let mut uses = boolean_flag("uses");
    uses["rules"] = json!([rule("in", vec![segment_condition(&[text(&people["id"])], false)], json!([]))]);
    let first = Environment::new(1).flag(boolean_flag("first")).flag(later).flag(uses).segment(people);
    (first, Environment::new(2).flag(boolean_flag("other")))
}

fn keys(items: &Value) -> Vec<&str> {
    items.as_array().unwrap().iter().map(|flag| text(&flag["key"])).collect()
}

#[test]
fn registrations_are_answered_as_the_real_server_did() {
    let server = recorded_server();
    for recorded in recorded()["register"].as_array().unwrap() {
        let headers = [("Authorization", text(&recorded["authorization"]))];
        let answer = http::post_json(server.port(), REGISTER, &headers, text(&recorded["body"])).unwrap();
        assert_eq!(u64::from(answer.status), recorded["status"], "{recorded}");
        assert_eq!(answer.header("content-type"), recorded["contentType"].as_str());
        match answer.status {
            200 => assert_eq!(answer.text(), text(&recorded["answer"])),
            // Its title, and which request it was, differ from case to case.
            status => assert_eq!(answer.json()["status"], u64::from(status)),
        }
    }
    let seen = server.registrations();
    assert_eq!(seen.len(), recorded()["register"].as_array().unwrap().len());
    assert_eq!(seen[0].request.body, b"\"agent-1\"");
    assert_eq!((seen[0].status, seen[2].status), (200, 401));
}

#[test]
fn a_conversation_goes_as_with_the_real_server() {
    let recorded = recorded();
    let environment = text(&recorded["dump"]["items"][0]["envId"]).to_owned();
    let server = recorded_server();
    let mut socket = open(&server, "rp-harness-api-key");
    let mut pushed = 0;
    for exchange in recorded["streaming"].as_array().unwrap() {
        let got = exchange["got"].as_array().unwrap();
        match exchange["send"].as_str() {
            Some(send) => socket.send(&whole(TEXT, send.as_bytes())),
            None => {
                let first: Value = serde_json::from_str(text(&got[0])).unwrap();
                let (flags, segments) = (&first["data"]["featureFlags"], &first["data"]["segments"]);
                for flag in flags.as_array().unwrap() {
                    server.upsert_flag(&environment, flag.clone());
                }
                for segment in segments.as_array().unwrap() {
                    server.upsert_segment(&[&environment], segment);
                }
                pushed += 1;
            }
        }
        for expected in got {
            let frame = socket.next();
            let expected: Value = serde_json::from_str(text(expected)).unwrap();
            let answer: Value = serde_json::from_str(frame.text()).unwrap();
            assert_eq!(answer, expected, "{}", exchange["what"]);
        }
        expect_nothing(&mut socket);
    }
    assert_eq!(pushed, 2, "the recording holds a changed flag and a changed segment");
    let relay = server.wait_relay(0);
    assert_eq!(relay.statuses()[0]["agentId"], "agent-1");
    assert_eq!(relay.statuses()[0]["status"]["syncState"], "Stable");
    assert_eq!(relay.requests().len(), 3);
}

#[test]
fn text_is_escaped_as_the_real_server_does() {
    let server = recorded_server();
    let mut socket = open(&server, "rp-harness-api-key");
    ask(&mut socket, 0, &[]);
    let frame = socket.next();
    assert!(frame.text().is_ascii());
    for spelling in [r"w\u00F6rld \u0022quoted\u0022 \\ \u003C/script\u003E", r"\u7528\u6237-9"] {
        assert!(frame.text().contains(spelling), "{spelling}");
    }
}

#[test]
fn unknown_keys_and_keys_that_open_no_server_secret_are_refused_after_the_upgrade() {
    let recorded = recorded();
    let (first, second) = two_environments();
    let server = Server::start(&Dataset::of([first.clone(), second])).lenient();
    let client_only = server.create_secret(&first.id, Kind::Client, 4);
    server.set_key("rp-empty", &[]);
    for key in ["rp-unknown", "rp-empty", "", client_only.as_str()] {
        let (code, reason) = open(&server, key).expect_close();
        assert_eq!(u64::from(code), recorded["refused"]["code"], "{key}");
        assert_eq!(reason, text(&recorded["refused"]["reason"]));
    }
    for secret in first.secrets.iter().filter(|secret| secret["type"] == "server") {
        server.revoke_secret(&first.id, text(&secret["value"]));
    }
    server.set_key("rp-clients", &[&first.id]);
    assert_eq!(open(&server, "rp-clients").expect_close().0, 4003);
}

#[test]
fn requests_over_8_kb_are_dropped_in_silence() {
    let (first, second) = two_environments();
    let server = Server::start(&Dataset::of([first.clone(), second])).lenient();
    let mut socket = open(&server, API_KEY);
    let request = |blanks: usize| {
        let blanks = " ".repeat(blanks);
        format!(r#"{{"messageType":"data-sync","data":{{"timestamp":1{blanks}}}}}"#)
    };
    let bare = request(0).len();
    socket.send(&whole(TEXT, request(8192 - bare).as_bytes()));
    assert_eq!(data(&mut socket)["eventType"], "rp_patch");
    socket.send(&whole(TEXT, request(8193 - bare).as_bytes()));
    expect_nothing(&mut socket);
    // In five pieces, which the server reads one by one.
    let whole_request = request(0);
    socket.send(&fragment(TEXT, &whole_request.as_bytes()[..4]));
    for at in 1..4 {
        socket.send(&fragment(0, &whole_request.as_bytes()[at * 4..at * 4 + 4]));
    }
    socket.send(&whole(0, &whole_request.as_bytes()[16..]));
    expect_nothing(&mut socket);
    assert_eq!(server.faults().len(), 2, "{:?}", server.faults());
    assert_eq!(server.relays()[0].requests().len(), 1);
}

#[test]
fn a_connection_is_told_of_the_environments_and_secrets_of_its_opening() {
    let (first, second) = two_environments();
    let mut server = Server::start(&Dataset::of([first.clone()]));
    server = server.lenient();
    server.create_environment(second.clone());
    let mut old = open(&server, API_KEY);
    full(&mut old);
    server.add_to_scope(API_KEY, &second.id);
    server.create_secret(&first.id, Kind::Server, 1);
    expect_nothing(&mut old);
    let mut new = open(&server, API_KEY);
    let mut flag = boolean_flag("other");
    touch(&mut flag, 5000);
    server.upsert_flag(&second.id, flag.clone());
    server.upsert_flag(&first.id, flag);
    // The old one: the first environment once. The new one: both its secrets, and the second environment.
    assert_eq!(data(&mut old)["featureFlags"][0]["envId"], *first.id);
    expect_nothing(&mut old);
    for id in [&second.id, &first.id, &first.id] {
        assert_eq!(data(&mut new)["featureFlags"][0]["envId"], **id);
    }
    expect_nothing(&mut new);
    // A full answer is of now; a patch of the opening, with everything of what the request does not name.
    let items = full(&mut old)["items"].take();
    assert_eq!(items.as_array().unwrap().len(), 2);
    assert_eq!(items[0]["secrets"].as_array().unwrap().len(), 3);
    ask(&mut old, START_MS + 9000, &[(&second.id, START_MS + 9000)]);
    let items = data(&mut old)["items"].take();
    assert_eq!(items.as_array().unwrap().len(), 1);
    assert_eq!(items[0]["featureFlags"].as_array().unwrap().len(), 4);
    assert_eq!(items[0]["secrets"], json!([]));
    // What left the scope is still told of on old connections.
    server.remove_from_scope(API_KEY, &second.id);
    let mut flag = boolean_flag("other");
    touch(&mut flag, 6000);
    server.upsert_flag(&second.id, flag);
    assert_eq!(data(&mut new)["featureFlags"][0]["envId"], *second.id);
    assert_eq!(full(&mut new)["items"].as_array().unwrap().len(), 1);
}

#[test]
fn only_changed_flags_and_segments_are_pushed() {
    let (first, second) = two_environments();
    let server = Server::start(&Dataset::of([first.clone(), second.clone()])).lenient();
    let mut socket = open(&server, API_KEY);
    full(&mut socket);
    let secret = server.create_secret(&first.id, Kind::Server, 7);
    let taken = server.revoke_secret(&first.id, &secret);
    server.restore_secret(&first.id, taken);
    server.delete_flag(&first.id, "first");
    server.remove_from_scope(API_KEY, &second.id);
    expect_nothing(&mut socket);
    server.archive_flag(&first.id, "later", START_MS + 5000);
    let flag = data(&mut socket)["featureFlags"][0].take();
    assert_eq!((flag["isArchived"].as_bool(), text(&flag["key"])), (Some(true), "later"));
    // A segment of two environments: one of its own in each, and flags that use it are touched without a word.
    let mut people = segment("people");
    touch(&mut people, 6000);
    server.upsert_segment(&[&first.id, &second.id], &people);
    for id in [&first.id, &second.id] {
        let patch = data(&mut socket);
        assert_eq!(
            (patch["featureFlags"].as_array().unwrap().len(), &patch["eventType"]),
            (0, &json!("patch"))
        );
        assert_eq!(patch["segments"][0]["envId"], **id);
    }
    expect_nothing(&mut socket);
    ask(&mut socket, START_MS + 5000, &[(&first.id, START_MS + 5000), (&second.id, START_MS + 5000)]);
    let items = data(&mut socket)["items"].take();
    assert_eq!(keys(&items[0]["featureFlags"]), ["uses"]);
    assert_eq!(items[0]["featureFlags"][0]["updatedAt"], iso(START_MS + 6000));
    assert_eq!(items[1]["featureFlags"], json!([]));
    server.script(|script| script.mute = true);
    server.upsert_flag(&first.id, boolean_flag("unheard"));
    expect_nothing(&mut socket);
}

#[test]
fn an_environment_without_server_secrets_is_in_a_full_answer_only_and_one_without_secrets_nowhere() {
    let (first, mut second) = two_environments();
    let mut third = Environment::new(3).flag(boolean_flag("third"));
    second.secrets.retain(|secret| secret["type"] == "client");
    third.secrets.clear();
    let server = Server::start(&Dataset::of([first.clone(), second.clone(), third.clone()])).lenient();
    let mut socket = open(&server, API_KEY);
    let items = full(&mut socket)["items"].take();
    let ids: Vec<&str> = items.as_array().unwrap().iter().map(|item| text(&item["envId"])).collect();
    assert_eq!(ids, [&first.id, &second.id]);
    ask(&mut socket, 1, &[]);
    assert_eq!(data(&mut socket)["items"].as_array().unwrap().len(), 1);
    server.upsert_flag(&second.id, boolean_flag("unheard"));
    server.upsert_flag(&third.id, boolean_flag("unheard"));
    expect_nothing(&mut socket);
}

#[test]
fn a_held_answer_is_of_then_or_of_now_and_may_be_overtaken() {
    for (holding, value) in [(Holding::Old, "v0"), (Holding::New, "v1")] {
        let (first, _) = two_environments();
        let server = Server::start(&Dataset::of([first.clone()])).lenient();
        server.hold(holding);
        let mut socket = open(&server, API_KEY);
        ask(&mut socket, 0, &[]);
        wait_until("the request is held", SOON, || (server.held() == 1).then_some(()));
        let mut flag = boolean_flag("first");
        serve(&mut flag, "v1");
        touch(&mut flag, 1);
        server.upsert_flag(&first.id, flag);
        assert_eq!(data(&mut socket)["eventType"], "patch");
        expect_nothing(&mut socket);
        server.release();
        let items = data(&mut socket)["items"].take();
        let flags = items[0]["featureFlags"].as_array().unwrap().clone();
        let flag = flags.iter().find(|flag| flag["key"] == "first").unwrap();
        assert_eq!(flag["fallthrough"]["variations"][0]["id"], value);
    }
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
    assert_eq!(server.strays(), ["/elsewhere?x"]);
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
    let (first, _) = two_environments();
    let server = Server::start(&Dataset::of([first])).lenient();
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
    assert_eq!(open(&server, API_KEY).expect_close().0, 1012);
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
    let (first, _) = two_environments();
    let server = Server::start(&Dataset::of([first])).lenient();
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
    let (first, _) = two_environments();
    let server = Server::start(&Dataset::of([first])).lenient();
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
fn messages_in_many_frames_with_pings_between_in_drops() {
    let (first, _) = two_environments();
    let server = Server::start(&Dataset::of([first])).lenient();
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
    let (first, _) = two_environments();
    let server = Server::start(&Dataset::of([first]));
    let mut socket = open(&server, API_KEY);
    full(&mut socket);
    socket.send(&whole(CLOSE, &1001u16.to_be_bytes()));
    assert_eq!(socket.expect_close().0, 1001);
    drop(socket);
    assert_eq!(server.wait_relay(0).wait_for_end().code, Some(1001));
    // Each code that a server may send.
    for code in
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4000, 4003, 4999]
    {
        server.next_openings([Opening::Close(code)]);
        assert_eq!(open(&server, API_KEY).expect_close().0, code);
    }
}

#[test]
fn a_server_that_is_away_refuses_and_comes_back_on_its_port() {
    let (first, _) = two_environments();
    let server = Server::start(&Dataset::of([first])).lenient();
    let mut socket = open(&server, API_KEY);
    full(&mut socket);
    server.leave();
    assert_eq!(register(&server).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    full(&mut socket);
    server.come();
    register(&server).unwrap().expect(200);
    server.script(|script| script.resets = 1);
    assert_eq!(register(&server).unwrap_err().kind(), ErrorKind::ConnectionReset);
    register(&server).unwrap().expect(200);
    server.die();
    assert_eq!(end_of(socket), Some(ErrorKind::ConnectionReset));
    assert_eq!(register(&server).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    server.come();
    full(&mut open(&server, API_KEY));
}

#[test]
fn what_an_agent_must_not_send_is_a_fault() {
    let (first, _) = two_environments();
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
        let server = Server::start(&Dataset::of([first.clone()])).lenient();
        open(&server, API_KEY).send(&bytes);
        wait_until("the fault", SOON, || (server.faults().len() == 1).then_some(()));
    }
}
