//! Random changes and faults of a server, at full speed. In the end every SDK has the server's data; on the way nothing
//! came twice, nothing became older, and no connection was closed.
//!
//! `CHAOS_SEED=7 cargo test --test agent_mode_chaos` repeats one run as far as its own dice go.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::time::{Duration, Instant};

use common::SOON;
use common::agent::{API_KEY, Agent, Builder};
use common::dataset::{
    Dataset, Environment, Kind, START_MS, boolean_flag, everybody, guid_of, iso, rule, segment,
    segment_condition, serve, touch, user,
};
use common::following::two_flags;
use common::rng::Rng;
use common::server::Server;
use common::server::delayed::Delay;
use common::server::model::flag_patch;
use common::server::script::{Answer, Opening, Shape};
use common::watcher::Watcher;
use serde_json::{Value, json};

/// Steps of one run.
const STEPS: usize = 60;

struct Chaos {
    rng: Rng,
    server: Server,
    agent: Agent,
    environments: Vec<Environment>,
    watchers: Vec<(String, Watcher)>,
    later_ms: i64,
    made: u8,
    history: Vec<String>,
}

fn environment(number: u8) -> Environment {
    let mut uses = boolean_flag("uses");
    let condition = segment_condition(&[&guid_of("people")], false);
    uses["rules"] = json!([rule("in", vec![condition], everybody("v1"))]);
    two_flags(number).flag(uses).segment(segment("people"))
}

impl Chaos {
    fn start(seed: u64) -> Self {
        let environments: Vec<Environment> = (1..=3).map(environment).collect();
        let server = Server::start(&Dataset::of(environments.clone()));
        let agent = Builder::following(&server)
            .env("RevocationGraceSeconds", "600")
            .env("Upstream__ConnectSeconds", "1")
            .env("Upstream__SyncSeconds", "1")
            .env("Upstream__PingSeconds", "100ms")
            .env("Upstream__SilenceSeconds", "500ms")
            .env("Upstream__RetrySeconds", "100ms")
            .env("Upstream__UnknownSecretResyncSeconds", "100ms")
            .start();
        agent.wait_stable();
        let mut watchers = Vec::new();
        for environment in &environments {
            let server_sdk = Watcher::server(&agent, &environment.secret(Kind::Server));
            watchers.push((environment.id.clone(), server_sdk));
            let mut client = Watcher::client(&agent, &environment.secret(Kind::Client), &user("ann", &[]));
            client.may_repeat = true;
            watchers.push((environment.id.clone(), client));
        }
        let rng = Rng::new(seed);
        Self { rng, server, agent, environments, watchers, later_ms: 0, made: 10, history: Vec::new() }
    }

    fn any_environment(&mut self) -> String {
        let at = self.rng.below(self.environments.len());
        self.environments[at].id.clone()
    }

    fn later(&mut self) -> i64 {
        self.later_ms += 1 + self.rng.below(3000) as i64;
        self.later_ms
    }

    /// What the server has of an environment.
    fn truth(&self, id: &str) -> Environment {
        let mut found = None;
        self.server.change_without_push(|model| found = Some(model.environment(id).clone()));
        found.unwrap()
    }

    fn step(&mut self) {
        let what = self.rng.below(24);
        self.history.push(format!("{what}"));
        match what {
            0..=5 => self.change_a_flag(),
            6 => {
                self.server.script(|script| script.mute = true);
                self.change_a_flag();
                self.server.script(|script| script.mute = false);
            }
            7 => self.change_a_segment(),
            8 => self.archive_or_delete(),
            9 => self.make_a_flag(),
            10 => self.change_secrets(),
            11 => self.change_scope(),
            12 => self.agent.resync(),
            13 | 14 => self.break_a_connection(),
            15 => self.refuse_the_next(),
            16 => self.spoil_the_next_answer(),
            17 => self.send_the_old_or_nonsense(),
            18 => {
                let old = self.rng.percent(50);
                self.server.delay(if old { Delay::AsRequested } else { Delay::AsReleased });
            }
            19 => self.server.release(),
            20 => self.server.stop_listening(),
            21 => self.server.start_listening(),
            22 => self.come_anew(),
            _ => self.reshape(),
        }
        for (_, watcher) in &mut self.watchers {
            watcher.take_what_is_there();
        }
    }

