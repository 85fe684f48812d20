//! The browser SDK in a real Chromium, in a page of another origin than the agent: cross-origin rules,
//! errors, reloads.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on shall fail")]

mod common;

use common::agent::Builder;
use common::browser::{
    Browser, MODES, Tab, UNREACHABLE, ann, bob, change_a, environment, messages, serving, set_a,
};
use common::dataset::{Dataset, Kind, START_MS, boolean_flag, secret_text, touch};
use common::sdk::Mode;
use serde_json::{Value, json};

const TRACK: &str = "/api/public/insight/track";

/// The first answer that a page got on a WebSocket: `full` or `patch`.
fn first_answer(socket: &Value) -> Option<Value> {
    let told = messages(&socket["received"]);
    Some(told.iter().find(|message| message["messageType"] == "data-sync")?["data"]["eventType"].clone())
}

#[test]
fn a_page_of_another_origin_streams_polls_and_posts_events() {
    let Some(mut browser) = Browser::launch("another origin") else { return };
    let mut environment = environment();
    let agent = serving(&environment);
    let secret = environment.secret(Kind::Client);
    let origin = browser.origin.clone();
    for (later, mode) in [(1_000, Mode::Streaming), (2_000, Mode::Polling)] {
        let mut tab = browser.tab(mode.as_str());
        tab.start_with(mode, &agent, &secret, &ann(mode), json!({ "events": true }));
        tab.wait_ready();
        tab.wait_value("home", "string", &json!("at home"));
        let value = later % 2_000 == 0;
        change_a(&agent, &mut environment, later, value);
        tab.wait_value("a", "boolean", &json!(value));
        tab.post_event(&ann(mode));
        let state = tab.wait_state(json!({ "posts": 1 }));
        assert!(state["posts"].as_array().unwrap().iter().all(|status| status == 200), "{state}");

        let traffic = tab.traffic();
        let preflights = traffic.preflights();
        assert!(!preflights.is_empty());
        for preflight in &preflights {
            let (asked, answer) = (&preflight["headers"], &preflight["answer"]);
            assert_eq!(preflight["status"], 204, "{preflight}");
            assert_eq!(asked["origin"], json!(origin), "{preflight}");
            assert!(asked["access-control-request-headers"].to_string().contains("authorization"));
            assert_eq!(answer["access-control-allow-headers"], asked["access-control-request-headers"]);
            assert_eq!(answer["access-control-allow-origin"], "*", "{preflight}");
        }
        // What was allowed once is not asked for again.
        let mut targets: Vec<String> = preflights.iter().map(|one| one["target"].to_string()).collect();
        targets.sort();
        targets.dedup();
        assert_eq!(targets.len(), preflights.len(), "{targets:?}");
        let posts = traffic.requests_to(TRACK);
        for request in posts.iter().chain(&traffic.polls()).filter(|one| one["ended"] == true) {
            let status = &request["status"];
            assert!(status == 200 || (status == 304 && !posts.contains(request)), "{request}");
            assert_eq!(request["headers"]["authorization"], json!(secret), "{request}");
            assert_eq!(request["answer"]["access-control-allow-origin"], "*", "{request}");
        }
        if mode == Mode::Streaming {
            let [socket] = traffic.sockets() else { panic!("{:?}", traffic.sockets()) };
            assert_eq!(socket["status"], 101, "{socket}");
            assert_eq!(socket["headers"]["origin"], json!(origin), "{socket}");
            let offered = socket["headers"]["sec-websocket-extensions"].as_str();
            assert!(offered.is_some_and(|offer| offer.contains("permessage-deflate")), "{socket}");
            assert_eq!(traffic.asked(), [0]);
        } else {
            assert_eq!(traffic.asked()[0], 0);
        }
        tab.assert_console(&[]);
    }
}

