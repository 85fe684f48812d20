//! `featbit-agent pull`: a dump of all data of a server, written completely or not at all.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::agent::{API_KEY, Builder};
use common::dataset::{Dataset, Environment, Kind};
use common::following::two_flags;
use common::server::Server;
use common::server::model::flag_patch;
use common::server::script::{Answer, Opening, Shape};
use common::watcher::Watcher;
use serde_json::{Value, json};

/// Asks a server at this address; gives up on it after two seconds.
fn pull(url: &str, key: &str, out: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_featbit-agent"))
        .args(["pull", "--out"])
        .arg(out)
        .env_clear()
        .envs([
            ("StreamingUri", url),
            ("ApiKey", key),
            ("Upstream__ConnectSeconds", "2"),
            ("Upstream__SyncSeconds", "2"),
        ])
        .output()
        .expect("the binary runs")
}

/// Its standard error, which never contains the key or a secret.
fn printed(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains(API_KEY), "{text}");
    assert!(!text.contains(&two_flags(1).secret(Kind::Server)), "{text}");
    text
}

fn server() -> Server {
    Server::start(&Dataset::of([two_flags(1), two_flags(2), Environment::new(3)]))
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dump.json");
    (folder, path)
}

#[test]
fn the_dump_works_in_offline_mode_and_only_its_owner_can_read_it() {
    let server = server();
    let (folder, path) = place();
    let output = pull(&server.url(), API_KEY, &path);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert!(printed(&output).contains("environments 3, flags 4"), "{}", printed(&output));
    assert!(output.stdout.is_empty());
    let written = std::fs::metadata(&path).unwrap();
    assert_eq!(written.permissions().mode() & 0o777, 0o600);
    // The unit's user could not read it, and nothing said so.
    assert_eq!(printed(&output).contains("chmod 640"), written.uid() == 0, "{}", printed(&output));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(server.registrations().is_empty(), "nothing is registered");
    assert_eq!(server.wait_relay(0).wait_for_end().code, Some(1000));

    let agent = Builder::bare()
        .env("Mode", "offline")
        .env("ForwardEvents", "false")
        .env("DataFile", path.to_str().unwrap())
        .start();
    for environment in [two_flags(1), two_flags(2)] {
        let sdk = Watcher::server(&agent, &environment.secret(Kind::Server));
        for flag in environment.flags {
            assert_eq!(sdk.flags[flag["key"].as_str().unwrap()], flag);
        }
    }
}

/// What went wrong: the group that the unit and the docs proposed for the dump had the unit's own name. systemd then refuses
/// to start a unit with `DynamicUser=`.
#[test]
fn the_group_for_the_dump_does_not_have_the_name_of_the_unit() {
    let unit = include_str!("../packaging/featbit-agent.service");
    let groups =
        unit.lines().find_map(|line| line.trim_start_matches("# ").strip_prefix("SupplementaryGroups="));
    let groups: Vec<&str> = groups.unwrap().split(' ').collect();
    assert!(unit.contains("\nDynamicUser=yes\n") && !groups.contains(&"featbit-agent"), "{groups:?}");
    let docs = include_str!("../docs/operations.md");
    assert!(docs.contains(&format!("chgrp {} ", groups[0])), "{groups:?}");
}

#[test]
fn standard_output_gets_the_dump_alone() {
    let server = server();
    let (_folder, path) = place();
    let output = pull(&server.url(), API_KEY, Path::new("-"));
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let dump: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(dump["eventType"], "rp_full");
    pull(&server.url(), API_KEY, &path);
    assert!(std::fs::read(&path).unwrap() == output.stdout, "a file gets the same");
}

#[test]
fn a_server_that_takes_its_time_is_waited_for() {
    let server = server();
    let drip = Some((400, std::time::Duration::from_millis(100)));
    server.script(|script| script.shape = Shape { drip, frame_bytes: 1000, pings_between: true });
    let (_folder, path) = place();
    let output = pull(&server.url(), API_KEY, &path);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
}

