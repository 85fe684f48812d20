//! How the agent connects to one Redis server: logins, ACLs, TLS, and what it says when something is wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::time::{Duration, Instant};

use common::certificates::Authority;
use common::redis::{Builder, Redis, TlsFiles, free_port, installed};
use common::{SOON, wait_until};
use featbit_agent::config::{self, Settings};
use featbit_agent::persist::redis::connect::{Connection, Connector, ErrorKind, Message, RedisError};
use redis::{Value, cmd};

const PASSWORD: &str = "correct@horse/battery#staple";

fn settings(pairs: &[(&str, &str)]) -> config::Redis {
    let base = [
        ("Mode", "offline"),
        ("ApiKey", "rp-test"),
        ("Redis__TimeoutSeconds", "5"),
        ("Redis__KeyPrefix", "k:{t}:"),
    ];
    let base: Vec<_> =
        base.into_iter().filter(|(name, _)| pairs.iter().all(|(given, _)| given != name)).collect();
    let settings = Settings::from_pairs(&[&base, pairs].concat()).unwrap_or_else(|errors| panic!("{errors}"));
    settings.redis.expect("there is a connection string")
}

fn connector(pairs: &[(&str, &str)]) -> Connector {
    Connector::new(&settings(pairs)).unwrap()
}

fn connect(pairs: &[(&str, &str)]) -> Connection {
    connector(pairs).connect().unwrap_or_else(|error| panic!("{error}"))
}

/// The error of a connection, which shows where it happened and no password.
fn error(pairs: &[(&str, &str)]) -> RedisError {
    let error = connector(pairs).connect().expect_err("this cannot work");
    assert!(!error.text.contains("horse"), "{error}");
    assert!(error.text.starts_with("Redis at "), "{error}");
    error
}

fn string(value: &str) -> (&'static str, &str) {
    ("Redis__ConnectionString", value)
}

/// Checks the kind, and that the text says this.
fn assert_says(error: &RedisError, kind: ErrorKind, says: &[&str]) {
    assert_eq!(error.kind, kind, "{error}");
    for part in says {
        assert!(error.text.contains(part), "{part:?} is missing in: {error}");
    }
}

fn failure(connection: &mut Connection, command: &[&str]) -> RedisError {
    let mut sent = cmd(command[0]);
    sent.arg(&command[1..]);
    connection.query::<Value>(&sent, command[0]).expect_err("this cannot work")
}

#[test]
fn commands_transactions_and_scripts() {
    if !installed("connecting to Redis") {
        return;
    }
    let server = Builder::new().start();
    let mut connection = connect(&[string(&server.address())]);
    assert_eq!(connection.address(), server.address());
    assert!(server.cli(&["CLIENT", "LIST"]).contains("name=featbit-agent"));
    let _: Value = connection.query(cmd("SET").arg("k").arg("v"), "SET").unwrap();
    let (text, number): (String, i64) =
        redis::pipe().atomic().get("k").incr("n", 2).query(&mut connection).unwrap();
    assert_eq!((text.as_str(), number), ("v", 2));
    let (text, missing): (String, Option<String>) =
        redis::pipe().get("k").get("none").query(&mut connection).unwrap();
    assert_eq!((text.as_str(), missing), ("v", None));
    let script = redis::Script::new("return {KEYS[1], ARGV[1]}");
    let answer: Vec<String> = script.key("a").arg("b").invoke(&mut connection).unwrap();
    assert_eq!(answer, ["a", "b"]);
    // A transaction that the server refuses leaves the connection usable.
    let refused: redis::RedisResult<Value> =
        redis::pipe().atomic().cmd("NOSUCHCOMMAND").arg("x").incr("n", 1).query(&mut connection);
    let error = RedisError::of(&refused.unwrap_err(), "MULTI", &server.address());
    assert_says(&error, ErrorKind::Other, &["unknown command"]);
    let number: i64 = connection.query(cmd("GET").arg("n"), "GET").unwrap();
    assert_eq!(number, 2);
    // Megabytes in one answer.
    let large = "x".repeat(5 << 20);
    let _: Value = connection.query(cmd("SET").arg("large").arg(&large), "SET").unwrap();
    assert_eq!(connection.query::<String>(cmd("GET").arg("large"), "GET").unwrap(), large);
    let unknown = failure(&mut connection, &["EVALSHA", "0000000000000000000000000000000000000000", "0"]);
    assert_says(&unknown, ErrorKind::NoScript, &[]);
}

