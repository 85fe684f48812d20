//! The keys with which downstream agents may connect.
//!
//! Must not show a key or a part of one.

use super::secret::Secret;
use super::settings::RelayKey;
use super::value::{InvalidValue, invalid};

/// Characters that a key must have at least: whoever guesses a key can read every secret of its environments.
const KEY_CHARS_MIN: usize = 20;
const KEY_CHARS_MAX: usize = 200;

/// Parses `key;key=shop:dev,shop:prod`. Line breaks separate entries as `;` does.
///
/// # Errors
/// What is wrong with each entry. Errors name an entry by its number, because it is secret.
pub(super) fn parse(text: &str, api_key: Option<&Secret>) -> Result<Vec<RelayKey>, Vec<InvalidValue>> {
    let mut keys: Vec<RelayKey> = Vec::new();
    let mut errors = Vec::new();
    let entries = text.split([';', '\n']).map(str::trim).filter(|entry| !entry.is_empty());
    for (index, entry) in entries.enumerate() {
        match parse_entry(entry, index + 1, &keys, api_key) {
            Ok(key) => keys.push(key),
            Err(invalid) => errors.push(invalid),
        }
    }
    if errors.is_empty() { Ok(keys) } else { Err(errors) }
}

/// Parses one entry, `place` being its number from 1 and `before` the keys of the entries before it.
fn parse_entry(
    entry: &str,
    place: usize,
    before: &[RelayKey],
    api_key: Option<&Secret>,
) -> Result<RelayKey, InvalidValue> {
    let (key, names) = match entry.split_once('=') {
        Some((key, names)) => (key.trim(), Some(names)),
        None => (entry, None),
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !(KEY_CHARS_MIN..=KEY_CHARS_MAX).contains(&key.len()) || !key.bytes().all(plain) {
        return Err(invalid(
            format!("has an entry, number {place}, that does not begin with a valid key"),
            "Write keys of 20 to 200 letters, digits, `-` and `_`",
        ));
    }
    if api_key.is_some_and(|api_key| api_key.matches(key.as_bytes())) {
        return Err(invalid(
            format!("has ApiKey as its entry number {place}"),
            "Use another key for downstream agents: ApiKey gives access to the management calls",
        ));
    }
    if before.iter().any(|other| other.key.matches(key.as_bytes())) {
        return Err(invalid(
            format!("contains a key twice, the second time as number {place}"),
            "Keep one of the two",
        ));
    }
    let environments = names.map(|names| names.split(',').map(|name| name.trim().to_owned()).collect());
    if environments.as_ref().is_some_and(|names: &Vec<String>| names.iter().any(String::is_empty)) {
        return Err(invalid(
            format!("has an empty environment in its entry number {place}"),
            "Write key=project:environment,project:environment, or the key alone for all of them",
        ));
    }
    Ok(RelayKey { key: Secret::new(key.to_owned()), environments })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "rp-0123456789abcdefghij";
    const TWO: &str = "rp-9876543210abcdefghij";

    #[test]
    fn takes_keys_alone_and_keys_with_environments() {
        let text = format!("{ONE};\n{TWO} = shop:dev, shop:prod\n");
        let keys = parse(&text, None).unwrap();
        assert_eq!(keys.len(), 2);
        assert!(keys[0].key.matches(ONE.as_bytes()) && keys[0].environments.is_none());
        assert!(keys[1].key.matches(TWO.as_bytes()));
        assert_eq!(keys[1].environments.as_deref().unwrap(), ["shop:dev", "shop:prod"]);
        assert!(parse("", None).unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_told_by_its_place_and_never_shown() {
        let api_key = Secret::new(ONE.into());
        for (text, problem) in [
            ("short".to_owned(), "number 1, that does not begin with a valid key"),
            (format!("{TWO};rp-0123456789 abcdefghij"), "number 2, that does not begin with a valid key"),
            (format!("{TWO};{ONE}"), "ApiKey as its entry number 2"),
            (format!("{TWO};{TWO}=a:b"), "twice, the second time as number 2"),
            (format!("{TWO}="), "empty environment in its entry number 1"),
            (format!("{TWO}=a:b,,c:d"), "empty environment in its entry number 1"),
        ] {
            let errors = parse(&text, Some(&api_key)).unwrap_err();
            let [invalid] = &errors[..] else { panic!("{errors:?}") };
            assert!(invalid.problem.contains(problem), "{invalid:?}");
            assert!(!invalid.problem.contains("0123") && !invalid.problem.contains("9876"), "{invalid:?}");
        }
    }
    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let api_key = Secret::new(ONE.into());
        let errors = parse(&format!("{ONE};{TWO};short;{TWO}"), Some(&api_key)).unwrap_err();
        let messages: Vec<_> = errors.iter().map(|invalid| invalid.problem.as_str()).collect();
        assert_eq!(
            messages,
            [
                "has ApiKey as its entry number 1",
                "has an entry, number 3, that does not begin with a valid key",
                "contains a key twice, the second time as number 4",
            ]
        );
    }
}
