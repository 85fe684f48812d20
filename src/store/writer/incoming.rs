//! New data that is merged by stamps.
//!
//! Must not decide what is used: `merge` and `list` do.

use crate::model::dataset::EnvironmentDef;
use crate::model::environment_id::EnvironmentId;
use crate::model::flag::FlagDef;
use crate::model::segment::SegmentDef;
use crate::store::item::ItemKind;
use crate::store::state::SecretState;

/// A flag or segment that was removed at its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal<'a> {
    /// The environment that it was in.
    pub env_id: EnvironmentId,
    /// Flag or segment.
    pub kind: ItemKind,
    /// Its id.
    pub id: &'a str,
    /// `updatedAt` of the removed state of the item, in Unix milliseconds.
    pub updated_at_ms: i64,
}

/// The list of environments and secrets of another agent.
#[derive(Debug)]
pub struct ClusterList<'d> {
    /// The environments with their secrets, in order. Items in them are ignored.
    pub environments: Vec<EnvironmentDef<'d>>,
    /// Whether it certainly has everything: what it lacks, and has in no grace period, was removed for good.
    pub is_complete: bool,
    /// Secrets in their grace period, with what is left of it.
    pub leaving_secrets: Vec<SecretState>,
    /// Environments in their grace period, with what is left of it in milliseconds.
    pub leaving: Vec<(EnvironmentId, i64)>,
}

/// What another agent has stored, of the edition in service.
#[derive(Debug, Default)]
pub struct ClusterData<'d> {
    /// The list of environments and secrets, if it is newer than that in service.
    pub list: Option<ClusterList<'d>>,
    /// Flags.
    pub flags: &'d [FlagDef<'d>],
    /// Segments.
    pub segments: &'d [SegmentDef<'d>],
    /// Removed items.
    pub removals: &'d [Removal<'d>],
}
