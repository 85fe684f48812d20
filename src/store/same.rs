//! Whether two texts of JSON say the same.
//!
//! Must not be asked while the bytes are equal: it parses both. A tool that writes a dump anew orders and spaces it
//! in its own way; that is no change, and must neither be pushed nor be told of.

use serde_json::{Number, Value};

/// Whether `one` and `other` are the same value: blanks, the order of properties, escapes in strings and the
/// spelling of numbers do not count. What cannot be read, numbers out of range among it, is the same as nothing.
pub(super) fn says_the_same(one: &str, other: &str) -> bool {
    let read = |text| serde_json::from_str::<Value>(text).ok();
    // serde_json nests 128 deep and no deeper, so that the comparison does neither.
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

/// `1`, `1.0` and `1e0` are one number; whole numbers are compared beyond the precision of doubles.
fn is_same_number(one: &Number, other: &Number) -> bool {
    one == other || (one.is_f64() || other.is_f64()) && one.as_f64() == other.as_f64()
}

#[cfg(test)]
mod tests {
    use super::says_the_same;

    #[test]
    fn the_form_of_json_does_not_count() {
        for (one, other) in [
            (r#"{"a":1,"b":[true,null]}"#, "{ \"b\" : [ true, null ],\n\t\"a\" : 1 }"),
            (r#"{"a":"é/"}"#, r#"{"\u0061":"\u00e9\/"}"#),
            ("[1, 0, 100, 0.5, -1]", "[1.0, -0.0, 1e2, 5e-1, -1.00]"),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
        ] {
            assert!(says_the_same(one, other) && says_the_same(other, one), "{one} {other}");
        }
    }

    #[test]
    fn what_it_says_counts() {
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
            assert!(!says_the_same(one, other) && !says_the_same(other, one), "{one} {other}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_the_same_as_nothing() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        for text in ["", "{", "1e999", "\"\\ud800\"", "{} {}", &deep] {
            assert!(!says_the_same(text, text), "{}", &text[..text.len().min(9)]);
        }
    }
}
