//! Relays behind relays: a server, a central agent that follows it, an edge agent that follows the central one, and
//! SDKs at the edge.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::time::Duration;

use common::agent::{API_KEY, Agent, Builder};
use common::dataset::{Dataset, Environment, Kind, boolean_flag, everybody, touch, user};
use common::raw::{request, send};
use common::sdk::{Fleet, Mode};
use common::server::Server;
use common::ws::{Next, Stream};
use common::{SOON, wait_until};
use serde_json::{Value, json};

const EDGE_KEY: &str = "rp-edge-0123456789abcdefghijklmnopqrstuvwxyz";

fn follower(url: &str, key: &str, id: &str) -> Builder {
    Builder::bare()
        .env("Mode", "agent")
        .env("ApiKey", key)
        .env("AgentId", id)
        .env("StreamingUri", url)
        .env("ForwardEvents", "false")
        .env("Shutdown__DrainSeconds", "100ms")
        .env("Upstream__RetrySeconds", "1")
        .env("Upstream__UnknownSecretResyncSeconds", "1")
}

/// A server, a central agent, an edge agent.
struct Chain {
    server: Server,
    central: Agent,
    edge: Agent,
}

impl Chain {
    fn start(data: &Dataset, scope: &str, grace: &str) -> Self {
        let server = Server::start(data);
        let central = follower(&server.url(), API_KEY, "central")
            .env("RelayKeys", &format!("{EDGE_KEY}{scope}"))
            .env("RevocationGraceSeconds", grace)
            .start();
        let edge = follower(&central.url(), EDGE_KEY, "edge").env("RevocationGraceSeconds", grace).start();
        let chain = Self { server, central, edge };
        chain.settle();
        chain
    }

    /// Waits until both agents have data and are in touch with what they follow.
    fn settle(&self) {
        for agent in [&self.central, &self.edge] {
            wait_until("the agent is up to date", SOON, || {
                (agent.get("/health/readiness", &[]).text() == "Healthy").then_some(())
            });
        }
    }

    fn set(&self, environment: &Environment, key: &str, variation: &str, later_ms: i64) {
        let mut flag = self.server.flag(&environment.id, key);
        flag["fallthrough"]["variations"] = everybody(variation);
        touch(&mut flag, later_ms);
        self.server.upsert_flag(&environment.id, flag);
    }
}

fn status(agent: &Agent, key: &str) -> Value {
    agent.get("/api/public/proxy/status", &[("Authorization", key)]).expect(200).json()
}

fn wait_serves(agent: &Agent, key: &str, environments: &str) {
    wait_until(&format!("it serves {environments:?}"), SOON, || {
        (status(agent, key)["serves"] == environments).then_some(())
    });
}

fn resync(agent: &Agent) {
    agent.post("/api/public/proxy/resync", &[("Authorization", API_KEY)], &Value::Null).expect(202);
}

fn two_flags(number: u8) -> Environment {
    Environment::new(number).flag(boolean_flag("a")).flag(boolean_flag("b"))
}

/// One of more environments than have a number.
fn numbered(number: usize) -> Environment {
    let mut environment = Environment::new(0);
    environment.id = format!("e1a1d6a4-6b7c-4f1e-9a53-{number:012x}");
    environment.serves = (format!("project-of-a-department-{number}"), "production".to_owned());
    environment.secrets.clear();
    environment.add_secret(Kind::Server, 0);
    environment.flag(boolean_flag("a"))
}

