//! All routes with all kinds of keys: nothing comes out but to who may have it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config;
use crate::model::secret::SecretKind;
use crate::net::service::Origin;
use crate::serve::http::routes::{PATHS, Route};
use crate::serve::tests::{Bench, Fake, secret};
use crate::serve::*;
use crate::store::Scope;

const API_KEY: &str = "rp-0123456789abcdefghijABCDEFGHIJ0123456789";
const RELAY_KEY: &str = "rp-abcdefghijABCDEFGHIJ01234567890123456789";
/// A flag's value, which stands for all that SDKs get.
const VALUE: &str = "what a flag says";
/// The environment's name, which the status tells.
const NAME: &str = "p:e";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    None,
    Wrong,
    Server,
    Client,
    Relay,
    Api,
}

impl Key {
    const ALL: [Key; 6] = [Key::None, Key::Wrong, Key::Server, Key::Client, Key::Relay, Key::Api];

    fn field(self) -> String {
        let value = match self {
            Key::None => return String::new(),
            Key::Wrong => "rp-0123456789abcdefghijABCDEFGHIJ012345678X".to_owned(),
            Key::Server => secret(SecretKind::Server).as_str().to_owned(),
            Key::Client => secret(SecretKind::Client).as_str().to_owned(),
            Key::Relay => RELAY_KEY.to_owned(),
            Key::Api => API_KEY.to_owned(),
        };
        format!("Authorization: {value}\r\n")
    }
}

/// What a route may tell: flags, the name of an environment, secrets.
fn may_tell(route: Route, key: Key) -> (bool, bool, bool) {
    match (route, key) {
        (Route::ServerPoll, Key::Server) | (Route::ClientPoll, Key::Client) => (true, false, false),
        (Route::Backup, Key::Api) => (true, true, true),
        (Route::Status | Route::Resync, Key::Api) => (false, true, false),
        (
            Route::Streaming
            | Route::Echo
            | Route::ServerPoll
            | Route::ClientPoll
            | Route::Track
            | Route::Bootstrap
            | Route::Backup
            | Route::Status
            | Route::Resync
            | Route::Register
            | Route::Liveness
            | Route::Readiness
            | Route::Metrics
            | Route::Unknown,
            _,
        ) => (false, false, false),
    }
}

fn answer(bench: &mut Bench, request: &str) -> String {
    let wire = Fake::default();
    wire.give_room(usize::MAX);
    let key = bench.io.insert(wire.clone(), Origin(0), &mut bench.server);
    bench.receive(key, &wire, request.as_bytes());
    let end = Instant::now() + Duration::from_secs(20);
    // A backup is put together on another thread.
    while wire.0.borrow().written.is_empty() && Instant::now() < end {
        std::thread::yield_now();
        bench.turns();
    }
    String::from_utf8_lossy(&wire.0.borrow().written).into_owned()
}

/// One of each kind.
fn keys() -> Keys {
    let secret = |text: &str| config::Secret::new(text.into());
    let relay = RelayAccess { key: secret(RELAY_KEY), scope: Arc::new(Scope::All) };
    Keys { api_key: Some(secret(API_KEY)), relays: vec![relay] }
}

/// What went wrong: a management route that was added to the list and to the dispatch alone answered the full backup.
#[test]
fn no_route_tells_more_than_its_key_opens() {
    let mut bench = Bench::new(|options| {
        options.keys = keys();
    });
    bench.load(&[("flag", 1)], VALUE);
    let secrets = [SecretKind::Server, SecretKind::Client].map(secret);
    let mut told = 0;
    for (path, route) in PATHS.into_iter().chain([("/nowhere", Route::Unknown)]) {
        for key in Key::ALL {
            for method in ["GET", "POST"] {
                let body = r#"{"keyId":"u"}"#;
                let request = format!(
                    "{method} {path} HTTP/1.1\r\nHost: x\r\n{}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    key.field(),
                    body.len()
                );
                let answer = answer(&mut bench, &request);
                assert!(answer.starts_with("HTTP/1.1 "), "{method} {path}: {answer:?}");
                // The labels of metrics name environments: they are shown to everybody who reaches the port.
                let named = route != Route::Metrics && answer.contains(NAME);
                let holds = (
                    answer.contains(VALUE),
                    named,
                    secrets.iter().any(|secret| answer.contains(secret.as_str())),
                );
                let may = may_tell(route, key);
                let more = (holds.0 && !may.0) || (holds.1 && !may.1) || (holds.2 && !may.2);
                assert!(!more, "{method} {path} with {key:?} tells too much: {answer}");
                told += usize::from(holds != (false, false, false));
                // Nothing of it may be kept for somebody else.
                assert!(answer.contains("\r\nCache-Control: no-store\r\n"), "{method} {path}: {answer}");
                assert!(answer.contains("\r\nVary: Origin"), "{method} {path}: {answer}");
            }
        }
    }
    // Both spellings of status, resync and backup, and each poll.
    assert_eq!(told, 8);
}

/// The same on `/streaming`: what is told of a refusal is a close code.
#[test]
fn a_key_of_another_kind_opens_no_stream() {
    let mut bench = Bench::new(|options| {
        options.keys = keys();
    });
    bench.load(&[("flag", 1)], VALUE);
    for kind in ["server", "client", "relay-proxy"] {
        for key in ["", "x", API_KEY, RELAY_KEY] {
            if (kind, key) == ("relay-proxy", RELAY_KEY) {
                continue;
            }
            let request = format!(
                "GET /streaming?type={kind}&token={key} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
                 Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            );
            let answer = answer(&mut bench, &request);
            assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
            assert!(answer.ends_with("invalid request, close by server"), "{kind} with {key:?}: {answer}");
        }
    }
}