#[test]
fn a_page_of_an_unlisted_origin_can_read_nothing() {
    let Some(mut browser) = Browser::launch("origin not listed") else { return };
    let environment = environment();
    let data = Dataset::of([environment.clone()]);
    let agent = Builder::offline().data_file(&data).env("Cors__Origins", &browser.origin).start();
    let secret = environment.secret(Kind::Client);
    let origin = browser.origin.clone();

    let mut listed = browser.tab("listed");
    listed.ready(Mode::Polling, &agent, &environment, &ann(Mode::Polling));
    let poll = listed.wait_traffic("a poll", |seen| seen.polls().first().map(|&poll| poll.clone()));
    assert_eq!(poll["answer"]["access-control-allow-origin"], json!(origin), "{poll}");
    assert_eq!(poll["answer"]["vary"], "Origin", "{poll}");
    listed.assert_console(&[]);
    listed.go("stop");
    listed.wait_traffic("no poll under way", |seen| {
        seen.polls().iter().all(|poll| poll["ended"] == true).then_some(())
    });

    let (responses, polls) = ("featbit_agent_http_responses_total", "route=\"poll_client\",status=\"2xx\"");
    // Those of the page that is listed, its preflights included.
    let seen = listed.traffic();
    let answered = |list: Vec<&Value>| {
        list.iter().filter(|one| one["status"].as_u64().is_some_and(|status| status / 100 == 2)).count()
    };
    let served = (answered(seen.polls()) + answered(seen.preflights())) as f64;
    agent.wait_metric(responses, polls, served);
    let mut other = browser.tab("other");
    other.start_with(Mode::Polling, &agent, &secret, &ann(Mode::Polling), json!({ "other": true }));
    let state = other.wait_state(json!({ "stopped": true }));
    assert_eq!(state["ready"], false, "{state}");
    assert!(state["errors"].to_string().contains("Failed to fetch"), "{state}");
    let (preflight, poll) = other.wait_traffic("a refused poll", |seen| {
        let ended = |list: Vec<&Value>| list.into_iter().find(|one| one["ended"] == true).cloned();
        Some((ended(seen.preflights())?, ended(seen.polls())?))
    });
    assert_eq!(preflight["status"], 204, "{preflight}");
    assert_eq!(preflight["answer"]["access-control-allow-origin"], Value::Null, "{preflight}");
    assert_eq!(poll["failed"], "PreflightMissingAllowOriginHeader", "{poll}");
    other.assert_console(&["blocked by CORS policy", "net::ERR_FAILED"]);
    // The preflight was answered, the poll itself never sent.
    agent.wait_metric(responses, polls, served + 1.0);

    // Cross-origin rules do not apply to WebSockets: every page with a client secret may stream.
    let mut streaming = browser.tab("streaming");
    streaming.start_with(Mode::Streaming, &agent, &secret, &ann(Mode::Streaming), json!({ "other": true }));
    streaming.wait_value("home", "string", &json!("at home"));
    streaming.assert_console(&[]);
}

#[test]
fn a_page_sees_the_status_of_every_error() {
    let Some(mut browser) = Browser::launch("errors") else { return };
    let environment = environment();
    let data = Dataset::of([environment.clone()]);
    let agent = Builder::offline().api_key().data_file(&data).env("Limits__BodyBytes", "65536").start();
    let without_data = Builder::offline().api_key().env("Limits__VerdictWait", "100ms").start();
    let secret = environment.secret(Kind::Client);
    let wrong = secret_text(&environment.id, Kind::Client, 9);
    let poll = "/api/public/sdk/client/latest-all";

    let mut tab = browser.tab("main");
    // The SDK reports the status only if the page may read the answer.
    tab.start_with(Mode::Polling, &agent, &wrong, &ann(Mode::Polling), json!({}));
    let state = tab.wait_state(json!({ "stopped": true }));
    assert!(state["errors"].to_string().contains("Unexpected status code: 401"), "{state}");

    let json_of = |secret: &str| json!({ "Authorization": secret, "Content-Type": "application/json" });
    let ann = ann(Mode::Polling).to_string();
    for (agent, target, method, headers, body, status) in [
        (&agent, "/nothing/here", "GET", json!({}), None, 404),
        (&agent, "/streaming", "GET", json!({}), None, 404),
        (&agent, poll, "PUT", json_of(&secret), Some(&*ann), 405),
        (&agent, poll, "POST", json_of(&wrong), Some(&*ann), 401),
        (&agent, TRACK, "POST", json_of(&wrong), Some("[]"), 401),
        (&agent, "/api/public/proxy/status", "GET", json!({ "Authorization": secret }), None, 401),
        (&agent, poll, "POST", json!({ "Authorization": secret }), Some(&*ann), 415),
        (&agent, poll, "POST", json_of(&secret), Some("{"), 400),
        (&agent, "/api/public/sdk/client/latest-all?timestamp=x", "POST", json_of(&secret), Some(&*ann), 400),
        (&without_data, poll, "POST", json_of(&secret), Some(&*ann), 503),
    ] {
        let url = format!("{}{target}", agent.url());
        let seen = tab.fetch(json!({ "url": url, "method": method, "headers": headers, "body": body }));
        assert_eq!(seen["status"], status, "{method} {target}: {seen}");
        assert!(seen["body"].as_str().unwrap().contains("error"), "{method} {target}: {seen}");
    }
    // A body that is refused while it is on its way, and a head that is never read to its end.
    let url = format!("{}{poll}", agent.url());
    let large = json!({ "url": url, "method": "POST", "headers": json_of(&secret), "bodyBytes": 8 << 20 });
    let seen = tab.fetch(large);
    assert_eq!(seen["status"], 413, "{seen}");
    let mut headers = json_of(&secret);
    headers["X-User-Agent"] = json!("x".repeat(40_000));
    let seen = tab.fetch(json!({ "url": url, "method": "POST", "headers": headers, "body": ann }));
    assert_eq!(seen["status"], 431, "{seen}");
    tab.assert_console(&["the server responded with a status of"]);
}

