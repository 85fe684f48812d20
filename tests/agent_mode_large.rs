//! Datasets of hundreds of megabytes from a server: they arrive, and SDKs are served while they are loaded.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::agent::{API_KEY, Builder};
use common::dataset::{Dataset, Environment, Kind, boolean_flag, touch};
use common::following::{set, two_flags};
use common::frames::{RawSocket, TEXT, whole};
use common::server::Server;
use common::watcher::Watcher;
use common::ws::token;
use common::{now_ms, wait_until};
use serde_json::json;

/// How long such a dataset may take on a machine that does something else as well.
const LONG: Duration = Duration::from_secs(300);

/// An environment of 3,000 flags, each with so many bytes of targeting.
fn large(bytes: usize) -> Environment {
    let mut environment = Environment::new(2);
    for number in 0..3000 {
        let mut flag = boolean_flag(&format!("flag-{number:04}"));
        let keys: Vec<String> = (0..bytes / 32).map(|user| format!("user-{number:04}-{user:018}")).collect();
        flag["targetUsers"] = json!([{ "keyIds": keys, "variationId": "v1" }]);
        environment.add_flag(flag);
    }
    environment
}

#[test]
#[ignore = "takes gigabytes of memory for a minute; scripts/test --long runs it"]
fn hundreds_of_megabytes_arrive_while_sdks_are_served() {
    let server = Server::start(&Dataset::of([two_flags(1)]));
    let agent = Builder::following(&server).env("Limits__PendingBytes", "1073741824").start();
    agent.wait_stable();
    let mut sdk = Watcher::server(&agent, &two_flags(1).secret(Kind::Server));
    let environment = large(80_000);
    server.create_environment(environment.clone());
    server.add_to_scope(API_KEY, &environment.id);
    println!("{} MB", server.full(API_KEY).len() / 1_000_000);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pinging = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            let mut pongs = 0;
            while !done.load(Ordering::Acquire) {
                let asked = Instant::now();
                sdk.expect_nothing_new();
                longest = longest.max(asked.elapsed());
                pongs += 1;
            }
            (pongs, longest)
        });
        agent.resync();
        wait_until("the large environment", LONG, || {
            (agent.status()["serves"] == "project-1:production,project-2:production").then_some(())
        });
        done.store(true, Ordering::Release);
        let (pongs, longest) = pinging.join().expect("every ping is answered");
        println!("{pongs} pongs, the longest after {longest:?}");
    });
    let target =
        format!("/streaming?type=server&token={}", token(&environment.secret(Kind::Server), now_ms(), 9));
    let mut socket = RawSocket::upgrade(agent.port(), &target, &[]);
    socket.send(&whole(TEXT, br#"{"messageType":"data-sync","data":{"timestamp":0}}"#));
    let full = socket.next();
    assert!(full.payload.len() > 200_000_000, "{}", full.payload.len());
    assert_eq!(full.text().matches(r#""variationType""#).count(), 3000);
    // A change of one of them, and of the small environment, goes on being small.
    wait_until("the second connection", LONG, || {
        server.open_relays().iter().all(|relay| relay.mapped.contains(&environment.id)).then_some(())
    });
    let mut flag = server.flag(&environment.id, "flag-1234");
    flag["targetUsers"] = json!([]);
    touch(&mut flag, 1000);
    server.upsert_flag(&environment.id, flag);
    let patch = socket.next();
    assert!(patch.payload.len() < 2000 && patch.text().contains("flag-1234"), "{}", patch.payload.len());
    set(&server, &two_flags(1), "a", "v1", 1000);
    sdk.wait_variation("a", "v1");
    sdk.expect_nothing_new();
}
