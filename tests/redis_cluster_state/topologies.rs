//! Agents behind Sentinels and in a Redis Cluster: a fail-over loses nothing that an agent has.

use featbit_agent::persist::redis::State;

use crate::agent::{Agent, Content, PREFIX, record, wait_converged};
use crate::common::redis::cluster::Cluster;
use crate::common::redis::sentinel::{SERVICE, Setup};
use crate::common::redis::{Builder, installed};
use crate::records;

#[test]
fn a_fail_over_by_sentinels_loses_nothing() {
    if !installed("agents behind Sentinels") {
        return;
    }
    let watched = Setup::default().start();
    let text = format!("{},serviceName={SERVICE}", watched.addresses());
    let agents = ["a", "b"].map(|name| Agent::start(&text, name, Content::default()));
    agents.iter().for_each(Agent::wait_ready);
    agents[0].write(records(600, 1));
    wait_converged(&text, PREFIX, &agents.each_ref());
    watched.fail_over();
    agents[0].write(vec![record("e:f:a", 2, "a")]);
    agents[1].write(vec![record("e:f:b", 2, "b")]);
    let content = wait_converged(&text, PREFIX, &agents.each_ref());
    assert_eq!(content.records.len(), 602);
    agents.iter().for_each(|agent| agent.wait_state(State::Connected));
    agents[1].write(records(2, 9));
    agents[0].wait_body("e:f:1", "{\"1\":9}");
}

#[test]
fn agents_share_a_redis_cluster_and_follow_their_keys_to_another_node() {
    if !installed("agents in a Redis Cluster") {
        return;
    }
    let mut cluster = Cluster::start(&Builder::new());
    let key = format!("{PREFIX}meta");
    let owner = cluster.nodes().iter().position(|node| node.port() == cluster.node_of(&key).port());
    cluster.add_replica(&Builder::new(), owner.expect("a node has the key"));
    let text = cluster.addresses();
    let agents = ["a", "b"].map(|name| Agent::start(&text, name, Content::default()));
    agents.iter().for_each(Agent::wait_ready);
    agents[0].write(records(600, 1));
    agents[1].wait_body("e:f:1", "{\"1\":1}");
    agents[1].open(5, "b", &records(300, 2));
    wait_converged(&text, PREFIX, &agents.each_ref());
    // The replica takes its place.
    cluster.nodes_mut()[owner.expect("a node has the key")].kill();
    agents[0].wait_state(State::Away);
    agents[1].write(vec![record("e:f:meanwhile", 1, "b")]);
    let content = {
        cluster.wait_until_ok();
        wait_converged(&text, PREFIX, &agents.each_ref())
    };
    assert_eq!(content.records.len(), 301);
    agents[1].write(records(2, 9));
    agents[0].wait_body("e:f:1", "{\"1\":9}");
}
