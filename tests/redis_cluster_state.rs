//! Agents that share one Redis come to the same data, whatever happens to them or to Redis.
//!
//! Uses the library's worker with a plain model of an agent, and real servers.

#![allow(clippy::expect_used, reason = "a test that cannot go on shall fail")]

#[path = "redis_cluster_state/agent.rs"]
mod agent;
#[path = "redis_cluster_state/chaos.rs"]
mod chaos;
mod common;
#[path = "redis_cluster_state/losses.rs"]
mod losses;
#[path = "redis_cluster_state/merging.rs"]
mod merging;
#[path = "redis_cluster_state/refusals.rs"]
mod refusals;
#[path = "redis_cluster_state/topologies.rs"]
mod topologies;

use std::time::{Duration, Instant};

use agent::{Agent, Content, PREFIX, options, record, stored, wait_converged};
use common::redis::{Builder, Redis, installed};
use common::{SOON, wait_until};
use featbit_agent::persist::redis::{Command, Options, Record, Register, State};

fn redis(test: &str) -> Option<Redis> {
    installed(test).then(|| Builder::new().start())
}

fn records(count: usize, stamp_ms: i64) -> Vec<Record> {
    (0..count).map(|at| record(&format!("e:f:{at}"), stamp_ms, &format!("{{\"{at}\":{stamp_ms}}}"))).collect()
}

#[test]
fn a_change_reaches_the_others_without_polling() {
    let Some(redis) = redis("a_change_reaches_the_others_without_polling") else { return };
    let agents = ["a", "b", "c"].map(|name| Agent::start(&redis.url(), name, Content::default()));
    agents.iter().for_each(Agent::wait_ready);
    agents[0].write(vec![record("e:f:1", 1, "one")]);
    agents[1].wait_body("e:f:1", "one");
    agents[2].wait_body("e:f:1", "one");
    agents[1].write(vec![record("e:f:1", 2, "two"), record("e:f:2", 2, "new")]);
    agents[0].wait_body("e:f:1", "two");
    agents[2].write_register(Register {
        stamp: (7, "c".to_owned()),
        body: b"{}".to_vec(),
        environments: vec!["e".to_owned()],
    });
    agents[2].write_digest("d1");
    agents[0].write_digest("d2");
    wait_until("register and digests are everywhere", SOON, || {
        let has = |agent: &Agent| {
            let content = agent.content();
            content.register.environments == ["e"] && content.digests.len() == 2
        };
        agents.iter().all(has).then_some(())
    });
    wait_converged(&redis.url(), PREFIX, &agents.each_ref());
}

#[test]
fn an_agent_that_starts_later_gets_everything() {
    let Some(redis) = redis("an_agent_that_starts_later_gets_everything") else { return };
    let first = Agent::start(&redis.url(), "a", Content::default());
    let mut large = records(3000, 5);
    large.push(record("e:f:large", 5, &"x".repeat(3 << 20)));
    first.open(9, "a", &large);
    first.wait_ready();
    let second = Agent::start(&redis.url(), "b", Content::default());
    let content = wait_converged(&redis.url(), PREFIX, &[&first, &second]);
    assert_eq!((content.records.len(), content.edition.opened_at_ms), (3001, 9));
    assert_eq!(redis.cli(&["KEYS", "*opening*"]), "", "nothing staged is left");
    assert_eq!(redis.cli(&["TTL", &format!("{PREFIX}items")]), "-1");
    assert!(second.status().counters.records_read >= 3001);
}

#[test]
fn an_edition_that_is_opened_while_another_agent_writes_wins_as_a_whole() {
    let Some(redis) = redis("an_edition_that_is_opened_while_another_agent_writes_wins_as_a_whole") else {
        return;
    };
    let agents = ["a", "b", "c"].map(|name| Agent::start(&redis.url(), name, Content::default()));
    agents[0].write(records(500, 1));
    agents.iter().for_each(Agent::wait_ready);
    for round in 1..10 {
        let at = usize::try_from(round).expect("small");
        for stamp_ms in 0..20 {
            agents[(at + 1) % 3].write(records(30, 1000 * round + stamp_ms));
        }
        // Older dates, fewer items: a rollback.
        agents[at % 3].open(100 + round, "r", &records(300, -round));
        agents[(at + 2) % 3].write(records(10, 5000 * round));
    }
    let content = wait_converged(&redis.url(), PREFIX, &agents.each_ref());
    assert_eq!(content.edition.opened_at_ms, 109);
}

#[test]
fn agents_with_data_open_an_empty_redis_at_once() {
    let Some(redis) = redis("agents_with_data_open_an_empty_redis_at_once") else { return };
    let agents = [0, 1, 2].map(|at| {
        let mut content = Content::default();
        records(600, at).into_iter().for_each(|record| content.merge(record));
        content.merge(record(&format!("e:f:own{at}"), 1, "own"));
        Agent::start(&redis.url(), &format!("agent{at}"), content)
    });
    let content = wait_converged(&redis.url(), PREFIX, &agents.each_ref());
    assert_eq!(content.records.len(), 603);
    assert_eq!(redis.cli(&["KEYS", "*opening*"]), "");
}

