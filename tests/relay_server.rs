//! Downstream agents, which follow this one as they would follow a FeatBit server, over bare sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::agent::{API_KEY, Agent, Builder};
use common::dataset::{Dataset, Environment, START_MS, boolean_flag, segment, touch};
use common::raw::{assert_error, request, send};
use common::ws::{Next, Stream};
use common::{SOON, wait_until};
use serde_json::{Value, json};

const ALL: &str = "rp-all-0123456789abcdefghijklmnopqrstuvwxyz0";
const FIRST: &str = "rp-first-0123456789abcdefghijklmnopqrstuvwxy";
const STATUS: &str = "/api/public/proxy/status";
const REGISTER: &str = "/api/public/agent/register";
const JSON: (&str, &str) = ("Content-Type", "application/json");

fn two_environments() -> Dataset {
    let first = Environment::new(1).flag(boolean_flag("a")).segment(segment("people"));
    Dataset::of([first, Environment::new(2).flag(boolean_flag("b"))])
}

fn parent() -> Builder {
    let keys = format!("{ALL};{FIRST}=project-1:production");
    Builder::offline().api_key().env("RelayKeys", &keys).env("Reactors", "2")
}

fn follow(agent: &Agent, key: &str) -> Stream {
    Stream::open(agent, &format!("/streaming?type=relay-proxy&token={key}"))
}

fn ask(relay: &mut Stream, data: &Value) -> Value {
    relay.send(&json!({ "messageType": "data-sync", "data": data }));
    relay.next_data()
}

fn status(agent: &Agent) -> Value {
    agent.get(STATUS, &[("Authorization", API_KEY)]).expect(200).json()
}

#[test]
fn a_downstream_agent_gets_a_full_sync_and_then_every_change() {
    let agent = parent().start();
    let mut data = two_environments();
    agent.bootstrap(&data);
    let (mut all, mut first) = (follow(&agent, ALL), follow(&agent, FIRST));
    let mut full = ask(&mut all, &json!({ "timestamp": 0 }));
    assert_eq!(full["eventType"], "rp_full");
    assert_eq!(full.get("provisional"), None, "an offline agent's data is all there is");
    assert_eq!(full["items"].take(), data.to_json()["items"]);
    let scoped = ask(&mut first, &json!({ "timestamp": 0 }));
    assert_eq!(scoped["items"], json!([data.to_json()["items"][0]]));

    touch(data.environments[1].flag_mut("b"), 10);
    agent.bootstrap(&data);
    let pushed = all.next_data();
    assert_eq!((&pushed["eventType"], &pushed["segments"]), (&json!("patch"), &json!([])));
    assert_eq!(pushed["featureFlags"], json!([data.to_json()["items"][1]["featureFlags"][0]]));
    first.expect_nothing_new();

    touch(data.environments[0].flag_mut("a"), 20);
    agent.bootstrap(&data);
    for relay in [&mut all, &mut first] {
        assert_eq!(relay.next_data()["featureFlags"][0]["key"], "a");
        relay.expect_nothing_new();
    }
}

