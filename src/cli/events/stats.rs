//! `featbit-agent events stats`: adds up the local files, also while an agent writes them.
//!
//! Must not change a file, nor print a user's key.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use serde_json::{Value, json};

use super::table::{Side, lines, shown};
use super::time;
use crate::app::wall_ms;
use crate::cli::exit;
use crate::cli::output::{Answer, complain, refuse};
use crate::config::{self, Inputs};
use crate::insights::local::stats::{EnvironmentStats, Query, Stats, UserCount, collect};
use crate::model::environment_id::EnvironmentId;
use crate::model::timestamp::format_iso8601;

/// Which events, and how to show what they add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    directory: Option<PathBuf>,
    environment: Option<String>,
    since: Option<String>,
    until: Option<String>,
    json: bool,
}

impl Arguments {
    pub(super) fn of(matches: &ArgMatches) -> Self {
        let text = |name: &str| matches.get_one::<String>(name).cloned();
        Self {
            directory: matches.get_one::<PathBuf>("directory").cloned(),
            environment: text("environment"),
            since: text("since"),
            until: text("until"),
            json: matches.get_flag("json"),
        }
    }
}

pub(super) fn command() -> clap::Command {
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    clap::Command::new("stats")
        .about("Add up evaluations, metrics and users of the local files (Events__Mode=local)")
        .arg(
            option("directory", "DIR", "The agent's folder of usage events; default: Events__Directory")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(option("environment", "NAME", "Only this environment: project:environment, or its id"))
        .arg(option("since", "WHEN", "Only events from then on: 2026-11-30, 2026-11-30T12:00Z, 7d, 24h, 30m"))
        .arg(option("until", "WHEN", "Only events before then; a date includes its day"))
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON for programs"))
}

/// Adds up and prints. Returns the exit code.
pub(super) fn stats(inputs: &Inputs<'_>, arguments: &Arguments) -> u8 {
    let now_ms = wall_ms();
    let moment = |text: &Option<String>, name: &str, parse: fn(&str, i64) -> Option<i64>| {
        let Some(text) = text else { return Ok(None) };
        parse(text, now_ms)
            .map(Some)
            .ok_or_else(|| complain(&format!("featbit-agent: --{name} {text:?}: write {}", time::FORMS)))
    };
    let (Ok(since_ms), Ok(until_ms)) =
        (moment(&arguments.since, "since", time::since), moment(&arguments.until, "until", time::until))
    else {
        return exit::USAGE;
    };
    let directory = match &arguments.directory {
        Some(directory) => Some(directory.clone()),
        None => match config::events_directory(inputs) {
            Ok(directory) => directory,
            Err(rejected) => return refuse(&rejected),
        },
    };
    let Some(directory) = directory else {
        complain("featbit-agent: which folder? Say it with --directory, or set Events__Directory");
        return exit::USAGE;
    };
    let query = Query { environment: arguments.environment.clone(), since_ms, until_ms };
    let stats = match collect(&directory, &query) {
        Ok(Some(stats)) => stats,
        Ok(None) => {
            let name = arguments.environment.as_deref().unwrap_or_default();
            complain(&format!(
                "featbit-agent: there is no environment {name:?} in {}. Name it as project:environment, or by its id",
                directory.join("local").display()
            ));
            return exit::NO_INPUT;
        }
        Err(error) => {
            complain(&format!(
                "featbit-agent: {}: {error}. Local files are there once an agent has kept events with Events__Mode=local",
                directory.join("local").display()
            ));
            return exit::NO_INPUT;
        }
    };
    show(&directory, &query, &stats, arguments.json)
}

fn show(directory: &Path, query: &Query, stats: &Stats, json: bool) -> u8 {
    for (path, error) in &stats.unreadable_files {
        complain(&format!(
            "featbit-agent: {}: {error}. What could be read before that counts",
            path.display()
        ));
    }
    if stats.unreadable_lines > 0 {
        complain(&format!(
            "featbit-agent: {} that cannot be read do not count",
            count(stats.unreadable_lines, "line")
        ));
    }
    let mut answer = Answer::default();
    if json {
        answer.say(&format!("{:#}", as_json(query, stats)));
    } else {
        as_table(directory, query, stats).iter().for_each(|line| answer.say(line));
    }
    answer.end(if stats.unreadable_files.is_empty() { exit::OK } else { exit::DATA })
}

fn as_json(query: &Query, stats: &Stats) -> Value {
    let time = |ms: Option<i64>| ms.map(format_iso8601);
    let with_users = |mut object: Value, users: UserCount| {
        object["users"] = json!(users.users);
        object["usersEstimated"] = json!(users.is_estimate);
        object
    };
    let environment = |(id, environment): (&EnvironmentId, &EnvironmentStats)| {
        let flags = environment.flags.iter().map(|(key, flag)| {
            let variations = flag.variations.iter().flat_map(|(id, values)| {
                values.iter().map(move |(value, one)| {
                    let object = json!({"id": id, "value": value, "evaluations": one.evaluations});
                    with_users(object, one.users.count())
                })
            });
            let variations: Vec<Value> = variations.collect();
            let object = json!({"flag": key, "evaluations": flag.evaluations, "variations": variations});
            with_users(object, flag.users.count())
        });
        let metrics = environment.metrics.iter().map(|(name, metric)| {
            let object = json!({"event": name, "count": metric.count, "sum": metric.sum});
            with_users(object, metric.users.count())
        });
        let object = json!({
            "id": id.to_string(),
            "environment": environment.label,
            "events": environment.events,
            "flags": flags.collect::<Vec<_>>(),
            "metrics": metrics.collect::<Vec<_>>(),
        });
        with_users(object, environment.users.count())
    };
    json!({
        "since": time(query.since_ms),
        "until": time(query.until_ms),
        "events": stats.events,
        "days": stats.days,
        "files": stats.files,
        "unreadableLines": stats.unreadable_lines,
        "unreadableFiles": stats.unreadable_files.len(),
        "environments": stats.environments.iter().map(environment).collect::<Vec<_>>(),
    })
}

fn as_table(directory: &Path, query: &Query, stats: &Stats) -> Vec<String> {
    let since = query.since_ms.map_or(String::new(), |ms| format!(" from {}", format_iso8601(ms)));
    let until = query.until_ms.map_or(String::new(), |ms| format!(" before {}", format_iso8601(ms)));
    let mut text = vec![format!(
        "{} of {}{since}{until}, from {} in {}",
        count(stats.events, "event"),
        count(stats.days, "day"),
        count(stats.files, "file"),
        directory.join("local").display(),
    )];
    let mut environments: Vec<_> = stats.environments.iter().collect();
    environments.sort_by(|(_, one), (_, other)| one.label.cmp(&other.label));
    for (id, environment) in environments {
        text.push(String::new());
        text.push(format!(
            "{} ({id}): {} of {}{}",
            shown(&environment.label),
            count(environment.events, "event"),
            if environment.users.count().is_estimate { "~" } else { "" },
            count(environment.users.count().users, "user"),
        ));
        text.extend(flag_lines(environment));
        text.extend(metric_lines(environment));
    }
    if has_estimates(stats) {
        text.push(String::new());
        text.push("~: an estimate, which is rarely more than 2 % off".to_owned());
    }
    text
}

/// The flags by key, each with its results, the most frequent first.
fn flag_lines(environment: &EnvironmentStats) -> Vec<String> {
    if environment.flags.is_empty() {
        return Vec::new();
    }
    let row = |cells: [&str; 5]| cells.map(str::to_owned).to_vec();
    let mut rows = vec![row(["FLAG", "VALUE", "VARIATION", "EVALUATIONS", "USERS"])];
    for (key, flag) in &environment.flags {
        rows.push(row([key, "", "", &grouped(flag.evaluations), &users(flag.users.count())]));
        let results = flag.variations.iter().flat_map(|(id, values)| values.iter().map(move |one| (id, one)));
        let mut results: Vec<_> = results.collect();
        results.sort_by_key(|(_, (_, one))| std::cmp::Reverse(one.evaluations));
        for (id, (value, one)) in results {
            let id = if id.is_empty() { "-" } else { id };
            rows.push(row(["", value, id, &grouped(one.evaluations), &users(one.users.count())]));
        }
    }
    lines(&[Side::Left, Side::Left, Side::Left, Side::Right, Side::Right], &rows, 2)
}

fn metric_lines(environment: &EnvironmentStats) -> Vec<String> {
    if environment.metrics.is_empty() {
        return Vec::new();
    }
    let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
    let mut rows = vec![row(["METRIC", "COUNT", "SUM", "USERS"])];
    for (name, metric) in &environment.metrics {
        rows.push(row([name, &grouped(metric.count), &metric.sum.to_string(), &users(metric.users.count())]));
    }
    lines(&[Side::Left, Side::Right, Side::Right, Side::Right], &rows, 2)
}

fn has_estimates(stats: &Stats) -> bool {
    let is_estimate = |users: UserCount| users.is_estimate;
    stats.environments.values().any(|environment| {
        let flags = environment.flags.values().any(|flag| {
            is_estimate(flag.users.count())
                || flag
                    .variations
                    .values()
                    .flat_map(|one| one.values())
                    .any(|one| is_estimate(one.users.count()))
        });
        flags
            || is_estimate(environment.users.count())
            || environment.metrics.values().any(|metric| is_estimate(metric.users.count()))
    })
}

fn users(count: UserCount) -> String {
    format!("{}{}", if count.is_estimate { "~" } else { "" }, grouped(count.users))
}

/// `1,234 events`, `1 event`.
fn count(number: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// A number with commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(count(1, "day"), "1 day");
        assert_eq!(users(UserCount { users: 1200, is_estimate: true }), "~1,200");
    }
}
