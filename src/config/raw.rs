//! The values that the sources give, before they are parsed, and the errors of the sources themselves.
//!
//! Must not judge a value.

use std::collections::BTreeMap;

use super::definition::Key;
use super::error::{Origin, SettingError};
use super::table::DEFINITIONS;

/// A value and its source.
#[derive(Clone, Debug)]
pub struct Given {
    /// The text, without white space around it.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// The value that was given for each setting, and the errors of the sources themselves.
#[derive(Debug)]
pub struct Raw {
    given: Vec<Option<Given>>,
    /// The values whose names contain a name or number of the user's: those of .NET's section Kestrel, and
    /// `Events__Overrides__0__Mode`. The name as written and the value, by normalized name.
    pub(super) nested: BTreeMap<String, (String, Given)>,
    /// A source could not be read, so that a setting which seems to be missing may be in there.
    unread: bool,
    /// The errors so far.
    pub errors: Vec<SettingError>,
    /// The warnings so far.
    pub warnings: Vec<SettingError>,
}

impl Raw {
    /// A source could not be read.
    pub(super) fn cannot_read(&mut self, error: SettingError) {
        self.unread = true;
        self.errors.push(error);
    }

    /// A setting is missing: an error, unless it may be in a source that could not be read.
    pub(super) fn push_missing(&mut self, error: SettingError) {
        if !self.unread {
            self.errors.push(error);
        }
    }

    /// A setting is missing: a warning, unless it may be in a source that could not be read.
    pub(super) fn warn_missing(&mut self, warning: SettingError) {
        if !self.unread {
            self.warnings.push(warning);
        }
    }

    /// Sets the value of `key`. It overrides that of an earlier source.
    pub(super) fn set(&mut self, key: Key, value: &str, origin: Origin) {
        self.given[key as usize] = Some(Given { value: value.trim().to_string(), origin });
    }

    /// Sets a value whose name contains one of the user's. It overrides that of an earlier source.
    pub(super) fn set_nested(&mut self, name: &str, normalized: &str, value: &str, origin: Origin) {
        let given = Given { value: value.trim().to_string(), origin };
        self.nested.insert(normalized.to_string(), (name.to_string(), given));
    }

    /// The value of `key`, if it was given and is not blank. A blank value overrides an earlier source and means the
    /// default.
    pub fn given(&self, key: Key) -> Option<&Given> {
        self.given[key as usize].as_ref().filter(|given| !given.value.is_empty())
    }

    /// Where the value of `key` came from.
    pub fn origin(&self, key: Key) -> Origin {
        self.given(key).map_or(Origin::Default, |given| given.origin.clone())
    }
}

impl Default for Raw {
    /// Nothing was given.
    fn default() -> Self {
        Self {
            given: vec![None; DEFINITIONS.len()],
            nested: BTreeMap::new(),
            unread: false,
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// Whether the agent reads the value with this normalized name, although the table has none of that name.
pub(super) fn is_nested(normalized: &str) -> bool {
    normalized.starts_with("kestrel:endpoints:")
        || normalized.starts_with("kestrel:certificates:default:")
        || override_part(normalized).is_some()
}

/// The index and the part (`environment` or `mode`) that `events:overrides:0:mode` names.
pub(super) fn override_part(normalized: &str) -> Option<(u32, &str)> {
    let (index, part) = normalized.strip_prefix("events:overrides:")?.split_once(':')?;
    Some((index.parse().ok()?, part)).filter(|(_, part)| ["environment", "mode"].contains(part))
}
