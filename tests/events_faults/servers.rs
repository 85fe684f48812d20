//! Servers that refuse, reject, hang, reset or are away.

use serde_json::{Value, json};

use crate::common::agent::API_KEY;
use crate::common::dataset::Kind;
use crate::common::event_server::{EventServer, Reaction};
use crate::common::raw::TRACK;
use crate::support::*;

const PAUSED: &str = "featbit_agent_usage_events_paused";
const REQUESTS: &str = "featbit_agent_usage_event_requests_total";

#[test]
fn a_server_that_fails_for_a_while_gets_everything_once_and_in_order() {
    let server = EventServer::start();
    let agent = spooling_to(&server.url()).start();
    let mut keys = Vec::new();
    let date = "Retry-After: Tue, 14 Nov 2023 22:13:46 GMT\r\nDate: Tue, 14 Nov 2023 22:13:45 GMT";
    for (status, fields) in
        [(500, ""), (429, "Retry-After: 1"), (429, date), (503, "Retry-After: soon"), (408, "")]
    {
        server.always(Reaction::Answer(status, fields));
        let (asked, next) = (server.requests().len(), numbers(keys.len()..keys.len() + 20));
        post_each(&agent, &next);
        keys.extend(next);
        server.wait_requests(asked + 1);
        agent.wait_metric(PAUSED, "", 1.0);
        server.always(Reaction::Answer(200, ""));
        expect_each_once(&server, &keys);
    }
    agent.wait_metric(TOTAL, "result=\"sent\"", keys.len() as f64);
    agent.wait_metric(PAUSED, "", 0.0);
    assert!(dead_letters(&agent).is_empty());
}

#[test]
fn a_server_that_refuses_everything_gets_it_when_it_is_right_again() {
    let server = EventServer::start();
    let agent = spooling_to(&server.url()).start();
    let mut keys = Vec::new();
    let redirect = "Location: https://other.example/api";
    for (status, fields, told) in [
        (401, "", "secret"),
        (403, "", "secret"),
        (404, "", "EventUri"),
        (405, "", "EventUri"),
        (302, redirect, "other.example"),
        (508, "", "EventUri"),
    ] {
        server.always(Reaction::Answer(status, fields));
        let (asked, next) = (server.requests().len(), numbers(keys.len()..keys.len() + 5));
        post_each(&agent, &next);
        keys.extend(next);
        server.wait_requests(asked + 1);
        agent.wait_metric(PAUSED, "", 1.0);
        let line = agent.wait_line(&format!("status {status}"));
        assert!(line.contains("ERROR") && line.contains(told) && line.contains("kept"), "{line}");
        server.always(Reaction::Answer(200, ""));
        expect_each_once(&server, &keys);
    }
    assert!(dead_letters(&agent).is_empty());
    agent.wait_metric(TOTAL, "result=\"sent\"", keys.len() as f64);
}

/// Posts hundreds of events of which the server takes one never.
fn one_of_hundreds(spooled: bool, poison: &Value, status: u16, refuses: fn(&[Value], usize) -> bool) {
    let server = EventServer::start();
    server.react(move |got| {
        let status = if refuses(&got.events, got.body.len()) { status } else { 200 };
        Reaction::Answer(status, "")
    });
    let agent = if spooled { spooling_to(&server.url()) } else { sending_to(&server.url()) };
    let agent = agent.env("Events__FlushSeconds", "1").start();
    let mut keys = numbers(0..300);
    for (at, keys) in keys.chunks(50).enumerate() {
        let mut all = events(keys.to_vec());
        if at == 3 {
            all.as_array_mut().unwrap()[20] = poison.clone();
        }
        post(&agent, &all).expect(200);
    }
    keys.remove(3 * 50 + 20);
    agent.wait_metric(TOTAL, "result=\"rejected\"", 1.0);
    expect_each_once(&server, &keys);
    agent.wait_metric(TOTAL, "result=\"sent\"", 299.0);
    let dead = dead_letters(&agent);
    assert_eq!(dead.len(), usize::from(spooled));
    for dead in dead {
        assert_eq!((&dead["event"], &dead["status"]), (poison, &json!(status)));
    }
    let line = agent.wait_line(&format!("status {status}"));
    assert!(!line.contains("poison"), "{line}");
}

#[test]
fn of_hundreds_of_events_only_the_one_that_is_rejected_is_a_dead_letter() {
    let refuses = |events: &[Value], _| events.iter().any(|event| key_of(event) == "poison");
    for spooled in [true, false] {
        one_of_hundreds(spooled, &event("poison"), 400, refuses);
    }
}

#[test]
fn of_hundreds_of_events_only_the_one_that_is_too_large_is_a_dead_letter() {
    let poison = large_event("poison", 30_000);
    for spooled in [true, false] {
        one_of_hundreds(spooled, &poison, 413, |_, bytes| bytes > 20_000);
    }
}

