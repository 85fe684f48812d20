//! A streaming SDK that checks everything it gets: it fails the test if something comes twice or is older than what it
//! has, or if its connection is closed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::SOON;
use super::agent::Agent;
use super::dataset::{Kind, item_version_ms};
use super::server::model::at_ms;
use super::ws::{Next, Stream};

/// A connection and the data that its SDK would have.
#[derive(Debug)]
pub struct Watcher {
    stream: Stream,
    user: Option<Value>,
    /// Flags by key: whole ones of a server SDK, evaluated ones of a client SDK.
    pub flags: BTreeMap<String, Value>,
    /// Segments by id.
    pub segments: BTreeMap<String, Value>,
    /// The `eventType` of each message so far.
    pub events: Vec<String>,
    /// Client SDKs get a flag whose segment changed even if the result for their user is the same.
    pub may_repeat: bool,
    /// The next message answers a request, and may be an empty patch.
    is_answer: bool,
}

impl Watcher {
    /// A server SDK that has its first full.
    pub fn server(agent: &Agent, secret: &str) -> Self {
        let mut watcher = Self::asking(agent, secret);
        watcher.expect_full();
        watcher
    }

    /// A client SDK that has its first full.
    pub fn client(agent: &Agent, secret: &str, user: &Value) -> Self {
        let mut stream = Stream::connect(agent, Kind::Client, secret);
        stream.request_data_for(0, user);
        let mut watcher = Self::of(stream, Some(user.clone()));
        watcher.expect_full();
        watcher
    }

    /// A server SDK that has asked for its first full, and has no answer yet.
    pub fn asking(agent: &Agent, secret: &str) -> Self {
        let mut stream = Stream::connect(agent, Kind::Server, secret);
        stream.request_data(0);
        Self::of(stream, None)
    }

    fn of(stream: Stream, user: Option<Value>) -> Self {
        let (flags, segments) = (BTreeMap::new(), BTreeMap::new());
        Self { stream, user, flags, segments, events: Vec::new(), may_repeat: false, is_answer: false }
    }

    /// Comes back with what it has, as after a lost connection, and applies the answer; returns its `eventType`.
    pub fn come_back(&mut self, agent: &Agent, secret: &str) -> String {
        let version_ms = self.version_ms();
        let kind = if self.is_client() { Kind::Client } else { Kind::Server };
        self.stream = Stream::connect(agent, kind, secret);
        match &self.user {
            Some(user) => self.stream.request_data_for(version_ms, user),
            None => self.stream.request_data(version_ms),
        }
        self.is_answer = true;
        self.take()
    }

    /// The highest version that it has.
    pub fn version_ms(&self) -> i64 {
        self.flags.values().chain(self.segments.values()).map(item_version_ms).max().unwrap_or(0)
    }

    /// The next message must be a full.
    pub fn expect_full(&mut self) {
        assert_eq!(self.take(), "full", "after {:?}", self.events);
    }

    /// The next message must be a patch.
    pub fn expect_patch(&mut self) {
        assert_eq!(self.take(), "patch", "after {:?}", self.events);
    }

    /// Applies the next message; returns its `eventType`.
    pub fn take(&mut self) -> String {
        match self.stream.next_within(SOON) {
            Next::Message(message) => self.apply(&message),
            other => panic!("expected a message, got {other:?} after {:?}", self.events),
        }
    }

    /// The same; `None` if the connection is closed instead, which must not be for good.
    pub fn try_take(&mut self) -> Option<String> {
        match self.stream.next_within(SOON) {
            Next::Message(message) => Some(self.apply(&message)),
            Next::Closed(code) => {
                assert_ne!(code, Some(4003), "after {:?}", self.events);
                None
            }
            Next::Nothing => panic!("nothing comes after {:?}", self.events),
        }
    }

    /// Applies the messages that have already arrived.
    pub fn take_what_is_there(&mut self) {
        while self.take_within(Duration::from_millis(1)) {}
    }

    /// Applies what comes until the connection has ended.
    pub fn take_until_end(&mut self) {
        while self.try_take().is_some() {}
    }

    /// Applies the next message, if one comes in time. A close fails the test.
    pub fn take_within(&mut self, within: Duration) -> bool {
        match self.stream.next_within(within) {
            Next::Message(message) => {
                self.apply(&message);
                true
            }
            Next::Closed(code) => panic!("closed with {code:?} after {:?}", self.events),
            Next::Nothing => false,
        }
    }