#[test]
fn passwords_are_right_wrong_needed_or_not() {
    if !installed("passwords of Redis") {
        return;
    }
    let open = Builder::new().start();
    let closed = Builder::new().password(PASSWORD).start();
    let (open, address) = (open.address(), closed.address());
    connect(&[string(&address), ("Redis__Password", PASSWORD)]);
    connect(&[string(&format!("{address},password={PASSWORD}"))]);
    connect(&[string(&format!("redis://:correct%40horse%2Fbattery%23staple@{address}"))]);
    connect(&[string(&format!("redis://:wrong@{address}")), ("Redis__Password", PASSWORD)]);
    for wrong in ["wrong-horse", "correct"] {
        let error = error(&[string(&address), ("Redis__Password", wrong)]);
        assert_says(&error, ErrorKind::WrongPassword, &[&address, "AUTH", "Check the user and the password"]);
    }
    assert_says(&error(&[string(&address)]), ErrorKind::PasswordNeeded, &[&address, "Set Redis__Password"]);
    let error = error(&[string(&open), ("Redis__Password", PASSWORD)]);
    assert_says(&error, ErrorKind::PasswordNotNeeded, &[&open, "remove the password"]);
}

#[test]
fn a_password_that_was_changed_in_its_file_is_used() {
    if !installed("a changed password of Redis") {
        return;
    }
    let server = Builder::new().password("first-horse").start();
    let file = server.dir().join("password");
    std::fs::write(&file, "first-horse\n").unwrap();
    let connector =
        connector(&[string(&server.address()), ("Redis__Password__File", file.to_str().unwrap())]);
    connector.connect().unwrap();
    assert_eq!(server.cli(&["CONFIG", "SET", "requirepass", "second-horse"]), "OK");
    assert_eq!(connector.connect().unwrap_err().kind, ErrorKind::WrongPassword);
    std::fs::write(&file, "second-horse\n").unwrap();
    connector.connect().unwrap();
}

#[test]
fn what_the_user_may_not_do_is_named() {
    if !installed("ACLs of Redis") {
        return;
    }
    let server = Builder::new()
        .user("agent", "on >correct-horse ~k:* &k:* +@all -incr")
        .user("poor", "on >correct-horse ~k:* resetchannels +get +set")
        .start();
    let login = |user: &str| format!("{},user={user},password=correct-horse", server.address());
    let mut connection = connect(&[string(&login("agent"))]);
    let command = failure(&mut connection, &["INCR", "k:n"]);
    assert_says(&command, ErrorKind::NotPermitted, &["INCR", "'incr'", "ACL SETUSER"]);
    let key = failure(&mut connection, &["SET", "other", "v"]);
    assert_says(&key, ErrorKind::NotPermitted, &["SET", "keys"]);
    let channel = failure(&mut connection, &["PUBLISH", "other", "v"]);
    assert_says(&channel, ErrorKind::NotPermitted, &["PUBLISH", "channel"]);
    assert!(!channel.kind.needs_new_connection());
    // Who may not even ask what the server is can use it all the same.
    let poor = connector(&[string(&login("poor"))]);
    let _: Value = poor.connect().unwrap().query(cmd("SET").arg("k:a").arg(1), "SET").unwrap();
    let error = poor.subscribe().unwrap().subscribe("k:channel").unwrap_err();
    assert_says(&error, ErrorKind::NotPermitted, &["SUBSCRIBE"]);
    let unknown = error_of_login(&server, "nobody");
    assert_says(&unknown, ErrorKind::WrongPassword, &["AUTH"]);
}

