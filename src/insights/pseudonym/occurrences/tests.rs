//! Planted values, in the ways that texts are escaped.

use super::*;
use proptest::prelude::*;

const PSEUDONYM: &str = "<pseudonym>";

fn finder(key: &str, values: &[&str]) -> Occurrences {
    Occurrences::new(key, PSEUDONYM.to_owned(), values.iter().copied())
}

#[track_caller]
fn check(key: &str, values: &[&str], cases: &[(&str, &str)]) {
    let finder = finder(key, values);
    for (text, expected) in cases {
        assert_eq!(finder.replace(text), *expected, "{text}");
    }
}

#[test]
fn the_key_becomes_its_pseudonym_and_other_values_a_fixed_word() {
    check(
        "ann@x.org",
        &["Ann Smith", " Zürich ", "Ann Smith"],
        &[
            ("nothing", "nothing"),
            ("bought-by-ann@x.org!", "bought-by-<pseudonym>!"),
            ("ANN@X.ORGann@x.org", "<pseudonym><pseudonym>"),
            ("ann%40x.org and Ann%2540x%252Eorg", "<pseudonym> and <pseudonym>"),
            ("/?q=ann+smith&z=ANN%20SMITH", "/?q=redacted&z=redacted"),
            (
                r#"{"a":"{\"b\":\"ann\\u0040x.org\",\"c\":\"ann smith\"}"}"#,
                r#"{"a":"{\"b\":\"<pseudonym>\",\"c\":\"redacted\"}"}"#,
            ),
            (
                "zürich ZÜRICH z%C3%BCrich z%FCrich z\\u00fcrich",
                "redacted redacted redacted redacted redacted",
            ),
            ("%", "%"),
            ("ann x.org", "ann x.org"),
        ],
    );
}

#[test]
fn short_values_are_replaced_as_whole_words_only() {
    check(
        "1",
        &["pro", "de", "-", "x.y"],
        &[
            ("step-10 v1 1st 21", "step-10 v1 1st 21"),
            ("step-1 1", "step-<pseudonym> <pseudonym>"),
            ("user=1&plan=PRO&x", "user=<pseudonym>&plan=redacted&x"),
            ("profile de_DE lade", "profile redacted_redacted lade"),
            ("a%201%20b", "a<pseudonym>b".replace("a<", "a%20<").replace(">b", ">%20b").as_str()),
            ("x.y ax.y x.yz", "redacted ax.y x.yz"),
        ],
    );
    assert!(finder("1", &["pro"]).is_short_value("Pro"));
    assert!(!finder("1", &["pro"]).is_short_value("1"));
    assert!(!finder("1", &["prof"]).is_short_value("prof"));
}

#[test]
fn names_of_two_characters_are_found_where_words_have_no_spaces() {
    check(
        "王伟",
        &["김철수"],
        &[("王伟下单", "<pseudonym>下单"), ("x김철수님", "xredacted님"), ("王", "王")],
    );
}

#[test]
fn letter_case_may_change_the_length() {
    check(
        "straße",
        &["İstanbul", "ΟΔΥΣΣΕΥΣ"],
        &[
            ("STRASSE Straße STRAẞE", "<pseudonym> <pseudonym> <pseudonym>"),
            ("xi\u{307}stanbulx İSTANBUL", "xredactedx redacted"),
            ("οδυσσευς", "redacted"),
        ],
    );
}

#[test]
fn values_that_everybody_has_identify_nobody() {
    check("u-12345", &["true", "False", "NULL", "", " "], &[("true false null", "true false null")]);
    // The user key is one in any case.
    check("true", &[], &[("true", PSEUDONYM)]);
}

#[test]
fn values_that_overlap_are_replaced_together() {
    check(
        "anna",
        &["annabel", "belle"],
        &[("annabelle", PSEUDONYM), ("annabel", PSEUDONYM), ("xbelle", "xredacted")],
    );
}

#[test]
fn numbers_are_compared_as_numbers() {
    let finder = finder("12345", &["+49 151-2345", "99.5000", "123", "1e999", "NaN", "0000"]);
    for number in ["12345", "12345.0", "1.2345e4", "491512345", "99.5", "0", "-0"] {
        assert!(finder.is_number(number), "{number}");
    }
    for number in ["1234", "123456", "123", "1", "-12345", "995000"] {
        assert!(!finder.is_number(number), "{number}");
    }
}

