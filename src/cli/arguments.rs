//! Parses the command line with clap; options come from the table of settings.
//!
//! Must not check the values of settings: `config` does, and reports the errors of all sources together.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, value_parser};

use super::backup::Action;
use super::output::Answer;
use super::{events, exit, help};
use crate::config::{DEFINITIONS, Definition, Key, Kind};

/// A parsed command line.
#[derive(Debug)]
pub(super) struct Asked {
    pub command: Command,
    pub command_line: Vec<(Key, String)>,
    pub config_file: Option<PathBuf>,
}

/// A command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Run,
    Check,
    Health { url: Option<String> },
    Pull { out: PathBuf },
    Backup { file: PathBuf, action: Action },
    Events(events::Action),
}

/// Help, the version, or an error in the command line.
#[derive(Debug)]
pub(super) struct Message(clap::Error);

impl Message {
    /// Prints it on standard output or standard error and returns the exit code.
    pub fn show(&self) -> u8 {
        let printed = self.0.print();
        if self.0.use_stderr() {
            return exit::USAGE;
        }
        let mut answer = Answer::default();
        answer.note(printed.and_then(|()| io::stdout().flush()));
        answer.end(exit::OK)
    }
}

/// The arguments, each option with its value behind `=`. A value may be the name of a command, such as a folder `events`; clap
/// would take it for the command, since an option like `--forward-events` may stand alone before one.
fn with_values(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut joined = Vec::new();
    let mut arguments = arguments.into_iter().peekable();
    while let Some(mut argument) = arguments.next() {
        let is_end = argument == "--";
        let next =
            arguments.next_if(|next| takes_value(&argument) && !next.as_encoded_bytes().starts_with(b"-"));
        if let Some(next) = next {
            argument.push("=");
            argument.push(next);
        }
        joined.push(argument);
        if is_end {
            break;
        }
    }
    joined.extend(arguments);
    joined
}

/// Whether an argument is a setting's option that always has a value, which does not follow behind `=`.
fn takes_value(argument: &OsString) -> bool {
    let Some(name) = argument.to_str().and_then(|text| text.strip_prefix("--")) else { return false };
    let is_option = |definition: &Definition| definition.kind != Kind::Flag && definition.flag() == name;
    name == "config" || DEFINITIONS.iter().any(is_option)
}

/// Parses arguments. The first one is the program's name.
pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Asked, Message> {
    let matches = command().try_get_matches_from(with_values(arguments)).map_err(Message)?;
    // Options are global: the matches of the command include those before it.
    let (command, matches) = match matches.subcommand() {
        Some(("check", inner)) => (Command::Check, inner),
        Some(("health", inner)) => (Command::Health { url: inner.get_one("url").cloned() }, inner),
        Some(("pull", inner)) => {
            (Command::Pull { out: inner.get_one("out").cloned().unwrap_or_default() }, inner)
        }
        Some(("backup", inner)) => (backup_command(inner), inner),
        Some(("events", inner)) => {
            let (action, inner) = events::parsed(inner);
            (Command::Events(action), inner)
        }
        Some((_, inner)) => (Command::Run, inner),
        None => (Command::Run, &matches),
    };
    Ok(Asked { command, command_line: given(matches), config_file: matches.get_one("config").cloned() })
}

fn backup_command(matches: &ArgMatches) -> Command {
    let path =
        |matches: &ArgMatches, name: &str| matches.get_one::<PathBuf>(name).cloned().unwrap_or_default();
    let (action, matches) = match matches.subcommand() {
        Some(("export", inner)) => {
            let canonical = inner.get_flag("canonical");
            (Action::Export { out: path(inner, "out"), canonical }, inner)
        }
        Some(("verify", inner)) => (Action::Verify, inner),
        Some((_, inner)) => (Action::Show, inner),
        None => (Action::Show, matches),
    };
    Command::Backup { file: path(matches, "file"), action }
}

fn given(matches: &ArgMatches) -> Vec<(Key, String)> {
    let value = |definition: &Definition| {
        matches.get_one::<String>(definition.name).map(|value| (definition.key, value.clone()))
    };
    DEFINITIONS.iter().filter_map(value).collect()
}

/// The whole command line.
pub(super) fn command() -> clap::Command {
    clap::Command::new("featbit-agent")
        .version(env!("CARGO_PKG_VERSION"))
        .about(help::ABOUT)
        .long_about(help::LONG_ABOUT)
        .after_help(help::SHORT_END)
        .after_long_help(help::LONG_END)
        .max_term_width(118)
        .subcommand_precedence_over_arg(true)
        .args_override_self(true)
        .arg(config_file())
        .args(DEFINITIONS.iter().map(|definition| option(definition, definition.common)))
        .subcommand(clap::Command::new("run").about("Run the agent (the default)"))
        .subcommand(
            clap::Command::new("check")
                .about("Show the effective settings with secrets masked, and check the data file"),
        )
        .subcommand(
            clap::Command::new("health")
                .about("Ask a running agent whether it is ready; exit with 0 if it is, else with 1")
                .arg(health_url())
                .args(options(&[Key::Urls])),
        )
        .subcommand(
            clap::Command::new("pull")
                .about("Request a full sync from a FeatBit server once, and write the dump that offline mode reads")
                .arg(pull_out())
                .args(options(&PULL)),
        )
        .subcommand(backup())
        .subcommand(events::command(&|shown| options(shown).collect()))
}

