//! Usage events of real SDKs of every kind: whatever the mode, what they produced is what arrives or stays, also through an
//! outage of the server and through two agents.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::collections::BTreeMap;
use std::fs;

use common::agent::{Agent, Builder};
use common::dataset::{Dataset, Environment, Kind, boolean_flag, user};
use common::event_server::{EventServer, Reaction};
use common::raw::TRACK;
use common::sdk::{Fleet, Sdk};
use common::{SOON, wait_until};
use serde_json::{Value, json};

const TOTAL: &str = "featbit_agent_usage_events_total";
const WAITING: &str = "featbit_agent_usage_events_waiting";
/// What each SDK produces: of each flag and metric one, since some of them count what is equal once.
const EVALUATIONS: usize = 5;
const METRICS: usize = 2;
/// The number of each metric.
const WORTH: f64 = 12.5;

fn environment() -> Environment {
    let flags = (0..EVALUATIONS).map(|number| boolean_flag(&format!("flag-{number}")));
    flags.fold(Environment::new(1), Environment::flag)
}

/// An agent in this mode, in front of a server.
fn agent(server: &EventServer, mode: &str) -> Agent {
    Builder::offline()
        .data_file(&Dataset::of([environment()]))
        .env("EventUri", &server.url())
        .env("Events__Mode", mode)
        .env("Events__Directory", "events")
        .env("Events__FlushSeconds", "0")
        .env("Events__RetrySeconds", "1")
        .start()
}

/// The user of an SDK.
fn user_of(sdk: &Sdk) -> Value {
    user(&format!("user of {}", sdk.label()), &[("plan", "gold")])
}

/// Lets an SDK produce its events, and closes it. All its posts are accepted.
fn produce(sdk: &mut Sdk, agent: &Agent) {
    let (user, patience) = (user_of(sdk), sdk.patience());
    sdk.start_with(&agent.url(), &environment().secret(sdk.kind()), &user, json!({ "events": true }));
    sdk.wait_ready();
    for number in 0..EVALUATIONS {
        let key = format!("flag-{number}");
        let asked = json!({ "key": key, "user": user, "type": "boolean", "default": false });
        assert_eq!(sdk.command("variation", asked, patience)["value"], true);
    }
    for number in 0..METRICS {
        sdk.command(
            "track",
            json!({ "user": user, "event": format!("bought-{number}"), "value": WORTH }),
            patience,
        );
    }
    sdk.command("flush", json!({}), patience);
    let state = sdk.wait_state(json!({ "posts": 1 }));
    sdk.stop();
    let posts = state["posts"].as_array().expect("a list of statuses");
    assert!(posts.iter().all(|status| status == 200), "{state}");
}

/// Evaluations and metrics by user key.
fn counts(events: &[Value]) -> BTreeMap<String, (usize, usize)> {
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for event in events {
        let count = |name: &str| event[name].as_array().map_or(0, Vec::len);
        let one = counts.entry(event["user"]["keyId"].as_str().unwrap().to_owned()).or_default();
        one.0 += count("variations");
        one.1 += count("metrics");
    }
    counts
}

/// What the SDKs of the fleet must have produced together.
fn expected(fleet: &Fleet) -> BTreeMap<String, (usize, usize)> {
    let of = |sdk: &Sdk| (user_of(sdk)["keyId"].as_str().unwrap().to_owned(), (EVALUATIONS, METRICS));
    fleet.sdks.iter().map(of).collect()
}

fn check_members(events: &[Value]) {
    for event in events {
        for evaluation in event["variations"].as_array().into_iter().flatten() {
            assert!(evaluation["featureFlagKey"].as_str().unwrap().starts_with("flag-"), "{event}");
            assert_eq!(
                (&evaluation["variation"]["id"], &evaluation["variation"]["value"]),
                (&json!("v0"), &json!("true"))
            );
            assert!(evaluation["timestamp"].is_i64(), "{event}");
        }
        for metric in event["metrics"].as_array().into_iter().flatten() {
            assert!(metric["eventName"].as_str().unwrap().starts_with("bought-"), "{event}");
            assert_eq!(metric["numericValue"].as_f64(), Some(WORTH), "{event}");
            assert_eq!(metric["route"], "index/metric", "{event}");
            assert!(metric["timestamp"].is_i64() && metric["appType"].is_string(), "{event}");
        }
    }
}

