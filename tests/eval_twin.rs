//! The compiled evaluator against a plain one that reads a flag's JSON anew for each user, on generated flags,
//! segments and users.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod definitions;

use definitions::{list, text};
use featbit_agent::eval::{Compiler, Segments};
use md5::{Digest, Md5};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

/// Evaluation as FeatBit's documents describe it: the flag's object of the client payload.
fn plain(flag: &Value, user: &Value, segments: &[Value]) -> Value {
    let (variation, reason, send) = decide(flag, user, segments);
    let chosen = match variation.as_deref() {
        Some("") => json!({ "id": "", "value": "" }),
        Some(id) => list(flag, "variations").find(|one| one["id"] == id).cloned().unwrap_or(Value::Null),
        None => Value::Null,
    };
    let options: Vec<_> =
        list(flag, "variations").map(|one| json!({ "id": one["id"], "value": one["value"] })).collect();
    json!({
        "id": flag["key"],
        "variation": chosen["value"],
        "variationType": flag["variationType"].as_str().unwrap_or("string"),
        "variationId": chosen["id"],
        "matchReason": reason,
        "variationOptions": options,
        "sendToExperiment": send,
        "timestamp": definitions::updated_at_ms(flag),
    })
}

/// The variation's id (empty if no share contains the user), the reason, and whether it counts in an experiment.
fn decide(flag: &Value, user: &Value, segments: &[Value]) -> (Option<String>, String, bool) {
    let id = |value: &Value| value.as_str().map(str::to_owned);
    if flag["isArchived"] == true {
        return (None, "flag archived".into(), false);
    }
    if flag["isEnabled"] != true {
        return (id(&flag["disabledVariationId"]), "flag disabled".into(), false);
    }
    for target in list(flag, "targetUsers") {
        if list(target, "keyIds").any(|key| *key == user["keyId"]) {
            return (id(&target["variationId"]), "targeted".into(), flag["exptIncludeAllTargets"] == true);
        }
    }
    for rule in list(flag, "rules") {
        if list(rule, "conditions").all(|condition| holds_for_flag(condition, user, segments)) {
            let (id, send) = roll_out(flag, rule, user);
            return (Some(id), text(rule, "name").into(), send);
        }
    }
    let (id, send) = roll_out(flag, &flag["fallthrough"], user);
    (Some(id), "default".into(), send)
}

fn holds_for_flag(condition: &Value, user: &Value, segments: &[Value]) -> bool {
    let positive = match text(condition, "property") {
        "User is in segment" => true,
        "User is not in segment" => false,
        _ => return holds(condition, user),
    };
    let ids: Value = match condition["value"].as_str() {
        None => Value::Null,
        Some(value) => match serde_json::from_str(value) {
            Ok(ids @ (Value::Array(_) | Value::Null)) => ids,
            _ => return false,
        },
    };
    let within = |id: &Value| {
        segments.iter().find(|segment| segment["id"] == *id).is_some_and(|segment| in_segment(segment, user))
    };
    ids.as_array().into_iter().flatten().any(within) == positive
}

fn in_segment(segment: &Value, user: &Value) -> bool {
    let listed = |name: &str| list(segment, name).any(|key| *key == user["keyId"]);
    let rule = |rule: &Value| list(rule, "conditions").all(|condition| holds(condition, user));
    !listed("excluded") && (listed("included") || list(segment, "rules").any(rule))
}

fn attribute<'a>(user: &'a Value, name: &str) -> Option<&'a str> {
    match name {
        "keyId" => user["keyId"].as_str(),
        "name" => user["name"].as_str(),
        name if name.trim().is_empty() => Some(""),
        name => {
            let property = list(user, "customizedProperties").find(|property| property["name"] == name);
            Some(property.and_then(|property| property["value"].as_str()).unwrap_or(""))
        }
    }
}

