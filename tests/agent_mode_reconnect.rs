//! Agents that lose their server: SDKs are served all the time, and changes made meanwhile reach them once.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::time::SystemTime;

use common::agent::{API_KEY, Agent, Builder};
use common::dataset::{Dataset, Environment, Kind, START_MS, boolean_flag, touch, user};
use common::following::{set, set_without_push, two_flags};
use common::sdk::Fleet;
use common::server::Server;
use common::server::relay::Relay;
use common::server::script::{Opening, Register};
use common::watcher::Watcher;
use common::{SOON, wait_until};
use serde_json::{Value, json};

fn server() -> Server {
    Server::start(&Dataset::of([two_flags(1)]))
}

fn with_short_retries(server: &Server) -> Builder {
    Builder::following(server).env("Upstream__ConnectSeconds", "2").env("Upstream__RetrySeconds", "200ms")
}

/// An agent that is connected to its server, and a server and a client SDK.
fn connected(server: &Server) -> (Agent, Watcher, Watcher) {
    let agent = with_short_retries(server).start();
    agent.wait_stable();
    let sdk = Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    let client = Watcher::client(&agent, &two_flags(1).secret(Kind::Client), &user("ann", &[]));
    (agent, sdk, client)
}

/// A description, and what is done to the connection.
type Loss<'a> = (&'a str, &'a dyn Fn(&Relay));

/// The agent loses its connection by `lose` again and again, and something changes while it is gone.
fn changes_meanwhile_arrive(losses: &[Loss<'_>]) {
    let server = server();
    let (agent, mut sdk, mut client) = connected(&server);
    for (number, (what, lose)) in losses.iter().enumerate() {
        let variation = if number % 2 == 0 { "v1" } else { "v0" };
        let relay = server.wait_request(number);
        // Reconnects are refused until the change is made.
        server.stop_listening();
        lose(&relay);
        relay.wait_for_end();
        set_without_push(&server, &two_flags(1), "a", variation, 1000 * (number as i64 + 1));
        sdk.expect_nothing_new();
        server.start_listening();
        println!("{what}");
        sdk.wait_variation("a", variation);
        client.wait_variation("a", variation);
    }
    agent.wait_stable();
    sdk.expect_nothing_new();
    client.expect_nothing_new();
    let expected: Vec<&str> =
        std::iter::once("full").chain(std::iter::repeat_n("patch", losses.len())).collect();
    assert_eq!(
        (&sdk.events, &client.events),
        (&expected.iter().map(|&e| e.to_owned()).collect(), &sdk.events)
    );
}

/// What went wrong: an item dated in the future hid every change made while disconnected, until the next full sync.
#[test]
fn an_item_dated_in_the_future_hides_no_change_made_while_disconnected() {
    let server = server();
    let (agent, mut sdk, mut client) = connected(&server);
    let now_ms = || {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        since_epoch.as_millis() as i64 - START_MS
    };
    server.wait_synced();
    set(&server, &two_flags(1), "b", "v1", now_ms() + 86_400_000);
    sdk.wait_variation("b", "v1");
    client.wait_variation("b", "v1");
    let relay = server.wait_request(0);
    server.stop_listening();
    relay.reset();
    relay.wait_for_end();
    set_without_push(&server, &two_flags(1), "a", "v1", now_ms());
    server.start_listening();
    sdk.wait_variation("a", "v1");
    client.wait_variation("a", "v1");
    agent.wait_stable();
    assert_eq!(server.fulls(), 1);
}

#[test]
fn the_agent_reconnects_after_every_close_code_and_loses_nothing() {
    let codes =
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4000, 4003, 4999];
    let closes: Vec<_> = codes.map(|code| move |relay: &Relay| relay.close(code)).into();
    let losses: Vec<Loss<'_>> = closes.iter().map(|close| ("a close", close as &dyn Fn(&Relay))).collect();
    changes_meanwhile_arrive(&losses);
}

