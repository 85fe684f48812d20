//! The stand-in of FeatBit's evaluation server (`tests/common/server/`) against what the real one said: what agents are
//! tested against is itself tested. Its scripts are tested in `server_standin_scripts.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::agent::API_KEY;
use common::dataset::{
    Dataset, Environment, Kind, START_MS, boolean_flag, iso, rule, segment, segment_condition, serve, touch,
};
use common::frames::{TEXT, fragment, whole};
use common::http;
use common::server::Server;
use common::server::delayed::Delay;
use common::server::model::Model;
use common::server::peer::{ask, data, expect_nothing, full, open};
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
fn a_conversation_is_as_with_the_real_server() {
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
        let (code, reason) = open(&server, key).expect_close_and_end();
        assert_eq!(u64::from(code), recorded["refused"]["code"], "{key}");
        assert_eq!(reason, text(&recorded["refused"]["reason"]));
    }
    for secret in first.secrets.iter().filter(|secret| secret["type"] == "server") {
        server.revoke_secret(&first.id, text(&secret["value"]));
    }
    server.set_key("rp-clients", &[&first.id]);
    assert_eq!(open(&server, "rp-clients").expect_close_and_end().0, 4003);
}

#[test]
fn requests_over_8_kb_are_dropped_silently() {
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
fn a_connection_gets_pushes_for_the_environments_and_secrets_of_its_opening() {
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
    // Old connections still get changes of an environment that left the scope.
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
    // A segment of two environments: one of its own in each, and flags that use it are touched without a push.
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
fn a_delayed_answer_has_the_data_of_the_request_or_of_the_release() {
    for (holding, value) in [(Delay::AsRequested, "v0"), (Delay::AsReleased, "v1")] {
        let (first, _) = two_environments();
        let server = Server::start(&Dataset::of([first.clone()])).lenient();
        server.delay(holding);
        let mut socket = open(&server, API_KEY);
        ask(&mut socket, 0, &[]);
        wait_until("the request is held", SOON, || (server.delayed() == 1).then_some(()));
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
