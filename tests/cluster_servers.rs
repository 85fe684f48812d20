//! Agents that share one Redis of every make: with TLS, an ACL, Sentinels, in a Redis Cluster; and agents that start
//! without it, with a data file, with a backup file.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::agent::{API_KEY, Agent, Builder};
use common::dataset::{Dataset, Environment, Kind, serve, touch};
use common::following::two_flags;
use common::redis::cluster::Cluster;
use common::redis::sentinel::{SERVICE, Setup};
use common::redis::{self, TlsFiles, installed};
use common::sharing::{variation_of, wait_alike};
use common::watcher::Watcher;
use common::{SOON, wait_until};
use serde_json::Value;

const OTHER_KEY: &str = "rp-ABCDEFGHIJ0123456789abcdefghij0123456789";

/// `a` gives everybody this variation.
fn with_a(variation: &str, later_ms: i64) -> Dataset {
    let mut environment = two_flags(1);
    let flag = environment.flag_mut("a");
    serve(flag, variation);
    touch(flag, later_ms);
    Dataset::of([environment])
}

/// A bootstrap of each agent reaches the others.
fn share(agents: &[&Agent]) {
    for (number, agent) in agents.iter().enumerate() {
        for (step, variation) in ["v1", "v0"].iter().enumerate() {
            let later_ms = i64::try_from(number * 2 + step).unwrap();
            agent.bootstrap(&with_a(variation, later_ms));
            wait_alike("a change", agents, |data| variation_of(data, "a") == *variation);
        }
    }
}

#[test]
fn over_tls_with_a_client_certificate() {
    if !installed("TLS of a cluster") {
        return;
    }
    let files = TlsFiles::new(&["127.0.0.1", "localhost"]);
    let redis = redis::Builder::new().tls(&files, true).start();
    let builder = || {
        Builder::offline()
            .sharing(&redis.url())
            .env("Redis__CaFile", &files.path("ca.pem"))
            .env("Redis__ClientCertificateFile", &files.path("client.pem"))
            .env("Redis__ClientKeyFile", &files.path("client.key"))
    };
    let agents = [builder().start(), builder().start()];
    share(&[&agents[0], &agents[1]]);
    // Plain text to this port is named.
    let plain = Builder::offline().sharing(&redis.address()).start();
    plain.wait_line("TLS");
    plain.bootstrap(&with_a("v1", 1));
}

/// The command of docs/redis.md.
fn documented_rules() -> String {
    let page = include_str!("../docs/redis.md");
    let line = page.lines().find_map(|line| line.trim().strip_prefix("ACL SETUSER agent "));
    line.expect("docs/redis.md has the rules").replace("PASSWORD", "secret-horse")
}

#[test]
fn a_user_with_the_documented_rights_can_do_everything_and_one_without_channels_polls() {
    if !installed("an ACL of a cluster") {
        return;
    }
    let rules = documented_rules();
    let silent: Vec<_> = rules.split(' ').filter(|rule| !rule.starts_with('&')).collect();
    assert!(silent.len() < rules.split(' ').count());
    let silent = format!("resetchannels {}", silent.join(" "));
    let redis = redis::Builder::new().user("agent", &rules).user("silent", &silent).start();
    let builder = |user: &str, poll: &str| {
        let connection = format!("{},user={user}", redis.address());
        let builder = Builder::offline().sharing(&connection).env("Redis__PollSeconds", poll);
        builder.env("Redis__Password", "secret-horse").env("RevocationGraceSeconds", "1")
    };
    let full = [builder("agent", "3600").start(), builder("agent", "3600").start()];
    share(&[&full[0], &full[1]]);
    // Also when an environment goes, whose records are removed.
    full[0].bootstrap(&Dataset::of([two_flags(1), two_flags(2)]));
    full[1].bootstrap(&with_a("v1", 50));
    let items = redis.cli(&["KEYS", "*:items"]);
    wait_until("the records of the environment are removed", SOON, || {
        (!redis.cli(&["HKEYS", &items]).contains(&two_flags(2).id)).then_some(())
    });
    assert_eq!(redis.cli(&["ACL", "LOG"]), "", "a command or a key was refused");
    let silent = [builder("silent", "200ms").start(), builder("silent", "200ms").start()];
    share(&[&silent[0], &silent[1]]);
    for agent in &silent {
        agent.wait_line("only polls for them");
        let status = agent.redis_status();
        assert_eq!(status["state"], "connected", "{status}");
        assert!(status["polling"].as_str().is_some_and(|why| why.contains("NOPERM")), "{status}");
        assert_eq!(agent.lines("only polls for them").len(), 1, "{}", agent.log());
        assert_eq!(agent.readiness(), (200, "Healthy".to_owned()));
    }
    silent[0].wait_line("cannot be announced");
}

