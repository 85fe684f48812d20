//! What happens when all connections together need more memory than is allowed.

use std::time::Duration;

use serde_json::json;

use crate::model::secret::SecretKind;
use crate::net::service::Origin;
use crate::net::slab::Key;

use crate::serve::session::{Session, State};
use crate::serve::tests::{Bench, Fake, PRIVATE_BYTES_MAX, ask, secret};

/// What went wrong: each request and each change put a client that waits for memory on the list once more.
#[test]
fn a_client_waits_for_memory_once_and_is_answered_for_its_last_request() {
    let mut bench = Bench::new(|_| {});
    bench.load(&[("flag", 1)], &"x".repeat(PRIVATE_BYTES_MAX / 5 * 4));
    let (greedy, greedy_wire) = bench.connect(SecretKind::Client);
    greedy_wire.give_room(1);
    bench.message(greedy, &greedy_wire, &ask("greedy"));
    assert!(bench.io.memory_is_short());
    let (modest, wire) = bench.connect(SecretKind::Client);
    for user in ["anna", "bert", "carl"] {
        bench.message(modest, &wire, &ask(user));
    }
    bench.load(&[("flag", 2)], "short");
    bench.message(modest, &wire, &json!({ "messageType": "ping", "data": null }));
    assert_eq!(bench.server.parts.memory.len(), 1);
    assert_eq!(wire.frames(), [br#"{"messageType":"pong","data":{}}"#], "only what costs no memory");
    bench.writable(greedy, &greedy_wire, usize::MAX);
    assert_eq!(bench.server.parts.memory.len(), 0);
    let data = wire.only_data();
    assert_eq!((&data["eventType"], &data["userKeyId"]), (&json!("full"), &json!("carl")));
    assert_eq!(data["featureFlags"][0]["variation"], "short");
    // From now on it is pushed to as ever, once.
    bench.load(&[("flag", 3)], "shorter");
    assert_eq!(wire.only_data()["featureFlags"][0]["variation"], "shorter");
}

impl Bench {
    /// Client streams that ask for large answers and take nothing of them, until memory is short.
    fn fill_memory(&mut self) -> Vec<(Key, Fake)> {
        let mut greedy = Vec::new();
        while !self.io.memory_is_short() {
            let (key, wire) = self.connect(SecretKind::Client);
            wire.give_room(1);
            self.message(key, &wire, &ask("greedy"));
            greedy.push((key, wire));
        }
        greedy
    }
}

/// What went wrong: peers that read a byte now and then kept all others waiting.
#[test]
fn a_connection_waits_for_memory_only_seconds_and_the_slow_readers_that_use_it_are_closed() {
    for trickle in [false, true] {
        let mut bench = Bench::new(|_| {});
        bench.load(&[("flag", 1)], &"x".repeat(PRIVATE_BYTES_MAX / 20));
        let greedy = bench.fill_memory();
        bench.later(Duration::from_millis(900));
        let (modest, wire) = bench.connect(SecretKind::Client);
        bench.message(modest, &wire, &ask("anna"));
        // The slow readers may still be reading: they came only just before.
        assert!(wire.frames().is_empty());
        for _ in 0..2 {
            if trickle {
                greedy.iter().for_each(|(key, wire)| bench.writable(*key, wire, 1));
            }
            bench.later(Duration::from_millis(700));
        }
        if trickle {
            assert!(wire.frames().is_empty(), "so far, each of them may still finish in time");
            for _ in 0..4 {
                greedy.iter().for_each(|(key, wire)| bench.writable(*key, wire, 1));
                bench.later(Duration::from_secs(1));
            }
        }
        assert_eq!(wire.only_data()["userKeyId"], "anna");
        let gone = greedy.iter().filter(|(key, _)| bench.io.visit(*key, |_, _| ()).is_none()).count();
        assert!(gone > 0 && gone < greedy.len(), "{gone} of {}", greedy.len());
        assert!(bench.io.pending_private_bytes() <= PRIVATE_BYTES_MAX);
        let page = bench.server.parts.shared.metrics.render();
        assert!(page.contains(&format!("connections_closed_total{{reason=\"memory\"}} {gone}\n")), "{page}");
    }
}

#[test]
fn small_answers_and_changes_are_sent_however_short_memory_is() {
    let mut bench = Bench::new(|_| {});
    bench.load(&[("flag", 1)], "v");
    let (first, wire) = bench.connect(SecretKind::Client);
    bench.message(first, &wire, &ask("anna"));
    wire.frames();
    bench.load(&[("flag", 1), ("large", 2)], &"x".repeat(PRIVATE_BYTES_MAX / 20));
    wire.frames();
    bench.fill_memory();
    bench.load(&[("flag", 3), ("large", 4)], "w");
    assert_eq!(wire.only_data()["featureFlags"][0]["variation"], "w");
    let (second, wire) = bench.connect(SecretKind::Client);
    bench.message(second, &wire, &ask("bert"));
    assert_eq!(wire.only_data()["userKeyId"], "bert");
}

/// What went wrong: answers over HTTP were counted and not bounded.
#[test]
fn a_poll_waits_for_memory_too_and_is_answered() {
    let mut bench = Bench::new(|_| {});
    bench.load(&[("flag", 1)], &"x".repeat(PRIVATE_BYTES_MAX / 20));
    bench.fill_memory();
    let wire = Fake::default();
    wire.give_room(usize::MAX);
    let key = bench.io.insert(wire.clone(), Origin(0), &mut bench.server);
    let user = r#"{"keyId":"anna"}"#;
    let request = format!(
        "POST /api/public/sdk/client/latest-all?timestamp=0 HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{user}",
        secret(SecretKind::Client).as_str(),
        user.len()
    );
    bench.receive(key, &wire, request.as_bytes());
    assert_eq!(wire.0.borrow().written, b"");
    bench.later(Duration::from_secs(3));
    let written = String::from_utf8(std::mem::take(&mut wire.0.borrow_mut().written)).unwrap();
    assert!(written.starts_with("HTTP/1.1 200 "), "{:.100}", written);
    assert!(written.ends_with("}]}}"));
    // The connection goes on as ever.
    bench.load(&[("flag", 2)], "w");
    bench.receive(key, &wire, request.as_bytes());
    assert!(wire.0.borrow().written.starts_with(b"HTTP/1.1 200 "));
}

/// What went wrong: the memory for echoes was bounded for each connection, but not for all together.
#[test]
fn echoes_that_nobody_reads_end_with_1013_before_they_take_more_memory_than_allowed() {
    let mut bench = Bench::new(|_| {});
    bench.load(&[("flag", 1)], "v");
    let echo = json!({ "messageType": "echo", "data": "x".repeat(3000) });
    let mut streams = Vec::new();
    for _ in 0..PRIVATE_BYTES_MAX / 3000 * 2 {
        let (key, wire) = bench.connect(SecretKind::Server);
        wire.give_room(0);
        bench.message(key, &wire, &echo);
        assert!(bench.io.pending_private_bytes() <= PRIVATE_BYTES_MAX);
        streams.push((key, wire));
    }
    let is_closing = |session: &mut Session| matches!(session.state, State::Closing(_));
    let gone: Vec<_> = streams
        .iter()
        .filter(|(key, _)| bench.io.visit(*key, |_, session| is_closing(session)) != Some(false))
        .cloned()
        .collect();
    assert!(gone.len() > streams.len() / 4, "{} of {}", gone.len(), streams.len());
    for (key, wire) in gone {
        bench.writable(key, &wire, usize::MAX);
        assert_eq!(wire.close_code(), Some(1013));
    }
}

/// What went wrong: a message assembled from fragments stayed in memory until the next one came.
#[test]
fn a_fragmented_message_is_freed_once_it_was_handled() {
    let mut bench = Bench::new(|_| {});
    bench.load(&[("flag", 1)], "v");
    let (key, wire) = bench.connect(SecretKind::Server);
    let padding = vec![b' '; 100];
    let mut first = vec![0x01, 0x80 | 100, 0, 0, 0, 0];
    first.extend_from_slice(&padding);
    bench.receive(key, &wire, &first);
    assert!(bench.io.pending_private_bytes() >= 100);
    let rest = br#"{"messageType":"ping","data":null}"#;
    let mut last = vec![0x80, 0x80 | rest.len() as u8, 0, 0, 0, 0];
    last.extend_from_slice(rest);
    bench.receive(key, &wire, &last);
    assert_eq!(wire.frames(), [br#"{"messageType":"pong","data":{}}"#]);
    assert_eq!(bench.io.pending_private_bytes(), 0);
}
