//! Agents that share one Redis, and what goes wrong with it: they go on with what they have, say so, and are alike again
//! afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::agent::{Agent, Builder};
use common::dataset::{Dataset, Environment, Kind, serve, touch};
use common::following::two_flags;
use common::redis::{self, Redis, installed};
use common::sharing::{variation_of, wait_alike};
use common::strict::StrictSdk;
use common::watcher::Watcher;
use common::{SOON, wait_until};
use serde_json::Value;

const PASSWORD: &str = "correct-horse";

/// Two offline agents that share a Redis and have the same data.
struct Pair {
    agents: [Agent; 2],
    environment: Environment,
    changes: i64,
}

impl Pair {
    fn start(builder: impl Fn() -> Builder) -> Self {
        let mut pair = Self::without_data(builder);
        pair.agents.iter().for_each(|agent| drop(agent.wait_redis("connected")));
        pair.change(0);
        pair
    }

    fn without_data(builder: impl Fn() -> Builder) -> Self {
        Self { agents: [builder().start(), builder().start()], environment: two_flags(1), changes: 0 }
    }

    fn refs(&self) -> [&Agent; 2] {
        [&self.agents[0], &self.agents[1]]
    }

    /// Gives `a` its other variation.
    fn next(&mut self) -> String {
        self.changes += 1;
        let variation = if self.changes % 2 == 0 { "v0" } else { "v1" };
        let flag = self.environment.flag_mut("a");
        serve(flag, variation);
        touch(flag, self.changes * 1_000);
        variation.to_owned()
    }

    /// A bootstrap of one agent, which only that one is sure to have.
    fn change_one(&mut self, agent: usize) -> String {
        let variation = self.next();
        self.agents[agent].bootstrap(&Dataset::of([self.environment.clone()]));
        variation
    }

    /// A bootstrap of one agent reaches both.
    fn change(&mut self, agent: usize) {
        let variation = self.change_one(agent);
        self.wait_for(&variation);
    }

    fn wait_for(&self, variation: &str) {
        wait_alike("a change", &self.refs(), |data| variation_of(data, "a") == variation);
    }

    /// New SDKs are served by both agents, and have their last data each.
    fn serve(&self) {
        for agent in &self.agents {
            let sdk = Watcher::server(agent, &self.environment.secret(Kind::Server));
            assert_eq!(sdk.flags.len(), 2);
        }
    }
}

fn offline(redis: &Redis) -> Builder {
    Builder::offline().sharing_and_polling(&redis.url())
}

/// A key of the cluster by its end, such as `meta`.
fn key(redis: &Redis, end: &str) -> String {
    let keys = redis.cli(&["KEYS", &format!("*:{end}")]);
    assert_eq!(keys.lines().count(), 1, "{keys}");
    keys
}

#[test]
fn a_redis_that_is_killed_emptied_or_restarted_is_filled_again() {
    if !installed("a killed Redis of a cluster") {
        return;
    }
    let mut redis = redis::Builder::new().durable().start();
    let mut pair = Pair::start(|| offline(&redis));
    let mut strict: Vec<_> =
        pair.agents.iter().flat_map(|agent| StrictSdk::of_each_name(agent, &pair.environment)).collect();
    // With its data.
    redis.kill();
    pair.agents[0].wait_redis("away");
    pair.agents[0].wait_readiness_says("Redis: away");
    assert_eq!(pair.agents[0].readiness().0, 200);
    let variation = pair.change_one(0);
    pair.serve();
    redis.start_again();
    pair.wait_for(&variation);
    strict.iter_mut().for_each(|sdk| sdk.wait_for(&pair.environment));
    // Empty: those who hold data fill it, and the higher edition wins.
    redis.kill();
    pair.change_one(1);
    let variation = pair.change_one(1);
    redis.start_again_empty();
    pair.wait_for(&variation);
    strict.iter_mut().for_each(|sdk| sdk.wait_for(&pair.environment));
    // Emptied while it runs.
    let items = key(&redis, "items");
    assert_eq!(redis.cli(&["FLUSHALL"]), "OK");
    wait_until("Redis is filled again", SOON, || (redis.cli(&["HLEN", &items]) == "2").then_some(()));
    pair.change(0);
    strict.iter_mut().for_each(|sdk| sdk.wait_for(&pair.environment));
    // Single keys are dropped, as an eviction does.
    for end in ["items", "index", "meta"] {
        let name = key(&redis, end);
        redis.cli(&["DEL", &name]);
        wait_until(&format!("{end} is there again"), SOON, || {
            (redis.cli(&["EXISTS", &name]) == "1").then_some(())
        });
        wait_until("both records", SOON, || (redis.cli(&["HLEN", &items]) == "2").then_some(()));
        pair.change(1);
    }
    strict.iter_mut().for_each(|sdk| sdk.wait_for(&pair.environment));
    pair.agents.iter().for_each(|agent| drop(agent.wait_redis("connected")));
    // An agent that starts now has it all from Redis.
    let fresh = offline(&redis).start();
    wait_alike("a new agent", &[&fresh, &pair.agents[0]], |_| true);
    assert!(pair.agents[0].lines("panicked").is_empty());
}

