//! What Redis refuses, and data that this agent must not touch.

use featbit_agent::persist::redis::{Options, State};

use crate::agent::{Agent, Content, PREFIX, options, record, stored, wait_converged};
use crate::common::redis::{Builder, installed};
use crate::common::{SOON, wait_until};
use crate::{records, redis};

/// The rule that docs/redis.md gives.
fn documented_rule() -> String {
    let page = include_str!("../../docs/redis.md");
    let line = page.lines().find_map(|line| line.trim().strip_prefix("ACL SETUSER agent "));
    line.expect("docs/redis.md gives a rule").replace("featbit-agent:*", "test:*")
}

#[test]
fn the_documented_permissions_are_enough() {
    if !installed("the_documented_permissions_are_enough") {
        return;
    }
    let redis = Builder::new().user("agent", &documented_rule()).start();
    let url = format!("redis://agent:PASSWORD@{}", redis.address());
    let agents = ["a", "b"].map(|name| Agent::start(&url, name, Content::default()));
    agents.iter().for_each(Agent::wait_ready);
    agents[0].write(records(300, 1));
    agents[1].wait_body("e:f:1", "{\"1\":1}");
    agents[1].open(5, "b", &records(10, 1));
    agents[1].write_digest("d");
    let content = wait_converged(&redis.url(), PREFIX, &agents.each_ref());
    let (edition, tombstones) = (content.edition.clone(), vec![("e:f:1".into(), 1)]);
    agents[0].worker.send(featbit_agent::persist::redis::Command::Forget { edition, tombstones });
    let (edition, environment) = (content.edition, "e".to_owned());
    agents[0].worker.send(featbit_agent::persist::redis::Command::RemoveEnvironment { edition, environment });
    wait_until("the environment is gone", SOON, || stored(&redis.url(), PREFIX).is_empty().then_some(()));
    assert_eq!(agents[0].status().error, None);
    assert_eq!(agents[1].status().polling, None);
    assert_eq!(redis.cli(&["ACL", "LOG"]), "");
}

#[test]
fn a_user_without_rights_to_the_channel_polls() {
    if !installed("a_user_without_rights_to_the_channel_polls") {
        return;
    }
    let redis = Builder::new().user("silent", "on >PASSWORD ~* resetchannels +@all").start();
    let url = format!("redis://silent:PASSWORD@{}", redis.address());
    let agents = ["a", "b"].map(|name| {
        let options = Options { poll: std::time::Duration::from_millis(50), ..options(name) };
        Agent::start_with(&url, options, Content::default())
    });
    agents.iter().for_each(Agent::wait_ready);
    agents[0].wait_status("it says that it polls", |status| {
        status.polling.as_ref().is_some_and(|why| why.contains("channel"))
    });
    agents[0].write(records(10, 1));
    agents[1].wait_body("e:f:1", "{\"1\":1}");
    agents[1].write(records(10, 2));
    wait_converged(&redis.url(), PREFIX, &agents.each_ref());
    assert_eq!(agents[0].status().state, State::Connected);
}

#[test]
fn a_script_that_redis_has_forgotten_is_loaded_again() {
    let Some(redis) = redis("a_script_that_redis_has_forgotten_is_loaded_again") else { return };
    let agents = ["a", "b"].map(|name| Agent::start(&redis.url(), name, Content::default()));
    agents.iter().for_each(Agent::wait_ready);
    for stamp_ms in 1..4 {
        assert_eq!(redis.cli(&["SCRIPT", "FLUSH"]), "OK");
        agents[0].write(records(3, stamp_ms));
        agents[1].wait_body("e:f:1", &format!("{{\"1\":{stamp_ms}}}"));
    }
    assert_eq!(agents[0].status().counters.errors, 0);
}

#[test]
fn a_format_of_the_future_is_refused_and_left_alone() {
    let Some(redis) = redis("a_format_of_the_future_is_refused_and_left_alone") else { return };
    let meta = format!("{PREFIX}meta");
    redis.cli(&["HSET", &meta, "format", "2", "epoch", "e", "edition", "?"]);
    redis.cli(&["SET", &format!("{PREFIX}items"), "not a hash any more"]);
    let mut content = Content::default();
    content.merge(record("e:f:1", 1, "one"));
    let agent = Agent::start(&redis.url(), "a", content);
    agent.wait_state(State::Refused("format"));
    agent.write(records(3, 1));
    agent.open(7, "a", &records(3, 1));
    agent.wait_status("it has tried again", |status| status.counters.errors >= 3);
    let (_, text) = agent.status().error.expect("there is an error");
    assert!(text.contains("format 2") && text.contains("update"), "{text}");
    assert_eq!(redis.cli(&["HGET", &meta, "edition"]), "?");
    assert_eq!(redis.cli(&["KEYS", "*"]).lines().count(), 2, "nothing was written");
}

#[test]
fn a_redis_whose_memory_is_used_up_is_still_read() {
    let Some(redis) = redis("a_redis_whose_memory_is_used_up_is_still_read") else { return };
    let agents = ["a", "b"].map(|name| Agent::start(&redis.url(), name, Content::default()));
    agents.iter().for_each(Agent::wait_ready);
    agents[0].write(records(500, 1));
    wait_converged(&redis.url(), PREFIX, &agents.each_ref());
    redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let before = stored(&redis.url(), PREFIX);
    agents[0].write(records(3, 2));
    agents[0].wait_state(State::Refused("OOM"));
    agents[0].write(vec![record("e:f:while refused", 1, "own")]);
    assert_eq!(stored(&redis.url(), PREFIX), before);
    redis.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    agents[1].write(vec![record("e:f:other", 1, "of the other")]);
    agents[0].wait_body("e:f:other", "of the other");
    agents[0].wait_state(State::Connected);
    agents[1].wait_body("e:f:while refused", "own");
    wait_converged(&redis.url(), PREFIX, &agents.each_ref());
    assert_eq!(agents[0].status().counters.reconnects, 0);
}

#[test]
fn a_read_only_replica_is_read_and_refuses_own_data() {
    let Some(master) = redis("a_read_only_replica_is_read_and_refuses_own_data") else { return };
    let replica = Builder::new().replica_of(&master).start();
    replica.wait_info("replication", "master_link_status", "up");
    let writer = Agent::start(&master.url(), "a", Content::default());
    writer.write(records(600, 1));
    writer.wait_ready();
    let reader = Agent::start(&replica.url(), "b", Content::default());
    wait_converged(&master.url(), PREFIX, &[&writer, &reader]);
    writer.write(records(1, 2));
    reader.wait_body("e:f:0", "{\"0\":2}");
    reader.write(vec![record("e:f:own", 1, "own")]);
    reader.wait_state(State::Refused("READONLY"));
    writer.write(records(1, 3));
    reader.wait_body("e:f:0", "{\"0\":3}");
    assert!(!stored(&master.url(), PREFIX).contains_key("e:f:own"));
    // A fail-over makes it writable.
    replica.cli(&["REPLICAOF", "NO", "ONE"]);
    wait_until("the own record is written", SOON, || {
        stored(&replica.url(), PREFIX).contains_key("e:f:own").then_some(())
    });
}
