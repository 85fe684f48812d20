//! `featbit-agent events …`: commands about usage events.
//!
//! Must not send or change an event.

mod pretty;
mod preview;
mod stats;
mod table;
mod time;

use clap::{Arg, ArgMatches};

use crate::config::{Inputs, Key};

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Add up what local files hold.
    Stats(stats::Arguments),
    /// Show what the mode pseudonymize makes of a sample.
    Preview(preview::Arguments),
}

/// How the command line describes these commands. `options` are those that every command has, for one whose short help shows
/// these settings.
pub(super) fn command(options: &dyn Fn(&[Key]) -> Vec<Arg>) -> clap::Command {
    clap::Command::new("events")
        .about("Commands about usage events (Events__Mode)")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(stats::command().args(options(&[])))
        .subcommand(preview::command().args(options(&preview::SETTINGS)))
}

/// The command that was given, and the matches that hold its options.
pub(super) fn parsed(matches: &ArgMatches) -> (Action, &ArgMatches) {
    match matches.subcommand() {
        Some(("preview", inner)) => (Action::Preview(preview::Arguments::of(inner)), inner),
        Some((_, inner)) => (Action::Stats(stats::Arguments::of(inner)), inner),
        None => (Action::Stats(stats::Arguments::default()), matches),
    }
}

/// Does it. Returns the exit code.
pub(super) fn events(inputs: &Inputs<'_>, action: Action) -> u8 {
    match action {
        Action::Stats(arguments) => stats::stats(inputs, &arguments),
        Action::Preview(arguments) => preview::preview(inputs, &arguments),
    }
}
