//! What a server sends, and what SDKs get of it: every change once, nothing old, and always the last state.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::time::Duration;

use common::agent::{API_KEY, Agent};
use common::dataset::{
    Dataset, Environment, Kind, START_MS, boolean_flag, everybody, flag, guid_of, rule, segment,
    segment_condition, serve, touch, user,
};
use common::following::{set, set_without_push, two_flags, with_short_retries};
use common::sdk::Fleet;
use common::server::Server;
use common::server::delayed::Delay;
use common::server::model::{data_sync, flag_patch, segment_patch};
use common::server::script::{Answer, Shape};
use common::watcher::Watcher;
use common::{SOON, wait_until};
use serde_json::{Value, json};

fn server() -> Server {
    Server::start(&Dataset::of([two_flags(1), two_flags(2)]))
}

/// An agent that is connected to its server, and a server and a client SDK of the first environment.
fn connected(server: &Server) -> (Agent, Watcher, Watcher) {
    let agent = with_short_retries(server).start();
    agent.wait_stable();
    server.wait_synced();
    let sdk = Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    let client = Watcher::client(&agent, &two_flags(1).secret(Kind::Client), &user("ann", &[]));
    (agent, sdk, client)
}

/// A flag of the first environment that gives everybody a variation, as of a time.
fn version(key: &str, variation: &str, later_ms: i64) -> Value {
    let mut flag = boolean_flag(key);
    flag["envId"] = json!(two_flags(1).id);
    serve(&mut flag, variation);
    touch(&mut flag, later_ms);
    flag
}

#[test]
fn a_change_is_pushed_once_however_often_it_arrives() {
    let server = server();
    // As often as the environment has server secrets.
    for number in 1..4 {
        server.create_secret(&two_flags(1).id, Kind::Server, number);
    }
    let (agent, mut sdk, mut client) = connected(&server);
    let mut elsewhere = Watcher::server(&agent, &two_flags(2).secret(Kind::Server));
    let relay = server.wait_request(0);
    assert_eq!(relay.mapped.len(), 5);
    for number in 1..=10 {
        set(&server, &two_flags(1), "a", if number % 2 == 0 { "v0" } else { "v1" }, 1000 * number);
    }
    set(&server, &two_flags(1), "b", "v1", 11_000);
    for _ in 0..10 {
        relay.send(&flag_patch(&server.flag(&two_flags(1).id, "b")));
    }
    for sdk in [&mut sdk, &mut client] {
        sdk.wait_variation("b", "v1");
        assert_eq!(sdk.variation("a"), Some("v0"));
        sdk.expect_nothing_new();
    }
    elsewhere.expect_nothing_new();
    // Nothing more is on its way: what is sent after the duplicates comes next.
    set(&server, &two_flags(1), "a", "v1", 12_000);
    sdk.expect_patch();
    assert_eq!(sdk.variation("a"), Some("v1"));
}

#[test]
fn a_push_older_than_the_data_reaches_no_sdk() {
    let server = server();
    let (_agent, mut sdk, mut client) = connected(&server);
    let relay = server.wait_request(0);
    relay.send(&flag_patch(&version("a", "v1", 5000)));
    relay.send(&flag_patch(&version("a", "v0", 4000)));
    relay.send(&flag_patch(&version("a", "v0", 4999)));
    relay.send(&flag_patch(&version("b", "v1", 6000)));
    for sdk in [&mut sdk, &mut client] {
        sdk.wait_variation("b", "v1");
        assert_eq!(sdk.variation("a"), Some("v1"));
        assert_eq!(sdk.events.iter().filter(|event| *event == "full").count(), 1);
        sdk.expect_nothing_new();
    }
}

#[test]
fn changes_that_arrive_out_of_order_end_in_the_newest() {
    let server = server();
    let (_agent, mut sdk, mut client) = connected(&server);
    let relay = server.wait_request(0);
    for (key, variation, later_ms) in
        [("a", "v1", 9000), ("b", "v0", 3000), ("a", "v0", 1000), ("b", "v1", 8000), ("c", "v1", 2000)]
    {
        relay.send(&flag_patch(&version(key, variation, later_ms)));
    }
    for sdk in [&mut sdk, &mut client] {
        sdk.wait_variation("c", "v1");
        assert_eq!((sdk.variation("a"), sdk.variation("b")), (Some("v1"), Some("v1")));
        sdk.expect_nothing_new();
    }
}

