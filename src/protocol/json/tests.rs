use super::*;
use crate::protocol::samples::{damaged, some_json};
use proptest::prelude::*;
use serde_json::Value;

fn is_json(text: &str) -> bool {
    let mut cursor = Cursor::new(text);
    cursor.skip().is_ok() && cursor.end().is_ok()
}

/// Reads any value into the plain twin's form.
fn tree(cursor: &mut Cursor<'_>) -> Result<Value, NotJson> {
    Ok(match cursor.kind()? {
        Kind::Object => {
            let mut members = serde_json::Map::new();
            cursor.object(|cursor, name| {
                let name = name.decode().ok_or(NotJson)?.into_owned();
                members.insert(name, tree(cursor)?);
                Ok::<(), NotJson>(())
            })?;
            Value::Object(members)
        }
        Kind::Array => {
            let mut elements = Vec::new();
            cursor.array(|cursor| {
                elements.push(tree(cursor)?);
                Ok::<(), NotJson>(())
            })?;
            Value::Array(elements)
        }
        Kind::Text => Value::String(cursor.string()?.decode().ok_or(NotJson)?.into_owned()),
        Kind::Number => serde_json::from_str(cursor.number()?).map_err(|_| NotJson)?,
        Kind::True | Kind::False => Value::Bool(cursor.skip()? == "true"),
        Kind::Null => {
            assert!(cursor.null()?);
            Value::Null
        }
    })
}

#[test]
fn accepts_what_is_json_and_nothing_else() {
    for text in [
        "0",
        "-0",
        "10",
        "1.5",
        "-1.5e+10",
        "1E-2",
        "1e999",
        "\"\"",
        " \t\r\n[ ] ",
        "{}",
        "[1,2]",
        "{\"a\":{\"b\":[null]}}",
        "true",
        "false",
        "\"\\u0000\\\"\\/\"",
        "\"\\ud800\"",
        "\"\u{7f}é😀\"",
        "{\"a\":1,\"a\":2}",
    ] {
        assert!(is_json(text), "{text}");
    }
    for text in [
        "",
        " ",
        "01",
        "-",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "0x1",
        "NaN",
        "Infinity",
        "nul",
        "nulll",
        "True",
        "'a'",
        "\"",
        "\"\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\n\"",
        "\"\0\"",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\" 1}",
        "{1:1}",
        "{}{}",
        "1 1",
        "/**/1",
        "1//",
        "\u{feff}1",
        "\u{a0}1",
        "[1}",
        "{]",
    ] {
        assert!(!is_json(text), "{text}");
    }
}

#[test]
fn nests_to_a_depth_of_64_as_in_dotnet() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(is_json(&nested(64)));
    assert!(!is_json(&nested(65)));
    assert!(!is_json(&nested(100_000)), "no stack overflow");
    assert!(!is_json(&"{\"a\":".repeat(100_000)));
    let siblings = format!("[{}]", vec![nested(63); 3].join(","));
    assert!(is_json(&siblings), "depth is left again");
}

#[test]
fn strings_are_decoded_where_they_have_escapes() {
    let decode = |text: &str| Cursor::new(text).string().unwrap().decode().map(Cow::into_owned);
    assert_eq!(decode(r#""a\"\\\/\b\f\n\r\té""#).as_deref(), Some("a\"\\/\u{8}\u{c}\n\r\té"));
    assert_eq!(decode(r#""\u5ba2\uD83D\uDE00x\u0041""#).as_deref(), Some("客😀xA"));
    for half in [
        r#""\ud83d""#,
        r#""\ude00""#,
        r#""\ud83dx""#,
        r#""\ud83d\u0041""#,
        r#""\ud83d\ud83d""#,
        r#""\ud83d\n""#,
    ] {
        assert_eq!(decode(half), None, "{half}");
    }
    assert!(matches!(Cursor::new("\"plain\"").string().unwrap().decode(), Some(Cow::Borrowed("plain"))));
}

#[test]
fn names_are_compared_by_value() {
    let name = |text: &'static str| Cursor::new(text).string().unwrap();
    assert!(name(r#""d\u0061ta""#).is("data"));
    assert!(name(r#""D\u0061TA""#).is_in_any_case("data"));
    assert!(!name(r#""Data""#).is("data"));
    assert!(!name(r#""\ud800""#).is("\u{fffd}"));
}

#[test]
fn skipping_gives_the_text_of_the_value() {
    let mut cursor = Cursor::new(" { \"a\" : [1, 2] } ");
    assert_eq!(cursor.skip(), Ok("{ \"a\" : [1, 2] }"));
    assert_eq!(cursor.end(), Ok(()));
}

proptest! {
    #[test]
    fn equals_serde_json(text in damaged(some_json())) {
        let expected = serde_json::from_str::<Value>(&text).ok();
        let mut cursor = Cursor::new(&text);
        let value = tree(&mut cursor).and_then(|value| cursor.end().map(|()| value));
        prop_assert_eq!(value.ok(), expected.clone());
        // `serde_json` also rejects lone surrogates in skipped values; damaged texts seldom have one.
        prop_assert!(is_json(&text) == expected.is_some() || text.contains("\\u"));
    }

    #[test]
    fn never_panics(text in "[{}\\[\\]:,\"\\\\u0-9a-fé.eE+tn -]{0,60}") {
        let _ = is_json(&text);
        let _ = tree(&mut Cursor::new(&text));
    }
}
