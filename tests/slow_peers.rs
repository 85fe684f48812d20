//! Peers that send or read too slowly, or ask for too much, by the hundred; by the thousand in the soaks (`--ignored`).
//! Memory stays within the limits, and other connections are not affected.
//!
//! Each test prints by how much the agent's memory grew: `-- --nocapture` shows it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::agent::{API_KEY, Agent, Builder};
use common::dataset::{Dataset, Environment, Kind, flag, touch, user};
use common::frames::{RawSocket, TEXT, upgrade_request, whole};
use common::memory::{Growth, MB, raise_descriptors};
use common::raw::CLIENT_POLL;
use common::ws::{self, Stream};
use common::{SOON, wait_until};
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};

/// How large a test is made.
#[derive(Clone, Copy)]
struct Scale {
    /// Slow peers.
    peers: usize,
    /// Changes of the data meanwhile.
    changes: i64,
    /// Between two bytes of a peer that sends slowly.
    drip: Duration,
    /// `Limits__HeadSeconds`; twice as long for bodies.
    head_seconds: u64,
    /// `Limits__PendingBytes`.
    pending: usize,
}

/// For every run.
const SMALL: Scale =
    Scale { peers: 150, changes: 30, drip: Duration::from_millis(50), head_seconds: 2, pending: 8 * MB };

/// For soaks.
const FULL: Scale =
    Scale { peers: 2000, changes: 1000, drip: Duration::from_secs(1), head_seconds: 15, pending: 64 * MB };

/// What the allocator may keep beside what is in use, and what code and stacks take that are used for the first time.
const SLACK: usize = 24 * MB;
/// A connection with its session, and an incomplete request of some hundred bytes.
const CONNECTION: usize = 4 * 1024;

/// One test after the other: each needs thousands of descriptors, and measures.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    raise_descriptors();
    ONE.lock()
}

fn target(environment: &Environment, kind: Kind) -> String {
    ws::target(kind, &environment.secret(kind))
}

/// Some SDKs of both kinds that read at once.
struct Healthy(Vec<(Kind, Stream)>);

impl Healthy {
    /// `count` of them, that have all the data.
    fn join(agent: &Agent, environment: &Environment, count: usize) -> Self {
        let join = |number: usize| {
            let kind = if number.is_multiple_of(2) { Kind::Server } else { Kind::Client };
            let mut stream = Stream::connect(agent, kind, &environment.secret(kind));
            match kind {
                Kind::Server => stream.request_data(0),
                Kind::Client => stream.request_data_for(0, &user("anna", &[])),
            }
            assert_eq!(stream.next_data()["eventType"], "full");
            (kind, stream)
        };
        Self((0..count).map(join).collect())
    }

    /// Each gets the change, and nothing else.
    fn expect(&mut self, number: i64) {
        for (kind, stream) in &mut self.0 {
            let data = stream.next_data();
            assert_eq!(data["eventType"], "patch");
            let flags = data["featureFlags"].as_array().unwrap();
            assert_eq!(flags.len(), 1);
            let value = match kind {
                Kind::Server => &flags[0]["variations"][0]["value"],
                Kind::Client => &flags[0]["variation"],
            };
            assert_eq!(*value, format!("marker-{number}"));
        }
    }
}

/// A change of the flag `marker`.
fn change(agent: &Agent, data: &mut Dataset, number: i64) {
    let flag = data.environments[0].flag_mut("marker");
    flag["variations"][0]["value"] = json!(format!("marker-{number}"));
    touch(flag, number);
    agent.bootstrap(data);
}

/// A flag `marker` that changes, and others of about `bytes` together.
fn data_of(bytes: usize) -> Dataset {
    let mut environment = Environment::new(1).flag(flag("marker", "string", &["marker-0"]));
    let long = "x".repeat(2000);
    for number in 0..bytes / 2500 {
        environment.add_flag(flag(&format!("flag-{number}"), "string", &["short", &long]));
    }
    Dataset::of([environment])
}