#[test]
fn a_changed_segment_is_pushed_and_changes_what_clients_get() {
    let mut uses = boolean_flag("uses");
    let people = segment("people");
    let id = guid_of("people");
    uses["rules"] = json!([rule("in", vec![segment_condition(&[&id], false)], everybody("v1"))]);
    let environment = Environment::new(1).flag(uses).flag(boolean_flag("other")).segment(people.clone());
    let server = Server::start(&Dataset::of([environment.clone()]));
    let agent = with_short_retries(&server).start();
    agent.wait_stable();
    server.wait_synced();
    let mut sdk = Watcher::server(&agent, &environment.secret(Kind::Server));
    let mut client = Watcher::client(&agent, &environment.secret(Kind::Client), &user("ann", &[]));
    let mut changed = people;
    changed["included"] = json!(["ann"]);
    touch(&mut changed, 1000);
    server.upsert_segment(&[&environment.id], &changed);
    sdk.expect_patch();
    assert_eq!(sdk.segments[&id]["included"], json!(["ann"]));
    client.expect_patch();
    assert_eq!(client.variation("uses"), Some("v1"));
    sdk.expect_nothing_new();
    client.expect_nothing_new();
    // The server has also touched the flags that use it, without a push. A full sync brings that; clients see no difference.
    agent.resync();
    // It has the segment's time, which SDKs have already: its own is raised.
    let segment_at = changed["updatedAt"].as_str();
    sdk.take_until("the touched flag", |sdk| sdk.flags["uses"]["updatedAt"].as_str() > segment_at);
    sdk.expect_nothing_new();
}

#[test]
fn archived_flags_are_pushed_and_deleted_ones_go_with_the_next_full_sync() {
    let server = server();
    let (agent, mut sdk, mut client) = connected(&server);
    server.archive_flag(&two_flags(1).id, "a", START_MS + 1000);
    sdk.take_until("the archived flag", |sdk| sdk.flags["a"]["isArchived"] == true);
    client.take_until("no variation", |client| client.flags["a"]["variation"].is_null());
    server.delete_flag(&two_flags(1).id, "a");
    sdk.expect_nothing_new();
    agent.resync();
    for sdk in [&mut sdk, &mut client] {
        sdk.wait_gone("a");
        assert_eq!(sdk.events, ["full", "patch", "full"]);
        sdk.expect_nothing_new();
    }
    // It stays gone after a reconnect.
    server.wait_open().close(1001);
    server.wait_request(1);
    agent.wait_stable();
    sdk.expect_nothing_new();
    let mut newcomer = Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    newcomer.wait_gone("a");
    assert_eq!(newcomer.flags.len(), 1);
}

#[test]
fn sdks_get_a_full_sync_as_a_diff() {
    let server = server();
    let (agent, mut sdk, mut client) = connected(&server);
    let mut elsewhere = Watcher::server(&agent, &two_flags(2).secret(Kind::Server));
    agent.resync();
    wait_until("the second request", SOON, || (server.fulls() == 2).then_some(()));
    set_without_push(&server, &two_flags(1), "b", "v1", 1000);
    server.change_without_push(|model| model.environment(&two_flags(1).id).add_flag(boolean_flag("new")));
    agent.resync();
    for sdk in [&mut sdk, &mut client] {
        sdk.take_until("both", |sdk| sdk.variation("b") == Some("v1") && sdk.flags.contains_key("new"));
        sdk.expect_nothing_new();
    }
    elsewhere.expect_nothing_new();
    assert_eq!(elsewhere.events, ["full"]);
}

