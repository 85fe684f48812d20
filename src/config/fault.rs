//! What is wrong with the settings, said so that it can be put right.
//!
//! Must not hold a secret: the value of a secret setting never enters a fault.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody gave it.
    Default,
    /// A command line option, with its dashes.
    CommandLine(String),
    /// An environment variable, as it is spelt in the environment.
    Environment(String),
    /// A line of the configuration file, counted from 1.
    File(PathBuf, usize),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::CommandLine(option) => write!(f, "command line {option}"),
            Origin::Environment(variable) => write!(f, "environment variable {variable}"),
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
        }
    }
}

/// One thing that is wrong, or worth a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The setting's name, or what stood in its place.
    pub setting: String,
    /// Where it came from; `None` if it is missing.
    pub origin: Option<Origin>,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl Fault {
    /// A fault of a setting that was given.
    pub fn at(
        setting: impl Into<String>,
        origin: Origin,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { setting: setting.into(), origin: Some(origin), problem: problem.into(), remedy: remedy.into() }
    }

    /// A fault of a setting that was not given.
    pub fn missing(
        setting: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { setting: setting.into(), origin: None, problem: problem.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.setting)?;
        if let Some(origin) = &self.origin {
            write!(f, " ({origin})")?;
        }
        write!(f, ": {}.", self.problem)?;
        if !self.remedy.is_empty() {
            let end = if self.remedy.ends_with('?') { "" } else { "." };
            write!(f, " {}{end}", self.remedy)?;
        }
        Ok(())
    }
}

/// Settings that cannot be used: everything wrong with them, and the warnings met on the way.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// What is wrong; never empty.
    pub faults: Vec<Fault>,
    /// What does not stand in the way but should be known.
    pub warnings: Vec<Fault>,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.faults.len();
        let noun = if count == 1 { "error" } else { "errors" };
        write!(f, "{count} {noun} in the settings:")?;
        for fault in &self.faults {
            write!(f, "\n  {fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Rejected {}
