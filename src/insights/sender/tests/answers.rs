//! What each kind of answer means, over real sockets.

use super::harness::{Harness, OPTIONS};
use super::secret;
use crate::insights::sender::{Fault, NoAnswer, Options, Outcome, Refusal};

fn how(outcome: &Outcome) -> Option<NoAnswer> {
    match outcome {
        Outcome::Again(Fault::NoAnswer { how, .. }) => Some(*how),
        _ => None,
    }
}

#[test]
fn the_server_gets_what_was_given_and_no_more() {
    for tls in [false, true] {
        let harness = Harness::with(OPTIONS, tls, |_, mut wire| {
            while wire.request().is_some() {
                wire.answer(200, "", "");
            }
        });
        let done = harness.send(&["{\"user\":{\"keyId\":\"ä\"}}", "[1, 2]"]);
        assert_eq!((&done.outcome, done.events, done.requests), (&Outcome::Taken, 2, 1));
        assert_eq!(harness.send(&["3"]).outcome, Outcome::Taken);
        assert_eq!(harness.bodies(), ["[{\"user\":{\"keyId\":\"ä\"}},[1, 2]]", "[3]"]);
        let request = &harness.server.received()[0];
        let host = match tls {
            true => format!("localhost:{}", harness.server.address().port()),
            false => harness.server.address().to_string(),
        };
        let expected = format!(
            "POST /below/api/public/insight/track HTTP/1.1\r\nHost: {host}\r\nAuthorization: {}\r\n\
             User-Agent: featbit-agent\r\nContent-Type: application/json; charset=utf-8\r\n\
             X-FeatBit-User-Agent: featbit-agent/agent7\r\nContent-Length: {}\r\n\r\n",
            secret(1).as_str(),
            request.body.len()
        );
        assert_eq!(request.head, expected);
        assert_eq!(done.bytes_sent, (expected.len() + request.body.len()) as u64);
        assert_eq!(done.body_bytes, request.body.len() as u64);
        assert_eq!(harness.server.connections(), 1);
    }
}

#[test]
fn each_status_has_its_meaning_and_the_connection_goes_on() {
    let harness = Harness::new(|_, mut wire| {
        // The body says how to answer.
        while let Some(request) = wire.request() {
            let text = request.text();
            let (status, field) = text.trim_matches(['[', ']', '"']).split_once(' ').unwrap();
            let fields = if field.is_empty() { String::new() } else { format!("{field}\r\n") };
            wire.answer(status.parse().unwrap(), &fields, "{\"why\": \"because\"}");
        }
    });
    let again = |status, retry_after_ms| Outcome::Again(Fault::Status { status, retry_after_ms });
    let refused = |status, host: Option<&str>| {
        Outcome::Refused(Refusal { status, redirected_to: host.map(str::to_owned) })
    };
    for (answer, expected) in [
        ("200 ", Outcome::Taken),
        ("202 ", Outcome::Taken),
        ("500 ", again(500, None)),
        ("503 Retry-After: 7", again(503, Some(7_000))),
        ("429 Retry-After: 999999", again(429, Some(3_600_000))),
        ("503 Retry-After: Fri, 31 Dec 9999 23:59:59 GMT", again(503, Some(3_600_000))),
        ("408 ", again(408, None)),
        ("413 ", Outcome::TooLarge),
        ("401 ", refused(401, None)),
        ("403 ", refused(403, None)),
        ("404 ", refused(404, None)),
        ("405 Allow: GET", refused(405, None)),
        ("301 Location: https://elsewhere.example/x?y", refused(301, Some("elsewhere.example"))),
        ("307 Location: /login", refused(307, None)),
        ("400 ", Outcome::Rejected { status: 400 }),
        ("422 ", Outcome::Rejected { status: 422 }),
        ("200 ", Outcome::Taken),
    ] {
        let done = harness.send(&[&format!("\"{answer}\"")]);
        assert_eq!((done.outcome, done.requests), (expected, 1), "{answer}");
    }
    assert_eq!(harness.server.connections(), 1, "an error is no reason to close");
}

