//! Usage events in the modes of the settings: what arrives at the server, what stays, and what calls are answered.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::agent::{API_KEY, Agent, Builder};
use common::dataset::{Dataset, Environment, Kind, boolean_flag, user};
use common::event_server::{EventServer, Reaction};
use common::raw::{TRACK, connect, request};
use common::{SOON, wait_until};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const TOTAL: &str = "featbit_agent_usage_events_total";

/// An agent that sends events to this server, and its environment.
fn sending(server: &EventServer, more: impl FnOnce(Builder) -> Builder) -> (Agent, Environment) {
    let environment = Environment::new(1).flag(boolean_flag("on"));
    let builder = Builder::offline()
        .api_key()
        .data_file(&Dataset::of([environment.clone()]))
        .env("EventUri", &server.url())
        .env("Events__FlushSeconds", "0")
        .env("Events__RetrySeconds", "1");
    (more(builder).start(), environment)
}

fn evaluation(user_key: &str) -> Value {
    json!({ "user": user(user_key, &[]), "variations": [{
        "featureFlagKey": "on", "sendToExperiment": true, "timestamp": 1_706_745_600_000i64,
        "variation": { "id": "v0", "value": "true" }
    }] })
}

/// The texts of events as SDKs send them, with white space and members that nobody knows.
const ODD: [&str; 4] = [
    r#"{"user":{"keyId":"a","name":"A","customizedProperties":[]},"variations":[]}"#,
    r#"{ "user" : {"keyId":"b"} }"#,
    r#"{"user":{"keyId":"cé\u00e9"},"variations":[{"featureFlagKey":"on","timestamp":1,"reason":"x","variation":null}],"more":[1.50]}"#,
    r#"{"metrics":[{"route":"index/metric","type":"CustomEvent","eventName":"buy","numericValue":1e2,"appType":"x","timestamp":1}],"user":{"keyId":"d"}}"#,
];

fn post_text(agent: &Agent, secret: &str, text: &str) {
    let headers = [("Authorization", secret), JSON];
    let mut connection = connect(agent);
    connection.send(&request("POST", TRACK, &headers, Some(text.as_bytes()))).unwrap();
    connection.read_response(false).unwrap().expect(200);
}

#[test]
fn forwarded_events_arrive_byte_for_byte_with_the_secret_that_they_came_with() {
    let server = EventServer::start();
    let (agent, environment) = sending(&server, |agent| agent);
    for kind in [Kind::Server, Kind::Client] {
        let secret = environment.secret(kind);
        post_text(&agent, &secret, &format!("[{}]", ODD.join(" , ")));
    }
    server.wait_events(2 * ODD.len());
    let sent = String::from_utf8(server.bytes()).unwrap();
    for odd in ODD {
        assert_eq!(sent.matches(odd).count(), 2, "{odd}");
    }
    let mut secrets: Vec<String> =
        server.requests().iter().map(|got| got.fields["authorization"].clone()).collect();
    secrets.sort();
    let mut expected = [environment.secret(Kind::Server), environment.secret(Kind::Client)];
    expected.sort();
    assert_eq!(secrets, expected);
    for got in server.requests() {
        assert_eq!(got.line, "POST /api/public/insight/track HTTP/1.1");
        assert_eq!(got.fields["content-type"], "application/json; charset=utf-8");
    }
    agent.wait_metric(TOTAL, "result=\"sent\"", 2.0 * ODD.len() as f64);
}

#[test]
fn calls_of_many_sdks_become_few_requests() {
    let server = EventServer::start();
    let (agent, environment) = sending(&server, |agent| agent.env("Events__FlushSeconds", "2"));
    let secret = environment.secret(Kind::Server);
    for number in 0..100 {
        agent
            .post(TRACK, &[("Authorization", &secret)], &json!([evaluation(&number.to_string())]))
            .expect(200);
    }
    let events = server.wait_events(100);
    let keys: Vec<&str> = events.iter().map(|event| event["user"]["keyId"].as_str().unwrap()).collect();
    assert_eq!(keys, (0..100).map(|number| number.to_string()).collect::<Vec<_>>(), "in order, each once");
    assert!(server.requests().len() < 50, "{}", server.requests().len());
}

#[test]
fn events_wait_in_memory_while_the_server_fails_and_a_full_queue_is_told() {
    let server = EventServer::start();
    server.always(Reaction::Answer(500, ""));
    let (agent, environment) = sending(&server, |agent| agent.env("Events__QueueBytes", "64KB"));
    let secret = environment.secret(Kind::Server);
    let batch = Value::from_iter((0..50).map(|number| evaluation(&format!("user-{number}"))));
    let mut taken = 0;
    let full = wait_until("a refusal", SOON, || {
        let response = agent.post(TRACK, &[("Authorization", &secret)], &batch);
        match response.status {
            200 => taken += 50,
            503 => return Some(response),
            other => panic!("{other}"),
        }
        None
    });
    assert!(full.header("retry-after").is_some());
    assert!(taken > 0);
    server.always(Reaction::Answer(200, ""));
    server.wait_events(taken);
    agent.wait_metric(TOTAL, "result=\"sent\"", taken as f64);
    agent.post(TRACK, &[("Authorization", &secret)], &batch).expect(200);
}

