//! An agent with a backup file is killed at any time: what it had acknowledged is served again, and SDKs that come back get
//! what they lack and nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::Duration;

use common::agent::{API_KEY, Agent, Builder};
use common::backup::{expect_valid, export, plain, plain_of, tool_says};
use common::dataset::{Dataset, Environment, Kind, START_MS, boolean_flag, iso, segment, touch, user};
use common::following::{set, set_without_push, two_flags, with_short_retries};
use common::raw::{BOOTSTRAP, SERVER_POLL};
use common::rng::Rng;
use common::sdk::{Fleet, Mode};
use common::server::Server;
use common::strict::StrictSdk;
use common::watcher::Watcher;
use common::{SOON, http, now_ms, wait_until};
use serde_json::{Value, json};

/// The `number`th dataset: some flags and a segment change from one to the next, some come and go, and the order does too.
fn dataset(number: i64) -> Dataset {
    let mut environment = Environment::new(1);
    for index in 0..24 {
        if (number + index) % 5 == 0 {
            continue;
        }
        let mut flag = boolean_flag(&format!("flag-{}", (index + number / 7) % 24));
        if index % 3 == number % 3 {
            flag["name"] = json!(format!("of {number}"));
        }
        // Some changes have no newer date.
        if index % 2 == 0 {
            touch(&mut flag, number);
        }
        environment.add_flag(flag);
    }
    let mut people = segment("people");
    people["included"] = json!([format!("user-{}", number / 4)]);
    environment.add_segment(people);
    let extra = Environment::new(2).flag(boolean_flag("other"));
    if number % 6 < 3 { Dataset::of([environment, extra]) } else { Dataset::of([environment]) }
}

/// Sends one dataset after the other until a call fails. Returns the number of the last one that was sent.
fn bootstrap_on(port: u16, from: i64, acknowledged: &AtomicI64) -> i64 {
    let mut number = from;
    loop {
        number += 1;
        let body = dataset(number).to_text();
        match http::post_json(port, BOOTSTRAP, &[("Authorization", API_KEY)], &body) {
            Ok(answer) => {
                answer.expect(200);
                acknowledged.store(number, SeqCst);
            }
            Err(_) => return number,
        }
    }
}

/// Waits for a short random time, so that what follows happens at any moment of what goes on.
fn any_moment(rng: &mut Rng) {
    std::thread::sleep(Duration::from_micros(rng.below(15_000) as u64));
}

fn kill_during_bootstraps(rounds: usize, seed: u64) {
    println!("seed {seed}");
    let mut rng = Rng::new(seed);
    let mut agent = Builder::saving().env("Backup__CompactFactor", "2").start();
    let mut served = 0;
    for round in 0..rounds {
        let acknowledged = Arc::new(AtomicI64::new(served));
        let (port, counter) = (agent.port(), acknowledged.clone());
        let sending = std::thread::spawn(move || bootstrap_on(port, served, &counter));
        let until = served + 1 + rng.below(8) as i64;
        wait_until("acknowledged datasets", SOON, || (acknowledged.load(SeqCst) >= until).then_some(()));
        any_moment(&mut rng);
        agent.kill();
        let sent = sending.join().expect("no call was refused");
        expect_valid(&agent.backup_file());
        let saved = export(&agent.backup_file(), &["--canonical"]);
        agent.start_again();
        assert_eq!(agent.canonical(), saved, "round {round}");
        let last = acknowledged.load(SeqCst);
        let have = plain_of(&saved);
        let found = (last..=sent).find(|&number| plain(&dataset(number).environments) == have);
        served = found.unwrap_or_else(|| {
            agent.fail(&format!("round {round}: neither dataset {last} nor {sent}: {have:#}"))
        });
    }
    assert!(agent.files_beside("damaged").is_empty(), "{:?}", agent.files_beside(""));
}

#[test]
fn a_killed_agent_serves_every_dataset_that_it_had_acknowledged() {
    kill_during_bootstraps(10, 1);
}

/// A flag that the `number`th patch changes.
fn patched(number: i64) -> Value {
    let mut flag = boolean_flag(&format!("flag-{}", number % 8));
    flag["name"] = json!(format!("{number}"));
    touch(&mut flag, number);
    flag
}

/// The environment after so many patches.
fn after(patches: i64) -> Environment {
    let mut environment = Environment::new(1);
    for number in 0..8 {
        let latest = (number..patches.max(8)).step_by(8).last().unwrap();
        environment.add_flag(patched(latest));
    }
    environment
}

