//! Files of a spool that a disk or somebody has spoiled.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::agent::Agent;
use crate::common::event_server::{EventServer, Reaction};
use crate::common::{SOON, wait_until};
use crate::support::*;

/// An agent that was killed with these events in its spool.
fn killed_with(server: &EventServer, keys: &[String]) -> Agent {
    server.always(Reaction::Answer(503, "Retry-After: 1000"));
    let mut agent = spooling_to(&server.url()).start();
    post_each(&agent, keys);
    agent.kill();
    server.always(Reaction::Answer(200, ""));
    agent
}

/// Where the zeros begin that end a file.
fn end_of(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1)
}

/// Starts the agent on the spool with this file changed; returns the keys that arrive.
fn after(agent: &mut Agent, server: &EventServer, segment: &Path, bytes: &[u8]) -> Vec<String> {
    for file in files_below(&folder(agent).join("spool")) {
        fs::remove_file(file).unwrap();
    }
    fs::write(segment, bytes).unwrap();
    let before = server.events().len();
    agent.start_again();
    // What comes last is sent last.
    post_each(agent, &["last".to_owned()]);
    wait_until("the last event", SOON, || {
        keys_of(&server.events()[before..]).contains(&"last".to_owned()).then_some(())
    });
    agent.kill();
    let mut keys = keys_of(&server.events()[before..]);
    assert_eq!(keys.pop().as_deref(), Some("last"));
    keys
}

#[test]
fn a_spool_that_is_spoiled_anywhere_gives_out_everything_else_unchanged() {
    let server = EventServer::start();
    let keys = numbers(0..12);
    let mut agent = killed_with(&server, &keys);
    let segment = segments(&agent).pop().unwrap();
    let good = fs::read(&segment).unwrap();
    let end = end_of(&good);
    let record = (end - 64) / keys.len();
    let all: HashSet<&String> = keys.iter().collect();
    for number in 0..16 {
        // Places in the last three records, and in those of the middle.
        let at = if number < 12 { end - 1 - number * record / 4 } else { 64 + number * record / 4 };
        let mut bytes = good.clone();
        let spoiled = match number % 3 {
            0 => {
                bytes[at] ^= 0x55;
                1
            }
            1 => {
                bytes.truncate(at);
                (end - at).div_ceil(record) + 1
            }
            _ => {
                let to = (at + record).min(end);
                bytes[at..to].fill(0);
                3
            }
        };
        let came = after(&mut agent, &server, &segment, &bytes);
        assert!(came.len() + spoiled >= keys.len(), "at {at} of {end}, {number}: {came:?}\n{}", agent.log());
        assert!(came.iter().all(|key| all.contains(key)), "{came:?}");
        let order: Vec<usize> = came.iter().map(|key| key.parse().unwrap()).collect();
        assert!(order.is_sorted_by(|one, next| one < next), "{order:?}");
    }
    assert_eq!(after(&mut agent, &server, &segment, &good), keys);
    // Each event that came is one that was posted.
    assert!(server.events().iter().all(|came| *came == event(&key_of(came))));
}

#[test]
fn a_header_that_is_broken_sets_the_file_aside_and_the_rest_is_sent() {
    let server = EventServer::start();
    let mut agent = killed_with(&server, &numbers(0..3));
    server.always(Reaction::Answer(503, "Retry-After: 1000"));
    agent.start_again();
    post_each(&agent, &numbers(3..6));
    agent.kill();
    server.always(Reaction::Answer(200, ""));
    let first = segments(&agent).remove(0);
    let mut bytes = fs::read(&first).unwrap();
    bytes[20] ^= 1;
    fs::write(&first, &bytes).unwrap();
    agent.start_again();
    expect_each_once(&server, &numbers(3..6));
    let line = agent.wait_line("was set aside");
    assert!(line.contains("ERROR") && line.contains("Check the disk"), "{line}");
    let kept = files_below(&folder(&agent).join("spool"));
    assert!(kept.iter().any(|path| fs::read(path).unwrap() == bytes), "{kept:?}");
}