fn holds(condition: &Value, user: &Value) -> bool {
    let (Some(value), Some(than)) =
        (attribute(user, text(condition, "property")), condition["value"].as_str())
    else {
        return false;
    };
    let number = |text: &str| text.trim().replace(',', "").parse::<f64>().ok();
    let compare = |test: fn(f64, f64) -> bool| {
        number(value).zip(number(than)).is_some_and(|(value, than)| test(value, than))
    };
    let pattern = || regex::Regex::new(than).ok().map(|pattern| pattern.is_match(value));
    let one_of = || {
        let list: Option<Vec<String>> = serde_json::from_str(than).ok()?;
        Some(list.unwrap_or_default().iter().any(|one| one == value))
    };
    match text(condition, "op") {
        "LessThan" => compare(|value, than| value < than),
        "LessEqualThan" => compare(|value, than| value <= than),
        "BiggerThan" => compare(|value, than| value > than),
        "BiggerEqualThan" => compare(|value, than| value >= than),
        "Equal" => value == than,
        "NotEqual" => value != than,
        "Contains" => value.contains(than),
        "NotContain" => !value.contains(than),
        "StartsWith" => value.starts_with(than),
        "EndsWith" => value.ends_with(than),
        "MatchRegex" => pattern() == Some(true),
        "NotMatchRegex" => pattern() == Some(false),
        "IsOneOf" => one_of() == Some(true),
        "NotOneOf" => one_of() == Some(false),
        "IsTrue" => value.to_lowercase() == "true",
        "IsFalse" => value.to_lowercase() == "false",
        _ => false,
    }
}

fn roll_out(flag: &Value, rollout: &Value, user: &Value) -> (String, bool) {
    let name = match rollout["dispatchKey"].as_str() {
        Some(name) if !name.trim().is_empty() => name,
        _ => "keyId",
    };
    let key = format!("{}{}", text(flag, "key"), attribute(user, name).unwrap_or(""));
    let include_all = flag["exptIncludeAllTargets"] == true;
    for share in list(rollout, "variations") {
        let [min, max] = [share["rollout"][0].as_f64().unwrap(), share["rollout"][1].as_f64().unwrap()];
        if !in_range(&key, min, max) {
            continue;
        }
        let part = share["exptRollout"].as_f64().unwrap();
        let send = if include_all {
            true
        } else if rollout["includedInExpt"] != true || part == 0.0 || max - min == 0.0 {
            false
        } else {
            in_range(&format!("expt{key}"), 0.0, (part / (max - min)).min(1.0))
        };
        return (text(share, "id").to_owned(), send);
    }
    (String::new(), include_all)
}

fn in_range(key: &str, min: f64, max: f64) -> bool {
    if min == 0.0 && 1.0 - max < 1e-5 {
        return true;
    }
    if min == 0.0 && max == 0.0 {
        return false;
    }
    let digest = Md5::digest(key);
    let number = i32::from_le_bytes(digest[..4].try_into().unwrap());
    let fraction = (f64::from(number) / f64::from(i32::MIN)).abs();
    fraction >= min && fraction <= max
}

const KEYS: [&str; 6] = ["u0", "u1", "u2", "u3", "客户", "u\"5"];
const PROPERTIES: [&str; 7] = ["keyId", "name", "age", "plan", "国", " ", "missing"];
const VALUES: [&str; 14] =
    ["", "a", "ab", "b", "18", "1,8", "-0.5", "1e3", "true", "FALSE", "国", "u1", "x\ny", " 7 "];
const IDS: [&str; 4] = ["v0", "v1", "v2", "gone"];
const SEGMENTS: [&str; 4] = ["s0", "s1", "s2", "gone"];