fn kill_during_patches(rounds: usize, seed: u64) {
    println!("seed {seed}");
    let mut rng = Rng::new(seed);
    let server = Server::start(&Dataset::of([after(8)]));
    let mut agent = with_short_retries(&server).backup().env("Backup__CompactFactor", "2").start();
    let mut patches = 8;
    for round in 0..rounds {
        wait_until("what the server has", SOON, || {
            (plain_of(&agent.canonical()) == plain(&[after(patches)])).then_some(())
        });
        agent.wait_stable();
        agent.wait_written();
        let before = patches;
        let mut sdk = Watcher::server(&agent, &after(8).secret(Kind::Server));
        for _ in 0..rng.below(300) {
            let mut flag = patched(patches);
            flag["envId"] = json!(after(8).id);
            server.upsert_flag(&after(8).id, flag);
            patches += 1;
        }
        any_moment(&mut rng);
        let bootstrapped = (round % 3 == 2).then(|| {
            server.crash();
            // What has arrived already is taken in before.
            agent.wait_readiness(200, "Degraded");
            agent.bootstrap(&dataset(round as i64));
            plain(&dataset(round as i64).environments)
        });
        agent.kill();
        server.crash();
        expect_valid(&agent.backup_file());
        let saved = export(&agent.backup_file(), &["--canonical"]);
        agent.start_again();
        assert_eq!(agent.canonical(), saved, "round {round}");
        let have = plain_of(&saved);
        match bootstrapped {
            Some(bootstrapped) => assert_eq!(have, bootstrapped, "round {round}"),
            None => {
                let prefix = (before..=patches).find(|&patches| plain(&[after(patches)]) == have);
                assert!(prefix.is_some(), "round {round}: no state between {before} and {patches}: {have:#}");
            }
        }
        sdk.take_until_end();
        sdk.come_back(&agent, &after(8).secret(Kind::Server));
        server.start_listening();
    }
}

#[test]
fn a_killed_agent_that_follows_a_server_serves_a_state_that_the_server_had() {
    kill_during_patches(10, 2);
}

#[test]
#[ignore = "takes minutes; scripts/test --long runs it"]
fn agents_killed_500_times_serve_what_they_had_acknowledged() {
    for seed in 10..20 {
        kill_during_bootstraps(25, seed);
        kill_during_patches(25, seed);
    }
}

/// Everything a server SDK or a client SDK has, and who it is.
struct Sdks {
    server: Watcher,
    client: Watcher,
    strict: Vec<StrictSdk>,
    environment: Environment,
}

impl Sdks {
    fn connect(agent: &Agent, environment: &Environment) -> Self {
        Self {
            server: Watcher::server(agent, &environment.secret(Kind::Server)),
            client: Watcher::client(agent, &environment.secret(Kind::Client), &user("ann", &[])),
            strict: StrictSdk::of_each_name(agent, environment),
            environment: environment.clone(),
        }
    }

    /// Applies what a change brings.
    fn wait_variation(&mut self, server: &Server, key: &str, variation: &str) {
        self.server.wait_variation(key, variation);
        self.client.wait_variation(key, variation);
        let truth = truth(server, &self.environment);
        self.strict.iter_mut().for_each(|sdk| sdk.wait_for(&truth));
    }

    /// All come back after a restart; returns how the first two were answered.
    fn come_back(&mut self, agent: &Agent) -> [String; 2] {
        let server = self.server.come_back(agent, &self.environment.secret(Kind::Server));
        let client = self.client.come_back(agent, &self.environment.secret(Kind::Client));
        self.strict.iter_mut().for_each(|sdk| sdk.reconnect(agent));
        [server, client]
    }

    /// All come back and lack nothing.
    fn come_back_with_everything(&mut self, agent: &Agent) {
        let before = (self.server.flags.clone(), self.client.flags.clone());
        let versions: Vec<i64> = self.strict.iter().map(StrictSdk::version_ms).collect();
        assert_eq!(self.come_back(agent), ["patch", "patch"]);
        self.strict.iter_mut().for_each(StrictSdk::read_all);
        self.expect_nothing_new();
        assert_eq!(before, (self.server.flags.clone(), self.client.flags.clone()));
        assert_eq!(versions, self.strict.iter().map(StrictSdk::version_ms).collect::<Vec<_>>());
    }

    fn expect_nothing_new(&mut self) {
        self.server.expect_nothing_new();
        self.client.expect_nothing_new();
    }
}

