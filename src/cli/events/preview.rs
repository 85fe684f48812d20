//! `featbit-agent events preview [FILE]`: what the mode pseudonymize makes of events.
//!
//! Must not send anything, nor make the file of the key: it is a look ahead.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, value_parser};

use super::pretty::pretty;
use crate::cli::exit;
use crate::cli::output::{Answer, complain, refuse};
use crate::config::{self, Inputs, Key, PropertyRule, PseudonymKeySource};
use crate::insights::events::Events;
use crate::insights::items::{Split, split};
use crate::insights::known_flags::NoFlags;
use crate::insights::pseudonym::{LoadedKey, PseudonymKey, Pseudonymizer, load_existing, random_key};
use crate::model::environment_id::EnvironmentId;
use crate::wire::json;

/// Events of every kind of SDK.
const SAMPLE: &str = include_str!("sample.json");

/// The largest file, as the largest body that FeatBit's server takes.
const BYTES_MAX: u64 = 30_000_000;

/// The settings that the short help shows.
pub(super) const SETTINGS: [Key; 4] =
    [Key::EventsDirectory, Key::EventsPseudonymKey, Key::EventsPseudonymKeyFile, Key::EventsProperties];

/// What to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// Where the events are; `-` is standard input. `None` means the sample.
    file: Option<PathBuf>,
    /// The environment whose pseudonyms are shown.
    environment: Option<EnvironmentId>,
    /// Whether the output is one JSON document.
    json: bool,
}

impl Arguments {
    pub(super) fn of(matches: &ArgMatches) -> Self {
        Self {
            file: matches.get_one("file").cloned(),
            environment: matches.get_one("environment").copied(),
            json: matches.get_flag("json"),
        }
    }
}

/// How the command line describes it.
pub(super) fn command() -> clap::Command {
    clap::Command::new("preview")
        .about("Show what the mode pseudonymize makes of events, before anything is sent")
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("A body as SDKs post it; - is standard input; default: an event of every kind of SDK"),
        )
        .arg(
            Arg::new("environment")
                .long("environment")
                .value_name("ID")
                .value_parser(|text: &str| {
                    EnvironmentId::parse(text).ok_or("write the id of an environment, a GUID")
                })
                .help("The environment whose pseudonyms are shown; each has its own"),
        )
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("As one JSON document"))
}

/// An event before and after.
struct Shown {
    before: String,
    after: Option<String>,
}

/// Shows it.
pub(super) fn preview(inputs: &Inputs<'_>, arguments: &Arguments) -> u8 {
    let (source, rules) = match config::pseudonyms(inputs) {
        Ok(found) => found,
        Err(rejected) => return refuse(&rejected),
    };
    let PreviewKey { key, about, lasts } = match key(source.as_ref()) {
        Ok(found) => found,
        Err(problem) => {
            complain(&format!("featbit-agent: {problem}"));
            return exit::SETTINGS;
        }
    };
    let body = match body(arguments.file.as_deref()) {
        Ok(body) => body,
        Err(error) => {
            complain(&format!("featbit-agent: the events cannot be read: {error}"));
            return exit::NO_INPUT;
        }
    };
    // Evaluations of flags whose insights are disabled are not known here.
    let Ok(Split { events, counts }) = split(&as_array(body), &NoFlags) else {
        complain("featbit-agent: the events are not JSON. Give a body as SDKs post it, an array of events");
        return exit::DATA;
    };
    let environment = arguments.environment.unwrap_or(EnvironmentId::from_bytes([0; 16]));
    let shown = shown(&events, environment, &Pseudonymizer::new(key.clone(), rules.clone()));
    let mut answer = Answer::default();
    if arguments.json {
        answer.say(&as_json(&shown, &key, lasts, counts.invalid));
    } else {
        describe(&mut answer, &about, &rules, arguments.environment);
        for (index, one) in shown.iter().enumerate() {
            answer.say(&format!(
                "\nEvent {}, as the SDK sends it:\n{}",
                index + 1,
                pretty(&one.before, "  ")
            ));
            let after = one.after.as_deref().map_or("  (nothing)".to_owned(), |after| pretty(after, "  "));
            answer.say(&format!("As it leaves this machine:\n{after}"));
        }
        if counts.invalid > 0 {
            answer.say(&format!(
                "\n{} elements are no events with a user key: they never leave.",
                counts.invalid
            ));
        }
    }
    answer.end(exit::OK)
}

/// The key of the preview.
struct PreviewKey {
    key: PseudonymKey,
    /// Sentences about it.
    about: String,
    /// Whether it is the agent's.
    lasts: bool,
}

fn key(source: Option<&PseudonymKeySource>) -> Result<PreviewKey, String> {
    let once = |why: &str| {
        let key = random_key().map_err(|error| error.to_string())?;
        let about = format!("{why}, so these pseudonyms are made with a random key and never seen again.");
        Ok(PreviewKey { key, about, lasts: false })
    };
    match source {
        None => once("No Events__PseudonymKey is given"),
        Some(PseudonymKeySource::Text(text)) => {
            let key = PseudonymKey::from_text(text.expose()).map_err(|weak| weak.to_string())?;
            let about = format!("The pseudonym key has the id {}.", key.id());
            Ok(PreviewKey { key, about, lasts: true })
        }
        Some(PseudonymKeySource::File(path)) => match load_existing(path)? {
            None => once(&format!("{} does not exist yet", path.display())),
            Some(LoadedKey { key, warning, .. }) => {
                let warning = warning.map(|warning| format!("\nWarning: {warning}.")).unwrap_or_default();
                let about =
                    format!("The pseudonym key in {} has the id {}.{warning}", path.display(), key.id());
                Ok(PreviewKey { key, about, lasts: true })
            }
        },
    }
}

