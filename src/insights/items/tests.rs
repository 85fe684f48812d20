//! The forms of the SDKs, and random bodies beside a twin that builds trees.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Flags whose key begins with `off` have their insights disabled.
struct Flags;

impl KnownFlags for Flags {
    fn insights_enabled(&self, key: &str) -> bool {
        !key.starts_with("off")
    }

    fn has_flag(&self, _: &str) -> bool {
        true
    }

    fn has_variation(&self, _: &str, _: &str, _: &str) -> bool {
        true
    }
}

fn kept(body: &str) -> (Vec<String>, SplitCounts) {
    let Split { events, counts } = split(body.as_bytes(), &Flags).unwrap();
    (events.iter().map(|text| String::from_utf8(text.to_vec()).unwrap()).collect(), counts)
}

/// An event of each SDK, as they were seen on the wire.
const FORMS: [&str; 8] = [
    // Node: the variation has a name.
    r#"{"user":{"keyId":"ann","name":"Ann","customizedProperties":[]},"variations":[{"featureFlagKey":"f","sendToExperiment":true,"timestamp":1700000000000,"variation":{"id":"v","value":"true","name":"on"}}]}"#,
    // Python: a reason; 1.2.1 has no sendToExperiment.
    r#"{"user": {"keyId": "ann", "name": "Ann", "customizedProperties": []}, "variations": [{"featureFlagKey": "f", "timestamp": 1, "variation": {"id": "v", "value": "x", "reason": "default"}}]}"#,
    // Python's identify.
    r#"{"user": {"keyId": "ann", "name": "Ann", "customizedProperties": [{"name": "a", "value": "b"}]}}"#,
    // Browser: no variation.
    r#"{"user":{"keyId":"ann","name":"Ann"},"variations":[{"featureFlagKey":"f","sendToExperiment":false,"timestamp":1}]}"#,
    r#"{"user":{"keyId":"ann"},"variations":[{"featureFlagKey":"f","variation":null}]}"#,
    r#"{"user":{"keyId":"ann"},"metrics":[{"route":"index/metric","type":"CustomEvent","eventName":"e","numericValue":1.50,"appType":"x","timestamp":1}]}"#,
    // In FeatBit's spelling, and with what nobody knows.
    r#"{ "USER" : {"KeyID":"ann","age":1e3} , "Variations" : null, "extra":[{}] }"#,
    r#"{"user":{"keyId":" ","keyId":"\u0061nn"},"variations":[]}"#,
];

#[test]
fn the_form_of_every_sdk_passes_byte_for_byte() {
    let (events, counts) = kept(&format!("\n[ {} ]\n", FORMS.join(" ,\n ")));
    assert_eq!(events, FORMS);
    let expected = SplitCounts { events: 8, evaluations: 4, metrics: 1, ..SplitCounts::default() };
    assert_eq!(counts, expected);
}

