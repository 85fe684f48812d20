//! A cluster of masters that share the slots.

use super::{Builder, Redis};
use crate::common::{SOON, wait_until};

/// How many slots a cluster has.
const SLOTS: usize = 16_384;

/// Masters in one cluster. Dropped, all are killed.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Redis>,
}

impl Cluster {
    /// Three masters.
    pub fn start(builder: &Builder) -> Self {
        Self::of(builder, 3)
    }

    /// So many masters; each has as many slots as the others.
    pub fn of(builder: &Builder, masters: usize) -> Self {
        let nodes: Vec<_> = (0..masters).map(|_| builder.clone().cluster().start()).collect();
        for (index, node) in nodes.iter().enumerate() {
            let (first, last) = (SLOTS * index / masters, SLOTS * (index + 1) / masters - 1);
            let ok = node.cli(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
            assert_eq!(ok, "OK");
            let (port, bus_port) = (node.port().to_string(), node.bus_port().to_string());
            assert_eq!(nodes[0].cli(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus_port]), "OK");
        }
        let cluster = Self { nodes };
        cluster.wait_until_ok();
        cluster
    }

    /// Adds a replica of a node, and waits until it follows.
    pub fn add_replica(&mut self, builder: &Builder, of: usize) {
        let replica = builder.clone().cluster().start();
        let (port, bus_port) = (replica.port().to_string(), replica.bus_port().to_string());
        assert_eq!(self.nodes[0].cli(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus_port]), "OK");
        let id = self.nodes[of].cli(&["CLUSTER", "MYID"]);
        wait_until("the new node knows its master", SOON, || {
            (replica.cli(&["CLUSTER", "REPLICATE", &id]) == "OK").then_some(())
        });
        replica.wait_info("replication", "master_link_status", "up");
        self.nodes.push(replica);
        self.wait_until_ok();
    }

    /// Waits until every node that runs knows all nodes and all slots are served.
    pub fn wait_until_ok(&self) {
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        wait_until("the cluster is complete", SOON * 2, || {
            let ok = self.nodes.iter().filter(|node| node.process.is_some()).all(|node| {
                let info = node.cli(&["CLUSTER", "INFO"]);
                ["cluster_state:ok", &known].iter().all(|line| info.lines().any(|have| have.trim() == *line))
            });
            ok.then_some(())
        });
    }

    /// The nodes: the masters, then replicas.
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// The nodes, to kill one.
    pub fn nodes_mut(&mut self) -> &mut [Redis] {
        &mut self.nodes
    }

    /// Of all nodes, `host:port` with commas between them.
    pub fn addresses(&self) -> String {
        self.nodes.iter().map(Redis::address).collect::<Vec<_>>().join(",")
    }

    /// The master that serves this key.
    pub fn node_of(&self, key: &str) -> &Redis {
        let slot: usize =
            self.nodes[0].cli(&["CLUSTER", "KEYSLOT", key]).parse().expect("a number of a slot");
        let serves = |node: &&Redis| {
            node.try_cli(&["CLUSTER", "NODES"]).is_ok_and(|text| {
                let own = text.lines().find(|line| line.contains("myself")).unwrap_or_default();
                own.contains("master") && own.split(' ').skip(8).any(|range| contains(range, slot))
            })
        };
        self.nodes.iter().find(serves).expect("a node serves every slot")
    }

    /// Moves the slot of this key, which must hold no key, to another node.
    pub fn move_slot(&self, key: &str, to: &Redis) {
        let slot = self.nodes[0].cli(&["CLUSTER", "KEYSLOT", key]);
        let id = to.cli(&["CLUSTER", "MYID"]);
        let from = self.node_of(key);
        for node in [to, from].into_iter().chain(&self.nodes) {
            // Replicas refuse, and hear of it from their master.
            let _ = node.try_cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &id]);
        }
    }
}

fn contains(range: &str, slot: usize) -> bool {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| text.parse::<usize>().ok();
    number(first).zip(number(last)).is_some_and(|(first, last)| (first..=last).contains(&slot))
}
