//! Why the agent could not start.

use std::fmt;
use std::io;

use crate::config::{RejectedSettings, SettingError};
use crate::insights::EventsError;
use crate::persist::log::OpenError;

/// Why the agent could not start.
#[derive(Debug)]
pub enum StartError {
    /// A request to the operating system failed.
    System {
        /// What failed.
        what: String,
        /// The system's error.
        source: io::Error,
    },
    /// Files that the settings name cannot be used.
    Settings(Vec<SettingError>),
    /// The backup file cannot be used.
    BackupFile(OpenError),
    /// What usage events need cannot be used.
    Events(EventsError),
    /// Files of the Redis settings cannot be used.
    Redis(String),
}

impl StartError {
    pub(super) fn new(what: impl Into<String>, source: io::Error) -> Self {
        StartError::System { what: what.into(), source }
    }

    /// The exit code: `EX_OSERR` or `EX_CONFIG` of sysexits.h.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::System { .. } => 71,
            StartError::Settings(_) => 78,
            // What the file holds is not lost: it needs another setting or another process to end.
            StartError::BackupFile(_) | StartError::Redis(_) | StartError::Events(_) => 78,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::System { what, source } => write!(f, "{what}: {source}"),
            StartError::BackupFile(error) => write!(f, "BackupFile: {error}"),
            StartError::Redis(error) => f.write_str(error),
            StartError::Events(error) => error.fmt(f),
            StartError::Settings(errors) => {
                RejectedSettings { errors: errors.clone(), warnings: Vec::new() }.fmt(f)
            }
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::System { source, .. } => Some(source),
            StartError::Settings(_) | StartError::Redis(_) => None,
            StartError::BackupFile(error) => Some(error),
            StartError::Events(error) => Some(error),
        }
    }
}
