//! Parses the common kinds of values and collects the errors.
//!
//! Must not know what a setting is for, nor show the value of a secret.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::config::definition::{Key, Kind};
use crate::config::error::SettingError;
use crate::config::raw::Raw;
use crate::config::redis::connection_string;
use crate::config::uri::{AbsoluteUri, masked_to_the_last_at, masked_uri, parse_uri};
use crate::config::value::{self, InvalidValue};

/// The given values, while they are checked.
pub(super) struct Check<'a> {
    pub(super) raw: Raw,
    pub(super) read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
}

impl Check<'_> {
    /// Whether a value was given, valid or not: an invalid value is not reported as missing as well.
    pub(super) fn is_given(&self, key: Key) -> bool {
        self.raw.given(key).is_some()
    }

    pub(super) fn text(&self, key: Key) -> Option<String> {
        self.raw.given(key).map(|given| given.value.clone())
    }

    pub(super) fn flag(&mut self, key: Key) -> bool {
        self.parsed(key, value::flag).unwrap_or_default()
    }

    pub(super) fn count(&mut self, key: Key) -> usize {
        let Kind::Count { min, max } = key.definition().kind else { return 0 };
        let count = self.parsed(key, |text| value::count(text, min, max));
        count.and_then(|count| usize::try_from(count).ok()).unwrap_or_default()
    }

    pub(super) fn bytes(&mut self, key: Key) -> u64 {
        let Kind::Bytes { min, max } = key.definition().kind else { return 0 };
        self.parsed(key, |text| value::bytes(text, min, max)).unwrap_or_default()
    }

    pub(super) fn duration(&mut self, key: Key) -> Duration {
        let Kind::Duration { unit, min_ms, zero } = key.definition().kind else { return Duration::ZERO };
        self.parsed(key, |text| value::duration(text, unit, min_ms, zero)).unwrap_or_default()
    }

    pub(super) fn uri(&mut self, key: Key) -> Option<AbsoluteUri> {
        self.raw.given(key)?;
        let Kind::Uri(schemes) = key.definition().kind else { return None };
        self.parsed(key, |text| parse_uri(text, schemes))
    }

    /// Parses the value of `key`, or its default. `None` means that an error was reported.
    pub(super) fn parsed<T>(
        &mut self,
        key: Key,
        parse: impl FnOnce(&str) -> Result<T, InvalidValue>,
    ) -> Option<T> {
        let definition = key.definition();
        let text = self.raw.given(key).map_or(definition.default, |given| given.value.as_str());
        match parse(text) {
            Ok(value) => Some(value),
            Err(invalid) => {
                let shown = shown(definition.kind, text);
                let problem = format!("{shown:?} {}", invalid.problem);
                let origin = self.raw.origin(key);
                self.raw.errors.push(SettingError::at(definition.name, origin, problem, invalid.remedy));
                None
            }
        }
    }

    /// The value of `key`, or `None` after reporting the error, without quoting the value.
    pub(super) fn accepted<T>(&mut self, key: Key, fits: Result<T, InvalidValue>) -> Option<T> {
        fits.map_err(|InvalidValue { problem, remedy }| {
            let (name, origin) = (key.definition().name, self.raw.origin(key));
            self.raw.errors.push(SettingError::at(name, origin, problem, remedy));
        })
        .ok()
    }
}

/// `text` as it may be shown: passwords masked, and cut to one line.
pub(super) fn shown(kind: Kind, text: &str) -> String {
    let text = match kind {
        Kind::Secret => "****".to_string(),
        Kind::Uri(_) => masked_uri(text),
        Kind::Proxy => masked_to_the_last_at(text),
        Kind::Redis => connection_string::masked(text),
        Kind::Urls => text.split(';').map(masked_uri).collect::<Vec<_>>().join(";"),
        _ => text.to_string(),
    };
    if text.chars().count() <= 120 {
        return text;
    }
    text.chars().take(120).chain(['…']).collect()
}
