//! The text that SDKs get of an item, where it differs from the source's JSON.
//!
//! Must not change more of an item's JSON than necessary: `updatedAt` is replaced by the version, in the one format that
//! all SDKs read, and `pending` (a change in FeatBit 6 that is not in effect yet) is left out.

use std::ops::Range;

use crate::model::timestamp::{format_iso8601, parse_iso8601_ms};

/// The JSON object `raw` as SDKs get it, with this version. `None` if it has no `updatedAt` to replace, or if the version
/// cannot be written as a date: SDKs then get `raw` unmodified.
pub(super) fn served_text(raw: &str, version_ms: i64) -> Option<String> {
    let version = format_iso8601(version_ms);
    parse_iso8601_ms(&version)?;
    let properties = own_properties(raw);
    let mut out = String::with_capacity(raw.len() + 16);
    let mut copied = 0;
    let mut has_version = false;
    for (at, Property { key, value }) in properties.iter().enumerate() {
        let name = serde_json::from_str::<String>(raw.get(key.clone())?).ok()?;
        match &*name {
            "updatedAt" if raw.get(value.clone()).is_some_and(|value| value.starts_with('"')) => {
                out.push_str(raw.get(copied..value.start)?);
                out.push('"');
                out.push_str(&version);
                out.push('"');
                copied = value.end;
                has_version = true;
            }
            "pending" => {
                // Remove the comma after it too; for the last property, the comma before it.
                let start = if copied > key.start { copied } else { key.start };
                out.push_str(raw.get(copied..start)?);
                copied = match properties.get(at + 1) {
                    Some(next) => next.key.start,
                    None => {
                        let kept = out.trim_end().trim_end_matches(',').trim_end().len();
                        out.truncate(kept);
                        value.end
                    }
                };
            }
            _ => {}
        }
    }
    if !has_version {
        return None;
    }
    out.push_str(raw.get(copied..)?);
    Some(out)
}

/// A property of an object: the byte ranges of its name, quotes included, and of its value.
struct Property {
    key: Range<usize>,
    value: Range<usize>,
}

/// The properties of the object itself, not of nested ones. `raw` must be well-formed JSON; for anything else the result
/// is useless, but it does not panic.
fn own_properties(raw: &str) -> Vec<Property> {
    let bytes = raw.as_bytes();
    let mut found = Vec::new();
    let mut depth = 0usize;
    let mut at = 0;
    let mut key: Option<Range<usize>> = None;
    // Where the value begins and, so far, ends, without the white space around it.
    let mut value: Option<Range<usize>> = None;
    while let Some(byte) = bytes.get(at) {
        let start = at;
        at = if *byte == b'"' { string_end(bytes, at) } else { at + 1 };
        match byte {
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        let ends = depth == 0 || depth == 1 && *byte == b',';
        if ends {
            if let (Some(key), Some(value)) = (key.take(), value.take()) {
                found.push(Property { key, value });
            }
        } else if depth == 1 && *byte == b':' && value.is_none() {
            value = Some(at..at);
        } else if let Some(value) = &mut value {
            if !byte.is_ascii_whitespace() {
                if value.start == value.end {
                    value.start = start;
                }
                value.end = at;
            } else if value.start == value.end {
                *value = at..at;
            }
        } else if depth == 1 && *byte == b'"' {
            key = Some(start..at);
        }
        if matches!(byte, b'{' | b'[') {
            depth += 1;
        }
    }
    found
}

/// Where the string that begins at `start` ends.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::served_text;

    #[test]
    fn changes_the_items_own_updated_at_and_nothing_else() {
        let raw = r#"{ "a":{"updatedAt":"x"}, "name":"updatedAt", "b":["updatedAt","y"],"updatedAt" : "2020-01-01T00:00:00Z" ,"c":1.50}"#;
        let expected = r#"{ "a":{"updatedAt":"x"}, "name":"updatedAt", "b":["updatedAt","y"],"updatedAt" : "2025-01-01T00:00:07.273Z" ,"c":1.50}"#;
        assert_eq!(served_text(raw, 1_735_689_607_273).as_deref(), Some(expected));
    }

    #[test]
    fn takes_escaped_and_repeated_names_as_a_parser_does() {
        let raw = r#"{"\u0075pdatedAt":"1","x":"a\"b\\","updatedAt":"2"}"#;
        let at = "1970-01-01T00:00:00.001Z";
        let expected = format!(r#"{{"\u0075pdatedAt":"{at}","x":"a\"b\\","updatedAt":"{at}"}}"#);
        assert_eq!(served_text(raw, 1), Some(expected));
    }

    #[test]
    fn a_pending_change_reaches_no_sdk() {
        let at = "1970-01-01T00:00:00.001Z";
        for (raw, expected) in [
            (
                r#"{"pending":{"value":{"pending":1,"updatedAt":"y"}},"updatedAt":"x","a":1}"#,
                r#"{"updatedAt":"T","a":1}"#,
            ),
            (
                r#"{"updatedAt":"x", "pending" : null , "a":{"pending":2}}"#,
                r#"{"updatedAt":"T", "a":{"pending":2}}"#,
            ),
            (r#"{"updatedAt":"x","pending":[1,"]}"]}"#, r#"{"updatedAt":"T"}"#),
            (r#"{"updatedAt":"x" , "pending":1 }"#, r#"{"updatedAt":"T" }"#),
            (r#"{"pending":1,"pending":2,"updatedAt":"x","pending":3}"#, r#"{"updatedAt":"T"}"#),
        ] {
            assert_eq!(served_text(raw, 1), Some(expected.replace('T', at)), "{raw}");
        }
    }

    #[test]
    fn gives_nothing_without_an_updated_at_or_for_a_version_that_is_no_date() {
        assert_eq!(served_text(r#"{"a":1}"#, 1), None);
        assert_eq!(served_text(r#"{"updatedAt":5}"#, 1), None);
        assert_eq!(served_text(r#"{"updatedAt":"x"}"#, i64::MAX), None);
        for broken in
            ["", "\"", "{\"updatedAt", "{\"updatedAt\":\"", "{\"a\\", "]]{\"updatedAt\":\"é", "{\"é\"\u{e9}"]
        {
            let _ = served_text(broken, 1);
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a{}\\[\\],:\" \\\\é]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("(pending|updatedAt|[a-c\"]{1,2})", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn gives_what_a_parser_and_a_writer_would_give(
            own in prop::collection::btree_map("(pending|[a-c\",:{}]{1,2})", value(), 0..5), pretty: bool, at in 0usize..5,
        ) {
            let mut properties: Vec<(String, Value)> = own.into_iter().collect();
            properties.insert(at.min(properties.len()), ("updatedAt".to_owned(), json!("2020-01-01")));
            let object: Map<String, Value> = properties.into_iter().collect();
            let raw = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) }.unwrap();
            let mut expected = object;
            expected.remove("pending");
            expected.insert("updatedAt".to_owned(), json!("1970-01-01T00:00:00.007Z"));
            let served: Value = serde_json::from_str(&served_text(&raw, 7).unwrap()).unwrap();
            prop_assert_eq!(served, Value::Object(expected));
        }

        #[test]
        fn does_not_fail_on_anything(raw in "[a{}\\[\\],:\" \\\\é]{0,30}") {
            let _ = served_text(&raw, 1);
        }
    }
}