/// What the server has of an environment.
fn truth(server: &Server, environment: &Environment) -> Environment {
    let mut found = None;
    server.change_without_push(|model| found = Some(model.environment(&environment.id).clone()));
    found.unwrap()
}

fn three_flags() -> Environment {
    two_flags(1).flag(boolean_flag("c"))
}

#[test]
fn sdks_that_come_back_after_a_kill_get_what_they_lack_while_the_server_is_away() {
    let environment = three_flags();
    let server = Server::start(&Dataset::of([environment.clone(), two_flags(2)]));
    let mut agent = with_short_retries(&server).backup().env("Limits__VerdictWait", "60").start();
    agent.wait_stable();
    server.wait_synced();
    let mut sdks = Sdks::connect(&agent, &environment);
    set(&server, &environment, "a", "v1", 1000);
    sdks.wait_variation(&server, "a", "v1");
    // These have only heard of the first change.
    let mut late = Sdks::connect(&agent, &truth(&server, &environment));
    let (mut late_server, mut late_client) = (late.server, late.client);
    set(&server, &environment, "b", "v1", 2000);
    sdks.wait_variation(&server, "b", "v1");
    // A change that arrives late is sent with a higher version than its own.
    set(&server, &environment, "c", "v1", 1500);
    sdks.wait_variation(&server, "c", "v1");
    assert!(sdks.strict.iter().all(|sdk| sdk.version_ms() > START_MS + 2000));
    agent.wait_written();

    agent.kill();
    server.crash();
    agent.start_again();
    assert_eq!(agent.readiness(), (200, "Degraded".to_owned()));
    assert_eq!(agent.status()["syncState"], "Interrupted");
    sdks.come_back_with_everything(&agent);
    assert_eq!(late_server.come_back(&agent, &environment.secret(Kind::Server)), "patch");
    assert_eq!(late_client.come_back(&agent, &environment.secret(Kind::Client)), "patch");
    late.strict.iter_mut().for_each(|sdk| sdk.reconnect(&agent));
    for (key, sdk) in [("b", &mut late_server), ("c", &mut late_client)] {
        sdk.wait_variation(key, "v1");
    }
    let now = truth(&server, &environment);
    late.strict.iter_mut().for_each(|sdk| sdk.wait_for(&now));
    late_server.take_what_is_there();
    late_client.take_what_is_there();
    assert_eq!(late_server.flags, sdks.server.flags);
    assert_eq!(late_client.flags, sdks.client.flags);

    // Nobody is refused who may be right.
    let unknown = common::dataset::secret_text(&environment.id, Kind::Server, 7);
    let mut pending = Watcher::asking(&agent, &unknown);
    let made_up = common::dataset::secret_text(&environment.id, Kind::Server, 8);
    let mut stranger = Watcher::asking(&agent, &made_up);
    agent.wait_metric("featbit_agent_connections", r#"kind="other""#, 2.0);

    // What has changed meanwhile arrives, also what is older than the raised version.
    set_without_push(&server, &environment, "a", "v0", 2500);
    server.create_secret(&environment.id, Kind::Server, 7);
    server.start_listening();
    agent.wait_stable();
    sdks.wait_variation(&server, "a", "v0");
    sdks.expect_nothing_new();
    pending.expect_full();
    assert_eq!(stranger.expect_close(SOON), Some(4003));
    assert_eq!(agent.status()["syncState"], "Stable");
}

#[test]
fn polls_after_a_kill_get_what_is_newer_and_nothing_else() {
    let environment = two_flags(1);
    let mut agent = Builder::saving().start();
    agent.bootstrap(&Dataset::of([environment.clone()]));
    let mut newer = environment.clone();
    touch(newer.flag_mut("a"), 1000);
    agent.bootstrap(&Dataset::of([newer]));
    agent.kill_and_start_again();
    let secret = environment.secret(Kind::Server);
    let poll = |since_ms: i64| {
        let answer = agent.get(&format!("{SERVER_POLL}?timestamp={since_ms}"), &[("Authorization", &secret)]);
        answer.expect(200).body
    };
    assert_eq!(poll(START_MS + 1000), b"");
    let patch: Value = serde_json::from_slice(&poll(START_MS)).unwrap();
    assert_eq!(patch["data"]["eventType"], "patch");
    let flags = patch["data"]["featureFlags"].as_array().unwrap();
    assert_eq!(flags.iter().map(|flag| &flag["key"]).collect::<Vec<_>>(), ["a"]);
}

#[test]
fn real_sdks_are_served_by_a_killed_agent_while_its_server_is_away() {
    let environment = two_flags(1);
    let server = Server::start(&Dataset::of([environment.clone()]));
    let mut agent = with_short_retries(&server).backup().start();
    agent.wait_stable();
    server.wait_synced();
    let ann = user("ann", &[]);
    // A client SDK that polls ends at the first poll that fails.
    let start = |test: &str, agent: &Agent| {
        let mut fleet = Fleet::launch(test, |_, mode| mode == Mode::Streaming);
        fleet.each("start", |sdk| {
            sdk.start(agent, &environment, &ann);
            sdk.wait_ready();
        });
        fleet
    };
    let mut fleet = start("a kill while the server is away", &agent);
    if fleet.is_empty() {
        return;
    }
    set(&server, &environment, "a", "v1", 1000);
    fleet.each("a change", |sdk| sdk.wait_value("a", &ann, "boolean", &json!(false)));
    agent.wait_written();
    agent.kill();
    server.crash();
    fleet.each("the connection is gone", |sdk| {
        sdk.wait_state(json!({ "connected": false }));
    });
    agent.start_again();
    // New ones get all of it; those that come back still have it.
    let mut late = start("started while the server is away", &agent);
    for fleet in [&mut late, &mut fleet] {
        fleet.each("what was before", |sdk| {
            sdk.wait_value("a", &ann, "boolean", &json!(false));
            sdk.wait_value("b", &ann, "boolean", &json!(true));
        });
    }
    server.start_listening();
    agent.wait_stable();
    set(&server, &environment, "b", "v1", 2000);
    for fleet in [&mut late, &mut fleet] {
        fleet.each("a change after it", |sdk| sdk.wait_value("b", &ann, "boolean", &json!(false)));
    }
}

#[test]
fn an_environment_that_is_leaving_is_served_after_a_kill_until_its_grace_is_over() {
    let both = Dataset::of([two_flags(1), two_flags(2)]);
    let mut agent = Builder::saving().env("RevocationGraceSeconds", "600").start();
    agent.bootstrap(&both);
    let secret = two_flags(2).secret(Kind::Server);
    let mut sdk = Watcher::server(&agent, &secret);
    agent.bootstrap(&Dataset::of([two_flags(1)]));
    agent.kill_and_start_again();
    assert_eq!(sdk.come_back(&agent, &secret), "patch");
    sdk.expect_nothing_new();
    let mut new = Watcher::server(&agent, &secret);
    assert_eq!(new.flags, sdk.flags);
    // It comes back as it was, and nobody hears of it.
    agent.bootstrap(&both);
    agent.kill_and_start_again();
    for sdk in [&mut sdk, &mut new] {
        assert_eq!(sdk.come_back(&agent, &secret), "patch");
        sdk.expect_nothing_new();
    }
    assert_eq!(plain_of(&agent.canonical()), plain(&both.environments));
}

#[test]
fn a_removal_before_a_kill_is_told_after_it() {
    let environment = three_flags();
    let server = Server::start(&Dataset::of([environment.clone()]));
    let mut agent = with_short_retries(&server).backup().start();
    agent.wait_stable();
    server.wait_synced();
    let mut away = Sdks::connect(&agent, &environment);
    agent.wait_written();
    agent.kill();
    // The agent hears of the removal while these SDKs are away.
    server.delete_flag(&environment.id, "b");
    agent.start_again();
    agent.wait_stable();
    wait_until("the removal", SOON, || (!agent.canonical().contains(r#""key":"b""#)).then_some(()));
    let mut sdk = Sdks::connect(&agent, &truth(&server, &environment));
    agent.wait_written();

    agent.kill();
    server.crash();
    agent.start_again();
    sdk.come_back_with_everything(&agent);
    assert_eq!(away.come_back(&agent), ["full", "full"]);
    let now = truth(&server, &environment);
    away.strict.iter_mut().for_each(|sdk| sdk.wait_for(&now));
    for watcher in [&away.server, &away.client] {
        assert!(!watcher.flags.contains_key("b") && watcher.flags.len() == 2);
    }
    // They are told once, also over another restart.
    agent.kill_and_start_again();
    away.come_back_with_everything(&agent);
    sdk.come_back_with_everything(&agent);
}

#[test]
fn a_grace_period_goes_on_with_what_was_left_of_it() {
    let mut environment = two_flags(1);
    let doomed = environment.add_secret(Kind::Server, 5);
    let without = two_flags(1);
    let both = Dataset::of([environment]);
    for (before, after) in [("600", "0"), ("1", "600")] {
        let mut agent = Builder::saving().env("RevocationGraceSeconds", before).start();
        agent.bootstrap(&both);
        let mut sdk = Watcher::server(&agent, &doomed);
        agent.bootstrap(&Dataset::of([without.clone()]));
        let file = agent.backup_file();
        let (code, text) = tool_says(&["show", file.to_str().unwrap()]);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("3 secrets, of which 1 in their grace period"), "{text}");
        agent.kill();
        agent.set_env("RevocationGraceSeconds", after);
        agent.start_again();
        if after == "0" {
            assert_eq!(sdk.come_back(&agent, &doomed), "patch");
            sdk.expect_nothing_new();
        } else {
            assert_eq!(agent.wait_refused(&doomed), Some(4003));
            assert_eq!(Watcher::asking(&agent, &without.secret(Kind::Server)).refusal(), None);
        }
    }
}

#[test]
fn a_raised_version_is_not_lost_although_nobody_had_saved_it() {
    let environment = two_flags(1);
    let server = Server::start(&Dataset::of([environment.clone()]));
    let mut agent = with_short_retries(&server).backup().start();
    agent.wait_stable();
    server.wait_synced();
    agent.wait_written();
    let saved = std::fs::read(agent.backup_file()).unwrap();
    let mut sdks = Sdks::connect(&agent, &environment);
    // Newer than the flag itself, but older than what was sent before.
    set(&server, &environment, "b", "v1", 5000);
    sdks.wait_variation(&server, "b", "v1");
    set(&server, &environment, "a", "v1", 1000);
    sdks.wait_variation(&server, "a", "v1");
    let raised_ms = sdks.server.version_ms();
    assert!(raised_ms > START_MS + 1_000_000);
    agent.wait_written();
    agent.kill();
    server.crash();
    // As if the disk had lost the last change, which SDKs have.
    std::fs::write(agent.backup_file(), saved).unwrap();
    agent.start_again();
    assert!(!agent.canonical().contains(&iso(START_MS + 1000)));
    let answered = sdks.come_back(&agent);
    assert_eq!(answered, ["patch", "patch"]);
    sdks.expect_nothing_new();
    // What changes after that still reaches them, although its date is lower than what they have.
    set_without_push(&server, &environment, "a", "v0", 6000);
    set_without_push(&server, &environment, "b", "v0", 6000);
    server.start_listening();
    sdks.wait_variation(&server, "a", "v0");
    sdks.wait_variation(&server, "b", "v0");
    assert!(sdks.server.version_ms() > raised_ms && now_ms() >= raised_ms);
}

#[test]
fn a_data_file_beats_the_backup_only_when_it_has_changed() {
    let data = |name: &str, later_ms: i64| {
        let mut data = Dataset::of([two_flags(1)]);
        for flag in &mut data.environments[0].flags {
            flag["name"] = json!(name);
            touch(flag, later_ms);
        }
        data
    };
    let serves = |agent: &Agent, data: &Dataset| {
        wait_until("the data", SOON, || {
            (plain_of(&agent.canonical()) == plain(&data.environments)).then_some(())
        });
    };
    let (first, newer, rolled_back) = (data("first", 5000), data("newer", 9000), data("rolled back", 1000));
    let mut agent = Builder::saving().data_file(&first).start();
    serves(&agent, &first);
    agent.wait_written();
    // An unchanged file does not undo a bootstrap, be it older.
    agent.bootstrap(&newer);
    agent.bootstrap(&rolled_back);
    for _ in 0..2 {
        agent.kill_and_start_again();
        serves(&agent, &rolled_back);
        agent.wait_line("the data file is the one that was loaded before the restart");
    }
    // One that has changed meanwhile is newer than the backup, whatever its dates are.
    agent.kill();
    let oldest = data("oldest", 0);
    agent.write_data(&oldest);
    agent.start_again();
    serves(&agent, &oldest);
    agent.wait_written();
    // Without the file, the backup is used.
    agent.kill();
    std::fs::remove_file(agent.data_file()).unwrap();
    agent.start_again();
    serves(&agent, &oldest);
    // A file that cannot be used does not beat it.
    agent.kill();
    std::fs::write(agent.data_file(), "{").unwrap();
    agent.start_again();
    serves(&agent, &oldest);
}

/// What went wrong: an SDK with a new secret was refused for good by the data of the backup, while the data file that has
/// the secret was being loaded.
#[test]
fn a_secret_of_the_data_file_was_refused_while_that_was_loaded() {
    let before = Dataset::of([two_flags(1)]);
    let mut agent = Builder::saving().data_file(&before).start();
    agent.wait_written();
    agent.kill();
    // So large that it takes a while.
    let mut after = before;
    for number in 0..3000 {
        let mut flag = boolean_flag(&format!("flag-{number}"));
        flag["description"] = json!("x".repeat(1000));
        after.environments[0].add_flag(flag);
    }
    let new = after.environments[0].add_secret(Kind::Server, 3);
    agent.write_data(&after);
    agent.spawn_again();
    wait_until("the agent listens", SOON, || http::get(agent.port(), "/health/liveness", &[]).ok());
    assert_eq!(Watcher::asking(&agent, &new).refusal(), None);
    // One that neither has is refused all the same.
    let unknown = common::dataset::secret_text(&two_flags(1).id, Kind::Server, 9);
    assert_eq!(agent.wait_refused(&unknown), Some(4003));
    std::fs::remove_file(agent.data_file()).unwrap();
    agent.kill_and_start_again();
    assert_eq!(Watcher::asking(&agent, &new).refusal(), None);
    assert_eq!(agent.wait_refused(&unknown), Some(4003));
}

#[test]
fn deleted_flags_and_a_rollback_stay_after_a_kill() {
    let mut newer = Dataset::of([three_flags()]);
    touch(newer.environments[0].flag_mut("a"), 9000);
    let mut older = Dataset::of([three_flags()]);
    older.environments[0].remove_flag("b");
    let mut agent = Builder::saving().start();
    agent.bootstrap(&newer);
    let mut sdks = Sdks::connect(&agent, &newer.environments[0]);
    agent.bootstrap(&older);
    for _ in 0..2 {
        agent.kill_and_start_again();
        assert_eq!(plain_of(&agent.canonical()), plain(&older.environments));
        sdks.come_back(&agent);
        sdks.server.take_what_is_there();
        sdks.client.take_what_is_there();
        sdks.strict.iter_mut().for_each(|sdk| sdk.wait_for(&older.environments[0]));
        assert!(!sdks.server.flags.contains_key("b") && !sdks.client.flags.contains_key("b"));
    }
    // A flag that comes back is a new one.
    agent.bootstrap(&newer);
    sdks.server.take_until("b", |sdk| sdk.flags.contains_key("b"));
    sdks.client.take_until("b", |sdk| sdk.flags.contains_key("b"));
    agent.kill_and_start_again();
    assert_eq!(plain_of(&agent.canonical()), plain(&newer.environments));
}

#[test]
fn a_file_that_is_compacted_again_and_again_stays_small_and_loses_nothing() {
    // Large enough that few patches fill the smallest file that is ever compacted, 1 MiB.
    let large = |number: i64| {
        let mut flag = patched(number);
        flag["description"] = json!("x".repeat(20_000));
        flag
    };
    let mut environment = Environment::new(1);
    (0..8).for_each(|number| environment.add_flag(large(number)));
    let server = Server::start(&Dataset::of([environment.clone()]));
    let mut agent = with_short_retries(&server).backup().env("Backup__CompactFactor", "2").start();
    agent.wait_stable();
    server.wait_synced();
    let mut sdk = Watcher::server(&agent, &environment.secret(Kind::Server));
    let mut number = 8;
    for _ in 0..3 {
        let before = agent.metric("featbit_agent_backup_compactions_total", "");
        for _ in 0..150 {
            server.upsert_flag(&environment.id, large(number));
            number += 1;
        }
        let last = format!("{}", number - 1);
        let key = format!("flag-{}", (number - 1) % 8);
        sdk.take_until("the last patch", |sdk| sdk.flags[&key]["name"] == last);
        agent.wait_metric_at_least("featbit_agent_backup_compactions_total", "", before + 1.0);
        agent.wait_written();
        // At most the bound, what was on its way meanwhile, and what is allocated in advance.
        let bytes = std::fs::metadata(agent.backup_file()).unwrap().len();
        assert!(bytes < 4 << 20, "{bytes}");
        assert_eq!(agent.files_beside(".new"), Vec::<std::path::PathBuf>::new());
        let before = agent.canonical();
        agent.kill();
        server.crash();
        expect_valid(&agent.backup_file());
        agent.start_again();
        assert_eq!(agent.canonical(), before);
        assert_eq!(sdk.come_back(&agent, &environment.secret(Kind::Server)), "patch");
        server.start_listening();
        agent.wait_stable();
        server.wait_synced();
    }
}