/// Memory for the data: some snapshots, each with its parts encoded, and the parsing of the next.
fn memory_for(data: &Dataset) -> usize {
    12 * data.to_text().len()
}

/// Whether connections were closed since memory was short.
fn given_up(agent: &Agent) -> bool {
    agent.metric("featbit_agent_connections_closed_total", "memory") > 0.0
}

fn ask(kind: Kind) -> Vec<u8> {
    let user = user("slow", &[]);
    let data = match kind {
        Kind::Server => json!({ "timestamp": 0 }),
        Kind::Client => json!({ "timestamp": 0, "user": user }),
    };
    whole(TEXT, json!({ "messageType": "data-sync", "data": data }).to_string().as_bytes())
}

/// Waits for the time of the next byte of those who send slowly.
fn next_drip(due: &mut Instant, every: Duration) {
    *due += every;
    let left = due.saturating_duration_since(Instant::now()) + SOON;
    wait_until("the next byte is due", left, || (Instant::now() >= *due).then_some(()));
}

fn one_byte_a_second(scale: Scale) {
    let _alone = alone();
    let mut data = data_of(100_000);
    let agent = Builder::offline()
        .api_key()
        .data_file(&data)
        .env("Limits__HeadSeconds", &scale.head_seconds.to_string())
        .env("Limits__BodySeconds", &(2 * scale.head_seconds).to_string())
        .start();
    let environment = data.environments[0].clone();
    let mut healthy = Healthy::join(&agent, &environment, 6);
    change(&agent, &mut data, 1);
    healthy.expect(1);
    let growth = Growth::of(&agent);
    let secret = environment.secret(Kind::Client);
    let body = format!(
        "POST {CLIENT_POLL} HTTP/1.1\r\nHost: a\r\nAuthorization: {secret}\r\nContent-Type: application/json\r\n\
         Content-Length: 60000\r\n\r\n{{\"name\":\""
    );
    let begin = |number: usize| {
        let mut socket = RawSocket::connect(agent.port());
        match number % 3 {
            0 => socket.send(b"GET /health/liveness HTTP/1.1\r\nHost: a\r\nX-Slow: "),
            1 => socket.send(body.as_bytes()),
            _ => {
                socket.send(&upgrade_request(&target(&environment, Kind::Server), &[]));
                assert!(socket.read_head().starts_with("HTTP/1.1 101 "));
                // The head of a message of 60,000 bytes.
                socket.send(&whole(TEXT, &[b' '; 60_000])[..8]);
            }
        }
        (number % 3 == 2, socket)
    };
    let (streams, mut requests): (Vec<_>, Vec<_>) =
        (0..scale.peers).map(begin).partition(|(is_stream, _)| *is_stream);
    let mut streams: Vec<_> = streams.into_iter().map(|(_, socket)| socket).collect();
    let (mut due, mut number, mut sent) = (Instant::now(), 1, 0);
    while !requests.is_empty() {
        next_drip(&mut due, scale.drip);
        sent += 1;
        streams.iter_mut().for_each(|socket| socket.send(b" "));
        requests.retain_mut(|(_, socket)| {
            if socket.has_input() {
                assert!(socket.read_head().starts_with("HTTP/1.1 408 "));
                return false;
            }
            // It may have been closed in this moment.
            let _ = socket.try_send(b"x");
            true
        });
        if sent % 10 == 0 {
            number += 1;
            change(&agent, &mut data, number);
            healthy.expect(number);
        }
    }
    // Whoever has the time of a stream is not ended for being slow.
    assert!(!streams.iter_mut().any(RawSocket::has_input));
    agent.wait_metric("featbit_agent_connections", "kind=\"server\"", (streams.len() + 3) as f64);
    growth.expect_within(
        &format!("{} peers that sent {sent} bytes one by one", scale.peers),
        scale.peers * (CONNECTION + 2 * sent) + memory_for(&data) + SLACK,
    );
}