fn local_events(agent: &Agent) -> Vec<Value> {
    let folders = fs::read_dir(agent.dir().join("events/local")).unwrap().map(|entry| entry.unwrap().path());
    let files = folders.filter(|path| path.is_dir()).flat_map(|folder| fs::read_dir(folder).unwrap());
    let text: String = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].take()).collect()
}

#[test]
fn what_sdks_produce_is_what_arrives_or_stays() {
    let mut fleet = Fleet::launch("usage events", |_, _| true);
    let expected = expected(&fleet);
    let mut accepted = Vec::new();
    for mode in ["forward", "pseudonymize", "local", "drop"] {
        let server = EventServer::start();
        // The server is away while the SDKs work.
        server.always(Reaction::Answer(503, ""));
        let agent = agent(&server, mode);
        fleet.each(&format!("events in {mode}"), |sdk| produce(sdk, &agent));
        server.always(Reaction::Answer(200, ""));
        agent.wait_metric(WAITING, "", 0.0);
        let total = agent.metric(TOTAL, "result=\"accepted\"");
        accepted.push(total);
        let (result, events) = match mode {
            "local" => ("kept", local_events(&agent)),
            "drop" => ("dropped", Vec::new()),
            _ => ("sent", server.events()),
        };
        agent.wait_metric(TOTAL, &format!("result=\"{result}\""), total);
        check_members(&events);
        let counts = counts(&events);
        match mode {
            "drop" => assert!(total > 0.0),
            "pseudonymize" => {
                assert!(!counts.keys().any(|key| expected.contains_key(key)));
                assert_eq!(counts.values().collect::<Vec<_>>(), expected.values().collect::<Vec<_>>());
                let text = String::from_utf8(server.bytes()).unwrap();
                assert!(!text.contains("user of") && !text.contains("gold"), "{text}");
            }
            _ => assert_eq!(counts, expected, "{mode}"),
        }
        if !matches!(mode, "forward" | "pseudonymize") {
            assert_eq!(server.connections(), 0, "{mode}");
        }
    }
    assert!(accepted.windows(2).all(|pair| pair[0] == pair[1]), "{accepted:?}");
}

#[test]
fn events_come_through_two_agents() {
    let server = EventServer::start();
    let upper = agent(&server, "pseudonymize");
    let lower = Builder::offline()
        .data_file(&Dataset::of([environment()]))
        .env("EventUri", &upper.url())
        .env("Events__FlushSeconds", "0")
        .env("Events__Gzip", "true")
        .start();
    let event = |key: &str| {
        json!({ "user": user(key, &[]), "variations": [{
            "featureFlagKey": "flag-0", "sendToExperiment": true, "timestamp": 1_706_745_600_000i64,
            "variation": { "id": "v0", "value": "true" }
        }] })
    };
    for kind in [Kind::Server, Kind::Client] {
        let secret = environment().secret(kind);
        for number in 0..10 {
            lower
                .post(TRACK, &[("Authorization", &secret)], &json!([event(&format!("user-{number}"))]))
                .expect(200);
        }
    }
    let events = server.wait_events(20);
    assert_eq!(counts(&events).len(), 10, "one pseudonym for a user of both kinds of SDK");
    assert!(counts(&events).values().all(|counts| *counts == (2, 0)));
    for agent in [&lower, &upper] {
        agent.wait_metric(TOTAL, "result=\"sent\"", 20.0);
    }
    let secrets: std::collections::BTreeSet<String> =
        server.requests().iter().map(|got| got.fields["authorization"].clone()).collect();
    let both = [Kind::Server, Kind::Client].map(|kind| environment().secret(kind));
    assert_eq!(secrets, both.into());
}

#[test]
fn an_agent_that_sends_to_itself_keeps_the_events_and_says_why() {
    let server = EventServer::start();
    let mut agent = agent(&server, "forward");
    agent.stop();
    let itself = agent.url();
    agent.set_env("EventUri", &itself);
    agent.start_again();
    let secret = environment().secret(Kind::Server);
    agent.post(TRACK, &[("Authorization", &secret)], &json!([{ "user": user("ann", &[]) }])).expect(200);
    let line = agent.wait_line("508");
    assert!(line.contains("EventUri") && !line.contains("ann"), "{line}");
    assert_eq!(agent.metric(WAITING, ""), 1.0);
    assert_eq!(agent.lines("508").len(), 1);
    // With another address they are sent.
    agent.stop();
    agent.set_env("EventUri", &server.url());
    agent.start_again();
    wait_until("the event", SOON, || (server.events().len() == 1).then_some(()));
}