fn backup() -> clap::Command {
    let file = || {
        Arg::new("file")
            .value_name("FILE")
            .required(true)
            .value_parser(value_parser!(PathBuf))
            .help("The backup file; an agent may be writing it")
    };
    clap::Command::new("backup")
        .about("Look into a backup file (BackupFile), also while an agent writes it")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            clap::Command::new("show")
                .about("Describe what it holds; no secret is shown")
                .arg(file())
                .args(options(&[])),
        )
        .subcommand(
            clap::Command::new("export")
                .about("Write its data as a dump that offline mode and the bootstrap call accept")
                .arg(file())
                .arg(
                    Arg::new("out")
                        .long("out")
                        .value_name("FILE")
                        .default_value("-")
                        .value_parser(value_parser!(PathBuf))
                        .help("Where to write the dump, which contains secrets; - is standard output"),
                )
                .arg(
                    Arg::new("canonical").long("canonical").action(ArgAction::SetTrue).help(
                        "In the form by which two agents are compared: sorted, without blanks, equal for equal data",
                    ),
                )
                .args(options(&[])),
        )
        .subcommand(
            clap::Command::new("verify")
                .about("Exit with 0 if the agent can use it, with 65 if it is damaged, with 66 if it cannot be read")
                .arg(file())
                .args(options(&[])),
        )
}

/// The settings that the short help of `pull` shows.
const PULL: [Key; 5] =
    [Key::ApiKey, Key::ApiKeyFile, Key::StreamingUri, Key::UpstreamCaFile, Key::UpstreamProxy];

/// All options, for a command whose short help shows `shown` instead of the common settings.
fn options(shown: &[Key]) -> impl Iterator<Item = Arg> {
    DEFINITIONS.iter().map(|definition| option(definition, shown.contains(&definition.key)))
}

fn config_file() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .global(true)
        .help("A settings file: TOML, or an appsettings.json [env: FEATBIT_AGENT_CONFIG]")
}

fn health_url() -> Arg {
    Arg::new("url")
        .long("url")
        .value_name("URL")
        .help("The agent to ask, such as http://localhost:6100; default: the first address of Urls, on this machine")
}

fn pull_out() -> Arg {
    Arg::new("out").long("out").value_name("FILE").required(true).value_parser(value_parser!(PathBuf)).help(
        "Where to write the dump, which only its owner can read, because it contains secrets; - is standard output",
    )
}

