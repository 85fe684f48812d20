//! When a connection is used again, and what happens if the server closes it.

use crossbeam::channel::bounded;

use super::harness::{Harness, OPTIONS, SOON, sender};
use super::stand_in::StandIn;
use crate::client::Step;
use crate::insights::sender::{Fault, NoAnswer, Outcome};

#[test]
fn a_connection_that_was_closed_while_idle_is_not_used() {
    for tls in [false, true] {
        let (tell, closed) = bounded(1);
        let harness = Harness::with(OPTIONS, tls, move |number, mut wire| {
            wire.request();
            wire.answer(200, "", "");
            if number == 1 {
                drop(wire);
                // The other descriptor of the server's is closed when this returns.
            }
            tell.send(()).unwrap();
        });
        let first = harness.send(&["1"]);
        closed.recv_timeout(SOON).unwrap();
        harness.server.wait_until_all_closed();
        let second = harness.send(&["2"]);
        assert_eq!((first.requests, second.requests), (1, 1));
        assert_eq!(second.outcome, Outcome::Taken);
        assert_eq!((harness.bodies(), harness.server.connections()), (vec!["[1]".into(), "[2]".into()], 2));
    }
}

#[test]
fn a_connection_on_which_the_server_says_something_unasked_is_not_used() {
    let (tell, said) = bounded(1);
    let harness = Harness::new(move |number, mut wire| {
        wire.request();
        wire.answer(200, "", "");
        if number == 1 {
            wire.say("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n").unwrap();
            tell.send(()).unwrap();
            wire.wait_for_end();
        }
    });
    assert_eq!(harness.send(&["1"]).outcome, Outcome::Taken);
    said.recv_timeout(SOON).unwrap();
    let done = harness.send(&["2"]);
    assert_eq!((done.outcome, done.requests, harness.server.connections()), (Outcome::Taken, 1, 2));
}

#[test]
fn a_request_that_meets_the_close_of_an_idle_connection_is_sent_again_at_once() {
    for (tls, by_reset) in [(false, false), (false, true), (true, false), (true, true)] {
        let harness = Harness::with(OPTIONS, tls, move |number, mut wire| {
            wire.request();
            wire.answer(200, "", "");
            if wire.request().is_some() && number == 1 && by_reset {
                wire.reset();
            } else if number > 1 {
                wire.wait_for_end();
            }
        });
        assert_eq!(harness.send(&["1"]).requests, 1);
        let done = harness.send(&["2"]);
        assert_eq!((done.outcome, done.requests), (Outcome::Taken, 2));
        assert_eq!(harness.bodies(), ["[1]", "[2]", "[2]"]);
    }
}

#[test]
fn a_reset_after_the_body_was_taken_is_no_answer_and_the_events_are_sent_later() {
    for tls in [false, true] {
        let harness = Harness::with(OPTIONS, tls, |number, mut wire| {
            wire.request();
            match number {
                1 => wire.reset(),
                _ => wire.answer(200, "", ""),
            }
        });
        let done = harness.send(&["1"]);
        let Outcome::Again(Fault::NoAnswer { how: NoAnswer::Closed, detail }) = &done.outcome else {
            panic!("{done:?}")
        };
        assert!(!detail.is_empty());
        assert_eq!(done.requests, 1, "on a new connection nobody asks twice");
        assert_eq!(harness.send(&["1"]).outcome, Outcome::Taken);
        assert_eq!(harness.bodies(), ["[1]", "[1]"]);
    }
}

#[test]
fn without_a_connection_the_outcome_says_which_step_failed() {
    let server = StandIn::start(true, |_, mut wire| wire.wait_for_end());
    let port = server.address().port();
    let step = |uri: &str| {
        let (sender, done) = sender(uri, OPTIONS, None);
        sender.submit(super::harness::job(1, &["1"]));
        let done = done.recv_timeout(SOON).unwrap();
        assert_eq!((done.requests, done.bytes_sent), (0, 0));
        match done.outcome {
            Outcome::Again(Fault::NoConnection(error)) => error.step,
            other => panic!("{other:?}"),
        }
    };
    // Nobody has told it to trust this certificate.
    assert_eq!(step(&format!("https://localhost:{port}")), Step::Tls);
    drop(server);
    assert_eq!(step(&format!("http://127.0.0.1:{port}")), Step::Connect);
}
