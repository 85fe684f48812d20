//! Environments that enter and leave the scope of an agent's key. A server pushes on a connection only changes of the
//! environments that it had when it was opened, so the agent opens a second one, syncs on it and closes the first. A
//! change at any moment arrives once, and SDKs of other environments are not disturbed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::sync::Arc;

use common::agent::{API_KEY, Agent, Builder};
use common::dataset::{Dataset, Kind, user};
use common::following::{GRACE, change, serves, set, set_without_push, two_flags};
use common::sdk::{Fleet, Mode};
use common::server::Server;
use common::server::delayed::Delay;
use common::server::model::data_sync;
use common::server::relay::Relay;
use common::server::script::{Answer, Opening};
use common::watcher::Watcher;
use common::{SOON, wait_until};
use serde_json::{Value, json};

/// Two environments exist; the key opens the first.
fn server() -> Server {
    let server = Server::start(&Dataset::of([two_flags(1)]));
    server.create_environment(two_flags(2));
    server
}

fn with_short_retries(server: &Server) -> Builder {
    Builder::following(server)
        .env("Upstream__RetrySeconds", "200ms")
        .env("Limits__VerdictWait", "60")
        .env("RevocationGraceSeconds", "1")
}

fn connected(server: &Server) -> (Agent, Watcher) {
    let agent = with_short_retries(server).start();
    agent.wait_stable();
    server.wait_synced();
    let sdk = Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    (agent, sdk)
}

/// The one connection that is open, when there is one that maps the second environment and no other.
fn settled(server: &Server) -> Arc<Relay> {
    wait_until("one connection with both environments", SOON, || {
        let open = server.open_relays();
        let [relay] = open.as_slice() else { return None };
        relay.mapped.contains(&two_flags(2).id).then(|| Arc::clone(relay))
    })
}

/// Both environments are served and get pushes, and the SDK of the first has got only its own changes.
fn both_live(server: &Server, agent: &Agent, first: &mut Watcher, later_ms: i64) {
    serves(agent, server, &two_flags(2), "b", later_ms);
    change(server, &two_flags(1), "b", later_ms, &mut [first]);
    assert_eq!(first.events.iter().filter(|event| *event == "full").count(), 1);
}

#[test]
fn an_environment_added_to_the_scope_is_served_and_gets_pushes() {
    let server = server();
    let (agent, mut first) = connected(&server);
    server.add_to_scope(API_KEY, &two_flags(2).id);
    agent.resync();
    let relay = settled(&server);
    assert_eq!(relay.number, 1, "one more connection was needed");
    let mut second = Watcher::server(&agent, &two_flags(2).secret(Kind::Server));
    set(&server, &two_flags(2), "a", "v1", 1000);
    second.wait_variation("a", "v1");
    second.expect_nothing_new();
    both_live(&server, &agent, &mut first, 2000);
    agent.wait_stable();
    // The first connection was closed by the agent, in order, and only then.
    let relays = server.relays();
    assert!(relays[0].ended().is_some_and(|ended| ended.code.is_some()), "{:?}", relays[0].ended());
    assert!(relays[1].opened < relays[0].ended().unwrap().at);
}

#[test]
fn sdks_of_an_unknown_environment_cause_the_full_sync_that_brings_it() {
    let server = server();
    let (agent, mut first) = connected(&server);
    server.add_to_scope(API_KEY, &two_flags(2).id);
    let mut second = Watcher::asking(&agent, &two_flags(2).secret(Kind::Server));
    second.expect_full();
    let _ = settled(&server);
    set(&server, &two_flags(2), "a", "v1", 1000);
    second.wait_variation("a", "v1");
    second.expect_nothing_new();
    both_live(&server, &agent, &mut first, 2000);
}