#[test]
fn a_reloaded_page_asks_for_what_is_newer_than_its_stored_flags() {
    let Some(mut browser) = Browser::launch("reload") else { return };
    for mode in MODES {
        let mut environment = environment();
        let mut agent = serving(&environment);
        let mut tab = browser.tab(mode.as_str());
        tab.ready(mode, &agent, &environment, &ann(mode));
        change_a(&agent, &mut environment, 1_000, false);
        tab.wait_value("a", "boolean", &json!(false));

        let before = tab.traffic().asked().len();
        let sockets = tab.traffic().sockets().len();
        // Something is new, or nothing: either way a patch.
        for (round, value) in [(0, false), (1, true)] {
            if round == 1 {
                tab.go("leave");
                change_a(&agent, &mut environment, 2_000, value);
                tab.start_with(mode, &agent, &environment.secret(Kind::Client), &ann(mode), json!({}));
            } else {
                tab.go("reload");
            }
            tab.wait_ready();
            tab.wait_value("a", "boolean", &json!(value));
            tab.wait_value("b", "boolean", &json!(true));
            let asked = tab.traffic().asked();
            let since = START_MS + 1_000;
            assert!(asked[before..].starts_with(&[since]), "{} {asked:?}", mode.as_str());
            if mode == Mode::Streaming {
                let traffic = tab.traffic();
                assert_eq!(traffic.sockets().len(), sockets + round + 1);
                assert_eq!(first_answer(&traffic.sockets()[sockets + round]), Some(json!("patch")));
            }
        }
        tab.assert_console(&[]);

        // Its flags survive although there is no answer.
        agent.kill();
        tab.go("reload");
        for (key, kind, value) in [
            ("a", "boolean", json!(true)),
            ("b", "boolean", json!(true)),
            ("home", "string", json!("at home")),
        ] {
            assert_eq!(tab.value(key, kind), value, "{key} ({})", mode.as_str());
        }
        assert_eq!(tab.state()["ready"], false);
        set_a(&mut environment, 3_000, false);
        agent.write_data(&Dataset::of([environment.clone()]));
        agent.start_again();
        if mode == Mode::Polling {
            // It has given up at its first failed poll.
            tab.wait_state(json!({ "stopped": true }));
            tab.go("reload");
        }
        tab.wait_value("a", "boolean", &json!(false));
        tab.wait_ready();
        tab.assert_console(UNREACHABLE);
        tab.go("stop");
    }
}

#[test]
fn a_removed_flag_does_not_come_back_from_stored_flags() {
    let Some(mut browser) = Browser::launch("reload after a removal") else { return };
    for mode in MODES {
        let mut environment = environment();
        let mut agent = serving(&environment);
        let mut tab = browser.tab(mode.as_str());
        tab.ready(mode, &agent, &environment, &ann(mode));
        // While the page is there.
        environment.remove_flag("b");
        change_a(&agent, &mut environment, 1_000, false);
        tab.wait_gone("b");
        tab.wait_value("a", "boolean", &json!(false));
        // While another user is at it. What `identify` is awaited for is there at once.
        tab.identify(&bob(mode));
        assert_eq!(tab.value("home", "string"), "abroad");
        assert_eq!(tab.value("b", "boolean"), Value::Null);
        environment.remove_flag("home");
        change_a(&agent, &mut environment, 2_000, true);
        tab.wait_gone("home");
        tab.identify(&ann(mode));
        let as_it_should_be = |tab: &mut Tab<'_>| {
            assert_eq!(tab.value("a", "boolean"), true);
            assert_eq!(tab.value("b", "boolean"), Value::Null);
            assert_eq!(tab.value("home", "string"), Value::Null);
        };
        as_it_should_be(&mut tab);
        tab.assert_console(&[]);
        // Where only what is stored can be served.
        agent.kill();
        tab.go("reload");
        as_it_should_be(&mut tab);

        // While the page is away.
        agent.write_data(&Dataset::of([environment.clone()]));
        agent.start_again();
        tab.go("reload");
        tab.wait_ready();
        tab.go("leave");
        environment.add_flag(boolean_flag("c"));
        touch(environment.flag_mut("c"), 3_000);
        environment.remove_flag("a");
        agent.bootstrap(&Dataset::of([environment.clone()]));
        tab.start_with(mode, &agent, &environment.secret(Kind::Client), &ann(mode), json!({}));
        tab.wait_gone("a");
        tab.wait_value("c", "boolean", &json!(true));
        tab.assert_console(UNREACHABLE);
        tab.go("stop");
    }
}
