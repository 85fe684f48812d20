//! Dumps that are rejected, with the exact path of the error.

use serde_json::{Value, json};

use super::{ENV, ID, OTHER_ENV, OTHER_SECRET, SECRET, SEGMENT_ID, dump, error_of, with, without};
use crate::model::parse::{DatasetText, FAULTS_MAX, with_flag, with_segment};

/// The only fault of `dump`: its path, and its message.
fn fault_of(dump: &Value) -> (String, String) {
    let error = error_of(dump.to_string());
    assert_eq!((error.faults.len(), error.more), (1, 0), "{error}");
    assert!(!error.to_string().contains('\n'));
    let fault = error.faults.into_iter().next().unwrap();
    assert!(
        !fault.message.contains(&SECRET[..22]) && !fault.message.contains(&SECRET[22..]),
        "{}",
        fault.message
    );
    (fault.path, fault.message)
}

/// `/items/0/rules` as `items[0].rules`.
fn written(pointer: &str) -> String {
    let mut path = String::new();
    for step in pointer.split('/').skip(1) {
        match step.parse::<usize>() {
            Ok(index) => path += &format!("[{index}]"),
            Err(_) if path.is_empty() => path += step,
            Err(_) => path += &format!(".{step}"),
        }
    }
    path
}

const REQUIRED: [&str; 16] = [
    "/eventType",
    "/items",
    "/items/0/envId",
    "/items/0/featureFlags",
    "/items/0/segments",
    "/items/0/secrets/0/type",
    "/items/0/secrets/0/value",
    "/items/0/featureFlags/0/id",
    "/items/0/featureFlags/0/envId",
    "/items/0/featureFlags/0/key",
    "/items/0/featureFlags/0/updatedAt",
    "/items/0/featureFlags/0/variations",
    "/items/0/segments/0/id",
    "/items/0/segments/0/envId",
    "/items/0/segments/0/updatedAt",
    // Not a property: null instead of an object.
    "/items/0/segments/0",
];

#[test]
fn refuses_missing_and_null_required_properties() {
    for pointer in REQUIRED {
        let (path, message) = fault_of(&with(pointer, Value::Null));
        assert_eq!(path, written(pointer));
        assert!(message.starts_with("is null"), "{path}: {message}");
        if !pointer.ends_with('0') {
            let (path, message) = fault_of(&without(pointer));
            assert_eq!(path, written(pointer));
            assert!(message.starts_with("is missing"), "{path}: {message}");
        }
    }
}

/// Every property that the server reads, with the type that it expects.
const READ: [(&str, char); 49] = [
    ("/eventType", 's'),
    ("/items", 'a'),
    ("/items/0", 'o'),
    ("/items/0/envId", 's'),
    ("/items/0/secrets", 'a'),
    ("/items/0/secrets/0", 'o'),
    ("/items/0/secrets/0/type", 's'),
    ("/items/0/secrets/0/projectKey", 's'),
    ("/items/0/secrets/0/envId", 's'),
    ("/items/0/secrets/0/envKey", 's'),
    ("/items/0/secrets/0/value", 's'),
    ("/items/0/featureFlags", 'a'),
    ("/items/0/featureFlags/0", 'o'),
    ("/items/0/featureFlags/0/id", 's'),
    ("/items/0/featureFlags/0/envId", 's'),
    ("/items/0/featureFlags/0/key", 's'),
    ("/items/0/featureFlags/0/variationType", 's'),
    ("/items/0/featureFlags/0/updatedAt", 's'),
    ("/items/0/featureFlags/0/isArchived", 'b'),
    ("/items/0/featureFlags/0/isEnabled", 'b'),
    ("/items/0/featureFlags/0/disabledVariationId", 's'),
    ("/items/0/featureFlags/0/exptIncludeAllTargets", 'b'),
    ("/items/0/featureFlags/0/variations", 'a'),
    ("/items/0/featureFlags/0/variations/1", 'o'),
    ("/items/0/featureFlags/0/variations/1/id", 's'),
    ("/items/0/featureFlags/0/variations/1/value", 's'),
    ("/items/0/featureFlags/0/targetUsers", 'a'),
    ("/items/0/featureFlags/0/targetUsers/0/keyIds", 'a'),
    ("/items/0/featureFlags/0/targetUsers/0/variationId", 's'),
    ("/items/0/featureFlags/0/rules", 'a'),
    ("/items/0/featureFlags/0/rules/0", 'o'),
    ("/items/0/featureFlags/0/rules/0/name", 's'),
    ("/items/0/featureFlags/0/rules/0/dispatchKey", 's'),
    ("/items/0/featureFlags/0/rules/0/includedInExpt", 'b'),
    ("/items/0/featureFlags/0/rules/0/conditions", 'a'),
    ("/items/0/featureFlags/0/rules/0/conditions/2/property", 's'),
    ("/items/0/featureFlags/0/rules/0/conditions/2/op", 's'),
    ("/items/0/featureFlags/0/rules/0/conditions/2/value", 's'),
    ("/items/0/featureFlags/0/rules/0/variations/1", 'o'),
    ("/items/0/featureFlags/0/rules/0/variations/1/rollout", 'a'),
    ("/items/0/featureFlags/0/rules/0/variations/1/exptRollout", 'n'),
    ("/items/0/featureFlags/0/fallthrough", 'o'),
    ("/items/0/featureFlags/0/fallthrough/variations", 'a'),
    ("/items/0/segments", 'a'),
    ("/items/0/segments/0/isArchived", 'b'),
    ("/items/0/segments/0/included", 'a'),
    ("/items/0/segments/0/excluded", 'a'),
    ("/items/0/segments/0/rules", 'a'),
    ("/items/0/segments/0/rules/0/conditions/0", 'o'),
];