#[test]
fn a_full_sync_older_than_a_push_does_not_undo_it() {
    let server = server();
    let (agent, mut sdk, mut client) = connected(&server);
    server.delay(Delay::AsRequested);
    agent.resync();
    wait_until("the request", SOON, || (server.delayed() == 1).then_some(()));
    set(&server, &two_flags(1), "a", "v1", 1000);
    for sdk in [&mut sdk, &mut client] {
        sdk.wait_variation("a", "v1");
    }
    server.release();
    // A change after the answer shows that the answer has been applied.
    set(&server, &two_flags(1), "b", "v1", 2000);
    for sdk in [&mut sdk, &mut client] {
        sdk.wait_variation("b", "v1");
        assert_eq!(sdk.variation("a"), Some("v1"));
        assert_eq!(sdk.events, ["full", "patch", "patch"]);
        sdk.expect_nothing_new();
    }
    Watcher::server(&agent, &two_flags(1).secret(Kind::Server)).wait_variation("a", "v1");
}

#[test]
fn a_new_flag_pushed_during_a_full_sync_without_it_stays() {
    let server = server();
    let (agent, mut sdk, _client) = connected(&server);
    server.delay(Delay::AsRequested);
    agent.resync();
    wait_until("the request", SOON, || (server.delayed() == 1).then_some(()));
    server.upsert_flag(&two_flags(1).id, version("new", "v1", 1000));
    sdk.wait_variation("new", "v1");
    server.release();
    // It may be missing for a moment only if it comes back by itself.
    set(&server, &two_flags(1), "b", "v1", 2000);
    sdk.take_until("both", |sdk| sdk.variation("b") == Some("v1") && sdk.variation("new") == Some("v1"));
    Watcher::server(&agent, &two_flags(1).secret(Kind::Server)).wait_variation("new", "v1");
}

