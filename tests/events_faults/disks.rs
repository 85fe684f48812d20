//! A disk of usage events that is full, broken, hanging, read-only or gone.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::common::agent::{Agent, Builder};
use crate::common::backup::{Fault, FaultyDisk};
use crate::common::event_server::{EventServer, Reaction};
use crate::common::raw::{SERVER_POLL, TRACK, connect, request};
use crate::common::{SOON, http, left_out, wait_until};
use crate::support::*;

/// Posts numbered events through a fault: those of refused calls are returned apart.
struct Through<'a> {
    agent: &'a Agent,
    next: usize,
    taken: Vec<String>,
    refused: Vec<String>,
}

impl<'a> Through<'a> {
    fn new(agent: &'a Agent) -> Self {
        Self { agent, next: 0, taken: Vec::new(), refused: Vec::new() }
    }

    /// Posts events in one call, and returns the status.
    fn post(&mut self) -> u16 {
        let keys = numbers(self.next..self.next + 3);
        self.next += 3;
        let answer = post(self.agent, &events(keys.clone()));
        match answer.status {
            200 => self.taken.extend(keys),
            503 => {
                assert!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
                self.refused.extend(keys);
            }
            other => panic!("{other}: {}", answer.text()),
        }
        answer.status
    }

    fn wait_for(&mut self, status: u16) {
        wait_until(&format!("an answer {status}"), SOON, || (self.post() == status).then_some(()));
    }

    fn rounds(&mut self, begin: impl Fn(), end: impl Fn()) {
        for _ in 0..3 {
            self.wait_for(200);
            self.post();
            begin();
            self.wait_for(503);
            self.post();
            self.post();
            end();
            self.wait_for(200);
        }
        assert!(self.refused.len() >= 18, "{}", self.refused.len());
    }
}

/// Faults under which calls are refused and nothing is lost: events that are sent, or kept in local files.
fn goes_on(fault: Fault, told: &str) {
    let disk = FaultyDisk::new();
    let server = EventServer::start();
    for is_local in [false, true] {
        let builder = disk.under(spooling_to(&server.url()));
        let builder = if is_local { builder.env("Events__Mode", "local") } else { builder };
        let mut agent = builder.start();
        let mut through = Through::new(&agent);
        through.rounds(|| disk.begin(fault), || disk.end(fault));
        let Through { taken, refused, .. } = through;
        let line = agent.wait_line("cannot be written");
        assert!(line.contains(told) && line.contains("Events__Directory"), "{line}");
        let came = if is_local {
            agent.wait_metric(TOTAL, "result=\"kept\"", taken.len() as f64);
            assert!(agent.stop().success());
            local_keys(&agent)
        } else {
            agent.wait_metric(TOTAL, "result=\"sent\"", taken.len() as f64);
            keys_of(&server.events())
        };
        assert_eq!(came, taken, "of {} refused", refused.len());
        assert!(agent.log().lines().filter(|line| line.contains("cannot be written")).count() <= 3);
    }
}

fn local_keys(agent: &Agent) -> Vec<String> {
    let mut keys = Vec::new();
    for path in files_below(&folder(agent).join("local")) {
        if path.to_string_lossy().ends_with(".ndjson") {
            let text = fs::read_to_string(path).unwrap();
            keys.extend(
                text.lines().map(|line| key_of(&serde_json::from_str::<Value>(line).unwrap()["event"])),
            );
        }
    }
    keys
}

#[test]
fn a_full_disk_refuses_calls_and_loses_nothing() {
    goes_on(Fault::Full, "No space left");
}

#[test]
fn a_disk_that_fails_to_sync_refuses_calls_and_loses_nothing() {
    goes_on(Fault::Broken, "Input/output error");
}

#[test]
fn a_dead_letter_waits_until_the_disk_has_room_and_what_follows_is_sent_then() {
    let disk = FaultyDisk::new();
    let server = EventServer::start();
    server.react(|got| Reaction::Answer(if has_key(got, "poison") { 400 } else { 200 }, ""));
    let agent = disk.under(spooling_to(&server.url())).env("Events__FlushSeconds", "1").start();
    post(&agent, &events(["a", "poison", "b"].map(String::from))).expect(200);
    disk.begin(Fault::Full);
    agent.wait_line("cannot be written");
    assert!(dead_letters(&agent).is_empty());
    disk.end(Fault::Full);
    expect_each_once(&server, &["a", "b"].map(String::from));
    agent.wait_metric(TOTAL, "result=\"rejected\"", 1.0);
    let dead = dead_letters(&agent);
    assert_eq!(dead.iter().map(|dead| key_of(&dead["event"])).collect::<Vec<_>>(), ["poison"]);
}

