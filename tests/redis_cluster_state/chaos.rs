//! Everything at once: changes, new editions, agents that stop and start, a Redis that loses connections and data. What
//! the agents have afterwards is what the plain model has.
//!
//! `CLUSTER_SEED=n` runs one seed.

use std::collections::BTreeMap;
use std::time::Duration;

use featbit_agent::model::stamp::Edition;
use featbit_agent::persist::redis::{Command, Options, Record, Register};

use crate::agent::{Agent, Content, PREFIX, options, record, wait_converged};
use crate::common::redis::{Builder, Redis, installed};
use crate::common::rng::Rng;

const STEPS: usize = 120;

struct Chaos {
    rng: Rng,
    redis: Redis,
    agents: Vec<Agent>,
    /// What each edition has to end as.
    expected: BTreeMap<Edition, Content>,
    step: i64,
}

impl Chaos {
    fn start(seed: u64) -> Self {
        let redis = Builder::new().start();
        let mut chaos =
            Self { rng: Rng::new(seed), redis, agents: Vec::new(), expected: BTreeMap::new(), step: 0 };
        for at in 0..3 {
            let agent = chaos.agent(at, Content::default());
            chaos.agents.push(agent);
        }
        chaos
    }

    fn agent(&self, at: usize, content: Content) -> Agent {
        let options = Options {
            poll: Duration::from_millis(100),
            commands_max: 20,
            ..options(&format!("agent {at} of step {}", self.step))
        };
        Agent::start_with(&self.redis.url(), options, content)
    }

    fn records(&mut self) -> Vec<Record> {
        let count = [1, 3, 40, 700][self.rng.below(4)];
        let any = |rng: &mut Rng| Record {
            removed: rng.percent(10),
            version_ms: rng.below(5) as i64,
            place: u32::try_from(rng.below(3)).expect("small"),
            ..record(&format!("e:f:{}", rng.below(900)), rng.below(20) as i64, &"b".repeat(rng.below(4)))
        };
        (0..count).map(|_| any(&mut self.rng)).collect()
    }

    /// A change at one agent, of the edition that it has at this moment.
    fn write(&mut self, at: usize) {
        let (records, stamp) = (self.records(), (self.step, "r".to_owned()));
        let register =
            self.rng.percent(20).then(|| Register { stamp, body: vec![1], environments: Vec::new() });
        let mut content = self.agents[at].content.lock();
        let expected = self.expected.entry(content.edition.clone()).or_default();
        for content in [&mut *content, expected] {
            records.iter().cloned().for_each(|record| content.merge(record));
            register.iter().cloned().for_each(|register| content.merge_register(register));
        }
        let edition = content.edition.clone();
        self.agents[at].worker.send(Command::Write { edition, register, records, digest: None });
    }

    fn open(&mut self, at: usize) {
        let mut content = Content::default();
        self.records().into_iter().for_each(|record| content.merge(record));
        let records: Vec<_> = content.records.values().cloned().collect();
        self.agents[at].open(self.step, "opener", &records);
        let opened = self.agents[at].content.lock();
        let (edition, register) = (opened.edition.clone(), opened.register.clone());
        self.expected.insert(edition.clone(), Content { edition, register, ..content });
    }

    fn step(&mut self) {
        self.step += 1;
        let at = self.rng.below(3);
        match self.rng.below(100) {
            0..70 => self.write(at),
            70..78 => self.open(at),
            78..84 => {
                // The agent restarts with what it had; what its worker had not written is in there.
                let content = self.agents[at].content();
                self.agents[at] = self.agent(at, content);
            }
            84..88 => drop(self.redis.cli(&["FLUSHALL"])),
            88..92 => drop(self.redis.cli(&["CLIENT", "KILL", "TYPE", "normal"])),
            92..94 => drop(self.redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"])),
            94..96 => drop(self.redis.cli(&["SCRIPT", "FLUSH"])),
            96..98 => {
                let key = *self.rng.pick(&["meta", "items", "index", "files"]);
                self.redis.cli(&["DEL", &format!("{PREFIX}{key}")]);
            }
            _ => {
                self.redis.kill();
                self.redis.start_again_empty();
            }
        }
        if self.rng.percent(20) {
            // Long enough for some of it to be written, or not.
            std::thread::sleep(Duration::from_millis(self.rng.below(40) as u64));
        }
    }

    fn settle(mut self) {
        let agents: Vec<_> = self.agents.iter().collect();
        let content = wait_converged(&self.redis.url(), PREFIX, &agents);
        let (edition, expected) = self.expected.pop_last().expect("there were changes");
        assert_eq!(content.edition, edition);
        assert_eq!(content.records, expected.records);
        assert_eq!(content.register, expected.register);
    }
}

fn run(seed: u64) {
    println!("seed {seed}");
    let mut chaos = Chaos::start(seed);
    (0..STEPS).for_each(|_| chaos.step());
    chaos.settle();
}

#[test]
fn whatever_happens_all_agents_end_with_what_the_plain_model_has() {
    if !installed("clusters of agents under chaos") {
        return;
    }
    if let Ok(seed) = std::env::var("CLUSTER_SEED") {
        return run(seed.parse().expect("a number"));
    }
    (1..=4).for_each(run);
}

#[test]
#[ignore = "takes minutes; scripts/test --long runs it"]
fn whatever_happens_for_long_all_agents_end_with_what_the_plain_model_has() {
    if installed("clusters of agents under chaos for long") {
        (100..=200).for_each(run);
    }
}
