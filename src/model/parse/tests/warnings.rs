//! Dumps that are accepted with warnings, and the texts of these.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{ENV, OTHER_ENV, OTHER_SECRET, SECRET, SEGMENT_ID, dump, warnings_of, with, without};
use crate::model::parse::{DatasetText, WARNINGS_MAX};

const FLAG: &str = "/items/0/featureFlags/0";

/// Asserts that `dump` gives exactly one warning, at `path`, that says `says`.
fn assert_warns(dump: &Value, path: &str, says: &str) {
    let warnings = warnings_of(dump);
    assert_eq!(warnings.len(), 1, "{path}: {warnings:?}");
    assert_eq!(warnings[0].0, path);
    assert!(warnings[0].1.contains(says), "{path}: {}", warnings[0].1);
}

fn flag_with(pointer: &str, value: Value) -> Value {
    with(&format!("{FLAG}{pointer}"), value)
}

#[test]
fn tolerates_absent_optional_properties_as_dotnets_defaults() {
    let mut null = dump();
    let mut missing = dump();
    for name in [
        "rules",
        "targetUsers",
        "fallthrough",
        "tags",
        "isEnabled",
        "disabledVariationId",
        "variationType",
        "exptIncludeAllTargets",
    ] {
        null["items"][0]["featureFlags"][0][name] = Value::Null;
        missing["items"][0]["featureFlags"][0].as_object_mut().unwrap().remove(name).unwrap();
    }
    for name in ["included", "excluded", "rules"] {
        null["items"][0]["segments"][0][name] = Value::Null;
        missing["items"][0]["segments"][0].as_object_mut().unwrap().remove(name).unwrap();
    }
    null["items"][0]["featureFlags"][0]["isArchived"] = Value::Null;
    null["items"][0]["secrets"][0]["envId"] = Value::Null;
    null["items"][0]["secrets"][0]["projectKey"] = Value::Null;
    missing["items"][0]["secrets"][0].as_object_mut().unwrap().remove("envId").unwrap();
    for dump in [null, missing] {
        let mut text = DatasetText::new(dump.to_string().into_bytes());
        let dataset = text.parse().unwrap();
        let environment = &dataset.environments[0];
        let flag = &environment.flags[0];
        assert!(!flag.is_enabled && !flag.is_archived && !flag.expt_include_all_targets);
        assert_eq!((flag.variation_type, flag.disabled_variation_id), ("string", ""));
        assert!(flag.rules.is_empty() && flag.targets.is_empty() && flag.fallthrough.variations.is_empty());
        let segment = &environment.segments[0];
        assert!(segment.included.is_empty() && segment.excluded.is_empty() && segment.rules.is_empty());
        assert_eq!(environment.secrets[0].env_id.to_string(), ENV);
        let names = |prefix| {
            let paths = dataset.warnings.iter().filter_map(move |warning| warning.path.strip_prefix(prefix));
            paths.collect::<BTreeSet<_>>()
        };
        let of_flag = ["disabledVariationId", "fallthrough", "rules", "targetUsers"];
        assert!(names("items[0].featureFlags[0].").is_superset(&of_flag.into()));
        assert_eq!(
            names("items[0].segments[0]."),
            [".excluded", ".included", ".rules"].map(|name| &name[1..]).into()
        );
    }
}

#[test]
fn secrets_may_be_absent() {
    for dump in [
        with("/items/0/secrets", Value::Null),
        without("/items/0/secrets"),
        with("/items/0/secrets", json!([])),
    ] {
        assert_warns(&dump, "items[0]", "no SDK can connect");
    }
}

#[test]
fn a_dump_without_environments_is_taken_with_a_warning() {
    assert_warns(&json!({"eventType": "rp_full", "items": []}), "items", "no SDK can connect");
}

