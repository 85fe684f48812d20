//! A feature flag as the dataset defines it.

use super::environment_id::EnvironmentId;
use super::segment::Condition;
use super::stamp::Stamp;

/// A feature flag, borrowed from the text of its dataset.
#[derive(Clone, Debug)]
pub struct FlagDef<'a> {
    /// The flag's own JSON object, unchanged.
    pub raw: &'a str,
    /// The flag's id; unique within its environment.
    pub id: &'a str,
    /// The environment that the flag itself names; decides where it belongs.
    pub env_id: EnvironmentId,
    /// The key with which SDKs request it.
    pub key: &'a str,
    /// `boolean`, `string`, `number` or `json`; `string` if absent or null.
    pub variation_type: &'a str,
    /// When the flag was last changed, in Unix milliseconds, truncated.
    pub updated_at_ms: i64,
    /// Whether all SDKs can be sent `raw` unchanged: it has no `pending`, and all SDKs can read its `updatedAt`. Otherwise it
    /// is written again for them.
    pub suits_all_sdks: bool,
    /// Whether `updatedAt` has digits below the millisecond. Most SDKs truncate them, Python rounds.
    pub has_microseconds: bool,
    /// The version with which another agent of the cluster has sent it to SDKs, in Unix milliseconds; `i64::MIN` for none.
    pub sent_ms: i64,
    /// The same for client SDKs.
    pub client_sent_ms: i64,
    /// An archived flag has no variation.
    pub is_archived: bool,
    /// A disabled flag serves `disabled_variation_id`.
    pub is_enabled: bool,
    /// What a disabled flag serves; empty if absent.
    pub disabled_variation_id: &'a str,
    /// Every value the flag can take.
    pub variations: Vec<Variation<'a>>,
    /// Individually targeted users, first match wins.
    pub targets: Vec<Target<'a>>,
    /// Targeting rules, first match wins.
    pub rules: Vec<Rule<'a>>,
    /// What is served when no target and no rule matches.
    pub fallthrough: Rollout<'a>,
    /// Whether every individually targeted or rule-matched user counts in experiments.
    pub expt_include_all_targets: bool,
    /// Whether FeatBit wants usage events about the flag (FeatBit 6); true if absent.
    pub insights_enabled: bool,
}

impl<'a> FlagDef<'a> {
    /// The stamp by which it is merged.
    pub fn stamp(&self) -> Stamp<'a> {
        Stamp::of(self.updated_at_ms, self.raw)
    }
}

/// One value a flag can take.
#[derive(Clone, Debug)]
pub struct Variation<'a> {
    /// Referred to by targets and rollouts.
    pub id: &'a str,
    /// Always text, whatever the variation type.
    pub value: &'a str,
}

/// Users that get one variation by name.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// `keyId`s of the users.
    pub key_ids: Vec<&'a str>,
    /// The variation that they get.
    pub variation_id: &'a str,
}

/// A targeting rule: when all conditions hold, its rollout decides.
#[derive(Clone, Debug)]
pub struct Rule<'a> {
    /// The reason reported when it matches.
    pub name: &'a str,
    /// All must hold; none means it always matches.
    pub conditions: Vec<Condition<'a>>,
    /// What a matching user gets.
    pub rollout: Rollout<'a>,
}

/// Shares of users by percentage.
#[derive(Clone, Debug, Default)]
pub struct Rollout<'a> {
    /// The attribute that is hashed; `None` for `keyId`. May be blank, which means `keyId` too.
    pub dispatch_key: Option<&'a str>,
    /// Whether users served from here can be part of an experiment.
    pub included_in_expt: bool,
    /// The shares, in order.
    pub variations: Vec<RolloutVariation<'a>>,
}

/// One share of a rollout.
#[derive(Clone, Debug)]
pub struct RolloutVariation<'a> {
    /// The variation served.
    pub id: &'a str,
    /// Both ends, within 0 and 1, of the range of hashes that get it.
    pub range: [f64; 2],
    /// The share of users that is sent to experiments, within 0 and 1.
    pub expt_rollout: f64,
}