fn option(definition: &'static Definition, short_help: bool) -> Arg {
    let plain = |text: &str| text.replace('`', "");
    let notes = format!("[default: {}] [env: {}]", plain(&definition.default_text()), definition.name);
    let mut long = plain(definition.help);
    if !definition.needed.is_empty() {
        long.push_str(&format!(" Needed by {}.", definition.needed));
    }
    let takes = plain(&definition.kind.describe());
    let option = Arg::new(definition.name)
        .long(definition.flag())
        .value_name(definition.kind.placeholder())
        .action(ArgAction::Set)
        .global(true)
        .allow_negative_numbers(true)
        .hide_short_help(!short_help)
        .help_heading(definition.section.title())
        .help(format!("{} {notes}", plain(definition.summary())))
        .long_help(format!("{long}\n[takes: {takes}]\n{notes}"));
    match definition.kind {
        // `--data-file-stamp` alone means true.
        Kind::Flag => option.num_args(0..=1).default_missing_value("true"),
        _ => option,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Asked {
        parse(line.split_whitespace().map(OsString::from)).unwrap()
    }

    fn refused(line: &str) -> (u8, String) {
        let message = parse(line.split_whitespace().map(OsString::from)).unwrap_err();
        (if message.0.use_stderr() { exit::USAGE } else { exit::OK }, message.0.to_string())
    }

    #[test]
    fn clap_accepts_the_definition() {
        command().debug_assert();
    }

    /// What went wrong: `--events-directory events` showed the help of the command `events`.
    #[test]
    fn a_value_that_is_the_name_of_a_command_was_taken_for_the_command() {
        let asked = parsed("featbit-agent --events-directory events --data-file check --config pull");
        assert_eq!(asked.command, Command::Run);
        let asked = parsed("featbit-agent --events-directory events check");
        assert_eq!(asked.command, Command::Check);
        let asked = parsed("featbit-agent --forward-events check --events-directory run");
        assert_eq!(asked.command, Command::Check);
        assert!(refused("featbit-agent --events-directory").1.contains("a value is required"));
    }

    #[test]
    fn without_a_command_it_runs() {
        assert_eq!(parsed("featbit-agent").command, Command::Run);
        let asked = parsed("featbit-agent --mode offline --data-file=a.json --limits-verdict-wait 5s");
        assert_eq!(asked.command, Command::Run);
        assert_eq!(
            asked.command_line,
            [
                (Key::Mode, "offline".into()),
                (Key::DataFile, "a.json".into()),
                (Key::LimitsVerdictWait, "5s".into())
            ]
        );
        assert_eq!(parsed("featbit-agent run --mode offline").command, Command::Run);
    }

    #[test]
    fn options_stand_before_or_after_the_command() {
        for line in [
            "featbit-agent --mode offline --config a.toml check",
            "featbit-agent check --mode offline --config a.toml",
            "featbit-agent --mode offline check --config a.toml",
        ] {
            let asked = parsed(line);
            assert_eq!(asked.command, Command::Check, "{line}");
            assert_eq!(asked.command_line, [(Key::Mode, "offline".into())], "{line}");
            assert_eq!(asked.config_file, Some(PathBuf::from("a.toml")), "{line}");
        }
    }

    #[test]
    fn a_flag_alone_says_true_and_the_last_of_two_counts() {
        let asked = parsed("featbit-agent --data-file-stamp --mode auto --mode offline");
        assert_eq!(asked.command_line, [(Key::Mode, "offline".into()), (Key::DataFileStamp, "true".into())]);
        let asked = parsed("featbit-agent --forward-events false --data-file-stamp check");
        assert_eq!(asked.command, Command::Check);
        assert_eq!(
            asked.command_line,
            [(Key::DataFileStamp, "true".into()), (Key::ForwardEvents, "false".into())]
        );
    }

    #[test]
    fn a_negative_number_is_left_to_the_settings_check() {
        assert_eq!(parsed("featbit-agent --reactors -1").command_line, [(Key::Reactors, "-1".into())]);
    }

    #[test]
    fn an_unknown_option_is_a_usage_error_with_a_suggestion() {
        let (code, text) = refused("featbit-agent --limits-verdict-wiat 5s");
        assert_eq!(code, 64);
        assert!(text.contains("--limits-verdict-wait"), "{text}");
        assert_eq!(refused("featbit-agent chekc").0, 64);
        assert_eq!(refused("featbit-agent --mode").0, 64);
    }

    #[test]
    fn health_takes_a_url() {
        let asked = parsed("featbit-agent health --url http://agent:1");
        assert_eq!(asked.command, Command::Health { url: Some("http://agent:1".into()) });
    }

    #[test]
    fn pull_needs_to_know_where() {
        let asked = parsed("featbit-agent pull --out - --streaming-uri ws://els");
        assert_eq!(asked.command, Command::Pull { out: "-".into() });
        assert_eq!(asked.command_line, [(Key::StreamingUri, "ws://els".into())]);
        assert_eq!(refused("featbit-agent pull").0, 64);
    }

    #[test]
    fn long_help_names_every_setting_and_short_help_the_common_ones() {
        let (code, long) = refused("featbit-agent --help");
        assert_eq!(code, 0);
        let (_, short) = refused("featbit-agent -h");
        for definition in DEFINITIONS {
            let flag = format!("--{} ", definition.flag());
            let flag_or_optional =
                |text: &str| text.contains(&flag) || text.contains(&flag.replace(' ', " ["));
            assert!(flag_or_optional(&long), "{flag}");
            assert!(long.contains(&format!("[env: {}]", definition.name)), "{}", definition.name);
            assert_eq!(flag_or_optional(&short), definition.common, "{flag}");
        }
        for part in ["Examples:", "Exit codes:", "Signals:", "SIGTERM", "  78  "] {
            assert!(long.contains(part), "{part}");
        }
    }
    #[test]
    fn the_short_help_of_a_command_shows_what_that_command_needs() {
        let shown = |line: &str| {
            let (code, text) = refused(line);
            assert_eq!(code, 0, "{line}");
            let is_shown = |definition: &&Definition| text.contains(&format!("--{} ", definition.flag()));
            DEFINITIONS.iter().filter(is_shown).map(|definition| definition.key).collect::<Vec<_>>()
        };
        assert_eq!(shown("featbit-agent pull -h"), PULL);
        assert_eq!(shown("featbit-agent health -h"), [Key::Urls]);
        for key in [Key::Mode, Key::StreamingUri, Key::AgentId, Key::ApiKeyFile] {
            assert!(
                shown("featbit-agent -h").contains(&key) && shown("featbit-agent check -h").contains(&key)
            );
        }
        let asked = parsed("featbit-agent --api-key-file k pull --out - --streaming-uri ws://els");
        assert_eq!(asked.command, Command::Pull { out: "-".into() });
        assert_eq!(
            asked.command_line,
            [(Key::ApiKeyFile, "k".into()), (Key::StreamingUri, "ws://els".into())]
        );
    }
}
