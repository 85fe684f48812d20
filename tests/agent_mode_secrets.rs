//! Secrets that a server creates, removes and restores: an SDK is refused for good only when the agent is certain.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::agent::{API_KEY, Agent, Builder};
use common::dataset::{Dataset, Kind, secret_text, user};
use common::following::{GRACE, set, two_flags};
use common::raw::{CLIENT_POLL, SERVER_POLL, TRACK};
use common::sdk::{Fleet, Mode};
use common::server::Server;
use common::server::delayed::Delay;
use common::server::script::Answer;
use common::watcher::Watcher;
use common::ws::{Stream, token};
use common::{SOON, now_ms, wait_until};
use serde_json::{Value, json};

fn server() -> Server {
    Server::start(&Dataset::of([two_flags(1), two_flags(2)]))
}

fn with_short_retries(server: &Server) -> Builder {
    Builder::following(server).env("Upstream__RetrySeconds", "200ms").env("Limits__VerdictWait", "60")
}

fn connected(server: &Server) -> (Agent, Watcher) {
    let agent = with_short_retries(server).start();
    agent.wait_stable();
    server.wait_synced();
    let sdk = Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    (agent, sdk)
}

/// The text of a secret of the first environment, made or not.
fn secret(number: u8) -> String {
    secret_text(&two_flags(1).id, Kind::Server, number)
}

fn poll(agent: &Agent, secret: &str) -> common::http::Response {
    agent.get(&format!("{SERVER_POLL}?timestamp=0"), &[("Authorization", secret)])
}

#[test]
fn sdks_that_wait_with_an_unknown_secret_are_accepted_once_it_is_created() {
    let server = server();
    let (agent, mut other) = connected(&server);
    server.delay(Delay::AsReleased);
    let mut waiting: Vec<Watcher> = (0..3).map(|_| Watcher::asking(&agent, &secret(1))).collect();
    wait_until("a full sync is asked for", SOON, || (server.delayed() == 1).then_some(()));
    assert_eq!(server.fulls(), 2);
    server.create_secret(&two_flags(1).id, Kind::Server, 1);
    server.release();
    for sdk in &mut waiting {
        sdk.expect_full();
    }
    set(&server, &two_flags(1), "a", "v1", 1000);
    for sdk in waiting.iter_mut().chain([&mut other]) {
        sdk.wait_variation("a", "v1");
        sdk.expect_nothing_new();
    }
}

#[test]
fn an_unknown_secret_is_refused_only_after_a_later_full_sync_lacks_it() {
    let server = server();
    let agent = with_short_retries(&server).env("Reactors", "4").start();
    agent.wait_stable();
    server.wait_synced();
    let mut other = Watcher::server(&agent, &secret(0));
    server.delay(Delay::AsReleased);
    let mut stranger = Watcher::asking(&agent, &secret(9));
    wait_until("a full sync is asked for", SOON, || (server.delayed() == 1).then_some(()));
    // Nothing is decided while it is not answered.
    set(&server, &two_flags(1), "a", "v1", 1000);
    other.wait_variation("a", "v1");
    server.release();
    assert_eq!(stranger.expect_close(SOON), Some(4003));
    // Each poll may come to another reactor: all of them must know that the secret is refused.
    for _ in 0..12 {
        poll(&agent, &secret(9)).expect(401);
    }
    assert_eq!(server.fulls(), 2, "what is certain is not asked again at once");
    other.expect_nothing_new();
}