#[test]
fn resets_lose_nothing_whether_or_not_the_body_was_taken() {
    let server = EventServer::start();
    let mut count = 0;
    server.react(move |_| {
        count += 1;
        match count % 4 {
            1 => Reaction::TakeAndReset,
            3 => Reaction::Reset,
            _ => Reaction::Answer(200, ""),
        }
    });
    let agent = spooling_to(&server.url()).env("Events__RequestEvents", "10").start();
    let keys = numbers(0..60);
    for keys in keys.chunks(5) {
        post(&agent, &events(keys.to_vec())).expect(200);
    }
    let (first, again) = wait_all(&server, &keys);
    assert_eq!(first, keys);
    agent.wait_metric(WAITING, "", 0.0);
    let taken_in_vain: usize =
        server.requests().iter().filter(|got| got.taken).map(|got| got.events.len()).sum();
    println!("of {} events {again} arrived twice", keys.len());
    assert_eq!(taken_in_vain, keys.len() + again);
}

#[test]
fn a_server_that_hangs_is_left_after_the_time_of_the_settings() {
    let server = EventServer::start();
    let mut count = 0;
    server.react(move |_| {
        count += 1;
        if count <= 2 { Reaction::Hang } else { Reaction::Answer(200, "") }
    });
    let agent = sending_to(&server.url()).env("Events__TimeoutSeconds", "1").start();
    let keys = numbers(0..10);
    post_each(&agent, &keys);
    expect_each_once(&server, &keys);
    agent.wait_metric(REQUESTS, "result=\"no_answer\"", 2.0);
    assert!(agent.wait_line("gave no answer").contains("count twice"));
}

#[test]
fn a_server_that_is_away_at_the_start_gets_everything_when_it_comes() {
    let port = EventServer::start().port();
    let agent = spooling_to(&format!("http://127.0.0.1:{port}")).start();
    let keys = numbers(0..20);
    post_each(&agent, &keys);
    let line = agent.wait_line("the event server cannot be reached");
    assert!(line.contains("WARN") && line.contains("sent later"), "{line}");
    let health = agent.get("/health/readiness", &[]).expect(200);
    assert!(health.text().starts_with("Healthy"), "readiness does not depend on it: {}", health.text());
    let server = EventServer::start_on(port);
    expect_each_once(&server, &keys);
    agent.wait_line("the event server can be reached again");
}

#[test]
fn an_environment_whose_events_are_refused_does_not_delay_another_one() {
    let server = EventServer::start();
    let bad = environment(2).secret(Kind::Server);
    for reaction in [Reaction::Answer(403, ""), Reaction::Hang, Reaction::Reset] {
        let (refused, bad_secret) = (reaction.clone(), bad.clone());
        server.react(move |got| match got.fields["authorization"] == bad_secret {
            true => refused.clone(),
            false => Reaction::Answer(200, ""),
        });
        // The good one would wait for ever if it waited for the bad one.
        let agent = sending_to(&server.url())
            .env("Events__TimeoutSeconds", "1000")
            .env("Events__RetrySeconds", "1000");
        let agent = agent.start();
        let before = server.events().len();
        for number in 0..10 {
            agent.post(TRACK, &[("Authorization", &bad)], &events(["bad".to_owned()])).expect(200);
            post_each(&agent, &numbers(number..number + 1));
            server.wait_events(before + number + 1);
        }
        agent.wait_metric(WAITING, "project-2", 10.0);
        assert_eq!(keys_of(&server.events()[before..]), numbers(0..10));
        let status = agent.get("/api/public/proxy/status", &[("Authorization", API_KEY)]).expect(200);
        assert!(!status.text().contains(&bad), "{reaction:?}");
    }
}

#[test]
fn a_connection_that_the_server_closed_while_it_was_idle_loses_nothing() {
    let server = EventServer::start();
    server.always(Reaction::AnswerAndClose(200));
    let agent = sending_to(&server.url()).start();
    for number in 0..20 {
        post_each(&agent, &numbers(number..number + 1));
        server.wait_events(number + 1);
    }
    expect_each_once(&server, &numbers(0..20));
    agent.wait_metric(TOTAL, "result=\"sent\"", 20.0);
}

#[test]
fn a_server_that_takes_its_time_gets_few_requests_with_everything() {
    let server = EventServer::start();
    let (open, gate) = std::sync::mpsc::channel::<()>();
    // Each answer waits until the test lets it go.
    server.react(move |_| {
        let _ = gate.recv();
        Reaction::Answer(200, "")
    });
    let agent = spooling_to(&server.url()).env("Events__TimeoutSeconds", "1000").start();
    let keys = numbers(0..200);
    post_each(&agent, &keys);
    drop(open);
    expect_each_once(&server, &keys);
    assert!(server.requests().len() <= 3, "{}", server.requests().len());
}
