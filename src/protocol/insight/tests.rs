use super::*;
use crate::protocol::samples::{damaged, some_json};
use proptest::prelude::*;
use serde_json::Value;

fn counts(text: &str) -> Option<(usize, usize, usize)> {
    check(text.as_bytes()).ok().map(|counts| (counts.events, counts.variations, counts.metrics))
}

/// The plain twin, over a tree; right only where no name comes twice in an object.
fn counts_plainly(text: &str) -> Option<(usize, usize, usize)> {
    let tree: Value = serde_json::from_str(text).ok()?;
    let empty = Vec::new();
    let events: Vec<_> = tree.as_array().unwrap_or(&empty).iter().filter_map(Value::as_object).collect();
    let sum = |name: &str| {
        let members = events.iter().flat_map(|event| event.iter());
        let lists = members
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .filter_map(|(_, value)| value.as_array());
        lists.map(Vec::len).sum()
    };
    Some((events.len(), sum("variations"), sum("metrics")))
}

#[test]
fn takes_what_every_sdk_sends() {
    for (text, expected) in [
        (
            r#"[{"user":{"keyId":"u","name":"n","customizedProperties":[]},"variations":[{"featureFlagKey":"f","sendToExperiment":false,"timestamp":1,"variation":{"id":"i","value":"true","name":"n"}},{}]}]"#,
            (1, 2, 0),
        ),
        (
            r#"[{"user":{},"metrics":[{"route":"index/metric","type":"CustomEvent","eventName":"e","numericValue":1.5,"appType":"pythonserverside","timestamp":1}]},{"user":{"keyId":"u"}}]"#,
            (2, 0, 1),
        ),
        (r#"[{"user":{"keyId":"u"}}]"#, (1, 0, 0)),
        (r#"[{"user":null,"variations":[{"featureFlagKey":"f"}],"metrics":null}]"#, (1, 1, 0)),
        ("[]", (0, 0, 0)),
        ("[1,null,[{}]]", (0, 0, 0)),
        ("{}", (0, 0, 0)),
        ("null", (0, 0, 0)),
    ] {
        assert_eq!(counts(text), Some(expected), "{text}");
    }
}

#[test]
fn refuses_what_is_not_json() {
    for text in ["", " ", "[", "[{]", "[{}],", "x"] {
        assert_eq!(counts(text), None, "{text}");
    }
    assert_eq!(check(b"[\"\xFF\"]"), Err(Fault));
}

proptest! {
    #[test]
    fn equals_the_plain_twin(
        events in prop::collection::vec(
            (prop::option::of(some_json()), prop::option::of(some_json()), "[a-z]{9}", some_json()), 0..4),
        other in prop::option::of(some_json()),
    ) {
        let mut elements: Vec<String> = events
            .iter()
            .map(|(variations, metrics, name, value)| {
                let list = |name: &str, value: &Option<String>| {
                    value.as_ref().map_or(String::new(), |value| format!("\"{name}\":{value},"))
                };
                format!("{{{}{}\"{name}\":{value}}}", list("variations", variations), list("Metrics", metrics))
            })
            .collect();
        elements.extend(other.filter(|other| !other.starts_with('{')));
        let text = format!("[{}]", elements.join(","));
        prop_assert_eq!(counts(&text), counts_plainly(&text));
    }

    #[test]
    fn takes_all_json_and_nothing_else(text in damaged(some_json())) {
        let is_json = serde_json::from_str::<Value>(&text).is_ok();
        prop_assert!(counts(&text).is_some() == is_json || text.contains("\\u"));
    }
}
