//! Redis loses data or connections: the agents that hold data fill it again.

use std::time::Duration;

use featbit_agent::persist::redis::{Options, State};

use crate::agent::{Agent, Content, PREFIX, options, record, stored, wait_converged};
use crate::common::redis::{Builder, Redis, installed};
use crate::common::{SOON, wait_until};
use crate::{records, redis};

fn two(redis: &Redis) -> [Agent; 2] {
    let agents = ["a", "b"].map(|name| Agent::start(&redis.url(), name, Content::default()));
    agents.iter().for_each(Agent::wait_ready);
    agents[0].write(records(1500, 1));
    agents[1].write_digest("d");
    wait_converged(&redis.url(), PREFIX, &agents.each_ref());
    agents
}

#[test]
fn flushall_is_filled_again() {
    let Some(redis) = redis("flushall_is_filled_again") else { return };
    let agents = two(&redis);
    redis.cli(&["FLUSHALL"]);
    // Any sign of life makes them look.
    agents[0].write(vec![record("e:f:new", 1, "new")]);
    let content = wait_converged(&redis.url(), PREFIX, &agents.each_ref());
    assert_eq!(content.records.len(), 1501);
    agents[1].write(vec![record("e:f:new", 2, "newer")]);
    agents[0].wait_body("e:f:new", "newer");
}

#[test]
fn a_redis_that_is_killed_and_comes_back_empty_is_filled_again() {
    let Some(mut redis) = redis("a_redis_that_is_killed_and_comes_back_empty_is_filled_again") else {
        return;
    };
    let agents = two(&redis);
    redis.kill();
    agents.iter().for_each(|agent| agent.wait_state(State::Away));
    agents[0].write(vec![record("e:f:0", 5, "meanwhile a")]);
    agents[1].write(vec![record("e:f:1", 5, "meanwhile b")]);
    redis.start_again_empty();
    wait_converged(&redis.url(), PREFIX, &agents.each_ref());
    agents[1].wait_body("e:f:0", "meanwhile a");
    agents[0].wait_body("e:f:1", "meanwhile b");
    agents.iter().for_each(|agent| agent.wait_state(State::Connected));
    assert_eq!(agents[0].status().counters.reconnects, 1);
}

/// The data goes back to an earlier state with lower sequences, as after a fail-over that lost writes.
#[test]
fn lost_writes_are_written_again() {
    let Some(mut redis) = redis("lost_writes_are_written_again") else { return };
    let agents = two(&redis);
    assert_eq!(redis.cli(&["SAVE"]), "OK");
    agents[0].write(records(400, 2));
    agents[1].write(vec![record("e:f:new", 1, "new")]);
    wait_converged(&redis.url(), PREFIX, &agents.each_ref());
    redis.kill();
    agents.iter().for_each(|agent| agent.wait_state(State::Away));
    redis.start_again();
    let content = wait_converged(&redis.url(), PREFIX, &agents.each_ref());
    assert_eq!(&*content.records["e:f:7"].body, b"{\"7\":2}");
    assert!(content.records.contains_key("e:f:new"));
}

#[test]
fn a_paused_redis_is_away_and_then_caught_up_with() {
    let Some(redis) = redis("a_paused_redis_is_away_and_then_caught_up_with") else { return };
    let agents = two(&redis);
    redis.cli(&["CLIENT", "PAUSE", "4000", "ALL"]);
    agents[0].write(records(20, 7));
    agents[1].write(records(20, 8));
    agents.iter().for_each(|agent| agent.wait_state(State::Away));
    agents.iter().for_each(|agent| agent.wait_state(State::Connected));
    wait_converged(&redis.url(), PREFIX, &agents.each_ref());
}

/// What went wrong: nothing, but eviction or a hand that deletes may take one key of several.
#[test]
fn a_key_that_is_lost_alone_comes_back() {
    let Some(redis) = redis("a_key_that_is_lost_alone_comes_back") else { return };
    let agents = two(&redis);
    for (round, key) in ["meta", "items", "index", "files"].into_iter().enumerate() {
        assert_eq!(redis.cli(&["DEL", &format!("{PREFIX}{key}")]), "1");
        let stamp_ms = 10 + i64::try_from(round).expect("small");
        agents[round % 2].write(records(1, stamp_ms));
        let content = wait_converged(&redis.url(), PREFIX, &agents.each_ref());
        assert_eq!(content.records.len(), 1500, "after {key} was lost");
        assert_eq!(content.records["e:f:0"].stamp_ms, stamp_ms);
    }
}

#[test]
fn connections_that_redis_closes_are_opened_again() {
    let Some(redis) = redis("connections_that_redis_closes_are_opened_again") else { return };
    let agents = two(&redis);
    for round in 1..4 {
        redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
        redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        for agent in &agents {
            agent.wait_status("it is connected again", |status| {
                status.counters.reconnects >= round && status.state == State::Connected
            });
        }
        agents[0].write(records(5, 100 * i64::try_from(round).expect("small")));
        wait_converged(&redis.url(), PREFIX, &agents.each_ref());
    }
}

