//! A segment of users, and the conditions that segments and targeting rules share.

use super::environment_id::EnvironmentId;
use super::stamp::Stamp;

/// A segment, borrowed from the text of its dataset.
#[derive(Clone, Debug)]
pub struct SegmentDef<'a> {
    /// The segment's own JSON object, unchanged.
    pub raw: &'a str,
    /// The segment's id; a shared segment has the same id in several environments.
    pub id: &'a str,
    /// The environment that the segment itself names; decides where it belongs.
    pub env_id: EnvironmentId,
    /// When the segment was last changed, in Unix milliseconds, truncated.
    pub updated_at_ms: i64,
    /// Whether all SDKs can be sent `raw` unchanged: it has no `pending`, and all SDKs can read its `updatedAt`. Otherwise it
    /// is written again for them.
    pub suits_all_sdks: bool,
    /// Whether `updatedAt` has digits below the millisecond. Most SDKs truncate them, Python rounds.
    pub has_microseconds: bool,
    /// The version with which another agent of the cluster has sent it to SDKs, in Unix milliseconds; `i64::MIN` for none.
    pub sent_ms: i64,
    /// Reported to server SDKs; evaluation does not look at it (as in FeatBit's evaluation server).
    pub is_archived: bool,
    /// `keyId`s that are in the segment.
    pub included: Vec<&'a str>,
    /// `keyId`s that are not in the segment; they take precedence.
    pub excluded: Vec<&'a str>,
    /// One of them must hold for a user who is neither included nor excluded.
    pub rules: Vec<SegmentRule<'a>>,
}

impl<'a> SegmentDef<'a> {
    /// The stamp by which it is merged.
    pub fn stamp(&self) -> Stamp<'a> {
        Stamp::of(self.updated_at_ms, self.raw)
    }
}

/// A rule of a segment: all conditions must hold; none means it always matches.
#[derive(Clone, Debug)]
pub struct SegmentRule<'a> {
    /// All must hold.
    pub conditions: Vec<Condition<'a>>,
}

/// A condition on one attribute of a user.
#[derive(Clone, Debug)]
pub struct Condition<'a> {
    /// The attribute, or `User is in segment` / `User is not in segment`.
    pub property: &'a str,
    /// The operator; empty if absent or null.
    pub op: &'a str,
    /// What the attribute is compared with. Null makes every operator false.
    pub value: Option<&'a str>,
}
