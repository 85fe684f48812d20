//! Many connections, slow ones, too many, and shutdown: no connection must harm the others.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::fs;
use std::net::TcpStream;

use common::agent::{Agent, Builder};
use common::dataset::{Dataset, Environment, Kind, START_MS, boolean_flag, flag, touch, user};
use common::frames::{RawSocket, TEXT, upgrade_request, whole};
use common::ws::{self, Stream, token};
use common::{SOON, wait_until};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};

const ASK_PING: &[u8] = br#"{"messageType":"ping","data":null}"#;
const PONG_MESSAGE: &str = r#"{"messageType":"pong","data":{}}"#;

fn target(environment: &Environment, kind: Kind) -> String {
    ws::target(kind, &environment.secret(kind))
}

fn ask(stream: &mut Stream, kind: Kind) {
    match kind {
        Kind::Server => stream.request_data(0),
        Kind::Client => stream.request_data_for(0, &user("anna", &[])),
    }
}

/// What a message says of the flag `marker`.
fn marker(data: &Value, kind: Kind) -> Value {
    let name = if kind == Kind::Server { "key" } else { "id" };
    let flag = data["featureFlags"].as_array().unwrap().iter().find(|flag| flag[name] == "marker");
    let flag = flag.unwrap_or_else(|| panic!("no marker in {data}"));
    match kind {
        Kind::Server => flag["variations"][0]["value"].clone(),
        Kind::Client => flag["variation"].clone(),
    }
}

fn set_marker(data: &mut Dataset, number: i64) {
    let flag = data.environments[0].flag_mut("marker");
    flag["variations"][0]["value"] = json!(format!("marker-{number}"));
    touch(flag, number);
}

/// Resident memory of the agent in MB.
fn resident_mb(agent: &Agent) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
}

fn open_descriptors(agent: &Agent) -> usize {
    fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap().count()
}

#[test]
fn a_connection_that_never_reads_costs_the_others_nothing_and_ends_in_the_last_state() {
    const CHANGES: i64 = 50;
    const ASKED: usize = 200;
    let long = "x".repeat(10_000);
    let mut environment = Environment::new(1).flag(flag("marker", "string", &["marker-0"]));
    for number in 0..100 {
        environment.add_flag(flag(&format!("flag-{number}"), "string", &["short", &long]));
    }
    let mut data = Dataset::of([environment]);
    let agent = Builder::offline()
        .api_key()
        .data_file(&data)
        .env("Limits__WriteStallSeconds", "600")
        .env("Limits__PendingBytes", "32MB")
        .start();
    let healthy = |kind: Kind| {
        let mut stream = Stream::connect(&agent, kind, &data.environments[0].secret(kind));
        ask(&mut stream, kind);
        assert_eq!(marker(&stream.next_data(), kind), "marker-0");
        (kind, stream)
    };
    let mut healthy = [Kind::Server, Kind::Server, Kind::Server, Kind::Client, Kind::Client].map(healthy);
    let mut slow = [Kind::Server, Kind::Client].map(|kind| {
        let mut socket = RawSocket::upgrade(agent.port(), &target(&data.environments[0], kind), &[]);
        let request =
            json!({ "messageType": "data-sync", "data": { "timestamp": 0, "user": user("slow", &[]) } })
                .to_string();
        socket.send(&whole(TEXT, request.as_bytes()).repeat(ASKED));
        (kind, socket)
    });
    let mut highest_mb = resident_mb(&agent);
    for number in 1..=CHANGES {
        set_marker(&mut data, number);
        agent.bootstrap(&data);
        for (kind, stream) in &mut healthy {
            let data = stream.next_data();
            assert_eq!(data["eventType"], "patch");
            assert_eq!(marker(&data, *kind), format!("marker-{number}"));
        }
        highest_mb = highest_mb.max(resident_mb(&agent));
    }
    healthy.iter_mut().for_each(|(_, stream)| stream.expect_nothing_new());
    // The payload has more than 1 MB: 200 answers for the client alone would be more than the bound.
    assert!(highest_mb < 150, "{highest_mb} MB");

    let last = format!("marker-{CHANGES}");
    for (kind, socket) in &mut slow {
        socket.send(&whole(TEXT, ASK_PING));
        let (mut count, mut newest) = (0, Vec::new());
        loop {
            let frame = socket.next();
            assert_eq!(frame.opcode, TEXT);
            if frame.payload == PONG_MESSAGE.as_bytes() {
                break;
            }
            count += 1;
            newest = frame.payload;
        }
        assert!(count >= ASKED, "{kind:?}: every request is answered, not {count}");
        let newest: Value = serde_json::from_slice(&newest).unwrap();
        assert_eq!(marker(&newest["data"], *kind), last, "{kind:?}");
    }
}