fn body(file: Option<&Path>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    match file {
        None => body.extend_from_slice(SAMPLE.as_bytes()),
        Some(path) if path == Path::new("-") => {
            io::stdin().lock().take(BYTES_MAX + 1).read_to_end(&mut body)?;
        }
        Some(path) => {
            File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut body)?;
        }
    }
    if body.len() as u64 > BYTES_MAX {
        return Err(io::Error::other(format!("they are longer than {BYTES_MAX} bytes")));
    }
    Ok(body)
}

/// One event alone is taken as a body with one event.
fn as_array(mut body: Vec<u8>) -> Vec<u8> {
    if body.trim_ascii_start().first() == Some(&b'{') {
        body.insert(0, b'[');
        body.push(b']');
    }
    body
}

fn shown(events: &Events, environment: EnvironmentId, pseudonymizer: &Pseudonymizer) -> Vec<Shown> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap_or_default();
    let each = events.iter().map(|event| Shown {
        before: text(event.to_vec()),
        // No flag is known here, so texts are searched that an agent with data knows to be flags.
        after: pseudonymizer.transform(environment, &NoFlags, event).map(text),
    });
    each.collect()
}

fn describe(
    answer: &mut Answer,
    about_key: &str,
    rules: &[PropertyRule],
    environment: Option<EnvironmentId>,
) {
    answer.say(about_key);
    match environment {
        Some(id) => answer.say(&format!("Pseudonyms of the environment {id}.")),
        None => answer.say("Each environment has other pseudonyms; choose one with --environment."),
    }
    if rules.is_empty() {
        return answer.say("No property of a user leaves this machine (Events__Properties).");
    }
    let names: Vec<_> = rules.iter().map(|rule| rule.name.as_str()).collect();
    answer
        .say(&format!("Properties that may leave this machine (Events__Properties): {}.", names.join(", ")));
}

/// All of it as one document.
fn as_json(shown: &[Shown], key: &PseudonymKey, lasts: bool, invalid: u64) -> String {
    let id = if lasts { json::string(&key.id()) } else { "null".to_owned() };
    let events: Vec<String> = shown
        .iter()
        .map(|one| {
            format!(r#"{{"before":{},"after":{}}}"#, one.before, one.after.as_deref().unwrap_or("null"))
        })
        .collect();
    format!(r#"{{"pseudonymKeyId":{id},"invalid":{invalid},"events":[{}]}}"#, events.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn nothing_of_the_user_in_the_sample_is_left() {
        let pseudonymizer = Pseudonymizer::new(random_key().unwrap(), Vec::new());
        let Split { events, counts } = split(SAMPLE.as_bytes(), &NoFlags).unwrap();
        assert_eq!((events.len(), counts.invalid), (4, 0));
        let shown = shown(&events, EnvironmentId::from_bytes([1; 16]), &pseudonymizer);
        for one in &shown {
            let after = one.after.as_deref().unwrap().to_lowercase();
            for hidden in ["ann@", "ann%40", "smith", "gold", "\"37", "example.com", "de-ch", "203.0."] {
                assert!(!after.contains(hidden), "{hidden} in {after}");
            }
        }
        let document = as_json(&shown, pseudonymizer.key(), false, 2);
        let document: Value = serde_json::from_str(&document).unwrap();
        assert_eq!(document["pseudonymKeyId"], Value::Null);
        assert_eq!(document["invalid"], 2);
        assert_eq!(document["events"].as_array().unwrap().len(), 4);
    }

    #[test]
    fn it_takes_a_file_or_none() {
        let of = |line: &str| {
            let matches = command().try_get_matches_from(line.split(' '));
            matches.map(|matches| Arguments::of(&matches))
        };
        assert_eq!(of("preview").unwrap(), Arguments::default());
        let id = "ad99d259-1f50-4ed9-a002-7c65e25487df";
        let all = Arguments { file: Some("-".into()), environment: EnvironmentId::parse(id), json: true };
        assert_eq!(of(&format!("preview - --json --environment {id}")).unwrap(), all);
        assert!(of("preview --environment shop:dev").is_err());
    }

    #[test]
    fn one_event_alone_is_a_body() {
        assert_eq!(as_array(b" {}".to_vec()), b"[ {}]");
        assert_eq!(as_array(b" [{}]".to_vec()), b" [{}]");
        assert_eq!(as_array(b"x".to_vec()), b"x");
    }

    #[test]
    fn a_preview_makes_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let found = key(Some(&PseudonymKeySource::File(path.clone()))).unwrap();
        assert!(!found.lasts && found.about.contains("does not exist yet") && !path.exists());
    }
}
