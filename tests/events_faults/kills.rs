//! Agents that are killed at random moments while events come in and go out.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use serde_json::Value;

use crate::common::agent::{Agent, Builder};
use crate::common::dataset::Kind;
use crate::common::event_server::{EventServer, Reaction};
use crate::common::raw::TRACK;
use crate::common::rng::Rng;
use crate::common::{SOON, http, wait_until};
use crate::support::*;

/// A client that posts numbered events, a few in each call, until it is told to end.
struct Poster {
    name: char,
    taken: Arc<Mutex<Vec<String>>>,
    thread: JoinHandle<()>,
}

/// Clients that post at the same time, and count the calls that were answered with 200.
struct Posters {
    all: Vec<Poster>,
    ended: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

/// Two environments, and two kinds of secret.
const STREAMS: [(char, u8, Kind); 3] =
    [('a', 1, Kind::Server), ('b', 1, Kind::Client), ('c', 2, Kind::Server)];

impl Posters {
    fn start(agent: &Agent) -> Self {
        let (ended, calls) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let port = agent.port();
        let all = STREAMS.map(|(name, number, kind)| {
            let (ended, calls, taken) = (ended.clone(), calls.clone(), Arc::<Mutex<Vec<String>>>::default());
            let (secret, notes) = (environment(number).secret(kind), taken.clone());
            let thread = thread::spawn(move || {
                let mut next = 0;
                while !ended.load(SeqCst) {
                    let keys: Vec<String> =
                        (next..next + 1 + next % 7).map(|at| format!("{name}{at}")).collect();
                    next += keys.len();
                    let body = events(keys.clone()).to_string();
                    match http::post_json(port, TRACK, &[("Authorization", &secret)], &body) {
                        Ok(answer) if answer.status == 200 => {
                            notes.lock().unwrap().extend(keys);
                            calls.fetch_add(1, SeqCst);
                        }
                        // Refused, or killed: these may arrive or not.
                        Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text()),
                        Err(_) => thread::yield_now(),
                    }
                }
            });
            Poster { name, taken, thread }
        });
        Self { all: all.into(), ended, calls }
    }

    /// Waits until so many more calls were answered.
    fn wait_calls(&self, agent: &Agent, more: usize) {
        let before = self.calls.load(SeqCst);
        let answered =
            crate::common::poll_until(SOON, || (self.calls.load(SeqCst) >= before + more).then_some(()));
        answered.unwrap_or_else(|| agent.fail("calls are not answered"));
    }

    /// Ends them, and returns what each was told to be taken, in order.
    fn end(self) -> HashMap<char, Vec<String>> {
        self.ended.store(true, SeqCst);
        let end = |poster: Poster| {
            poster.thread.join().expect("the calls were answered as they should be");
            let taken = std::mem::take(&mut *poster.taken.lock().unwrap());
            (poster.name, taken)
        };
        self.all.into_iter().map(end).collect()
    }
}

fn number_of(key: &str) -> usize {
    key[1..].parse().unwrap()
}

/// Checks that what was taken is in what came, and that each client's events came first in the order in which it posted them.
fn expect_complete_and_in_order(taken: &HashMap<char, Vec<String>>, first: &[String]) {
    let came: HashSet<&String> = first.iter().collect();
    for (name, taken) in taken {
        let lost: Vec<&String> = taken.iter().filter(|key| !came.contains(key)).collect();
        assert!(lost.is_empty(), "{} of {} lost: {:?}", lost.len(), taken.len(), &lost[..lost.len().min(9)]);
        let order: Vec<usize> =
            first.iter().filter(|key| key.starts_with(*name)).map(|key| number_of(key)).collect();
        assert!(order.is_sorted(), "{name}");
    }
}

fn kill_while_sending(rounds: usize, seed: u64) {
    let mut rng = Rng::new(seed);
    let server = EventServer::start();
    let mut agent = spooling_to(&server.url())
        .env("Events__RequestEvents", "40")
        .env("Events__SpoolBytes", "64MB")
        .start();
    let posters = Posters::start(&agent);
    let (mut taken_before, mut may_repeat) = (0, 0);
    for round in 0..rounds {
        posters.wait_calls(&agent, 1 + rng.below(40));
        let sent = agent.metric(TOTAL, "result=\"sent\"") as usize;
        // One of these calls began after that, so it was answered after the disk had the note of what was sent then.
        posters.wait_calls(&agent, STREAMS.len() + 1 + rng.below(20));
        if round % 4 == 3 {
            server.always(Reaction::Answer(503, ""));
            posters.wait_calls(&agent, 1 + rng.below(20));
        }
        agent.kill();
        server.wait_closed();
        let taken = server.events().len();
        // What was under way, or not noted yet.
        may_repeat += taken - taken_before - sent;
        taken_before = taken;
        server.always(Reaction::Answer(200, ""));
        agent.start_again();
    }
    posters.wait_calls(&agent, STREAMS.len());
    let taken = posters.end();
    let all: Vec<String> = taken.values().flatten().cloned().collect();
    let (first, again) = wait_all(&server, &all);
    expect_complete_and_in_order(&taken, &first);
    println!(
        "killed {rounds} times: {} events taken, {again} arrived twice, {may_repeat} at most were under way",
        all.len()
    );
    assert!(again <= may_repeat, "{again} arrived twice, only {may_repeat} were under way");
    for result in ["expired_by_age", "expired_by_size", "damaged", "lost"] {
        assert_eq!(agent.metric(TOTAL, &format!("result=\"{result}\"")), 0.0, "{result}");
    }
}

