//! What the tests of this program share: agents that send events to a stand-in, numbered events, and what became of them.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::common::agent::{Agent, Builder};
use crate::common::dataset::{Dataset, Environment, Kind, boolean_flag, user};
use crate::common::event_server::{EventServer, Got};
use crate::common::http::Response;
use crate::common::raw::TRACK;
use crate::common::{SOON, wait_until};

pub const TOTAL: &str = "featbit_agent_usage_events_total";
pub const WAITING: &str = "featbit_agent_usage_events_waiting";

/// The environment with this number.
pub fn environment(number: u8) -> Environment {
    Environment::new(number).flag(boolean_flag("on"))
}

/// An agent of the first two environments that sends events to this address.
pub fn sending_to(url: &str) -> Builder {
    Builder::offline()
        .api_key()
        .data_file(&Dataset::of([environment(1), environment(2)]))
        .env("EventUri", url)
        .env("Events__FlushSeconds", "0")
        .env("Events__RetrySeconds", "1")
}

/// As [`sending_to`], with a folder for events.
pub fn spooling_to(url: &str) -> Builder {
    sending_to(url).folder("state").env("Events__Directory", "state/events")
}

/// The folder of [`spooling_to`].
pub fn folder(agent: &Agent) -> PathBuf {
    agent.dir().join("state/events")
}

/// The secret of server SDKs of the first environment.
pub fn secret() -> String {
    environment(1).secret(Kind::Server)
}

/// An event of a user with this key.
pub fn event(key: &str) -> Value {
    json!({ "user": user(key, &[]), "variations": [{
        "featureFlagKey": "on", "sendToExperiment": true, "timestamp": 1_706_745_600_000i64,
        "variation": { "id": "v0", "value": "true" }
    }] })
}

/// An event with a name of so many bytes, which do not compress well.
pub fn large_event(key: &str, bytes: usize) -> Value {
    let mut rng = crate::common::rng::Rng::new(key.bytes().fold(7, |sum, byte| sum * 31 + u64::from(byte)));
    let name: String = (0..bytes.div_ceil(16)).map(|_| format!("{:016x}", rng.next())).collect();
    json!({ "user": { "keyId": key, "name": name }, "variations": [] })
}

pub fn events(keys: impl IntoIterator<Item = String>) -> Value {
    keys.into_iter().map(|key| event(&key)).collect()
}

/// The keys `from..to` as texts.
pub fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// Posts events of the first environment.
pub fn post(agent: &Agent, events: &Value) -> Response {
    agent.post(TRACK, &[("Authorization", &secret())], events)
}

/// Posts events of users with these keys, each in a call of its own; all are taken.
pub fn post_each(agent: &Agent, keys: &[String]) {
    for key in keys {
        post(agent, &events([key.clone()])).expect(200);
    }
}

pub fn key_of(event: &Value) -> String {
    event["user"]["keyId"].as_str().unwrap_or_default().to_owned()
}

pub fn keys_of(events: &[Value]) -> Vec<String> {
    events.iter().map(key_of).collect()
}

pub fn has_key(got: &Got, key: &str) -> bool {
    got.events.iter().any(|event| key_of(event) == key)
}

/// The keys in the order in which each arrived first, and how many arrived again.
pub fn first_arrivals(events: &[Value]) -> (Vec<String>, usize) {
    let mut seen = HashSet::new();
    let first: Vec<String> = keys_of(events).into_iter().filter(|key| seen.insert(key.clone())).collect();
    let again = events.len() - first.len();
    (first, again)
}

/// Waits until nothing waits to be sent, and all of this has arrived; returns what came, and how much of it came again.
pub fn wait_all(server: &EventServer, keys: &[String]) -> (Vec<String>, usize) {
    wait_until(&format!("all of {} events", keys.len()), SOON * 3, || {
        let (first, again) = first_arrivals(&server.events());
        let came: HashSet<&String> = first.iter().collect();
        keys.iter().all(|key| came.contains(key)).then_some((first, again))
    })
}

/// Checks that these events arrived, in this order, each once, and nothing else.
pub fn expect_each_once(server: &EventServer, keys: &[String]) {
    server.wait_events(keys.len());
    assert_eq!(keys_of(&server.events()), keys);
}

/// The lines of the dead letters.
pub fn dead_letters(agent: &Agent) -> Vec<Value> {
    let text = fs::read_to_string(folder(agent).join("dead-letters.ndjson")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// All files below a folder, in the order of their paths.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// The segments of the spool.
pub fn segments(agent: &Agent) -> Vec<PathBuf> {
    let mut files = files_below(&folder(agent).join("spool"));
    files.retain(|file| file.to_string_lossy().ends_with(".events"));
    files
}
