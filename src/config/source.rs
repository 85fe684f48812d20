//! What was given, before anybody looks at what it says: command line over environment over file.
//!
//! Must not judge a value; names that nobody knows are found here, since only the sources see them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::definition::Key;
use super::fault::{Fault, Origin};
use super::table::DEFINITIONS;
use super::{environment, file};

/// The environment variable that names the configuration file.
pub const CONFIG_VARIABLE: &str = "FEATBIT_AGENT_CONFIG";

/// Set for every container in Kubernetes.
const KUBERNETES_VARIABLE: &str = "KUBERNETES_SERVICE_HOST";

/// How long connections go on coming there to what is about to end.
const KUBERNETES_DELAY_SECONDS: &str = "5";

/// Where settings are taken from.
pub struct Inputs<'a> {
    /// Options of the command line, in order.
    pub command_line: Vec<(Key, String)>,
    /// The file that the command line names.
    pub config_file: Option<PathBuf>,
    /// The environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Reads a file.
    pub read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
}

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
    /// Collects every source, each one over the one before it.
    pub fn collect(inputs: &Inputs<'_>) -> Self {
        let mut raw = Raw {
            given: vec![None; DEFINITIONS.len()],
            kestrel: BTreeMap::new(),
            unread: false,
            faults: Vec::new(),
            warnings: Vec::new(),
        };
        if is_in_kubernetes(inputs) {
            let origin = Origin::Environment(KUBERNETES_VARIABLE.into());
            raw.set(Key::ShutdownDelaySeconds, KUBERNETES_DELAY_SECONDS, origin);
        }
        if let Some((path, origin)) = config_file(inputs) {
            match (inputs.read)(&path) {
                Ok(text) => file::collect(&mut raw, &path, &text),
                Err(error) => raw.cannot_read(Fault::at(
                    "--config",
                    origin,
                    format!("cannot read {}: {error}", path.display()),
                    "Name a file that exists and that this user may read",
                )),
            }
        }
        environment::collect(&mut raw, &inputs.environment);
        for (key, value) in &inputs.command_line {
            raw.set(*key, value, Origin::CommandLine(format!("--{}", key.definition().flag())));
        }
        raw
    }

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

fn is_in_kubernetes(inputs: &Inputs<'_>) -> bool {
    inputs.environment.iter().any(|(name, value)| name == KUBERNETES_VARIABLE && !value.is_empty())
}

fn config_file(inputs: &Inputs<'_>) -> Option<(PathBuf, Origin)> {
    if let Some(path) = &inputs.config_file {
        return Some((path.clone(), Origin::CommandLine("--config".into())));
    }
    let matching = |(name, value): &&(OsString, OsString)| {
        !value.is_empty() && name.to_str().is_some_and(|name| name.eq_ignore_ascii_case(CONFIG_VARIABLE))
    };
    let (name, value) = inputs.environment.iter().find(matching)?;
    Some((PathBuf::from(value), Origin::Environment(name.to_string_lossy().into_owned())))
}

/// Whether a normalized name is one of those in .NET's section Kestrel that the agent reads.
pub(super) fn is_kestrel(normalized: &str) -> bool {
    normalized.starts_with("kestrel:endpoints:") || normalized.starts_with("kestrel:certificates:default:")
}
