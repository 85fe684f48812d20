//! A disk that is full, hangs or is gone, and a folder or file that somebody removes: SDKs notice nothing, operators do, and
//! everything is saved when the fault is over.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::fs;
use std::process::Command;
use std::time::Duration;

use common::agent::{API_KEY, Agent, Builder};
use common::backup::{Fault, FaultyDisk, expect_valid, plain, plain_of};
use common::dataset::{Dataset, Environment, Kind, serve, touch};
use common::following::{set, two_flags, with_short_retries};
use common::server::Server;
use common::watcher::Watcher;
use common::{SOON, http, raw, wait_until};

/// What an operator reads of a backup file that lacks something.
const STALE: &str = "Healthy\nbackup file: stale\n";

/// A dataset whose flag `a` gives everybody `v1` or `v0` in turn.
fn dataset(number: i64) -> Dataset {
    let mut environment = two_flags(1);
    let flag = environment.flag_mut("a");
    serve(flag, if number % 2 == 1 { "v1" } else { "v0" });
    touch(flag, number);
    Dataset::of([environment])
}

fn variation(number: i64) -> &'static str {
    if number % 2 == 1 { "v1" } else { "v0" }
}

/// A call that is answered with an error, although its data is in service.
fn expect_unsaved(agent: &Agent, sdk: &mut Watcher, number: i64, why: &str) {
    let answer = agent.try_bootstrap(&dataset(number)).expect(507);
    let text = answer.text();
    for part in ["in service", "not saved in the backup file yet", "a restart may lose it", why] {
        assert!(text.contains(part), "{part}: {text}");
    }
    sdk.wait_variation("a", variation(number));
}

/// What operators are told of a fault.
struct Told {
    /// The first error, in the log.
    error: &'static str,
    /// What can be done about it.
    remedy: &'static str,
    /// The error while it lasts, in the status.
    later: &'static str,
}

/// Runs an agent through a fault of its disk.
fn goes_on(agent: &mut Agent, told: &Told, begin: impl Fn(&Agent), end: impl Fn(&Agent)) {
    agent.bootstrap(&dataset(0));
    let mut sdk = Watcher::server(agent, &two_flags(1).secret(Kind::Server));
    agent.wait_written();
    begin(agent);
    expect_unsaved(agent, &mut sdk, 1, "");
    agent.wait_stale();
    assert_eq!(agent.readiness(), (200, STALE.replace("Healthy", "Degraded")));
    let status = agent.backup_status();
    assert!(status["error"].as_str().unwrap().contains(told.later), "{status}");
    assert!(agent.metric("featbit_agent_backup_failures_total", "") >= 1.0);
    expect_unsaved(agent, &mut sdk, 2, "");
    // Logged once, however often it was tried.
    agent.wait_metric_at_least("featbit_agent_backup_failures_total", "", 2.0);
    let line = agent.wait_line("cannot be written");
    assert!(line.contains("ERROR") && line.contains(told.error) && line.contains(told.remedy), "{line}");
    assert_eq!(agent.lines("cannot be written").len(), 1, "{}", agent.log());
    end(agent);
    agent.wait_line("can be written again");
    agent.wait_saved();
    assert_eq!(agent.readiness(), (200, "Healthy".to_owned()));
    assert!(agent.backup_status()["error"].is_null());
    agent.wait_written();
    agent.bootstrap(&dataset(3));
    sdk.wait_variation("a", "v1");
    agent.kill();
    expect_valid(&agent.backup_file());
    agent.start_again();
    assert_eq!(plain_of(&agent.canonical()), plain(&dataset(3).environments));
    assert_eq!(sdk.come_back(agent, &two_flags(1).secret(Kind::Server)), "patch");
    sdk.expect_nothing_new();
}

fn waiting_a_second() -> Builder {
    Builder::saving().env("Backup__WaitSeconds", "1")
}