fn condition() -> impl Strategy<Value = Value> {
    let op_and_value = prop_oneof![
        (
            select(vec!["LessThan", "LessEqualThan", "BiggerThan", "BiggerEqualThan"]),
            select(vec!["18", "-0.5", "0", "1,000", "x", ""]),
        ),
        (
            select(vec![
                "Equal",
                "NotEqual",
                "Contains",
                "NotContain",
                "StartsWith",
                "EndsWith",
                "IsTrue",
                "IsFalse",
                "Odd",
                "",
            ]),
            select(VALUES.to_vec()),
        ),
        (
            select(vec!["MatchRegex", "NotMatchRegex"]),
            select(vec!["^a", "b", "[0-9]+", "(", "", "^[^b]*\\z"])
        ),
        (
            select(vec!["IsOneOf", "NotOneOf"]),
            select(vec![
                "[]",
                "null",
                r#"["a","18"]"#,
                r#"["u1","","国"]"#,
                "[1]",
                "",
                "a",
                r#"["k0","k1","k2","k3","k4","k5","k6","k7","k8","k9","ab"]"#,
            ]),
        ),
    ];
    (select(PROPERTIES.to_vec()), op_and_value, prop::bool::weighted(0.05)).prop_map(|(property, (op, value), null)| {
        json!({ "property": property, "op": op, "value": if null { None } else { Some(value) } })
    })
}

fn segment_condition() -> impl Strategy<Value = Value> {
    let ids = prop::collection::vec(select(SEGMENTS.to_vec()), 0..3).prop_map(|ids| json!(ids).to_string());
    let value = prop_oneof![6 => ids.prop_map(Some), 1 => Just(Some("nonsense".to_owned())), 1 => Just(None)];
    (select(vec!["User is in segment", "User is not in segment"]), value)
        .prop_map(|(property, value)| json!({ "property": property, "op": null, "value": value }))
}

fn share() -> impl Strategy<Value = (f64, f64, &'static str)> {
    let end = prop_oneof![Just(0.0), Just(1.0), Just(0.999_991), 0.0f64..1.0];
    let part = prop_oneof![Just(0.0), Just(1.0), 0.0f64..1.0];
    (end, part, select(IDS.to_vec()))
}

/// `dispatchKey`, `includedInExpt` and `variations`, into which a rule's other properties go.
fn rollout() -> impl Strategy<Value = Value> {
    let name = prop_oneof![2 => Just(None), 3 => select(PROPERTIES.to_vec()).prop_map(Some)];
    (name, any::<bool>(), prop::collection::vec(share(), 0..4)).prop_map(|(name, included, shares)| {
        let mut start = 0.0;
        let mut variations = Vec::new();
        for (end, part, id) in shares {
            variations.push(json!({ "id": id, "rollout": [start, end], "exptRollout": part }));
            start = end;
        }
        json!({ "dispatchKey": name, "includedInExpt": included, "variations": variations })
    })
}

fn rule() -> impl Strategy<Value = Value> {
    let conditions = prop::collection::vec(prop_oneof![3 => condition(), 1 => segment_condition()], 0..3);
    (rollout(), conditions, select(vec!["Rule", "", "\"quoted\"\n"])).prop_map(
        |(mut rule, conditions, name)| {
            rule["name"] = json!(name);
            rule["conditions"] = json!(conditions);
            rule
        },
    )
}

fn keys(most: usize) -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(select(KEYS.to_vec()), 0..most)
}

fn flag() -> impl Strategy<Value = Value> {
    let target = (keys(4), select(IDS.to_vec()), any::<bool>()).prop_map(|(keys, id, many)| {
        let fill = (0..if many { 20 } else { 0 }).map(|number| format!("fill-{number}"));
        let keys: Vec<_> = keys.into_iter().map(str::to_owned).chain(fill).collect();
        json!({ "keyIds": keys, "variationId": id })
    });
    let values = prop::collection::vec(select(vec!["true", "{\"a\": [1]}", "", "国\t"]), 0..4);
    (
        (prop::bool::weighted(0.1), prop::bool::weighted(0.9), any::<bool>()),
        (select(vec!["flag", "f", "a \"flag\"", "旗"]), select(IDS.to_vec()), values),
        prop::collection::vec(target, 0..3),
        prop::collection::vec(rule(), 0..4),
        rollout(),
    )
        .prop_map(|((archived, enabled, include_all), (key, disabled, values), targets, rules, fallthrough)| {
            let variations: Vec<_> = values
                .iter()
                .enumerate()
                .map(|(number, value)| json!({ "id": format!("v{number}"), "name": "n", "value": value }))
                .collect();
            json!({
                "key": key, "variationType": "string", "updatedAt": "2025-01-01T00:00:07.2739+00:00",
                "isArchived": archived, "isEnabled": enabled, "disabledVariationId": disabled,
                "variations": variations, "targetUsers": targets, "rules": rules, "fallthrough": fallthrough,
                "exptIncludeAllTargets": include_all,
            })
        })
}