#[test]
fn what_has_no_user_key_is_left_out_and_counted() {
    for element in [
        "null",
        "1",
        "[{\"user\":{\"keyId\":\"a\"}}]",
        "\"x\"",
        "{}",
        r#"{"user":null}"#,
        r#"{"user":"ann"}"#,
        r#"{"user":{}}"#,
        r#"{"user":{"keyId":null}}"#,
        r#"{"user":{"keyId":1}}"#,
        r#"{"user":{"keyId":" \t\u00a0"}}"#,
        r#"{"user":{"keyId":"\ud800"}}"#,
        r#"{"user":{"keyId":"a","KEYID":""}}"#,
        r#"{"user":{"keyId":"a"},"User":null}"#,
        r#"{"keyId":"a"}"#,
    ] {
        let (events, counts) = kept(&format!(r#"[{element},{{"user":{{"keyId":"b"}}}},{element}]"#));
        assert_eq!(events, [r#"{"user":{"keyId":"b"}}"#], "{element}");
        assert_eq!(counts, SplitCounts { events: 1, invalid: 2, ..SplitCounts::default() }, "{element}");
    }
    for body in ["null", "{}", r#"{"user":{"keyId":"a"}}"#, "1"] {
        assert_eq!(kept(body), (Vec::new(), SplitCounts { invalid: 1, ..SplitCounts::default() }), "{body}");
    }
    assert_eq!(kept("[]"), (Vec::new(), SplitCounts::default()));
    for body in ["", "[", "[{}", "[{}] x", "\u{feff}[]", "[{\"user\":}]"] {
        assert_eq!(split(body.as_bytes(), &Flags).unwrap_err(), NotEvents, "{body}");
    }
    assert_eq!(split(b"[\"\xff\"]", &Flags).unwrap_err(), NotEvents);
}

#[test]
fn only_evaluations_of_disabled_flags_are_cut_out() {
    let cases = [
        ("[ OFF , b,c ]", "[ b,c ]", 1),
        ("[ b , OFF , c ]", "[ b , c ]", 1),
        ("[ b , OFF\n]", "[ b\n]", 1),
        ("[OFF,b ,OFF, OFF,c,OFF , OFF]", "[b ,c]", 5),
        ("[b,c]", "[b,c]", 0),
    ];
    let written = |list: &str| {
        let list = list
            .replace("OFF", r#"{"FeatureFlagKey":"off-1"}"#)
            .replace('b', r#"{"featureFlagKey":"on"}"#)
            .replace('c', "7");
        format!(r#"{{"user":{{"keyId":"u"}},  "variations":{list}, "z":1 }}"#)
    };
    for (list, rest, cut) in cases {
        let (events, counts) = kept(&format!("[{}]", written(list)));
        assert_eq!(events, [written(rest)], "{list}");
        let left = rest.matches(['b', 'c']).count() as u64;
        assert_eq!((counts.evaluations_disabled, counts.evaluations), (cut, left), "{list}");
    }
    let all = r#""variations":[ {"featureFlagKey":"off"} , {"featureFlagKey":"on","featureFlagKey":"off"} ]"#;
    let (events, counts) = kept(&format!(r#"[{{"user":{{"keyId":"u"}},{all}}}]"#));
    assert_eq!(events, [""; 0]);
    let expected = SplitCounts { evaluations_disabled: 2, events_disabled: 1, ..SplitCounts::default() };
    assert_eq!(counts, expected);
    // What else the event has stays.
    let (events, _) = kept(&format!(r#"[{{"user":{{"keyId":"u"}},{all},"metrics":[1]}}]"#));
    assert_eq!(events, [r#"{"user":{"keyId":"u"},"variations":[  ],"metrics":[1]}"#]);
}

/// An event of random content. Flags `off…` are disabled.
fn event() -> impl Strategy<Value = Value> {
    let user = prop_oneof![
        6 => "[ a]{1,2}".prop_map(|key| json!({"keyId": key, "name": "n"})),
        1 => Just(json!(null)),
        1 => Just(json!({"keyId": 5})),
    ];
    let evaluation = prop_oneof![
        4 => "(on|off)-[0-9]".prop_map(|key| json!({"featureFlagKey": key, "variation": {"id": "[,]"}})),
        1 => Just(json!({"featureFlagKey": 1})),
        1 => Just(json!("x")),
    ];
    let list = |element: BoxedStrategy<Value>| {
        prop_oneof![
            4 => prop::collection::vec(element, 0..5).prop_map(Value::Array),
            1 => Just(Value::Null),
        ]
    };
    let members = (
        prop::option::of(list(evaluation.boxed())),
        prop::option::of(list(Just(json!({"eventName": "e"})).boxed())),
    );
    prop_oneof![
        8 => (user, members).prop_map(|(user, (evaluations, metrics))| {
            let mut event = json!({"user": user, "more": {"variations": [{"featureFlagKey": "off-1"}]}});
            evaluations.into_iter().for_each(|list| event["variations"] = list);
            metrics.into_iter().for_each(|list| event["metrics"] = list);
            event
        }),
        1 => Just(json!([1])),
    ]
}

/// The same by way of a tree.
fn twin(event: &Value, counts: &mut SplitCounts) -> Option<Value> {
    if event["user"]["keyId"].as_str().is_none_or(|key| key.trim().is_empty()) {
        counts.invalid += 1;
        return None;
    }
    let mut event = event.clone();
    let is_off = |one: &Value| one["featureFlagKey"].as_str().is_some_and(|key| key.starts_with("off"));
    let metrics = event["metrics"].as_array().map_or(0, Vec::len);
    if let Some(list) = event["variations"].as_array().cloned() {
        let rest: Vec<_> = list.iter().filter(|one| !is_off(one)).cloned().collect();
        counts.evaluations_disabled += (list.len() - rest.len()) as u64;
        if rest.is_empty() && !list.is_empty() && metrics == 0 {
            counts.events_disabled += 1;
            return None;
        }
        counts.evaluations += rest.len() as u64;
        event["variations"] = rest.into();
    }
    // Looking has added what was missing.
    event.as_object_mut().unwrap().retain(|name, value| name != "metrics" || !value.is_null());
    counts.metrics += metrics as u64;
    counts.events += 1;
    Some(event)
}

proptest! {
    #[test]
    fn a_twin_that_builds_trees_keeps_the_same(
        events in prop::collection::vec(event(), 0..6),
        pretty in any::<bool>(),
    ) {
        let body = Value::from(events.clone());
        let body = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) };
        let (found, counts) = kept(&body.unwrap());
        let mut expected_counts = SplitCounts::default();
        let expected: Vec<_> = events.iter().filter_map(|event| twin(event, &mut expected_counts)).collect();
        let without_nulls = |mut event: Value| {
            event.as_object_mut().unwrap().retain(|name, value| name != "metrics" || !value.is_null());
            event
        };
        let parsed: Vec<Value> =
            found.iter().map(|text| without_nulls(serde_json::from_str(text).unwrap())).collect();
        prop_assert_eq!(parsed, expected);
        prop_assert_eq!(counts, expected_counts);
        // What nothing was cut out of is the same bytes.
        if !pretty && counts.evaluations_disabled == 0 {
            let valid = |event: &&Value| twin(event, &mut SplitCounts::default()).is_some();
            let same: Vec<_> = events.iter().filter(valid).map(Value::to_string).collect();
            prop_assert_eq!(found, same);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), text in "[\\[\\]{}\",:a\\\\u ]{0,40}") {
        let _ = split(&bytes, &Flags);
        let _ = split(text.as_bytes(), &Flags);
    }
}