fn never_read(scale: Scale) {
    let _alone = alone();
    let mut data = data_of(1_000_000);
    let agent = Builder::offline()
        .api_key()
        .data_file(&data)
        .env("Limits__PendingBytes", &scale.pending.to_string())
        .env("Limits__WriteStallSeconds", "3600")
        .env("Limits__StreamIdleSeconds", "0")
        .start();
    let environment = data.environments[0].clone();
    let mut healthy = Healthy::join(&agent, &environment, 6);
    change(&agent, &mut data, 1);
    healthy.expect(1);
    let growth = Growth::of(&agent);
    let begin = |number: usize| {
        let kind = if number.is_multiple_of(2) { Kind::Server } else { Kind::Client };
        let mut socket = RawSocket::connect_with_window(agent.port(), 4096);
        socket.send(&upgrade_request(&target(&environment, kind), &[]));
        assert!(socket.read_head().starts_with("HTTP/1.1 101 "));
        socket.send(&ask(kind));
        socket
    };
    let never_reading: Vec<_> = (0..scale.peers).map(begin).collect();
    wait_until("all have asked", 10 * SOON, || {
        (agent.metric("featbit_agent_messages_total", "") >= (scale.peers + 6) as f64).then_some(())
    });
    for number in 2..=scale.changes {
        change(&agent, &mut data, number);
        healthy.expect(number);
    }
    healthy.0.iter_mut().for_each(|(_, stream)| stream.expect_nothing_new());
    // The answers to the clients among them exceed the limit for all together.
    wait_until("some were given up", SOON, || given_up(&agent).then_some(()));
    assert!(agent.metric("featbit_agent_connections", "kind=\"server\"") >= (never_reading.len() / 2) as f64);
    growth.expect_within(
        &format!("{} peers that read nothing, {} changes", scale.peers, scale.changes),
        scale.pending + scale.peers * CONNECTION + 2 * memory_for(&data) + SLACK,
    );
}

fn half_open(scale: Scale) {
    let _alone = alone();
    let data = data_of(50_000);
    let agent = Builder::offline()
        .data_file(&data)
        .env("Limits__HeadSeconds", &scale.head_seconds.to_string())
        .start();
    let environment = data.environments[0].clone();
    drop(Healthy::join(&agent, &environment, 2));
    let growth = Growth::of(&agent);
    let begin = |number: usize| {
        let mut socket = RawSocket::connect(agent.port());
        let request = upgrade_request(&target(&environment, Kind::Server), &[("X", &"y".repeat(8000))]);
        match number % 2 {
            0 => {}
            _ => socket.send(&request[..request.len() / 2]),
        }
        (number.is_multiple_of(2), socket)
    };
    let mut waiting: Vec<_> = (0..scale.peers).map(begin).collect();
    let count = || agent.metric("featbit_agent_connections", "kind=\"http\"");
    wait_until("all are in", SOON, || (count() >= scale.peers as f64).then_some(()));
    // Whoever comes now is served as ever.
    let healthy = Healthy::join(&agent, &environment, 20);
    for (silent, socket) in &mut waiting {
        let end = Duration::from_secs(scale.head_seconds) + SOON;
        wait_until("its time is over", end, || socket.has_input().then_some(()));
        match silent {
            true => assert_eq!(socket.next_or_end().unwrap(), None, "nothing was asked, nothing is answered"),
            false => assert!(socket.read_head().starts_with("HTTP/1.1 408 ")),
        }
    }
    drop(waiting);
    wait_until("they are gone", SOON, || (count() <= 1.0).then_some(()));
    agent.wait_metric_at_least("featbit_agent_limits_hit_total", "head_seconds", scale.peers as f64);
    drop(healthy);
    growth.expect_within(
        &format!("{} half-open handshakes", scale.peers),
        // Half of them with 4 KB of a head, in a buffer that may have room for twice as much.
        scale.peers * (CONNECTION + 8 * 1024) + memory_for(&data) + SLACK,
    );
}

