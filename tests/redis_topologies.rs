//! How the agent finds the Redis server that takes writes: by Sentinels, and in a cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::redis::cluster::Cluster;
use common::redis::sentinel::{SERVICE, Setup};
use common::redis::{Builder, TlsFiles, free_port, installed};
use common::{SOON, wait_until};
use featbit_agent::config::Settings;
use featbit_agent::persist::redis::connect::{Connector, ErrorKind, RedisError};
use redis::{Value, cmd};

const PREFIX: &str = "k:{t}:";

fn connector(text: &str, more: &[(&str, &str)]) -> Connector {
    let base = [
        ("Mode", "offline"),
        ("ApiKey", "rp-test"),
        ("Redis__TimeoutSeconds", "5"),
        ("Redis__KeyPrefix", PREFIX),
        ("Redis__ConnectionString", text),
    ];
    let base: Vec<_> =
        base.into_iter().filter(|(name, _)| more.iter().all(|(given, _)| given != name)).collect();
    let settings = Settings::from_pairs(&[&base, more].concat()).unwrap_or_else(|errors| panic!("{errors}"));
    Connector::new(&settings.redis.expect("there is a connection string")).unwrap()
}

fn assert_says(error: &RedisError, kind: ErrorKind, says: &[&str]) {
    assert_eq!(error.kind, kind, "{error}");
    for part in says {
        assert!(error.text.contains(part), "{part:?} is missing in: {error}");
    }
    assert!(!error.text.contains("horse"), "{error}");
}

#[test]
fn the_master_is_found_by_sentinels_and_again_after_a_fail_over() {
    if !installed("connecting by Redis Sentinel") {
        return;
    }
    let setup = Setup {
        sentinel: Builder::default().sentinel_password("sentinel-horse"),
        ..Setup::default().data_password("data-horse")
    };
    let mut watched = setup.start();
    let text = format!("{},serviceName={SERVICE}", watched.addresses());
    let logins = [("Redis__Password", "data-horse"), ("Redis__SentinelPassword", "sentinel-horse")];
    let connector_all = connector(&text, &logins);
    assert!(connector_all.address().contains("Sentinels"));
    let mut connection = connector_all.connect().unwrap();
    assert_eq!(connection.address(), watched.master().address());
    let mut subscriber = connector_all.subscribe().unwrap();
    subscriber.subscribe("k:{t}:news").unwrap();

    let error = connector(&text, &logins[..1]).connect().unwrap_err();
    assert_says(&error, ErrorKind::PasswordNeeded, &["Redis__SentinelPassword"]);
    let error = connector(&text, &[logins[0], ("Redis__SentinelPassword", "x")]).connect().unwrap_err();
    assert_says(&error, ErrorKind::WrongPassword, &[]);
    let error = connector(&text, &[("Redis__Password", "x"), logins[1]]).connect().unwrap_err();
    assert_says(&error, ErrorKind::WrongPassword, &["the Sentinel", "named this server"]);
    let unknown = format!("{},serviceName=other", watched.addresses());
    let error = connector(&unknown, &logins).connect().unwrap_err();
    assert_says(&error, ErrorKind::UnknownService, &["\"other\"", "sentinel monitor"]);
    let without = connector(&watched.addresses(), &[("Redis__Password", "sentinel-horse")]);
    assert_says(&without.connect().unwrap_err(), ErrorKind::Sentinel, &["serviceName"]);
    let no_sentinel = format!("{},serviceName={SERVICE}", watched.master().address());
    let error = connector(&no_sentinel, &[logins[0], ("Redis__SentinelPassword", "data-horse")]);
    assert_says(&error.connect().unwrap_err(), ErrorKind::Sentinel, &["it is not a Sentinel"]);

    let before = watched.master_port();
    watched.fail_over();
    let old = connection.query::<Value>(cmd("SET").arg("k").arg("v"), "SET").unwrap_err();
    assert!(old.kind.needs_new_connection(), "{old}");
    let mut connection = connector_all.connect().unwrap();
    assert_ne!(connection.address(), format!("127.0.0.1:{before}"));
    let _: Value = connection.query(cmd("SET").arg("k").arg("v"), "SET").unwrap();
    // With two of three Sentinels gone the last one is asked.
    for sentinel in watched.sentinels_mut().iter_mut().take(2) {
        sentinel.kill();
    }
    connector_all.connect().unwrap();
    watched.sentinels_mut()[2].kill();
    let error = connector_all.connect().unwrap_err();
    assert_says(&error, ErrorKind::NoSentinel, &["refused"]);
}