    fn change_a_flag(&mut self) {
        let id = self.any_environment();
        let flags = self.truth(&id).flags;
        if flags.is_empty() {
            return;
        }
        let mut flag = flags[self.rng.below(flags.len())].clone();
        serve(&mut flag, if self.rng.percent(50) { "v0" } else { "v1" });
        touch(&mut flag, self.later());
        self.server.upsert_flag(&id, flag);
    }

    fn change_a_segment(&mut self) {
        let ids: Vec<String> = self.environments.iter().map(|environment| environment.id.clone()).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut people = segment("people");
        people["included"] = if self.rng.percent(50) { json!(["ann"]) } else { json!([]) };
        touch(&mut people, self.later());
        self.server.upsert_segment(&ids, &people);
    }

    fn archive_or_delete(&mut self) {
        let id = self.any_environment();
        let flags = self.truth(&id).flags;
        // One always stays: a server that has nothing at all is not believed.
        if flags.len() < 2 {
            return;
        }
        let key = flags[self.rng.below(flags.len())]["key"].as_str().unwrap().to_owned();
        let later = self.later();
        if self.rng.percent(50) {
            self.server.archive_flag(&id, &key, START_MS + later);
        } else {
            self.server.delete_flag(&id, &key);
        }
    }

    fn make_a_flag(&mut self) {
        let id = self.any_environment();
        let key = format!("flag-{}", self.rng.below(5));
        if self.truth(&id).flags.iter().any(|flag| flag["key"] == *key) {
            return;
        }
        let mut flag = boolean_flag(&key);
        let later = self.later();
        touch(&mut flag, later);
        // Deleted and made again, it is another one.
        flag["id"] = json!(guid_of(&format!("{key} {later}")));
        self.server.upsert_flag(&id, flag);
    }

    fn change_secrets(&mut self) {
        let id = self.any_environment();
        self.made += 1;
        let kind = if self.rng.percent(70) { Kind::Server } else { Kind::Client };
        let secret = self.server.create_secret(&id, kind, self.made);
        if self.rng.percent(30) {
            self.server.revoke_secret(&id, &secret);
        }
    }

    fn change_scope(&mut self) {
        let id = self.environments[2].id.clone();
        self.server.remove_from_scope(API_KEY, &id);
        if self.rng.percent(50) {
            self.server.add_to_scope(API_KEY, &id);
        }
    }

    fn break_a_connection(&mut self) {
        let open = self.server.open_relays();
        if open.is_empty() {
            return;
        }
        let relay = self.rng.pick(&open);
        match self.rng.below(5) {
            0 => relay.reset(),
            1 => relay.end(),
            2 => relay.silence(),
            3 => relay.send_raw(&[0xFF, 0xFF, 0xFF]),
            _ => relay.close(*self.rng.pick(&[1000, 1001, 1008, 1011, 1012, 4000, 4003])),
        }
    }

    fn refuse_the_next(&mut self) {
        let opening = self
            .rng
            .pick(&[
                Opening::Status(503),
                Opening::Status(403),
                Opening::NoAnswer,
                Opening::ResetBeforeUpgrade,
                Opening::ResetAfterUpgrade,
                Opening::Silent,
                Opening::ResetAtRequest,
                Opening::ResetWithin(700),
                Opening::EndAfterAnswer,
                Opening::Close(1000),
            ])
            .clone();
        self.server.next_openings([opening]);
    }

    fn spoil_the_next_answer(&mut self) {
        let empty = r#"{"messageType":"data-sync","data":{"eventType":"rp_full","items":[]}}"#;
        let answer = self
            .rng
            .pick(&[
                Answer::None,
                Answer::Text("{".into()),
                Answer::Text(empty.into()),
                Answer::Bytes(vec![0xFF; 9]),
                Answer::Text(
                    r#"{"messageType":"data-sync","data":{"eventType":"rp_patch","items":7}}"#.into(),
                ),
            ])
            .clone();
        self.server.next_answers([answer]);
    }

    fn send_the_old_or_nonsense(&mut self) {
        let open = self.server.open_relays();
        let Some(relay) = open.last() else { return };
        let id = self.any_environment();
        let flags = self.truth(&id).flags;
        let mut old = flags[self.rng.below(flags.len())].clone();
        match self.rng.below(4) {
            0 => relay.send(&flag_patch(&old)),
            1 => {
                serve(&mut old, "v1");
                old["updatedAt"] = json!(iso(START_MS - 1000));
                relay.send(&flag_patch(&old));
            }
            2 => relay.send("nonsense"),
            _ => {
                old["envId"] = json!(Environment::new(9).id);
                relay.send(&flag_patch(&old));
            }
        }
    }