/// One that asks again and again and reads nothing, beside 20 who read. Those who asked for too much are closed only
/// when memory is short.
fn greedy(scale: Scale) {
    let _alone = alone();
    let mut data = data_of(1_000_000);
    let agent = Builder::offline()
        .api_key()
        .data_file(&data)
        .env("Limits__PendingBytes", &scale.pending.to_string())
        .env("Limits__WriteStallSeconds", "3600")
        .start();
    let environment = data.environments[0].clone();
    let mut healthy = Healthy::join(&agent, &environment, 20);
    change(&agent, &mut data, 1);
    healthy.expect(1);
    let growth = Growth::of(&agent);
    let mut stalled = [Kind::Server, Kind::Client].map(|kind| {
        let mut socket = RawSocket::connect_with_window(agent.port(), 4096);
        socket.send(&upgrade_request(&target(&environment, kind), &[]));
        assert!(socket.read_head().starts_with("HTTP/1.1 101 "));
        let mut sender = socket.clone_for_writing();
        // The agent does not take them all before its answers are read.
        let sending = std::thread::spawn(move || sender.send(&ask(kind).repeat(scale.peers)));
        (kind, socket, sending)
    });
    for number in 2..=30 {
        change(&agent, &mut data, number);
        healthy.expect(number);
    }
    healthy.0.iter_mut().for_each(|(_, stream)| stream.expect_nothing_new());
    agent.wait_metric_at_least("featbit_agent_syncs_total", "behind", 2.0);
    growth.expect_within(
        &format!("{} questions of each of two that read nothing", scale.peers),
        scale.pending + 2 * memory_for(&data) + SLACK,
    );
    // They were stalled all the time, and are still in: every question is answered, and the last state comes last.
    for (kind, socket, _) in &mut stalled {
        let mut last = Value::Null;
        for _ in 0..scale.peers {
            let frame = socket.next();
            last = serde_json::from_slice(&frame.payload).unwrap();
        }
        let name = if *kind == Kind::Server { "key" } else { "id" };
        let flags = last["data"]["featureFlags"].as_array().unwrap();
        let marker = flags.iter().find(|flag| flag[name] == "marker").unwrap();
        let value = match kind {
            Kind::Server => &marker["variations"][0]["value"],
            Kind::Client => &marker["variation"],
        };
        assert_eq!(*value, "marker-30", "{kind:?}");
    }
    stalled.into_iter().for_each(|(_, _, sending)| sending.join().unwrap());
}

/// Many that ask for large answers and take a little of them now and then: who asks after them is served all the same.
fn trickle(scale: Scale) {
    let _alone = alone();
    let data = data_of(1_000_000);
    let agent = Builder::offline()
        .data_file(&data)
        .env("Reactors", "1")
        .env("Limits__PendingBytes", &scale.pending.to_string())
        .start();
    let environment = data.environments[0].clone();
    drop(Healthy::join(&agent, &environment, 2));
    let growth = Growth::of(&agent);
    let begin = |_| {
        let mut socket = RawSocket::connect_with_window(agent.port(), 4096);
        socket.send(&upgrade_request(&target(&environment, Kind::Client), &[]));
        assert!(socket.read_head().starts_with("HTTP/1.1 101 "));
        socket.send(&ask(Kind::Client));
        socket
    };
    let slow: Vec<_> = (0..scale.peers / 2).map(begin).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let reading = {
        let (stop, mut slow) = (stop.clone(), slow);
        std::thread::spawn(move || {
            let mut due = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                next_drip(&mut due, scale.drip);
                slow.iter_mut().for_each(|socket| drop(socket.read_some(16)));
            }
        })
    };
    let short = || agent.metric("featbit_agent_limits_hit_total", "\"pending_bytes\"") > 0.0;
    wait_until("memory is short", 5 * SOON, || short().then_some(()));
    for _ in 0..5 {
        drop(Healthy::join(&agent, &environment, 4));
    }
    wait_until("some were given up", SOON, || given_up(&agent).then_some(()));
    stop.store(true, Ordering::Relaxed);
    reading.join().unwrap();
    growth.expect_within(
        &format!("{} peers that read 16 bytes at a time", scale.peers / 2),
        // One answer may be under way when the limit is reached.
        scale.pending + 4 * MB + memory_for(&data) + SLACK,
    );
}