#[test]
fn refuses_every_wrong_type_of_what_the_server_reads() {
    for (pointer, good) in READ {
        for (kind, value) in
            [('s', json!("")), ('n', json!(1)), ('b', json!(true)), ('a', json!([])), ('o', json!({}))]
        {
            if kind == good {
                continue;
            }
            let (path, message) = fault_of(&with(pointer, value));
            assert_eq!(path, written(pointer));
            assert!(message.contains(", but must be "), "{path}: {message}");
        }
    }
}

#[test]
fn refuses_wrong_elements_of_lists() {
    for (pointer, bad) in [
        ("/items/0/featureFlags/0/targetUsers/0/keyIds/1", json!(5)),
        ("/items/0/segments/0/included/0", json!(5)),
        ("/items/0/segments/0/excluded/1", json!([])),
        ("/items/0/featureFlags/0/rules/0/variations/0/rollout/1", json!("0.25")),
        ("/items/0/featureFlags/0/fallthrough/variations/0/rollout/0", Value::Null),
    ] {
        assert_eq!(fault_of(&with(pointer, bad)).0, written(pointer));
    }
}

#[test]
fn does_not_look_at_what_the_server_does_not_read() {
    for value in [json!(5), json!(null), json!([{"id": 1}]), json!({"a": {}}), json!(true), json!("x")] {
        for pointer in
            ["/items/0/featureFlags/0/tags", "/items/0/segments/0/name", "/items/0/segments/0/rules/0/name"]
        {
            assert_eq!(super::warnings_of(&with(pointer, value.clone())), []);
        }
        let mut dump = dump();
        for pointer in ["", "/items/0", "/items/0/featureFlags/0", "/items/0/featureFlags/0/rules/0"] {
            dump.pointer_mut(pointer).unwrap()["extra"] = value.clone();
        }
        assert_eq!(super::warnings_of(&dump), []);
    }
}

#[test]
fn refuses_malformed_ids_dates_types_and_secrets() {
    for (pointer, bad) in [
        ("/items/0/envId", "ad99d2591f504ed9a0027c65e25487df"),
        ("/items/0/featureFlags/0/envId", ""),
        ("/items/0/segments/0/envId", "dev"),
        ("/items/0/secrets/0/envId", "dev"),
        ("/items/0/featureFlags/0/updatedAt", "yesterday"),
        ("/items/0/segments/0/updatedAt", "2025-02-30T00:00:00Z"),
        ("/items/0/secrets/0/type", "Server"),
        ("/items/0/secrets/0/value", "short"),
        ("/items/0/secrets/0/value", &SECRET.replace('Z', "!")),
    ] {
        assert_eq!(fault_of(&with(pointer, json!(bad))).0, written(pointer), "{bad}");
    }
}

#[test]
fn refuses_one_secret_for_two_environments_or_two_types() {
    let secrets = |second: Value| {
        let first = json!({"type": "server", "envId": ENV, "value": SECRET});
        with("/items/0/secrets", json!([first, second]))
    };
    let (path, message) = fault_of(&secrets(json!({"type": "client", "value": SECRET})));
    assert_eq!(path, "items[0].secrets[1].value");
    assert!(message.contains("items[0].secrets[0]") && message.contains("another type"), "{message}");
    let (path, message) = fault_of(&secrets(json!({"type": "server", "envId": OTHER_ENV, "value": SECRET})));
    assert_eq!(path, "items[0].secrets[1].value");
    assert!(message.contains("items[0].secrets[0]") && message.contains("another environment"), "{message}");
}

#[test]
fn refuses_two_items_of_one_id_in_one_environment_only() {
    let mut dump = dump();
    let mut item = dump["items"][0].clone();
    item["secrets"] = json!([]);
    dump["items"].as_array_mut().unwrap().push(item);
    let error = error_of(dump.to_string());
    let faults =
        error.faults.iter().map(|fault| (fault.path.as_str(), fault.message.as_str())).collect::<Vec<_>>();
    assert_eq!(faults.len(), 2, "{error}");
    assert_eq!(faults[0].0, "items[1].featureFlags[0].id");
    assert!(faults[0].1.contains("items[0].featureFlags[0]"));
    assert_eq!(faults[1].0, "items[1].segments[0].id");
    assert!(faults[1].1.contains("items[0].segments[0]"));

    for pointer in ["/items/1/envId", "/items/1/featureFlags/0/envId", "/items/1/segments/0/envId"] {
        *dump.pointer_mut(pointer).unwrap() = json!(OTHER_ENV);
    }
    dump["items"][1]["secrets"] = json!([{"type": "client", "value": OTHER_SECRET}]);
    let mut text = DatasetText::new(dump.to_string().into_bytes());
    let dataset = text.parse().unwrap();
    assert_eq!(dataset.environments.len(), 2);
    assert_eq!(dataset.warnings, []);
    assert_eq!(dataset.environments[1].segments[0].id, SEGMENT_ID);
}

