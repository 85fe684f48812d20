//! Bodies of usage events: taken apart, and written without what identifies a user.
#![no_main]

use std::sync::LazyLock;

use featbit_agent::config::event_properties;
use featbit_agent::insights::items::{Split, split};
use featbit_agent::insights::known_flags::{KnownFlags, NoFlags};
use featbit_agent::insights::pseudonym::{PseudonymKey, Pseudonymizer};
use featbit_agent::model::environment_id::EnvironmentId;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Flags whose key begins with `off` have their insights disabled.
struct Flags;

impl KnownFlags for Flags {
    fn insights_enabled(&self, key: &str) -> bool {
        !key.starts_with("off")
    }

    fn has_flag(&self, _: &str) -> bool {
        false
    }

    fn has_variation(&self, _: &str, _: &str, _: &str) -> bool {
        false
    }
}

static PSEUDONYMIZER: LazyLock<Pseudonymizer> = LazyLock::new(|| {
    let key = PseudonymKey::from_text("0123456789abcdefghijklmnopqrstuv").expect("a long key");
    let rules = event_properties::parse("k;h=hash;r=range:10;d=domain;n=network;c=country");
    Pseudonymizer::new(key, rules.expect("valid rules"))
});

/// Whether an object has only these members, and `inner` holds for them.
fn only(value: &Value, names: &[&str]) -> bool {
    value.as_object().is_some_and(|members| members.keys().all(|name| names.contains(&name.as_str())))
}

fn each(value: &Value, holds: impl Fn(&Value) -> bool) -> bool {
    value.is_null() || value.as_array().is_some_and(|list| !list.is_empty() && list.iter().all(holds))
}

/// Whether a text has the user key in it, as it is.
fn has(value: &Value, key: &str) -> bool {
    match value {
        Value::String(text) => text.to_lowercase().contains(key),
        Value::Array(list) => list.iter().any(|one| has(one, key)),
        Value::Object(members) => members.values().any(|one| has(one, key)),
        _ => false,
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(Split { events, counts }) = split(data, &Flags) else { return };
    assert_eq!(counts.events, events.len() as u64);
    let body = [b"[", &events.text()[..], b"]"].concat();
    let again = split(&body, &Flags).expect("what is kept is JSON");
    assert_eq!(again.events, events, "what is kept is kept again");
    assert_eq!((again.counts.invalid, again.counts.evaluations_disabled), (0, 0));
    for event in events.iter() {
        let environment = EnvironmentId::from_bytes([1; 16]);
        let Some(out) = PSEUDONYMIZER.transform(environment, &NoFlags, event) else {
            panic!("an event with a user key is lost");
        };
        let out: Value = serde_json::from_slice(&out).expect("what goes out is JSON");
        assert!(only(&out, &["user", "variations", "metrics"]));
        assert!(only(&out["user"], &["keyId", "customizedProperties"]));
        assert!(each(&out["user"]["customizedProperties"], |one| only(one, &["name", "value"])));
        assert!(each(&out["variations"], |one| {
            only(one, &["featureFlagKey", "sendToExperiment", "timestamp", "variation"])
                && (one["variation"].is_null() || only(&one["variation"], &["id", "value"]))
        }));
        assert!(each(&out["metrics"], |one| {
            only(one, &["route", "type", "eventName", "numericValue", "appType", "timestamp"])
        }));
        // The key of the event, where it is easy to know.
        let Ok(Value::Object(event)) = serde_json::from_slice::<Value>(event) else { continue };
        let Some(key) = event.get("user").and_then(|user| user["keyId"].as_str()) else { continue };
        let users = event.keys().filter(|name| name.eq_ignore_ascii_case("user")).count();
        let is_long = key.len() >= 8 && key.is_ascii() && key.trim() == key;
        let is_word = ["index/metric", "CustomEvent", "PageView", "redacted"]
            .iter()
            .any(|word| word.to_lowercase().contains(&key.to_lowercase()));
        if users == 1 && is_long && !is_word {
            let mut free = out;
            // A hash is not searched.
            free["user"] = Value::Null;
            assert!(!has(&free, &key.to_lowercase()), "the user key goes out");
        }
    }
});
