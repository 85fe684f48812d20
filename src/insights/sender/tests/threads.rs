//! Deadlines, several threads, and the stop.

use std::time::{Duration, Instant};

use crossbeam::channel::bounded;

use super::harness::{Harness, OPTIONS, SOON, job};
use super::stream;
use crate::insights::sender::{Fault, NoAnswer, Options, Outcome};

/// Short enough to wait for, and long enough for a request on a busy machine to reach the server.
const BRIEFLY: Options = Options { timeout: Duration::from_millis(300), ..OPTIONS };

fn timed_out(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Again(Fault::NoAnswer { how: NoAnswer::TimedOut, .. }))
}

/// What the socket buffers of both sides do not hold.
fn large_event() -> String {
    "7".repeat(32 << 20)
}

#[test]
fn a_server_that_never_answers_ends_at_the_deadline() {
    for tls in [false, true] {
        let harness = Harness::with(BRIEFLY, tls, |_, mut wire| wire.wait_for_end());
        let outcome = harness.send(&["1"]).outcome;
        assert!(timed_out(&outcome) || outcome.is_no_connection(), "{outcome:?}");
    }
}

#[test]
fn a_server_that_trickles_ends_at_the_deadline_too() {
    let harness = Harness::with(BRIEFLY, false, |_, mut wire| {
        wire.request();
        let _ = wire.say("HTTP/1.1 200 OK\r\nX: ");
        while wire.say("x").is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let outcome = harness.send(&["1"]).outcome;
    assert!(timed_out(&outcome), "{outcome:?}");
}

#[test]
fn an_answer_whose_body_trickles_counts_by_its_head() {
    let harness = Harness::with(Options { timeout: SOON, ..OPTIONS }, false, |number, mut wire| {
        wire.request();
        let _ = wire.say("HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n");
        while number == 1 && wire.say("x").is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    assert_eq!(harness.send(&["1"]).outcome, Outcome::Taken);
    assert_eq!(harness.send(&["2"]).outcome, Outcome::Taken);
    assert_eq!(harness.server.connections(), 2);
}

#[test]
fn a_server_that_does_not_read_ends_at_the_deadline() {
    for tls in [false, true] {
        let (release, wait) = bounded::<()>(0);
        let harness =
            Harness::with(Options { timeout: Duration::from_secs(3), ..OPTIONS }, tls, move |_, mut wire| {
                // With TLS, the handshake needs it to read.
                wire.read();
                let _ = wait.recv_timeout(SOON);
            });
        let outcome = harness.send(&[&large_event()]).outcome;
        assert!(timed_out(&outcome), "{outcome:?}");
        drop(release);
    }
}

#[test]
fn an_answer_before_the_body_was_read_counts_whether_the_server_closes_or_not() {
    for (tls, closes) in [(false, false), (false, true), (true, false), (true, true)] {
        let (release, wait) = bounded::<()>(0);
        let harness = Harness::with(OPTIONS, tls, move |_, mut wire| {
            wire.read();
            wire.answer(413, "", "too much");
            if !closes {
                let _ = wait.recv_timeout(SOON);
            }
        });
        let outcome = harness.send(&[&large_event()]).outcome;
        assert_eq!(outcome, Outcome::TooLarge, "TLS {tls}, closes {closes}");
        drop(release);
    }
}

#[test]
fn a_stream_whose_server_hangs_holds_up_no_other() {
    let harness = Harness::with(Options { threads: 2, ..OPTIONS }, false, |_, mut wire| {
        while let Some(request) = wire.request() {
            if request.text() == "[\"hang\"]" {
                return wire.wait_for_end();
            }
            wire.answer(200, "", "");
        }
    });
    assert_eq!(harness.sender.free(), 2);
    harness.sender.submit(job(2, &["\"hang\""]));
    assert_eq!(harness.sender.free(), 1);
    for _ in 0..3 {
        let done = harness.send(&["1"]);
        assert_eq!((done.stream, done.outcome), (stream(1), Outcome::Taken));
        assert_eq!(harness.sender.free(), 1);
    }
    assert_eq!(harness.sender.stop(Instant::now()), 0);
    let done = harness.done.recv_timeout(SOON).unwrap();
    assert_eq!((done.stream, done.outcome), (stream(2), Outcome::Again(Fault::Abandoned)));
}

#[test]
fn a_stop_lets_requests_end_until_its_deadline_and_reports_all() {
    let (arrived, see) = bounded(1);
    let (release, wait) = bounded::<()>(0);
    let harness = Harness::new(move |_, mut wire| {
        while wire.request().is_some() {
            let _ = arrived.try_send(());
            let _ = wait.recv_timeout(SOON);
            wire.answer(200, "", "");
        }
    });
    for number in 1..=3 {
        harness.sender.submit(job(number, &["1"]));
    }
    see.recv_timeout(SOON).unwrap();
    assert_eq!(harness.sender.free(), 0);
    drop(release);
    assert_eq!(harness.sender.stop(Instant::now() + SOON), 0);
    let outcomes: Vec<Outcome> = harness.done.iter().map(|done| done.outcome).collect();
    assert_eq!(outcomes, [Outcome::Taken, Outcome::Taken, Outcome::Taken]);
}

#[test]
fn a_stop_breaks_off_what_hangs_at_its_deadline() {
    for tls in [false, true] {
        let (arrived, see) = bounded(1);
        let harness = Harness::with(OPTIONS, tls, move |_, mut wire| {
            wire.request();
            let _ = arrived.send(());
            wire.wait_for_end();
        });
        for number in 1..=3 {
            harness.sender.submit(job(number, &["1"]));
        }
        see.recv_timeout(SOON).unwrap();
        assert_eq!(harness.sender.stop(Instant::now()), 0);
        let outcomes: Vec<Outcome> = harness.done.iter().map(|done| done.outcome).collect();
        assert_eq!(outcomes, vec![Outcome::Again(Fault::Abandoned); 3]);
        assert_eq!(harness.server.received().len(), 1, "what had not begun is not sent");
    }
}
