//! Agent mode over TLS and through proxies, for both registration and streaming. Errors are logged, and the agent retries
//! until they are fixed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::agent::{Agent, Builder};
use common::certificates::{Authority, Pair, Wish};
use common::dataset::{Dataset, Kind, write_atomically};
use common::following::{self, two_flags};
use common::proxy::{Manner, Proxy};
use common::server::Server;
use common::server::tls::configuration;
use common::watcher::Watcher;
use common::{SOON, wait_until};
use tempfile::TempDir;

/// An authority, the folder with its certificate, and a server whose certificate it has issued.
struct World {
    authority: Authority,
    folder: TempDir,
    server: Server,
}

impl World {
    fn new(pair: impl Fn(&Authority) -> Pair) -> Self {
        let authority = Authority::new("the operator's authority");
        let folder = tempfile::tempdir().unwrap();
        write_atomically(&folder.path().join("ca.pem"), authority.certificate());
        let server = Server::start(&Dataset::of([two_flags(1)]));
        server.set_tls(Some(configuration(&pair(&authority), None)));
        Self { authority, folder, server }
    }

    fn good() -> Self {
        Self::new(|authority| authority.issue(&Wish::server(&["localhost"])))
    }

    fn agent(&self) -> Builder {
        with_short_retries(Builder::following_at(&self.server.tls_url("localhost")))
            .env("Upstream__CaFile", self.folder.path().join("ca.pem").to_str().unwrap())
    }
}

fn with_short_retries(agent: Builder) -> Builder {
    agent.env("Upstream__RetrySeconds", "200ms")
}

/// A new SDK gets the data, and a change after it.
fn serves(agent: &Agent, server: &Server, later_ms: i64) {
    agent.wait_stable();
    following::serves(agent, server, &two_flags(1), "a", later_ms);
}

/// Waits until the agent has logged a failure, and checks that it runs without data.
fn logged(agent: &Agent, words: &str) {
    agent.wait_line(words);
    assert_eq!(agent.readiness(), (503, "Unhealthy".into()));
}

#[test]
fn a_private_authority_is_trusted_once_it_is_named() {
    let world = World::good();
    let agent = world.agent().start();
    serves(&agent, &world.server, 1000);
    assert!(world.server.handshake_failures().is_empty());
}

#[test]
fn a_bad_certificate_of_the_server_is_logged_and_retried_until_it_is_good() {
    type Case<'a> = (&'a str, &'a dyn Fn(&Authority) -> Pair);
    let cases: [Case<'_>; 4] = [
        ("another host", &|authority| authority.issue(&Wish::server(&["elsewhere.example"]))),
        ("expired", &|authority| authority.issue(&Wish::server(&["localhost"]).valid_s(-7200, -3600))),
        ("not yet valid", &|authority| authority.issue(&Wish::server(&["localhost"]).valid_s(3600, 7200))),
        ("an unknown authority", &|_| Authority::new("unknown").issue(&Wish::server(&["localhost"]))),
    ];
    for (what, pair) in cases {
        println!("{what}");
        let world = World::new(pair);
        let agent = world.agent().start();
        logged(&agent, "certificate");
        wait_until("more attempts", SOON, || (world.server.accepted() > 2).then_some(()));
        assert!(world.server.registrations().is_empty(), "nothing is said to it");
        let good = world.authority.issue(&Wish::server(&["localhost"]));
        world.server.set_tls(Some(configuration(&good, None)));
        serves(&agent, &world.server, 1000);
    }
}

#[test]
fn the_agent_sends_its_client_certificate_to_servers_that_ask() {
    let world = World::good();
    let pair = world.authority.issue(&Wish::server(&["localhost"]));
    world.server.set_tls(Some(configuration(&pair, Some(&world.authority))));
    let without = world.agent().start();
    wait_until("the refusal", SOON, || (!world.server.handshake_failures().is_empty()).then_some(()));
    logged(&without, "certificate");
    drop(without);
    let (certificate, key) =
        world.authority.issue(&Wish::client("agent-1")).write(world.folder.path(), "agent");
    let agent = world
        .agent()
        .env("Upstream__ClientCertificateFile", certificate.to_str().unwrap())
        .env("Upstream__ClientKeyFile", key.to_str().unwrap())
        .start();
    serves(&agent, &world.server, 1000);
}

