//! What an agent reports in agent mode: to its server, in the status, and in metrics.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::agent::{API_KEY, Agent};
use common::dataset::{Dataset, Kind, START_MS, boolean_flag, user};
use common::following::{AGENT_ID, set, set_without_push, two_flags, with_short_retries};
use common::server::Server;
use common::server::model::data_sync;
use common::server::script::{Answer, Opening, Register};
use common::watcher::Watcher;
use common::{SOON, wait_until};
use serde_json::Value;

fn server() -> Server {
    Server::start(&Dataset::of([two_flags(1), two_flags(2)]))
}

#[test]
fn the_status_describes_the_upstream_connection_from_before_the_first_data() {
    let server = server();
    server.stop_listening();
    let agent = with_short_retries(&server).start();
    let status = agent.wait_status("a failed attempt", |status| {
        status["agent"]["upstream"]["failedAttempts"].as_u64() > Some(1)
    });
    assert_eq!(status["syncState"], "Starting");
    assert_eq!((&status["serves"], &status["lastSyncedAt"]), (&Value::from(""), &Value::Null));
    let upstream = &status["agent"]["upstream"];
    assert_eq!(upstream["address"], server.url());
    assert_eq!(upstream["connectedSince"], Value::Null);
    assert!(upstream["lastError"]["message"].as_str().unwrap().contains("refused"), "{upstream}");
    assert!(upstream["lastError"]["at"].is_string());

    server.start_listening();
    let status = agent.wait_status("Stable", |status| status["syncState"] == "Stable");
    assert_eq!(status["serves"], "project-1:production,project-2:production");
    assert_eq!(status["dataVersion"], START_MS);
    assert!(status["lastSyncedAt"].is_string() && status["reportedAt"].is_string());
    let upstream = &status["agent"]["upstream"];
    assert!(upstream["connectedSince"].is_string());
    assert_eq!((&upstream["failedAttempts"], &upstream["reconnects"]), (&Value::from(0), &Value::from(0)));
    let environment = &status["agent"]["environments"][0];
    assert_eq!((&environment["id"], &environment["flags"]), (&two_flags(1).id.into(), &Value::from(2)));

    let _sdk = Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    let _client = Watcher::client(&agent, &two_flags(1).secret(Kind::Client), &user("ann", &[]));
    agent.wait_status("the connections", |status| {
        let connections = &status["agent"]["environments"][0]["connections"];
        connections["server"] == 1 && connections["client"] == 1
    });
    server.wait_open().close(1011);
    let status = agent.wait_status("a new connection", |status| {
        status["agent"]["upstream"]["reconnects"] == 1 && status["syncState"] == "Stable"
    });
    let told = status["agent"]["upstream"]["lastError"]["message"].as_str().unwrap();
    assert!(told.contains("1011"), "{told}");
    assert!(!agent.status().to_string().contains(API_KEY) && !agent.log().contains(API_KEY));
}

#[test]
fn a_key_that_is_refused_by_4003_counts_as_failed_attempts_before_data_and_after() {
    let server = server();
    let scope = [two_flags(1).id, two_flags(2).id];
    let open = || server.set_key(API_KEY, &[&scope[0], &scope[1]]);
    server.set_key(API_KEY, &[]);
    let agent = with_short_retries(&server).start();
    let refused = |agent: &Agent| {
        let status = agent.wait_status("failed attempts", |status| {
            status["agent"]["upstream"]["failedAttempts"].as_u64() > Some(2)
        });
        agent.wait_metric_at_least("featbit_agent_upstream_failed_attempts", "", 2.0);
        status["syncState"].clone()
    };
    assert_eq!(refused(&agent), "Starting");
    wait_until("what a refused key means for SDKs", SOON, || {
        agent.lines("with code 4003").iter().any(|line| line.contains("SDKs wait")).then_some(())
    });
    open();
    agent.wait_stable();
    agent.wait_status("none", |status| status["agent"]["upstream"]["failedAttempts"] == 0);
    server.set_key(API_KEY, &[]);
    server.wait_open().close(1001);
    assert_eq!(refused(&agent), "Interrupted");
    open();
    agent.wait_stable();
}

#[test]
fn the_agent_reports_its_status_at_once_by_timer_and_on_change() {
    let server = server();
    let agent = with_short_retries(&server).env("Upstream__StatusSeconds", "300ms").start();
    agent.wait_stable();
    let relay = server.wait_request(0);
    let states = |relay: &common::server::relay::Relay| -> Vec<String> {
        let state = |report: Value| report["status"]["syncState"].as_str().unwrap().to_owned();
        relay.statuses().into_iter().map(state).collect()
    };
    wait_until("several reports", SOON, || (relay.statuses().len() >= 4).then_some(()));
    for report in relay.statuses() {
        assert_eq!(report["agentId"], AGENT_ID);
        let status = &report["status"];
        assert!(status["dataVersion"].is_i64() && status["reportedAt"].is_string(), "{report}");
    }
    assert_eq!(states(&relay).last().unwrap(), "Stable");
    drop(agent);

    // Without such an interval, changes are what is reported.
    let server = self::server();
    let agent = with_short_retries(&server).env("Upstream__StatusSeconds", "3600").start();
    agent.wait_stable();
    let relay = server.wait_request(0);
    wait_until("Stable", SOON, || (states(&relay).last()? == "Stable").then_some(()));
    let before = states(&relay).len();
    server.next_answers([Answer::Text(data_sync("rp_full", std::iter::empty()))]);
    agent.resync();
    wait_until("trouble and its end", SOON, || {
        (states(&relay)[before..] == ["Interrupted", "Stable"]).then_some(())
    });
}

