//! Whether two JSON texts are the same value.
//!
//! Must not be called for equal bytes, because it parses both texts. Tools that rewrite a dump change white space and the
//! order of properties; that is no change of the data, and must be neither pushed nor logged.

use serde_json::{Number, Value};

/// Whether `one` and `other` are the same value, regardless of white space, the order of properties, escapes in strings
/// and the format of numbers. False if either cannot be parsed or has a number out of range.
pub(super) fn is_same_json(one: &str, other: &str) -> bool {
    let read = |text| serde_json::from_str::<Value>(text).ok();
    // serde_json accepts at most 128 levels, which also limits the recursion here.
    read(one).zip(read(other)).is_some_and(|(one, other)| is_same(&one, &other))
}

fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => is_same_number(one, other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let has = |(name, one): (&String, _)| other.get(name).is_some_and(|other| is_same(one, other));
            one.len() == other.len() && one.iter().all(has)
        }
        _ => one == other,
    }
}

/// `1`, `1.0` and `1e0` are the same number. Integers are compared exactly, beyond the precision of a double.
fn is_same_number(one: &Number, other: &Number) -> bool {
    one == other || (one.is_f64() || other.is_f64()) && one.as_f64() == other.as_f64()
}

#[cfg(test)]
mod tests {
    use super::is_same_json;

    #[test]
    fn the_format_of_json_is_ignored() {
        for (one, other) in [
            (r#"{"a":1,"b":[true,null]}"#, "{ \"b\" : [ true, null ],\n\t\"a\" : 1 }"),
            (r#"{"a":"é/"}"#, r#"{"\u0061":"\u00e9\/"}"#),
            ("[1, 0, 100, 0.5, -1]", "[1.0, -0.0, 1e2, 5e-1, -1.00]"),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
        ] {
            assert!(is_same_json(one, other) && is_same_json(other, one), "{one} {other}");
        }
    }

    #[test]
    fn different_values_are_not_the_same() {
        for (one, other) in [
            (r#"{"a":1}"#, r#"{"a":2}"#),
            (r#"{"a":1}"#, r#"{"a":"1"}"#),
            (r#"{"a":1}"#, r#"{"b":1}"#),
            (r#"{"a":null}"#, "{}"),
            (r#"{"a":{"b":[0.3,1]}}"#, r#"{"a":{"b":[1,0.3]}}"#),
            ("[1]", "[1,1]"),
            ("[0.5]", "[0.50001]"),
            ("9007199254740993", "9007199254740992"),
            ("false", "0"),
        ] {
            assert!(!is_same_json(one, other) && !is_same_json(other, one), "{one} {other}");
        }
    }

    #[test]
    fn invalid_json_is_never_the_same() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        for text in ["", "{", "1e999", "\"\\ud800\"", "{} {}", &deep] {
            assert!(!is_same_json(text, text), "{}", &text[..text.len().min(9)]);
        }
    }
}