/// For a connection that does not read, the agent keeps its state and not a queue of messages.
#[test]
fn a_connection_that_was_behind_gets_one_diff_when_it_reads_again() {
    let long = "x".repeat(300_000);
    let environment = Environment::new(1).flag(flag("marker", "string", &["marker-0"])).flag(flag(
        "long",
        "string",
        &["short", &long],
    ));
    let mut data = Dataset::of([environment]);
    let agent = Builder::offline().api_key().data_file(&data).env("Limits__WriteStallSeconds", "600").start();
    // A window so small that the first answer does not fit what the kernels hold for both sides.
    let mut slow = RawSocket::connect_with_window(agent.port(), 4096);
    slow.send(&upgrade_request(&target(&data.environments[0], Kind::Server), &[]));
    assert!(slow.read_head().starts_with("HTTP/1.1 101 "));
    slow.send(&whole(TEXT, br#"{"messageType":"data-sync","data":{"timestamp":0}}"#));
    agent.wait_metric_at_least("featbit_agent_syncs_total", "full", 1.0);
    for number in 1..=100 {
        set_marker(&mut data, number);
        agent.bootstrap(&data);
    }
    agent.wait_metric_at_least("featbit_agent_syncs_total", "behind", 1.0);
    let mut messages = Vec::new();
    while messages.last().is_none_or(|data| marker(data, Kind::Server) != "marker-100") {
        let message: Value = serde_json::from_slice(&slow.next().payload).unwrap();
        messages.push(message["data"].clone());
    }
    assert_eq!(messages[0]["eventType"], "full");
    assert_eq!(marker(&messages[0], Kind::Server), "marker-0");
    assert_eq!(
        (messages.len(), &messages[1]["eventType"]),
        (2, &json!("patch")),
        "one difference, not a hundred"
    );
    slow.send(&whole(TEXT, ASK_PING));
    slow.expect_text(PONG_MESSAGE);
}

#[test]
fn hundreds_of_connections_on_two_reactors_all_get_a_change_and_bootstrap_answers_when_it_is_in_service() {
    let mut data = Dataset::of([Environment::new(1).flag(flag("marker", "string", &["marker-0"]))]);
    let agent = Builder::offline().api_key().data_file(&data).env("Reactors", "2").start();
    let mut streams: Vec<(Kind, Stream)> = (0..300)
        .map(|number| {
            let kind = if number % 3 == 0 { Kind::Client } else { Kind::Server };
            let mut stream = Stream::connect(&agent, kind, &data.environments[0].secret(kind));
            ask(&mut stream, kind);
            assert_eq!(stream.next_data()["eventType"], "full");
            (kind, stream)
        })
        .collect();
    for number in 1..=3 {
        set_marker(&mut data, number);
        agent.bootstrap(&data);
        // From now on no answer has the old data, on any reactor.
        let expected = format!("marker-{number}");
        for (kind, stream) in &mut streams {
            ask(stream, *kind);
        }
        for (kind, stream) in &mut streams {
            // The change is pushed, unless the question came first; then the answer has it.
            loop {
                let data = stream.next_data();
                assert_eq!(marker(&data, *kind), expected);
                if data["eventType"] == "full" {
                    break;
                }
            }
        }
        streams.iter_mut().for_each(|(_, stream)| stream.expect_nothing_new());
    }
    for kind in [Kind::Server, Kind::Client] {
        set_marker(&mut data, if kind == Kind::Server { 10 } else { 20 });
        agent.bootstrap(&data);
        for (own, stream) in &mut streams {
            let data = stream.next_data();
            assert_eq!(data["eventType"], "patch");
            assert!(marker(&data, *own).as_str().unwrap().ends_with('0'));
        }
    }
    for (label, expected) in [("kind=\"server\"", 200.0), ("kind=\"client\"", 100.0)] {
        agent.wait_metric("featbit_agent_connections", label, expected);
    }
}

/// A small environment, a stream of each kind that has asked, and one that has not.
fn three_streams(agent: &Agent, environment: &Environment) -> Vec<Stream> {
    let mut streams = Vec::new();
    for (kind, asks) in [(Kind::Server, true), (Kind::Client, true), (Kind::Server, false)] {
        let mut stream = Stream::connect(agent, kind, &environment.secret(kind));
        if asks {
            ask(&mut stream, kind);
            stream.next_data();
        }
        streams.push(stream);
    }
    streams
}

#[test]
fn sigterm_closes_streams_with_1001_refuses_new_ones_and_ends_with_0() {
    let environment = Environment::new(1).flag(boolean_flag("flag"));
    for drain in ["0", "1"] {
        let mut agent = Builder::offline()
            .data_file(&Dataset::of([environment.clone()]))
            .env("Shutdown__DrainSeconds", drain)
            .start();
        let mut streams = three_streams(&agent, &environment);
        let mut idle = common::http::Connection::open(agent.port()).unwrap();
        let mut held = RawSocket::upgrade(
            agent.port(),
            &format!(
                "/streaming?type=server&token={}",
                token(&environment.secret(Kind::Server), START_MS, 9)
            ),
            &[],
        );
        let pid = Pid::from_raw(i32::try_from(agent.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        for stream in &mut streams {
            assert_eq!(stream.expect_close(SOON), Some(1001), "drain of {drain} s");
        }
        assert_eq!(held.expect_close().0, 1001);
        assert!(idle.is_at_end().unwrap());
        assert!(TcpStream::connect(("127.0.0.1", agent.port())).is_err(), "nobody is accepted any more");
        drop((streams, held, idle));
        let status = agent.wait_for_end();
        assert_eq!(status.code(), Some(0), "{}", agent.log());
    }
}

/// What went wrong: the loop slept for ever when a time limit, and no event, ended the last connection.
#[test]
fn a_peer_that_does_not_answer_the_closing_handshake_does_not_keep_the_agent_alive() {
    let environment = Environment::new(1).flag(boolean_flag("flag"));
    let mut agent = Builder::offline()
        .data_file(&Dataset::of([environment.clone()]))
        .env("Shutdown__DrainSeconds", "0")
        .env("Limits__CloseSeconds", "1")
        .start();
    let mut rude = RawSocket::upgrade(agent.port(), &target(&environment, Kind::Server), &[]);
    let status = agent.stop();
    assert_eq!(status.code(), Some(0), "{}", agent.log());
    assert_eq!(rude.next().close().0, 1001);
}

#[test]
fn at_the_connection_limit_open_connections_are_served_and_freed_slots_are_reused() {
    let environment = Environment::new(1).flag(boolean_flag("flag"));
    let agent = Builder::offline()
        .data_file(&Dataset::of([environment.clone()]))
        .env("Reactors", "2")
        .env("Limits__Connections", "50")
        .start();
    let request = upgrade_request(&target(&environment, Kind::Server), &[]);
    let try_in = || -> Option<RawSocket> {
        let mut socket = RawSocket::connect(agent.port());
        socket.try_send(&request).ok()?;
        socket.try_send(&whole(TEXT, ASK_PING)).ok()?;
        socket.try_read_head()?;
        socket.expect_text(PONG_MESSAGE);
        Some(socket)
    };
    let mut inside: Vec<RawSocket> = (0..200).filter_map(|_| try_in()).collect();
    assert!((25..=50).contains(&inside.len()), "{} are in", inside.len());
    for socket in &mut inside {
        socket.send(&whole(TEXT, ASK_PING));
        socket.expect_text(PONG_MESSAGE);
    }
    let before = inside.len();
    inside.truncate(before - 20);
    wait_until("there is room again", SOON, || {
        inside.extend(try_in());
        (inside.len() >= before - 5).then_some(())
    });
    drop(inside);
    wait_until("the agent can be asked again", SOON, || {
        let page = common::http::get(agent.port(), "/metrics", &[]).ok()?;
        page.text().contains("featbit_agent_limits_hit_total{limit=\"connections\"} ").then_some(())
    });
}

/// Accepting fails, and no event announces when it would succeed: the agent tries again.
#[test]
fn without_descriptors_connections_wait_and_are_accepted_when_some_are_free() {
    let environment = Environment::new(1).flag(boolean_flag("flag"));
    // No data file: looking at it takes descriptors too.
    let agent = Builder::offline().api_key().env("Reactors", "2").start();
    agent.bootstrap(&Dataset::of([environment.clone()]));
    let pid = Pid::from_raw(i32::try_from(agent.pid()).unwrap()).unwrap();
    wait_until("earlier connections are gone", SOON, || {
        let sockets = agent.metric("featbit_agent_connections", "kind=\"http\"");
        (sockets <= 1.0).then_some(())
    });
    let limit = open_descriptors(&agent) as u64 + 20;
    prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(limit), maximum: Some(limit) }).unwrap();
    let request = upgrade_request(&target(&environment, Kind::Server), &[]);
    let mut waiting: Vec<RawSocket> = (0..100)
        .map(|_| {
            let mut socket = RawSocket::connect(agent.port());
            socket.send(&request);
            socket.send(&whole(TEXT, ASK_PING));
            socket
        })
        .collect();
    let mut served = 0;
    while !waiting.is_empty() {
        // Those who are in are answered; they leave, and others come in.
        let (answered, still): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .map(|mut socket| (socket.has_input(), socket))
            .partition(|(has_input, _)| *has_input);
        assert!(served > 0 || answered.len() < 50, "{} at once with some 20 descriptors", answered.len());
        for (_, mut socket) in answered {
            assert!(socket.read_head().starts_with("HTTP/1.1 101 "));
            socket.expect_text(PONG_MESSAGE);
            served += 1;
        }
        waiting = still.into_iter().map(|(_, socket)| socket).collect();
        wait_until("those who wait are served", SOON, || {
            (waiting.is_empty() || waiting.iter_mut().any(RawSocket::has_input)).then_some(())
        });
    }
    assert_eq!(served, 100);
    let hit = wait_until("metrics can be asked for", SOON, || {
        let page = common::http::get(agent.port(), "/metrics", &[]).ok()?;
        let line = page.text().lines().find(|line| line.contains("limit=\"descriptors\""))?.to_owned();
        line.rsplit(' ').next()?.parse::<f64>().ok()
    });
    assert!(hit >= 1.0);
    agent.wait_line("WARN connections wait since the system gives no descriptor");
}

/// What went wrong: accepting was tried again twice a second, though descriptors were given back all the time. With four
/// free ones, those who had gone while they waited took a minute.
#[test]
fn a_queue_of_closed_connections_is_cleared_as_fast_as_descriptors_become_free() {
    let environment = Environment::new(1).flag(boolean_flag("flag"));
    let agent = Builder::offline().api_key().env("Reactors", "2").start();
    agent.bootstrap(&Dataset::of([environment.clone()]));
    let pid = Pid::from_raw(i32::try_from(agent.pid()).unwrap()).unwrap();
    wait_until("earlier connections are gone", SOON, || {
        (agent.metric("featbit_agent_connections", "kind=\"http\"") <= 1.0).then_some(())
    });
    let limit = open_descriptors(&agent) as u64 + 4;
    prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(limit), maximum: Some(limit) }).unwrap();
    let request = upgrade_request(&target(&environment, Kind::Server), &[]);
    // They take all there are, so that the others queue.
    let mut inside: Vec<RawSocket> = (0..8)
        .map(|_| {
            let mut socket = RawSocket::connect(agent.port());
            socket.send(&request);
            socket
        })
        .collect();
    wait_until("all descriptors are taken", SOON, || {
        (inside.iter_mut().filter_map(|socket| socket.has_input().then_some(())).count() >= 3).then_some(())
    });
    let dead: Vec<RawSocket> = (0..1000).map(|_| RawSocket::connect(agent.port())).collect();
    let mut living = RawSocket::connect(agent.port());
    living.send(&request);
    drop(dead);
    drop(inside);
    wait_until("who lives is served", SOON, || living.has_input().then_some(()));
    assert!(living.read_head().starts_with("HTTP/1.1 101 "));
}

