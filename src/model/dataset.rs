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
    /// Where, such as `items[1].featureFlags[3].rules[0].conditions[2].op`.
    pub path: String,
    /// What is wrong and what to do. Never contains a secret.
    pub message: String,
}