/// Does something to a connected agent, and waits until a metric has grown by it.
fn counted(what: &str, sample: &str, labels: &str, act: impl Fn(&Server, &Agent)) {
    println!("{what}");
    let server = server();
    let agent = with_short_retries(&server)
        .env("Upstream__ConnectSeconds", "2")
        .env("Upstream__SyncSeconds", "2")
        .env("Upstream__PingSeconds", "300ms")
        .env("Upstream__SilenceSeconds", "1")
        .env("Limits__BootstrapBytes", "20000")
        .start();
    agent.wait_stable();
    let before = agent.metric(sample, labels);
    act(&server, &agent);
    wait_until(&format!("{sample} {labels}"), SOON, || (agent.metric(sample, labels) > before).then_some(()));
    // Afterwards everything works.
    set(&server, &two_flags(1), "a", "v1", 1000);
    agent.wait_stable();
    let mut sdk = Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    sdk.wait_variation("a", "v1");
}

#[test]
fn how_streams_end_is_counted_by_reason() {
    let ends = "featbit_agent_upstream_streams_ended_total";
    let last = |server: &Server| server.wait_open();
    counted("a close", ends, r#"reason="closed""#, |server, _| last(server).close(1001));
    counted("a refusal", ends, r#"reason="refused""#, |server, _| last(server).close(4003));
    counted("a reset", ends, r#"reason="broken""#, |server, _| last(server).reset());
    counted("silence", ends, r#"reason="silent""#, |server, _| last(server).silence());
    counted("no answer", ends, r#"reason="unanswered""#, |server, agent| {
        server.next_answers([Answer::None]);
        agent.resync();
    });
    counted("nonsense for an answer", ends, r#"reason="unreadable""#, |server, agent| {
        server.next_answers([Answer::Text("[".into())]);
        agent.resync();
    });
    counted("a message over the limit", ends, r#"reason="too_large""#, |server, _| {
        last(server).send_bytes(&[b' '; 20_001]);
    });
    counted("a new secret", ends, r#"reason="replaced""#, |server, agent| {
        server.create_secret(&two_flags(1).id, Kind::Server, 1);
        agent.resync();
    });
}

#[test]
fn how_attempts_fail_is_counted_by_step() {
    let failures = "featbit_agent_upstream_dial_failures_total";
    let again = |server: &Server| server.wait_open().close(1001);
    counted("nobody there", failures, r#"reason="connect""#, |server, agent| {
        server.stop_listening();
        again(server);
        agent.wait_metric_at_least(failures, r#"reason="connect""#, 1.0);
        server.start_listening();
    });
    counted("no upgrade", failures, r#"reason="handshake""#, |server, _| {
        server.next_openings([Opening::Status(502)]);
        again(server);
    });
    counted("no key", failures, r#"reason="refused""#, |server, _| {
        server.next_openings([Opening::Status(403)]);
        again(server);
    });
    counted("no registration", failures, r#"reason="register""#, |server, _| {
        server.next_registers([Register::Status(500)]);
        server.wait_open().close(4003);
    });
}

#[test]
fn messages_are_counted_by_kind_and_unused_ones_by_reason() {
    let last = |server: &Server| server.wait_open();
    let syncs = "featbit_agent_upstream_syncs_total";
    counted("a full", syncs, r#"kind="full""#, |_, agent| agent.resync());
    counted("a patch", syncs, r#"kind="patch""#, |server, _| last(server).close(1001));
    counted("a change", syncs, r#"kind="change""#, |server, _| set(server, &two_flags(2), "b", "v1", 1000));
    let unused = "featbit_agent_upstream_messages_unused_total";
    counted("nonsense", unused, r#"reason="faulty""#, |server, _| last(server).send("nonsense"));
    counted("another type", unused, r#"reason="unknown""#, |server, _| {
        last(server).send(r#"{"messageType":"unheard-of","data":{}}"#);
    });
    counted("nothing at all", unused, r#"reason="empty""#, |server, agent| {
        server.next_answers([Answer::Text(data_sync("rp_full", std::iter::empty()))]);
        agent.resync();
    });
}

#[test]
fn a_dataset_over_the_limit_is_logged_and_asked_for_until_it_fits() {
    let server = server();
    let agent = with_short_retries(&server).env("Limits__BootstrapBytes", "20000").start();
    agent.wait_stable();
    let mut sdk = Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    let mut long = boolean_flag("long");
    long["description"] = "x".repeat(20_000).into();
    server.change_without_push(|model| model.environment(&two_flags(2).id).add_flag(long));
    set_without_push(&server, &two_flags(1), "a", "v1", 1000);
    agent.resync();
    agent.wait_line("Limits__BootstrapBytes");
    let newcomer = Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    assert_eq!(newcomer.flags.len(), 2, "what it had is in service");
    server.delete_flag(&two_flags(2).id, "long");
    agent.resync();
    sdk.wait_variation("a", "v1");
    agent.wait_stable();
    sdk.expect_nothing_new();
}
