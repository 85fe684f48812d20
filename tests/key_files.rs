//! Key files that are replaced while the agent runs: the keys of operators, of downstream agents, and for the server.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::agent::{API_KEY, Agent, Builder};
use common::dataset::{Dataset, Kind};
use common::following::{set, two_flags};
use common::raw::{request, send};
use common::server::Server;
use common::watcher::Watcher;
use common::ws::Stream;
use common::{SOON, wait_until};
use serde_json::json;

const STATUS: &str = "/api/public/proxy/status";
const OLD: &str = "rp-old-0123456789abcdefghijklmnopqrstuvwxyz0";
const NEW: &str = "rp-new-0123456789abcdefghijklmnopqrstuvwxyz0";
const OTHER: &str = "rp-other-0123456789abcdefghijklmnopqrstuvwx0";

/// A file of keys, replaced as a secret store does.
struct KeyFile {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl KeyFile {
    fn with(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let file = Self { _folder: folder, path };
        file.put(text);
        file
    }

    fn put(&self, text: &str) {
        let next = self.path.with_extension("next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(&next, &self.path).unwrap();
    }

    fn name(&self) -> &str {
        Path::to_str(&self.path).unwrap()
    }
}

fn follow(agent: &Agent, key: &str) -> Stream {
    Stream::open(agent, &format!("/streaming?type=relay-proxy&token={key}"))
}

/// Whether a downstream agent with this key is accepted.
fn lets_in(agent: &Agent, key: &str) -> bool {
    let register = request(
        "POST",
        "/api/public/agent/register",
        &[("Authorization", key), ("Content-Type", "application/json")],
        Some(b"\"a\""),
    );
    send(agent, &register).status == 200
}

fn status_of(agent: &Agent, key: &str) -> u16 {
    agent.get(STATUS, &[("Authorization", key)]).status
}

/// Waits until files of keys were read again so often, with and without success.
fn wait_reloads(agent: &Agent, done: f64, failed: f64) {
    agent.wait_metric("featbit_agent_key_reloads_total", r#"outcome="done""#, done);
    agent.wait_metric("featbit_agent_key_reloads_total", r#"outcome="failed""#, failed);
}

/// What went wrong: a rotated key was used only after a restart.
#[test]
fn a_replaced_relay_key_works_during_the_grace_and_the_new_one_at_once() {
    let file = KeyFile::with(&format!("{OLD};{OTHER}"));
    let agent = Builder::offline()
        .data_file(&Dataset::of([two_flags(1)]))
        .env("RelayKeys__File", file.name())
        .env("RevocationGraceSeconds", "4")
        .start();
    let (mut old, mut other) = (follow(&agent, OLD), follow(&agent, OTHER));
    for relay in [&mut old, &mut other] {
        relay.send(&json!({ "messageType": "data-sync", "data": { "timestamp": 0 } }));
        assert_eq!(relay.next_data()["eventType"], "rp_full");
    }
    assert!(!lets_in(&agent, NEW));
    file.put(&format!("{NEW};{OTHER}"));
    agent.hang_up();
    wait_until("the new key", SOON, || lets_in(&agent, NEW).then_some(()));
    old.expect_nothing_new();
    assert_eq!(old.expect_close(SOON), Some(4003), "when the grace is over");
    // Each reactor ends the grace on its own.
    wait_until("the old key opens nothing", SOON, || (!lets_in(&agent, OLD)).then_some(()));
    wait_until("the new key", SOON, || lets_in(&agent, NEW).then_some(()));
    other.expect_nothing_new();
    wait_reloads(&agent, 1.0, 0.0);
    agent.wait_line("RelayKeys__File contains other keys");
    let log = agent.log();
    assert!(![OLD, NEW, OTHER].iter().any(|key| log.contains(key)), "{log}");
}

#[test]
fn a_downstream_agent_whose_key_gets_another_scope_gets_its_data() {
    let environments = [two_flags(1), two_flags(2)];
    let file = KeyFile::with(&format!("{OLD}=project-1:production"));
    let agent = Builder::offline()
        .data_file(&Dataset::of(environments.clone()))
        .env("RelayKeys__File", file.name())
        .start();
    let mut relay = follow(&agent, OLD);
    relay.send(&json!({ "messageType": "data-sync", "data": { "timestamp": 0 } }));
    assert_eq!(relay.next_data()["items"].as_array().unwrap().len(), 1);
    file.put(&format!("{OLD}=project-1:production,project-2:production"));
    // Without a signal: the agent watches the file.
    let full = relay.next_data();
    assert_eq!(full["items"].as_array().unwrap().len(), 2);
    relay.expect_nothing_new();
}

#[test]
fn a_new_key_of_the_management_calls_replaces_the_old_one_at_once() {
    let file = KeyFile::with(OLD);
    let agent = Builder::offline().env("ApiKey__File", file.name()).start();
    assert_eq!((status_of(&agent, OLD), status_of(&agent, NEW)), (200, 401));
    file.put(&format!("{NEW}\n"));
    wait_until("the new key", SOON, || (status_of(&agent, NEW) == 200).then_some(()));
    wait_until("not the old one", SOON, || (status_of(&agent, OLD) == 401).then_some(()));
}

#[test]
fn an_unusable_key_file_leaves_the_last_good_keys_and_is_logged_once() {
    let (api, relays) = (KeyFile::with(OLD), KeyFile::with(OTHER));
    let agent = Builder::offline()
        .data_file(&Dataset::of([two_flags(1)]))
        .env("ApiKey__File", api.name())
        .env("RelayKeys__File", relays.name())
        .start();
    let mut relay = follow(&agent, OTHER);
    let cases = [("", ""), ("two keys", "short"), (OTHER, OLD), ("a\nb", "rp-0123456789abcdefghij=,")];
    for (number, (bad_api, bad_relays)) in cases.into_iter().enumerate() {
        let before = agent.lines("cannot be used").len();
        api.put(bad_api);
        relays.put(bad_relays);
        wait_until("both are told", SOON, || {
            (agent.lines("cannot be used").len() == before + 2).then_some(())
        });
        wait_reloads(&agent, 0.0, 2.0 * (number + 1) as f64);
        assert_eq!(status_of(&agent, OLD), 200, "{bad_api:?}");
        assert!(lets_in(&agent, OTHER), "{bad_relays:?}");
    }
    std::fs::remove_file(&api.path).unwrap();
    agent.wait_line("cannot be read");
    let log = agent.log();
    assert!(
        log.lines().filter(|line| line.contains("cannot be used")).all(|line| line.contains("ERROR")),
        "{log}"
    );
    assert!(![OLD, OTHER, "two keys"].iter().any(|key| log.contains(key)), "{log}");
    // Put right, they count again, and that is said.
    api.put(OLD);
    relays.put(OTHER);
    agent.wait_line("ApiKey__File can be used again");
    agent.wait_line("RelayKeys__File can be used again");
    relay.expect_nothing_new();
    agent.wait_metric("featbit_agent_key_reloads_total", r#"outcome="done""#, 0.0);
    agent.hang_up();
    agent.wait_line("RelayKeys__File has not changed");
}

#[test]
fn a_new_key_for_the_server_is_used_on_a_new_connection_without_disturbing_sdks() {
    let server = Server::start(&Dataset::of([two_flags(1)]));
    let file = KeyFile::with(API_KEY);
    let mut builder = Builder::following(&server).env("Upstream__RetrySeconds", "200ms");
    builder = builder.env("ApiKey", "").env("ApiKey__File", file.name());
    let agent = builder.start();
    agent.wait_stable();
    server.wait_synced();
    let mut sdk = Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    server.set_key(NEW, &[&two_flags(1).id]);
    file.put(NEW);
    agent.hang_up();
    let relay = server.wait_request(1);
    assert_eq!(relay.key, NEW);
    assert_eq!(server.wait_relay(0).wait_for_end().code, Some(1000), "only then, and in order");
    server.remove_key(API_KEY);
    wait_until("it is registered by it", SOON, || {
        let registrations = server.registrations();
        registrations.iter().any(|one| one.request.header("authorization") == Some(NEW)).then_some(())
    });
    set(&server, &two_flags(1), "a", "v1", 1000);
    sdk.wait_variation("a", "v1");
    sdk.expect_nothing_new();
    agent.wait_stable();
    assert!(!agent.log().contains("Interrupted"), "{}", agent.log());
}

#[test]
fn a_new_key_that_the_server_does_not_know_removes_no_data() {
    let server = Server::start(&Dataset::of([two_flags(1)]));
    let file = KeyFile::with(API_KEY);
    let agent = Builder::following(&server)
        .env("Upstream__RetrySeconds", "200ms")
        .env("ApiKey", "")
        .env("ApiKey__File", file.name())
        .start();
    agent.wait_stable();
    server.wait_synced();
    let mut sdk = Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    file.put(NEW);
    agent.hang_up();
    agent.wait_line("the server refuses the agent");
    assert!(server.wait_relay(0).is_open(), "the old connection stays");
    set(&server, &two_flags(1), "a", "v1", 1000);
    sdk.wait_variation("a", "v1");
    agent.wait_stable();
    // The server learns of it, and it is used.
    server.set_key(NEW, &[&two_flags(1).id]);
    wait_until("the connection by the new key", Duration::from_secs(60), || {
        server
            .open_relays()
            .iter()
            .any(|relay| relay.key == NEW && !relay.requests().is_empty())
            .then_some(())
    });
    assert_eq!(server.wait_relay(0).wait_for_end().code, Some(1000));
    set(&server, &two_flags(1), "a", "v0", 2000);
    sdk.wait_variation("a", "v0");
}

/// What went wrong: the backup file kept the fingerprint of the key with which the agent was started, so the restart after a
/// rotation took it for the file of another agent.
#[test]
fn a_backup_file_is_served_after_its_key_was_replaced() {
    let file = KeyFile::with(OLD);
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    let mut agent = Builder::offline()
        .env("ApiKey", "")
        .env("ApiKey__File", file.name())
        .env("BackupFile", backup.to_str().unwrap())
        .start();
    let bootstrap = |agent: &Agent, key| {
        let json = Dataset::of([two_flags(1)]).to_json();
        agent.post("/api/public/proxy/bootstrap", &[("Authorization", key)], &json).expect(200);
    };
    bootstrap(&agent, OLD);
    let fingerprint = || std::fs::read(&backup).unwrap()[16..48].to_vec();
    let old = fingerprint();
    file.put(NEW);
    agent.hang_up();
    wait_until("the new key", SOON, || (status_of(&agent, NEW) == 200).then_some(()));
    wait_until("a file of the new key", SOON, || (fingerprint() != old).then_some(()));
    agent.kill();
    agent.start_again();
    agent.wait_line("data restored from the backup file");
    let names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("other-key")), "{names:?}");
    assert_eq!(status_of(&agent, NEW), 200);
}
