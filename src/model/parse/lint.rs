//! Finds likely mistakes that a server tolerates: dangling references, odd rollouts, unknown names.
//!
//! Must not refuse anything, and must not check patterns or numbers, which `eval` does. Each message says what is wrong, what
//! the agent does, and what to do.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

use crate::model::environment_id::EnvironmentId;
use crate::model::flag::{RolloutVariation, Variation};

use super::findings::{Findings, Path, Quoted};
use super::property::Property;

/// Ends of neighbouring ranges that differ by less count as equal: FeatBit treats a range that ends this close to 1 as all
/// users, and rounding errors of percentages are smaller.
const RANGE_TOLERANCE: f64 = 1e-5;

/// The variation ids of flags with more variations are hashed.
const VARIATIONS_SEARCHED_MAX: usize = 16;

/// The segments of a dump.
#[derive(Default)]
pub(super) struct SegmentIndex<'a> {
    ids: HashSet<&'a str, RandomState>,
    homes: HashSet<(EnvironmentId, &'a str), RandomState>,
}

impl<'a> SegmentIndex<'a> {
    pub fn insert(&mut self, env_id: EnvironmentId, id: &'a str) {
        self.ids.insert(id);
        self.homes.insert((env_id, id));
    }
}

/// The owner of a condition.
#[derive(Clone, Copy)]
pub(super) enum Owner<'s, 'a> {
    /// A flag of this environment. It can refer to segments.
    Flag(&'s SegmentIndex<'a>, EnvironmentId),
    /// A segment. It cannot refer to segments.
    Segment,
}

/// The ids of a flag's variations, to check references to them.
pub(super) struct VariationIds<'v, 'a> {
    variations: &'v [Variation<'a>],
    many: Option<HashSet<&'a str, RandomState>>,
}

impl<'v, 'a> VariationIds<'v, 'a> {
    pub fn new(variations: &'v [Variation<'a>]) -> Self {
        let many = variations.len() > VARIATIONS_SEARCHED_MAX;
        let many = many.then(|| variations.iter().map(|variation| variation.id).collect());
        Self { variations, many }
    }

    fn contains(&self, id: &str) -> bool {
        match &self.many {
            Some(ids) => ids.contains(id),
            None => self.variations.iter().any(|variation| variation.id == id),
        }
    }
}

/// `id` of a target, of a share or of the disabled variation; `path` is the property that holds it.
pub(super) fn variation_reference(
    findings: &mut Findings,
    path: &Path<'_>,
    id: &str,
    variations: &VariationIds<'_, '_>,
) {
    if !findings.quiet && !variations.contains(id) {
        let which = if id.is_empty() {
            "names no variation"
        } else {
            "names a variation that the flag does not have"
        };
        findings.warn(
            path,
            format_args!("{which}: users who reach it get none; use an id from the flag's variations"),
        );
    }
}

/// The flag's own names, and its list of variations.
pub(super) fn flag_names(
    findings: &mut Findings,
    path: &Path<'_>,
    key: &str,
    variation_type: &str,
    variations: &[Variation<'_>],
) {
    if key.is_empty() {
        findings.warn(&path.key("key"), "is empty: no SDK can ask for the flag; give it a key");
    }
    if !matches!(variation_type, "boolean" | "string" | "number" | "json") {
        findings.warn(
            &path.key("variationType"),
            format_args!(
                "is {}: SDKs get it as it is and may read the values as strings; use boolean, string, number or json",
                Quoted(variation_type)
            ),
        );
    }
    if variations.is_empty() {
        findings.warn(
            &path.key("variations"),
            "is empty: the flag has no value to give and SDKs fall back to their defaults; add variations",
        );
    }
}

/// Checks the ids of a flag's variations, by which SDKs find them. An archived flag is not evaluated, so it is not checked.
pub(super) fn variation_ids(findings: &mut Findings, path: &Path<'_>, variations: &[Variation<'_>]) {
    if findings.quiet {
        return;
    }
    let many = variations.len() > VARIATIONS_SEARCHED_MAX;
    let mut first_of: HashMap<&str, usize, RandomState> = HashMap::default();
    for (index, Variation { id, .. }) in variations.iter().enumerate() {
        let first = if many {
            *first_of.entry(id).or_insert(index)
        } else {
            variations.iter().position(|variation| variation.id == *id).unwrap_or(index)
        };
        // A missing id was reported already.
        if first < index && !id.is_empty() {
            findings.harms(
                &path.item("variations", index).key("id"),
                format_args!(
                    "is the id of variations[{first}] too: the Java SDK stops for good, and others find one of the two; \
                     give each its own"
                ),
            );
        }
    }
}