#[test]
fn tells_of_secrets_that_do_not_fit() {
    let secret =
        |kind: &str, env_id: &str, value: &str| json!({"type": kind, "envId": env_id, "value": value});
    let twice = json!([secret("server", ENV, SECRET), secret("server", ENV, SECRET)]);
    let dump = with("/items/0/secrets", twice);
    assert_warns(&dump, "items[0].secrets[1].value", "items[0].secrets[0]");
    let mut text = DatasetText::new(dump.to_string().into_bytes());
    assert_eq!(text.parse().unwrap().environments[0].secrets.len(), 1);

    let foreign = json!([secret("server", ENV, SECRET), secret("client", ENV, OTHER_SECRET)]);
    let warnings = warnings_of(&with("/items/0/secrets", foreign));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0].0, "items[0].secrets[1].value");
    for half in [&OTHER_SECRET[..22], &OTHER_SECRET[22..], OTHER_ENV] {
        assert!(!warnings[0].1.contains(half), "{}", warnings[0].1);
    }

    let moved = json!([secret("server", ENV, SECRET), secret("client", OTHER_ENV, OTHER_SECRET)]);
    let dump = with("/items/0/secrets", moved);
    assert_warns(&dump, "items[0].secrets[1].envId", "the secret's own");
    let mut text = DatasetText::new(dump.to_string().into_bytes());
    let dataset = text.parse().unwrap();
    assert_eq!(dataset.environments[1].id.to_string(), OTHER_ENV);
    assert_eq!(dataset.environments[1].secrets[0].value, OTHER_SECRET);
}

#[test]
fn tells_of_items_that_name_another_environment() {
    let dump = flag_with("/envId", json!(OTHER_ENV));
    let warnings = warnings_of(&dump);
    let paths = warnings.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>();
    assert_eq!(
        paths,
        [
            "items[0].featureFlags[0].rules[0].conditions[0].value",
            "items[0].featureFlags[0].envId",
            "items[0]"
        ]
    );
    assert!(warnings[0].1.contains("only in other environments"));
    assert!(warnings[1].1.contains(ENV) && warnings[1].1.contains(OTHER_ENV));
    assert!(warnings[2].1.contains(OTHER_ENV));
}

#[test]
fn tells_of_dangling_segment_references() {
    let path = "items[0].featureFlags[0].rules[0].conditions[0].value";
    let value = |value: Value| flag_with("/rules/0/conditions/0/value", value);
    let id = "00000000-0000-0000-0000-000000000001";
    assert_warns(&value(json!(format!("[\"{SEGMENT_ID}\", \"{id}\"]"))), path, id);
    for none in [json!(null), json!("null")] {
        assert_warns(&value(none), path, "names no segment, so nobody is in any");
    }
    for bad in [json!("[1]"), json!("[null]")] {
        assert_warns(&value(bad), path, "not the text of a JSON array");
    }
    for bad in [json!(""), json!("{}"), json!("[\"a\""), json!(SEGMENT_ID)] {
        assert_warns(&value(bad), path, "the process of the Node SDK ends");
    }
    assert_warns(
        &without(&format!("{FLAG}/rules/0/conditions/0/value")),
        path,
        "the process of the Node SDK ends",
    );
    assert_eq!(warnings_of(&value(json!("[]"))), []);
    let mut negated = value(json!(format!("[\"{id}\"]")));
    negated["items"][0]["featureFlags"][0]["rules"][0]["conditions"][0]["property"] =
        json!("User is not in segment");
    assert_warns(&negated, path, id);
    // The property decides, not the operator.
    assert_eq!(warnings_of(&flag_with("/rules/0/conditions/0/op", Value::Null)), []);
    assert_eq!(warnings_of(&flag_with("/rules/0/conditions/0/op", json!("whatever"))), []);
}

#[test]
fn tells_of_conditions_that_never_hold() {
    let path = |condition: usize, name: &str| {
        format!("items[0].featureFlags[0].rules[0].conditions[{condition}].{name}")
    };
    let list = "/rules/0/conditions/2/value";
    for bad in ["", "red", "[\"red\",]", "[\"red\"] x", "[1]", "[null]", "null", "\"red\""] {
        assert_warns(&flag_with(list, json!(bad)), &path(2, "value"), "never true");
    }
    assert_eq!(warnings_of(&flag_with(list, json!(" [ \"\\u0041\\n\" ] "))), []);
    let op = "/rules/0/conditions/1/op";
    assert_warns(&flag_with(op, json!("biggerThan")), &path(1, "op"), "\"biggerThan\" is not an operator");
    assert_warns(&flag_with(op, json!("")), &path(1, "op"), "is not an operator");
    assert_warns(&flag_with(op, Value::Null), &path(1, "op"), "Rust SDK discards");
    assert_warns(&without(&format!("{FLAG}{op}")), &path(1, "op"), "is missing");
    let value = "/rules/0/conditions/1/value";
    assert_warns(&flag_with(value, Value::Null), &path(1, "value"), "Rust SDK discards");
    assert_warns(&without(&format!("{FLAG}{value}")), &path(1, "value"), "is missing");
    for absent in
        [flag_with("/rules/0/conditions", Value::Null), without(&format!("{FLAG}/rules/0/conditions"))]
    {
        assert_warns(&absent, "items[0].featureFlags[0].rules[0].conditions", "matches every user");
    }
    assert_eq!(warnings_of(&flag_with("/rules/0/conditions", json!([]))), []);
}

