//! The command line: parses arguments, runs a command, returns an exit code.
//!
//! Must not serve or load anything itself: it loads the settings, starts logging and calls `app`. Must not print a secret.
//!
//! `arguments` is generated from the table of settings; each command is a file of its own.

mod arguments;
mod backup;
mod check;
mod dataset;
mod events;
pub mod exit;
mod health;
mod help;
mod output;
mod pull;
mod write_dump;

use std::process::ExitCode;

use crate::app;
use crate::config::{self, Inputs, LogFormat, files};
use crate::telemetry::log;
use arguments::{Asked, Command};
use output::{complain, refuse};

/// Runs the program with the process's arguments and environment, and returns its [exit code](exit).
pub fn main() -> ExitCode {
    let asked = match arguments::parse(std::env::args_os()) {
        Ok(asked) => asked,
        Err(message) => return ExitCode::from(message.show()),
    };
    let Asked { command, command_line, config_file } = asked;
    let environment = std::env::vars_os().collect();
    let inputs = Inputs { command_line, config_file, environment, read: &files::read_small };
    ExitCode::from(match command {
        Command::Run => run(&inputs),
        Command::Check => check::check(&inputs),
        Command::Health { url } => health::health(&inputs, url),
        Command::Pull { out } => pull::pull(&inputs, &out),
        Command::Backup { file, action } => backup::backup(&file, &action),
        Command::Events(action) => events::events(&inputs, action),
    })
}

/// Runs the agent until a signal stops it.
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
        complain(&format!("featbit-agent: the log thread cannot be started: {error}"));
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
