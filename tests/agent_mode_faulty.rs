//! Items of a server that cannot be read: their last state stays, and everything else is synced.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::agent::{API_KEY, Agent};
use common::dataset::{Dataset, Kind, boolean_flag, serve, touch};
use common::following::{GRACE, set, set_without_push, two_flags, with_short_retries};
use common::server::Server;
use common::server::model::flag_patch;
use common::server::script::Answer;
use common::watcher::Watcher;
use common::{SOON, wait_until};
use serde_json::{Value, json};

fn server() -> Server {
    Server::start(&Dataset::of([two_flags(1), two_flags(2)]))
}

fn connected(server: &Server) -> (Agent, Watcher, Watcher) {
    let agent = with_short_retries(server).start();
    agent.wait_stable();
    server.wait_synced();
    let [one, other] = [1, 2].map(|number| Watcher::server(&agent, &two_flags(number).secret(Kind::Server)));
    (agent, one, other)
}

/// What the server would answer now, with something in the item of the first environment changed.
fn full(server: &Server, change: impl FnOnce(&mut Value)) -> Answer {
    let mut full: Value = serde_json::from_str(&server.full(API_KEY)).unwrap();
    let items = full["data"]["items"].as_array_mut().unwrap();
    change(items.iter_mut().find(|item| item["envId"] == json!(two_flags(1).id)).unwrap());
    Answer::Text(full.to_string())
}

/// Waits until the last full sync had so many items that could not be read.
fn wait_left_out(agent: &Agent, count: f64) {
    agent.wait_metric("featbit_agent_upstream_full_left_out", "", count);
}