#[test]
fn a_fail_over_by_sentinels_is_survived() {
    if !installed("Sentinels of a cluster") {
        return;
    }
    let mut watched = Setup::default().start();
    let connection = format!("{},serviceName={SERVICE}", watched.addresses());
    let agents: Vec<_> =
        (0..3).map(|_| Builder::offline().sharing_and_polling(&connection).start()).collect();
    let agents: Vec<_> = agents.iter().collect();
    share(&agents);
    // The master is killed.
    let port = watched.master_port();
    let dead = watched.servers_mut().iter_mut().find(|server| server.port() == port).unwrap();
    dead.kill();
    agents[0].bootstrap(&with_a("v1", 100));
    watched.wait_for_master_after(port);
    wait_alike("what was changed meanwhile", &agents, |data| variation_of(data, "a") == "v1");
    share(&agents);
}

#[test]
fn a_redis_cluster_of_three_nodes() {
    if !installed("a Redis Cluster for agents") {
        return;
    }
    let cluster = Cluster::start(&redis::Builder::new());
    // Each knows another node first.
    let agents: Vec<_> = cluster
        .nodes()
        .iter()
        .map(|node| {
            let mut addresses = vec![node.address()];
            addresses.extend(cluster.nodes().iter().map(redis::Redis::address));
            Builder::offline().sharing(&addresses.join(",")).start()
        })
        .collect();
    let agents: Vec<_> = agents.iter().collect();
    share(&agents);
}

fn bootstrap_as(agent: &Agent, key: &str, data: &Dataset) {
    agent.post("/api/public/proxy/bootstrap", &[("Authorization", key)], &data.to_json()).expect(200);
}

fn backup_of(agent: &Agent, key: &str) -> Value {
    agent.get("/api/public/proxy/backup?canonical=true", &[("Authorization", key)]).expect(200).json()
}

#[test]
fn clusters_of_other_keys_on_the_same_redis_never_mix() {
    if !installed("two clusters on one Redis") {
        return;
    }
    let redis = redis::Builder::new().start();
    let builder = || Builder::offline().sharing_and_polling(&redis.url());
    let ours = [builder().start(), builder().start()];
    let theirs = [builder().env("ApiKey", OTHER_KEY).start(), builder().env("ApiKey", OTHER_KEY).start()];
    let other = || Dataset::of([two_flags(7)]);
    bootstrap_as(&theirs[0], OTHER_KEY, &other());
    share(&[&ours[0], &ours[1]]);
    wait_until("the other cluster", SOON, || {
        (variation_of(&backup_of(&theirs[1], OTHER_KEY), "a") == "v0").then_some(())
    });
    for agent in &theirs {
        let data = backup_of(agent, OTHER_KEY);
        assert_eq!(data["items"][0]["envId"], two_flags(7).id);
        assert_eq!(data["items"].as_array().unwrap().len(), 1);
        let sdk = Watcher::asking(agent, &two_flags(1).secret(Kind::Server));
        assert_eq!(sdk.refusal(), Some(Some(4003)));
    }
    let keys = redis.cli(&["KEYS", "*"]);
    assert_eq!(keys.lines().filter(|key| key.ends_with(":meta")).count(), 2, "{keys}");
    assert!(!keys.contains(API_KEY) && !keys.contains(OTHER_KEY), "{keys}");
    assert!(keys.lines().all(|key| key.starts_with("featbit-agent:{")), "{keys}");
    assert!(keys.lines().all(|key| !key.contains(":opening:")), "{keys}");
}