#[test]
fn the_end_of_an_answer_is_found_in_every_form() {
    let answers = [
        ("HTTP/1.1 204 No Content\r\n\r\n", true),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            true,
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false),
    ];
    for (answer, can_continue) in answers {
        for tls in [false, true] {
            let harness = Harness::with(OPTIONS, tls, move |_, mut wire| {
                while wire.request().is_some() {
                    for byte in answer.chars() {
                        let _ = wire.say(&byte.to_string());
                    }
                }
            });
            for _ in 0..2 {
                let done = harness.send(&["1"]);
                assert_eq!((done.outcome, done.requests), (Outcome::Taken, 1), "{answer:?}");
            }
            assert_eq!(harness.server.connections(), if can_continue { 1 } else { 2 }, "{answer:?}");
        }
    }
}

#[test]
fn an_answer_that_ends_with_the_connection_or_never_is_one_all_the_same() {
    for body in ["", "x"] {
        for tls in [false, true] {
            let harness = Harness::with(OPTIONS, tls, move |_, mut wire| {
                wire.request();
                let _ = wire.say("HTTP/1.1 200 OK\r\n\r\n");
                let endless = body.repeat(64 * 1024);
                while !body.is_empty() && wire.say(&endless).is_ok() {}
            });
            for _ in 0..2 {
                assert_eq!(harness.send(&["1"]).outcome, Outcome::Taken);
            }
            assert_eq!(harness.server.connections(), 2);
        }
    }
}

#[test]
fn what_is_no_answer_is_none() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    for (answer, expected) in [
        ("SSH-2.0-OpenSSH\r\n", NoAnswer::NotHttp),
        ("HTTP/2 200\r\n\r\n", NoAnswer::NotHttp),
        (long.as_str(), NoAnswer::NotHttp),
        ("HTTP/1.1 200 OK\r\nContent-Le", NoAnswer::Closed),
        ("HTTP/1.1 100 Continue\r\n\r\n", NoAnswer::Closed),
        ("", NoAnswer::Closed),
    ] {
        for tls in [false, true] {
            let answer = answer.to_owned();
            let harness = Harness::with(OPTIONS, tls, move |_, mut wire| {
                wire.request();
                let _ = wire.say(&answer);
            });
            let done = harness.send(&["1"]);
            assert_eq!((how(&done.outcome), done.requests), (Some(expected), 1), "{done:?}");
        }
    }
}

#[test]
fn a_server_that_cannot_inflate_gets_plain_bodies_from_then_on() {
    let gzip = Options { gzip: true, ..OPTIONS };
    let harness = Harness::with(gzip, false, |_, mut wire| {
        while let Some(request) = wire.request() {
            wire.answer(if request.is_gzip() { 400 } else { 200 }, "", "");
        }
    });
    let done = harness.send(&["1"]);
    assert_eq!((done.outcome, done.requests, done.gzip_refused), (Outcome::Taken, 2, true));
    let done = harness.send(&["2"]);
    assert_eq!((done.outcome, done.requests, done.gzip_refused), (Outcome::Taken, 1, false));
    assert_eq!(harness.bodies(), ["[1]", "[1]", "[2]"]);
}

#[test]
fn a_server_that_inflates_is_asked_once_about_a_bad_event() {
    let gzip = Options { gzip: true, ..OPTIONS };
    let harness = Harness::with(gzip, false, |_, mut wire| {
        while let Some(request) = wire.request() {
            wire.answer(if request.text().contains("bad") { 400 } else { 200 }, "", "");
        }
    });
    // Before anything was taken, the compression may be the reason.
    let done = harness.send(&["\"bad\""]);
    assert_eq!((done.outcome, done.requests), (Outcome::Rejected { status: 400 }, 2));
    let done = harness.send(&["1"]);
    assert_eq!((done.outcome, done.requests), (Outcome::Taken, 1));
    let done = harness.send(&["\"bad\""]);
    assert_eq!(
        (done.outcome, done.requests, done.gzip_refused),
        (Outcome::Rejected { status: 400 }, 1, false)
    );
    let compressed: Vec<bool> = harness.server.received().iter().map(|request| request.is_gzip()).collect();
    assert_eq!(compressed, [true, false, true, true]);
}