#[test]
fn the_agent_reconnects_after_an_end_without_a_close_frame_and_loses_nothing() {
    changes_meanwhile_arrive(&[
        ("a reset", &|relay| relay.reset()),
        ("an end", &|relay| relay.end()),
        ("half a frame", &|relay| {
            relay.send_raw(&[0x81, 126, 0x10, 0x00, b'{']);
            relay.reset();
        }),
        ("a frame with reserved bits", &|relay| relay.send_raw(&[0xF1, 2, b'{', b'}'])),
        ("a masked frame", &|relay| relay.send_raw(&[0x81, 0x82, 1, 2, 3, 4, b'{', b'}'])),
        ("a frame of an absurd length", &|relay| {
            relay.send_raw(&[0x82, 127, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
        }),
        ("a continuation of nothing", &|relay| relay.send_raw(&[0x80, 2, b'{', b'}'])),
    ]);
}

#[test]
fn a_silent_connection_is_replaced_and_nothing_is_lost() {
    let server = server();
    let agent = with_short_retries(&server)
        .env("Upstream__PingSeconds", "200ms")
        .env("Upstream__SilenceSeconds", "2")
        .start();
    agent.wait_stable();
    let mut sdk = Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    let relay = server.wait_request(0);
    wait_until("pings", SOON, || (relay.pings() > 2).then_some(()));
    assert!(relay.is_open(), "a connection whose pings are answered is kept");
    relay.silence();
    set(&server, &two_flags(1), "a", "v1", 1000);
    sdk.wait_variation("a", "v1");
    sdk.expect_nothing_new();
    assert_eq!(server.relays().len(), 2);
    wait_until("the silent one's end", SOON, || (!relay.is_open()).then_some(()));
}

#[test]
fn pings_of_the_protocol_are_answered() {
    let server = server();
    let (_agent, _sdk, _client) = connected(&server);
    let relay = server.wait_request(0);
    relay.ping();
    wait_until("the pong", SOON, || (relay.protocol_pongs() == 1).then_some(()));
}

#[test]
fn while_the_server_is_away_sdks_are_served_and_the_status_says_interrupted() {
    let server = server();
    let (agent, mut sdk, _client) = connected(&server);
    agent.wait_status("in touch", |status| status["syncState"] == "Stable");
    server.crash();
    agent.wait_readiness(200, "Degraded");
    let status = agent.wait_status("interrupted", |status| status["syncState"] == "Interrupted");
    assert_eq!(status["serves"], "project-1:production");
    sdk.expect_nothing_new();
    let newcomer = Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    assert_eq!(newcomer.flags.len(), 2);
    let poll = format!("{}?timestamp=0", common::raw::SERVER_POLL);
    let secret = two_flags(1).secret(Kind::Server);
    agent.get(&poll, &[("Authorization", &secret)]).expect(200);
    server.start_listening();
    agent.wait_stable();
    agent.wait_status("in touch again", |status| status["syncState"] == "Stable");
    sdk.expect_nothing_new();
    // The new status was reported on the new connection.
    let relay = server.wait_request(server.relays().len() - 1);
    wait_until("a report of the state", SOON, || {
        relay.statuses().into_iter().find(|report| report["status"]["syncState"] == "Stable")
    });
}

#[test]
fn a_reconnect_asks_for_what_is_newer_in_each_environment() {
    let mut second = two_flags(2);
    touch(second.flag_mut("b"), 7000);
    let server = Server::start(&Dataset::of([two_flags(1), second, Environment::new(3)]));
    let agent = with_short_retries(&server).start();
    agent.wait_stable();
    let mut sdk = Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    set(&server, &two_flags(1), "a", "v1", 5000);
    sdk.wait_variation("a", "v1");
    server.wait_request(0).close(1001);
    let request = server.wait_request(1).requests()[0]["data"].take();
    // From a little before its data, since changes may come out of order. SDKs get nothing twice.
    let within = |asked: &Value, held_ms: i64| {
        let asked = asked.as_i64().unwrap();
        assert!(asked > 0 && asked <= held_ms && asked > held_ms - 60_000, "{asked} for {held_ms}");
    };
    within(&request["timestamp"], START_MS + 7000);
    let environments = request["envs"].as_array().unwrap();
    let of =
        |id: &str| environments.iter().find(|have| have["envId"] == id).map(|have| have["timestamp"].clone());
    within(&of(&two_flags(1).id).unwrap(), START_MS + 5000);
    within(&of(&two_flags(2).id).unwrap(), START_MS + 7000);
    assert!(of(&Environment::new(3).id).is_none_or(|timestamp| timestamp == 0));
    agent.wait_stable();
    sdk.expect_nothing_new();
}

#[test]
fn a_reconnect_with_too_many_environments_to_name_asks_for_a_full_sync() {
    let environments: Vec<Environment> =
        (0..=199).map(|number| Environment::new(number).flag(boolean_flag("a"))).collect();
    let server = Server::start(&Dataset::of(environments.clone()));
    let agent = with_short_retries(&server).start();
    agent.wait_stable();
    let mut sdk = Watcher::server(&agent, &environments[150].secret(Kind::Server));
    server.stop_listening();
    server.wait_request(0).reset();
    set_without_push(&server, &environments[150], "a", "v1", 1000);
    server.start_listening();
    sdk.wait_variation("a", "v1");
    sdk.expect_nothing_new();
    assert_eq!(sdk.events, ["full", "patch"], "what did not change is not told");
    assert_eq!(server.wait_request(1).timestamps()[0], 0);
    assert!(server.faults().is_empty(), "{:?}", server.faults());
}

#[test]
fn a_removed_key_stops_no_sdk_and_a_restored_one_is_used_again() {
    let server = server();
    let (agent, mut sdk, _client) = connected(&server);
    server.remove_key(API_KEY);
    server.wait_request(0).close(1001);
    // It is refused at the registration or after the upgrade, more than once.
    wait_until("refusals", SOON, || {
        let refused = server.registrations().iter().filter(|have| have.status == 401).count();
        let closed = server.relays().len() - 1;
        (refused + closed >= 3).then_some(())
    });
    agent.wait_readiness(200, "Degraded");
    sdk.expect_nothing_new();
    Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    server.set_key(API_KEY, &[&two_flags(1).id]);
    set(&server, &two_flags(1), "a", "v1", 1000);
    sdk.wait_variation("a", "v1");
    agent.wait_stable();
    sdk.expect_nothing_new();
}

#[test]
fn after_many_different_failures_all_is_in_order() {
    let server = server();
    let (agent, mut sdk, mut client) = connected(&server);
    server.next_registers([Register::Reset, Register::Garbage, Register::Status(503)]);
    server.next_openings([
        Opening::Status(502),
        Opening::ResetAfterUpgrade,
        Opening::ResetAtRequest,
        Opening::ResetWithin(300),
        Opening::Close(1000),
    ]);
    set_without_push(&server, &two_flags(1), "a", "v1", 1000);
    server.wait_request(0).close(4003);
    for sdk in [&mut sdk, &mut client] {
        sdk.wait_variation("a", "v1");
        sdk.expect_nothing_new();
        assert_eq!(sdk.events, ["full", "patch"]);
    }
    agent.wait_stable();
    agent.wait_metric_at_least("featbit_agent_upstream_dial_failures_total", "", 1.0);
    agent.wait_metric_at_least("featbit_agent_upstream_streams_ended_total", "", 4.0);
}

#[test]
fn real_sdks_do_not_notice_a_server_that_comes_and_goes() {
    let server = server();
    let agent = with_short_retries(&server).start();
    agent.wait_stable();
    let ann = user("ann", &[]);
    let mut fleet = Fleet::ready("a server that comes and goes", &agent, &two_flags(1), &ann);
    if fleet.is_empty() {
        return;
    }
    for (number, code) in [1000, 4003, 1011].into_iter().enumerate() {
        let variation = if number % 2 == 0 { ("v1", json!(false)) } else { ("v0", json!(true)) };
        server.stop_listening();
        server.wait_open().close(code);
        set_without_push(&server, &two_flags(1), "a", variation.0, 1000 * (number as i64 + 1));
        server.start_listening();
        fleet.each("the change while it was away", |sdk| {
            sdk.wait_value("a", &ann, "boolean", &variation.1);
            sdk.wait_value("b", &ann, "boolean", &json!(true));
        });
    }
    server.crash();
    fleet.each("without a server", |sdk| sdk.wait_value("a", &ann, "boolean", &json!(false)));
}