#[test]
fn many_values_are_found_as_few_are_and_too_many_leave_no_text() {
    let many: Vec<String> = (0..1000).map(|at| format!("value-{at}-x")).collect();
    let finder =
        |many: &[String]| Occurrences::new("user-key", PSEUDONYM.to_owned(), many.iter().map(String::as_str));
    let text = "value-7-x, VALUE-999-x%2C user-key value-1000-x";
    assert_eq!(finder(&many).replace(text), "redacted, redacted%2C <pseudonym> value-1000-x");
    let long: Vec<String> = (0..9).map(|at| at.to_string().repeat(40_000)).collect();
    assert_eq!(finder(&long).replace("anything"), REDACTED);
    assert_eq!(finder(&long).replace(""), "");
}

/// A text that somebody may have put a value into.
fn escaped(value: &str, how: u8) -> String {
    let percent = |value: &str| {
        let byte = |byte: u8| format!("%{byte:02X}");
        value
            .bytes()
            .map(|one| if one.is_ascii_alphanumeric() { char::from(one).to_string() } else { byte(one) })
            .collect::<String>()
    };
    let json = |value: &str| {
        let text = serde_json::to_string(value).unwrap();
        text[1..text.len() - 1].to_owned()
    };
    let units = |value: &str| value.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
    match how {
        0 => value.to_owned(),
        1 => value.to_uppercase(),
        2 => percent(value),
        3 => percent(value).replace("%20", "+"),
        4 => json(value),
        5 => units(value),
        6 => percent(&percent(value)),
        7 => percent(&json(value)),
        8 => json(&json(value)),
        9 => json(&units(value)),
        10 => percent(value).to_lowercase(),
        _ => json(&percent(value)),
    }
}

proptest! {
    #[test]
    fn a_planted_value_is_gone(
        key in "[a-zA-Zé@. ßǅ\"\\\\+%/王0-9]{4,12}",
        others in prop::collection::vec("[a-zA-Z\"\\\\]{4,8}", 0..12),
        plants in prop::collection::vec((any::<prop::sample::Index>(), 0u8..12, "[ ,;&=/?-]{1,3}"), 1..5),
    ) {
        prop_assume!(key.trim().chars().count() >= 4);
        let values: Vec<&str> = std::iter::once(key.trim()).chain(others.iter().map(String::as_str)).collect();
        // What stands for a value must not look like one.
        prop_assume!(values.iter().all(|value| !REDACTED.contains(&value.to_lowercase())));
        let finder = Occurrences::new(&key, "<>".to_owned(), others.iter().map(String::as_str));
        let mut text = String::new();
        for (index, how, between) in &plants {
            text.push_str(between);
            text.push_str(&escaped(values[index.index(values.len())], *how));
            text.push_str(between);
        }
        let replaced = finder.replace(&text);
        each_level(&replaced, |lowercased| {
            for value in &values {
                each_level(value, |value| {
                    let value = value.text.trim();
                    let found = value.chars().count() >= 4 && lowercased.text.contains(value);
                    assert!(!found, "{text:?} became {replaced:?}, which has {value:?}");
                });
            }
        });
    }

    /// Few values take another way than many.
    #[test]
    fn the_same_values_are_found_one_by_one_and_all_at_once(
        key in "[ab]{2,5}",
        values in prop::collection::vec("[ab]{4,5}", 0..4),
        text in "[abAB%+ ]{0,30}",
    ) {
        let few = Occurrences::new(&key, "<>".to_owned(), values.iter().map(String::as_str));
        let padding: Vec<String> = (0..20).map(|at| format!("padding-{at}")).collect();
        let all = values.iter().chain(&padding).map(String::as_str);
        let many = Occurrences::new(&key, "<>".to_owned(), all);
        let has_value = |text: &str| values.iter().any(|value| text.to_lowercase().contains(value.as_str()));
        prop_assert_eq!(few.replace(&text).contains(REDACTED) || few.replace(&text).contains("<>"),
            many.replace(&text).contains(REDACTED) || many.replace(&text).contains("<>"));
        prop_assert!(!has_value(&few.replace(&text)) && !has_value(&many.replace(&text)));
    }
}