fn error_of_login(server: &Redis, user: &str) -> RedisError {
    error(&[string(&format!("redis://{user}:correct-horse@{}", server.address()))])
}

#[test]
fn tls_with_an_own_authority_and_client_certificates() {
    if !installed("Redis with TLS") {
        return;
    }
    let files = TlsFiles::new(&["127.0.0.1", "redis.example"]);
    let server = Builder::new().tls(&files, true).password(PASSWORD).start();
    let (ca, certificate, key) = (files.path("ca.pem"), files.path("client.pem"), files.path("client.key"));
    let trust = ("Redis__CaFile", ca.as_str());
    let pair =
        [("Redis__ClientCertificateFile", certificate.as_str()), ("Redis__ClientKeyFile", key.as_str())];
    let password = ("Redis__Password", PASSWORD);
    let address = format!("rediss://{}", server.address());
    let mut connection = connect(&[string(&address), trust, pair[0], pair[1], password]);
    let large = "x".repeat(3 << 20);
    let _: Value = connection.query(cmd("SET").arg("large").arg(&large), "SET").unwrap();
    assert_eq!(connection.query::<String>(cmd("GET").arg("large"), "GET").unwrap(), large);

    let missing = error(&[string(&address), trust, password]);
    assert_says(&missing, ErrorKind::Tls, &["Redis__ClientCertificateFile"]);
    let plain = error(&[string(&server.address()), password]);
    assert_says(&plain, ErrorKind::NeedsTls, &["ssl=true", "rediss://"]);
    // The same without a login, where the first command is another one.
    assert_eq!(error(&[string(&server.address())]).kind, ErrorKind::NeedsTls);
    let untrusted = error(&[string(&address), pair[0], pair[1], password]);
    assert_says(&untrusted, ErrorKind::Tls, &["authority", "Redis__CaFile"]);
    let other = TlsFiles::issued(&Authority::new("another authority"), &["127.0.0.1"]);
    let ca = other.path("ca.pem");
    let other = error(&[string(&address), ("Redis__CaFile", &ca), pair[0], pair[1], password]);
    assert_says(&other, ErrorKind::Tls, &["authority", "Redis__CaFile"]);
    assert!(!other.text.contains("Upstream"), "{other}");

    let named = format!("{},ssl=true,sslHost=redis.example", server.address());
    connect(&[string(&named), trust, pair[0], pair[1], password]);
    let named = format!("{},ssl=true,sslHost=cache.example", server.address());
    let wrong_name = error(&[string(&named), trust, pair[0], pair[1], password]);
    assert_says(&wrong_name, ErrorKind::Tls, &["other names", "redis.example"]);
}

#[test]
fn files_of_certificates_are_checked_at_the_start() {
    let error =
        Connector::new(&settings(&[string("rediss://h"), ("Redis__CaFile", "/none.pem")])).unwrap_err();
    assert!(error.contains("Redis__CaFile") && error.contains("/none.pem"), "{error}");
}

#[test]
fn tls_against_a_port_without_it_is_named() {
    if !installed("TLS against a plain Redis") {
        return;
    }
    let server = Builder::new().start();
    // The machine itself may trust nobody.
    let files = TlsFiles::new(&["127.0.0.1"]);
    let (ca, text) = (files.path("ca.pem"), format!("{},ssl=true", server.address()));
    let error = error(&[string(&text), ("Redis__TimeoutSeconds", "0.5"), ("Redis__CaFile", &ca)]);
    assert_says(&error, ErrorKind::Tls, &[&server.address(), "without TLS"]);
}