    /// Whether it is a client SDK.
    pub fn is_client(&self) -> bool {
        self.user.is_some()
    }

    /// Applies messages until a condition holds.
    pub fn take_until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        while !holds(self) {
            match self.stream.next_within(SOON) {
                Next::Message(message) => self.apply(&message),
                other => panic!("waited for {what}, got {other:?} after {:?}; {:?}", self.events, self.flags),
            };
        }
    }

    /// Applies messages until a flag gives everybody this variation.
    pub fn wait_variation(&mut self, key: &str, variation: &str) {
        self.take_until(&format!("{variation} of {key}"), |watcher| {
            watcher.variation(key) == Some(variation)
        });
    }

    /// Applies messages until a flag is gone.
    pub fn wait_gone(&mut self, key: &str) {
        self.take_until(&format!("the end of {key}"), |watcher| !watcher.flags.contains_key(key));
    }

    /// The variation that a flag gives: to everybody, or to the client's user.
    pub fn variation(&self, key: &str) -> Option<&str> {
        let flag = self.flags.get(key)?;
        let id = if self.user.is_some() {
            &flag["variationId"]
        } else {
            &flag["fallthrough"]["variations"][0]["id"]
        };
        id.as_str()
    }

    /// The agent has sent nothing more.
    pub fn expect_nothing_new(&mut self) {
        self.stream.expect_nothing_new();
    }

    /// The code it is closed with before any message; `None` if it is served.
    pub fn refusal(mut self) -> Option<Option<u16>> {
        match self.stream.next_within(SOON) {
            Next::Message(_) => None,
            Next::Closed(code) => Some(code),
            Next::Nothing => panic!("neither served nor closed"),
        }
    }

    /// Waits for the close; returns the code.
    pub fn expect_close(&mut self, within: Duration) -> Option<u16> {
        self.stream.expect_close(within)
    }

    fn apply(&mut self, message: &Value) -> String {
        assert_eq!(message["messageType"], "data-sync", "{message}");
        let data = &message["data"];
        let event = data["eventType"].as_str().expect("an event type").to_owned();
        let flags = data["featureFlags"].as_array().expect("flags");
        let none = Vec::new();
        let segments =
            if self.user.is_some() { &none } else { data["segments"].as_array().expect("segments") };
        let key_name = if let Some(user) = &self.user {
            assert_eq!(data["userKeyId"], user["keyId"]);
            "id"
        } else {
            "key"
        };
        if event == "full" {
            let by = |items: &[Value], name: &str| -> BTreeMap<String, Value> {
                let pairs =
                    items.iter().map(|item| (item[name].as_str().expect("a name").to_owned(), item.clone()));
                pairs.collect()
            };
            let (flags, segments) = (by(flags, key_name), by(segments, "id"));
            let first = self.events.is_empty();
            assert!(
                first || (&flags, &segments) != (&self.flags, &self.segments),
                "a full that changes nothing"
            );
            (self.flags, self.segments) = (flags, segments);
        } else {
            assert_eq!(event, "patch");
            let is_empty = flags.is_empty() && segments.is_empty();
            assert!(!is_empty || self.is_answer, "an empty patch that nobody asked for");
            for flag in flags {
                newer(&mut self.flags, flag, key_name, self.user.is_some(), self.may_repeat);
            }
            for segment in segments {
                newer(&mut self.segments, segment, "id", false, false);
            }
        }
        self.is_answer = false;
        self.events.push(event.clone());
        event
    }
}

/// Stores an item, which must be newer than the one that it replaces.
fn newer(items: &mut BTreeMap<String, Value>, item: &Value, name: &str, evaluated: bool, may_repeat: bool) {
    let name = item[name].as_str().expect("a name").to_owned();
    if let Some(have) = items.get(&name) {
        assert!(may_repeat || have != item, "the same twice: {item}");
        if evaluated {
            assert!(item["timestamp"].as_i64() >= have["timestamp"].as_i64(), "older than {have}: {item}");
        } else {
            assert!(at_ms(item) > at_ms(have), "not newer than {have}: {item}");
        }
    }
    items.insert(name, item.clone());
}