#[test]
fn an_environment_that_changes_while_it_is_added_ends_in_its_last_state() {
    // Moments: before the answer on the first connection, before the request on the second, before its answer.
    for moment in 0..4 {
        println!("moment {moment}");
        let server = server();
        let (agent, mut first) = connected(&server);
        server.add_to_scope(API_KEY, &two_flags(2).id);
        server.delay(if moment % 2 == 0 { Delay::AsRequested } else { Delay::AsReleased });
        agent.resync();
        wait_until("the first request", SOON, || (server.delayed() == 1).then_some(()));
        if moment < 2 {
            set(&server, &two_flags(2), "a", "v1", 1000);
            set(&server, &two_flags(1), "a", "v1", 1000);
        }
        server.release_and_delay(if moment % 2 == 0 { Delay::AsRequested } else { Delay::AsReleased });
        wait_until("the request on the second connection", SOON, || (server.delayed() == 1).then_some(()));
        assert_eq!(
            server.open_relays().len(),
            2,
            "the first connection is kept until the second has answered"
        );
        set(&server, &two_flags(2), "b", "v1", 1500);
        set(&server, &two_flags(1), "b", "v1", 1500);
        if moment >= 2 {
            set(&server, &two_flags(2), "a", "v1", 1000);
            set(&server, &two_flags(1), "a", "v1", 1000);
        }
        server.release();
        let _ = settled(&server);
        let mut second = Watcher::server(&agent, &two_flags(2).secret(Kind::Server));
        for sdk in [&mut first, &mut second] {
            sdk.take_until("both", |sdk| {
                sdk.variation("a") == Some("v1") && sdk.variation("b") == Some("v1")
            });
            sdk.expect_nothing_new();
        }
        both_live(&server, &agent, &mut first, 3000);
    }
}

#[test]
fn continuous_changes_while_an_environment_is_added_arrive_once_each() {
    let server = server();
    let (agent, mut first) = connected(&server);
    let mut later_ms = 0;
    let mut next = |server: &Server| {
        later_ms += 1000;
        let variation = if (later_ms / 1000) % 2 == 0 { "v0" } else { "v1" };
        set(server, &two_flags(1), "a", variation, later_ms);
        set(server, &two_flags(2), "a", variation, later_ms);
        variation
    };
    next(&server);
    server.add_to_scope(API_KEY, &two_flags(2).id);
    agent.resync();
    // Until the change of connections is over, and a few more.
    let mut after = 0;
    while after < 10 {
        next(&server);
        let open = server.open_relays();
        if matches!(open.as_slice(), [relay] if relay.mapped.contains(&two_flags(2).id)) {
            after += 1;
        }
        std::thread::yield_now();
    }
    let last = next(&server);
    set(&server, &two_flags(1), "b", "v1", 999_000_000);
    set(&server, &two_flags(2), "b", "v1", 999_000_000);
    let mut second = Watcher::server(&agent, &two_flags(2).secret(Kind::Server));
    for sdk in [&mut first, &mut second] {
        sdk.wait_variation("b", "v1");
        assert_eq!(sdk.variation("a"), Some(last));
        sdk.expect_nothing_new();
    }
}

#[test]
fn a_second_connection_that_fails_is_retried_and_harms_nothing() {
    let openings = [
        Opening::Status(503),
        Opening::ResetBeforeUpgrade,
        Opening::ResetAfterUpgrade,
        Opening::Close(4003),
        Opening::Close(1000),
        Opening::ResetAtRequest,
        Opening::ResetWithin(200),
    ];
    for opening in openings {
        println!("{opening:?}");
        let server = server();
        let (agent, mut first) = connected(&server);
        server.add_to_scope(API_KEY, &two_flags(2).id);
        server.next_openings([opening]);
        agent.resync();
        let _ = settled(&server);
        both_live(&server, &agent, &mut first, 2000);
    }
}

#[test]
fn the_first_connection_may_break_while_the_second_is_opened() {
    let server = server();
    let (agent, mut first) = connected(&server);
    server.add_to_scope(API_KEY, &two_flags(2).id);
    server.delay(Delay::AsReleased);
    agent.resync();
    wait_until("the first request", SOON, || (server.delayed() == 1).then_some(()));
    server.release_and_delay(Delay::AsReleased);
    wait_until("the request on the second connection", SOON, || (server.delayed() == 1).then_some(()));
    server.relays()[0].reset();
    set(&server, &two_flags(1), "a", "v1", 1000);
    set(&server, &two_flags(2), "a", "v1", 1000);
    server.release();
    let _ = settled(&server);
    first.wait_variation("a", "v1");
    let mut second = Watcher::server(&agent, &two_flags(2).secret(Kind::Server));
    second.wait_variation("a", "v1");
    both_live(&server, &agent, &mut first, 2000);
}