#[test]
fn files_that_are_not_the_agents_own_are_left_as_they_are() {
    let server = EventServer::start();
    let mut agent = killed_with(&server, &numbers(0..5));
    let spool = folder(&agent).join("spool");
    let segment = segments(&agent).pop().unwrap();
    let name = |number: u64| {
        let own = segment.file_name().unwrap().to_str().unwrap();
        let digits = own.find('.').unwrap();
        spool.join(format!("{number:0digits$}{}", &own[digits..]))
    };
    // A newer version's file, with a higher version in a header whose form this one does not know.
    let mut newer = fs::read(&segment).unwrap();
    newer[8..12].copy_from_slice(&9u32.to_le_bytes());
    let checksum = crc32fast::hash(&newer[..60]);
    newer[60..64].copy_from_slice(&checksum.to_le_bytes());
    let foreign: Vec<(PathBuf, Vec<u8>)> = vec![
        (name(700), newer),
        (spool.join("notes.txt"), b"mine".to_vec()),
        (spool.join("1.events.bak"), b"mine".to_vec()),
        (spool.join("99999999999999999999999.events"), b"mine".to_vec()),
        (spool.join("x.events"), b"mine".to_vec()),
        (folder(&agent).join("mine"), b"mine".to_vec()),
    ];
    for (path, bytes) in &foreign {
        fs::write(path, bytes).unwrap();
    }
    agent.start_again();
    let line = agent.wait_line("newer version");
    assert!(line.contains("was not changed"), "{line}");
    expect_each_once(&server, &numbers(0..5));
    post_each(&agent, &numbers(5..8));
    expect_each_once(&server, &numbers(0..8));
    agent.kill();
    agent.start_again();
    post_each(&agent, &numbers(8..9));
    let (first, _) = wait_all(&server, &numbers(0..9));
    assert_eq!(first, numbers(0..9));
    for (path, bytes) in &foreign {
        assert_eq!(&fs::read(path).unwrap(), bytes, "{}", path.display());
    }
}

#[test]
fn a_spool_that_is_full_drops_the_oldest_and_counts_them() {
    let server = EventServer::start();
    server.always(Reaction::Answer(503, "Retry-After: 1000"));
    let mut agent = spooling_to(&server.url()).env("Events__SpoolBytes", "16MB").start();
    let posted: Vec<String> = numbers(0..80);
    for key in &posted {
        post(&agent, &Value::from_iter([large_event(key, 400_000)])).expect(200);
    }
    let bytes: u64 = segments(&agent).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes <= 16 << 20, "{bytes}");
    agent.wait_metric_at_least(TOTAL, "result=\"expired_by_size\"", 35.0);
    let expired = agent.metric(TOTAL, "result=\"expired_by_size\"") as usize;
    agent.wait_metric(WAITING, "", (posted.len() - expired) as f64);
    agent.kill();
    server.always(Reaction::Answer(200, ""));
    agent.start_again();
    expect_each_once(&server, &posted[expired..]);
}

/// What could go wrong: calls that are taken together are more than the spool may hold, although each of them would fit.
#[test]
fn calls_that_together_are_larger_than_the_spool_were_all_refused() {
    let server = EventServer::start();
    server.always(Reaction::Answer(503, "Retry-After: 1000"));
    let disk = crate::common::backup::FaultyDisk::new();
    let agent = disk
        .under(spooling_to(&server.url()))
        .env("Events__SpoolBytes", "16MB")
        .env("Events__QueueBytes", "64MB")
        .start();
    post_each(&agent, &["first".to_owned()]);
    let fault = crate::common::backup::Fault::Hang;
    let met = disk.met();
    disk.begin(fault);
    let secret = secret();
    let mut calls: Vec<_> = (0..45).map(|_| crate::common::raw::connect(&agent)).collect();
    for (number, call) in calls.iter_mut().enumerate() {
        let body = Value::from_iter([large_event(&format!("large-{number}"), 500_000)]).to_string();
        let headers = [("Authorization", secret.as_str()), ("Content-Type", "application/json")];
        let path = crate::common::raw::TRACK;
        call.send(&crate::common::raw::request("POST", path, &headers, Some(body.as_bytes()))).unwrap();
        if number == 0 {
            // While the first one waits for its sync, the others gather.
            wait_until("a sync hangs", SOON, || (disk.met() > met).then_some(()));
        }
    }
    wait_until("all calls have come", SOON, || {
        (agent.metric("featbit_agent_usage_events_queue_bytes", "") > 22_000_000.0).then_some(())
    });
    disk.end(fault);
    for call in &mut calls {
        call.read_response(false).unwrap().expect(200);
    }
}