#[test]
fn a_redis_that_does_not_answer_holds_up_nothing() {
    if !installed("a paused Redis of a cluster") {
        return;
    }
    let redis = redis::Builder::new().start();
    let mut pair = Pair::start(|| offline(&redis));
    let mut sdk = Watcher::server(&pair.agents[0], &pair.environment.secret(Kind::Server));
    // It accepts connections and commands, and answers nothing.
    redis.pause();
    for _ in 0..5 {
        let variation = pair.change_one(0);
        sdk.wait_variation("a", &variation);
    }
    pair.serve();
    for agent in &pair.agents {
        agent.wait_redis("away");
        agent.wait_readiness_says("Redis: away");
    }
    assert!(pair.agents[1].stop().success());
    pair.agents[1].start_again();
    assert_eq!(pair.agents[1].readiness().0, 503, "it has no data, and does not wait for Redis");
    redis.resume();
    pair.wait_for(&variation_of(&Dataset::of([pair.environment.clone()]).to_json(), "a"));
    // Redis itself makes its clients wait, and answers them later.
    assert_eq!(redis.cli(&["CLIENT", "PAUSE", "5000", "ALL"]), "OK");
    let variation = pair.change_one(1);
    pair.serve();
    pair.wait_for(&variation);
}

#[test]
fn an_agent_at_a_read_only_replica_reads_and_says_why_it_cannot_write() {
    if !installed("a replica for an agent") {
        return;
    }
    let master = redis::Builder::new().start();
    let replica = redis::Builder::new().replica_of(&master).start();
    replica.wait_info("replication", "master_link_status", "up");
    let servers = [&master, &replica];
    let starting = std::sync::atomic::AtomicUsize::new(0);
    let next = || offline(servers[starting.fetch_add(1, std::sync::atomic::Ordering::Relaxed)]);
    let mut pair = Pair::without_data(next);
    pair.change(0);
    pair.change(0);
    // It has something to write now.
    let variation = pair.change_one(1);
    wait_until("the refusal is in the status", SOON, || {
        let state = pair.agents[1].redis_status()["state"].as_str().unwrap_or_default().to_owned();
        state.starts_with("refused").then_some(())
    });
    pair.agents[1].wait_line("READONLY");
    pair.agents[1].wait_readiness_says("Redis: refused");
    // Changes of others still come.
    let other = pair.change_one(0);
    assert_ne!(other, variation);
    pair.wait_for(&other);
    // It becomes the master: what this agent has is written.
    master.cli(&["CLIENT", "LIST"]);
    replica.cli(&["REPLICAOF", "NO", "ONE"]);
    pair.change_one(1);
    pair.agents[1].wait_redis("connected");
    assert!(pair.agents[1].lines("Redis refuses").len() <= 2, "{}", pair.agents[1].log());
}

#[test]
fn a_wrong_password_is_named_and_a_corrected_file_is_used() {
    if !installed("a wrong password for a cluster") {
        return;
    }
    let redis = redis::Builder::new().password(PASSWORD).start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "battery-staple\n").unwrap();
    let with_file = || {
        Builder::offline()
            .sharing_and_polling(&redis.address())
            .env("Redis__Password__File", file.to_str().unwrap())
    };
    let mut pair = Pair::without_data(with_file);
    for agent in &pair.agents {
        agent.wait_line("password");
        wait_until("the refusal", SOON, || {
            agent.redis_status()["state"].as_str()?.starts_with("refused").then_some(())
        });
        assert!(!agent.log().contains("battery-staple"), "{}", agent.log());
        assert!(!agent.redis_status().to_string().contains("battery-staple"));
    }
    let first = pair.change_one(0);
    std::fs::write(&file, PASSWORD).unwrap();
    pair.wait_for(&first);
    pair.change(1);
    assert!(!pair.agents[0].log().contains(PASSWORD), "{}", pair.agents[0].log());
    // It is changed while the agents run.
    redis.cli(&["CONFIG", "SET", "requirepass", "new-horse"]);
    std::fs::write(&file, "new-horse").unwrap();
    pair.change(0);
}

#[test]
fn a_newer_format_is_left_alone() {
    if !installed("a newer format in Redis") {
        return;
    }
    let redis = redis::Builder::new().start();
    let mut pair = Pair::start(|| offline(&redis));
    let (meta, items) = (key(&redis, "meta"), key(&redis, "items"));
    redis.cli(&["HSET", &meta, "format", "2"]);
    let before = (redis.cli(&["HGETALL", &meta]), redis.cli(&["HGETALL", &items]));
    for agent in &pair.agents {
        wait_until("the refusal", SOON, || {
            (agent.redis_status()["state"] == "refused (format)").then_some(())
        });
    }
    pair.change_one(0);
    pair.serve();
    let fresh = offline(&redis).start();
    fresh.wait_line("written by a newer agent");
    assert_eq!((redis.cli(&["HGETALL", &meta]), redis.cli(&["HGETALL", &items])), before);
    assert_eq!(pair.agents[0].lines("written by a newer agent").len(), 1, "{}", pair.agents[0].log());
    redis.cli(&["HSET", &meta, "format", "1"]);
    pair.change(0);
    wait_alike("the new agent too", &[&pair.agents[0], &fresh], |_| true);
}

