//! A whole dataset: FeatBit's relay dump, parsed and checked.

use super::environment_id::EnvironmentId;
use super::flag::FlagDef;
use super::secret::SecretDef;
use super::segment::SegmentDef;

/// The contents of a dump, borrowed from its text, grouped by the environment that each item itself names.
#[derive(Clone, Debug, Default)]
pub struct Dataset<'a> {
    /// The environments, in the order in which they first occur in the dump.
    pub environments: Vec<EnvironmentDef<'a>>,
    /// Warnings. They do not keep the dump from being served.
    pub warnings: Vec<Finding>,
    /// The indexes of the warnings about things that stop or break SDKs.
    pub harmful: Vec<usize>,
    /// Items of a server's message that could not be read. Always empty for a dump, which is refused instead.
    pub left_out: LeftOut<'a>,
}

impl Dataset<'_> {
    /// The warnings about things that stop or break SDKs.
    pub fn harms(&self) -> impl Iterator<Item = &Finding> {
        self.harmful.iter().filter_map(|index| self.warnings.get(*index))
    }
}

/// One environment of a dataset.
#[derive(Clone, Debug)]
pub struct EnvironmentDef<'a> {
    /// Its id.
    pub id: EnvironmentId,
    /// Its secrets, in order. Without any, no SDK can connect to it.
    pub secrets: Vec<SecretDef<'a>>,
    /// Its flags, in order.
    pub flags: Vec<FlagDef<'a>>,
    /// Its segments, in order.
    pub segments: Vec<SegmentDef<'a>>,
}

/// An error or a warning about a dump, and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The path, such as `items[1].featureFlags[3].rules[0].conditions[2].op`. Empty if it is about the whole dump.
    pub path: String,
    /// What is wrong and what to do. It never contains a secret.
    pub message: String,
}

/// The finding in one line.
impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.message),
            path => write!(f, "{path}: {}", self.message),
        }
    }
}

/// The most errors that [`LeftOut`] lists; further ones are counted.
pub const LEFT_OUT_FAULTS_MAX: usize = 5;

/// Flags, segments and secrets of a server's message that could not be read. All others are used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut<'a> {
    /// Flags, by their id.
    pub flags: Vec<Lost<'a>>,
    /// Segments, by their id.
    pub segments: Vec<Lost<'a>>,
    /// Secrets, by their value. Never to be logged.
    pub secrets: Vec<Lost<'a>>,
    /// The first [`LEFT_OUT_FAULTS_MAX`] errors, in the order of the message.
    pub faults: Vec<Finding>,
    /// How many more there are.
    pub more: usize,
}

/// An item that could not be read, as far as it could be identified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost<'a> {
    /// The environment that it names, or else the one that contains it; `None` if there is neither.
    pub env_id: Option<EnvironmentId>,
    /// Its id or value, if that could be read.
    pub name: Option<&'a str>,
    /// How many readable items of its kind precede it in its environment.
    pub at: usize,
}

impl LeftOut<'_> {
    /// Whether everything could be read.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// The number of items that could not be read.
    pub fn count(&self) -> usize {
        self.flags.len() + self.segments.len() + self.secrets.len()
    }

    /// Whether one of them belongs to this environment.
    pub fn concerns(&self, environment: EnvironmentId) -> bool {
        let mut lost = self.flags.iter().chain(&self.segments).chain(&self.secrets);
        lost.any(|lost| lost.env_id == Some(environment))
    }
}

/// Writes errors, and how many more there are, in one line.
pub(super) fn list_faults(
    faults: &[Finding],
    more: usize,
    f: &mut std::fmt::Formatter<'_>,
) -> std::fmt::Result {
    for (index, fault) in faults.iter().enumerate() {
        let separator = if index == 0 { "" } else { "; " };
        write!(f, "{separator}{fault}")?;
    }
    match more {
        0 => Ok(()),
        more => write!(f, "; and {more} more"),
    }
}

/// The errors in one line, for the log.
impl std::fmt::Display for LeftOut<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        list_faults(&self.faults, self.more, f)
    }
}
