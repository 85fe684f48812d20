//! A server that is newer than the agent: fulls that it pushes, and messages that the agent does not know.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::agent::{Agent, Builder};
use common::dataset::{Dataset, Environment, Kind, boolean_flag, serve, touch, user};
use common::following::{set, set_without_push, two_flags};
use common::server::Server;
use common::server::model::{data_sync, environment_full};
use common::server::relay::Relay;
use common::watcher::Watcher;
use serde_json::{Value, json};
use std::sync::Arc;

fn server() -> Server {
    Server::start(&Dataset::of([two_flags(1), two_flags(2)]))
}

/// An agent that is connected to its server, a server and a client SDK of the first environment, and the connection.
fn connected(server: &Server) -> (Agent, Watcher, Watcher, Arc<Relay>) {
    let agent = Builder::following(server).env("Upstream__RetrySeconds", "200ms").start();
    agent.wait_stable();
    server.wait_synced();
    let sdk = Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    let client = Watcher::client(&agent, &two_flags(1).secret(Kind::Client), &user("ann", &[]));
    let relay = server.wait_request(0);
    (agent, sdk, client, relay)
}

const UNUSED: &str = "featbit_agent_upstream_messages_unused_total";

/// What went wrong: FeatBit 6 sends the whole of an environment after a recovery, which was counted as unknown, and the
/// agent stayed Stable on stale data.
#[test]
fn a_pushed_full_of_one_environment_is_applied() {
    let server = server();
    let (agent, mut sdk, mut client, _) = connected(&server);
    let mut elsewhere = Watcher::server(&agent, &two_flags(2).secret(Kind::Server));
    set_without_push(&server, &two_flags(1), "a", "v1", 1000);
    server.delete_flag(&two_flags(1).id, "b");
    server.push_full_state(&two_flags(1).id);
    for sdk in [&mut sdk, &mut client] {
        sdk.wait_variation("a", "v1");
        sdk.wait_gone("b");
        sdk.expect_nothing_new();
    }
    elsewhere.expect_nothing_new();
    // Secrets are not touched: a new connection is accepted as before.
    let again = Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    assert!(!again.is_client());
    assert_eq!(server.fulls(), 1, "nothing was asked for");
    agent.wait_metric("featbit_agent_upstream_syncs_total", r#"kind="environment""#, 1.0);
    agent.wait_line("the whole of one environment");
    // And single changes go on.
    set(&server, &two_flags(1), "a", "v0", 2000);
    sdk.wait_variation("a", "v0");
}

#[test]
fn a_pushed_full_that_is_empty_or_of_two_environments_leads_to_a_full_sync() {
    let server = server();
    let (agent, mut sdk, mut client, relay) = connected(&server);
    set_without_push(&server, &two_flags(1), "a", "v1", 1000);
    relay.send(&environment_full(&Environment::new(1)));
    for sdk in [&mut sdk, &mut client] {
        sdk.wait_variation("a", "v1");
        assert_eq!(sdk.variation("b"), Some("v0"), "nothing was taken away");
    }
    assert_eq!(server.fulls(), 2);
    // It holds parts of two environments: it is not applied.
    let mut mixed = two_flags(1);
    mixed.flags[1]["envId"] = two_flags(2).id.into();
    set_without_push(&server, &two_flags(1), "a", "v0", 2000);
    relay.send(&environment_full(&mixed));
    for sdk in [&mut sdk, &mut client] {
        sdk.wait_variation("a", "v0");
        assert_eq!(sdk.variation("b"), Some("v0"));
    }
    agent.wait_metric(UNUSED, r#"reason="empty""#, 2.0);
    agent.wait_metric(UNUSED, r#"reason="unknown""#, 0.0);
}

#[test]
fn a_pushed_full_of_an_unknown_environment_leads_to_a_full_sync() {
    let server = server();
    let (agent, mut sdk, _, relay) = connected(&server);
    server.create_environment(two_flags(3));
    server.add_to_scope(common::agent::API_KEY, &two_flags(3).id);
    relay.send(&environment_full(&two_flags(3)));
    agent.wait_status("the new environment", |status| {
        status["serves"].as_str().is_some_and(|serves| serves.split(',').count() == 3)
    });
    sdk.expect_nothing_new();
    Watcher::server(&agent, &two_flags(3).secret(Kind::Server));
}

#[test]
fn an_item_of_a_pushed_full_that_cannot_be_read_keeps_its_last_state() {
    let server = server();
    let (agent, mut sdk, mut client, relay) = connected(&server);
    let mut whole = two_flags(1);
    let mut flag = boolean_flag("c");
    serve(&mut flag, "v1");
    touch(&mut flag, 1000);
    whole = whole.flag(flag);
    whole.flags[1]["variations"] = 7.into();
    relay.send(&environment_full(&whole));
    for sdk in [&mut sdk, &mut client] {
        sdk.wait_variation("c", "v1");
        assert_eq!(sdk.variation("b"), Some("v0"), "held");
    }
    agent.wait_metric("featbit_agent_upstream_items_left_out_total", r#"kind="flag""#, 1.0);
}

/// What went wrong: unknown messages were counted and ignored, whatever they would have changed.
#[test]
fn messages_of_unknown_kinds_are_logged_once_and_lead_to_a_full_sync() {
    let server = server();
    let (agent, mut sdk, mut client, relay) = connected(&server);
    set_without_push(&server, &two_flags(1), "a", "v1", 1000);
    relay.send(r#"{"messageType":"data-sync","data":{"eventType":"commit\n7","items":[]}}"#);
    for sdk in [&mut sdk, &mut client] {
        sdk.wait_variation("a", "v1");
    }
    set_without_push(&server, &two_flags(1), "a", "v0", 2000);
    relay.send(&format!(r#"{{"messageType":"{}"}}"#, "x".repeat(1000)));
    for sdk in [&mut sdk, &mut client] {
        sdk.wait_variation("a", "v0");
    }
    for _ in 0..50 {
        relay.send(r#"{"messageType":"data-sync","data":{"eventType":"commit\n7"}}"#);
    }
    relay.send(&data_sync("rp_patch", std::iter::empty()));
    agent.wait_metric_at_least(UNUSED, r#"reason="unknown""#, 52.0);
    agent.wait_line("(messageType");
    let log = agent.log();
    let told = |part: &str| log.lines().filter(|line| line.contains(part)).count();
    assert_eq!(told("does not know"), 2, "{log}");
    assert_eq!((told("(eventType"), told("(messageType"), told("commit")), (1, 1, 1), "{log}");
    assert!(!log.contains(&"x".repeat(61)), "{log}");
    assert!(server.fulls() < 10, "{}", server.fulls());
    agent.wait_stable();
}

/// A flag as FeatBit 6 sends it: with a change that is not committed yet.
fn with_pending(variation: &str, later_ms: i64) -> Value {
    let mut flag = boolean_flag("a");
    flag["envId"] = json!(two_flags(1).id);
    serve(&mut flag, variation);
    touch(&mut flag, later_ms);
    let mut pending = flag.clone();
    serve(&mut pending, if variation == "v0" { "v1" } else { "v0" });
    pending["isEnabled"] = json!(false);
    pending["updatedAt"] = json!("0001-01-01T00:00:00");
    flag["committedVersion"] = json!(7);
    flag["insightsEnabled"] = json!(false);
    flag["pending"] = json!({ "version": 8, "value": pending });
    flag
}

#[test]
fn pending_changes_of_a_flag_have_no_effect_and_cause_no_warning() {
    let server = server();
    server.change_without_push(|model| {
        model.environment(&two_flags(1).id).flags[0] = with_pending("v0", 0);
    });
    let (agent, mut sdk, mut client, _) = connected(&server);
    assert_eq!((sdk.variation("a"), client.variation("a")), (Some("v0"), Some("v0")));
    server.upsert_flag(&two_flags(1).id, with_pending("v1", 1000));
    for sdk in [&mut sdk, &mut client] {
        sdk.wait_variation("a", "v1");
    }
    assert_eq!(server.fulls(), 1);
    agent.wait_line("warnings=0");
    let log = agent.log();
    let warned = log.lines().filter(|line| line.contains("WARN") && !line.contains("somaxconn"));
    assert_eq!(warned.collect::<Vec<_>>(), [""; 0]);
}
