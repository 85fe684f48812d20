//! Which custom properties of users may leave the machine with pseudonymised usage events, and in which form.
//!
//! Must not touch an event: `insights` applies the rules.

use super::value::{InvalidValue, invalid};

/// The form in which a property may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropertyAction {
    /// As it is.
    Keep,
    /// As a keyed hash: equal values stay equal.
    Hash,
    /// The range of this width that a number is in.
    Range(u64),
    /// The domain of an e-mail address.
    Domain,
    /// The network of an IP address: /24 of IPv4, /48 of IPv6.
    Network,
    /// The country of a locale.
    Country,
}

/// A custom property that may leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertyRule {
    /// The property's name, matched ignoring case.
    pub name: String,
    /// The form in which it leaves.
    pub action: PropertyAction,
}

/// The widest range. Numbers beyond it have no use as an age or an amount.
const STEP_MAX: u64 = 1_000_000_000_000_000;

const ACTIONS: &str = "keep, hash, range:N, domain, network or country";

/// Parses `plan=keep;email=domain;age=range:10`. A name alone is kept. Line breaks separate entries as `;` does.
///
/// # Errors
/// What is wrong with each entry, by its number and its name.
pub fn parse(text: &str) -> Result<Vec<PropertyRule>, Vec<InvalidValue>> {
    let mut rules: Vec<PropertyRule> = Vec::new();
    let mut errors = Vec::new();
    let entries = text.split([';', '\n']).map(str::trim).filter(|entry| !entry.is_empty());
    for (index, entry) in entries.enumerate() {
        match parse_entry(entry, index + 1, &rules) {
            Ok(rule) => rules.push(rule),
            Err(invalid) => errors.push(invalid),
        }
    }
    if errors.is_empty() { Ok(rules) } else { Err(errors) }
}

/// Parses one entry, `place` being its number from 1 and `before` the rules of the entries before it.
fn parse_entry(entry: &str, place: usize, before: &[PropertyRule]) -> Result<PropertyRule, InvalidValue> {
    let (name, action) = match entry.rsplit_once('=') {
        Some((name, action)) => (name.trim(), Some(action.trim())),
        None => (entry, None),
    };
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(invalid(
            format!("has an entry, number {place}, without the name of a property"),
            format!("Write name=action, where action is {ACTIONS}"),
        ));
    }
    if before.iter().any(|rule| rule.name.to_lowercase() == name.to_lowercase()) {
        return Err(invalid(
            format!("names the property {name:?} twice, the second time as entry number {place}"),
            "Keep one of the two; letter case does not matter",
        ));
    }
    let action = parse_action(action.unwrap_or("keep")).ok_or_else(|| {
        invalid(
            format!("has no valid action for the property {name:?}, entry number {place}"),
            format!("Write {ACTIONS}; N is a whole number from 2 to {STEP_MAX}"),
        )
    })?;
    Ok(PropertyRule { name: name.to_owned(), action })
}

fn parse_action(text: &str) -> Option<PropertyAction> {
    let lower = text.to_ascii_lowercase();
    let (action, step) = match lower.split_once(':') {
        Some((action, step)) => (action.trim(), Some(step.trim())),
        None => (lower.as_str(), None),
    };
    match (action, step) {
        ("keep", None) => Some(PropertyAction::Keep),
        ("hash", None) => Some(PropertyAction::Hash),
        ("domain", None) => Some(PropertyAction::Domain),
        ("network", None) => Some(PropertyAction::Network),
        ("country", None) => Some(PropertyAction::Country),
        ("range", Some(step)) if step.bytes().all(|byte| byte.is_ascii_digit()) => {
            let step = step.parse().ok().filter(|step| (2..=STEP_MAX).contains(step));
            step.map(PropertyAction::Range)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn takes_names_with_and_without_an_action() {
        let rules =
            parse("plan=keep; Email = DOMAIN;age=range: 10\nip=network;locale=country;a=b=hash;tier;")
                .unwrap();
        let expected = [
            ("plan", PropertyAction::Keep),
            ("Email", PropertyAction::Domain),
            ("age", PropertyAction::Range(10)),
            ("ip", PropertyAction::Network),
            ("locale", PropertyAction::Country),
            ("a=b", PropertyAction::Hash),
            ("tier", PropertyAction::Keep),
        ];
        let expected = expected.map(|(name, action)| PropertyRule { name: name.to_owned(), action });
        assert_eq!(rules, expected);
        assert_eq!(parse(" ; \n"), Ok(Vec::new()));
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once_with_its_place() {
        for (text, problem) in [
            ("=keep", "has an entry, number 1, without the name of a property"),
            ("a;a\tb=keep", "has an entry, number 2, without the name of a property"),
            ("a;b=mask", r#"has no valid action for the property "b", entry number 2"#),
            ("a=", r#"has no valid action for the property "a", entry number 1"#),
            ("a=range", r#"has no valid action for the property "a", entry number 1"#),
            ("a=range:1", r#"has no valid action for the property "a", entry number 1"#),
            ("a=range:-5", r#"has no valid action for the property "a", entry number 1"#),
            ("a=range:0.5", r#"has no valid action for the property "a", entry number 1"#),
            ("a=range:99999999999999999999", r#"has no valid action for the property "a", entry number 1"#),
            ("a=keep:1", r#"has no valid action for the property "a", entry number 1"#),
            ("É;é=hash", r#"names the property "é" twice, the second time as entry number 2"#),
        ] {
            let errors = parse(text).unwrap_err();
            assert_eq!(errors[0].problem, problem, "{text}");
        }
        assert_eq!(parse("a=x;b=y;c").unwrap_err().len(), 2);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a=;:0-9 \\n\\PC]{0,24}") {
            let _ = parse(&text);
        }
    }
}
