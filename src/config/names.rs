//! Which setting a name means, in the spellings that .NET takes.
//!
//! Must not judge a value, nor suggest a name: [`super::suggest`] does that.

use super::definition::{Definition, Key};
use super::table::DEFINITIONS;

impl Key {
    /// The definition of this setting.
    pub fn definition(self) -> &'static Definition {
        // The table is asserted at compile time to be complete and in the order of `Key`.
        &DEFINITIONS[self as usize]
    }
}

/// A setting found by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which setting.
    pub key: Key,
    /// 0 for its own name, else the number of the alias, from 1.
    pub rank: usize,
    /// The scheme, if the value lists ports instead of URLs.
    pub ports: Option<&'static str>,
}

/// The form in which names are compared: `:` between levels, lower case.
pub fn normalize(name: &str) -> String {
    name.trim().replace("__", ":").to_lowercase()
}

/// The setting with this [normalized](normalize) name in environment variables, or else in files.
pub fn find(normalized: &str, environment: bool) -> Option<Found> {
    for definition in DEFINITIONS {
        if normalize(definition.name) == normalized {
            return Some(Found { key: definition.key, rank: 0, ports: None });
        }
        for (place, alias) in definition.aliases.iter().enumerate() {
            if (environment || !alias.environment_only) && normalize(alias.name) == normalized {
                return Some(Found { key: definition.key, rank: place + 1, ports: alias.ports });
            }
        }
    }
    None
}

/// The setting and the index that `cors:origins:0` means.
pub(super) fn list_element(normalized: &str) -> Option<(Found, u32)> {
    let (name, index) = normalized.rsplit_once(':')?;
    let index = index.parse().ok()?;
    let found = find(name, false)?;
    found.key.definition().kind.list_separator().map(|_| (found, index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_the_names_in_kebab_case() {
        assert_eq!(Key::Mode.definition().flag(), "mode");
        assert_eq!(Key::DataFile.definition().flag(), "data-file");
        assert_eq!(Key::ApiKey.definition().flag(), "api-key");
        assert_eq!(Key::ApiKeyFile.definition().flag(), "api-key-file");
        assert_eq!(Key::LimitsVerdictWait.definition().flag(), "limits-verdict-wait");
        assert_eq!(
            Key::PollingAllowClientSecretForServer.definition().flag(),
            "polling-allow-client-secret-for-server"
        );
    }

    #[test]
    fn names_are_found_in_any_case_and_with_either_separator() {
        for name in ["Limits__VerdictWait", "LIMITS__VERDICTWAIT", "limits:verdictwait"] {
            let found = find(&normalize(name), true).unwrap();
            assert_eq!((found.key, found.rank), (Key::LimitsVerdictWait, 0), "{name}");
        }
        let found = find(&normalize("aspnetcore_urls"), true).unwrap();
        assert_eq!(found.key, Key::Urls);
        assert!(found.rank > 0);
        assert_eq!(find(&normalize("ASPNETCORE_URLS"), false), None);
        assert_eq!(find("limits", true), None);
    }

    #[test]
    fn names_and_flags_are_unique_and_every_setting_is_explained() {
        let mut seen = std::collections::HashSet::new();
        for definition in DEFINITIONS {
            assert!(seen.insert(normalize(definition.name)), "{}", definition.name);
            assert!(seen.insert(format!("--{}", definition.flag())), "{}", definition.name);
            for alias in definition.aliases {
                assert!(seen.insert(normalize(alias.name)), "{}", alias.name);
            }
            assert!(definition.help.ends_with('.'), "{}", definition.name);
            assert!(!definition.summary().is_empty(), "{}", definition.name);
        }
    }
}
