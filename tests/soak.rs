//! Healthy SDKs among hostile peers: each gets every change, once and in order, and when the hostile ones are gone
//! so are their memory and their descriptors.
//!
//! In small with every run; the long one goes on for `SOAK_SECONDS` (300).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::agent::{Agent, Builder};
use common::dataset::{Dataset, Environment, Kind, flag, touch, user};
use common::frames::{MASK, TEXT, frame, upgrade_request, whole};
use common::raw::{BOOTSTRAP, CLIENT_POLL, SERVER_POLL, TRACK, chunked, request};
use common::rng::Rng;
use common::ws::{Stream, token};
use common::{SOON, now_ms, wait_until};
use serde_json::{Value, json};

/// Threads that each have one hostile connection after another, a few of them at a time.
const HOSTILE: u64 = 3;
/// Connections that a hostile thread keeps open at most.
const KEPT: usize = 40;

fn environment() -> Environment {
    let mut environment = Environment::new(1).flag(flag("marker", "string", &["marker-0"]));
    for number in 0..50 {
        environment.add_flag(flag(&format!("flag-{number}"), "string", &[&"lorem ".repeat(200), "other"]));
    }
    environment
}

/// What a message says of the flag `marker`.
fn marker(data: &Value, kind: Kind) -> Value {
    let name = if kind == Kind::Server { "key" } else { "id" };
    let flag = data["featureFlags"].as_array().unwrap().iter().find(|flag| flag[name] == "marker");
    let flag = flag.unwrap_or_else(|| panic!("no marker in {data:.300}"));
    match kind {
        Kind::Server => flag["variations"][0]["value"].clone(),
        Kind::Client => flag["variation"].clone(),
    }
}

/// Bytes that are right, of which hostile ones are made.
fn good_bytes(rng: &mut Rng, environment: &Environment) -> Vec<u8> {
    let client = environment.secret(Kind::Client);
    let server = environment.secret(Kind::Server);
    let headers = [("Authorization", client.as_str()), ("Content-Type", "application/json")];
    let body = user("somebody", &[("plan", "gold")]).to_string();
    let stream = |kind: Kind, secret: &str| {
        let target = format!("/streaming?type={}&token={}", kind.as_str(), token(secret, now_ms(), 7));
        let ask = match kind {
            Kind::Server => json!({"messageType": "data-sync", "data": {"timestamp": 0}}),
            Kind::Client => {
                json!({"messageType": "data-sync", "data": {"timestamp": 0, "user": user("u", &[])}})
            }
        };
        let mut bytes = upgrade_request(&target, &[]);
        bytes.extend(whole(TEXT, ask.to_string().as_bytes()));
        bytes
    };
    match rng.below(8) {
        0 => stream(Kind::Server, &server),
        1 => stream(Kind::Client, &client),
        2 => request("GET", SERVER_POLL, &[("Authorization", &server)], None).repeat(1 + rng.below(20)),
        3 => request("POST", CLIENT_POLL, &headers, Some(body.as_bytes())),
        4 => {
            let mut bytes =
                request("POST", TRACK, &[headers[0], headers[1], ("Transfer-Encoding", "chunked")], None);
            bytes.extend(chunked(b"[{\"user\":{}},{}]", 1 + rng.below(9)));
            bytes
        }
        5 => {
            request("POST", BOOTSTRAP, &[("Authorization", "rp-wrong"), headers[1]], Some(b"{\"items\":[]}"))
        }
        6 => {
            let mut bytes = upgrade_request("/echo", &[]);
            for _ in 0..1 + rng.below(20) {
                let payload = vec![b'e'; rng.below(3000)];
                bytes.extend(frame(0x80 | TEXT, Some(MASK), &payload));
            }
            bytes
        }
        _ => request(
            "OPTIONS",
            TRACK,
            &[("Origin", "https://a"), ("Access-Control-Request-Method", "POST")],
            None,
        ),
    }
}

/// Damages bytes, or leaves them as they are.
fn spoil(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.below(4) {
        let at = rng.below(bytes.len().max(1));
        match rng.below(6) {
            0 => bytes.truncate(at),
            1 if !bytes.is_empty() => bytes[at] = rng.next() as u8,
            2 => bytes.insert(at.min(bytes.len()), *rng.pick(b"\r\n\0: ;,{}\xFF\x80")),
            3 => {
                let copy = bytes[at.min(bytes.len())..].to_vec();
                bytes.extend(copy);
            }
            4 => bytes.splice(at..at, (0..rng.below(200)).map(|at| (at * 37) as u8)).for_each(drop),
            _ => {}
        }
    }
}

