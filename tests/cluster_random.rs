//! Agents that share one Redis get thousands of changes and removals in random order, repeated and partly, while they and
//! Redis are killed: at the end all have what a plain model has.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::collections::BTreeMap;

use common::agent::Agent;
use common::dataset::{Dataset, Environment, boolean_flag, guid_of, segment, serve, touch};
use common::following::with_short_retries;
use common::redis::{self, Redis, installed};
use common::rng::Rng;
use common::server::Server;
use common::server::model::{self, Model};
use common::sharing::wait_alike;
use serde_json::{Value, json};

const AGENTS: usize = 3;
const ENVIRONMENTS: u8 = 2;
const ITEMS: usize = 40;

/// Environment, list, id.
type Key = (String, &'static str, String);

/// The state of an item with the greatest stamp that the server ever had.
#[derive(Debug)]
struct Newest {
    stamp: (i64, String),
    /// `None`: removed in that state.
    item: Option<Value>,
}

/// What the servers should have, and the changes so far.
struct World {
    rng: Rng,
    newest: BTreeMap<Key, Newest>,
    /// Messages that were pushed, to be pushed again.
    pushed: Vec<String>,
    servers: Vec<Server>,
    agents: Vec<Agent>,
    redis: Redis,
}

impl World {
    fn start(seed: u64) -> Self {
        // Durable: nothing that an agent was told is stored is lost, as with a disk.
        let redis = redis::Builder::new().line("appendonly yes").start();
        let environments = (0..ENVIRONMENTS).map(|number| Environment::new(number + 1).flag(anchor()));
        let data = Dataset::of(environments);
        let servers: Vec<_> = (0..AGENTS).map(|_| Server::start(&data)).collect();
        let agents = servers.iter().map(|server| with_short_retries(server).sharing(&redis.url()).start());
        let agents: Vec<_> = agents.collect();
        agents.iter().for_each(Agent::wait_stable);
        let mut newest = BTreeMap::new();
        for environment in &data.environments {
            let flag = environment.flags[0].clone();
            let key = (environment.id.clone(), "featureFlags", text(&flag, "id"));
            newest.insert(key, Newest { stamp: (i64::MIN, String::new()), item: Some(flag) });
        }
        Self { rng: Rng::new(seed), newest, pushed: Vec::new(), servers, agents, redis }
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..75 => self.change(),
            75..95 => self.repeat(),
            95..99 => self.remove(),
            _ => {
                let agent = self.rng.below(AGENTS);
                self.agents[agent].resync();
            }
        }
    }

    /// A change with any date. The servers keep it if it is the newest.
    fn change(&mut self) {
        let environment = Environment::new(1 + u8::try_from(self.rng.below(ENVIRONMENTS.into())).unwrap());
        let name = format!("item-{}", self.rng.below(ITEMS));
        let later_ms = i64::try_from(self.rng.below(50_000)).unwrap();
        let is_flag = self.rng.percent(80);
        let mut item = if is_flag { boolean_flag(&name) } else { segment(&name) };
        item["envId"] = json!(environment.id);
        item["name"] = json!(format!("{name} of {}", self.rng.below(1_000)));
        touch(&mut item, later_ms);
        if is_flag {
            let variation = if self.rng.percent(50) { "v0" } else { "v1" };
            serve(&mut item, variation);
        }
        let list = if is_flag { "featureFlags" } else { "segments" };
        let stamp = (later_ms, item.to_string());
        let key = (environment.id.clone(), list, guid_of(&name));
        let before = self.newest.get(&key);
        let is_newer = before.is_none_or(|before| match before.item {
            Some(_) => before.stamp < stamp,
            // A removal is greater than what has the same date.
            None => before.stamp.0 < stamp.0,
        });
        if is_newer {
            self.each_model(|model| Model::upsert(list_of(model, &key), item.clone()));
            self.newest.insert(key, Newest { stamp, item: Some(item.clone()) });
        }
        let message = if is_flag { model::flag_patch(&item) } else { model::segment_patch(&item) };
        self.push(&message);
        self.pushed.push(message);
    }

    fn repeat(&mut self) {
        if self.pushed.is_empty() {
            return;
        }
        let at = self.rng.below(self.pushed.len());
        let message = self.pushed[at].clone();
        self.push(&message);
    }

    /// Removes an item at the servers; one agent gets to know it at once.
    fn remove(&mut self) {
        let there: Vec<_> = self.newest.iter().filter(|(_, newest)| newest.item.is_some()).collect();
        let keys: Vec<Key> = there.into_iter().map(|(key, _)| key.clone()).collect();
        let key = self.rng.pick(&keys).clone();
        if key.2 == guid_of("anchor") {
            return;
        }
        self.each_model(|model| list_of(model, &key).retain(|item| item["id"] != *key.2));
        self.newest.get_mut(&key).unwrap().item = None;
        let agent = self.rng.below(AGENTS);
        self.agents[agent].resync();
    }

    fn each_model(&self, change: impl Fn(&mut Model)) {
        self.servers.iter().for_each(|server| server.change_without_push(&change));
    }

    /// Pushes a message to some of the agents.
    fn push(&mut self, message: &str) {
        for server in &self.servers {
            if self.rng.percent(55) {
                server.open_relays().iter().for_each(|relay| relay.send(message));
            }
        }
    }

    fn restart(&mut self) {
        let agent = self.rng.below(AGENTS);
        self.agents[agent].kill();
        for _ in 0..20 {
            self.change();
        }
        self.agents[agent].start_again();
    }

    /// The data of all agents is that of the model.
    fn check(&self) {
        let agents: Vec<_> = self.agents.iter().collect();
        agents.iter().for_each(|agent| agent.wait_stable());
        agents.iter().for_each(|agent| agent.resync());
        let mut wanted: BTreeMap<Key, &Value> = BTreeMap::new();
        for (key, newest) in &self.newest {
            wanted.extend(newest.item.as_ref().map(|item| (key.clone(), item)));
        }
        wait_alike("the model", &agents, |data| {
            let mut have = BTreeMap::new();
            for environment in data["items"].as_array().into_iter().flatten() {
                for list in ["featureFlags", "segments"] {
                    for item in environment[list].as_array().into_iter().flatten() {
                        have.insert((text(environment, "envId"), list, text(item, "id")), item);
                    }
                }
            }
            have.len() == wanted.len() && wanted.iter().all(|(key, item)| have.get(key) == Some(item))
        });
    }
}

