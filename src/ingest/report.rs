//! The log lines about new data.
//!
//! Must not log a secret, nor one line for each of a thousand items: the first are named, the others counted.

use std::collections::HashSet;
use std::fmt::Display;
use std::time::Instant;

use crate::model::dataset::{Dataset, Finding};
use crate::model::flag::FlagDef;
use crate::model::parse::{harms_of_flag, harms_of_segment};
use crate::model::segment::SegmentDef;
use crate::store::{ChangedNames, EndingSecrets, Published, Report, Snapshot};
use crate::telemetry::metrics::Source;

/// Most log lines for findings of one kind, and most names in one line.
pub(super) const LOGGED_MAX: usize = 20;

/// Logs that a dataset was loaded, and what it changed.
pub(super) fn report_loaded(
    published: &Published,
    before: &Snapshot,
    source: Source,
    loaded: &Loaded,
    warnings: usize,
    arrived: Instant,
) {
    let report = &published.report;
    tracing::info!(
        source = source.as_str(),
        serves = loaded.serves,
        data_version = loaded.data_version,
        added = report.added,
        changed = report.changed,
        removed = report.removed,
        names = names_of(before, published),
        warnings,
        took_ms = arrived.elapsed().as_millis() as u64,
        "{}",
        if published.change.is_some() { "data loaded" } else { "data loaded; nothing in it is new" }
    );
}

/// Warns of items that changed without a newer `updatedAt`.
pub(super) fn report_not_newer(report: &Report) {
    for item in report.not_newer.iter().take(LOGGED_MAX) {
        tracing::warn!(
            environment = &*item.environment,
            key = &*item.key,
            "the content changed but `updatedAt` is not newer: this agent sends its SDKs a newer one, so that all of them \
             accept the change; set a newer one in the data, because FeatBit's server and other agents do not do this"
        );
    }
    let more = report.not_newer.len().saturating_sub(LOGGED_MAX);
    if more > 0 {
        tracing::warn!("{more} more items changed without a newer `updatedAt`");
    }
}

/// The result of loading a dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// `projectKey:envKey` of each environment.
    pub serves: String,
    /// The highest `updatedAt` ever seen.
    pub data_version: i64,
    /// The first warnings about things in it that stop or break SDKs.
    pub harms: Vec<String>,
}

/// Warns of likely mistakes in a dataset as a whole.
pub(super) fn warn_of_dataset(dataset: &Dataset<'_>, now_ms: i64) {
    if dataset.environments.is_empty() {
        tracing::warn!("the dataset has no environment: no SDK can connect");
    }
    let without = || dataset.environments.iter().filter(|environment| environment.secrets.is_empty());
    let count = without().count();
    if count > 0 {
        let names = names(without().map(|environment| environment.id), count);
        tracing::warn!(
            "{count} environments of the dataset have no secret ({names}): no SDK can connect to them"
        );
    }
    warn_of_future_dates(dataset.find_ahead(now_ms));
    let warnings = dataset.warnings.len();
    if warnings > 0 {
        tracing::warn!(
            "the dataset has {warnings} {}; `featbit-agent check --mode offline --data-file FILE` shows all of them",
            if warnings == 1 { "warning" } else { "warnings" }
        );
        warn_of_harm(dataset);
    }
}

/// Warns of everything in a dataset that stops or breaks SDKs.
pub(super) fn warn_of_harm(dataset: &Dataset<'_>) {
    for harm in dataset.harms().take(LOGGED_MAX) {
        tracing::warn!("{harm}");
    }
    let more = dataset.harmful.len().saturating_sub(LOGGED_MAX);
    if more > 0 {
        tracing::warn!("{more} more places of the dataset stop or break SDKs");
    }
}

/// Single items are checked only if there are at most this many: a server pushes one or two, and after a reconnect many
/// items would have to be parsed once more.
const CHECKED_MAX: usize = 64;

/// Warns of everything in single items that stops or breaks SDKs.
pub(super) fn warn_of_harm_in(flags: &[FlagDef<'_>], segments: &[SegmentDef<'_>]) {
    let of_flags = flags.iter().flat_map(|flag| {
        harms_of_flag(flag.raw).into_iter().map(move |harm| (format!("flag {:?}", flag.key), harm))
    });
    let of_segments = segments.iter().flat_map(|segment| {
        harms_of_segment(segment.raw).into_iter().map(move |harm| (format!("segment {:?}", segment.id), harm))
    });
    if flags.len() + segments.len() <= CHECKED_MAX {
        for (item, harm) in of_flags.chain(of_segments).take(LOGGED_MAX) {
            tracing::warn!("{harm} ({item})");
        }
    }
}

/// Warns of an `updatedAt` in the future.
pub(super) fn warn_of_future_dates(ahead: Option<Finding>) {
    if let Some(finding) = ahead {
        tracing::warn!("{finding}");
    }
}

/// Warns of what evaluation cannot use, and of secrets whose SDKs will be disconnected.
pub(super) fn report_findings(Published { report, .. }: &Published) {
    for finding in report.findings.iter().take(LOGGED_MAX) {
        tracing::warn!("{finding}");
    }
    let when = match u64::try_from(report.grace_ms).unwrap_or(0).div_ceil(1000) {
        0 => "now".to_owned(),
        seconds => format!("in {seconds} s"),
    };
    let Report { secrets_removed, secrets_retyped, .. } = report;
    if let Some((secrets, names)) = count_and_names(secrets_removed) {
        tracing::warn!(
            "{secrets} secrets ({names}) are no longer in the data; their SDKs are stopped {when} unless the secrets come back"
        );
    }
    if let Some((secrets, names)) = count_and_names(secrets_retyped) {
        tracing::warn!(
            "{secrets} secrets ({names}) have another type in the data; SDKs of the former type are stopped {when} \
             unless that type comes back"
        );
    }
}

/// Warns that a full sync replaced items by older ones.
pub(super) fn warn_of_older(report: &Report) {
    let older = || report.not_newer.iter().filter(|item| item.is_older);
    let Some(first) = older().next() else { return };
    let environments: HashSet<&str> = older().map(|item| &*item.environment).collect();
    tracing::warn!(
        environment = &*first.environment,
        key = &*first.key,
        count = older().count(),
        environments = environments.len(),
        "flags or segments of a full sync are older than those in service, and have replaced them: the server is behind (after \
         a fail-over, for example), or somebody restored them. This line names the first one"
    );
}

/// The names of what a publish changed. `None` for the first data, because everything in it is new.
pub(super) fn names_of(before: &Snapshot, published: &Published) -> Option<String> {
    let change = published.change.as_ref().filter(|_| before.loaded())?;
    let names = ChangedNames::of(change).to_string();
    (!names.is_empty()).then_some(names)
}

fn count_and_names(ending: &EndingSecrets) -> Option<(usize, String)> {
    let environments = &ending.environments;
    (ending.secrets > 0).then(|| (ending.secrets, names(environments.iter(), environments.len())))
}

/// The first of `count` names.
fn names(all: impl Iterator<Item = impl Display>, count: usize) -> String {
    let mut names: Vec<_> = all.take(LOGGED_MAX).map(|name| name.to_string()).collect();
    if count > names.len() {
        names.push(format!("and {} more", count - names.len()));
    }
    names.join(", ")
}