#[test]
fn collects_the_first_faults_and_counts_the_rest() {
    let flag = |index: usize| json!({"id": index, "envId": ENV, "key": "k", "updatedAt": "2025-01-01", "variations": []});
    let mut dump = dump();
    dump["items"][0]["featureFlags"] = (0..30).map(flag).collect();
    dump["items"][0]["segments"][0]["rules"] = json!(5);
    let error = error_of(dump.to_string());
    assert_eq!((error.faults.len(), error.more), (FAULTS_MAX, 11));
    for (index, fault) in error.faults.iter().enumerate() {
        assert_eq!(fault.path, format!("items[0].featureFlags[{index}].id"));
    }
    assert!(error.to_string().ends_with("and 11 more"), "{error}");
}

#[test]
fn one_error_does_not_cause_others() {
    // Two flags without id in one environment do not have the same id; an item that is no object keeps its
    // index.
    let mut dump = without("/items/0/featureFlags/0/id");
    let flag = dump["items"][0]["featureFlags"][0].clone();
    dump["items"][0]["featureFlags"].as_array_mut().unwrap().push(flag);
    dump["items"].as_array_mut().unwrap().insert(0, json!(7));
    let error = error_of(dump.to_string());
    let paths = error.faults.iter().map(|fault| fault.path.as_str()).collect::<Vec<_>>();
    assert_eq!(paths, ["items[0]", "items[1].featureFlags[0].id", "items[1].featureFlags[1].id"]);
}

#[test]
fn tells_where_the_json_breaks() {
    let text = serde_json::to_string_pretty(&dump()).unwrap();
    let at = text.find("\"featureFlags\"").unwrap();
    let error = error_of(format!("{}{}", &text[..at], &text[at + 1..]));
    let line = text[..at].lines().count();
    assert_eq!(error.faults[0].path, format!("line {line}, column 7 (byte {at})"), "{error}");
    assert!(error.faults[0].message.starts_with("the JSON is broken: "), "{error}");

    let error = error_of(&text.as_bytes()[..at - 20]);
    assert!(error.faults[0].message.contains("EOF"), "{error}");

    let mut bytes = text.clone().into_bytes();
    bytes[at + 3] = 0xff;
    let error = error_of(bytes);
    assert_eq!(error.faults[0].path, format!("line {line}, column 10 (byte {})", at + 3));
    assert!(error.faults[0].message.contains("not UTF-8"), "{error}");

    for (text, path) in
        [("", "line 1, column 1 (byte 0)"), ("[]", "the dump"), ("5", "the dump"), ("\"a\"", "the dump")]
    {
        assert_eq!(error_of(text).faults[0].path, path, "{text}");
    }
}

#[test]
fn a_control_character_in_a_string_is_refused() {
    let text = dump().to_string().replace("checkout", "check\nout");
    let error = error_of(text);
    assert!(error.faults[0].message.contains("control character"), "{error}");
    assert!(error.faults[0].path.starts_with("line "), "{error}");
}

#[test]
fn deep_nesting_is_refused_without_recursion() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for depth in [2000, 200_000] {
            let deep = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let text = dump().to_string().replace("[\"a\"]", &deep);
            let error = error_of(text);
            assert!(error.faults[0].message.contains("nested deeper than 1024"), "{error}");
            let error = error_of(open.repeat(depth));
            assert!(error.faults[0].message.contains("the JSON is broken"), "{error}");
        }
    }
    let deep = format!("{}1{}", "[".repeat(900), "]".repeat(900));
    let text = dump().to_string().replace("[\"a\"]", &deep);
    let mut text = DatasetText::new(text.into_bytes());
    assert!(text.parse().unwrap().environments[0].flags[0].raw.contains(&deep));
}

#[test]
fn single_items_are_refused_with_paths_of_their_own() {
    let flag = with("/items/0/featureFlags/0/rules/0/conditions/2/op", json!(5));
    let flag = flag["items"][0]["featureFlags"][0].to_string();
    let error = with_flag(&flag, |_| ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "rules[0].conditions[2].op: is a number, but must be a string; put it in quotes"
    );
    assert_eq!(with_flag("5", |_| ()).unwrap_err().faults[0].path, "the flag");
    assert_eq!(with_segment(" {} ", |_| ()).unwrap_err().faults.len(), 3);
    assert_eq!(with_segment(&format!("{{\"id\":\"{ID}\"}}]"), |_| ()).unwrap_err().faults.len(), 1);
}