/// What went wrong: the first of them was appended before the disk was full, and again when it had room.
#[test]
fn events_whose_environment_has_become_local_were_kept_twice_after_a_full_disk() {
    let disk = FaultyDisk::new();
    let server = EventServer::start();
    server.always(Reaction::Answer(503, "Retry-After: 1000"));
    let mut agent = disk.under(spooling_to(&server.url())).start();
    for key in numbers(0..5) {
        // Together they are more than is collected before it is written.
        post(&agent, &Value::from_iter([large_event(&key, 150_000)])).expect(200);
    }
    agent.kill();
    disk.begin(Fault::Full);
    agent.set_env("Events__Mode", "local");
    agent.start_again();
    agent.wait_line("cannot be written");
    let met = disk.met();
    wait_until("it is tried again", SOON, || (disk.met() > met).then_some(()));
    disk.end(Fault::Full);
    agent.wait_metric(TOTAL, "result=\"kept\"", 5.0);
    post_each(&agent, &numbers(5..6));
    assert!(agent.stop().success());
    assert_eq!(local_keys(&agent), numbers(0..6));
}

#[test]
fn calls_do_not_wait_long_for_a_disk_that_hangs_and_flags_do_not_wait_at_all() {
    let disk = FaultyDisk::new();
    let server = EventServer::start();
    let start = |mode| disk.under(spooling_to(&server.url())).env("Events__Mode", mode).start();
    let mut agents = ["forward", "local"].map(start);
    agents.iter().for_each(|agent| post_each(agent, &["before".to_owned()]));
    disk.begin(Fault::Hang);
    let met = disk.met();
    let secret = secret();
    let headers = [("Authorization", secret.as_str()), ("Content-Type", "application/json")];
    let body = events(["a".to_owned()]).to_string();
    let call = request("POST", TRACK, &headers, Some(body.as_bytes()));
    let mut calls: Vec<http::Connection> =
        agents.iter().flat_map(|agent| (0..20).map(|_| connect(agent))).collect();
    calls.iter_mut().for_each(|connection| connection.send(&call).unwrap());
    wait_until("both syncs hang", SOON, || (disk.met() >= met + 2).then_some(()));
    for agent in &agents {
        // These have to be answered long before the calls are.
        for _ in 0..100 {
            agent.get(SERVER_POLL, &[("Authorization", &secret)]).expect(200);
            agent.get("/metrics", &[]).expect(200);
        }
        agent.get("/health/readiness", &[]).expect(200);
    }
    for connection in &mut calls {
        let answer = connection.read_response(false).unwrap().expect(503);
        assert!(answer.header("retry-after").is_some());
        assert_eq!(answer.header("connection"), Some("close"));
    }
    // Agents that are stopped now end.
    agents.iter().for_each(Agent::terminate);
    for agent in &mut agents {
        assert!(agent.wait_for_end().success());
    }
    disk.end(Fault::Hang);
    for agent in &mut agents {
        agent.start_again();
        post_each(agent, &["after".to_owned()]);
    }
}

#[test]
fn a_disk_that_hangs_for_a_while_loses_nothing() {
    let disk = FaultyDisk::new();
    let server = EventServer::start();
    let agent = disk.under(spooling_to(&server.url())).start();
    post_each(&agent, &numbers(0..3));
    disk.begin(Fault::Hang);
    let met = disk.met();
    let mut waiting = connect(&agent);
    let secret = secret();
    let headers = [("Authorization", secret.as_str()), ("Content-Type", "application/json")];
    let body = events(numbers(3..6)).to_string();
    waiting.send(&request("POST", TRACK, &headers, Some(body.as_bytes()))).unwrap();
    wait_until("a sync hangs", SOON, || (disk.met() > met).then_some(()));
    disk.end(Fault::Hang);
    waiting.read_response(false).unwrap().expect(200);
    expect_each_once(&server, &numbers(0..6));
}