#[test]
fn servers_that_cannot_be_reached_or_do_not_answer() {
    if !installed("Redis that does not answer") {
        return;
    }
    let unknown = error(&[string("redis.invalid:6379")]);
    assert_says(&unknown, ErrorKind::Unreachable, &["redis.invalid:6379", "looked up"]);
    let nobody = format!("127.0.0.1:{}", free_port());
    assert_says(&error(&[string(&nobody)]), ErrorKind::Unreachable, &[&nobody, "refused"]);

    let server = Builder::new().start();
    let address = server.address();
    let mut connection = connect(&[string(&address)]);
    connection.set_timeout(Duration::from_millis(200));
    server.pause();
    let silent = failure(&mut connection, &["SET", "k", "v"]);
    assert_says(&silent, ErrorKind::TimedOut, &[&address, "SET", "Redis__TimeoutSeconds"]);
    let started = Instant::now();
    let silent = error(&[string(&address), ("Redis__TimeoutSeconds", "0.3")]);
    assert_says(&silent, ErrorKind::TimedOut, &[&address, "HELLO"]);
    assert!(started.elapsed() < SOON, "it was not bounded");
    server.resume();
    // The answer that came too late is not taken for that of another command.
    assert_says(&failure(&mut connection, &["GET", "k"]), ErrorKind::Closed, &[]);
    connect(&[string(&address)]);
}

#[test]
fn something_else_than_redis_answers() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    assert_says(&error(&[string(&address)]), ErrorKind::NotRedis, &[&address, "protocol of Redis"]);
}

#[test]
fn the_master_is_found_among_several_addresses() {
    if !installed("Redis master and replica") {
        return;
    }
    let mut master = Builder::new().start();
    let replica = Builder::new().replica_of(&master).start();
    replica.wait_info("replication", "master_link_status", "up");
    let dead = format!("127.0.0.1:{}", free_port());
    let all = format!("{dead},{},{}", replica.address(), master.address());
    let connector = connector(&[string(&all)]);
    for _ in 0..2 {
        assert_eq!(connector.connect().unwrap().address(), master.address());
    }
    // Better than nothing: others' data can be read.
    let mut only = connect(&[string(&replica.address())]);
    let _: Value = only.query(cmd("GET").arg("k"), "GET").unwrap();
    let refused = failure(&mut only, &["SET", "k", "v"]);
    assert_says(&refused, ErrorKind::ReadOnly, &["READONLY", "It is a replica", "name the master"]);
    // A server whose role changes under the connection.
    let mut connection = connector.connect().unwrap();
    assert_eq!(master.cli(&["REPLICAOF", "127.0.0.1", &replica.port().to_string()]), "OK");
    let changed = failure(&mut connection, &["SET", "k", "v"]);
    assert_says(&changed, ErrorKind::ReadOnly, &["READONLY", "It is a replica"]);
    assert!(changed.kind.needs_new_connection());
    assert_eq!(replica.cli(&["REPLICAOF", "NO", "ONE"]), "OK");
    assert_eq!(connector.connect().unwrap().address(), replica.address());
    // A replica without its master, which may not answer with old data.
    let mut connection = connect(&[string(&replica.address())]);
    assert_eq!(replica.cli(&["CONFIG", "SET", "replica-serve-stale-data", "no"]), "OK");
    master.kill();
    assert_eq!(replica.cli(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]), "OK");
    assert_says(&failure(&mut connection, &["GET", "k"]), ErrorKind::MasterDown, &["MASTERDOWN"]);
}

#[test]
fn databases_are_chosen_and_those_that_do_not_exist_are_named() {
    if !installed("databases of Redis") {
        return;
    }
    let server = Builder::new().start();
    let mut connection = connect(&[string(&format!("redis://{}/3", server.address()))]);
    let _: Value = connection.query(cmd("SET").arg("k").arg("three"), "SET").unwrap();
    assert_eq!(server.cli(&["-n", "3", "GET", "k"]), "three");
    let error = error(&[string(&format!("{},defaultDatabase=16", server.address()))]);
    assert_says(&error, ErrorKind::Database, &["SELECT", "out of range", "Check the database"]);
}