#[test]
fn a_killed_agent_loses_nothing_that_it_has_taken_and_repeats_only_what_was_under_way() {
    kill_while_sending(20, 1);
}

#[test]
#[ignore = "takes minutes"]
fn two_hundred_kills_lose_nothing() {
    kill_while_sending(200, 2);
}

/// The keys of all local files, compressed or not, in the order of the files.
fn local_keys(agent: &Agent) -> Vec<String> {
    let mut keys = Vec::new();
    for path in files_below(&folder(agent).join("local")) {
        let mut bytes = fs::read(&path).unwrap();
        let name = path.to_string_lossy().into_owned();
        if std::path::Path::new(&format!("{name}.gz")).exists() {
            // It was about to be removed.
            continue;
        }
        if name.ends_with(".gz") {
            let mut plain = Vec::new();
            flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut plain).unwrap();
            bytes = plain;
        } else if !name.ends_with(".ndjson") {
            continue;
        }
        // A torn end is cut when the file is continued or compressed. It would lose what came behind it.
        let text = String::from_utf8(bytes).unwrap();
        let sound = text.split('\0').next().unwrap_or_default();
        let whole = sound.rfind('\n').map_or(0, |at| at + 1);
        for line in sound[..whole].lines() {
            let line: Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {name}: {line}"));
            keys.push(key_of(&line["event"]));
        }
    }
    keys
}

fn local() -> Builder {
    spooling_to("http://127.0.0.1:1").env("Events__Mode", "local").env("Events__LocalFileBytes", "64KB")
}

fn kill_while_keeping(rounds: usize, seed: u64) {
    let mut rng = Rng::new(seed);
    let mut agent = local().start();
    let posters = Posters::start(&agent);
    for round in 0..rounds {
        posters.wait_calls(&agent, 10 + rng.below(60));
        agent.kill();
        if round % 2 == 0 {
            tear_last_lines(&agent, &mut rng);
        }
        agent.start_again();
    }
    posters.wait_calls(&agent, STREAMS.len());
    let taken = posters.end();
    assert!(agent.stop().success());
    let keys = local_keys(&agent);
    let count = keys.len();
    let unique: HashSet<&String> = keys.iter().collect();
    assert_eq!(unique.len(), count, "an event is there twice");
    for taken in taken.values() {
        let lost: Vec<&String> = taken.iter().filter(|key| !unique.contains(key)).collect();
        assert!(lost.is_empty(), "{} of {} lost: {:?}", lost.len(), taken.len(), &lost[..lost.len().min(9)]);
    }
    println!("killed {rounds} times: {count} events in local files");
}

/// What a failing machine may leave behind the last line of a file that is being written.
fn tear_last_lines(agent: &Agent, rng: &mut Rng) {
    for path in files_below(&folder(agent).join("local")) {
        if path.to_string_lossy().ends_with(".ndjson") {
            let rest = [&b"{\"receivedAt\":\"2026-"[..], b"{", b"\0\0\0\0\0\0", b"{\"a\":\0\0}\n"];
            let mut bytes = fs::read(&path).unwrap();
            bytes.extend_from_slice(rng.pick::<&[u8]>(&rest));
            fs::write(&path, bytes).unwrap();
        }
    }
}

#[test]
fn a_killed_agent_keeps_local_events_that_it_has_taken_once_each() {
    kill_while_keeping(10, 3);
}

#[test]
#[ignore = "takes minutes"]
fn two_hundred_kills_keep_local_events() {
    kill_while_keeping(200, 4);
}

#[test]
fn local_files_stay_within_their_bound_and_the_newest_events_stay() {
    let mut agent = local().env("Events__LocalBytes", "1MB").start();
    for number in 0..60 {
        post(&agent, &Value::from_iter([large_event(&number.to_string(), 100_000)])).expect(200);
    }
    let bytes = || -> u64 {
        let files = files_below(&folder(&agent).join("local"));
        files.iter().filter_map(|path| fs::metadata(path).ok()).map(|file| file.len()).sum()
    };
    wait_until("the files are within their bound", SOON, || (bytes() <= 1 << 20).then_some(()));
    agent.wait_line("removed");
    // What went wrong: what was removed was added up and never shown.
    agent.wait_metric_at_least("featbit_agent_usage_events_local_removed_total", "", 1.0);
    assert!(agent.stop().success());
    let mut keys: Vec<usize> = local_keys(&agent).iter().map(|key| key.parse().unwrap()).collect();
    keys.sort_unstable();
    assert!(keys[0] > 0 && keys.len() >= 5, "{keys:?}");
    assert_eq!(keys, (keys[0]..60).collect::<Vec<_>>(), "the oldest go first");
}