#[test]
fn a_server_without_tls_is_logged_and_retried_until_it_has_tls() {
    let world = World::good();
    world.server.set_tls(None);
    let agent = world.agent().start();
    logged(&agent, "TLS");
    let pair = world.authority.issue(&Wish::server(&["localhost"]));
    world.server.set_tls(Some(configuration(&pair, None)));
    serves(&agent, &world.server, 1000);
}

#[test]
fn both_calls_go_through_the_proxy_of_the_environment_with_its_password() {
    for encrypted in [true, false] {
        let name = "flags.example";
        let world = World::new(|authority| authority.issue(&Wish::server(&[name])));
        if !encrypted {
            world.server.set_tls(None);
        }
        let port = if encrypted { 443 } else { 80 };
        let proxy = Proxy::start(Manner {
            routes: vec![(format!("{name}:{port}"), world.server.port())],
            authorization: Some("Basic dXNlcjpwYXNz".into()),
            interim: true,
            ..Manner::default()
        });
        let (scheme, variable) = if encrypted { ("wss", "HTTPS_PROXY") } else { ("ws", "HTTP_PROXY") };
        let agent = with_short_retries(Builder::following_at(&format!("{scheme}://{name}")))
            .env("Upstream__CaFile", world.folder.path().join("ca.pem").to_str().unwrap())
            .env(variable, &proxy.url_with("user", "pass"))
            .start();
        serves(&agent, &world.server, 1000);
        let asked = proxy.asked();
        assert_eq!(asked.len(), 2, "registering and streaming: {asked:?}");
        assert!(asked.iter().all(|asked| asked.target == format!("{name}:{port}") && asked.status == 200));
        assert!(!agent.log().contains("pass"), "no password in the log");
        // A tunnel that breaks is opened again.
        proxy.cut();
        wait_until("a new tunnel", SOON, || (world.server.relays().len() == 2).then_some(()));
        serves(&agent, &world.server, 2000);
    }
}

#[test]
fn a_proxy_that_refuses_or_stalls_is_logged_and_retried_until_it_works() {
    let name = "flags.example";
    let world = World::new(|authority| authority.issue(&Wish::server(&[name])));
    let route = (format!("{name}:443"), world.server.port());
    for manner in [
        Manner { refuse: Some(403), ..Manner::default() },
        Manner { refuse: Some(502), ..Manner::default() },
        Manner { authorization: Some("Basic other".into()), ..Manner::default() },
        Manner { stall: true, ..Manner::default() },
        Manner::default(),
    ] {
        let proxy = Proxy::start(Manner { routes: Vec::new(), ..manner.clone() });
        let agent = with_short_retries(Builder::following_at(&format!("wss://{name}")))
            .env("Upstream__CaFile", world.folder.path().join("ca.pem").to_str().unwrap())
            .env("Upstream__ConnectSeconds", "1")
            .env("HTTPS_PROXY", &proxy.url())
            .start();
        logged(&agent, "proxy");
        proxy.behave(|manner| *manner = Manner { routes: vec![route.clone()], ..Manner::default() });
        agent.wait_stable();
        Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    }
}

#[test]
fn hosts_of_no_proxy_are_reached_directly() {
    let world = World::good();
    let proxy = Proxy::start(Manner::default());
    let agent =
        world.agent().env("HTTPS_PROXY", &proxy.url()).env("NO_PROXY", "example.org,localhost").start();
    serves(&agent, &world.server, 1000);
    assert!(proxy.asked().is_empty(), "{:?}", proxy.asked());
}
