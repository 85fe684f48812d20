//! Secrets that a server makes, takes away and gives back: an SDK is sent away for good only when it is certain.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::agent::{API_KEY, Agent, Builder};
use common::dataset::{Dataset, Kind, secret_text, user};
use common::following::{GRACE, set, two_flags};
use common::raw::{CLIENT_POLL, SERVER_POLL, TRACK};
use common::sdk::{Fleet, Mode};
use common::server::Server;
use common::server::held::Holding;
use common::server::script::Answer;
use common::watcher::Watcher;
use common::ws::{Stream, token};
use common::{SOON, now_ms, wait_until};
use serde_json::{Value, json};

fn server() -> Server {
    Server::start(&Dataset::of([two_flags(1), two_flags(2)]))
}

fn hurried(server: &Server) -> Builder {
    Builder::following(server).env("Upstream__RetrySeconds", "200ms").env("Limits__VerdictWait", "60")
}

fn in_touch(server: &Server) -> (Agent, Watcher) {
    let agent = hurried(server).start();
    agent.wait_stable();
    server.wait_in_touch();
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
fn a_secret_made_while_its_sdks_knock_lets_them_in() {
    let server = server();
    let (agent, mut other) = in_touch(&server);
    server.hold(Holding::New);
    let mut knocking: Vec<Watcher> = (0..3).map(|_| Watcher::knock(&agent, &secret(1))).collect();
    wait_until("a full sync is asked for", SOON, || (server.held() == 1).then_some(()));
    assert_eq!(server.fulls(), 2);
    server.create_secret(&two_flags(1).id, Kind::Server, 1);
    server.release();
    for sdk in &mut knocking {
        sdk.expect_full();
    }
    set(&server, &two_flags(1), "a", "v1", 1000);
    for sdk in knocking.iter_mut().chain([&mut other]) {
        sdk.wait_variation("a", "v1");
        sdk.expect_nothing_new();
    }
}

#[test]
fn a_secret_that_a_later_full_sync_lacks_is_refused_and_not_before() {
    let server = server();
    let agent = hurried(&server).env("Reactors", "4").start();
    agent.wait_stable();
    server.wait_in_touch();
    let mut other = Watcher::server(&agent, &secret(0));
    server.hold(Holding::New);
    let mut stranger = Watcher::knock(&agent, &secret(9));
    wait_until("a full sync is asked for", SOON, || (server.held() == 1).then_some(()));
    // Nothing is decided while it is not answered.
    set(&server, &two_flags(1), "a", "v1", 1000);
    other.wait_variation("a", "v1");
    server.release();
    assert_eq!(stranger.expect_close(SOON), Some(4003));
    // Whichever reactor it is: each had looked for itself once, held the poll, and then asked again.
    for _ in 0..12 {
        poll(&agent, &secret(9)).expect(401);
    }
    assert_eq!(server.fulls(), 2, "what is certain is not asked again at once");
    other.expect_nothing_new();
}

#[test]
fn a_full_sync_that_was_under_way_when_a_secret_was_first_seen_proves_nothing() {
    let server = server();
    let (agent, _other) = in_touch(&server);
    server.hold(Holding::Old);
    agent.resync();
    wait_until("the request", SOON, || (server.held() == 1).then_some(()));
    // Made when the answer to the request was.
    server.create_secret(&two_flags(1).id, Kind::Server, 1);
    let mut sdk = Watcher::knock(&agent, &secret(1));
    // One that waits for a verdict has no kind yet.
    agent.wait_metric("featbit_agent_connections", r#"kind="other""#, 1.0);
    server.release();
    sdk.expect_full();
    assert_eq!(server.fulls(), 3);
}

#[test]
fn a_flood_of_made_up_secrets_is_held_and_asks_for_one_full_sync() {
    let server = server();
    let (agent, mut other) = in_touch(&server);
    server.hold(Holding::New);
    let mut flood: Vec<Watcher> = (1..=100).map(|number| Watcher::knock(&agent, &secret(number))).collect();
    wait_until("a full sync is asked for", SOON, || (server.held() == 1).then_some(()));
    server.release();
    // Those that were seen before the request are refused; the others wait for one that is asked for much later.
    let code = flood[0].expect_close(SOON);
    assert_eq!(code, Some(4003));
    for number in 101..=200 {
        flood.push(Watcher::knock(&agent, &secret(number)));
    }
    set(&server, &two_flags(1), "a", "v1", 1000);
    other.wait_variation("a", "v1");
    other.expect_nothing_new();
    assert_eq!(server.fulls(), 2, "the first, and one for all of them");
}

#[test]
fn while_the_server_is_away_nobody_is_refused() {
    let server = server();
    let agent = hurried(&server).env("Limits__VerdictWait", "1").start();
    agent.wait_stable();
    server.wait_in_touch();
    server.die();
    agent.wait_readiness(200, "Degraded");
    let mut stranger = Watcher::knock(&agent, &secret(9));
    assert_eq!(stranger.expect_close(SOON), Some(1011));
    let answer = poll(&agent, &secret(8));
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
    // Known ones are served all the while.
    Watcher::server(&agent, &secret(0));
    poll(&agent, &secret(0)).expect(200);
    server.create_secret(&two_flags(1).id, Kind::Server, 9);
    server.come();
    agent.wait_stable();
    wait_until("the new secret is let in", SOON, || {
        let mut sdk = Watcher::knock(&agent, &secret(9));
        (sdk.try_take() == Some("full".into())).then_some(())
    });
}

#[test]
fn a_secret_of_the_wrong_kind_is_refused_at_once() {
    let server = server();
    let (agent, _other) = in_touch(&server);
    let mut sdk = Watcher::knock(&agent, &two_flags(1).secret(Kind::Client));
    assert_eq!(sdk.expect_close(SOON), Some(4003));
    assert_eq!(server.fulls(), 1);
}

#[test]
fn a_secret_taken_away_and_given_back_within_the_grace_costs_nobody() {
    let server = server();
    server.create_secret(&two_flags(1).id, Kind::Server, 1);
    let agent = hurried(&server).env("RevocationGraceSeconds", "600").start();
    agent.wait_stable();
    server.wait_in_touch();
    let mut sdk = Watcher::server(&agent, &secret(1));
    let mut other = Watcher::server(&agent, &secret(0));
    let taken = server.revoke_secret(&two_flags(1).id, &secret(1));
    agent.resync();
    wait_until("the full sync", SOON, || (server.fulls() == 2).then_some(()));
    // Taken in, when a change after it is.
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
fn a_secret_taken_away_ends_its_sdks_after_the_grace_and_nobody_elses() {
    let server = server();
    server.create_secret(&two_flags(1).id, Kind::Server, 1);
    let agent = hurried(&server).env("RevocationGraceSeconds", "1").start();
    agent.wait_stable();
    server.wait_in_touch();
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
fn one_full_sync_that_lacks_a_secret_ends_nobody() {
    let server = server();
    let id = two_flags(1).id;
    server.create_secret(&id, Kind::Server, 1);
    let taken = server.revoke_secret(&id, &secret(1));
    let behind = server.full(API_KEY);
    server.restore_secret(&id, taken);
    let agent = hurried(&server).env("RevocationGraceSeconds", "100ms").start();
    agent.wait_stable();
    server.wait_in_touch();
    let mut sdk = Watcher::server(&agent, &secret(1));
    server.next_answers([Answer::Text(behind)]);
    agent.resync();
    wait_until("it asks by itself before it ends the grace", SOON, || (server.fulls() >= 3).then_some(()));
    set(&server, &two_flags(1), "a", "v1", 1000);
    sdk.wait_variation("a", "v1");
    // By then the one that it asked for has been taken in.
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
fn a_grace_that_is_due_while_the_server_is_away_ends_nobody_until_it_is_back() {
    let server = server();
    server.create_secret(&two_flags(1).id, Kind::Server, 1);
    let agent = hurried(&server).env("RevocationGraceSeconds", "100ms").start();
    agent.wait_stable();
    server.wait_in_touch();
    let mut sdk = Watcher::server(&agent, &secret(1));
    let mut other = Watcher::server(&agent, &secret(0));
    server.revoke_secret(&two_flags(1).id, &secret(1));
    server.next_answers([Answer::Honest, Answer::None]);
    agent.resync();
    wait_until("it asks by itself", SOON, || (server.fulls() == 3).then_some(()));
    server.die();
    agent.wait_readiness(200, "Degraded");
    sdk.expect_nothing_new();
    // As within the grace.
    let mut late = Watcher::server(&agent, &secret(1));
    poll(&agent, &secret(1)).expect(200);
    late.expect_nothing_new();
    server.come();
    assert_eq!(sdk.expect_close(SOON), Some(4003));
    assert_eq!(late.expect_close(SOON), Some(4003));
    other.expect_nothing_new();
}

/// What a full sync did not say of secrets was taken for: there are none any more.
#[test]
fn a_full_sync_that_says_nothing_of_secrets_revokes_none() {
    let server = server();
    let agent = hurried(&server).env("RevocationGraceSeconds", "0").start();
    agent.wait_stable();
    server.wait_in_touch();
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
fn real_sdks_with_a_new_secret_become_ready_and_stay() {
    let server = server();
    let (agent, _other) = in_touch(&server);
    let ann = user("ann", &[]);
    let mut fleet = Fleet::launch("a secret made while SDKs knock", |_, mode| mode == Mode::Streaming);
    server.hold(Holding::New);
    fleet.each("they knock", |sdk| {
        let secret = secret_text(&two_flags(1).id, sdk.kind(), 5);
        sdk.start_with(&agent.url(), &secret, &ann, json!({}));
    });
    if fleet.is_empty() {
        return;
    }
    wait_until("a full sync is asked for", SOON, || (server.held() > 0).then_some(()));
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

/// Texts that are no secret or token of today, but may be one of tomorrow.
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
fn a_secret_or_token_of_an_unknown_form_is_put_off_where_a_server_is_followed() {
    let server = server();
    let agent = hurried(&server).env("Limits__VerdictWait", "200ms").start();
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
    agent.wait_line("of a form that this agent does not know");
    assert_eq!(agent.lines("of a form that this agent does not know").len(), 1, "{}", agent.log());
    assert_eq!(server.fulls(), 1, "which no full sync would change");
    // What is nothing at all, or of a type that does not exist, is still refused.
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
fn offline_a_secret_or_token_of_an_unknown_form_is_none_for_certain() {
    let agent = Builder::offline().data_file(&Dataset::of([two_flags(1)])).start();
    for shown in of_tomorrow() {
        let mut sdk = Stream::open(&agent, &format!("/streaming?type=server&token={shown}"));
        assert_eq!(sdk.expect_close(SOON), Some(4003), "{shown}");
        assert_eq!(poll(&agent, &shown).status, 401, "{shown}");
    }
}