#[test]
fn an_environment_added_between_opening_and_first_answer_gets_pushes() {
    let server = server();
    server.delay(Delay::AsReleased);
    let agent = with_short_retries(&server).start();
    wait_until("the first request", SOON, || (server.delayed() == 1).then_some(()));
    server.add_to_scope(API_KEY, &two_flags(2).id);
    server.release();
    let _ = settled(&server);
    agent.wait_stable();
    let mut first = Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    both_live(&server, &agent, &mut first, 1000);
}

#[test]
fn an_environment_that_left_and_came_back_around_a_reconnect_gets_pushes() {
    let server = server();
    server.add_to_scope(API_KEY, &two_flags(2).id);
    let (agent, mut first) = connected(&server);
    let mut second = Watcher::server(&agent, &two_flags(2).secret(Kind::Server));
    server.delay(Delay::AsReleased);
    server.remove_from_scope(API_KEY, &two_flags(2).id);
    server.wait_request(0).close(1001);
    wait_until("the request on the next connection", SOON, || (server.delayed() == 1).then_some(()));
    server.add_to_scope(API_KEY, &two_flags(2).id);
    server.release();
    let _ = settled(&server);
    second.expect_nothing_new();
    both_live(&server, &agent, &mut first, 1000);
}

#[test]
fn an_environment_gets_pushes_once_it_has_a_server_secret() {
    let mut clients_only = two_flags(2);
    clients_only.secrets.retain(|secret| secret["type"] == "client");
    let server = Server::start(&Dataset::of([two_flags(1), clients_only]));
    let (agent, mut first) = connected(&server);
    let relay = server.wait_request(0);
    assert!(!relay.mapped.contains(&two_flags(2).id));
    let mut client = Watcher::client(&agent, &two_flags(2).secret(Kind::Client), &user("ann", &[]));
    server.create_secret(&two_flags(2).id, Kind::Server, 0);
    agent.resync();
    let _ = settled(&server);
    set(&server, &two_flags(2), "a", "v1", 1000);
    client.wait_variation("a", "v1");
    client.expect_nothing_new();
    both_live(&server, &agent, &mut first, 2000);
}

#[test]
fn an_environment_without_server_secrets_is_kept_up_to_date_by_full_syncs() {
    let mut clients_only = two_flags(2);
    clients_only.secrets.retain(|secret| secret["type"] == "client");
    let server = Server::start(&Dataset::of([two_flags(1), clients_only]));
    let agent = with_short_retries(&server).env("Upstream__ResyncSeconds", "1").start();
    agent.wait_stable();
    server.wait_synced();
    let mut client = Watcher::client(&agent, &two_flags(2).secret(Kind::Client), &user("ann", &[]));
    set(&server, &two_flags(2), "a", "v1", 1000);
    client.wait_variation("a", "v1");
    client.expect_nothing_new();
    // This environment alone must not cause new connections again and again.
    wait_until("more full syncs", SOON, || (server.fulls() >= 4).then_some(()));
    assert!(server.relays().len() <= 2, "{} connections", server.relays().len());
}

#[test]
fn sdks_of_an_environment_that_left_and_no_others_are_closed_after_the_grace() {
    let server = server();
    server.add_to_scope(API_KEY, &two_flags(2).id);
    let (agent, mut first) = connected(&server);
    let mut second = Watcher::server(&agent, &two_flags(2).secret(Kind::Server));
    let mut client = Watcher::client(&agent, &two_flags(2).secret(Kind::Client), &user("ann", &[]));
    server.remove_from_scope(API_KEY, &two_flags(2).id);
    second.expect_nothing_new();
    agent.resync();
    assert_eq!(second.expect_close(SOON + GRACE), Some(4003));
    assert_eq!(client.expect_close(SOON + GRACE), Some(4003));
    first.expect_nothing_new();
    // Later pushes for it reach no SDK, and do not lead to endless full syncs.
    let asked = server.fulls();
    for number in 1..=20 {
        set(&server, &two_flags(2), "a", if number % 2 == 0 { "v0" } else { "v1" }, 1000 * number);
    }
    set(&server, &two_flags(1), "a", "v1", 1000);
    first.wait_variation("a", "v1");
    first.expect_nothing_new();
    assert!(server.fulls() <= asked + 2, "{} and then {}", asked, server.fulls());
    agent.wait_status("the one that stayed", |status| status["serves"] == "project-1:production");
}

