//! The keys by which other agents may follow this one.
//!
//! Must not show a key, nor a part of one.

use super::settings::{RelayKey, Secret};
use super::value::{Unfit, unfit};

/// Characters of a key at least: whoever guesses it reads every secret of its environments.
const KEY_CHARS_MIN: usize = 20;
const KEY_CHARS_MAX: usize = 200;

/// Parses `key;key=shop:dev,shop:prod`, with line ends in the place of `;` too.
///
/// # Errors
/// Every entry that is wrong, by its place, since it is secret.
pub(super) fn parse(text: &str, api_key: Option<&Secret>) -> Result<Vec<RelayKey>, Vec<Unfit>> {
    let mut keys: Vec<RelayKey> = Vec::new();
    let mut unfits = Vec::new();
    let entries = text.split([';', '\n']).map(str::trim).filter(|entry| !entry.is_empty());
    for (index, entry) in entries.enumerate() {
        match parse_entry(entry, index + 1, &keys, api_key) {
            Ok(key) => keys.push(key),
            Err(unfit) => unfits.push(unfit),
        }
    }
    if unfits.is_empty() { Ok(keys) } else { Err(unfits) }
}

/// One entry, at `place` counted from 1, behind those in `before`.
fn parse_entry(
    entry: &str,
    place: usize,
    before: &[RelayKey],
    api_key: Option<&Secret>,
) -> Result<RelayKey, Unfit> {
    let (key, names) = match entry.split_once('=') {
        Some((key, names)) => (key.trim(), Some(names)),
        None => (entry, None),
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !(KEY_CHARS_MIN..=KEY_CHARS_MAX).contains(&key.len()) || !key.bytes().all(plain) {
        return Err(unfit(
            format!("has an entry, number {place}, that does not begin with a key"),
            "Write keys of 20 to 200 letters, digits, `-` and `_`",
        ));
    }
    if api_key.is_some_and(|api_key| api_key.matches(key.as_bytes())) {
        return Err(unfit(
            format!("has ApiKey as its entry number {place}"),
            "Give relays a key of their own: ApiKey opens the management calls",
        ));
    }
    if before.iter().any(|other| other.key.matches(key.as_bytes())) {
        return Err(unfit(format!("has one key twice, again as number {place}"), "Keep one of the two"));
    }
    let environments = names.map(|names| names.split(',').map(|name| name.trim().to_owned()).collect());
    if environments.as_ref().is_some_and(|names: &Vec<String>| names.iter().any(String::is_empty)) {
        return Err(unfit(
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
            ("short".to_owned(), "number 1, that does not begin with a key"),
            (format!("{TWO};rp-0123456789 abcdefghij"), "number 2, that does not begin with a key"),
            (format!("{TWO};{ONE}"), "ApiKey as its entry number 2"),
            (format!("{TWO};{TWO}=a:b"), "twice, again as number 2"),
            (format!("{TWO}="), "empty environment in its entry number 1"),
            (format!("{TWO}=a:b,,c:d"), "empty environment in its entry number 1"),
        ] {
            let unfits = parse(&text, Some(&api_key)).unwrap_err();
            let [unfit] = &unfits[..] else { panic!("{unfits:?}") };
            assert!(unfit.problem.contains(problem), "{unfit:?}");
            assert!(!unfit.problem.contains("0123") && !unfit.problem.contains("9876"), "{unfit:?}");
        }
    }
    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let api_key = Secret::new(ONE.into());
        let unfits = parse(&format!("{ONE};{TWO};short;{TWO}"), Some(&api_key)).unwrap_err();
        let told: Vec<_> = unfits.iter().map(|unfit| unfit.problem.as_str()).collect();
        assert_eq!(
            told,
            [
                "has ApiKey as its entry number 1",
                "has an entry, number 3, that does not begin with a key",
                "has one key twice, again as number 4",
            ]
        );
    }
}