#[test]
fn a_full_answer_without_any_item_is_reported_and_not_applied() {
    let server = server();
    let (agent, mut sdk, mut client) = connected(&server);
    server.next_answers([Answer::Text(data_sync("rp_full", std::iter::empty()))]);
    agent.resync();
    agent.wait_line("ERROR");
    agent.wait_metric_at_least("featbit_agent_upstream_messages_unused_total", r#"reason="empty""#, 1.0);
    sdk.expect_nothing_new();
    client.expect_nothing_new();
    assert_eq!(Watcher::server(&agent, &two_flags(1).secret(Kind::Server)).flags.len(), 2);
    agent.wait_readiness(200, "Healthy");
    set(&server, &two_flags(1), "a", "v1", 1000);
    sdk.wait_variation("a", "v1");
    sdk.expect_nothing_new();
}

#[test]
fn invalid_messages_change_nothing_and_do_not_stop_the_agent() {
    let server = server();
    let (agent, mut sdk, mut client) = connected(&server);
    let broken = |data: Value| json!({ "messageType": "data-sync", "data": data }).to_string();
    let mut no_key = version("a", "v1", 100);
    no_key.as_object_mut().unwrap().remove("key");
    let mut no_time = version("a", "v1", 100);
    no_time["updatedAt"] = json!("yesterday");
    let messages: Vec<Vec<u8>> = vec![
        b"no JSON".to_vec(),
        b"{".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        b"{\"messageType\":\"data-sync\",\"data\":\"\xFF\xFE\"}".to_vec(),
        br#"{"messageType":7,"data":{}}"#.to_vec(),
        br#"{"messageType":"unheard-of","data":{}}"#.to_vec(),
        br#"{"messageType":"data-sync"}"#.to_vec(),
        broken(json!(null)).into_bytes(),
        broken(json!({ "eventType": "rp_nonsense", "items": [] })).into_bytes(),
        broken(json!({ "eventType": "rp_full" })).into_bytes(),
        broken(json!({ "eventType": "rp_full", "items": 7 })).into_bytes(),
        broken(json!({ "eventType": "rp_patch", "items": [{ "envId": "none" }] })).into_bytes(),
        broken(json!({ "eventType": "patch", "featureFlags": 7, "segments": [] })).into_bytes(),
        flag_patch(&no_key).into_bytes(),
        flag_patch(&no_time).into_bytes(),
        segment_patch(&json!({})).into_bytes(),
        vec![b'['; 100_000],
    ];
    for (number, message) in messages.iter().enumerate() {
        // The connection may just be replaced, because of the invalid message before.
        let relay = server.wait_open();
        relay.send_bytes(message);
        // The agent may close the connection or keep it: a change arrives either way.
        let variation = if number % 2 == 0 { "v1" } else { "v0" };
        set(&server, &two_flags(1), "b", variation, 1000 * (number as i64 + 1));
        sdk.wait_variation("b", variation);
        client.wait_variation("b", variation);
        agent.wait_stable();
    }
    for sdk in [&mut sdk, &mut client] {
        assert_eq!(sdk.variation("a"), Some("v0"));
        sdk.expect_nothing_new();
        assert_eq!(sdk.events.iter().filter(|event| *event == "full").count(), 1);
    }
}

#[test]
fn a_change_of_an_unknown_environment_leads_to_a_full_sync() {
    let server = server();
    let (_agent, mut sdk, _client) = connected(&server);
    let mut stranger = boolean_flag("a");
    stranger["envId"] = json!(Environment::new(7).id);
    server.wait_request(0).send(&flag_patch(&stranger));
    wait_until("a full sync", SOON, || (server.fulls() > 1).then_some(()));
    set(&server, &two_flags(1), "a", "v1", 1000);
    sdk.wait_variation("a", "v1");
    sdk.expect_nothing_new();
}

#[test]
fn pushed_messages_may_come_in_many_frames_slowly_and_as_binary() {
    let server = server();
    let (_agent, mut sdk, _client) = connected(&server);
    let relay = server.wait_request(0);
    relay.shape(Shape { frame_bytes: 7, pings_between: true, drip: Some((100, Duration::from_millis(1))) });
    set(&server, &two_flags(1), "a", "v1", 1000);
    sdk.wait_variation("a", "v1");
    relay.shape(Shape::default());
    relay.send_binary(flag_patch(&version("a", "v0", 2000)).as_bytes());
    sdk.wait_variation("a", "v0");
    sdk.expect_nothing_new();
    assert!(relay.is_open());
}

#[test]
fn full_syncs_come_by_timer_by_signal_and_by_a_call_with_the_key() {
    let server = server();
    let agent = with_short_retries(&server).env("Upstream__ResyncSeconds", "1").start();
    let relay = server.wait_request(0);
    wait_until("two more", SOON, || (relay.fulls() >= 3).then_some(()));
    drop(agent);

    let server = self::server();
    let (agent, mut sdk, _client) = connected(&server);
    let relay = server.wait_request(0);
    for headers in [&[][..], &[("Authorization", "rp-wrong")]] {
        assert_eq!(agent.post("/api/public/proxy/resync", headers, &Value::Null).status, 401);
    }
    assert_eq!(agent.get("/api/public/proxy/resync", &[("Authorization", API_KEY)]).status, 405);
    set_without_push(&server, &two_flags(1), "a", "v1", 1000);
    sdk.expect_nothing_new();
    assert_eq!(relay.fulls(), 1);
    agent.hang_up();
    sdk.wait_variation("a", "v1");
    assert_eq!(relay.fulls(), 2);
    set_without_push(&server, &two_flags(1), "a", "v0", 2000);
    agent.resync();
    sdk.wait_variation("a", "v0");
    assert_eq!(relay.fulls(), 3);
    sdk.expect_nothing_new();
}

#[test]
fn polls_see_what_streams_see() {
    let server = server();
    let (agent, mut sdk, _client) = connected(&server);
    set(&server, &two_flags(1), "a", "v1", 1000);
    sdk.wait_variation("a", "v1");
    let secret = two_flags(1).secret(Kind::Server);
    let data = agent.poll_newer(&secret, START_MS);
    let flags = data["featureFlags"].as_array().unwrap();
    assert_eq!(flags.len(), 1);
    assert_eq!(flags[0], sdk.flags["a"]);
    let client = two_flags(1).secret(Kind::Client);
    agent.wait_evaluated(&client, &user("ann", &[]), "a", "false");
}

#[test]
fn items_reach_sdks_unchanged() {
    let server = server();
    let (_agent, mut sdk, _client) = connected(&server);
    let mut odd = flag("odd", "string", &["wörld \"quoted\" \\ </script>", "\u{1F600}", "+'&`"]);
    odd["futureProperty"] = json!({ "deep": [1, 2.5, null, "ß"] });
    odd["envId"] = json!(two_flags(1).id);
    touch(&mut odd, 1000);
    server.upsert_flag(&two_flags(1).id, odd.clone());
    sdk.wait_variation("odd", "v0");
    assert_eq!(sdk.flags["odd"], odd);
}

#[test]
fn real_sdks_see_every_change_and_removal() {
    let server = server();
    let agent = with_short_retries(&server).start();
    agent.wait_stable();
    server.wait_synced();
    let ann = user("ann", &[]);
    let mut fleet = Fleet::ready("changes from a server", &agent, &two_flags(1), &ann);
    set(&server, &two_flags(1), "a", "v1", 1000);
    fleet.each("a changed flag", |sdk| sdk.wait_value("a", &ann, "boolean", &json!(false)));
    set_without_push(&server, &two_flags(1), "a", "v0", 2000);
    server.delete_flag(&two_flags(1).id, "b");
    // Newer than what goes: SDKs that ignore a full that is not newer still learn of it.
    agent.resync();
    fleet.each("a full sync", |sdk| {
        sdk.wait_value("a", &ann, "boolean", &json!(true));
        sdk.wait_gone("b", &ann);
    });
}

/// What went wrong: a huge frame of which a byte came each second blocked the agent for ever, and its status stayed Stable.
#[test]
fn a_message_that_never_ends_does_not_block_the_agent() {
    let server = server();
    let agent = with_short_retries(&server)
        .env("Upstream__SyncSeconds", "1")
        .env("Upstream__PingSeconds", "300ms")
        .env("Upstream__ReadMinBytesPerSecond", "2000")
        .start();
    agent.wait_stable();
    server.wait_synced();
    let mut sdk = Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    let relay = server.wait_request(0);
    relay.shape(Shape { drip: Some((1, Duration::from_millis(100))), ..Shape::default() });
    set(&server, &two_flags(1), "a", "v1", 1000);
    sdk.wait_variation("a", "v1");
    assert!(server.relays().len() > 1, "by another connection");
    agent.wait_metric_at_least("featbit_agent_upstream_streams_ended_total", r#"reason="slow""#, 1.0);
    agent.wait_stable();
    agent.wait_line("Upstream__ReadMinBytesPerSecond");
}

/// What went wrong: a resync that brought nothing new was not logged, so that no operator knew whether it was complete.
#[test]
fn a_resync_is_logged_when_it_is_complete() {
    let server = server();
    let (agent, mut sdk, _client) = connected(&server);
    agent.resync();
    assert!(agent.wait_line("has come: nothing in it is new").contains("INFO"));
    set_without_push(&server, &two_flags(1), "a", "v1", 1000);
    agent.hang_up();
    sdk.wait_variation("a", "v1");
    agent.wait_line("has come: it is in service");
    let names = agent.wait_line("names=");
    assert!(names.contains("project-1:production: a\""), "{names}");
    assert_eq!(agent.lines("has come:").len(), 2, "{}", agent.log());
}

/// What went wrong: a fail-over to a server that lagged behind made flags older, and nothing was logged.
#[test]
fn a_full_sync_with_older_items_is_logged_once_with_the_first_key() {
    let server = server();
    let (agent, mut sdk, mut client) = connected(&server);
    for environment in [two_flags(1), two_flags(2)] {
        set(&server, &environment, "a", "v1", 5000);
        set(&server, &environment, "b", "v1", 6000);
    }
    for sdk in [&mut sdk, &mut client] {
        sdk.wait_variation("b", "v1");
    }
    // Another data centre answers, which does not have these changes yet.
    server.change_without_push(|model| model.environments = vec![two_flags(1), two_flags(2)]);
    agent.resync();
    for sdk in [&mut sdk, &mut client] {
        sdk.wait_variation("a", "v0");
        sdk.wait_variation("b", "v0");
    }
    let line = agent.wait_line("older than those in service");
    for part in ["WARN", r#"environment="project-1:production""#, r#"key="a""#, "count=4", "environments=2"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    // A full sync that changes nothing is no reason to warn.
    agent.resync();
    agent.wait_line("nothing in it is new");
    assert_eq!(agent.lines("older than those in service").len(), 1);
}