/// What an operator may do: the calls are refused until there is a folder again, and an agent makes it itself.
#[test]
fn a_folder_that_is_removed_under_a_running_agent_is_made_again() {
    let server = EventServer::start();
    for mode in ["forward", "local"] {
        let mut agent = spooling_to(&server.url()).env("Events__Mode", mode).start();
        let before = server.events().len();
        let mut through = Through::new(&agent);
        through.wait_for(200);
        for _ in 0..3 {
            wait_until("all is sent", SOON, || {
                (mode == "local" || server.events().len() >= before + through.taken.len()).then_some(())
            });
            fs::remove_dir_all(folder(&agent)).unwrap();
            // One group of calls may be refused, but no more.
            through.post();
            assert_eq!(through.post(), 200, "{}", agent.log());
            assert_eq!(through.post(), 200);
        }
        let taken = through.taken;
        if mode == "forward" {
            server.wait_events(before + taken.len());
            assert_eq!(keys_of(&server.events()[before..]), taken);
        }
        assert!(agent.stop().success());
        agent.start_again();
        post_each(&agent, &["more".to_owned()]);
    }
}

#[test]
fn a_folder_that_cannot_be_used_ends_the_start_with_a_clear_text() {
    let server = EventServer::start();
    for mode in ["forward", "local"] {
        let mut agent = spooling_to(&server.url()).env("Events__Mode", mode).start();
        agent.kill();
        fs::remove_dir_all(folder(&agent)).unwrap();
        fs::write(folder(&agent), "a file").unwrap();
        expect_refused(&mut agent);
    }
}

fn expect_refused(agent: &mut Agent) {
    assert_eq!(agent.start_in_vain().code(), Some(78), "{}", agent.log());
    let line = agent.wait_line("Events__Directory");
    assert!(line.contains("state/events") && line.contains("cannot be used"), "{line}");
}

/// A small file system in memory, as long as it is kept; `None` where this user may not mount one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn at(path: PathBuf) -> Option<Self> {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(&path).output();
        mount.is_ok_and(|output| output.status.success()).then_some(Self(path))
    }

    fn remount(&self, how: &str) {
        let output = Command::new("mount").args(["-o", how]).arg(&self.0).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// An agent whose folder of events is on a small file system of its own.
fn on_a_small_disk(test: &str, builder: Builder) -> Option<(Agent, SmallDisk)> {
    let mut agent = builder.start();
    agent.kill();
    let Some(disk) = SmallDisk::at(folder(&agent)) else {
        left_out(test, "file systems cannot be mounted here; other tests inject the same faults");
        return None;
    };
    agent.start_again();
    Some((agent, disk))
}

#[test]
fn a_folder_that_is_read_only_ends_the_start_with_a_clear_text() {
    let server = EventServer::start();
    for mode in ["forward", "local"] {
        let builder = spooling_to(&server.url()).env("Events__Mode", mode);
        let Some((mut agent, disk)) = on_a_small_disk("a read-only folder", builder) else { return };
        agent.kill();
        disk.remount("remount,ro");
        expect_refused(&mut agent);
        assert!(agent.log().contains("Read-only"), "{}", agent.log());
        disk.remount("remount,rw");
        agent.start_again();
        post_each(&agent, &["a".to_owned()]);
    }
}

/// What could go wrong: finished segments stay since there is no room to note that they are finished.
#[test]
fn a_spool_that_fills_its_disk_is_used_again_when_events_were_sent() {
    let server = EventServer::start();
    let builder = spooling_to(&server.url()).env("Events__SpoolBytes", "1GB");
    let Some((agent, _disk)) = on_a_small_disk("a spool that fills its disk", builder) else { return };
    let mut taken = Vec::new();
    for round in 0..3 {
        server.always(Reaction::Answer(503, ""));
        wait_until("the disk is full", SOON, || {
            let key = format!("{round}-{}", taken.len());
            let answer = post(&agent, &Value::from_iter([large_event(&key, 50_000)]));
            match answer.status {
                200 => taken.push(key),
                503 => return Some(()),
                other => panic!("{other}"),
            }
            None
        });
        assert!(taken.len() > 5, "{}", taken.len());
        server.always(Reaction::Answer(200, ""));
        server.wait_events(taken.len());
        agent.wait_metric(WAITING, "", 0.0);
        wait_until("a call is taken", SOON, || {
            let key = format!("{round}-{}", taken.len());
            let is_taken = post(&agent, &events([key.clone()])).status == 200;
            is_taken.then(|| taken.push(key))
        });
    }
    expect_each_once(&server, &taken);
}
