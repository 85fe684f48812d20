//! What SDKs get, against answers that were recorded from FeatBit's own agent (`tests/vectors/README.md`).

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use featbit_agent::model::parse::DatasetText;
use featbit_agent::model::user::User;
use featbit_agent::payload::Payload;
use featbit_agent::protocol::user::parse_http;
use featbit_agent::store::{Environment, Moment, PatchForm, Poll, Snapshot, SyncKind, Writer, WriterOptions};
use serde_json::Value;

/// Between the versions of the dump's items; the recorded patches were asked for with it.
const PATCH_MS: i64 = 1_735_689_644_638;
/// Newer than everything in the dump.
const NEVER_MS: i64 = 4_000_000_000_000;

struct Recorded {
    conversation: Value,
    snapshot: Arc<Snapshot>,
    environment: Arc<Environment>,
}

fn recorded() -> Recorded {
    let path = format!("{}/tests/vectors/conversation.json", env!("CARGO_MANIFEST_DIR"));
    let conversation: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut text = DatasetText::new(conversation["dump"].to_string().into_bytes());
    let mut writer = Writer::new(WriterOptions::default());
    writer.replace(&text.parse().unwrap(), Moment::default());
    let snapshot = Arc::clone(writer.current());
    let environment = Arc::clone(snapshot.environments().next().unwrap());
    Recorded { conversation, snapshot, environment }
}

fn json(text: &Value) -> Value {
    serde_json::from_str(text.as_str().unwrap()).unwrap()
}

fn user(json: &Value) -> User {
    parse_http(json.to_string().as_bytes(), 1000).unwrap()
}

/// The message of the one unmasked text frame.
fn message(payloads: &[Payload]) -> Value {
    let [payload] = payloads else { panic!("one message was expected") };
    let frame = payload.to_vec();
    let start = match frame[1] {
        127 => 10,
        126 => 4,
        _ => 2,
    };
    assert_eq!(frame[0], 0x81);
    serde_json::from_slice(&frame[start..]).unwrap()
}

impl Recorded {
    fn poll(&self, timestamp_ms: i64) -> Option<Value> {
        match self.environment.server_poll(timestamp_ms) {
            Poll::Empty => None,
            Poll::Body(body) => Some(serde_json::from_slice(&body.to_vec()).unwrap()),
        }
    }

    fn client(&self, user: &User, timestamp_ms: i64) -> (Value, usize) {
        let mut out = Vec::new();
        let outcome = self.environment.client_sync(self.snapshot.segments(), user, timestamp_ms, &mut out);
        (serde_json::from_slice(&out).unwrap(), outcome.flags)
    }
}

#[test]
fn polls_of_server_sdks_are_answered_as_recorded() {
    let recorded = recorded();
    let http = &recorded.conversation["http"];
    assert_eq!(recorded.poll(0).unwrap(), json(&http["serverFull"]["body"]));
    assert_eq!(recorded.poll(PATCH_MS).unwrap(), json(&http["serverPatch"]["body"]));
    assert_eq!(http["serverEmpty"]["body"], "");
    assert_eq!(recorded.poll(NEVER_MS), None);
}

#[test]
fn polls_of_client_sdks_are_answered_as_recorded() {
    let recorded = recorded();
    let http = &recorded.conversation["http"];
    let users = recorded.conversation["users"].as_array().unwrap();
    let answers = http["clientFull"].as_array().unwrap();
    assert_eq!(users.len(), answers.len());
    for (asked, answer) in users.iter().zip(answers) {
        assert_eq!(recorded.client(&user(asked), 0).0, json(&answer["body"]), "{asked}");
    }
    let first = user(&users[0]);
    assert_eq!(recorded.client(&first, PATCH_MS).0, json(&http["clientPatch"]["body"]));
    assert_eq!(http["clientEmpty"]["body"], "");
    assert_eq!(recorded.client(&first, NEVER_MS).1, 0);
}

#[test]
fn streams_are_answered_as_recorded() {
    let recorded = recorded();
    let mut compared = 0;
    for kind in ["server", "client"] {
        for exchange in recorded.conversation["streaming"][kind].as_array().unwrap() {
            let request = json(&exchange["in"]);
            if request["messageType"] != "data-sync" {
                continue;
            }
            let timestamp_ms = request["data"]["timestamp"].as_i64().unwrap();
            let answer = match request["data"].get("user") {
                Some(asked) => recorded.client(&user(asked), timestamp_ms).0,
                None => {
                    let mut out = Vec::new();
                    let kind = recorded.environment.server_sync(timestamp_ms, PatchForm::Batch, &mut out);
                    assert_eq!(kind == SyncKind::Full, timestamp_ms == 0);
                    message(&out)
                }
            };
            assert_eq!(answer, json(&exchange["out"]), "{request}");
            compared += 1;
        }
    }
    assert_eq!(compared, 6);
}