#[test]
fn a_change_and_a_removal_arrive_at_the_bottom_while_each_level_is_killed_in_turn() {
    let environment = two_flags(1);
    let mut chain = Chain::start(&Dataset::of([environment.clone()]), "", "60");
    let anna = user("anna", &[]);
    let mut fleet = Fleet::launch("a chain of agents", |spec, mode| {
        spec.name == "node-server" && mode == Mode::Streaming
    });
    let change_arrives = |fleet: &mut Fleet, chain: &Chain, variation: &str, later_ms: i64| {
        chain.set(&environment, "a", variation, later_ms);
        fleet.each("the change arrives", |sdk| {
            sdk.wait_value("a", &anna, "boolean", &json!(variation == "v0"));
        });
    };
    fleet.each("start", |sdk| {
        sdk.start(&chain.edge, &environment, &anna);
        sdk.wait_ready();
    });
    change_arrives(&mut fleet, &chain, "v1", 1_000);

    chain.central.kill();
    chain.set(&environment, "a", "v0", 2_000);
    chain.central.start_again();
    fleet.each("what changed meanwhile arrives", |sdk| sdk.wait_value("a", &anna, "boolean", &json!(true)));
    change_arrives(&mut fleet, &chain, "v1", 3_000);

    chain.edge.kill();
    chain.set(&environment, "a", "v0", 4_000);
    chain.edge.start_again();
    fleet.each("what changed meanwhile arrives", |sdk| sdk.wait_value("a", &anna, "boolean", &json!(true)));
    change_arrives(&mut fleet, &chain, "v1", 5_000);

    chain.server.crash();
    chain.server.start_listening();
    change_arrives(&mut fleet, &chain, "v0", 6_000);

    chain.server.delete_flag(&environment.id, "b");
    resync(&chain.central);
    fleet.each("the removal arrives", |sdk| sdk.wait_gone("b", &anna));
    fleet.each("nobody was stopped", |sdk| assert_eq!(sdk.state()["stopped"], false));
}

#[test]
fn a_bare_socket_at_the_bottom_gets_each_change_once_and_in_order() {
    let environment = two_flags(1);
    let chain = Chain::start(&Dataset::of([environment.clone()]), "", "60");
    let mut sdk = Stream::connect(&chain.edge, Kind::Server, &environment.secret(Kind::Server));
    sdk.request_data(0);
    assert_eq!(sdk.next_data()["eventType"], "full");
    for round in 1..=50 {
        let variation = if round % 2 == 0 { "v0" } else { "v1" };
        chain.set(&environment, "a", variation, round * 10);
        let patch = sdk.next_data();
        assert_eq!(patch["eventType"], "patch", "round {round}");
        assert_eq!(patch["featureFlags"][0], chain.server.flag(&environment.id, "a"), "round {round}");
    }
    sdk.expect_nothing_new();
}

#[test]
fn a_scope_limits_the_data_of_the_edge_and_its_status_is_shown_upstream() {
    let (first, second) = (two_flags(1), two_flags(2));
    let chain = Chain::start(&Dataset::of([first.clone(), second.clone()]), "=project-2:production", "60");
    wait_serves(&chain.edge, EDGE_KEY, "project-2:production");
    wait_serves(&chain.central, API_KEY, "project-1:production,project-2:production");
    let child = wait_until("the edge reports", SOON, || {
        let child = status(&chain.central, API_KEY)["agent"]["children"][0].clone();
        (child["status"]["syncState"] == "Stable").then_some(child)
    });
    assert_eq!(child["agentId"], "edge");
    assert_eq!(child["status"]["serves"], "project-2:production");
    let path = |agent: &Agent, key: &str| status(agent, key)["agent"]["path"].clone();
    let central = path(&chain.central, API_KEY);
    assert_eq!(central.as_array().unwrap().len(), 1);
    assert_eq!(path(&chain.edge, EDGE_KEY)[1], central[0]);
}

#[test]
fn a_new_secret_is_accepted_at_the_bottom_and_a_made_up_one_refused() {
    let environment = two_flags(1);
    let chain = Chain::start(&Dataset::of([environment.clone()]), "", "60");
    let secret = chain.server.create_secret(&environment.id, Kind::Server, 77);
    let mut sdk = Stream::connect(&chain.edge, Kind::Server, &secret);
    sdk.request_data(0);
    // The edge asks the central agent, which asks the server before it vouches.
    assert_eq!(sdk.next_data()["eventType"], "full");
    let made_up = common::dataset::secret_text(&environment.id, Kind::Server, 99);
    let refused = wait_until("a made-up secret is refused", Duration::from_secs(150), || {
        let mut waiting = Stream::connect(&chain.edge, Kind::Server, &made_up);
        match waiting.expect_close(Duration::from_secs(30)) {
            Some(1011) => None,
            code => Some(code),
        }
    });
    assert_eq!(refused, Some(4003));
}

