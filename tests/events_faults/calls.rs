//! What calls of SDKs are answered, whatever they send and whatever state the agent is in, and the memory that they take.

use serde_json::Value;

use crate::common::agent::{API_KEY, Agent, Builder};
use crate::common::backup::{Fault, FaultyDisk};
use crate::common::dataset::{Dataset, Kind, secret_text};
use crate::common::event_server::{EventServer, Reaction};
use crate::common::http::Connection;
use crate::common::memory::{Growth, MB};
use crate::common::raw::{TRACK, chunked, connect, gzip, head, request};
use crate::common::{SOON, wait_until};
use crate::support::*;

/// The only statuses after which an SDK goes on as it should.
const STATUSES: [u16; 8] = [200, 400, 401, 408, 413, 415, 503, 508];

const JSON: (&str, &str) = ("Content-Type", "application/json");
const GZIP: (&str, &str) = ("Content-Encoding", "gzip");
const CHUNKED: (&str, &str) = ("Transfer-Encoding", "chunked");

fn call(more: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let secret = secret();
    let headers = [&[("Authorization", secret.as_str())], more].concat();
    if more.contains(&CHUNKED) {
        return [head("POST", TRACK, &headers, None).into_bytes(), chunked(body, 1000)].concat();
    }
    request("POST", TRACK, &headers, Some(body))
}

fn status_of(agent: &Agent, call: &[u8]) -> u16 {
    let mut connection = connect(agent);
    let _ = connection.send(call);
    let answer = connection.read_response(false).unwrap_or_else(|error| agent.fail(&error.to_string()));
    if answer.status == 503 {
        assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
    }
    assert!(STATUSES.contains(&answer.status), "{}: {}", answer.status, answer.text());
    answer.status
}

/// A body of exactly so many bytes.
fn body_of(bytes: usize) -> Vec<u8> {
    let frame = r#"[{"user":{"keyId":"a","name":""},"variations":[]}]"#;
    let mut text = frame.replace("\"name\":\"", &format!("\"name\":\"{}", "x".repeat(bytes - frame.len())));
    assert_eq!(text.len(), bytes);
    text.make_ascii_lowercase();
    text.replace("keyid", "keyId").into_bytes()
}

#[test]
fn every_form_of_a_body_is_taken_up_to_its_limit_and_never_answered_in_a_way_that_stops_an_sdk() {
    const LIMIT: usize = 4 << 20;
    let server = EventServer::start();
    for mode in ["forward", "drop"] {
        let agent =
            spooling_to(&server.url()).env("Events__Mode", mode).env("Events__QueueBytes", "64MB").start();
        let text = ("Content-Type", "text/plain;charset=UTF-8");
        for (bytes, expected) in [(LIMIT, 200), (LIMIT + 1, 413), (LIMIT * 2, 413)] {
            let body = body_of(bytes);
            let zipped = gzip(&body);
            for (how, call) in [
                ("plain", call(&[JSON], &body)),
                ("text", call(&[text], &body)),
                ("chunked", call(&[JSON, CHUNKED], &body)),
                ("gzip", call(&[JSON, GZIP], &zipped)),
                ("gzip chunked", call(&[text, GZIP, CHUNKED], &zipped)),
            ] {
                // What is dropped needs no memory but that of its body.
                let is_only_counted = mode == "drop" && !how.contains("gzip");
                let expected = if is_only_counted { 200 } else { expected };
                assert_eq!(status_of(&agent, &call), expected, "{mode} {how} {bytes}");
            }
        }
        let broken = &gzip(b"[]")[..12];
        for (call, expected) in [
            (call(&[JSON], b""), 400),
            (call(&[JSON], b"["), 400),
            (call(&[JSON], b"{}"), 200),
            (call(&[JSON], b"null"), 200),
            (call(&[JSON], b"[]"), 200),
            (call(&[JSON], b"[1,null,{}]"), 200),
            (call(&[JSON], b"\xff\xfe[]"), 400),
            (call(&[JSON, GZIP], broken), 400),
            (call(&[JSON, GZIP], b"[]"), 400),
            (call(&[JSON, ("Content-Encoding", "br")], b"[]"), 415),
            (call(&[("Content-Type", "text/html")], b"[]"), 415),
            (call(&[], b"[]"), 415),
            (request("POST", TRACK, &[("Authorization", "x"), JSON], Some(b"[]")), 401),
            (request("POST", TRACK, &[JSON], Some(b"[]")), 401),
            (
                request(
                    "POST",
                    TRACK,
                    &[("Authorization", &secret_text(&environment(1).id, Kind::Server, 9)), JSON],
                    Some(b"[]"),
                ),
                401,
            ),
        ] {
            assert_eq!(status_of(&agent, &call), expected, "{mode} {}", String::from_utf8_lossy(&call));
        }
        assert_eq!(agent.get("/health/readiness", &[]).expect(200).status, 200);
    }
}

