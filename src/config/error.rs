//! Errors in the settings: what is wrong, where, and what to do.
//!
//! Must not contain a secret: the value of a secret setting never becomes part of an error.

use std::fmt;
use std::path::PathBuf;

/// The source of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was not given.
    Default,
    /// A command line option, with its dashes.
    CommandLine(String),
    /// An environment variable, spelt as in the environment.
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

/// One error or warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    /// The setting's name, or the unknown name that was given.
    pub setting: String,
    /// The source of its value; `None` if it was not given.
    pub origin: Option<Origin>,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl SettingError {
    /// An error in a setting that was given.
    pub fn at(
        setting: impl Into<String>,
        origin: Origin,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { setting: setting.into(), origin: Some(origin), problem: problem.into(), remedy: remedy.into() }
    }

    /// An error in a setting that was not given, or whose source does not matter.
    pub fn missing(
        setting: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { setting: setting.into(), origin: None, problem: problem.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for SettingError {
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

/// Settings that cannot be used: all their errors, and the warnings.
#[derive(Clone, Debug)]
pub struct RejectedSettings {
    /// The errors; never empty.
    pub errors: Vec<SettingError>,
    /// The warnings.
    pub warnings: Vec<SettingError>,
}

impl fmt::Display for RejectedSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.errors.len();
        let noun = if count == 1 { "error" } else { "errors" };
        write!(f, "{count} {noun} in the settings:")?;
        for error in &self.errors {
            write!(f, "\n  {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for RejectedSettings {}