    /// An SDK disconnects, and another one connects.
    fn come_anew(&mut self) {
        let at = self.rng.below(self.watchers.len());
        let environment = self.environments.iter().find(|have| have.id == self.watchers[at].0).unwrap();
        // If its environment has left the scope, it is unknown when a connection is accepted again.
        if environment.id != self.environments[2].id {
            let mut watcher = if at.is_multiple_of(2) {
                Watcher::server(&self.agent, &environment.secret(Kind::Server))
            } else {
                Watcher::client(&self.agent, &environment.secret(Kind::Client), &user("ann", &[]))
            };
            watcher.may_repeat = watcher.is_client();
            self.watchers[at].1 = watcher;
        }
    }

    fn reshape(&mut self) {
        let shape = Shape { frame_bytes: 1 + self.rng.below(300), pings_between: true, drip: None };
        let shape = if self.rng.percent(50) { shape } else { Shape::default() };
        self.server.script(|script| script.shape = shape);
    }

    /// The faults end, and every SDK gets the server's data.
    fn settle(&mut self) {
        self.server.script(|script| {
            script.openings.clear();
            script.answers.clear();
        });
        let id = self.environments[2].id.clone();
        self.server.remove_from_scope(API_KEY, &id);
        self.server.add_to_scope(API_KEY, &id);
        self.server.release();
        self.server.start_listening();
        // Whoever waits for an answer that was swallowed gives up in time and asks again.
        self.agent.wait_stable();
        self.agent.resync();
        let truths: Vec<Environment> = self.watchers.iter().map(|(id, _)| self.truth(id)).collect();
        let end = Instant::now() + SOON;
        for (truth, (_, watcher)) in truths.iter().zip(&mut self.watchers) {
            while !holds(watcher, truth) {
                assert!(
                    Instant::now() < end,
                    "an SDK holds {:#?} instead of {:#?}",
                    watcher.flags,
                    truth.flags
                );
                watcher.take_within(Duration::from_millis(20));
            }
        }
        self.agent.wait_stable();
        // It stays so, and later changes arrive.
        for environment in self.environments.clone() {
            let mut last = boolean_flag("the last");
            let later = self.later();
            touch(&mut last, later);
            self.server.upsert_flag(&environment.id, last);
        }
        for (_, watcher) in &mut self.watchers {
            watcher.wait_variation("the last", "v0");
        }
        for (_, watcher) in &mut self.watchers {
            watcher.expect_nothing_new();
        }
    }
}

/// Whether an SDK has exactly that data.
fn holds(watcher: &Watcher, truth: &Environment) -> bool {
    watcher.flags.len() == truth.flags.len()
        && truth.flags.iter().all(|flag| {
            watcher.flags.get(flag["key"].as_str().unwrap()).is_some_and(|have| match watcher.is_client() {
                true => have["variationId"] == expected(flag, truth),
                false => without_version(have) == without_version(flag),
            })
        })
        && (watcher.is_client()
            || truth.segments.iter().all(|segment| {
                let have = watcher.segments.get(segment["id"].as_str().unwrap());
                have.is_some_and(|have| without_version(have) == without_version(segment))
            }))
}

/// An item without the version that it is sent with.
fn without_version(item: &Value) -> Value {
    let mut item = item.clone();
    item.as_object_mut().unwrap().remove("updatedAt");
    item
}

/// What Ann gets.
fn expected(flag: &Value, truth: &Environment) -> Value {
    if flag["isArchived"] == true {
        return Value::Null;
    }
    let in_segment = truth.segments[0]["included"].as_array().unwrap().contains(&json!("ann"));
    if in_segment && !flag["rules"].as_array().unwrap().is_empty() {
        return json!("v1");
    }
    flag["fallthrough"]["variations"][0]["id"].clone()
}

fn run(seed: u64) {
    println!("seed {seed}");
    let mut chaos = Chaos::start(seed);
    for _ in 0..STEPS {
        chaos.step();
    }
    chaos.settle();
}

#[test]
fn whatever_happens_every_sdk_ends_with_what_the_server_has() {
    if let Ok(seed) = std::env::var("CHAOS_SEED") {
        return run(seed.parse().unwrap());
    }
    (1..=4).for_each(run);
}

#[test]
#[ignore = "takes minutes; scripts/test --long runs it"]
fn whatever_happens_for_long_every_sdk_ends_with_what_the_server_has() {
    (100..=200).for_each(run);
}
