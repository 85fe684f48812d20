//! Random events beside a twin that goes through a tree.

use super::*;
use proptest::prelude::*;
use serde_json::{Map, json};

/// Any small JSON value, often of a wrong type.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => "[a-z 0-9]{0,6}".prop_map(Value::from),
        2 => (0u32..20_000).prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => Just(json!(["a", {"b": 1}])),
    ]
}

/// An object with some of these members.
fn object(names: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let member = (prop::sample::select(names), value());
    prop::collection::vec(member, 0..6).prop_map(|members| {
        Value::from(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
    })
}

fn event() -> impl Strategy<Value = Value> {
    let variation = prop_oneof![3 => object(&["id", "value", "name"]), 1 => value()];
    let evaluation = (object(&["featureFlagKey", "sendToExperiment", "timestamp", "x"]), variation).prop_map(
        |(mut evaluation, variation)| {
            evaluation["variation"] = variation;
            evaluation
        },
    );
    let metric = object(&["route", "type", "eventName", "numericValue", "appType", "timestamp", "y"]);
    let property = prop_oneof![
        4 => ("[pq]", value()).prop_map(|(name, value)| json!({"name": name, "value": value})),
        1 => value(),
    ];
    (
        value(),
        value(),
        prop::collection::vec(property, 0..4),
        prop::collection::vec(prop_oneof![4 => evaluation.boxed(), 1 => value().boxed()], 0..4),
        prop::collection::vec(prop_oneof![4 => metric.boxed(), 1 => value().boxed()], 0..4),
    )
        .prop_map(|(key, name, properties, evaluations, metrics)| {
            json!({
                "user": {"keyId": key, "name": name, "customizedProperties": properties, "more": {"m": name}},
                "variations": evaluations, "metrics": metrics, "z": key,
            })
        })
}

/// All strings and numbers in a value.
fn leaves(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => out.push(text.clone()),
        Value::Number(number) => out.push(number.to_string()),
        Value::Array(list) => list.iter().for_each(|one| leaves(one, out)),
        Value::Object(members) => members.values().for_each(|one| leaves(one, out)),
        _ => {}
    }
}

/// What is said of the user, without the key and the values of the property `p`, which may leave.
fn said(user: &Value) -> Vec<String> {
    let mut said = Vec::new();
    leaves(&user["name"], &mut said);
    leaves(&user["more"], &mut said);
    for property in user["customizedProperties"].as_array().unwrap() {
        match (property["name"].as_str(), &property["value"]) {
            (Some("p"), Value::String(_)) => {}
            (Some(_), value) => leaves(value, &mut said),
            (None, _) => leaves(property, &mut said),
        }
    }
    said
}

fn twin(event: &Value) -> Option<Value> {
    let user = &event["user"];
    let key = user["keyId"].as_str().filter(|key| !key.trim().is_empty())?;
    let pseudonym = PseudonymKey::from_text(KEY).unwrap().user(environment(1), key);
    let said = said(user);
    let occurrences = Occurrences::new(key, pseudonym.clone(), said.iter().map(String::as_str));
    let free = |from: &Value, name: &str, to: &mut Value| {
        if let Some(text) = from[name].as_str() {
            to[name] = occurrences.replace(text).into();
        }
    };
    let is_value = |number: &Value| occurrences.is_number(&number.to_string());
    let whole = |number: &Value| number.is_u64().then(|| number.clone());
    let mut out = json!({"user": {"keyId": pseudonym}});
    for property in user["customizedProperties"].as_array().unwrap() {
        if let (Some("p"), Some(value)) = (property["name"].as_str(), property["value"].as_str()) {
            let short = occurrences.is_short_value(value);
            let value = if short { value.into() } else { occurrences.replace(value) };
            push(&mut out["user"]["customizedProperties"], json!({"name": "p", "value": value}));
        }
    }
    for evaluation in
        event["variations"].as_array().unwrap().iter().filter(|one| one["featureFlagKey"].is_string())
    {
        let mut to = json!({});
        free(evaluation, "featureFlagKey", &mut to);
        if evaluation["sendToExperiment"].is_boolean() {
            to["sendToExperiment"] = evaluation["sendToExperiment"].clone();
        }
        if let Some(timestamp) = whole(&evaluation["timestamp"]) {
            if is_value(&timestamp) {
                continue;
            }
            to["timestamp"] = timestamp;
        }
        if evaluation["variation"].is_object() {
            let mut inner = json!({});
            free(&evaluation["variation"], "id", &mut inner);
            free(&evaluation["variation"], "value", &mut inner);
            to["variation"] = inner;
        }
        push(&mut out["variations"], to);
    }
    for metric in event["metrics"].as_array().unwrap().iter().filter(|one| one["eventName"].is_string()) {
        let mut to = json!({});
        ["route", "type", "eventName", "appType"].iter().for_each(|name| free(metric, name, &mut to));
        let mut hides = false;
        for name in ["numericValue", "timestamp"] {
            if let Some(number) = whole(&metric[name]) {
                hides |= is_value(&number);
                to[name] = number;
            }
        }
        if !hides {
            push(&mut out["metrics"], to);
        }
    }
    Some(out)
}

fn push(list: &mut Value, one: Value) {
    match list.as_array_mut() {
        Some(list) => list.push(one),
        None => *list = json!([one]),
    }
}

/// Without the nulls that looking for a member adds.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.into_iter().filter(|(_, value)| !value.is_null());
            members.map(|(name, value)| (name, without_nulls(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(list) => list.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

proptest! {
    /// What is remembered of a user must not change what becomes of other events.
    #[test]
    fn the_events_of_a_batch_are_changed_as_each_one_alone(
        given in prop::collection::vec(event(), 1..4),
        picks in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<bool>()), 1..12),
    ) {
        let pick = |index: &prop::sample::Index| &given[index.index(given.len())];
        let texts = picks.iter().map(|(of_user, of_rest, has_two)| {
            let (user, rest) = (&pick(of_user)["user"], pick(of_rest));
            let two = if *has_two { format!(r#""user":{},"#, rest["user"]) } else { String::new() };
            let (evaluations, metrics) = (&rest["variations"], &rest["metrics"]);
            format!(r#"{{"variations":{evaluations},{two}"USER": {user} ,"metrics":{metrics}}}"#)
        });
        let mut events = Events::builder(0);
        texts.for_each(|text| events.add(text.as_bytes()));
        let (events, pseudonymizer) = (events.build(), pseudonymizer("p"));
        let mut alone = Events::builder(0);
        let each = events.iter().filter_map(|event| pseudonymizer.transform(environment(1), &Flags, event));
        each.for_each(|text| alone.add(&text));
        let alone = alone.build();
        let together = pseudonymizer.transform_all(environment(1), &Flags, &events);
        prop_assert_eq!(together.text(), alone.text());
        prop_assert_eq!(together, alone);
    }
}

proptest! {
    #[test]
    fn a_twin_that_builds_trees_writes_the_same(event in event()) {
        let out = pseudonymizer("p").transform(environment(1), &NoFlags, event.to_string().as_bytes());
        let out: Option<Value> = out.map(|out| serde_json::from_slice(&out).unwrap());
        prop_assert_eq!(out, twin(&event).map(without_nulls));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), text in "[\\[\\]{}\",:a\\\\u ]{0,60}") {
        let pseudonymizer = pseudonymizer("a");
        let _ = pseudonymizer.transform(environment(1), &Flags, &bytes);
        let _ = pseudonymizer.transform(environment(1), &Flags, text.as_bytes());
    }
}