#[test]
fn records_of_others_are_left_alone_and_counted() {
    if !installed("records_of_others_are_left_alone_and_counted") {
        return;
    }
    let redis = Builder::new().start();
    let agents = two(&redis);
    redis.cli(&["HSET", &format!("{PREFIX}items"), "e:f:junk", "junk"]);
    redis.cli(&["ZADD", &format!("{PREFIX}index"), "1", "e:f:junk"]);
    agents[0].write(records(3, 9));
    agents[1].wait_body("e:f:1", "{\"1\":9}");
    wait_until("it is counted", SOON, || (agents[1].status().counters.unreadable > 0).then_some(()));
    redis.cli(&["HDEL", &format!("{PREFIX}items"), "e:f:junk"]);
    redis.cli(&["ZREM", &format!("{PREFIX}index"), "e:f:junk"]);
    agents[0].write(records(3, 10));
    agents[1].wait_body("e:f:1", "{\"1\":10}");
    assert_eq!(stored(&redis.url(), PREFIX).len(), 1500);
    wait_converged(&redis.url(), PREFIX, &agents.each_ref());
}

/// What went wrong: an edition that no agent can read was higher than all as a text. All agents tried to replace it, as fast
/// as they could and without an end, and nothing that changed was stored. A sequence that is no number of an agent ended
/// every connection.
#[test]
fn what_no_agent_wrote_into_the_state_stopped_the_cluster() {
    let Some(redis) = redis("what_no_agent_wrote_into_the_state_stopped_the_cluster") else { return };
    let agents = ["a", "b"].map(|name| {
        let options = Options { poll: Duration::from_millis(100), ..options(name) };
        Agent::start_with(&redis.url(), options, Content::default())
    });
    agents.iter().for_each(Agent::wait_ready);
    agents[0].write(records(3, 1));
    wait_converged(&redis.url(), PREFIX, &agents.each_ref());
    let junk = [
        ("edition", "zzz"),
        ("edition", "8000000000000001"),
        ("edition", "ffffffffffffffff-x"),
        ("edition", "ffffffffffffffff:\u{e9}"),
        ("edition", ""),
        ("sequence", "x"),
        ("sequence", "-5"),
        ("sequence", "1e30"),
        ("sequence", "inf"),
        ("register_sequence", "x"),
        ("files_sequence", "1.5"),
        ("forgotten", "-1"),
    ];
    for (stamp_ms, (field, value)) in (10..).zip(junk) {
        redis.cli(&["HSET", &format!("{PREFIX}meta"), field, value]);
        agents[0].write(records(1, stamp_ms));
        agents[1].wait_body("e:f:0", &format!("{{\"0\":{stamp_ms}}}"));
    }
    for (stamp_ms, score) in (100..).zip(["+inf", "-inf", "1e30", "1.5"]) {
        let (index, field) = (format!("{PREFIX}index"), format!("e:f:junk{stamp_ms}"));
        redis.cli(&["ZADD", &index, score, &field]);
        agents[0].write(records(1, stamp_ms));
        agents[1].wait_body("e:f:0", &format!("{{\"0\":{stamp_ms}}}"));
        redis.cli(&["ZREM", &index, &field]);
    }
    wait_converged(&redis.url(), PREFIX, &agents.each_ref());
    assert!(agents.iter().all(|agent| agent.status().counters.errors == 0));
}

/// What went wrong: another agent had filled an emptied Redis before this one noticed. It read that, and never wrote what
/// was missing there.
#[test]
fn an_agent_did_not_write_what_a_redis_filled_by_another_one_lacked() {
    let Some(redis) = redis("an_agent_did_not_write_what_a_redis_filled_by_another_one_lacked") else {
        return;
    };
    let other_prefix = PREFIX.replace("test", "other");
    let other_options = Options { key_prefix: other_prefix.clone(), ..options("other") };
    let other = Agent::start_with(&redis.url(), other_options, Content::default());
    other.write(vec![record("e:f:theirs", 1, "theirs")]);
    other.wait_status("its record is written", |status| status.records == 1);
    drop(other);
    let agents = two(&redis);
    let asked = agents[0].asked.load(std::sync::atomic::Ordering::Relaxed);
    let script = "for _, key in ipairs({'meta', 'items', 'index'}) do redis.call('RENAME', ARGV[1] .. key, ARGV[2] .. key) end";
    redis.cli(&["EVAL", script, "0", &other_prefix, PREFIX]);
    agents[0].write(vec![record("e:f:new", 1, "new")]);
    let content = wait_converged(&redis.url(), PREFIX, &agents.each_ref());
    assert_eq!(content.records.len(), 1502);
    assert!(agents[0].asked.load(std::sync::atomic::Ordering::Relaxed) > asked);
}