#[test]
fn looks_at_the_conditions_of_segments_too() {
    let path = |name: &str| format!("items[0].segments[0].rules[0].conditions[0].{name}");
    let condition = "/items/0/segments/0/rules/0/conditions/0";
    assert_warns(
        &with(&format!("{condition}/op"), json!("Like")),
        &path("op"),
        "\"Like\" is not an operator",
    );
    assert_warns(&with(&format!("{condition}/value"), Value::Null), &path("value"), "Rust SDK discards");
    let nested = with(&format!("{condition}/property"), json!("User is in segment"));
    let warnings = warnings_of(&nested);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert_eq!(warnings[0].0, path("property"));
    assert!(warnings[0].1.contains("from within a segment"), "{warnings:?}");
    assert_eq!(warnings[1].0, path("value"));
    assert!(warnings[1].1.contains("Node SDK ends"), "{warnings:?}");
}

#[test]
fn knows_every_operator() {
    for op in [
        "LessThan",
        "LessEqualThan",
        "BiggerThan",
        "BiggerEqualThan",
        "Equal",
        "NotEqual",
        "Contains",
        "NotContain",
        "StartsWith",
        "EndsWith",
        "MatchRegex",
        "NotMatchRegex",
        "IsOneOf",
        "NotOneOf",
        "IsTrue",
        "IsFalse",
    ] {
        let mut dump = flag_with("/rules/0/conditions/1/op", json!(op));
        dump["items"][0]["featureFlags"][0]["rules"][0]["conditions"][1]["value"] = json!("[\"1\"]");
        assert_eq!(warnings_of(&dump), [], "{op}");
    }
}

#[test]
fn tells_of_references_to_variations_that_are_not_there() {
    for (pointer, path) in [
        ("/disabledVariationId", "disabledVariationId"),
        ("/targetUsers/0/variationId", "targetUsers[0].variationId"),
        ("/rules/0/variations/1/id", "rules[0].variations[1].id"),
        ("/fallthrough/variations/0/id", "fallthrough.variations[0].id"),
    ] {
        let path = format!("items[0].featureFlags[0].{path}");
        assert_warns(&flag_with(pointer, json!("gone")), &path, "that the flag does not have");
        let null = warnings_of(&flag_with(pointer, Value::Null));
        assert!(null.iter().all(|(place, _)| *place == path), "{null:?}");
        assert!(null.iter().any(|(_, says)| says.contains("names no variation")), "{null:?}");
        assert!(null.iter().any(|(_, says)| says.contains("Rust SDK discards")), "{null:?}");
    }
    // Many variations are looked up by a hash instead.
    let many = (0..40).map(|index| json!({"id": format!("v{index}"), "value": ""}));
    let many = many.chain([json!({"id": "on", "value": "1"}), json!({"id": "off", "value": "0"})]);
    let mut dump = flag_with("/variations", many.collect());
    assert_eq!(warnings_of(&dump), []);
    dump["items"][0]["featureFlags"][0]["disabledVariationId"] = json!("v40");
    assert_warns(&dump, "items[0].featureFlags[0].disabledVariationId", "that the flag does not have");
}