#[test]
fn an_agent_whose_disk_is_full_goes_on_and_saves_everything_later() {
    let disk = FaultyDisk::new();
    let mut agent = disk.under(waiting_a_second()).start();
    goes_on(
        &mut agent,
        &Told { error: "No space left", remedy: "Free space on its disk", later: "No space left" },
        |_| disk.begin(Fault::Full),
        |_| disk.end(Fault::Full),
    );
}

#[test]
fn an_agent_whose_disk_is_broken_trusts_no_file_that_could_not_be_synced() {
    let disk = FaultyDisk::new();
    let mut agent = disk.under(waiting_a_second()).start();
    goes_on(
        &mut agent,
        &Told { error: "Input/output error", remedy: "Check its disk", later: "Input/output error" },
        |_| disk.begin(Fault::Broken),
        |_| disk.end(Fault::Broken),
    );
}

#[test]
fn an_agent_at_its_limit_of_file_sizes_goes_on() {
    let mut agent = waiting_a_second().start();
    goes_on(
        &mut agent,
        &Told {
            error: "File too large",
            remedy: "Raise the limit of the size of files",
            later: "File too large",
        },
        |agent| agent.limit_file_bytes(Some(64)),
        |agent| agent.limit_file_bytes(None),
    );
}

#[test]
fn an_agent_whose_folder_is_moved_away_goes_on() {
    let mut agent = waiting_a_second().start();
    goes_on(
        &mut agent,
        &Told { error: "removed or replaced", remedy: "Create its folder again", later: "No such file" },
        |agent| fs::rename(agent.backup_folder(), agent.dir().join("moved")).unwrap(),
        |agent| fs::create_dir(agent.backup_folder()).unwrap(),
    );
}

/// A small file system in memory at a path, as long as it is kept; `None` where this user may not mount one.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn at(path: std::path::PathBuf) -> Option<Self> {
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]).arg(&path).output();
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

/// An agent whose backup file is on a small file system of its own.
fn on_a_small_disk() -> Option<(Agent, SmallDisk)> {
    let mut agent = waiting_a_second().start();
    agent.kill();
    let Some(disk) = SmallDisk::at(agent.backup_folder()) else {
        println!("file systems cannot be mounted here; other tests inject the same faults");
        return None;
    };
    agent.start_again();
    Some((agent, disk))
}

#[test]
fn a_real_disk_that_is_full_is_used_again_when_there_is_space() {
    let Some((mut agent, _disk)) = on_a_small_disk() else { return };
    let fill = |agent: &Agent| {
        let filler = agent.backup_folder().join("filler");
        let mut bytes = 512 << 10;
        while bytes > 0 {
            let mut file = fs::OpenOptions::new().append(true).create(true).open(&filler).unwrap();
            if std::io::Write::write_all(&mut file, &vec![1; bytes]).is_err() {
                bytes /= 2;
            }
        }
        // What was allocated in advance may still hold a change: no more than that.
        let bytes = fs::metadata(agent.backup_file()).unwrap().len();
        let mut number = 100;
        let mut last = bytes;
        while last == bytes && agent.try_bootstrap(&dataset(number)).status == 200 {
            number += 2;
            last = fs::metadata(agent.backup_file()).unwrap().len();
        }
    };
    agent.bootstrap(&dataset(0));
    let mut sdk = Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    fill(&agent);
    sdk.take_what_is_there();
    expect_unsaved(&agent, &mut sdk, 1001, "");
    agent.wait_stale();
    assert!(agent.wait_line("cannot be written").contains("Free space"), "{}", agent.log());
    fs::remove_file(agent.backup_folder().join("filler")).unwrap();
    agent.wait_line("can be written again");
    agent.wait_saved();
    agent.wait_written();
    agent.kill_and_start_again();
    assert_eq!(plain_of(&agent.canonical()), plain(&dataset(1001).environments));
}