/// Checks a condition. `op` and `value` are its texts; the properties distinguish null from missing.
pub(super) fn condition(
    findings: &mut Findings,
    path: &Path<'_>,
    property: &str,
    (op, op_property): (&str, Property<'_, '_>),
    (value, value_property): (Option<&str>, Property<'_, '_>),
    owner: Owner<'_, '_>,
) {
    if findings.quiet {
        return;
    }
    if matches!(property, "User is in segment" | "User is not in segment") {
        match owner {
            Owner::Flag(segments, env_id) => {
                segment_references(findings, &path.key("value"), (value, value_property), segments, env_id);
                return;
            }
            Owner::Segment => {
                findings.warn(
                    &path.key("property"),
                    "refers to segments from within a segment: FeatBit and the agent treat it as the name of a plain \
                     attribute; put the condition into the rules of the flag",
                );
                // The Node SDK reads the list anyway.
                if value_property.is_none() || value.is_some_and(|value| !is_list_or_null(value)) {
                    findings.harms(&path.key("value"), ENDS_NODE);
                }
            }
        }
    }
    match op_property.filter(|op| !op.is_null()) {
        None => never_true(findings, &path.key("op"), op_property, "set an operator"),
        Some(_) if !is_operator(op) => findings.warn(
            &path.key("op"),
            format_args!(
                "{} is not an operator: the condition is never true; check the spelling, upper and lower case included",
                Quoted(op)
            ),
        ),
        Some(_) => {}
    }
    match value {
        None => no_value(findings, &path.key("value"), value_property),
        Some("null") if op == "NotOneOf" => findings.harms(
            &path.key("value"),
            "is the text of a JSON null: no value is in an empty list, so the condition always holds, and the Java SDK \
             gives the application's default; write \"[]\"",
        ),
        Some(value) if matches!(op, "IsOneOf" | "NotOneOf") && !each_string(value, |_| {}) => findings.warn(
            &path.key("value"),
            "is not the text of a JSON array of strings: the condition is never true; write it like \
             \"[\\\"red\\\",\\\"blue\\\"]\"",
        ),
        Some(_) => {}
    }
}

#[cold]
fn never_true(findings: &mut Findings, path: &Path<'_>, property: Property<'_, '_>, advice: &str) {
    match property {
        None => findings.warn(path, format_args!("is missing: the condition is never true; {advice}")),
        Some(_) => findings.harms(
            path,
            format_args!(
                "is null: the condition is never true, and the Rust SDK discards the whole message that holds it; \
                 {advice}"
            ),
        ),
    }
}

#[cold]
fn no_value(findings: &mut Findings, path: &Path<'_>, property: Property<'_, '_>) {
    let (is, rust) = match property {
        None => ("is missing", ""),
        Some(_) => ("is null", ", and the Rust SDK discards the whole message that holds it"),
    };
    findings.harms(
        path,
        format_args!(
            "{is}: the condition is never true, the Java SDK gives the application's default{rust}; set a value; it \
             may be \"\""
        ),
    );
}

fn is_operator(op: &str) -> bool {
    matches!(
        op,
        "Equal"
            | "NotEqual"
            | "IsOneOf"
            | "NotOneOf"
            | "Contains"
            | "NotContain"
            | "StartsWith"
            | "EndsWith"
            | "LessThan"
            | "LessEqualThan"
            | "BiggerThan"
            | "BiggerEqualThan"
            | "IsTrue"
            | "IsFalse"
            | "MatchRegex"
            | "NotMatchRegex"
    )
}

fn segment_references(
    findings: &mut Findings,
    path: &Path<'_>,
    (value, property): (Option<&str>, Property<'_, '_>),
    segments: &SegmentIndex<'_>,
    env_id: EnvironmentId,
) {
    let value = match (value, property) {
        (Some(value), _) => value,
        // A value that is not a text is an error, which was reported already.
        (None, Some(property)) if !property.is_null() => return,
        (None, None) => return findings.harms(path, ENDS_NODE),
        (None, Some(_)) => {
            return findings.harms(
                path,
                "is null and names no segment, so nobody is in any: the Java SDK gives the application's default, \
                 and reconnects if the application listens to changes, and the Rust SDK discards the whole message; \
                 write it like \"[\\\"<id>\\\"]\"",
            );
        }
    };
    let mut dangling = false;
    let good = each_string(value, |id| dangling |= !segments.homes.contains(&(env_id, id)));
    if value.trim() == "null" {
        findings.harms(
            path,
            "names no segment, so nobody is in any, the Java SDK gives the application's default, and reconnects if \
             the application listens to changes; write it like \"[\\\"<id>\\\"]\"",
        );
    } else if !is_list_or_null(value) {
        findings.harms(path, ENDS_NODE);
    } else if !good {
        findings.warn(
            path,
            "is not the text of a JSON array of segment ids: an element that is null is passed over, anything else \
             makes the condition never true; write it like \"[\\\"<id>\\\"]\"",
        );
    } else if dangling {
        each_string(value, |id| dangling_segment(findings, path, id, segments, env_id));
    }
}

