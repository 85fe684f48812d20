//! What was given for each setting, before anybody looks at what it says, and what is wrong with the sources.
//!
//! Must not judge a value.

use std::collections::BTreeMap;

use super::definition::Key;
use super::fault::{Fault, Origin};
use super::table::DEFINITIONS;

/// A value and where it came from.
#[derive(Clone, Debug)]
pub struct Given {
    /// The text, without blanks around it.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// What was given for each setting, and what is wrong with the sources themselves.
#[derive(Debug)]
pub struct Raw {
    given: Vec<Option<Given>>,
    /// What .NET's section Kestrel says, beside what is a setting: by its normalized name, as it is written.
    pub(super) kestrel: BTreeMap<String, (String, Given)>,
    /// A source could not be read: what is missing may be in there.
    unread: bool,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// What should be known.
    pub warnings: Vec<Fault>,
}

impl Raw {
    /// A source is of no use.
    pub(super) fn cannot_read(&mut self, fault: Fault) {
        self.unread = true;
        self.faults.push(fault);
    }

    /// Something is missing: a fault, unless a source could not be read that may say it.
    pub(super) fn lack(&mut self, fault: Fault) {
        if !self.unread {
            self.faults.push(fault);
        }
    }

    /// Something that should be known is missing, unless a source could not be read that may say it.
    pub(super) fn warn_of_lack(&mut self, warning: Fault) {
        if !self.unread {
            self.warnings.push(warning);
        }
    }

    /// Gives `key` a value, over what an earlier source gave.
    pub(super) fn set(&mut self, key: Key, value: &str, origin: Origin) {
        self.given[key as usize] = Some(Given { value: value.trim().to_string(), origin });
    }

    /// Keeps what the section Kestrel says of endpoints and certificates, over what an earlier source said.
    pub(super) fn set_kestrel(&mut self, name: &str, normalized: &str, value: &str, origin: Origin) {
        let given = Given { value: value.trim().to_string(), origin };
        self.kestrel.insert(normalized.to_string(), (name.to_string(), given));
    }

    /// What was given for `key`, if it is not blank: a blank value hides what an earlier source gave, and means
    /// the default.
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
            kestrel: BTreeMap::new(),
            unread: false,
            faults: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// Whether a normalized name is one of those in .NET's section Kestrel that the agent reads.
pub(super) fn is_kestrel(normalized: &str) -> bool {
    normalized.starts_with("kestrel:endpoints:") || normalized.starts_with("kestrel:certificates:default:")
}