#[test]
fn every_failure_has_its_exit_code_and_leaves_the_old_dump() {
    let server = server().lenient();
    let (folder, path) = place();
    std::fs::write(&path, "the old one").unwrap();
    let mut no_key = two_flags(1);
    no_key.flag_mut("a").as_object_mut().unwrap().remove("key");
    let faulty = json!({"messageType": "data-sync", "data": {"eventType": "rp_full", "items": [{
        "envId": no_key.id, "secrets": no_key.secrets, "featureFlags": no_key.flags, "segments": [],
    }]}});
    let empty = json!({"messageType": "data-sync", "data": {"eventType": "rp_full", "items": []}});
    let answered = |text: String| {
        server.next_answers([Answer::Text(text)]);
        pull(&server.url(), API_KEY, &path)
    };
    let opened = |opening: Opening| {
        server.next_openings([opening]);
        pull(&server.url(), API_KEY, &path)
    };
    let check = |output: Output, code: i32, part: &str| {
        assert_eq!(output.status.code(), Some(code), "{part}: {}", printed(&output));
        assert!(printed(&output).contains(part), "{part} is not in {}", printed(&output));
        assert!(std::fs::read(&path).unwrap() == b"the old one", "{part}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "{part}");
    };
    // First: a connection that is being closed may still be asked, and would use an answer up.
    check(answered(faulty.to_string()), 65, "data.items[0].featureFlags[0].key");
    check(answered(empty.to_string()), 65, "scope");
    check(answered("no JSON".into()), 65, "line 1");
    check(pull(&server.url(), "rp-of-somebody-else", &path), 77, "4003");
    check(opened(Opening::Status(401)), 77, "ApiKey");
    check(opened(Opening::Status(503)), 69, "503");
    check(opened(Opening::Silent), 69, "in time");
    check(opened(Opening::ResetWithin(1000)), 69, "broke off");
    check(opened(Opening::Close(1011)), 69, "1011");
    check(pull("ws://127.0.0.1:1", API_KEY, &path), 69, "127.0.0.1:1");
    check(pull("els", API_KEY, &path), 78, "StreamingUri");
    let output = pull(&server.url(), API_KEY, &folder.path().join("no/such/folder.json"));
    assert_eq!(output.status.code(), Some(73), "{}", printed(&output));
}

/// Each message moved its deadline, so that it never ended.
#[test]
fn pushes_do_not_count_as_an_answer() {
    const PUSHES_MAX: usize = 200;
    let server = server().lenient();
    server.next_answers([Answer::None]);
    let (_folder, path) = place();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pushing = scope.spawn(|| {
            (0..PUSHES_MAX).find(|_| {
                let push = flag_patch(&server.flag(&two_flags(1).id, "a"));
                server.open_relays().iter().for_each(|relay| relay.send(&push));
                std::thread::sleep(Duration::from_millis(100));
                over.load(Ordering::Acquire)
            })
        });
        let output = pull(&server.url(), API_KEY, &path);
        over.store(true, Ordering::Release);
        assert_eq!(output.status.code(), Some(69), "{}", printed(&output));
        assert!(printed(&output).contains("did not answer"), "{}", printed(&output));
        assert!(pushing.join().unwrap().is_some(), "it ends while the server still pushes");
    });
    assert!(!path.exists());
}

/// What went wrong: a gateway that asks for a login was reported as a wrong ApiKey, with its exit code.
#[test]
fn a_gateway_that_asks_for_a_login_is_not_reported_as_a_refused_key() {
    let server = server();
    server.next_openings([Opening::Raw(
        "HTTP/1.1 401 Unauthorized\r\nServer: nginx\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\
         Content-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
    )]);
    let (_folder, path) = place();
    let output = pull(&server.url(), API_KEY, &path);
    assert_eq!(output.status.code(), Some(69), "{}", printed(&output));
    assert!(
        printed(&output).contains("asks for a login") && printed(&output).contains("nginx"),
        "{}",
        printed(&output)
    );
    assert!(!path.exists());
}