#[test]
fn sentinels_have_tls_of_their_own() {
    if !installed("Redis Sentinel without TLS before servers with it") {
        return;
    }
    let files = TlsFiles::new(&["127.0.0.1"]);
    let watched = Setup {
        // Sentinels watch by TLS what is only served by TLS, and serve plain text themselves.
        sentinel: Builder::default()
            .line("tls-replication yes")
            .line(&format!("tls-ca-cert-file {}", files.path("ca.pem")))
            .line(&format!("tls-cert-file {}", files.path("client.pem")))
            .line(&format!("tls-key-file {}", files.path("client.key"))),
        data: Builder::new().tls(&files, false),
        sentinels: 1,
        ..Setup::default()
    }
    .start();
    let text = format!("{},serviceName={SERVICE},ssl=true", watched.addresses());
    let ca = files.path("ca.pem");
    let plain = [("Redis__SentinelTls", "false"), ("Redis__CaFile", ca.as_str())];
    assert_eq!(connector(&text, &plain).connect().unwrap().address(), watched.master().address());
    let error = connector(&text, &[plain[1], ("Redis__TimeoutSeconds", "0.5")]).connect().unwrap_err();
    assert_says(&error, ErrorKind::Tls, &[]);
}

#[test]
fn the_node_of_a_cluster_that_has_the_keys_is_found() {
    if !installed("connecting to a Redis Cluster") {
        return;
    }
    let builder = Builder::new()
        .user("poor", "on >correct-horse ~* &* +get +set")
        .line("cluster-require-full-coverage yes");
    let mut cluster = Cluster::start(&builder);
    let key = format!("{PREFIX}a");
    let owner = cluster.node_of(&key).address();
    for node in cluster.nodes() {
        let connector = connector(&node.address(), &[]);
        let mut connection = connector.connect().unwrap();
        assert_eq!(connection.address(), owner);
        let _: Value = connection.query(cmd("SET").arg(&key).arg(1), "SET").unwrap();
        connector.subscribe().unwrap().subscribe("k:{t}:news").unwrap();
    }
    let connector_all = connector(&cluster.addresses(), &[]);
    let mut connection = connector_all.connect().unwrap();
    let error =
        connection.query::<Value>(cmd("MSET").arg(&key).arg(1).arg("other").arg(2), "MSET").unwrap_err();
    assert_says(&error, ErrorKind::CrossSlot, &["CROSSSLOT", "one hash tag"]);
    let database = connector(&format!("redis://{}/1", cluster.addresses()), &[]).connect().unwrap_err();
    assert_says(&database, ErrorKind::Database, &["a cluster only 0"]);

    // Who may not ask where the keys are only gets the answers to other commands.
    let poor = |address: &str| {
        let connector = connector(&format!("{address},user=poor,password=correct-horse"), &[]);
        connector.connect().unwrap().query::<Value>(cmd("SET").arg(&key).arg(1), "SET")
    };
    poor(&owner).unwrap();
    let other = cluster.nodes().iter().find(|node| node.address() != owner).unwrap();
    assert_says(&poor(&other.address()).unwrap_err(), ErrorKind::Moved, &["MOVED", "HLEN"]);

    // The slot moves to another node.
    let _: Value = connection.query(cmd("DEL").arg(&key), "DEL").unwrap();
    let to = other.address();
    cluster.move_slot(&key, other);
    let moved = connection.query::<Value>(cmd("SET").arg(&key).arg(1), "SET").unwrap_err();
    assert_says(&moved, ErrorKind::Moved, &["MOVED"]);
    assert!(moved.kind.needs_new_connection());
    assert_eq!(wait_until("the new node is named", SOON, || connector_all.connect().ok()).address(), to);

    // Without one of its nodes the cluster takes no commands.
    let lost = cluster.nodes_mut().iter_mut().find(|node| node.address() != to).unwrap();
    lost.kill();
    let down = wait_until("the cluster is down", SOON, || connector(&to, &[]).connect().err());
    assert_says(&down, ErrorKind::ClusterDown, &["CLUSTERDOWN"]);
}

#[test]
fn a_cluster_fails_over_to_a_replica() {
    if !installed("fail-over of a Redis Cluster") {
        return;
    }
    let mut cluster = Cluster::start(&Builder::new());
    let key = format!("{PREFIX}a");
    let owner = cluster.node_of(&key).port();
    let index = cluster.nodes().iter().position(|node| node.port() == owner).unwrap();
    cluster.add_replica(&Builder::new(), index);
    let replica = cluster.nodes()[3].address();
    let connector = connector(&format!("127.0.0.1:{},{}", free_port(), cluster.addresses()), &[]);
    let mut connection = connector.connect().unwrap();
    assert_eq!(connection.address(), format!("127.0.0.1:{owner}"));
    cluster.nodes_mut()[index].kill();
    let ended = connection.query::<Value>(&cmd("PING"), "PING").unwrap_err();
    assert_says(&ended, ErrorKind::Closed, &[]);
    let found = wait_until("the replica takes over", SOON * 2, || {
        let mut connection = connector.connect().ok()?;
        connection.query::<Value>(cmd("SET").arg(&key).arg(1), "SET").ok()?;
        Some(connection.address().to_owned())
    });
    assert_eq!(found, replica);
}
