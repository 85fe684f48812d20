//! The Redis servers that other tests use: each kind starts, and does what the tests rely on.

mod common;

use common::redis::cluster::Cluster;
use common::redis::sentinel::Setup;
use common::redis::{Builder, TlsFiles, installed};

#[test]
fn a_server_is_killed_and_starts_again_empty_or_with_its_data() {
    if !installed("Redis servers") {
        return;
    }
    let mut memory = Builder::new().password("pass").start();
    let mut durable = Builder::new().durable().start();
    for server in [&memory, &durable] {
        assert_eq!(server.cli(&["SET", "key", "value"]), "OK");
    }
    for server in [&mut memory, &mut durable] {
        server.kill();
        assert!(server.try_cli(&["PING"]).is_err());
        server.start_again();
    }
    assert_eq!(memory.cli(&["GET", "key"]), "");
    assert_eq!(durable.cli(&["GET", "key"]), "value");
    durable.kill();
    durable.start_again_empty();
    assert_eq!(durable.cli(&["GET", "key"]), "");
    assert!(memory.try_cli(&["AUTH", "wrong"]).unwrap_or_else(|error| error).contains("WRONGPASS"));
}

#[test]
fn tls_and_replicas() {
    if !installed("Redis with TLS and a replica") {
        return;
    }
    let files = TlsFiles::new(&["127.0.0.1", "localhost"]);
    let master = Builder::new().tls(&files, true).password("pass").start();
    let replica = Builder::new().tls(&files, true).password("pass").replica_of(&master).start();
    replica.wait_info("replication", "master_link_status", "up");
    assert!(replica.cli(&["SET", "key", "value"]).starts_with("READONLY"));
    assert!(master.url().starts_with("rediss://:pass@127.0.0.1:"));
}

#[test]
fn sentinels_fail_over() {
    if !installed("Redis Sentinel") {
        return;
    }
    let mut watched = Setup::default().data_password("pass").start();
    let first = watched.master_port();
    assert_eq!(watched.master().cli(&["SET", "key", "value"]), "OK");
    watched.fail_over();
    let second = watched.master_port();
    assert_ne!(first, second);
    assert_eq!(watched.master().cli(&["GET", "key"]), "value");
    // And by themselves, when it dies.
    for server in watched.servers_mut().iter_mut().filter(|server| server.port() == second) {
        server.kill();
    }
    watched.wait_for_master_after(second);
    assert_eq!(watched.master_port(), first);
}

#[test]
fn a_cluster_shares_the_slots() {
    if !installed("Redis Cluster") {
        return;
    }
    let mut cluster = Cluster::start(&Builder::new());
    cluster.add_replica(&Builder::new(), 0);
    let owner = cluster.node_of("key");
    assert_eq!(owner.cli(&["SET", "key", "value"]), "OK");
    let other = cluster.nodes()[..3].iter().find(|node| node.port() != owner.port()).expect("two others");
    assert!(other.cli(&["GET", "key"]).starts_with("MOVED"));
    owner.cli(&["DEL", "key"]);
    cluster.move_slot("key", other);
    assert_eq!(cluster.node_of("key").port(), other.port());
    assert_eq!(other.cli(&["SET", "key", "value"]), "OK");
}