/// One hostile peer: says something, maybe in portions, maybe reads a little, maybe goes at once.
fn misbehave(rng: &mut Rng, port: u16, environment: &Environment, kept: &mut Vec<TcpStream>) {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, SOON).expect("the agent accepts");
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut bytes = good_bytes(rng, environment);
    spoil(rng, &mut bytes);
    let portion = match rng.below(3) {
        0 => bytes.len().max(1),
        1 => 1 + rng.below(10),
        _ => 1 + rng.below(400),
    };
    // That the agent has closed meanwhile is as good an answer as any.
    let _ = bytes.chunks(portion).try_for_each(|portion| stream.write_all(portion));
    match rng.below(6) {
        0 => drop(stream.shutdown(Shutdown::Write)),
        1 => {
            let _ = stream.read(&mut [0; 1000]);
        }
        2 => {
            // Answers the agent by a reset.
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            return;
        }
        3 => return,
        _ => {}
    }
    kept.push(stream);
    if kept.len() > KEPT {
        let gone = rng.below(kept.len());
        kept.swap_remove(gone);
    }
}

fn resident_bytes(agent: &Agent) -> f64 {
    agent.metric("process_resident_memory_bytes", "")
}

fn descriptors(agent: &Agent) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap().count()
}

/// Changes the data while `goes_on` says so, among hostile peers.
fn soak(seed: u64, mut goes_on: impl FnMut(i64) -> bool) {
    let mut data = Dataset::of([environment()]);
    let agent = Builder::offline()
        .api_key()
        .env("EchoPath", "/echo")
        .env("Reactors", "2")
        .env("Limits__PendingBytes", "16MB")
        .start();
    agent.bootstrap(&data);
    let mut healthy: Vec<(Kind, Stream)> = (0..8)
        .map(|number| {
            let kind = if number % 2 == 0 { Kind::Server } else { Kind::Client };
            let mut stream = Stream::connect(&agent, kind, &data.environments[0].secret(kind));
            match kind {
                Kind::Server => stream.request_data(0),
                Kind::Client => stream.request_data_for(0, &user("anna", &[])),
            }
            assert_eq!(marker(&stream.next_data(), kind), "marker-0");
            (kind, stream)
        })
        .collect();
    let (descriptors_before, memory_before) = (descriptors(&agent), resident_bytes(&agent));
    let over = AtomicBool::new(false);
    let misdeeds = AtomicU64::new(0);
    let mut changes = 0;
    let mut peak = memory_before;
    let (port, known) = (agent.port(), environment());
    std::thread::scope(|scope| {
        for number in 0..HOSTILE {
            let (over, misdeeds, known) = (&over, &misdeeds, &known);
            scope.spawn(move || {
                let mut rng = Rng::new(seed * 1000 + number);
                let mut kept = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    misbehave(&mut rng, port, known, &mut kept);
                    misdeeds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // However this ends, the others must.
        let _end = OnDrop(|| over.store(true, Ordering::Relaxed));
        let mut pinged = Instant::now();
        while goes_on(changes) {
            changes += 1;
            let item = data.environments[0].flag_mut("marker");
            item["variations"][0]["value"] = json!(format!("marker-{changes}"));
            touch(item, changes);
            agent.bootstrap(&data);
            for (kind, stream) in &mut healthy {
                let message = stream.next_data();
                assert_eq!(message["eventType"], "patch");
                assert_eq!(marker(&message, *kind), format!("marker-{changes}"), "out of order, or twice");
            }
            // A connection that is silent for two minutes is closed; real SDKs ping.
            if pinged.elapsed() > Duration::from_secs(10) {
                healthy.iter_mut().for_each(|(_, stream)| stream.expect_nothing_new());
                pinged = Instant::now();
            }
            peak = peak.max(resident_bytes(&agent));
        }
    });
    let misdeeds = misdeeds.into_inner();
    println!(
        "{changes} changes, {misdeeds} hostile connections, memory from {memory_before} to {peak} at most"
    );
    assert!(misdeeds > 0, "nobody was hostile");
    for (_, stream) in &mut healthy {
        stream.expect_nothing_new();
    }
    wait_until("the hostile connections are gone", 3 * SOON, || {
        (descriptors(&agent) <= descriptors_before + 2).then_some(())
    });
    assert!(peak < memory_before + 100e6, "memory grew from {memory_before} to {peak}");
    assert!(!agent.log().contains("panic"), "{}", agent.log());
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn healthy_sdks_lose_nothing_among_hostile_peers() {
    soak(1, |changes| changes < 50);
}

#[test]
#[ignore = "goes on for SOAK_SECONDS"]
fn healthy_sdks_lose_nothing_among_hostile_peers_for_long() {
    let seconds = std::env::var("SOAK_SECONDS").map_or(300, |text| text.parse().expect("a number"));
    let end = Instant::now() + Duration::from_secs(seconds);
    soak(now_ms() as u64, |_| Instant::now() < end);
}
