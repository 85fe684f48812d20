//! A server SDK that accepts as little as those of Java and Go.
//!
//! Those two take an item, or a full, only if it is newer than all they have. They ignore a full that is not; on an item
//! that is not, and on a patch of several items, they close the connection with 1001 and come back. This one fails the
//! test instead, so that whatever they would not take is seen. The rules of all SDKs are tried in random rounds beside the
//! store (`src/store/tests/rounds.rs`).

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value, json};

use super::SOON;
use super::agent::Agent;
use super::dataset::{Environment, Kind, item_version_ms};
use super::ws::{Next, Stream};

/// The names by which the SDKs of Java and Go say who they are.
pub const NAMES: [&str; 2] = ["fb-java-server-sdk", "fb-go-server-sdk"];

/// List and id → the item.
type Items = BTreeMap<(&'static str, String), Value>;

/// One strict SDK. What it has outlives its connections.
#[derive(Debug)]
pub struct StrictSdk {
    name: &'static str,
    secret: String,
    stream: Stream,
    items: Items,
    version_ms: i64,
    /// What the source has, as far as the test has said.
    source: Items,
    /// What the source had of the items when they arrived here.
    arrived: Items,
}

impl StrictSdk {
    /// One of each name, connected and with all data.
    pub fn of_each_name(agent: &Agent, environment: &Environment) -> Vec<Self> {
        NAMES.iter().map(|name| Self::start(agent, environment, name)).collect()
    }

    fn start(agent: &Agent, environment: &Environment, name: &'static str) -> Self {
        let secret = environment.secret(Kind::Server);
        let stream = Stream::connect_as(agent, Kind::Server, &secret, name);
        let (items, source, arrived) = (Items::new(), Items::new(), Items::new());
        let mut sdk = Self { name, secret, stream, items, version_ms: 0, source, arrived };
        sdk.stream.request_data(0);
        sdk.wait_for(environment);
        sdk
    }

    /// Reads until it has exactly what the environment has, and what may have come with it. What it has already, and the
    /// source has not changed since, must not come again.
    pub fn wait_for(&mut self, environment: &Environment) {
        self.source = contents(environment);
        let wanted = without_versions(&self.source);
        let end = Instant::now() + SOON;
        while without_versions(&self.items) != wanted {
            let left = end.saturating_duration_since(Instant::now());
            match self.stream.next_within(left) {
                Next::Message(message) => self.take(&message),
                other => panic!("{}: {other:?}; it has {:?}, not {wanted:?}", self.name, self.items),
            }
        }
        self.read_all();
        assert_eq!(without_versions(&self.items), wanted, "{}", self.name);
    }

    /// Reads what has been sent, until the agent answers a ping.
    pub fn read_all(&mut self) {
        self.stream.send(&json!({ "messageType": "ping", "data": null }));
        loop {
            let message = self.stream.next();
            if message["messageType"] == "pong" {
                return;
            }
            self.take(&message);
        }
    }

    /// The highest version that it was sent.
    pub fn version_ms(&self) -> i64 {
        self.version_ms
    }

    /// Whether it says that it is the SDK of Java.
    pub fn is_java(&self) -> bool {
        self.name.starts_with("fb-java")
    }

    /// Waits until its connection has ended, and returns the code it was closed with.
    pub fn wait_closed(&mut self) -> Option<u16> {
        loop {
            match self.stream.next_within(SOON) {
                Next::Message(message) => self.take(&message),
                Next::Closed(code) => return code,
                Next::Nothing => panic!("{}: the connection stays", self.name),
            }
        }
    }

    /// Comes back and asks for what is newer than it has.
    pub fn reconnect(&mut self, agent: &Agent) {
        self.stream = Stream::connect_as(agent, Kind::Server, &self.secret, self.name);
        self.stream.request_data(self.version_ms);
    }

    fn take(&mut self, message: &Value) {
        assert_eq!(message["messageType"], "data-sync", "{message}");
        let data = &message["data"];
        let items = items_of(data["featureFlags"].as_array(), data["segments"].as_array());
        let newest_ms = items.values().map(item_version_ms).max().unwrap_or(0);
        if data["eventType"] == "full" {
            assert!(
                newest_ms > self.version_ms,
                "{} would ignore it: it has {} and is sent {message}",
                self.name,
                self.version_ms
            );
            assert!(
                without_versions(&items) != without_versions(&self.items) || self.arrived != self.source,
                "{} is sent what it has: {message}",
                self.name
            );
            if without_versions(&items) == without_versions(&self.source) {
                self.arrived = self.source.clone();
            }
            self.items = items;
        } else {
            assert!(items.len() <= 1, "{} would close: several items in {message}", self.name);
            if items.is_empty() {
                return;
            }
            assert!(
                newest_ms > self.version_ms,
                "{} would close: it has {} and is sent {message}",
                self.name,
                self.version_ms
            );
            for (key, item) in &items {
                let source = self.source.get(key);
                assert!(
                    self.items.get(key).map(without_version) != Some(without_version(item))
                        || self.arrived.get(key) != source,
                    "{} is sent what it has: {message}",
                    self.name
                );
                if let Some(source) = source.filter(|source| without_version(source) == without_version(item))
                {
                    self.arrived.insert(key.clone(), source.clone());
                }
            }
            self.items.extend(items);
        }
        self.version_ms = newest_ms;
    }
}

fn items_of(flags: Option<&Vec<Value>>, segments: Option<&Vec<Value>>) -> Items {
    let list = |name: &'static str, items: Option<&Vec<Value>>| {
        let items = items.into_iter().flatten();
        items.map(move |item| ((name, text(item, "id").to_owned()), item.clone())).collect::<Vec<_>>()
    };
    list("flag", flags).into_iter().chain(list("segment", segments)).collect()
}

fn contents(environment: &Environment) -> Items {
    items_of(Some(&environment.flags), Some(&environment.segments))
}

fn text<'v>(item: &'v Value, name: &str) -> &'v str {
    item[name].as_str().unwrap_or_else(|| panic!("no {name} in {item}"))
}

/// An item without the version that it is sent with.
fn without_version(item: &Value) -> Value {
    let mut item = item.clone();
    item.as_object_mut().expect("an item").remove("updatedAt");
    item
}

/// Items without the versions that they are sent with.
fn without_versions(items: &Items) -> Items {
    items.iter().map(|(key, item)| (key.clone(), without_version(item))).collect()
}
