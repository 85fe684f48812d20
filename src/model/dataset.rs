//! A whole dataset: FeatBit's relay dump, parsed and checked.

use super::environment_id::EnvironmentId;
use super::flag::FlagDef;
use super::secret::SecretDef;
use super::segment::SegmentDef;

/// Everything a dump holds, borrowed from its text, grouped by the environment that each item itself names.
#[derive(Clone, Debug, Default)]
pub struct Dataset<'a> {
    /// The environments in the order in which the dump first names them.
    pub environments: Vec<EnvironmentDef<'a>>,
    /// What the dump's reader should know but does not stand in the way of serving it.
    pub warnings: Vec<Finding>,
    /// Which of the warnings tell of what stops or breaks SDKs.
    pub harmful: Vec<usize>,
    /// What a server's message holds beside that, and cannot be read. Empty for a dump, which is refused instead.
    pub left_out: LeftOut<'a>,
}

impl Dataset<'_> {
    /// The warnings that tell of what stops or breaks SDKs.
    pub fn harms(&self) -> impl Iterator<Item = &Finding> {
        self.harmful.iter().filter_map(|index| self.warnings.get(*index))
    }
}

/// One environment of a dataset.
#[derive(Clone, Debug)]
pub struct EnvironmentDef<'a> {
    /// Its id.
    pub id: EnvironmentId,
    /// Its secrets, in order. May be empty; then no SDK can connect to it.
    pub secrets: Vec<SecretDef<'a>>,
    /// Its flags, in order.
    pub flags: Vec<FlagDef<'a>>,
    /// Its segments, in order.
    pub segments: Vec<SegmentDef<'a>>,
}

/// Something found in a dump, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where, such as `items[1].featureFlags[3].rules[0].conditions[2].op`. Empty if it is about the whole.
    pub path: String,
    /// What is wrong and what to do. Never contains a secret.
    pub message: String,
}

/// In one line.
impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.message),
            path => write!(f, "{path}: {}", self.message),
        }
    }
}

/// Faults that [`LeftOut`] tells; further ones are counted.
pub const LEFT_OUT_FAULTS_MAX: usize = 5;

/// Flags, segments and secrets of a server's message that cannot be read. The others count all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut<'a> {
    /// Flags, by their id.
    pub flags: Vec<Lost<'a>>,
    /// Segments, by their id.
    pub segments: Vec<Lost<'a>>,
    /// Secrets, by their value. Never to be logged.
    pub secrets: Vec<Lost<'a>>,
    /// The first [`LEFT_OUT_FAULTS_MAX`] faults, in the order of the message.
    pub faults: Vec<Finding>,
    /// How many more there are.
    pub more: usize,
}

/// Something that cannot be read, as far as it can be told what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost<'a> {
    /// The environment that it names, or else the one that it stands in; `None` if there is neither.
    pub env_id: Option<EnvironmentId>,
    /// What it is known by, if that can be read.
    pub name: Option<&'a str>,
    /// How many of its kind that can be read stand before it in its environment.
    pub at: usize,
}

impl LeftOut<'_> {
    /// Whether everything could be read.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.flags.len() + self.segments.len() + self.secrets.len()
    }

    /// Whether something of this environment is among them.
    pub fn concerns(&self, environment: EnvironmentId) -> bool {
        let mut lost = self.flags.iter().chain(&self.segments).chain(&self.secrets);
        lost.any(|lost| lost.env_id == Some(environment))
    }
}

/// Writes the first faults of something, and how many more there are, in one line.
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

/// Its faults in one line, as a log line takes them.
impl std::fmt::Display for LeftOut<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        list_faults(&self.faults, self.more, f)
    }
}
