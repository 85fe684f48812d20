//! What is logged, and how often.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::insights::sender::outcome::NoAnswer;
use crate::insights::sender::tests::{no_connection, stream};
use crate::telemetry::log::{Format, subscriber};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The lines that are logged for these outcomes, all at their times in milliseconds.
fn logged(ends: &[(u8, Outcome, Verdict, u64)]) -> Vec<String> {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber =
        subscriber(tracing::level_filters::LevelFilter::INFO, Format::Text { colour: false }, move || {
            writer.clone()
        });
    tracing::subscriber::with_default(subscriber, || {
        let mut log = SendLog::new("els:5100".into());
        for (number, outcome, verdict, now_ms) in ends {
            let done = JobDone {
                stream: stream(*number),
                events: 1,
                bytes: 1,
                outcome: outcome.clone(),
                requests: 1,
                bytes_sent: 1,
                body_bytes: 1,
                gzip_refused: false,
                took: Duration::ZERO,
            };
            log.ended(&done, *verdict, &format!("shop:e{number}"), *now_ms);
        }
    });
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn refused(status: u16, host: Option<&str>) -> Outcome {
    Outcome::Refused(Refusal { status, redirected_to: host.map(str::to_owned) })
}

#[test]
fn each_kind_of_trouble_is_logged_once_a_stream_and_its_end_once() {
    let busy = Outcome::Again(Fault::Status { status: 503, retry_after_ms: None });
    let confirm = Verdict::Confirm { events: 1 };
    let lines = logged(&[
        (1, busy.clone(), Verdict::Keep, 0),
        (1, busy.clone(), Verdict::Keep, 1),
        (2, busy.clone(), Verdict::Keep, 2),
        (1, refused(401, None), Verdict::Keep, 3),
        (1, busy, Verdict::Keep, AGAIN_MS),
        (1, Outcome::Taken, confirm, AGAIN_MS),
        (1, Outcome::Taken, confirm, AGAIN_MS),
        (3, Outcome::Taken, confirm, AGAIN_MS),
    ]);
    let told = |number: u8, part: &str| {
        let of_it = |line: &&String| line.contains(&format!("shop:e{number}")) && line.contains(part);
        lines.iter().filter(of_it).count()
    };
    assert_eq!(
        [told(1, "status 503"), told(2, "status 503"), told(1, "status 401")],
        [2, 1, 1],
        "{lines:#?}"
    );
    assert_eq!([told(1, "are sent again"), told(2, ""), told(3, "")], [1, 1, 0]);
    assert_eq!(lines.len(), 5);
    assert!(lines.iter().all(|line| line.contains("els:5100")), "{lines:#?}");
}

#[test]
fn a_server_that_cannot_be_reached_is_told_once_for_all_streams() {
    let lines = logged(&[
        (1, no_connection(), Verdict::Keep, 0),
        (2, no_connection(), Verdict::Keep, 1),
        (3, Outcome::Again(Fault::Abandoned), Verdict::Keep, 2),
        (2, Outcome::Taken, Verdict::Confirm { events: 1 }, 3),
    ]);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].contains("els:5100: cannot be connected to. Check it"), "{lines:#?}");
    assert!(lines[1].contains("can be reached again"), "{lines:#?}");
}

#[test]
fn a_line_says_what_to_do() {
    let dead = Verdict::DeadLetter { events: 1, status: 400 };
    let no_answer = Fault::NoAnswer { how: NoAnswer::Closed, detail: "reset by peer".into() };
    for (outcome, verdict, expected) in [
        (refused(401, None), Verdict::Keep, &["ERROR", "does not know the secret of this environment"][..]),
        (refused(404, None), Verdict::Keep, &["ERROR", "EventUri is wrong", "kept and sent later"]),
        (refused(405, None), Verdict::Keep, &["EventUri is wrong"]),
        (refused(400, None), Verdict::Keep, &["https instead of http"]),
        (refused(407, None), Verdict::Keep, &["Upstream__Proxy"]),
        (refused(421, None), Verdict::Keep, &["status 421"]),
        (refused(508, None), Verdict::Keep, &["come back to this agent", "EventUri is wrong"]),
        (refused(302, Some("a.example")), Verdict::Keep, &["to a.example", "not followed", "Set EventUri"]),
        (refused(302, None), Verdict::Keep, &["not followed", "Set EventUri"]),
        (Outcome::Again(no_answer), Verdict::Keep, &["WARN", "reset by peer", "count twice"]),
        (Outcome::TooLarge, dead, &["WARN", "413", "dead letters"]),
        (Outcome::Rejected { status: 400 }, dead, &["an event (status 400)", "dead letters"]),
    ] {
        let lines = logged(&[(1, outcome.clone(), verdict, 0)]);
        let fits = lines.len() == 1 && expected.iter().all(|part| lines[0].contains(part));
        assert!(fits, "{outcome:?}: {lines:#?}");
    }
    for outcome in [Outcome::TooLarge, Outcome::Rejected { status: 400 }] {
        assert_eq!(logged(&[(1, outcome, Verdict::Keep, 0)]), [""; 0], "smaller requests follow");
    }
}
