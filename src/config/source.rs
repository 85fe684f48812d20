//! The sources of settings: command line over environment over file.
//!
//! Must not judge a value.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::definition::Key;
use super::error::{Origin, SettingError};
use super::raw::Raw;
use super::{environment, file};

/// The environment variable that names the configuration file.
pub const CONFIG_VARIABLE: &str = "FEATBIT_AGENT_CONFIG";

/// A variable that Kubernetes sets for every container.
const KUBERNETES_VARIABLE: &str = "KUBERNETES_SERVICE_HOST";

/// How long Kubernetes still sends connections to a pod that is about to end.
const KUBERNETES_DELAY_SECONDS: &str = "5";

/// The sources of settings.
pub struct Inputs<'a> {
    /// Options of the command line, in order.
    pub command_line: Vec<(Key, String)>,
    /// The file that `--config` names.
    pub config_file: Option<PathBuf>,
    /// The environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Reads a file.
    pub read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
}

/// Reads all sources. A later one overrides the earlier ones.
pub(super) fn collect(inputs: &Inputs<'_>) -> Raw {
    let mut raw = Raw::default();
    if is_in_kubernetes(inputs) {
        let origin = Origin::Environment(KUBERNETES_VARIABLE.into());
        raw.set(Key::ShutdownDelaySeconds, KUBERNETES_DELAY_SECONDS, origin);
    }
    if let Some((path, origin)) = config_file(inputs) {
        match (inputs.read)(&path) {
            Ok(text) => file::collect(&mut raw, &path, &text),
            Err(error) => raw.cannot_read(SettingError::at(
                "--config",
                origin,
                format!("cannot read {}: {error}", path.display()),
                "Name a file that exists and that the agent's user may read",
            )),
        }
    }
    environment::collect(&mut raw, &inputs.environment);
    for (key, value) in &inputs.command_line {
        raw.set(*key, value, Origin::CommandLine(format!("--{}", key.definition().flag())));
    }
    raw
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