#[test]
fn an_agent_that_starts_on_a_read_only_disk_serves_its_data_and_writes_when_it_can() {
    let Some((mut agent, disk)) = on_a_small_disk() else { return };
    agent.bootstrap(&dataset(1));
    agent.kill();
    disk.remount("remount,ro");
    agent.start_again();
    assert_eq!(plain_of(&agent.canonical()), plain(&dataset(1).environments));
    agent.wait_stale();
    assert!(
        agent.wait_line("cannot be written").contains("Make its file system writable"),
        "{}",
        agent.log()
    );
    let mut sdk = Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    expect_unsaved(&agent, &mut sdk, 2, "");
    disk.remount("remount,rw");
    agent.wait_saved();
    agent.wait_written();
    agent.kill_and_start_again();
    assert_eq!(plain_of(&agent.canonical()), plain(&dataset(2).environments));
}

#[test]
fn a_file_that_is_deleted_under_a_running_agent_is_written_anew() {
    let mut agent = Builder::saving().start();
    agent.bootstrap(&dataset(0));
    fs::remove_file(agent.backup_file()).unwrap();
    // This one may find out, and then waits for the new file.
    agent.bootstrap(&dataset(1));
    agent.wait_saved();
    expect_valid(&agent.backup_file());
    agent.kill_and_start_again();
    assert_eq!(plain_of(&agent.canonical()), plain(&dataset(1).environments));
    // Another file in its place is kept.
    fs::write(agent.backup_file().with_extension("mine"), "mine").unwrap();
    fs::rename(agent.backup_file().with_extension("mine"), agent.backup_file()).unwrap();
    agent.bootstrap(&dataset(2));
    let kept = agent.files_beside(".other-");
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(fs::read_to_string(&kept[0]).unwrap(), "mine");
    let name = kept[0].file_name().unwrap().to_str().unwrap();
    assert!(agent.wait_line("was set aside as").contains(name), "{}", agent.log());
    agent.kill_and_start_again();
    assert_eq!(plain_of(&agent.canonical()), plain(&dataset(2).environments));
}

/// An agent that follows a server, with an SDK and a disk that hangs.
fn on_a_hanging_disk(disk: &FaultyDisk) -> (Server, Agent, Watcher, Environment) {
    let environment = two_flags(1);
    let server = Server::start(&Dataset::of([environment.clone()]));
    let agent = disk.under(with_short_retries(&server).backup()).start();
    agent.wait_stable();
    server.wait_synced();
    agent.wait_written();
    let sdk = Watcher::server(&agent, &environment.secret(Kind::Server));
    disk.begin(Fault::Hang);
    (server, agent, sdk, environment)
}

#[test]
fn flags_do_not_wait_for_a_disk_that_hangs() {
    let disk = FaultyDisk::new();
    let (server, mut agent, mut sdk, environment) = on_a_hanging_disk(&disk);
    set(&server, &environment, "a", "v1", 1000);
    sdk.wait_variation("a", "v1");
    wait_until("a sync hangs", SOON, || (disk.met() > 0).then_some(()));
    for later_ms in 2000..2010 {
        set(&server, &environment, "b", if later_ms % 2 == 0 { "v1" } else { "v0" }, later_ms);
    }
    sdk.take_until("the last change", |sdk| {
        sdk.flags["b"]["updatedAt"] == server.flag(&environment.id, "b")["updatedAt"]
    });
    let mut other = Watcher::server(&agent, &environment.secret(Kind::Server));
    other.wait_variation("b", "v0");
    agent.wait_stale();
    assert_eq!(agent.readiness(), (200, STALE.replace("Healthy", "Degraded")));
    disk.end(Fault::Hang);
    agent.wait_saved();
    agent.wait_written();
    assert!(agent.wait_line("took long").contains("WARN"));
    agent.kill();
    server.crash();
    agent.start_again();
    assert_eq!(sdk.come_back(&agent, &environment.secret(Kind::Server)), "patch");
    sdk.expect_nothing_new();
}