#[test]
fn what_is_in_memory_is_sent_before_the_agent_ends() {
    let server = EventServer::start();
    let (mut agent, environment) = sending(&server, |agent| agent.env("Events__FlushSeconds", "600"));
    let secret = environment.secret(Kind::Server);
    agent.post(TRACK, &[("Authorization", &secret)], &json!([evaluation("a")])).expect(200);
    assert!(server.events().is_empty());
    assert!(agent.stop().success());
    assert_eq!(server.events().len(), 1);
}

/// What went wrong: the agent waited five seconds for its thread of events, whatever the drain time was, and ended without
/// counting what was left.
#[test]
fn events_in_memory_were_lost_uncounted_where_the_drain_took_longer_than_five_seconds() {
    let server = EventServer::start();
    server.always(Reaction::Answer(503, ""));
    let (mut agent, environment) = sending(&server, |agent| agent.env("Shutdown__DrainSeconds", "6"));
    let secret = environment.secret(Kind::Server);
    agent.post(TRACK, &[("Authorization", &secret)], &json!([evaluation("a")])).expect(200);
    server.wait_requests(1);
    assert!(agent.stop().success());
    let log = agent.log();
    assert!(log.contains("usage events were only in memory and are lost"), "{log}");
}

#[test]
fn an_agent_that_would_send_events_to_itself_says_so() {
    let server = EventServer::start();
    let (agent, environment) = sending(&server, |agent| agent);
    // What arrives at the server is sent to the agent, as if EventUri were the agent itself.
    agent
        .post(TRACK, &[("Authorization", &environment.secret(Kind::Server))], &json!([evaluation("a")]))
        .expect(200);
    let requests = server.wait_requests(1);
    let name = &requests[0].fields["x-featbit-user-agent"];
    let own = [("Authorization", environment.secret(Kind::Server)), ("X-FeatBit-User-Agent", name.clone())];
    let own: Vec<(&str, &str)> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
    agent.post(TRACK, &own, &json!([evaluation("a")])).expect(508);
    let status = agent.get("/api/public/proxy/status", &[("Authorization", API_KEY)]).expect(200).json();
    assert!(
        status["agent"]["events"]["summary"]
            .as_str()
            .unwrap()
            .starts_with("usage events are sent to http://127")
    );
}

/// As [`sending`], with a folder for events.
fn with_folder(server: &EventServer, more: impl FnOnce(Builder) -> Builder) -> (Agent, Environment) {
    sending(server, |agent| more(agent.env("Events__Directory", "events")))
}

#[test]
fn a_killed_agent_sends_after_its_next_start_what_it_has_taken() {
    let server = EventServer::start();
    server.always(Reaction::Answer(503, "Retry-After: 1"));
    let (mut agent, environment) = with_folder(&server, |agent| agent);
    let secret = environment.secret(Kind::Server);
    for number in 0..20 {
        agent
            .post(TRACK, &[("Authorization", &secret)], &json!([evaluation(&number.to_string())]))
            .expect(200);
    }
    agent.kill();
    server.always(Reaction::Answer(200, ""));
    agent.start_again();
    let events = server.wait_events(20);
    let keys: Vec<&str> = events.iter().map(|event| event["user"]["keyId"].as_str().unwrap()).collect();
    assert_eq!(keys, (0..20).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn local_events_stay_in_readable_files_and_nothing_is_sent() {
    let server = EventServer::start();
    let (agent, environment) = with_folder(&server, |agent| agent.env("Events__Mode", "local"));
    let secret = environment.secret(Kind::Client);
    post_text(&agent, &secret, &format!("[{}]", ODD.join(",")));
    let folder = agent.dir().join("events/local");
    let file = std::fs::read_dir(&folder)
        .unwrap()
        .filter_map(Result::ok)
        .find(|entry| entry.path().is_dir())
        .unwrap();
    let file = std::fs::read_dir(file.path()).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(file).unwrap();
    assert_eq!(text.lines().count(), ODD.len());
    for (line, odd) in text.lines().zip(ODD) {
        assert!(line.contains(odd), "{line}");
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["environment"], "project-1:production");
    }
    agent.wait_metric(TOTAL, "result=\"kept\"", ODD.len() as f64);
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_second_agent_on_the_same_folder_is_refused() {
    let server = EventServer::start();
    let (agent, _) = with_folder(&server, |agent| agent);
    let folder = agent.dir().join("events");
    let mut other = sending(&server, |agent| agent).0;
    other.set_env("Events__Directory", &folder.display().to_string());
    other.stop();
    let ended = other.start_in_vain();
    assert_eq!(ended.code(), Some(78));
    assert!(other.log().contains("Events__Directory"), "{}", other.log());
}
