//! What the events of local files add up to.
//!
//! Must not fail on a line that it cannot read: it is counted. Must not keep a user's key.
//!
//! | Where | What |
//! |---|---|
//! | `read` | the files and their lines |
//! | `line` | what a line says |
//! | `users` | counts different users |

mod line;
mod read;
mod users;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

pub use line::{Evaluation, Line, Metric};
pub use users::UserCount;
use users::{Budget, Users};

use crate::insights::local::names::{Day, folder};
use crate::model::environment_id::EnvironmentId;

/// Which events count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Only those of this environment: its id, or its keys as `project:environment`.
    pub environment: Option<String>,
    /// Only those that came at this moment or later, in Unix milliseconds.
    pub since_ms: Option<i64>,
    /// Only those that came before this moment.
    pub until_ms: Option<i64>,
}

/// What the events add up to.
#[derive(Debug, Default)]
pub struct Stats {
    /// By environment.
    pub environments: BTreeMap<EnvironmentId, EnvironmentStats>,
    /// Events that count.
    pub events: u64,
    /// Days of which events count.
    pub days: u64,
    /// Files that were read.
    pub files: u64,
    /// Lines that could not be read.
    pub unreadable_lines: u64,
    /// Files that could not be read to their end, and why.
    pub unreadable_files: Vec<(PathBuf, io::Error)>,
}

/// What the events of one environment add up to.
#[derive(Debug, Default)]
pub struct EnvironmentStats {
    /// Its keys as `project:environment`, as the newest event says; its id if it was not known.
    pub label: String,
    label_ms: i64,
    /// Events that count.
    pub events: u64,
    /// Different users.
    pub users: Users,
    /// By key of the flag.
    pub flags: BTreeMap<String, FlagStats>,
    /// By name of the event.
    pub metrics: BTreeMap<String, MetricStats>,
}

/// Evaluations of a flag.
#[derive(Debug, Default)]
pub struct FlagStats {
    /// How many.
    pub evaluations: u64,
    /// Different users.
    pub users: Users,
    /// By id and value of the variation. Both are empty where the SDK sent no variation.
    pub variations: BTreeMap<String, BTreeMap<String, VariationStats>>,
}

/// Evaluations with one result.
#[derive(Debug, Default)]
pub struct VariationStats {
    /// How many.
    pub evaluations: u64,
    /// Different users.
    pub users: Users,
}

/// Custom metrics of one name.
#[derive(Debug, Default)]
pub struct MetricStats {
    /// How many.
    pub count: u64,
    /// The sum of their numbers.
    pub sum: f64,
    /// Different users.
    pub users: Users,
}

/// Adds up the events below `directory/local/`. `None` if there are none of the environment that is asked for.
///
/// # Errors
/// The folder cannot be listed. Files that cannot be read are in the result.
pub fn collect(directory: &Path, query: &Query) -> io::Result<Option<Stats>> {
    let local = directory.join("local");
    let all = read::folders(&local)?;
    let mut wanted: BTreeSet<EnvironmentId> = all.iter().map(|folder| folder.environment).collect();
    if let Some(name) = &query.environment {
        let is_named = |found: &&read::Folder| {
            Some(found.environment) == EnvironmentId::parse(name)
                || folder(name, found.environment) == found.name
        };
        wanted = all.iter().filter(is_named).map(|folder| folder.environment).collect();
        if wanted.is_empty() {
            return Ok(None);
        }
    }
    let mut collector =
        Collector { query, stats: Stats::default(), budget: Budget::default(), days: BTreeSet::new() };
    for folder in all.iter().filter(|folder| wanted.contains(&folder.environment)) {
        collector.folder(&local.join(&folder.name), folder.environment)?;
    }
    collector.stats.days = collector.days.len() as u64;
    Ok(Some(collector.stats))
}

struct Collector<'q> {
    query: &'q Query,
    stats: Stats,
    budget: Budget,
    days: BTreeSet<Day>,
}

impl Collector<'_> {
    fn folder(&mut self, path: &Path, environment: EnvironmentId) -> io::Result<()> {
        // An event is written on the day on which it came, or later: a file of an earlier day has none that counts.
        let first_day = self.query.since_ms.map(Day::of);
        for part in read::parts(path)? {
            if first_day.is_some_and(|first| part.day < first) {
                continue;
            }
            let read = read::read(path, part, &mut |line| self.line(line, environment));
            self.stats.files += u64::from(read.was_there);
            self.stats.unreadable_lines += read.oversized;
            self.stats.unreadable_files.extend(read.error);
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], environment: EnvironmentId) {
        let Some(line) = Line::parse(line) else {
            self.stats.unreadable_lines += 1;
            return;
        };
        let is_early = self.query.since_ms.is_some_and(|since_ms| line.received_ms < since_ms);
        if is_early || self.query.until_ms.is_some_and(|until_ms| line.received_ms >= until_ms) {
            return;
        }
        self.stats.events += 1;
        self.days.insert(Day::of(line.received_ms));
        self.stats.environments.entry(environment).or_default().add(&line, &mut self.budget);
    }
}

impl EnvironmentStats {
    fn add(&mut self, line: &Line<'_>, budget: &mut Budget) {
        if self.events == 0 || line.received_ms >= self.label_ms {
            self.label_ms = line.received_ms;
            if self.label != line.environment {
                self.label = line.environment.to_string();
            }
        }
        self.events += 1;
        let user = line.user.as_deref().map(users::hash);
        let mut count = |users: &mut Users| user.into_iter().for_each(|user| users.add(user, budget));
        count(&mut self.users);
        for Evaluation { flag, id, value } in &line.evaluations {
            with(&mut self.flags, flag, |flag| {
                flag.evaluations += 1;
                count(&mut flag.users);
                with(&mut flag.variations, id, |values| {
                    with(values, value, |variation: &mut VariationStats| {
                        variation.evaluations += 1;
                        count(&mut variation.users);
                    });
                });
            });
        }
        for Metric { name, value } in &line.metrics {
            with(&mut self.metrics, name, |metric| {
                metric.count += 1;
                metric.sum += value.unwrap_or_default();
                count(&mut metric.users);
            });
        }
    }
}

/// Updates the value of a key, which is made if there is none. The key is copied only then.
fn with<V: Default>(map: &mut BTreeMap<String, V>, key: &str, update: impl FnOnce(&mut V)) {
    match map.get_mut(key) {
        Some(value) => update(value),
        None => {
            let mut value = V::default();
            update(&mut value);
            map.insert(key.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests;