#[test]
fn no_secret_is_said_to_be_wrong_before_there_is_data() {
    let server = EventServer::start();
    let agent = Builder::offline()
        .api_key()
        .env("EventUri", &server.url())
        .env("Events__FlushSeconds", "0")
        .env("Limits__VerdictWait", "0")
        .start();
    assert_eq!(status_of(&agent, &call(&[JSON], b"[]")), 503);
    agent
        .post(
            crate::common::raw::BOOTSTRAP,
            &[("Authorization", API_KEY)],
            &Dataset::of([environment(2)]).to_json(),
        )
        .expect(200);
    // The environment may come with the next data, as long as nobody says that this is all.
    let status = status_of(&agent, &call(&[JSON], b"[]"));
    assert!([401, 503].contains(&status));
    agent
        .post(
            crate::common::raw::BOOTSTRAP,
            &[("Authorization", API_KEY)],
            &Dataset::of([environment(1)]).to_json(),
        )
        .expect(200);
    wait_until("the secret is known", SOON, || {
        (status_of(&agent, &call(&[JSON], b"[]")) == 200).then_some(())
    });
}

/// Calls that wait for the verdict on their secret.
#[test]
fn calls_that_wait_for_a_verdict_are_counted_in_memory_and_answered_with_the_data() {
    let server = EventServer::start();
    let agent = Builder::offline()
        .api_key()
        .env("EventUri", &server.url())
        .env("Events__FlushSeconds", "0")
        .env("Events__QueueBytes", "256MB")
        .env("Limits__VerdictWait", "600")
        .env("Limits__PendingBytes", "64MB")
        .start();
    let growth = Growth::of(&agent);
    let body = call(&[JSON], &body_of(1 << 20));
    let mut parked: Vec<Connection> = Vec::new();
    let mut refused = 0;
    for _ in 0..200 {
        let mut connection = connect(&agent);
        let _ = connection.send(&body);
        parked.push(connection);
    }
    growth.expect_within("200 calls of 1 MiB that wait for a verdict", 100 * MB);
    agent
        .post(
            crate::common::raw::BOOTSTRAP,
            &[("Authorization", API_KEY)],
            &Dataset::of([environment(1)]).to_json(),
        )
        .expect(200);
    let mut taken = 0;
    for mut connection in parked {
        match connection.read_response(false) {
            Ok(answer) if answer.status == 200 => taken += 1,
            Ok(answer) => {
                assert_eq!(answer.status, 503, "{}", answer.text());
                refused += 1;
            }
            // It was refused while it still sent.
            Err(_) => refused += 1,
        }
    }
    println!("{taken} taken, {refused} refused");
    assert!(taken > 10 && refused > 10, "{taken} {refused}");
    server.wait_events(taken);
}

/// What could go wrong: small bodies become large ones, and all of those that are taken together are in memory at once.
#[test]
fn compressed_calls_that_wait_for_a_disk_do_not_fill_the_memory() {
    let server = EventServer::start();
    server.always(Reaction::Answer(503, "Retry-After: 1000"));
    let disk = FaultyDisk::new();
    for mode in ["forward", "local"] {
        let agent = disk.under(spooling_to(&server.url())).env("Events__Mode", mode).start();
        post_each(&agent, &["first".to_owned()]);
        let bomb = call(&[JSON, GZIP], &gzip(&body_of(4 << 20)));
        let growth = Growth::of(&agent);
        disk.begin(Fault::Hang);
        let met = disk.met();
        let mut calls: Vec<Connection> = Vec::new();
        for number in 0..41 {
            let mut connection = connect(&agent);
            connection.send(&bomb).unwrap();
            calls.push(connection);
            if number == 0 {
                wait_until("a sync hangs", SOON, || (disk.met() > met).then_some(()));
            }
        }
        wait_until("all calls have come", SOON, || {
            let waiting = agent.metric("featbit_agent_usage_events_queue_bytes", "");
            (waiting >= 40.0 * bomb.len() as f64).then_some(())
        });
        disk.end(Fault::Hang);
        for connection in &mut calls {
            // On a slow machine some have waited for too long.
            let answer = connection.read_response(false).unwrap();
            assert!([200, 503].contains(&answer.status), "{}", answer.text());
        }
        growth.expect_within(&format!("40 calls of 4 MiB, compressed, {mode}"), 80 * MB);
    }
}

#[test]
fn a_server_that_is_away_costs_no_more_memory_than_the_settings_allow() {
    let port = EventServer::start().port();
    let agent = sending_to(&format!("http://127.0.0.1:{port}")).env("Events__QueueBytes", "8MB").start();
    let growth = Growth::of(&agent);
    let zipped = gzip(&body_of(1 << 20));
    let (mut taken, mut refused) = (0, 0);
    for number in 0..200 {
        let status = if number % 2 == 0 {
            status_of(&agent, &call(&[JSON, GZIP], &zipped))
        } else {
            post(&agent, &events(numbers(0..100))).status
        };
        match status {
            200 => taken += 1,
            503 => refused += 1,
            other => panic!("{other}"),
        }
    }
    assert!(taken > 5 && refused > 50, "{taken} {refused}");
    growth.expect_within("a queue of 8 MB", 40 * MB);
    agent.wait_metric_at_least("featbit_agent_usage_event_calls_refused_total", "", f64::from(refused));
    assert_eq!(agent.metric(TOTAL, "result=\"lost\""), 0.0);
    let waiting = agent.metric(WAITING, "");
    assert_eq!(waiting, agent.metric(TOTAL, "result=\"accepted\""));
    let line = agent.wait_line("are refused with 503");
    assert!(line.contains("Events__Directory"), "{line}");
    let _: Value = agent.get("/api/public/proxy/status", &[("Authorization", API_KEY)]).expect(200).json();
}