/// A value as an agent writes it, with this body.
fn value(later_ms: i64, body: &str) -> String {
    let hex = |number: i64| format!("{:016x}", number.cast_unsigned() ^ (1 << 63));
    let stamp = hex(common::dataset::START_MS + later_ms);
    format!("1{stamp}000000000{stamp}{}{:016x}{body}", hex(i64::MIN), 7)
}

#[test]
fn foreign_data_in_the_keys_does_no_harm() {
    if !installed("foreign data in Redis") {
        return;
    }
    let redis = redis::Builder::new().start();
    let mut pair = Pair::start(|| offline(&redis));
    let mut sdk = Watcher::server(&pair.agents[0], &pair.environment.secret(Kind::Server));
    let [meta, items, index] = ["meta", "items", "index"].map(|end| key(&redis, end));
    let environment = pair.environment.id.clone();
    let flag = |id: &str| format!("{environment}:f:{id}");
    let large = "x".repeat(100_000);
    let junk = [
        ("junk".to_owned(), "junk".to_owned()),
        (String::new(), String::new()),
        (flag("no-value"), String::new()),
        (flag("short"), "1".repeat(73)),
        (flag("no-json"), value(1, "{\"id\":")),
        (flag("two"), value(2, "{}},{\"id\":\"x\"}")),
        (flag("no-flag"), value(3, "[]")),
        (flag("null"), value(4, "null")),
        (flag("large"), value(5, &large)),
        (format!("{environment}:x:id"), value(6, "{}")),
        ("not-a-guid:f:id".to_owned(), value(7, "{}")),
        (flag("other-format"), format!("9{}", &value(8, "{}")[1..])),
        (flag("deep"), value(9, &"[".repeat(50_000))),
    ];
    for (number, (field, value)) in junk.iter().enumerate() {
        redis.cli(&["HSET", &items, field, value]);
        redis.cli(&["ZADD", &index, &(10_000 + number).to_string(), field]);
    }
    // Its own record of a flag is overwritten by something newer that is none.
    let own = flag(pair.environment.flags[0]["id"].as_str().unwrap());
    redis.cli(&["HSET", &items, &own, &value(999_999_999, "{\"broken\"")]);
    redis.cli(&["ZADD", &index, "10500", &own]);
    redis.cli(&["HSET", &meta, "sequence", "11000"]);
    pair.agents.iter().for_each(|agent| drop(agent.wait_line("data in Redis cannot be read")));
    // The last good data stays.
    sdk.expect_nothing_new();
    pair.serve();
    let count = f64::from(u32::try_from(junk.len() + 1).unwrap());
    for agent in &pair.agents {
        agent.wait_metric_at_least("featbit_agent_redis_unreadable_total", "", count);
    }
    // The list of environments, too.
    redis.cli(&[
        "HSET",
        &meta,
        "register",
        "junk",
        "register_stamp",
        "ffffffffffffffff:x",
        "register_sequence",
        "11001",
    ]);
    redis.cli(&["HSET", &meta, "sequence", "11001"]);
    for agent in &pair.agents {
        agent.wait_line("the list of environments is not what an agent writes");
        agent.wait_metric_at_least("featbit_agent_datasets_rejected_total", r#"source="cluster""#, 1.0);
    }
    sdk.expect_nothing_new();
    pair.serve();
    // The next bootstrap begins an edition, which replaces all of it.
    pair.change(0);
    pair.change(1);
    let variation =
        pair.environment.flags[0]["fallthrough"]["variations"][0]["id"].as_str().unwrap().to_owned();
    sdk.wait_variation("a", &variation);
    assert_eq!(redis.cli(&["HLEN", &items]), "2");
    for agent in &pair.agents {
        assert!(agent.lines("data in Redis cannot be read").len() <= 8, "{}", agent.log());
    }
    // A key of another type, and a state without its parts.
    redis.cli(&["DEL", &items]);
    redis.cli(&["SET", &items, "a text"]);
    wait_until("the wrong type is in the status", SOON, || {
        let status: Value = pair.agents[0].redis_status();
        status["lastError"]["message"].as_str()?.contains("WRONGTYPE").then_some(())
    });
    pair.serve();
    redis.cli(&["DEL", &items]);
    pair.change(1);
    redis.cli(&["HDEL", &meta, "edition", "sequence", "epoch"]);
    pair.change(0);
    redis.cli(&["HSET", &meta, "edition", "zzzz", "sequence", "-5", "epoch", ""]);
    let variation = pair.change_one(1);
    redis.cli(&["DEL", &meta]);
    pair.wait_for(&variation);
    redis.cli(&["PUBLISH", &meta.replace("meta", "changes"), "junk"]);
    pair.change(1);
}
