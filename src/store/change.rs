//! What the writer says of new data: the publish that others are told of, and a report for the log.

use std::sync::Arc;

use super::environment::EnvironmentSlot;
use super::snapshot::Snapshot;
use crate::model::dataset::Finding;

/// One publish, for whoever has to tell others.
#[derive(Clone, Debug)]
pub struct Change {
    /// What is in service from now on.
    pub snapshot: Arc<Snapshot>,
    /// The environments of which something changed for server or client SDKs. One that went out of service
    /// is not among them: its connections have lost their secret.
    pub environments: Vec<EnvironmentSlot>,
    /// Whether a secret came, went or changed its meaning; also when the first data makes unknown secrets
    /// certain.
    pub secrets_changed: bool,
}

/// An item whose content changed without a newer `updatedAt`, which several SDKs ignore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// The environment's label.
    pub environment: Arc<str>,
    /// The flag's key, or the segment's id.
    pub key: Box<str>,
    /// Whether what took its place is older, and not as old.
    pub is_older: bool,
}

/// Secrets that no longer open what they did once their grace is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// How many there are.
    pub secrets: usize,
    /// The labels of the environments that they opened, each once, in alphabetical order.
    pub environments: Vec<Arc<str>>,
}

/// What was found while new data was taken in.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was changed without a newer `updatedAt`.
    pub forgotten_updated_at: Vec<Forgotten>,
    /// What evaluation cannot use; each path begins with the environment's label and the flag's key.
    pub findings: Vec<Finding>,
    /// Secrets that have left the data just now.
    pub secrets_gone: Ending,
    /// Secrets of which the type has changed just now.
    pub secrets_retyped: Ending,
    /// How long such secrets go on working, in milliseconds.
    pub grace_ms: i64,
    /// Flags and segments that were not there before.
    pub added: usize,
    /// Flags and segments with new content.
    pub changed: usize,
    /// Flags and segments that are gone, those of environments that are gone among them: these are still served
    /// until their grace ends.
    pub removed: usize,
}

/// What became of new data.
#[derive(Clone, Debug)]
pub struct Published {
    /// The publish, unless nothing differs from what is in service.
    pub change: Option<Arc<Change>>,
    /// What was found.
    pub report: Report,
}
