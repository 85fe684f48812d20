//! Messages of a server whose dates repeat, go back or do not exist (`tests/cases/order.ndjson`): after each, every kind of
//! SDK has what the source has, and who is up to date is sent nothing more.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::collections::BTreeMap;

use common::agent::{Agent, Builder};
use common::dataset::{Dataset, Environment, Kind, item_version_ms, user};
use common::server::Server;
use common::strict::StrictSdk;
use common::ws::{Next, Stream};
use common::{SOON, wait_until};
use serde_json::{Value, json};

const SERVER_POLL: &str = "/api/public/sdk/server/latest-all";
const CLIENT_POLL: &str = "/api/public/sdk/client/latest-all";

/// The data of an SDK: list and id → the item.
type Items = BTreeMap<(&'static str, String), Value>;

fn items(data: &Value) -> Items {
    let list = |name: &'static str| {
        let items = data[name].as_array().cloned().unwrap_or_default();
        items.into_iter().map(move |item| ((name, item["id"].as_str().unwrap().to_owned()), item))
    };
    list("featureFlags").chain(list("segments")).collect()
}

/// The items without the versions that they are sent with.
fn without_versions(items: &Items) -> Items {
    let mut items = items.clone();
    for item in items.values_mut() {
        for version in ["updatedAt", "timestamp"] {
            item.as_object_mut().unwrap().remove(version);
        }
    }
    items
}

fn version_ms(items: &Items) -> i64 {
    items.values().map(item_version_ms).max().unwrap_or(0)
}

/// An SDK that accepts an item if it is newer than its own version of it, and every full, over a stream or by polling.
struct Sdk {
    stream: Option<Stream>,
    secret: String,
    is_client: bool,
    items: Items,
}

impl Sdk {
    fn new(agent: &Agent, environment: &Environment, is_client: bool, streams: bool) -> Self {
        let kind = if is_client { Kind::Client } else { Kind::Server };
        let secret = environment.secret(kind);
        let mut stream = streams.then(|| Stream::connect(agent, kind, &secret));
        if let Some(stream) = &mut stream {
            match is_client {
                true => stream.request_data_for(0, &user("ann", &[])),
                false => stream.request_data(0),
            }
        }
        let mut sdk = Self { stream, secret, is_client, items: Items::new() };
        sdk.wait(agent, environment, 1);
        sdk
    }

    /// Reads or polls until it has the environment's data, with at least this version; a poll then brings nothing more.
    fn wait(&mut self, agent: &Agent, environment: &Environment, version_ms: i64) {
        while !self.has(agent, environment, version_ms) {
            let message = match &mut self.stream {
                // The reactor that answers may not have taken in every message yet.
                None => wait_until("something newer in a poll", SOON, || self.poll(agent)),
                Some(stream) => match stream.next_within(SOON) {
                    Next::Message(message) => message,
                    other => panic!("{other:?}; it has {:?}", self.items),
                },
            };
            self.take(message);
        }
        // A flag whose segment has changed may say the same, and is sent all the same.
        if let Some(stream) = &mut self.stream {
            stream.send(&json!({ "messageType": "ping", "data": null }));
        }
        while let Some(message) = self.stream.as_mut().map(Stream::next) {
            if message["messageType"] == "pong" {
                break;
            }
            self.take(message);
        }
        assert!(self.has(agent, environment, version_ms));
        assert_eq!(self.poll(agent), None, "who is up to date is sent nothing");
    }

    fn has(&self, agent: &Agent, environment: &Environment, version: i64) -> bool {
        if version_ms(&self.items) < version {
            return false;
        }
        if self.is_client {
            let now = wait_until("an evaluation of this version", SOON, || {
                let flags = agent.evaluate(&self.secret, &user("ann", &[]));
                flags.values().any(|flag| item_version_ms(flag) >= version).then_some(flags)
            });
            let mine = self.items.iter().map(|((_, key), flag)| (key, &flag["variation"]));
            return mine.eq(now.iter().map(|(key, flag)| (key, flag.get("variation").unwrap_or(flag))));
        }
        let (flags, segments) =
            (Value::from(environment.flags.clone()), Value::from(environment.segments.clone()));
        without_versions(&self.items)
            == without_versions(&items(&json!({ "featureFlags": flags, "segments": segments })))
    }

    fn take(&mut self, message: Value) {
        let data = &message["data"];
        if data["eventType"] == "full" {
            self.items.clear();
        }
        for (key, item) in items(data) {
            if let Some(has) = self.items.get(&key) {
                assert!(
                    item_version_ms(&item) > item_version_ms(has),
                    "having {has} it does not take {item}"
                );
            }
            self.items.insert(key, item);
        }
    }

    fn poll(&self, agent: &Agent) -> Option<Value> {
        let headers = [("Authorization", self.secret.as_str())];
        let since = format!("?timestamp={}", version_ms(&self.items));
        let answer = match self.is_client {
            true => agent.post(&format!("{CLIENT_POLL}{since}"), &headers, &user("ann", &[])),
            false => agent.get(&format!("{SERVER_POLL}{since}"), &headers),
        };
        (answer.status == 200 && !answer.body.is_empty()).then(|| answer.json())
    }
}

/// Applies a message at the source: a patch replaces items by id, a full sync replaces all.
fn apply(environment: &mut Environment, message: &Value) {
    let data = &message["data"];
    let list = |of: &Value, name: &str| of[name].as_array().cloned().unwrap_or_default();
    if data["eventType"] == "rp_full" {
        let item = &data["items"][0];
        environment.flags = list(item, "featureFlags");
        environment.segments = list(item, "segments");
        return;
    }
    for (name, items) in [("featureFlags", &mut environment.flags), ("segments", &mut environment.segments)] {
        for item in list(data, name) {
            match items.iter_mut().find(|old| old["id"] == item["id"]) {
                Some(old) => *old = item,
                None => items.push(item),
            }
        }
    }
}

#[test]
fn every_kind_of_sdk_takes_changes_in_any_order_of_their_dates() {
    let base: Value = serde_json::from_str(include_str!("cases/base.json")).unwrap();
    let mut data = Dataset::from_json(&base);
    let server = Server::start(&data);
    let agent = Builder::following(&server).start();
    agent.wait_stable();
    server.wait_synced();
    let relay = server.wait_request(0);
    let environment = &mut data.environments[0];
    let mut strict = StrictSdk::of_each_name(&agent, environment);
    let mut others: Vec<_> = [(false, true), (false, false), (true, true), (true, false)]
        .map(|(is_client, streams)| Sdk::new(&agent, environment, is_client, streams))
        .into();
    for line in include_str!("cases/order.ndjson").lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        eprintln!("{}", case["what"]);
        for message in case["messages"].as_array().unwrap() {
            apply(environment, message);
            relay.send(&message.to_string());
        }
        strict.iter_mut().for_each(|sdk| sdk.wait_for(environment));
        let version_ms = strict[0].version_ms();
        others.iter_mut().for_each(|sdk| sdk.wait(&agent, environment, version_ms));
    }
}
