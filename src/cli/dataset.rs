//! Describes a dump: what it contains and what is wrong with it.
//!
//! Must not print a secret: secrets are only counted.

use crate::eval::{Compiler, RegexLimits};
use crate::model::dataset::{Dataset, EnvironmentDef, Finding};
use crate::model::parse::DatasetText;
use crate::model::secret::SecretKind;

/// The description of a dump, in lines.
pub(super) enum Report {
    /// The dump can be served: a summary, then warnings.
    Usable(Vec<String>),
    /// The dump cannot be served: the errors.
    Faulty(Vec<String>),
}

/// Parses `bytes` and describes them. `now_ms`, in Unix milliseconds, is used to find times in the future; `limits` are those
/// that the agent would apply.
pub(super) fn report(bytes: Vec<u8>, now_ms: i64, limits: RegexLimits) -> Report {
    let mut text = DatasetText::new(bytes);
    match text.parse() {
        Ok(dataset) => {
            let ahead = dataset.find_ahead(now_ms);
            let unusable = unusable(&dataset, limits);
            let warnings = dataset.warnings.iter().chain(&ahead).chain(&unusable);
            let warnings = warnings.map(|finding| line("warning", finding));
            Report::Usable(summary(&dataset).into_iter().chain(warnings).collect())
        }
        Err(error) => {
            let faults = error.faults.iter().map(|finding| line("error", finding));
            let more = (error.more > 0).then(|| format!("… and {} more errors", error.more));
            Report::Faulty(faults.chain(more).collect())
        }
    }
}

/// What evaluation cannot use, such as an invalid pattern. Only compiling shows it; the agent would log it.
fn unusable(dataset: &Dataset<'_>, limits: RegexLimits) -> Vec<Finding> {
    let mut compiler = Compiler::new(limits);
    let (mut all, mut findings) = (Vec::new(), Vec::new());
    // PublishedChange until the end, because the limits apply to all of them together.
    let (mut flags, mut segments) = (Vec::new(), Vec::new());
    for environment in &dataset.environments {
        let label = environment.label();
        let mut take = |key: &str, findings: &mut Vec<Finding>| {
            let place = |found: Finding| Finding { path: format!("{label}/{key}.{}", found.path), ..found };
            all.extend(findings.drain(..).map(place));
        };
        for def in &environment.segments {
            segments.push(compiler.segment(def, &mut findings));
            take(def.id, &mut findings);
        }
        for def in &environment.flags {
            flags.push(compiler.flag(def, &mut findings));
            take(def.key, &mut findings);
        }
    }
    all
}

fn line(kind: &str, finding: &Finding) -> String {
    format!("{kind}: {finding}")
}

fn summary(dataset: &Dataset<'_>) -> Vec<String> {
    let environments = &dataset.environments;
    let version = environments.iter().flat_map(updates).max().unwrap_or(0);
    let total = |count: fn(&EnvironmentDef<'_>) -> usize| environments.iter().map(count).sum::<usize>();
    let mut lines = vec![format!(
        "environments {}, flags {}, segments {}, secrets {}, data version {version}",
        environments.len(),
        total(|environment| environment.flags.len()),
        total(|environment| environment.segments.len()),
        total(|environment| environment.secrets.len()),
    )];
    lines.extend(environments.iter().map(environment));
    lines
}

fn environment(environment: &EnvironmentDef<'_>) -> String {
    let name = match environment.secrets.first() {
        Some(secret) => format!("{}:{}", secret.project_key, secret.env_key),
        None => "(no secret, so no SDK can connect)".to_string(),
    };
    let secrets = |kind| environment.secrets.iter().filter(|secret| secret.kind == kind).count();
    format!(
        "{} {name}: flags {}, segments {}, server secrets {}, client secrets {}",
        environment.id,
        environment.flags.len(),
        environment.segments.len(),
        secrets(SecretKind::Server),
        secrets(SecretKind::Client),
    )
}

fn updates<'a>(environment: &'a EnvironmentDef<'_>) -> impl Iterator<Item = i64> + 'a {
    let flags = environment.flags.iter().map(|flag| flag.updated_at_ms);
    flags.chain(environment.segments.iter().map(|segment| segment.updated_at_ms))
}