#[test]
fn tombstones_and_removed_environments_leave_redis_unless_they_are_newer() {
    let Some(redis) = redis("tombstones_and_removed_environments_leave_redis_unless_they_are_newer") else {
        return;
    };
    let agents = ["a", "b"].map(|name| Agent::start(&redis.url(), name, Content::default()));
    agents.iter().for_each(Agent::wait_ready);
    let tombstone = |field: &str| Record { removed: true, ..record(field, 5, "99") };
    let mut all = vec![tombstone("e:f:1"), tombstone("e:f:2"), record("e:f:3", 5, "3")];
    all.extend((0..700).map(|at| record(&format!("[gone]*:f:{at}"), 1, "g")));
    all.push(record("[gone]:f:other", 1, "stays"));
    agents[0].write(all);
    agents[0].write_register(Register {
        stamp: (1, "a".to_owned()),
        body: Vec::new(),
        environments: vec!["e".to_owned(), "[gone]".to_owned()],
    });
    wait_converged(&redis.url(), PREFIX, &agents.each_ref());
    let edition = agents[0].content().edition;
    let tombstones = vec![("e:f:1".into(), 5), ("e:f:2".into(), 4), ("e:f:3".into(), 5)];
    agents[0].worker.send(Command::Forget { edition: edition.clone(), tombstones });
    for environment in ["e", "[gone]*"] {
        let (edition, environment) = (edition.clone(), environment.to_owned());
        agents[0].worker.send(Command::RemoveEnvironment { edition, environment });
    }
    wait_until("three records are left", SOON, || {
        let left = stored(&redis.url(), PREFIX);
        left.keys().map(|field| &**field).eq(["[gone]:f:other", "e:f:2", "e:f:3"]).then_some(())
    });
    // The other agent notices that it has what Redis lacks, and knows that it was removed on purpose.
    let asked = agents[1].asked.load(std::sync::atomic::Ordering::Relaxed);
    agents[0].write(vec![record("e:f:3", 6, "newer")]);
    agents[1].wait_body("e:f:3", "newer");
    agents[1].wait_status("the other agent's mirror is right", |status| status.records == 3);
    assert_eq!(agents[1].asked.load(std::sync::atomic::Ordering::Relaxed), asked);
    assert_eq!(agents[0].status().records, 3);
}

#[test]
fn changes_that_come_faster_than_redis_takes_them_are_compared_later() {
    let Some(redis) = redis("changes_that_come_faster_than_redis_takes_them_are_compared_later") else {
        return;
    };
    let options = Options { commands_max: 4, ..options("a") };
    let agents = [
        Agent::start_with(&redis.url(), options, Content::default()),
        Agent::start(&redis.url(), "b", Content::default()),
    ];
    agents.iter().for_each(Agent::wait_ready);
    for at in 0..2000 {
        agents[0].write(vec![record(&format!("e:f:{}", at % 50), at, &at.to_string())]);
    }
    assert!(agents[0].status().counters.overflows > 0);
    wait_converged(&redis.url(), PREFIX, &agents.each_ref());
}

#[test]
fn a_slow_agent_gets_everything_and_its_worker_can_be_stopped() {
    let Some(redis) = redis("a_slow_agent_gets_everything_and_its_worker_can_be_stopped") else { return };
    let slow_options = Options { events_max: 1, ..options("slow") };
    let agents = [
        Agent::start(&redis.url(), "a", Content::default()),
        Agent::start_with(&redis.url(), slow_options, Content::default()),
    ];
    agents.iter().for_each(Agent::wait_ready);
    agents[1].is_slow.store(true, std::sync::atomic::Ordering::Relaxed);
    for at in 0..20 {
        agents[0].write(records(300, at));
    }
    agents[1].is_slow.store(false, std::sync::atomic::Ordering::Relaxed);
    wait_converged(&redis.url(), PREFIX, &agents.each_ref());
    agents[1].is_slow.store(true, std::sync::atomic::Ordering::Relaxed);
    agents[0].write(records(3000, 100));
    agents[0].wait_status("all is written", |status| status.counters.records_written >= 9000);
    assert!(agents[1].worker.stop(SOON), "the worker ends although nobody takes its events");
}

#[test]
fn a_stop_writes_what_waits_and_does_not_wait_for_a_redis_that_hangs() {
    let Some(redis) = redis("a_stop_writes_what_waits_and_does_not_wait_for_a_redis_that_hangs") else {
        return;
    };
    let agent = Agent::start(&redis.url(), "a", Content::default());
    agent.wait_ready();
    agent.write(records(2000, 1));
    assert!(agent.worker.stop(SOON));
    assert_eq!(stored(&redis.url(), PREFIX).len(), 2000);
    let agent = Agent::start(&redis.url(), "b", Content::default());
    agent.wait_state(State::Connected);
    redis.pause();
    agent.write(records(1, 2));
    let before = Instant::now();
    let ended = agent.worker.stop(Duration::from_millis(300));
    // The time-outs of the connection are longer than that.
    assert!(!ended || before.elapsed() < SOON);
    redis.resume();
}
