//! Evaluation against answers that were recorded from FeatBit's own agent (`tests/vectors/README.md`).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod definitions;

use std::collections::{BTreeMap, BTreeSet};

use definitions::{list, text};
use featbit_agent::eval::{Compiler, Flag, Segments};
use featbit_agent::model::user::User;
use serde_json::{Value, json};

fn recorded(name: &str) -> Value {
    let path = format!("{}/tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn compiled(flag: &Value) -> Flag {
    Compiler::default().flag(&definitions::flag(flag), &mut Vec::new())
}

/// Operator, condition value, user value.
type Case = (String, Option<String>, Option<String>);

/// Where this agent decides otherwise than the original, from the file that says why.
fn deliberate_differences() -> BTreeSet<Case> {
    let differences = recorded("differences.json");
    let mut cases = BTreeSet::new();
    for difference in differences.as_array().unwrap() {
        assert!(!text(difference, "reason").is_empty());
        for case in list(difference, "cases") {
            for user in list(case, "users") {
                let value = |value: &Value| value.as_str().map(str::to_owned);
                let new = cases.insert((text(case, "op").to_owned(), value(&case["value"]), value(user)));
                assert!(new, "listed twice: {case}, {user}");
            }
        }
    }
    cases
}

#[test]
fn every_recorded_operator_decides_as_recorded_except_for_the_listed_differences() {
    let vectors = recorded("operators.json");
    let mut different = BTreeSet::new();
    let mut decisions = BTreeMap::new();
    for condition in list(&vectors, "conditions") {
        let flag = compiled(&json!({
            "key": "flag",
            "isEnabled": true,
            "rules": [{
                "name": "matched",
                "conditions": [{ "property": "p", "op": condition["op"], "value": condition["value"] }],
            }],
        }));
        let users = list(&vectors["users"], text(condition, "users"))
            .map(Value::as_str)
            .chain([None])
            .collect::<Vec<_>>();
        let decided = text(condition, "decided");
        assert_eq!(users.len(), decided.chars().count());
        for (user, decided) in users.into_iter().zip(decided.chars()) {
            if decided == '.' {
                continue;
            }
            *decisions.entry(decided).or_insert(0) += 1;
            let property = user.map(|value| ("p", Some(value)));
            let asked = User::new("user", Some("name"), property.as_slice()).unwrap();
            let matched = flag.evaluate(&asked, &Segments::default()).reason == "matched";
            // Where the original fails the payload (`e`), the condition must be false.
            if matched != (decided == 't') {
                let value = condition["value"].as_str().map(str::to_owned);
                different.insert((text(condition, "op").to_owned(), value, user.map(str::to_owned)));
            }
        }
    }
    let listed = deliberate_differences();
    let news: Vec<_> = different.difference(&listed).collect();
    let stale: Vec<_> = listed.difference(&different).collect();
    assert!(news.is_empty() && stale.is_empty(), "not listed: {news:?}\nlisted, but equal: {stale:?}");
    assert_eq!(decisions, BTreeMap::from([('e', 1_270), ('f', 17_513), ('t', 7_718)]));
}

#[test]
fn every_recorded_rollout_decides_as_recorded() {
    let mut decisions = 0;
    for case in recorded("rollouts.json").as_array().unwrap() {
        let variations: Vec<_> = list(&case["fallthrough"], "variations")
            .map(|share| json!({ "id": share["id"], "value": format!("value of {}", text(share, "id")) }))
            .collect();
        let flag = compiled(&json!({
            "key": case["flagKey"],
            "isEnabled": true,
            "exptIncludeAllTargets": case["exptIncludeAllTargets"],
            "variations": variations,
            "fallthrough": case["fallthrough"],
        }));
        for (user, decided) in list(case, "users").zip(list(case, "decided")) {
            let decision = flag.evaluate(&definitions::user(user), &Segments::default());
            let (id, value) = decision.variation.unwrap();
            assert_eq!(json!([id, decision.send_to_experiment]), *decided, "{user} of {case}");
            let expected = if id.is_empty() { String::new() } else { format!("value of {id}") };
            assert_eq!((value, decision.reason), (expected.as_str(), "default"));
            decisions += 1;
        }
    }
    assert_eq!(decisions, 2_400);
}

/// Flags of an environment with the segments they refer to.
struct Environment {
    flags: Vec<Flag>,
    segments: Segments,
}

impl Environment {
    fn new(item: &Value) -> Self {
        let mut compiler = Compiler::default();
        let mut findings = Vec::new();
        let flags = list(item, "featureFlags")
            .map(|flag| compiler.flag(&definitions::flag(flag), &mut findings))
            .collect();
        let segments: Vec<_> = list(item, "segments")
            .map(|segment| {
                let compiled = compiler.segment(&definitions::segment(segment), &mut findings);
                (compiler.slots.slot(text(segment, "id")), Some(compiled.into()))
            })
            .collect();
        Self { flags, segments: Segments::default().with(segments) }
    }

    fn payload(&self, user: &Value) -> Vec<Value> {
        let user = definitions::user(user);
        self.flags
            .iter()
            .map(|flag| {
                let mut json = Vec::new();
                flag.append_client_json(&user, &self.segments, &mut json);
                serde_json::from_slice(&json).unwrap()
            })
            .collect()
    }
}

#[test]
fn client_payloads_are_the_recorded_ones() {
    let conversation = recorded("conversation.json");
    let item = &conversation["dump"]["items"][0];
    let environment = Environment::new(item);
    // The one deliberate difference, that archived flags have no variation, has no case among these.
    assert!(list(item, "featureFlags").all(|flag| flag["isArchived"] == false));
    let answers: Vec<_> = list(&conversation["http"], "clientFull").collect();
    assert_eq!(answers.len(), list(&conversation, "users").count());
    for (user, answer) in list(&conversation, "users").zip(answers) {
        let answer: Value = serde_json::from_str(text(answer, "body")).unwrap();
        assert_eq!(answer["data"]["userKeyId"], user["keyId"]);
        let flags = environment.payload(user);
        assert_eq!(flags.len(), list(&answer["data"], "featureFlags").count());
        for (flag, expected) in flags.iter().zip(list(&answer["data"], "featureFlags")) {
            assert_eq!(flag, expected, "for {user}");
        }
    }
}

#[test]
fn properties_of_the_client_payload_come_in_the_order_of_the_original() {
    let conversation = recorded("conversation.json");
    let body = text(&conversation["http"]["clientFull"][0], "body");
    let recorded = &body[body.find(r#"{"id":"#).unwrap()..];
    let mut json = Vec::new();
    let environment = Environment::new(&conversation["dump"]["items"][0]);
    environment.flags[0].append_client_json(
        &definitions::user(&conversation["users"][0]),
        &environment.segments,
        &mut json,
    );
    // The first flag holds nothing that the original escapes, so that even the bytes are the same.
    assert_eq!(String::from_utf8(json).unwrap(), recorded[..recorded.find(",{\"id\":\"diff").unwrap()]);
}