#[test]
fn tells_of_odd_rollouts() {
    let path = "items[0].featureFlags[0].rules[0].variations";
    let rollouts = |ranges: &[[f64; 2]]| {
        let variations = ranges.iter().map(|range| json!({"id": "on", "rollout": range}));
        flag_with("/rules/0/variations", variations.collect())
    };
    for good in [
        &[[0.0, 1.0]][..],
        &[[0.0, 0.5], [0.5, 1.0]],
        &[[0.5, 1.0], [0.0, 0.5]],
        &[[0.0, 0.0], [0.0, 1.0]],
        &[[0.0, 0.3], [0.3, 0.3], [0.3, 1.0]],
        &[[0.0, 1.0], [1.0, 1.0]],
        &[[0.0, 0.1 + 0.2], [0.3, 0.999_999_9]],
    ] {
        assert_eq!(warnings_of(&rollouts(good)), [], "{good:?}");
    }
    for (odd, says) in [
        (&[[0.0, 0.5]][..], "no range covers 0.5 to 1:"),
        (&[[0.25, 1.0]], "no range covers 0 to 0.25:"),
        (&[[0.75, 1.0], [0.0, 0.5]], "no range covers 0.5 to 0.75:"),
        (&[[0.0, 0.5], [0.25, 1.0]], "overlap from 0.25 to 0.5:"),
        (&[[0.0, 1.0], [0.25, 0.5]], "overlap from 0.25 to 0.5:"),
        (&[[0.0, 1.0], [1.0, 0.5]], "[1, 0.5] is reversed"),
        (&[[0.0, 1.5]], "[0, 1.5] goes beyond 0 to 1"),
        (&[[-0.5, 1.0]], "[-0.5, 1] goes beyond 0 to 1"),
        (&[], "is empty: users who reach it get no variation, the Go SDK panics"),
        (&[[0.0, 0.0]], "no range covers 0 to 1:"),
    ] {
        assert_warns(&rollouts(odd), path, says);
    }
}

#[test]
fn shares_of_another_length_match_nobody_or_use_their_first_two_numbers() {
    let path = "items[0].featureFlags[0].fallthrough.variations";
    let read = |rollout: Option<Value>| {
        let share = json!({"id": "on", "rollout": rollout});
        let mut share = share;
        if rollout.is_none() {
            share.as_object_mut().unwrap().remove("rollout");
        }
        let dump = flag_with("/fallthrough/variations", json!([share]));
        let mut text = DatasetText::new(dump.to_string().into_bytes());
        let range = text.parse().unwrap().environments[0].flags[0].fallthrough.variations[0].range;
        (range, warnings_of(&dump))
    };
    for rollout in [None, Some(json!(null)), Some(json!([])), Some(json!([0.5]))] {
        let (range, warnings) = read(rollout);
        assert_eq!(range, [0.0, 0.0]);
        assert_eq!(warnings[0].0, format!("{path}[0].rollout"));
        assert_eq!(warnings[1].0, path);
    }
    let (range, warnings) = read(Some(json!([0, 1, 0.5])));
    assert_eq!((range, warnings.len()), ([0.0, 1.0], 1));
}

#[test]
fn tells_of_what_single_sdks_cannot_read() {
    let flag = "items[0].featureFlags[0]";
    assert_warns(&without(&format!("{FLAG}/isArchived")), &format!("{flag}.isArchived"), "Python SDK 1.2.1");
    assert_warns(
        &without("/items/0/segments/0/isArchived"),
        "items[0].segments[0].isArchived",
        "Python SDK 1.2.1",
    );
    assert_warns(&flag_with("/id", json!("flag-1")), &format!("{flag}.id"), ".NET SDK");
    for (text, served) in [
        ("2025-03-01", "2025-03-01T00:00:00.000Z"),
        ("2025-03-01T00:00:04.078", "2025-03-01T00:00:04.078Z"),
        ("2025-03-01T02:00+02", "2025-03-01T00:00:00.000Z"),
    ] {
        let path = format!("{flag}.updatedAt");
        assert_warns(&flag_with("/updatedAt", json!(text)), &path, &format!("serves {served}"));
    }
    let dump = with("/items/0/segments/0/updatedAt", json!("2025-03-01T00:00"));
    assert_warns(&dump, "items[0].segments[0].updatedAt", "Go's and Java's stop for good");
    assert_warns(
        &flag_with("/updatedAt", json!("1969-12-31T00:00:00Z")),
        &format!("{flag}.updatedAt"),
        "before 1970",
    );
}