#[test]
fn a_flag_that_cannot_be_read_does_not_keep_the_others_from_syncing() {
    let server = server();
    let (agent, mut one, mut other) = connected(&server);
    set_without_push(&server, &two_flags(1), "b", "v1", 1000);
    set_without_push(&server, &two_flags(2), "a", "v1", 1000);
    server.create_secret(&two_flags(2).id, Kind::Server, 1);
    let broken = |server: &Server| {
        full(server, |item| {
            item["featureFlags"][0]["variations"] = Value::Null;
            touch(&mut item["featureFlags"][0], 5000);
        })
    };
    server.next_answers([broken(&server)]);
    agent.resync();
    other.wait_variation("a", "v1");
    one.wait_variation("b", "v1");
    // The last state, also for new connections.
    assert_eq!(one.variation("a"), Some("v0"));
    let late = Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    assert_eq!((late.flags.len(), late.variation("a")), (2, Some("v0")));
    Watcher::server(&agent, &common::dataset::secret_text(&two_flags(2).id, Kind::Server, 1));
    // For the new secret another connection is opened, whose request must not get an answer that is meant for others.
    server.wait_request(1);

    agent.wait_stable();
    wait_left_out(&agent, 1.0);
    agent.wait_metric_at_least("featbit_agent_upstream_items_left_out_total", r#"kind="flag""#, 1.0);
    let place = "data.items[0].featureFlags[0].variations";
    agent.wait_status("the error names the place", |status| {
        status["agent"]["upstream"]["lastError"]["message"].to_string().contains(place)
    });
    // The same again is not logged again, and does not lead to full syncs in a loop.
    let fulls = server.fulls();
    set_without_push(&server, &two_flags(2), "b", "v1", 2000);
    server.next_answers([broken(&server)]);
    agent.resync();
    other.wait_variation("b", "v1");
    assert_eq!(server.fulls(), fulls + 1);
    agent.wait_line(place);
    assert_eq!(agent.lines("ERROR").len(), 1, "{}", agent.log());

    // Once it can be read, the data is the server's again.
    set(&server, &two_flags(1), "a", "v1", 6000);
    one.wait_variation("a", "v1");
    server.script(|script| script.answers.clear());
    agent.resync();
    wait_left_out(&agent, 0.0);
    one.expect_nothing_new();
    other.expect_nothing_new();
}

#[test]
fn removals_of_a_full_sync_apply_although_another_item_cannot_be_read() {
    let server = server();
    let (agent, mut one, _other) = connected(&server);
    server.next_answers([full(&server, |item| {
        let flags = item["featureFlags"].as_array_mut().unwrap();
        let mut broken = flags[0].clone();
        broken["isEnabled"] = json!("true");
        *flags = vec![broken];
    })]);
    agent.resync();
    one.wait_gone("b");
    assert_eq!(one.variation("a"), Some("v0"));
    // The agent cannot know which flag it is: both stay.
    server.next_answers([full(&server, |item| item["featureFlags"] = json!([null, boolean_flag_of("c")]))]);
    agent.resync();
    one.take_until("the new one", |one| one.flags.contains_key("c"));
    assert_eq!(one.flags.len(), 2);
    assert_eq!(one.variation("a"), Some("v0"));
}

fn boolean_flag_of(key: &str) -> Value {
    let mut flag = boolean_flag(key);
    flag["envId"] = json!(two_flags(1).id);
    flag
}

#[test]
fn a_pushed_flag_that_cannot_be_read_keeps_its_last_state_and_leads_to_one_full_sync() {
    let server = server();
    let (agent, mut one, _other) = connected(&server);
    let relay = server.wait_request(0);
    let mut broken = server.flag(&two_flags(1).id, "a");
    broken["rules"] = json!(7);
    touch(&mut broken, 1000);
    relay.send(&flag_patch(&broken));
    wait_until("a full sync", SOON, || (server.fulls() == 2).then_some(()));
    set(&server, &two_flags(1), "b", "v1", 2000);
    one.wait_variation("b", "v1");
    assert_eq!(one.variation("a"), Some("v0"));
    agent.wait_stable();
    assert_eq!(server.open_relays().len(), 1);
    agent.wait_metric("featbit_agent_upstream_items_left_out_total", r#"kind="flag""#, 1.0);
}

/// What went wrong: a date that makes the Go SDK reconnect 800 times a second was passed on.
#[test]
fn a_pushed_flag_with_a_date_that_sdks_cannot_represent_is_left_out() {
    let server = server();
    let (agent, mut one, _other) = connected(&server);
    let mut far = server.flag(&two_flags(1).id, "a");
    serve(&mut far, "v1");
    far["updatedAt"] = json!("2262-04-11T00:00:00.000Z");
    server.wait_request(0).send(&flag_patch(&far));
    agent.wait_metric_at_least("featbit_agent_upstream_items_left_out_total", r#"kind="flag""#, 1.0);
    agent.wait_line("is after 2262-04-10");
    set(&server, &two_flags(1), "b", "v1", 2000);
    one.wait_variation("b", "v1");
    assert_eq!(one.variation("a"), Some("v0"));
}

/// What went wrong: data of a server that stops SDKs for good was passed on and not logged.
#[test]
fn items_of_a_server_that_stop_sdks_are_served_and_named_in_the_log() {
    let server = server();
    let (agent, mut one, _other) = connected(&server);
    let harm = |later_ms: i64| {
        let mut flag = server.flag(&two_flags(1).id, "a");
        let twice = flag["variations"][0].clone();
        flag["variations"].as_array_mut().unwrap().push(twice);
        serve(&mut flag, "v1");
        touch(&mut flag, later_ms);
        flag
    };
    let told = || {
        let lines = agent.lines("the Java SDK stops for good");
        lines.iter().filter(|line| line.contains(r#"(flag "a")"#)).count()
    };
    server.wait_request(0).send(&flag_patch(&harm(1000)));
    one.wait_variation("a", "v1");
    wait_until("a push is named", SOON, || (told() == 1).then_some(()));
    server.next_answers([full(&server, |item| item["featureFlags"][0] = harm(5000))]);
    agent.resync();
    wait_until("a full sync is named", SOON, || (told() == 2).then_some(()));
}

#[test]
fn a_flag_that_cannot_be_read_at_the_start_is_the_only_one_that_is_missing() {
    let server = server();
    let mut broken = boolean_flag("broken");
    broken["isEnabled"] = json!("true");
    server.change_without_push(|model| model.environment(&two_flags(1).id).add_flag(broken));
    let agent = with_short_retries(&server).start();
    agent.wait_stable();
    let one = Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    assert_eq!((one.flags.len(), one.variation("b")), (2, Some("v0")));
    wait_left_out(&agent, 1.0);
    let other = Watcher::server(&agent, &two_flags(2).secret(Kind::Server));
    assert_eq!(other.flags.len(), 2);
}

#[test]
fn a_full_sync_in_which_no_flag_can_be_read_is_rejected() {
    let server = Server::start(&Dataset::of([two_flags(1)]));
    server.next_answers([full(&server, |item| item["featureFlags"] = json!([null, null]))]);
    let agent = with_short_retries(&server).start();
    agent.wait_stable();
    assert_eq!(server.fulls(), 2);
    assert_eq!(Watcher::server(&agent, &two_flags(1).secret(Kind::Server)).flags.len(), 2);
    agent.wait_metric("featbit_agent_upstream_messages_unused_total", r#"reason="faulty""#, 1.0);
}

#[test]
fn a_secret_that_cannot_be_read_is_not_revoked() {
    let server = server();
    let made = server.create_secret(&two_flags(1).id, Kind::Server, 1);
    let agent = with_short_retries(&server)
        .env("RevocationGraceSeconds", &GRACE.as_secs().to_string())
        .env("Limits__VerdictWait", "1")
        .start();
    agent.wait_stable();
    server.wait_synced();
    let mut first = Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    let mut second = Watcher::server(&agent, &made);
    // A type that this agent does not know, and another secret is revoked; the full that ends its grace can be read.
    server.revoke_secret(&two_flags(1).id, &two_flags(1).secret(Kind::Server));
    let of_type = |value: &str| json!({ "type": "mobile", "value": value, "projectKey": "p", "envKey": "e" });
    // One for the call, one for the end of the grace.
    server.next_answers([0, 1].map(|_| full(&server, |item| item["secrets"] = json!([of_type(&made)]))));
    agent.resync();
    assert_eq!(first.expect_close(SOON), Some(4003));
    second.expect_nothing_new();
    agent.wait_metric_at_least("featbit_agent_upstream_items_left_out_total", r#"kind="secret""#, 1.0);
    // If the agent cannot know which secret it is, none is revoked, and no unknown one is refused for good.
    server.script(|script| script.answers.clear());
    // One for the call, one for the unknown secret, if it does not come in time for the first.
    server.next_answers([0, 1].map(|_| full(&server, |item| item["secrets"] = json!([null]))));
    agent.resync();
    wait_left_out(&agent, 1.0);
    let mut made_up = Watcher::asking(&agent, &two_flags(9).secret(Kind::Server));
    assert_eq!(made_up.expect_close(SOON), Some(1011));
    second.expect_nothing_new();
}
