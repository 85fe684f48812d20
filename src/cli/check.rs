//! `featbit-agent check`: shows the effective settings and what leaves the machine, and checks the certificate files, the folder
//! of usage events and the data file that they name.
//!
//! Must not start anything, nor print a secret.

use std::sync::Arc;

use super::dataset::{self, Report};
use super::exit;
use super::output::{Answer, complain, refuse};
use crate::app::{regex_limits, wall_ms};
use crate::client::{Dialer, ProxyEnvironment};
use crate::config::{self, Inputs, Key, RejectedSettings, SettingError, files};
use crate::insights::preflight;
use crate::persist::log::check_place;
use crate::tls::certificates::Certificates;

/// Prints the settings and the result of checking the files that they name.
pub(super) fn check(inputs: &Inputs<'_>) -> u8 {
    let mut answer = Answer::default();
    let code = judge(inputs, &mut answer);
    answer.end(code)
}

fn judge(inputs: &Inputs<'_>, answer: &mut Answer) -> u8 {
    let loaded = match config::load(inputs) {
        Ok(loaded) => loaded,
        Err(rejected) => return refuse(&rejected),
    };
    let settings = &loaded.settings;
    // Many programs use the proxy variables: errors in them do not matter to an agent that opens no connections.
    let connects = settings.mode.upstream().is_some() || settings.events.sends();
    let proxies = if connects {
        ProxyEnvironment::from_variables(inputs.environment.iter().cloned())
    } else {
        ProxyEnvironment::default()
    };
    let dialer = Dialer::new(settings.dial.clone(), &proxies);
    let client_certificate = dialer.as_ref().ok().and_then(|dialer| dialer.warning(wall_ms() / 1000));
    let mut errors = dialer.err().unwrap_or_default();
    let certificates = settings.tls.as_ref().map(|tls| Certificates::load(tls, Arc::default())).transpose();
    let certificates = certificates.unwrap_or_else(|more| {
        errors.extend(more);
        None
    });
    if let Some(error) = settings.backup.file.as_deref().and_then(|file| check_place(file).err()) {
        errors.push(SettingError::missing(Key::BackupFile.definition().name, error.to_string(), ""));
    }
    let events = preflight(&settings.events);
    errors.extend(
        events.errors.into_iter().map(|error| SettingError::missing(error.setting, error.problem, "")),
    );
    answer.say("Settings:");
    for line in settings.describe() {
        answer.say(&format!("  {line}"));
    }
    for warning in &loaded.warnings {
        answer.say(&format!("Warning: {warning}"));
    }
    for warning in &events.warnings {
        answer.say(&format!("Warning: {warning}"));
    }
    if !errors.is_empty() {
        return refuse(&RejectedSettings { errors, warnings: Vec::new() });
    }
    let addresses: Vec<String> = settings.listen.iter().map(ToString::to_string).collect();
    answer.say(&format!("Addresses: {}", addresses.join(", ")));
    for line in certificates.iter().flat_map(|certificates| certificates.describe(wall_ms() / 1000)) {
        answer.say(&line);
    }
    for (index, line) in events.lines.iter().enumerate() {
        answer.say(&format!("{}{line}", if index == 0 { "" } else { "  " }));
    }
    if let Some(warning) = client_certificate {
        answer.say(&format!("Warning: {warning}"));
    }
    let Some(file) = &settings.data_file else {
        return exit::OK;
    };
    let limit = Key::LimitsBootstrapBytes.definition().name;
    let bytes = match files::read(&file.path, settings.limits.bootstrap_bytes, limit) {
        Ok(bytes) => bytes,
        Err(problem) => {
            complain(&format!("featbit-agent: the data file {}: {problem}", file.path.display()));
            return exit::DATA;
        }
    };
    answer.say(&format!("Data file {} ({} bytes):", file.path.display(), bytes.len()));
    match dataset::report(bytes, wall_ms(), regex_limits(&settings.limits)) {
        Report::Usable(lines) => {
            lines.iter().for_each(|line| answer.say(&format!("  {line}")));
            exit::OK
        }
        Report::Faulty(lines) => {
            lines.iter().for_each(|line| complain(&format!("  {line}")));
            complain("featbit-agent: the data file cannot be served.");
            exit::DATA
        }
    }
}