fn large_bodies_with_wrong_keys(count: usize) {
    const BODY: usize = 100_000_000;
    let _alone = alone();
    let data = data_of(50_000);
    let agent = Builder::offline().api_key().data_file(&data).start();
    let environment = data.environments[0].clone();
    drop(Healthy::join(&agent, &environment, 2));
    let growth = Growth::of(&agent);
    let wrong = environment.secret(Kind::Server).replace(|letter: char| letter.is_lowercase(), "q");
    let requests = [
        ("/api/public/proxy/bootstrap", format!("{}x", &API_KEY[1..])),
        (CLIENT_POLL, wrong.clone()),
        ("/api/public/insight/track", wrong),
    ];
    let chunk = vec![b' '; 256 * 1024];
    for number in 0..count {
        for (path, secret) in &requests {
            let mut socket = RawSocket::connect(agent.port());
            let length = match number % 2 {
                0 => format!("Content-Length: {BODY}"),
                _ => "Transfer-Encoding: chunked".into(),
            };
            socket.send(
                format!(
                    "POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: {secret}\r\n\
                     Content-Type: application/json\r\n{length}\r\n\r\n"
                )
                .as_bytes(),
            );
            // Before a byte of the body is sent.
            let head = socket.read_head();
            assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
            assert!(head.to_lowercase().contains("connection: close"), "{head}");
            // Whoever sends it nevertheless is not listened to: nothing is kept, and the connection ends.
            let mut sent = 0;
            while sent < BODY && socket.try_send(&chunk).is_ok() {
                sent += chunk.len();
            }
        }
    }
    let received = agent.metric("featbit_agent_received_bytes_total", "");
    growth.expect_within(&format!("{} bodies of 100 MB with a wrong key", 3 * count), SLACK);
    assert!(received < MB as f64, "{received} bytes were taken for something");
}

#[test]
fn peers_that_send_a_byte_a_second_need_little_memory_and_end_in_time() {
    one_byte_a_second(SMALL);
}

#[test]
#[ignore = "soak"]
fn two_thousand_peers_that_send_a_byte_a_second() {
    one_byte_a_second(FULL);
}

#[test]
fn peers_that_never_read_stay_within_the_memory_limit_while_data_changes() {
    never_read(SMALL);
}

#[test]
#[ignore = "soak"]
fn two_thousand_peers_that_never_read_while_data_changes_a_thousand_times() {
    never_read(FULL);
}

#[test]
fn half_open_handshakes_end_in_time_and_block_no_other_connection() {
    half_open(SMALL);
}

#[test]
#[ignore = "soak"]
fn two_thousand_half_open_handshakes() {
    half_open(FULL);
}

#[test]
fn a_connection_that_asks_and_never_reads_harms_no_other() {
    greedy(Scale { pending: 64 * MB, ..SMALL });
}

#[test]
#[ignore = "soak"]
fn two_thousand_requests_of_a_connection_that_never_reads() {
    greedy(FULL);
}

#[test]
fn peers_that_read_slowly_delay_no_other() {
    trickle(Scale { pending: 16 * MB, ..SMALL });
}

#[test]
#[ignore = "soak"]
fn hundreds_of_peers_that_read_slowly() {
    trickle(FULL);
}

#[test]
fn large_bodies_with_a_wrong_key_are_refused_before_they_are_read() {
    large_bodies_with_wrong_keys(2);
}

#[test]
#[ignore = "soak"]
fn a_hundred_large_bodies_with_a_wrong_key() {
    large_bodies_with_wrong_keys(34);
}
