//! Agents that are asked to end while events wait.

use crate::common::event_server::{EventServer, Reaction};
use crate::common::{SOON, wait_until};
use crate::support::*;

#[test]
fn events_in_memory_that_cannot_be_sent_are_counted_as_lost_for_each_environment() {
    let port = EventServer::start().port();
    let mut agent = sending_to(&format!("http://127.0.0.1:{port}")).start();
    post_each(&agent, &numbers(0..7));
    let other = environment(2).secret(crate::common::dataset::Kind::Client);
    agent.post(crate::common::raw::TRACK, &[("Authorization", &other)], &events(numbers(0..2))).expect(200);
    agent.wait_line("the event server cannot be reached");
    assert!(agent.stop().success());
    let lines = agent.lines("are lost");
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (environment, events) in [("project-1:production", 7), ("project-2:production", 2)] {
        let has = |line: &&String| line.contains(environment) && line.contains(&format!("events={events}"));
        assert!(lines.iter().any(|line| has(&line)), "{lines:?}");
    }
    assert!(lines.iter().all(|line| line.contains("WARN") && line.contains("Set Events__Directory")));
}

#[test]
fn what_could_not_be_sent_from_a_folder_waits_for_the_next_start_and_the_log_says_how_much() {
    let server = EventServer::start();
    server.always(Reaction::Answer(503, ""));
    // The time for it is far longer than the test: it is not waited for.
    let builder = spooling_to(&server.url()).env("Events__RetrySeconds", "1000");
    let mut agent = builder.start();
    post_each(&agent, &numbers(0..5));
    server.wait_requests(1);
    agent.wait_metric("featbit_agent_usage_events_paused", "", 1.0);
    assert!(agent.stop().success());
    let line = agent.wait_line("wait on the disk for the next start");
    assert!(line.contains("events=5"), "{line}");
    assert!(agent.lines("are lost").is_empty());
    server.always(Reaction::Answer(200, ""));
    agent.start_again();
    expect_each_once(&server, &numbers(0..5));
    // What was sent is noted, or it would come again.
    assert!(agent.stop().success());
    agent.start_again();
    post_each(&agent, &numbers(5..6));
    expect_each_once(&server, &numbers(0..6));
}

#[test]
fn a_server_that_answers_slowly_gets_what_is_in_memory_within_the_time_for_it() {
    let server = EventServer::start();
    let mut count = 0;
    server.react(move |_| {
        count += 1;
        if count == 1 { Reaction::Answer(503, "") } else { Reaction::Answer(200, "") }
    });
    let mut agent = sending_to(&server.url())
        .env("Shutdown__DrainSeconds", "30")
        .env("Events__FlushSeconds", "600")
        .start();
    post_each(&agent, &numbers(0..50));
    assert!(server.requests().is_empty());
    assert!(agent.stop().success());
    expect_each_once(&server, &numbers(0..50));
    assert!(agent.lines("are lost").is_empty());
}

#[test]
fn a_second_signal_ends_an_agent_that_still_sends() {
    let server = EventServer::start();
    server.always(Reaction::Hang);
    for spools in [false, true] {
        let builder = if spools { spooling_to(&server.url()) } else { sending_to(&server.url()) };
        // Both are far longer than what the test waits for.
        let builder = builder.env("Shutdown__DrainSeconds", "600").env("Events__TimeoutSeconds", "600");
        let mut agent = builder.start();
        let before = server.requests().len();
        post_each(&agent, &numbers(0..5));
        server.wait_requests(before + 1);
        agent.terminate();
        agent.wait_line("shutting down");
        // In the same moment it would be the same signal.
        wait_until("a second signal is another one", SOON, || {
            agent.terminate();
            agent.log().contains("ended at once by").then_some(())
        });
        agent.wait_for_end();
        if spools {
            server.always(Reaction::Answer(200, ""));
            agent.start_again();
            let (first, again) = wait_all(&server, &numbers(0..5));
            assert_eq!((first, again), (numbers(0..5), 0));
        }
    }
}

#[test]
fn a_server_that_hangs_does_not_hold_up_an_agent_that_ends() {
    let server = EventServer::start();
    server.always(Reaction::Hang);
    for spools in [false, true] {
        let builder = if spools { spooling_to(&server.url()) } else { sending_to(&server.url()) };
        let mut agent = builder.env("Events__TimeoutSeconds", "600").start();
        let before = server.requests().len();
        post_each(&agent, &numbers(0..5));
        server.wait_requests(before + 1);
        assert!(agent.stop().success());
        let told = if spools { "wait on the disk" } else { "are lost" };
        assert!(agent.wait_line(told).contains("events=5"));
    }
}

#[test]
fn calls_that_come_while_the_agent_ends_are_answered_and_what_was_taken_is_sent() {
    let server = EventServer::start();
    let mut agent = sending_to(&server.url()).env("Shutdown__DelaySeconds", "1").start();
    agent.terminate();
    agent.wait_line("shutdown begins after");
    let mut taken = Vec::new();
    wait_until("the agent takes no more calls", SOON, || {
        let key = taken.len().to_string();
        let body = events([key.clone()]).to_string();
        let answer = crate::common::http::post_json(
            agent.port(),
            crate::common::raw::TRACK,
            &[("Authorization", &secret())],
            &body,
        );
        match answer {
            Ok(answer) if answer.status == 200 => taken.push(key),
            Ok(answer) => assert_eq!(answer.status, 503),
            Err(_) => return Some(()),
        }
        None
    });
    assert!(agent.wait_for_end().success());
    assert!(!taken.is_empty());
    let (first, _) = wait_all(&server, &taken);
    assert!(first.len() >= taken.len());
    assert!(agent.lines("are lost").is_empty());
}