#[cold]
fn dangling_segment(
    findings: &mut Findings,
    path: &Path<'_>,
    id: &str,
    segments: &SegmentIndex<'_>,
    env_id: EnvironmentId,
) {
    let id_quoted = Quoted(id);
    if segments.homes.contains(&(env_id, id)) {
    } else if segments.ids.contains(id) {
        findings.warn(
            path,
            format_args!(
                "segment {id_quoted} is only in other environments: client SDKs are served with it, server SDKs of \
                 this environment do not receive it and treat no user as in it; add it to this environment"
            ),
        );
    } else {
        findings.warn(
            path,
            format_args!(
                "no segment {id_quoted} is in the dump: no user is in it; add the segment or remove its id"
            ),
        );
    }
}

/// The effect of a value that is not a list of segments.
const ENDS_NODE: &str = "is not the text of a JSON array of segment ids, so the condition is never true: the process of the \
                         Node SDK ends, and the Java SDK gives the application's default, or stops for good if the \
                         application listens to changes; write it like \"[\\\"<id>\\\"]\"";

/// Whether the Node SDK reads `text` as a list, of elements of any type, or as null.
fn is_list_or_null(text: &str) -> bool {
    serde_json::from_str::<Option<Vec<serde::de::IgnoredAny>>>(text).is_ok()
}

/// Calls `each` with every element of `text`, a JSON array of strings. False if it is anything else.
fn each_string(text: &str, each: impl FnMut(&str)) -> bool {
    let mut parser = serde_json::Deserializer::from_str(text);
    Strings(each).deserialize(&mut parser).is_ok() && parser.end().is_ok()
}

struct Strings<F>(F);

impl<'de, F: FnMut(&str)> DeserializeSeed<'de> for Strings<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(&str)> Visitor<'de> for Strings<F> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of strings")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(One(&mut self.0))?.is_some() {}
        Ok(())
    }
}

struct One<'f, F>(&'f mut F);

impl<'de, F: FnMut(&str)> DeserializeSeed<'de> for One<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, F: FnMut(&str)> Visitor<'de> for One<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        (self.0)(text);
        Ok(())
    }
}

/// Checks the shares of one rollout; `path` is the list. Shares without width match no user and are common.
pub(super) fn rollout(
    findings: &mut Findings,
    path: &Path<'_>,
    property: Property<'_, '_>,
    shares: &[RolloutVariation<'_>],
) {
    if findings.quiet || is_partition(shares) {
        return;
    }
    if shares.is_empty() {
        let (is, others) = match property {
            None => ("is missing", ", the Node SDK throws in the application"),
            Some(value) if value.is_null() => (
                "is null",
                ", the Node SDK throws in the application, the Rust SDK discards the whole message that holds it",
            ),
            Some(_) => ("is empty", ""),
        };
        findings.harms(
            path,
            format_args!(
                "{is}: users who reach it get no variation{others}, {NO_SHARE}; add one with \"rollout\": [0, 1]"
            ),
        );
        return;
    }
    let mut ranges = Vec::with_capacity(shares.len());
    for &RolloutVariation { range: [min, max], .. } in shares {
        if min > max {
            findings.warn(
                path,
                format_args!(
                    "range [{min}, {max}] is reversed and matches no user; write the lower end first"
                ),
            );
        } else if min < 0.0 || max > 1.0 {
            findings.warn(
                path,
                format_args!(
                    "range [{min}, {max}] goes beyond 0 to 1, the range of all users; keep it within"
                ),
            );
        }
        let (min, max) = (min.max(0.0), max.min(1.0));
        if min < max {
            ranges.push((min, max));
        }
    }
    ranges.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut covered = 0.0;
    for &(min, max) in &ranges {
        gap(findings, path, covered, min);
        if min < covered - RANGE_TOLERANCE {
            let end = covered.min(max);
            findings.warn(
                path,
                format_args!(
                    "ranges overlap from {min} to {end}: the variation listed first is served; make them disjoint"
                ),
            );
        }
        covered = max.max(covered);
    }
    gap(findings, path, covered, 1.0);
}

/// What SDKs do for a user that no share of a rollout contains.
const NO_SHARE: &str = "the Go SDK panics and the Python and Java SDKs throw in the application";

fn gap(findings: &mut Findings, path: &Path<'_>, from: f64, to: f64) {
    if to > from + RANGE_TOLERANCE {
        findings.harms(
            path,
            format_args!(
                "no range covers {from} to {to}: users in it get no variation, {NO_SHARE}; close the gap"
            ),
        );
    }
}

/// Whether the shares, as listed, follow one another from 0 to 1, as in nearly every rollout.
fn is_partition(shares: &[RolloutVariation<'_>]) -> bool {
    let mut end = 0.0;
    for share in shares {
        let [min, max] = share.range;
        if min == 0.0 && max == 0.0 {
            continue;
        }
        if min != end || max < min {
            return false;
        }
        end = max;
    }
    end == 1.0
}