fn anchor() -> Value {
    boolean_flag("anchor")
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

fn list_of<'m>(model: &'m mut Model, key: &Key) -> &'m mut Vec<Value> {
    let environment = model.environment(&key.0);
    if key.1 == "segments" { &mut environment.segments } else { &mut environment.flags }
}

/// `rounds` of 1000 steps each, with restarts in between.
fn chaos(seed: u64, rounds: usize) {
    let mut world = World::start(seed);
    for round in 0..rounds {
        for step in 0..1_000 {
            world.step();
            if step % 400 == 399 {
                world.restart();
            }
        }
        match round % 4 {
            1 => assert_eq!(world.redis.cli(&["FLUSHALL"]), "OK"),
            3 => {
                world.redis.kill();
                for _ in 0..100 {
                    world.step();
                }
                world.redis.start_again();
            }
            _ => {}
        }
        if round % 5 == 4 || round + 1 == rounds {
            world.check();
        }
    }
    let messages: usize = world.pushed.len();
    println!(
        "seed {seed}: {messages} changes, {} commands of Redis",
        world.redis.info("stats", "total_commands_processed")
    );
}

#[test]
fn ten_thousand_changes_in_random_order_end_in_the_same_state_everywhere() {
    if installed("10,000 random changes in a cluster") {
        chaos(20_240_201, 10);
    }
}

#[test]
#[ignore = "takes minutes"]
fn soak_of_random_changes() {
    if installed("soak of random changes in a cluster") {
        (1..=12).for_each(|seed| chaos(seed, 20));
    }
}
