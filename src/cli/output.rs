//! What commands print, and the exit code if that fails.

use std::io::{self, Write};

use super::exit;
use crate::config::RejectedSettings;

/// Prints all errors in the settings.
pub(super) fn refuse(rejected: &RejectedSettings) -> u8 {
    for warning in &rejected.warnings {
        complain(&format!("featbit-agent: warning: {warning}"));
    }
    complain(&format!("featbit-agent: {rejected}"));
    exit::SETTINGS
}

/// The output of a command on standard output.
#[derive(Debug, Default)]
pub(super) struct Answer {
    failed: Option<io::Error>,
}

impl Answer {
    /// Prints a line.
    pub fn say(&mut self, text: &str) {
        let mut out = io::stdout().lock();
        self.note(writeln!(out, "{text}").and_then(|()| out.flush()));
    }

    /// Keeps the first error of writing.
    pub fn note(&mut self, written: io::Result<()>) {
        self.failed = self.failed.take().or(written.err());
    }

    /// The exit code: `code`, or [`exit::OUTPUT`] if the command succeeded but its output was lost. A reader that closes the
    /// pipe early (`| head`) is not an error.
    pub fn end(self, code: u8) -> u8 {
        match self.failed {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                complain(&format!(
                    "featbit-agent: standard output cannot be written, so the output is lost: {error}"
                ));
                if code == exit::OK { exit::OUTPUT } else { code }
            }
            _ => code,
        }
    }
}

/// Prints a line on standard error.
pub(super) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