#[test]
fn a_bootstrap_call_waits_for_a_disk_that_hangs_only_so_long() {
    let disk = FaultyDisk::new();
    let mut agent = disk.under(waiting_a_second()).start();
    agent.bootstrap(&dataset(0));
    let mut sdk = Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    disk.begin(Fault::Hang);
    expect_unsaved(&agent, &mut sdk, 1, "the disk has not confirmed it within 1 s");
    expect_unsaved(&agent, &mut sdk, 2, "the disk has not confirmed it within 1 s");
    disk.end(Fault::Hang);
    agent.wait_saved();
    agent.wait_written();
    agent.bootstrap(&dataset(3));
    agent.kill_and_start_again();
    assert_eq!(plain_of(&agent.canonical()), plain(&dataset(3).environments));
}

#[test]
fn an_agent_ends_although_its_disk_hangs() {
    let disk = FaultyDisk::new();
    let (server, mut agent, mut sdk, environment) = on_a_hanging_disk(&disk);
    set(&server, &environment, "a", "v1", 1000);
    sdk.wait_variation("a", "v1");
    wait_until("a sync hangs", SOON, || (disk.met() > 0).then_some(()));
    // A call that waits for the disk does not hold it up either.
    let mut call = http::Connection::open(agent.port()).unwrap();
    let body = dataset(1).to_text();
    let headers = [("Authorization", API_KEY), ("Content-Type", "application/json")];
    let head = raw::head("POST", raw::BOOTSTRAP, &headers, Some(body.len()));
    call.send(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
    agent.wait_line(r#"data loaded source="bootstrap""#);
    agent.terminate();
    sdk.take_until_end();
    let status = agent.wait_for_end();
    assert!(status.success(), "{status}");
    disk.end(Fault::Hang);
    expect_valid(&agent.backup_file());
    server.crash();
    agent.start_again();
    assert!(agent.readiness().0 == 200);
    assert_eq!(sdk.come_back(&agent, &environment.secret(Kind::Server)), "patch");
}

/// What went wrong: the agent did not end by SIGTERM while it waited for the disk of its backup file at its start.
#[test]
fn a_disk_that_hangs_at_the_start_kept_the_agent_from_ending() {
    let disk = FaultyDisk::new();
    let mut agent = disk.under(Builder::saving()).start();
    agent.bootstrap(&dataset(1));
    agent.kill();
    disk.begin(Fault::Hang);
    agent.spawn_again();
    wait_until("a sync hangs", SOON, || (disk.met() > 0).then_some(()));
    agent.terminate();
    let status = agent.wait_for_end();
    assert!(status.success(), "{status}");
    agent.wait_line("stopped");
    // An agent that may wait starts when the disk goes on.
    let met = disk.met();
    agent.spawn_again();
    wait_until("a sync hangs", SOON, || (disk.met() > met).then_some(()));
    agent.wait_line("the disk does not answer");
    disk.end(Fault::Hang);
    wait_until("the agent answers", SOON, || {
        http::get(agent.port(), "/health/readiness", &[]).ok().filter(|answer| answer.status == 200)
    });
    assert_eq!(plain_of(&agent.canonical()), plain(&dataset(1).environments));
}

#[test]
fn an_agent_that_is_stopped_writes_what_it_has() {
    let environment = two_flags(1);
    let server = Server::start(&Dataset::of([environment.clone()]));
    let mut agent = with_short_retries(&server).backup().start();
    agent.wait_stable();
    server.wait_synced();
    let mut sdk = Watcher::server(&agent, &environment.secret(Kind::Server));
    for later_ms in 1000..1200 {
        set(&server, &environment, "a", if later_ms % 2 == 0 { "v1" } else { "v0" }, later_ms);
    }
    let last = server.flag(&environment.id, "a")["updatedAt"].clone();
    sdk.take_until("the last change", |sdk| sdk.flags["a"]["updatedAt"] == last);
    let in_service = agent.canonical();
    assert!(agent.stop().success());
    server.crash();
    expect_valid(&agent.backup_file());
    agent.start_again();
    assert_eq!(agent.canonical(), in_service);
    sdk.take_until_end();
    assert_eq!(sdk.come_back(&agent, &environment.secret(Kind::Server)), "patch");
    sdk.expect_nothing_new();
    assert!(!sdk.take_within(Duration::from_millis(1)));
}