#[test]
fn an_environment_that_comes_back_within_the_grace_loses_no_sdk() {
    let server = server();
    server.add_to_scope(API_KEY, &two_flags(2).id);
    let agent = with_short_retries(&server).env("RevocationGraceSeconds", "600").start();
    agent.wait_stable();
    server.wait_synced();
    let mut first = Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    let mut second = Watcher::server(&agent, &two_flags(2).secret(Kind::Server));
    server.remove_from_scope(API_KEY, &two_flags(2).id);
    agent.resync();
    agent.wait_status("it is gone", |status| status["serves"] == "project-1:production");
    second.expect_nothing_new();
    server.add_to_scope(API_KEY, &two_flags(2).id);
    set_without_push(&server, &two_flags(2), "a", "v1", 1000);
    agent.resync();
    second.wait_variation("a", "v1");
    set(&server, &two_flags(2), "b", "v1", 2000);
    second.wait_variation("b", "v1");
    second.expect_nothing_new();
    first.expect_nothing_new();
}

#[test]
fn a_scope_that_becomes_empty_removes_nothing_at_once() {
    let server = server();
    let (agent, mut first) = connected(&server);
    server.remove_from_scope(API_KEY, &two_flags(1).id);
    agent.resync();
    wait_until("the full sync", SOON, || (server.fulls() >= 2).then_some(()));
    agent.wait_line("ERROR");
    agent.wait_readiness(200, "Degraded");
    first.expect_nothing_new();
    Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    server.add_to_scope(API_KEY, &two_flags(1).id);
    set(&server, &two_flags(1), "a", "v1", 1000);
    first.wait_variation("a", "v1");
    first.expect_nothing_new();
}

/// What went wrong: a server that answered before it had loaded its data made the agent healthy, and it refused every SDK
/// for good.
#[test]
fn a_first_full_sync_without_any_secret_is_not_accepted_as_data() {
    let server = server();
    let mut locked: Value = serde_json::from_str(&server.full(API_KEY)).unwrap();
    locked["data"]["items"][0]["secrets"] = json!([]);
    let empty = data_sync("rp_full", std::iter::empty());
    server.next_answers([Answer::Text(empty), Answer::Text(locked.to_string())]);
    server.delay(Delay::AsReleased);
    let agent = with_short_retries(&server).start();
    wait_until("both are refused", SOON, || (server.delayed() == 1).then_some(()));
    assert_eq!(agent.readiness().0, 503);
    let status = agent.status();
    assert_eq!((&status["syncState"], &status["serves"]), (&json!("Starting"), &json!("")), "{status}");
    agent.wait_metric("featbit_agent_upstream_messages_unused_total", r#"reason="empty""#, 2.0);
    agent.wait_line("ERROR");
    agent.wait_line("without any secret");
    assert_eq!(
        (agent.lines("ERROR").len(), agent.lines("without any secret").len()),
        (1, 1),
        "{}",
        agent.log()
    );
    let mut early = Watcher::asking(&agent, &two_flags(1).secret(Kind::Server));
    server.release();
    early.expect_full();
    agent.wait_stable();
}

#[test]
fn real_sdks_of_a_new_environment_work_and_those_of_the_old_are_not_disturbed() {
    let server = server();
    let (agent, mut first) = connected(&server);
    let ann = user("ann", &[]);
    let mut old = Fleet::ready("the old environment", &agent, &two_flags(1), &ann);
    server.add_to_scope(API_KEY, &two_flags(2).id);
    agent.resync();
    let _ = settled(&server);
    set(&server, &two_flags(2), "a", "v1", 1000);
    let mut new = Fleet::launch("the new environment", |_, mode| mode == Mode::Streaming);
    new.each("ready", |sdk| {
        sdk.start(&agent, &two_flags(2), &ann);
        sdk.wait_ready();
        sdk.wait_value("a", &ann, "boolean", &json!(false));
    });
    set(&server, &two_flags(2), "a", "v0", 2000);
    new.each("a change", |sdk| sdk.wait_value("a", &ann, "boolean", &json!(true)));
    old.each("unmoved", |sdk| sdk.wait_value("a", &ann, "boolean", &json!(true)));
    first.expect_nothing_new();
}