/// What went wrong: the log did not say that an agent follows this one, nor that it is gone.
#[test]
fn downstream_agents_that_connect_and_disconnect_are_logged() {
    let agent = parent().start();
    let mut relay = follow(&agent, ALL);
    assert!(agent.wait_line("has connected").contains("relays=1"));
    let report = json!({ "agentId": "edge\n1", "status": "{}" });
    relay.send(&json!({ "messageType": "rp-agent-status", "data": report }));
    relay.expect_nothing_new();
    drop(relay);
    let gone = agent.wait_line("has disconnected");
    assert!(
        gone.contains("INFO") && gone.contains("relays=0") && gone.contains(r#"agent_id="edge\n1""#),
        "{gone}"
    );
    assert!(!agent.log().contains(ALL));
}

#[test]
fn a_removal_and_a_revoked_secret_are_pushed() {
    let agent = parent().start();
    let mut data = two_environments();
    agent.bootstrap(&data);
    let mut relay = follow(&agent, ALL);
    ask(&mut relay, &json!({ "timestamp": 0 }));
    data.environments[1].remove_flag("b");
    agent.bootstrap(&data);
    let full = relay.next_data();
    assert_eq!((&full["eventType"], &full["items"]), (&json!("rp_full"), &data.to_json()["items"]));
    data.environments.remove(1);
    agent.bootstrap(&data);
    let full = relay.next_data();
    assert_eq!((&full["eventType"], &full["items"]), (&json!("rp_full"), &data.to_json()["items"]));
    relay.expect_nothing_new();
}

#[test]
fn a_downstream_agent_that_reconnects_gets_a_patch_or_a_full_where_a_patch_is_not_enough() {
    let agent = parent().start();
    let mut data = two_environments();
    agent.bootstrap(&data);
    let holds = |data: &Dataset, at: i64| {
        let id = |index: usize| data.environments[index].id.clone();
        json!({ "timestamp": START_MS, "envs": [
            { "envId": id(0), "timestamp": at }, { "envId": id(1), "timestamp": at } ] })
    };
    let before = holds(&data, START_MS);
    touch(data.environments[0].flag_mut("a"), 5);
    agent.bootstrap(&data);
    let patch = ask(&mut follow(&agent, ALL), &before);
    assert_eq!(patch["eventType"], "rp_patch");
    assert_eq!(patch["items"].as_array().unwrap().len(), 2);
    assert_eq!(patch["items"][0]["featureFlags"], data.to_json()["items"][0]["featureFlags"]);
    assert_eq!(patch["items"][0]["secrets"], json!([]));
    assert_eq!(patch["items"][1]["featureFlags"], json!([]));
    // It was away while something was removed; or has an environment less, or one more.
    data.environments[0].segments.clear();
    agent.bootstrap(&data);
    assert_eq!(ask(&mut follow(&agent, ALL), &before)["eventType"], "rp_full");
    let mut fewer = holds(&data, START_MS + 100);
    fewer["envs"].as_array_mut().unwrap().pop();
    assert_eq!(ask(&mut follow(&agent, ALL), &fewer)["eventType"], "rp_full");
    assert_eq!(ask(&mut follow(&agent, FIRST), &holds(&data, START_MS + 100))["eventType"], "rp_full");
    // Other secrets than this agent has.
    let mut other = holds(&data, START_MS + 100);
    assert_eq!(ask(&mut follow(&agent, ALL), &other)["eventType"], "rp_patch");
    other["secrets"] = json!("0123");
    assert_eq!(ask(&mut follow(&agent, ALL), &other)["eventType"], "rp_full");
}

#[test]
fn a_downstream_agent_that_asks_before_there_is_data_gets_it_later() {
    let agent = parent().start();
    let mut relay = follow(&agent, ALL);
    relay.send(&json!({ "messageType": "data-sync", "data": { "timestamp": 0 } }));
    relay.expect_nothing_new();
    let data = two_environments();
    agent.bootstrap(&data);
    assert_eq!(relay.next_data()["items"], data.to_json()["items"]);
}

#[test]
fn a_slow_downstream_agent_ends_with_the_last_state_and_no_queue() {
    let agent = parent().env("Limits__SendBufferBytes", "4096").start();
    let mut data = two_environments();
    let bulk = "x".repeat(200_000);
    data.environments[0].flag_mut("a")["description"] = json!(bulk);
    agent.bootstrap(&data);
    let mut relay = follow(&agent, ALL);
    relay.send(&json!({ "messageType": "data-sync", "data": { "timestamp": 0 } }));
    for round in 1..=200 {
        touch(data.environments[0].flag_mut("a"), round);
        agent.bootstrap(&data);
    }
    let expected = data.to_json()["items"][0]["featureFlags"][0].clone();
    let mut messages = 0;
    loop {
        let message = relay.next_data();
        messages += 1;
        let flag = match message["eventType"].as_str() {
            Some("rp_full") => &message["items"][0]["featureFlags"][0],
            _ => &message["featureFlags"][0],
        };
        if *flag == expected {
            break;
        }
    }
    assert!(messages < 200, "{messages} messages: every change was queued");
    relay.expect_nothing_new();
}

#[test]
fn a_request_to_verify_is_answered_when_the_data_is_certain() {
    let agent = parent().start();
    agent.bootstrap(&two_environments());
    let mut relay = follow(&agent, ALL);
    assert_eq!(ask(&mut relay, &json!({ "timestamp": 0, "verify": 7 }))["eventType"], "rp_full");
    assert_eq!(relay.next(), json!({ "messageType": "rp-verified", "data": { "verify": 7 } }));
}

#[test]
fn downstream_agents_are_shown_in_the_status_while_connected() {
    let agent = parent().start();
    agent.bootstrap(&two_environments());
    let mut relay = follow(&agent, ALL);
    let own = json!({ "serves": "a:b", "dataVersion": 3, "syncState": "Stable" });
    relay.send(&json!({ "messageType": "rp-agent-status",
        "data": { "agentId": "edge-1", "status": own.to_string() } }));
    let child = wait_until("the relay's status is shown", SOON, || {
        let child = status(&agent)["agent"]["children"][0].clone();
        (child["agentId"] == "edge-1").then_some(child)
    });
    assert_eq!(child["status"], own);
    assert!(child["reportedAt"].as_str().unwrap() >= child["connectedSince"].as_str().unwrap());
    agent.wait_metric("featbit_agent_connections", r#"kind="relay""#, 1.0);
    drop(relay);
    wait_until("it is forgotten", SOON, || (status(&agent)["agent"]["children"] == json!([])).then_some(()));
}

#[test]
fn the_upgrade_names_this_process_to_downstream_agents_only() {
    let agent = parent().start();
    agent.bootstrap(&two_environments());
    let upgrade = |query: &str| {
        let fields = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        send(&agent, request("GET", &format!("/streaming?{query}"), &fields, None)).expect(101)
    };
    let answer = upgrade(&format!("type=relay-proxy&token={ALL}"));
    let own = status(&agent)["agent"]["instance"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("x-featbit-relay-path"), Some(own.as_str()));
    assert_eq!(upgrade("type=server&token=x").header("x-featbit-relay-path"), None);
}

#[test]
fn unknown_keys_and_the_api_key_open_no_relay_and_a_relay_key_nothing_else() {
    let agent = parent().start();
    agent.bootstrap(&two_environments());
    for key in ["", "rp-unknown", API_KEY] {
        assert_eq!(follow(&agent, key).expect_close(SOON), Some(4003), "{key}");
        let answer = send(&agent, request("POST", REGISTER, &[("Authorization", key), JSON], Some(b"\"a\"")));
        assert_error(&answer, 401);
    }
    assert_error(&agent.get(STATUS, &[("Authorization", ALL)]), 401);
    let none = Builder::offline().api_key().start();
    assert_eq!(follow(&none, ALL).expect_close(SOON), Some(4003));
}

#[test]
fn a_downstream_agent_registers_as_with_featbits_server() {
    let agent = parent().start();
    let register =
        |body: &[u8]| send(&agent, request("POST", REGISTER, &[("Authorization", FIRST), JSON], Some(body)));
    let answer = register(b"\"agent-1\"").expect(200);
    assert_eq!(
        (answer.text(), answer.header("content-type")),
        ("agent-1", Some("text/plain; charset=utf-8"))
    );
    for bad in [&b""[..], b"null", b"1", b"\" \"", b"agent-1", b"{}"] {
        assert_eq!(register(bad).status, 400, "{bad:?}");
    }
    assert_eq!(register(format!("\"{}\"", "x".repeat(5000)).as_bytes()).status, 413);
}

#[test]
fn messages_that_are_too_long_are_ignored_and_requests_get_a_full() {
    let agent = parent().env("Limits__MessageBytes", "1024").start();
    let data = two_environments();
    agent.bootstrap(&data);
    let mut relay = follow(&agent, ALL);
    let wait_limits =
        |count: f64| agent.wait_metric("featbit_agent_limits_hit_total", r#"limit="message_bytes""#, count);
    let id = data.environments[0].id.clone();
    let held = vec![json!({ "envId": id, "timestamp": START_MS }); 1000];
    let full = ask(&mut relay, &json!({ "timestamp": START_MS, "envs": held }));
    assert_eq!((&full["eventType"], &full["items"]), (&json!("rp_full"), &data.to_json()["items"]));
    wait_limits(1.0);
    let own = json!({ "serves": "x".repeat(80_000), "dataVersion": 3, "syncState": "Stable" });
    relay.send(&json!({ "messageType": "rp-agent-status",
        "data": { "agentId": "edge-1", "status": own.to_string() } }));
    // The connection stays, and nothing is sent without a request.
    let echo = json!({ "messageType": "echo", "data": [1] });
    relay.send(&echo);
    assert_eq!(relay.next(), echo);
    relay.expect_nothing_new();
    wait_limits(2.0);
    let child = wait_until("the relay is shown", SOON, || {
        Some(status(&agent)["agent"]["children"][0].take()).filter(Value::is_object)
    });
    assert_eq!(child["status"], Value::Null);
    agent.wait_line("was skipped");
    assert_eq!(agent.lines("was skipped").len(), 1, "once a minute");
}

#[test]
fn unknown_messages_of_a_downstream_agent_are_ignored() {
    let agent = parent().start();
    agent.bootstrap(&two_environments());
    let mut relay = follow(&agent, ALL);
    for message in [
        json!({ "messageType": "nonsense", "data": {} }),
        json!({ "messageType": "data-sync", "data": { "timestamp": "0" } }),
        json!({ "messageType": "rp-agent-status", "data": { "agentId": 1 } }),
        json!([]),
    ] {
        relay.send(&message);
    }
    relay.expect_nothing_new();
    let echo = json!({ "messageType": "echo", "data": [1] });
    relay.send(&echo);
    assert_eq!(relay.next(), echo);
    assert!(matches!(relay.next_within(std::time::Duration::ZERO), Next::Nothing));
}