#[test]
fn a_full_sync_requested_before_a_secret_was_seen_does_not_refuse_it() {
    let server = server();
    let (agent, _other) = connected(&server);
    server.delay(Delay::AsRequested);
    agent.resync();
    wait_until("the request", SOON, || (server.delayed() == 1).then_some(()));
    // Made when the answer to the request was.
    server.create_secret(&two_flags(1).id, Kind::Server, 1);
    let mut sdk = Watcher::asking(&agent, &secret(1));
    // One that waits for a verdict has no kind yet.
    agent.wait_metric("featbit_agent_connections", r#"kind="other""#, 1.0);
    server.release();
    sdk.expect_full();
    assert_eq!(server.fulls(), 3);
}

#[test]
fn many_made_up_secrets_wait_and_cause_one_full_sync() {
    let server = server();
    let (agent, mut other) = connected(&server);
    server.delay(Delay::AsReleased);
    let mut flood: Vec<Watcher> = (1..=100).map(|number| Watcher::asking(&agent, &secret(number))).collect();
    wait_until("a full sync is asked for", SOON, || (server.delayed() == 1).then_some(()));
    server.release();
    // Secrets that were seen before the request are refused; later ones wait for a full sync that is requested much later.
    let code = flood[0].expect_close(SOON);
    assert_eq!(code, Some(4003));
    for number in 101..=200 {
        flood.push(Watcher::asking(&agent, &secret(number)));
    }
    set(&server, &two_flags(1), "a", "v1", 1000);
    other.wait_variation("a", "v1");
    other.expect_nothing_new();
    assert_eq!(server.fulls(), 2, "the first, and one for all of them");
}

#[test]
fn no_secret_is_refused_while_the_server_is_away() {
    let server = server();
    let agent = with_short_retries(&server).env("Limits__VerdictWait", "1").start();
    agent.wait_stable();
    server.wait_synced();
    server.crash();
    agent.wait_readiness(200, "Degraded");
    let mut stranger = Watcher::asking(&agent, &secret(9));
    assert_eq!(stranger.expect_close(SOON), Some(1011));
    let answer = poll(&agent, &secret(8));
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
    // Known secrets work all the time.
    Watcher::server(&agent, &secret(0));
    poll(&agent, &secret(0)).expect(200);
    server.create_secret(&two_flags(1).id, Kind::Server, 9);
    server.start_listening();
    agent.wait_stable();
    wait_until("the new secret is let in", SOON, || {
        let mut sdk = Watcher::asking(&agent, &secret(9));
        (sdk.try_take() == Some("full".into())).then_some(())
    });
}

#[test]
fn a_secret_of_the_wrong_kind_is_refused_at_once() {
    let server = server();
    let (agent, _other) = connected(&server);
    let mut sdk = Watcher::asking(&agent, &two_flags(1).secret(Kind::Client));
    assert_eq!(sdk.expect_close(SOON), Some(4003));
    assert_eq!(server.fulls(), 1);
}

#[test]
fn a_secret_removed_and_restored_within_the_grace_loses_no_sdk() {
    let server = server();
    server.create_secret(&two_flags(1).id, Kind::Server, 1);
    let agent = with_short_retries(&server).env("RevocationGraceSeconds", "600").start();
    agent.wait_stable();
    server.wait_synced();
    let mut sdk = Watcher::server(&agent, &secret(1));
    let mut other = Watcher::server(&agent, &secret(0));
    let taken = server.revoke_secret(&two_flags(1).id, &secret(1));
    agent.resync();
    wait_until("the full sync", SOON, || (server.fulls() == 2).then_some(()));
    // It has been applied when a change after it has.
    set(&server, &two_flags(1), "a", "v1", 1000);
    for sdk in [&mut sdk, &mut other] {
        sdk.wait_variation("a", "v1");
        sdk.expect_nothing_new();
    }
    server.restore_secret(&two_flags(1).id, taken);
    agent.resync();
    wait_until("the full sync", SOON, || (server.fulls() >= 3).then_some(()));
    set(&server, &two_flags(1), "a", "v0", 2000);
    for sdk in [&mut sdk, &mut other] {
        sdk.wait_variation("a", "v0");
        sdk.expect_nothing_new();
    }
    Watcher::server(&agent, &secret(1));
}

#[test]
fn sdks_of_a_removed_secret_and_no_others_are_closed_after_the_grace() {
    let server = server();
    server.create_secret(&two_flags(1).id, Kind::Server, 1);
    let agent = with_short_retries(&server).env("RevocationGraceSeconds", "1").start();
    agent.wait_stable();
    server.wait_synced();
    let mut sdk = Watcher::server(&agent, &secret(1));
    let mut others = [
        Watcher::server(&agent, &secret(0)),
        Watcher::server(&agent, &two_flags(2).secret(Kind::Server)),
        Watcher::client(&agent, &two_flags(1).secret(Kind::Client), &user("ann", &[])),
    ];
    server.revoke_secret(&two_flags(1).id, &secret(1));
    agent.resync();
    assert_eq!(sdk.expect_close(SOON + GRACE), Some(4003));
    assert_eq!(agent.wait_refused(&secret(1)), Some(4003));
    for other in &mut others {
        other.expect_nothing_new();
        assert_eq!(other.events, ["full"]);
    }
}

/// One full sync that lacks a secret, from a server that was behind, closed its SDKs for good although every later one
/// listed it.
#[test]
fn a_single_full_sync_that_lacks_a_secret_closes_no_sdk() {
    let server = server();
    let id = two_flags(1).id;
    server.create_secret(&id, Kind::Server, 1);
    let taken = server.revoke_secret(&id, &secret(1));
    let behind = server.full(API_KEY);
    server.restore_secret(&id, taken);
    let agent = with_short_retries(&server).env("RevocationGraceSeconds", "100ms").start();
    agent.wait_stable();
    server.wait_synced();
    let mut sdk = Watcher::server(&agent, &secret(1));
    server.next_answers([Answer::Text(behind)]);
    agent.resync();
    wait_until("it asks by itself before it ends the grace", SOON, || (server.fulls() >= 3).then_some(()));
    set(&server, &two_flags(1), "a", "v1", 1000);
    sdk.wait_variation("a", "v1");
    // By then the full sync that it asked for has been applied.
    agent.resync();
    wait_until("one more", SOON, || (server.fulls() >= 4).then_some(()));
    set(&server, &two_flags(1), "a", "v0", 2000);
    sdk.wait_variation("a", "v0");
    sdk.expect_nothing_new();
    agent.wait_line("is due; they stay in service");
    Watcher::server(&agent, &secret(1));
    // None is gone.
    agent.wait_metric("featbit_agent_secrets", "", 5.0);
}

#[test]
fn a_grace_that_expires_while_the_server_is_away_closes_sdks_only_after_its_return() {
    let server = server();
    server.create_secret(&two_flags(1).id, Kind::Server, 1);
    let agent = with_short_retries(&server).env("RevocationGraceSeconds", "100ms").start();
    agent.wait_stable();
    server.wait_synced();
    let mut sdk = Watcher::server(&agent, &secret(1));
    let mut other = Watcher::server(&agent, &secret(0));
    server.revoke_secret(&two_flags(1).id, &secret(1));
    server.next_answers([Answer::Honest, Answer::None]);
    agent.resync();
    wait_until("it asks by itself", SOON, || (server.fulls() == 3).then_some(()));
    server.crash();
    agent.wait_readiness(200, "Degraded");
    sdk.expect_nothing_new();
    // As within the grace.
    let mut late = Watcher::server(&agent, &secret(1));
    poll(&agent, &secret(1)).expect(200);
    late.expect_nothing_new();
    server.start_listening();
    assert_eq!(sdk.expect_close(SOON), Some(4003));
    assert_eq!(late.expect_close(SOON), Some(4003));
    other.expect_nothing_new();
}

/// What went wrong: a full sync without lists of secrets was read as: there are no secrets any more.
#[test]
fn a_full_sync_without_lists_of_secrets_revokes_none() {
    let server = server();
    let agent = with_short_retries(&server).env("RevocationGraceSeconds", "0").start();
    agent.wait_stable();
    server.wait_synced();
    let mut sdk = Watcher::server(&agent, &secret(0));
    let full: Value = serde_json::from_str(&server.full(API_KEY)).unwrap();
    let saying = |secrets: Option<Value>| {
        let mut full = full.clone();
        for item in full["data"]["items"].as_array_mut().unwrap() {
            let item = item.as_object_mut().unwrap();
            item.remove("secrets");
            item.extend(secrets.clone().map(|secrets| ("secrets".to_owned(), secrets)));
        }
        Answer::Text(full.to_string())
    };
    for (number, said) in [None, Some(Value::Null), Some(json!([]))].into_iter().enumerate() {
        let fulls = server.fulls();
        // Twice, so that no second one confirms it.
        server.next_answers([saying(said.clone()), saying(said)]);
        agent.resync();
        wait_until("an honest answer", SOON, || (server.fulls() >= fulls + 3).then_some(()));
        agent.wait_stable();
        let (variation, at) = (if number % 2 == 0 { "v1" } else { "v0" }, 1000 * (number as i64 + 1));
        set(&server, &two_flags(1), "a", variation, at);
        sdk.wait_variation("a", variation);
        sdk.expect_nothing_new();
    }
    agent.wait_metric("featbit_agent_upstream_messages_unused_total", r#"reason="faulty""#, 4.0);
    agent.wait_metric("featbit_agent_upstream_messages_unused_total", r#"reason="empty""#, 2.0);
    agent.wait_line("data.items[0].secrets");
}

#[test]
fn real_sdks_with_a_new_secret_become_ready_and_stay_connected() {
    let server = server();
    let (agent, _other) = connected(&server);
    let ann = user("ann", &[]);
    let mut fleet = Fleet::launch("a secret made while SDKs wait", |_, mode| mode == Mode::Streaming);
    server.delay(Delay::AsReleased);
    fleet.each("they connect", |sdk| {
        let secret = secret_text(&two_flags(1).id, sdk.kind(), 5);
        sdk.start_with(&agent.url(), &secret, &ann, json!({}));
    });
    if fleet.is_empty() {
        return;
    }
    wait_until("a full sync is asked for", SOON, || (server.delayed() > 0).then_some(()));
    server.create_secret(&two_flags(1).id, Kind::Server, 5);
    server.create_secret(&two_flags(1).id, Kind::Client, 5);
    server.release();
    fleet.each("ready", |sdk| {
        sdk.wait_ready();
        sdk.wait_value("a", &ann, "boolean", &json!(true));
    });
    set(&server, &two_flags(1), "a", "v1", 1000);
    fleet.each("a change", |sdk| sdk.wait_value("a", &ann, "boolean", &json!(false)));
}

/// Texts that are not a secret or token of today, but may be one of a later version.
fn of_tomorrow() -> [String; 4] {
    let secret = secret(0);
    [
        "v2.eyJhIjoxfQ.c2lnbmF0dXJl".into(),
        format!("{secret}longer"),
        secret[..40].into(),
        format!("v2-{}", "x".repeat(200)),
    ]
}

/// What went wrong: FeatBit announces tokens of another form, and an agent that did not know it stopped SDKs for ever.
#[test]
fn in_agent_mode_a_secret_or_token_of_an_unknown_form_is_asked_to_come_back() {
    let server = server();
    let agent = with_short_retries(&server).env("Limits__VerdictWait", "200ms").start();
    agent.wait_stable();
    for shown in of_tomorrow() {
        for text in [shown.clone(), token(&shown, now_ms(), 2)] {
            let mut sdk = Stream::open(&agent, &format!("/streaming?type=server&token={text}"));
            assert_eq!(sdk.expect_close(SOON), Some(1011), "{text}");
        }
        let authorization = ("Authorization", shown.as_str());
        assert_eq!(poll(&agent, &shown).status, 503, "{shown}");
        for target in [format!("{CLIENT_POLL}?timestamp=0"), TRACK.to_owned()] {
            let answer = agent.post(&target, &[authorization], &json!({}));
            assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{target} {shown}");
        }
    }
    agent.wait_metric_at_least("featbit_agent_refusals_total", r#"reason="unknown_form""#, 20.0);
    agent.wait_line("does not know the format of its secret or token");
    assert_eq!(agent.lines("does not know the format of its secret or token").len(), 1, "{}", agent.log());
    assert_eq!(server.fulls(), 1, "which no full sync would change");
    // An empty token, or a type that does not exist, is still refused.
    let good = token(&secret(0), now_ms(), 2);
    for query in
        ["type=server", "type=server&token=", &format!("type=robot&token={good}"), &format!("token={good}")]
    {
        let mut sdk = Stream::open(&agent, &format!("/streaming?{query}"));
        assert_eq!(sdk.expect_close(SOON), Some(4003), "{query}");
    }
    assert_eq!(agent.get(&format!("{SERVER_POLL}?timestamp=0"), &[]).status, 401);
}

#[test]
fn in_offline_mode_a_secret_or_token_of_an_unknown_form_is_refused() {
    let agent = Builder::offline().data_file(&Dataset::of([two_flags(1)])).start();
    for shown in of_tomorrow() {
        let mut sdk = Stream::open(&agent, &format!("/streaming?type=server&token={shown}"));
        assert_eq!(sdk.expect_close(SOON), Some(4003), "{shown}");
        assert_eq!(poll(&agent, &shown).status, 401, "{shown}");
    }
}