/// What went wrong: the edge kept its data but trusted the central agent's answer about the secret: its SDKs were refused
/// for good.
#[test]
fn a_full_sync_that_the_edge_rejected_makes_no_secret_unknown() {
    let environment = two_flags(1);
    let mut chain = Chain::start(&Dataset::of([environment.clone()]), "", "60");
    let flags = ["a", "b"].map(|key| chain.server.flag(&environment.id, key));
    // The server has lost all flags. After a restart the central agent accepts that, and the edge does not.
    chain.server.change_without_push(|model| model.environment(&environment.id).flags.clear());
    chain.central.kill();
    chain.central.start_again();
    let unused = "featbit_agent_upstream_messages_unused_total";
    chain.edge.wait_metric_at_least(unused, r#"reason="empty""#, 1.0);
    let secret = chain.server.create_secret(&environment.id, Kind::Server, 77);
    let mut above = Stream::connect(&chain.central, Kind::Server, &secret);
    above.request_data(0);
    assert_eq!(above.next_data()["eventType"], "full");
    let mut sdk = Stream::connect(&chain.edge, Kind::Server, &secret);
    assert_eq!(sdk.expect_close(Duration::from_secs(60)), Some(1011));
    for mut flag in flags {
        touch(&mut flag, 1000);
        chain.server.upsert_flag(&environment.id, flag);
    }
    wait_until("it is let in", SOON, || {
        let mut sdk = Stream::connect(&chain.edge, Kind::Server, &secret);
        sdk.request_data(0);
        matches!(sdk.next_within(Duration::from_secs(30)), Next::Message(_)).then_some(())
    });
}

#[test]
fn a_revoked_secret_and_an_environment_out_of_scope_end_at_the_bottom() {
    let (first, second) = (two_flags(1), two_flags(2));
    let chain = Chain::start(&Dataset::of([first.clone(), second.clone()]), "", "1");
    let secret = chain.server.create_secret(&first.id, Kind::Server, 77);
    resync(&chain.central);
    let connect = |environment: &Environment, secret: &str| {
        let mut sdk = Stream::connect(&chain.edge, Kind::Server, secret);
        sdk.request_data(0);
        let data = sdk.next_data();
        assert_eq!(data["featureFlags"][0]["envId"], environment.id);
        sdk
    };
    let mut stays = connect(&first, &first.secret(Kind::Server));
    let mut revoked = connect(&first, &secret);
    let mut gone = connect(&second, &second.secret(Kind::Server));
    chain.server.revoke_secret(&first.id, &secret);
    chain.server.remove_from_scope(API_KEY, &second.id);
    resync(&chain.central);
    assert_eq!(revoked.expect_close(SOON), Some(4003));
    assert_eq!(gone.expect_close(SOON), Some(4003));
    stays.expect_nothing_new();
}

#[test]
fn a_key_whose_last_environment_leaves_its_scope_empties_the_edge_which_stays_stable() {
    let (first, second) = (two_flags(1), two_flags(2));
    let chain = Chain::start(&Dataset::of([first.clone(), second.clone()]), "=project-2:production", "1");
    let mut sdk = Stream::connect(&chain.edge, Kind::Server, &second.secret(Kind::Server));
    sdk.request_data(0);
    assert_eq!(sdk.next_data()["eventType"], "full");
    let rename = |to: &str| {
        chain.server.change_without_push(|model| {
            for secret in &mut model.environment(&second.id).secrets {
                secret["projectKey"] = json!(to);
            }
        });
        resync(&chain.central);
    };
    rename("renamed");
    assert_eq!(sdk.expect_close(SOON), Some(4003));
    chain.settle();
    wait_serves(&chain.edge, EDGE_KEY, "");
    wait_serves(&chain.central, API_KEY, "project-1:production,renamed:production");
    let refused = r#"reason="empty""#;
    assert_eq!(chain.edge.metric("featbit_agent_upstream_messages_unused_total", refused), 0.0);
    // And back.
    rename("project-2");
    wait_serves(&chain.edge, EDGE_KEY, "project-2:production");
    let mut sdk = Stream::connect(&chain.edge, Kind::Server, &second.secret(Kind::Server));
    sdk.request_data(0);
    assert_eq!(sdk.next_data()["eventType"], "full");
}

#[test]
fn a_removal_while_the_upstream_agent_was_down_arrives_when_it_is_back() {
    let environment = two_flags(1);
    let mut chain = Chain::start(&Dataset::of([environment.clone()]), "", "60");
    let secret = environment.secret(Kind::Server);
    let mut sdk = Stream::connect(&chain.edge, Kind::Server, &secret);
    sdk.request_data(0);
    assert_eq!(sdk.next_data()["featureFlags"].as_array().unwrap().len(), 2);
    chain.central.kill();
    chain.server.delete_flag(&environment.id, "b");
    chain.central.start_again();
    let full = sdk.next_data();
    assert_eq!((&full["eventType"], full["featureFlags"].as_array().unwrap().len()), (&json!("full"), 1));
}

#[test]
fn the_names_of_many_environments_do_not_close_the_streams_of_a_chain() {
    let environments: Vec<Environment> = (0..1400).map(numbered).collect();
    let chain = Chain::start(&Dataset::of(environments), "", "60");
    let child = wait_until("the edge reports", SOON, || {
        let child = status(&chain.central, API_KEY)["agent"]["children"][0].clone();
        (child["status"]["syncState"] == "Stable").then_some(child)
    });
    let serves = child["status"]["serves"].as_str().unwrap();
    let names: Vec<&str> = serves.split(',').collect();
    let left_out = 1400 - (names.len() - 1);
    assert_eq!(names.last(), Some(&format!("… ({left_out} more)").as_str()));
    for agent in [&chain.central, &chain.edge] {
        agent.wait_metric("featbit_agent_upstream_streams_opened_total", "", 1.0);
        agent.wait_line("does not name all");
        assert_eq!(agent.lines("does not name all").len(), 1);
    }
    assert_eq!(chain.central.metric("featbit_agent_limits_hit_total", r#"limit="message_bytes""#), 0.0);
    // FeatBit's server would have dropped a longer one in silence.
    let relay = chain.server.wait_open();
    let reports =
        wait_until("a report", SOON, || Some(relay.statuses()).filter(|reports| !reports.is_empty()));
    for report in reports {
        assert!(report.to_string().len() <= 8_000);
    }
}

#[test]
fn invalid_names_from_upstream_reach_no_header_and_break_no_chain() {
    let chain = Chain::start(&Dataset::of([two_flags(1)]), "", "60");
    let path = || status(&chain.central, API_KEY)["agent"]["path"].clone();
    let tell = |names: &[&str]| {
        let told = json!({ "messageType": "rp-path", "data": { "path": names } });
        chain.server.wait_open().send(&told.to_string());
    };
    // What an agent of this make says of itself.
    tell(&["top"]);
    let own = wait_until("the path", SOON, || Some(path()).filter(|path| path[1] == "top"));
    let unused =
        || chain.central.metric("featbit_agent_upstream_messages_unused_total", r#"reason="unknown""#);
    let long = "x".repeat(100_000);
    for strange in ["evil\r\nX-Injected: yes", "a b", "", &long] {
        let before = unused();
        tell(&[strange]);
        wait_until("it was passed over", SOON, || (unused() > before).then_some(()));
        assert_eq!(path(), own);
    }
    let fields = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let target = format!("/streaming?type=relay-proxy&token={EDGE_KEY}");
    let answer = send(&chain.central, request("GET", &target, &fields, None)).expect(101);
    assert_eq!(answer.header("x-injected"), None);
    let expected = format!("{},top", own[0].as_str().unwrap());
    assert_eq!(answer.header("x-featbit-relay-path"), Some(expected.as_str()));
    let edge = wait_until("the edge is told", SOON, || {
        Some(status(&chain.edge, EDGE_KEY)["agent"]["path"].clone()).filter(|path| path[2] == "top")
    });
    assert_eq!(edge[1], own[0]);
}

#[test]
fn an_interruption_at_the_top_is_seen_at_every_level_downstream() {
    const LOWEST_KEY: &str = "rp-lowest-123456789abcdefghijklmnopqrstuvwxyz";
    let environment = two_flags(1);
    let server = Server::start(&Dataset::of([environment.clone()]));
    let mut central = follower(&server.url(), API_KEY, "central").env("RelayKeys", EDGE_KEY).start();
    let edge = follower(&central.url(), EDGE_KEY, "edge").env("RelayKeys", LOWEST_KEY).start();
    let lowest = follower(&edge.url(), LOWEST_KEY, "lowest").start();
    let ready = |agents: &[&Agent], word: &str| {
        let is = |agent: &&Agent| agent.get("/health/readiness", &[]).text() == word;
        wait_until(word, SOON, || agents.iter().all(is).then_some(()));
    };
    let count = |agent: &Agent, name: &str| agent.metric(&format!("featbit_agent_upstream_{name}"), "");
    let done = |agent: &Agent| (count(agent, "full_requests_total"), count(agent, "streams_opened_total"));
    ready(&[&central, &edge, &lowest], "Healthy");
    let mut sdk = Stream::connect(&lowest, Kind::Server, &environment.secret(Kind::Server));
    sdk.request_data(0);
    assert_eq!(sdk.next_data()["eventType"], "full");
    let before = (done(&edge), done(&lowest));

    server.crash();
    ready(&[&central, &edge, &lowest], "Degraded");
    for (agent, key) in [(&edge, EDGE_KEY), (&lowest, LOWEST_KEY)] {
        agent.wait_metric("featbit_agent_upstream_stable", "", 0.0);
        let status = wait_until("interrupted", SOON, || {
            Some(status(agent, key)).filter(|status| status["syncState"] == "Interrupted")
        });
        let error = status["agent"]["upstream"]["lastError"]["message"].as_str().unwrap().to_owned();
        assert!(error.contains("is not connected to what it follows"), "{error}");
    }
    server.start_listening();
    ready(&[&central, &edge, &lowest], "Healthy");
    lowest.wait_metric("featbit_agent_upstream_stable", "", 1.0);
    assert_eq!((done(&edge), done(&lowest)), before, "no connection and no full sync because of it");
    sdk.expect_nothing_new();

    // The agent at the top restarts, without a server and without data.
    central.kill();
    server.crash();
    central.start_again();
    ready(&[&central], "Unhealthy");
    edge.wait_metric_at_least("featbit_agent_upstream_streams_opened_total", "", 2.0);
    ready(&[&edge, &lowest], "Degraded");
    // A new downstream agent gets the status at once.
    let late = follower(&edge.url(), LOWEST_KEY, "late").start();
    ready(&[&late], "Degraded");
    server.start_listening();
    ready(&[&central, &edge, &lowest, &late], "Healthy");
    assert_eq!(done(&lowest).1, 1.0);
}

#[test]
fn agents_that_follow_each_other_detect_the_ring_and_log_it() {
    let key = |letter: &str| format!("rp-{}", letter.repeat(40));
    // Each must listen before the other can follow it: the first is restarted with the second as its server.
    let first = follower("ws://127.0.0.1:1", &key("b"), "first").env("RelayKeys", &key("a")).start();
    let second = follower(&first.url(), &key("a"), "second").env("RelayKeys", &key("b")).start();
    let port = first.port();
    let mut first = first;
    first.kill();
    let first = follower(&second.url(), &key("b"), "first")
        .env("ASPNETCORE_URLS", &format!("http://127.0.0.1:{port}"))
        .env("RelayKeys", &key("a"))
        .start();
    wait_until("one of them finds the ring", SOON, || {
        [&first, &second].iter().any(|agent| !agent.lines("would follow itself").is_empty()).then_some(())
    });
    // SDKs wait meanwhile; they are not refused.
    assert_eq!(first.get("/health/readiness", &[]).status, 503);
    assert_eq!(second.get("/health/readiness", &[]).status, 503);
}