fn segments() -> impl Strategy<Value = Vec<Value>> {
    let rule = prop::collection::vec(prop_oneof![4 => condition(), 1 => segment_condition()], 0..3)
        .prop_map(|conditions| json!({ "conditions": conditions }));
    let segment = (keys(4), keys(3), prop::collection::vec(rule, 0..3), any::<bool>());
    prop::collection::vec(segment, 0..=3).prop_map(|segments| {
        let segments =
            segments.into_iter().enumerate().map(|(number, (included, excluded, rules, archived))| {
                json!({
                    "id": SEGMENTS[number], "included": included, "excluded": excluded, "rules": rules,
                    "isArchived": archived,
                })
            });
        segments.collect()
    })
}

fn user() -> impl Strategy<Value = Value> {
    let name = prop_oneof![Just(None), select(VALUES.to_vec()).prop_map(Some)];
    let value = prop_oneof![1 => Just(None), 9 => select(VALUES.to_vec()).prop_map(Some)];
    let properties = prop::collection::vec((select(PROPERTIES.to_vec()), value), 0..5);
    (select(KEYS.to_vec()), name, properties).prop_map(|(key, name, properties)| {
        let properties: Vec<_> =
            properties.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        json!({ "keyId": key, "name": name, "customizedProperties": properties })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_compiled_evaluator_decides_as_the_reference_does(
        flag in flag(),
        segments in segments(),
        users in prop::collection::vec(user(), 1..6),
    ) {
        let mut compiler = Compiler::default();
        let compiled = compiler.flag(&definitions::flag(&flag), &mut Vec::new());
        let table: Vec<_> = segments
            .iter()
            .map(|segment| {
                let compiled = compiler.segment(&definitions::segment(segment), &mut Vec::new());
                (compiler.slots.slot(text(segment, "id")), Some(compiled.into()))
            })
            .collect();
        let table = Segments::default().with(table);
        for user in &users {
            let expected = plain(&flag, user, &segments);
            let asked = definitions::user(user);
            let mut json = b"[".to_vec();
            compiled.append_client_json(&asked, &table, &mut json);
            let found: Value = serde_json::from_slice(&json[1..]).unwrap();
            prop_assert_eq!(&found, &expected, "for {}", user);

            let decision = compiled.evaluate(&asked, &table);
            prop_assert_eq!(json!(decision.variation.map(|(id, _)| id)), expected["variationId"].clone());
            prop_assert_eq!(json!(decision.variation.map(|(_, value)| value)), expected["variation"].clone());
            prop_assert_eq!(json!(decision.reason), expected["matchReason"].clone());
            prop_assert_eq!(json!(decision.send_to_experiment), expected["sendToExperiment"].clone());
            prop_assert_eq!(compiled.key(), text(&flag, "key"));
        }
        let mut referred: Vec<_> = list(&flag, "rules")
            .flat_map(|rule| list(rule, "conditions"))
            .filter(|condition| text(condition, "property").ends_with("in segment"))
            .filter_map(|condition| serde_json::from_str::<Vec<String>>(condition["value"].as_str()?).ok())
            .flatten()
            .map(|id| compiler.slots.get(&id).unwrap())
            .collect();
        referred.sort_unstable();
        referred.dedup();
        prop_assert_eq!(compiled.segment_slots(), referred);
    }
}