/// Open connections get changes while no other can be accepted; the metrics show that later.
#[test]
fn with_few_descriptors_open_connections_are_served_and_others_after_them() {
    let mut data = Dataset::of([Environment::new(1).flag(flag("marker", "string", &["marker-0"]))]);
    // Some 64 of them are set aside for everything but connections of SDKs.
    let agent = Builder::offline().api_key().data_file(&data).env("Reactors", "2").descriptors(120).start();
    let environment = data.environments[0].clone();
    let mut inside: Vec<(Kind, Stream)> = [Kind::Server, Kind::Client, Kind::Server, Kind::Client]
        .map(|kind| {
            let mut stream = Stream::connect(&agent, kind, &environment.secret(kind));
            ask(&mut stream, kind);
            assert_eq!(marker(&stream.next_data(), kind), "marker-0");
            (kind, stream)
        })
        .into();
    // Taken in before the rush, since it needs a connection too.
    let mut operator = common::http::Connection::open(agent.port()).unwrap();
    operator.send(b"GET /health/liveness HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    operator.read_response(false).unwrap().expect(200);
    let mut crowd: Vec<RawSocket> = (0..300).map(|_| RawSocket::connect(agent.port())).collect();
    wait_until("many are sent away", SOON, || {
        (crowd.iter_mut().filter_map(|socket| socket.has_input().then_some(())).count() >= 200).then_some(())
    });
    for part in
        ["WARN the limit of open descriptors (120) allows only ", "WARN connections were closed at once"]
    {
        agent.wait_line(part);
    }
    for number in 1..=3 {
        set_marker(&mut data, number);
        agent.write_data(&data);
        for (kind, stream) in &mut inside {
            assert_eq!(marker(&stream.next_data(), *kind), format!("marker-{number}"));
        }
    }
    drop(crowd);
    wait_until("there is room again", SOON, || {
        let mut socket = RawSocket::connect(agent.port());
        socket.try_send(&upgrade_request(&target(&environment, Kind::Server), &[])).ok()?;
        socket.try_read_head().filter(|head| head.starts_with("HTTP/1.1 101 "))
    });
    for (kind, stream) in &mut inside {
        stream.expect_nothing_new();
        ask(stream, *kind);
        assert_eq!(marker(&stream.next_data(), *kind), "marker-3");
    }
    agent.wait_metric_at_least("featbit_agent_limits_hit_total", "\"connections\"", 200.0);
}

#[test]
fn a_stream_that_stops_reading_is_closed_after_the_write_stall() {
    let long = "x".repeat(8_000_000);
    let environment = Environment::new(1).flag(flag("long", "string", &["short", &long]));
    let agent = Builder::offline()
        .data_file(&Dataset::of([environment.clone()]))
        .env("Limits__WriteStallSeconds", "1")
        .start();
    let mut healthy = Stream::connect(&agent, Kind::Server, &environment.secret(Kind::Server));
    let mut stuck = RawSocket::upgrade(agent.port(), &target(&environment, Kind::Server), &[]);
    stuck.send(&whole(TEXT, br#"{"messageType":"data-sync","data":{"timestamp":0}}"#).repeat(5));
    agent.wait_metric_at_least("featbit_agent_limits_hit_total", "write_stall_seconds", 1.0);
    healthy.expect_nothing_new();
}