#[test]
fn a_server_that_loads_its_data_is_named() {
    if !installed("Redis that loads its data") {
        return;
    }
    let mut server = Builder::new()
        .line("key-load-delay 20000")
        .line("loading-process-events-interval-bytes 1024")
        .start();
    let mut connection = connect(&[string(&server.address())]);
    let mut many = cmd("MSET");
    for number in 0..500 {
        many.arg(number).arg("x".repeat(50));
    }
    let _: Value = connection.query(&many, "MSET").unwrap();
    assert_eq!(server.cli(&["SAVE"]), "OK");
    server.kill();
    server.spawn_again();
    let error = error(&[string(&server.address())]);
    assert_says(&error, ErrorKind::Loading, &["LOADING", "the agent tries again"]);
}

#[test]
fn a_server_without_memory_or_disk_takes_no_writes() {
    if !installed("Redis without memory or disk") {
        return;
    }
    let server = Builder::new().start();
    let mut connection = connect(&[string(&server.address())]);
    assert_eq!(server.cli(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
    assert_says(&failure(&mut connection, &["SET", "k", "v"]), ErrorKind::OutOfMemory, &["maxmemory"]);
    assert_eq!(server.cli(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
    assert_eq!(server.cli(&["CONFIG", "SET", "min-replicas-to-write", "1"]), "OK");
    assert_says(&failure(&mut connection, &["SET", "k", "v"]), ErrorKind::TooFewReplicas, &["NOREPLICAS"]);
    assert_eq!(server.cli(&["CONFIG", "SET", "min-replicas-to-write", "0"]), "OK");
    // A folder stands where the dump should be.
    std::fs::create_dir_all(server.dir().join("dump.rdb").join("full")).unwrap();
    assert_eq!(server.cli(&["CONFIG", "SET", "save", "3600 1"]), "OK");
    server.cli(&["BGSAVE"]);
    server.wait_info("persistence", "rdb_last_bgsave_status", "err");
    assert_says(&failure(&mut connection, &["SET", "k", "v"]), ErrorKind::CannotPersist, &["disk"]);
    assert_eq!(server.cli(&["CONFIG", "SET", "maxclients", "1"]), "OK");
}

#[test]
fn announcements_are_heard_and_a_dead_connection_is_noticed() {
    if !installed("announcements of Redis") {
        return;
    }
    let mut server = Builder::new().password(PASSWORD).start();
    let connector = connector(&[
        string(&server.address()),
        ("Redis__Password", PASSWORD),
        ("Redis__TimeoutSeconds", "0.2"),
    ]);
    let mut subscriber = connector.subscribe().unwrap();
    subscriber.subscribe("k:{t}:news").unwrap();
    assert_eq!(server.cli(&["PUBLISH", "k:{t}:news", "one"]), "1");
    assert_eq!(server.cli(&["PUBLISH", "k:{t}:news", "two"]), "1");
    let message = |text: &str| Message { channel: b"k:{t}:news".to_vec(), payload: text.into() };
    assert_eq!(subscriber.next(SOON).unwrap(), Some(message("one")));
    assert_eq!(subscriber.next(SOON).unwrap(), Some(message("two")));
    // Long enough for several PINGs, whose answers are no messages.
    assert_eq!(subscriber.next(Duration::from_millis(700)).unwrap(), None);
    assert_eq!(server.cli(&["PUBLISH", "k:{t}:news", "three"]), "1");
    assert_eq!(subscriber.next(SOON).unwrap(), Some(message("three")));
    server.pause();
    let silent =
        wait_until("the silence is noticed", SOON, || subscriber.next(Duration::from_millis(50)).err());
    assert_says(&silent, ErrorKind::TimedOut, &["PING"]);
    server.resume();
    let mut subscriber = wait_until("a new connection", SOON, || connector.subscribe().ok());
    subscriber.subscribe("k:{t}:news").unwrap();
    server.kill();
    let ended = wait_until("the end is noticed", SOON, || subscriber.next(Duration::from_millis(50)).err());
    assert_says(&ended, ErrorKind::Closed, &[]);
}
