//! The command line: what the program is asked to do, and how it answers a shell.
//!
//! Must not serve or load anything itself: it turns arguments, environment and file into settings, starts the
//! logs and hands over to `app`. Nothing here writes a secret.
//!
//! `arguments` is made from the table of settings; each command is a file of its own.

mod arguments;
mod check;
mod dataset;
pub mod exit;
mod health;
mod help;
mod pull;

use std::io::{self, Write};
use std::process::ExitCode;

use crate::app;
use crate::config::{self, Inputs, LogFormat, RejectedSettings, files};
use crate::telemetry::log;
use arguments::{Asked, Command};

/// The whole program: reads the process's arguments and environment, does what they say, and returns its
/// [exit code](exit).
pub fn main() -> ExitCode {
    let asked = match arguments::parse(std::env::args_os()) {
        Ok(asked) => asked,
        Err(told) => return ExitCode::from(told.show()),
    };
    let Asked { command, command_line, config_file } = asked;
    let environment = std::env::vars_os().collect();
    let inputs = Inputs { command_line, config_file, environment, read: &files::read_small };
    ExitCode::from(match command {
        Command::Run => run(&inputs),
        Command::Check => check::check(&inputs),
        Command::Health { url } => health::health(&inputs, url),
        Command::Pull { out } => pull::pull(&inputs, &out),
    })
}

/// Runs the agent until it is told to stop.
fn run(inputs: &Inputs<'_>) -> u8 {
    let loaded = match config::load(inputs) {
        Ok(loaded) => loaded,
        Err(rejected) => return refuse(&rejected),
    };
    let format = match loaded.settings.log.format {
        LogFormat::Text => log::Format::text(),
        LogFormat::Json => log::Format::Json,
    };
    if let Err(error) = log::init(loaded.settings.log.level, format) {
        complain(&format!("featbit-agent: the thread that writes the log cannot be started: {error}"));
        return exit::SYSTEM;
    }
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let ended = app::run(loaded.settings);
    log::flush();
    match ended {
        Ok(()) => exit::OK,
        Err(error) => {
            complain(&format!("featbit-agent: {error}"));
            error.exit_code()
        }
    }
}

/// Tells everything that is wrong with the settings.
fn refuse(rejected: &RejectedSettings) -> u8 {
    for warning in &rejected.warnings {
        complain(&format!("featbit-agent: warning: {warning}"));
    }
    complain(&format!("featbit-agent: {rejected}"));
    exit::SETTINGS
}

/// What a command says on standard output.
#[derive(Debug, Default)]
struct Answer {
    failed: Option<io::Error>,
}

impl Answer {
    /// Writes a line.
    fn say(&mut self, text: &str) {
        let mut out = io::stdout().lock();
        self.note(writeln!(out, "{text}").and_then(|()| out.flush()));
    }

    /// Keeps the first fault of writing.
    fn note(&mut self, written: io::Result<()>) {
        self.failed = self.failed.take().or(written.err());
    }

    /// The exit code: `code`, unless that says that all is well and the answer was lost. A reader that went away
    /// (`| head`) wants no more, which is no fault.
    fn end(self, code: u8) -> u8 {
        match self.failed {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                complain(&format!(
                    "featbit-agent: standard output cannot be written, so the answer is lost: {error}"
                ));
                if code == exit::OK { exit::OUTPUT } else { code }
            }
            _ => code,
        }
    }
}

/// Writes to standard error.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