#[test]
fn tells_of_names_that_mean_nothing() {
    let flag = "items[0].featureFlags[0]";
    assert_warns(
        &flag_with("/variationType", json!("Boolean")),
        &format!("{flag}.variationType"),
        "\"Boolean\"",
    );
    assert_warns(&flag_with("/key", json!("")), &format!("{flag}.key"), "is empty");
    assert_eq!(warnings_of(&flag_with("/variations", json!([])))[0].0, format!("{flag}.variations"));
    for name in ["id", "value"] {
        let pointer = format!("/variations/0/{name}");
        assert_eq!(
            warnings_of(&flag_with(&pointer, Value::Null))[0].0,
            format!("{flag}.variations[0].{name}")
        );
    }
    assert_warns(
        &flag_with("/targetUsers/0/keyIds", json!(["ann", null])),
        &format!("{flag}.targetUsers[0].keyIds[1]"),
        "is null",
    );
}

#[test]
fn of_two_flags_of_one_key_the_one_that_is_left_out_is_reported() {
    let newest = "2025-03-02T00:00:00Z";
    for (updated_at, archived, left_out) in [
        (newest, false, "that one is left out"),
        // As old as the first: the one with the greater id is served, whatever their order.
        ("2025-03-01T00:00:04.0782311Z", false, "SAME"),
        ("2025-02-01T00:00:00Z", false, "this one is left out"),
        (newest, true, "this one is left out"),
    ] {
        let mut dump = dump();
        let mut flag = dump["items"][0]["featureFlags"][0].clone();
        let is_greater = *OTHER_ENV > *flag["id"].as_str().unwrap();
        let left_out = match left_out {
            "SAME" if is_greater => "that one is left out",
            "SAME" => "this one is left out",
            other => other,
        };
        flag["id"] = json!(OTHER_ENV);
        flag["updatedAt"] = json!(updated_at);
        flag["isArchived"] = json!(archived);
        dump["items"][0]["featureFlags"].as_array_mut().unwrap().push(flag);
        let path = "items[0].featureFlags[1].key";
        assert_warns(&dump, path, "is the key of items[0].featureFlags[0] too");
        assert_warns(&dump, path, left_out);
        let mut text = DatasetText::new(dump.to_string().into_bytes());
        assert_eq!(text.parse().unwrap().environments[0].flags.len(), 2);
    }
}

#[test]
fn a_duplicate_variation_id_is_reported_however_many_there_are() {
    for count in [2, 40] {
        let mut variations: Vec<_> =
            (0..count).map(|index| json!({"id": format!("v{index}"), "value": ""})).collect();
        variations.extend([json!({"id": "on", "value": "1"}), json!({"id": "off", "value": "0"})]);
        variations.push(json!({"id": "v1", "value": "again"}));
        let path = format!("items[0].featureFlags[0].variations[{}].id", count + 2);
        let mut dump = flag_with("/variations", variations.into());
        assert_warns(&dump, &path, "is the id of variations[1] too: the Java SDK stops for good");
        assert_warns(&dump, &path, "(flag \"checkout\")");
        // Java does not look at the variations of an archived flag.
        dump["items"][0]["featureFlags"][0]["isArchived"] = json!(true);
        assert_eq!(warnings_of(&dump), []);
    }
}

#[test]
fn a_null_that_the_rust_sdk_does_not_accept_is_reported() {
    for name in [
        "/isEnabled",
        "/isArchived",
        "/exptIncludeAllTargets",
        "/variationType",
        "/rules/0/name",
        "/rules/0/includedInExpt",
        "/rules/0/conditions/1/property",
    ] {
        let warnings = warnings_of(&flag_with(name, Value::Null));
        assert_eq!(warnings.len(), 1, "{name}: {warnings:?}");
        assert!(warnings[0].1.contains("Rust SDK discards"), "{name}: {warnings:?}");
    }
}

#[test]
fn warnings_are_capped_with_a_count() {
    let conditions = (0..WARNINGS_MAX + 7).map(|_| json!({"property": "a", "op": "b", "value": "c"}));
    let warnings = warnings_of(&flag_with("/rules/0/conditions", conditions.collect()));
    assert_eq!(warnings.len(), WARNINGS_MAX + 1);
    assert_eq!(warnings[WARNINGS_MAX].1, "and 7 more warnings");
}