#[test]
fn agents_that_start_without_redis_work_and_join_later() {
    if !installed("agents before their Redis") {
        return;
    }
    let mut redis = redis::Builder::new().start();
    let url = redis.url();
    redis.kill();
    let agents = [0, 1, 2].map(|_| Builder::offline().sharing(&url).start());
    agents[0].bootstrap(&with_a("v0", 5_000));
    agents[1].bootstrap(&with_a("v1", 1_000));
    let secret = two_flags(1).secret(Kind::Server);
    let mut sdks = [0, 1].map(|at| Watcher::server(&agents[at], &secret));
    assert_eq!(sdks[0].variation("a"), Some("v0"));
    assert_eq!(sdks[1].variation("a"), Some("v1"));
    agents[2].wait_line("Redis cannot be used");
    redis.start_again();
    // The later bootstrap call wins, although its flag is older.
    wait_alike("the later call", &agents.iter().collect::<Vec<_>>(), |data| variation_of(data, "a") == "v1");
    sdks[0].wait_variation("a", "v1");
    sdks[0].expect_nothing_new();
    sdks[1].expect_nothing_new();
    agents.iter().for_each(|agent| drop(agent.wait_redis("connected")));
    assert_eq!(agents[0].lines("Redis cannot be used").len(), 1, "{}", agents[0].log());
}

#[test]
fn an_unchanged_data_file_does_not_roll_a_cluster_back_and_a_new_one_does() {
    if !installed("a data file in a cluster") {
        return;
    }
    let redis = redis::Builder::new().start();
    let file = with_a("v1", 1_000);
    let mut with_file = Builder::offline().sharing(&redis.url()).data_file(&file).start();
    let other = Builder::offline().sharing(&redis.url()).start();
    let changed = |agents: &[&Agent], variation: &str| {
        wait_alike("a change", agents, |data| variation_of(data, "a") == variation);
    };
    changed(&[&with_file, &other], "v1");
    other.bootstrap(&with_a("v0", 0));
    changed(&[&with_file, &other], "v0");
    // Started again, once orderly and once not.
    assert!(with_file.stop().success());
    with_file.start_again();
    changed(&[&with_file, &other], "v0");
    with_file.kill();
    with_file.start_again();
    changed(&[&with_file, &other], "v0");
    with_file.wait_line("the cluster has loaded this data file before");
    // A third agent with the same file.
    let third = Builder::offline().sharing(&redis.url()).data_file(&file).start();
    changed(&[&with_file, &other, &third], "v0");
    // A new file, while the agent runs and while it does not.
    with_file.write_data(&with_a("v1", 500));
    changed(&[&with_file, &other, &third], "v1");
    assert!(with_file.stop().success());
    with_file.write_data(&with_a("v0", 200));
    with_file.start_again();
    changed(&[&with_file, &other, &third], "v0");
}

#[test]
fn a_backup_file_and_redis_work_together() {
    if !installed("a backup file in a cluster") {
        return;
    }
    let mut redis = redis::Builder::new().start();
    let builder = || Builder::offline().sharing_and_polling(&redis.url()).env("BackupFile", "backup");
    let mut agents = [builder().start(), builder().start()];
    agents[0].bootstrap(&with_a("v1", 5_000));
    let both = |agents: &[Agent; 2], variation: &str| {
        wait_alike("a change", &[&agents[0], &agents[1]], |data| variation_of(data, "a") == variation);
    };
    both(&agents, "v1");
    // One is away while the other goes back to older data: its file is older, whatever its flag says.
    agents[0].kill();
    agents[1].bootstrap(&with_a("v0", 1_000));
    agents[0].start_again();
    both(&agents, "v0");
    // Redis is empty after all were killed: the files fill it.
    agents.iter_mut().for_each(Agent::kill);
    redis.kill();
    redis.start_again_empty();
    agents.iter_mut().for_each(Agent::start_again);
    both(&agents, "v0");
    // Without Redis they start from their files, and SDKs are served at once.
    agents.iter_mut().for_each(Agent::kill);
    redis.kill();
    agents.iter_mut().for_each(Agent::start_again);
    for agent in &agents {
        let sdk = Watcher::server(agent, &two_flags(1).secret(Kind::Server));
        assert_eq!(sdk.variation("a"), Some("v0"));
    }
    agents[0].bootstrap(&with_a("v1", 0));
    redis.start_again();
    both(&agents, "v1");
    // What came from the cluster is in the file of the other one.
    assert!(agents[1].stop().success());
    redis.kill();
    agents[1].start_again();
    assert_eq!(variation_of(&serde_json::from_str(&agents[1].canonical()).unwrap(), "a"), "v1");
    let environment: Environment = two_flags(1);
    let sdk = Watcher::server(&agents[1], &environment.secret(Kind::Server));
    assert_eq!(sdk.variation("a"), Some("v1"));
}
