//! Reads flags and segments.
//!
//! Must not require more than FeatBit's server does: except for identity and version, every property may be missing and then
//! has .NET's default; only a wrong type is an error. Properties that the server does not read are ignored.

use crate::model::flag::{FlagDef, Rollout, RolloutVariation, Rule, Target, Variation};
use crate::model::segment::{Condition, SegmentDef, SegmentRule};
use crate::model::timestamp;

use super::findings::{Findings, Path};
use super::lint::{self, Owner, SegmentIndex, VariationIds};
use super::property::{self, Property};
use super::tape::{Value, pick};

/// Reads the flag at `path`, whose own JSON is `raw`; `None`, with an error, if it is not an object.
pub(super) fn flag<'a>(
    findings: &mut Findings,
    path: &Path<'_>,
    value: Value<'_, 'a>,
    raw: &'a str,
    segments: &SegmentIndex<'a>,
) -> Option<FlagDef<'a>> {
    pick!(findings.required_object(value, path)? =>
        id: "id",
        env_id: "envId",
        key: "key",
        variation_type: "variationType",
        updated_at: "updatedAt",
        pending: "pending",
        is_archived: "isArchived",
        is_enabled: "isEnabled",
        disabled_variation_id: "disabledVariationId",
        variations: "variations",
        target_users: "targetUsers",
        rules: "rules",
        fallthrough: "fallthrough",
        expt_include_all_targets: "exptIncludeAllTargets",
        insights_enabled: "insightsEnabled",
    );
    let id = findings.item_id(id, path);
    let env_id = findings.environment(env_id, path, "envId");
    let key = findings.required_text(key, path, "key");
    let variation_type = findings.plain_text(variation_type, path, "variationType").unwrap_or("string");
    let updated_at_ms = findings.updated_at_ms(updated_at, path);
    let is_archived = findings.is_archived(is_archived, path);
    let is_enabled = findings.boolean(is_enabled, path, "isEnabled");
    let disabled_variation_id =
        findings.plain_text(disabled_variation_id, path, "disabledVariationId").unwrap_or("");
    let variations = self::variations(findings, path, variations);
    lint::flag_names(findings, path, key, variation_type, &variations);
    if !is_archived {
        lint::variation_ids(findings, path, &variations);
    }
    let known = VariationIds::new(&variations);
    lint::variation_reference(findings, &path.key("disabledVariationId"), disabled_variation_id, &known);
    let targets = targets(findings, path, target_users, &known);
    let owner = Owner::Flag(segments, env_id);
    let rules = self::rules(findings, path, rules, &known, owner);
    let fallthrough = self::fallthrough(findings, path, fallthrough, &known);
    let expt_include_all_targets = findings.boolean(expt_include_all_targets, path, "exptIncludeAllTargets");
    Some(FlagDef {
        raw,
        id,
        env_id,
        key,
        variation_type,
        updated_at_ms,
        suits_all_sdks: suits_all_sdks(updated_at, pending),
        has_microseconds: has_microseconds(updated_at),
        sent_ms: i64::MIN,
        client_sent_ms: i64::MIN,
        is_archived,
        is_enabled,
        disabled_variation_id,
        targets,
        rules,
        fallthrough,
        variations,
        expt_include_all_targets,
        // FeatBit 5 ignores it whatever its type.
        insights_enabled: insights_enabled.and_then(|value| value.as_bool()).unwrap_or(true),
    })
}

/// Whether all SDKs can be sent an item with these properties unchanged. `pending` is a planned change of FeatBit 6, which
/// must not reach SDKs.
fn suits_all_sdks(updated_at: Property<'_, '_>, pending: Property<'_, '_>) -> bool {
    pending.is_none()
        && updated_at.and_then(|value| value.as_str()).is_some_and(timestamp::is_safe_for_all_sdks)
}

/// Whether an item's `updatedAt` has digits other than 0 below the millisecond.
fn has_microseconds(updated_at: Property<'_, '_>) -> bool {
    let text = updated_at.and_then(|value| value.as_str()).unwrap_or_default();
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    let digits = fraction.bytes().take_while(u8::is_ascii_digit);
    digits.skip(3).any(|digit| digit != b'0')
}

fn variations<'a>(
    findings: &mut Findings,
    path: &Path<'_>,
    property: Property<'_, 'a>,
) -> Vec<Variation<'a>> {
    let elements = findings.required_list(property, path, "variations");
    let mut variations = Vec::with_capacity(elements.len());
    for (index, element) in elements.enumerate() {
        let path = path.item("variations", index);
        pick!(findings.object(element, &path) => id: "id", value: "value");
        let id = findings.text(id, &path, "id").unwrap_or_else(|| {
            findings.harms(
                &path.key("id"),
                "is absent: nothing can refer to the variation, and the Java SDK stops for good; give it an id",
            );
            ""
        });
        let value = findings.text(value, &path, "value").unwrap_or_else(|| {
            findings.harms(
                &path.key("value"),
                "is absent: the agent serves the empty text to client SDKs, server SDKs give what they make of \
                 nothing, and at null the Rust SDK discards the whole message; give it a value",
            );
            ""
        });
        variations.push(Variation { id, value });
    }
    variations
}

fn targets<'a>(
    findings: &mut Findings,
    path: &Path<'_>,
    property: Property<'_, 'a>,
    known: &VariationIds<'_, 'a>,
) -> Vec<Target<'a>> {
    let elements = findings.needed_list(property, path, "targetUsers");
    let mut targets = Vec::with_capacity(elements.len());
    for (index, element) in elements.enumerate() {
        let path = path.item("targetUsers", index);
        pick!(findings.object(element, &path) => key_ids: "keyIds", variation_id: "variationId");
        let key_ids = findings.texts(key_ids, &path, "keyIds");
        let variation_id = findings.plain_text(variation_id, &path, "variationId").unwrap_or("");
        lint::variation_reference(findings, &path.key("variationId"), variation_id, known);
        targets.push(Target { key_ids, variation_id });
    }
    targets
}

fn rules<'a>(
    findings: &mut Findings,
    path: &Path<'_>,
    property: Property<'_, 'a>,
    known: &VariationIds<'_, 'a>,
    owner: Owner<'_, 'a>,
) -> Vec<Rule<'a>> {
    let elements = findings.needed_list(property, path, "rules");
    let mut rules = Vec::with_capacity(elements.len());
    for (index, element) in elements.enumerate() {
        let path = path.item("rules", index);
        pick!(findings.object(element, &path) =>
            name: "name",
            conditions: "conditions",
            dispatch_key: "dispatchKey",
            included_in_expt: "includedInExpt",
            variations: "variations",
        );
        rules.push(Rule {
            name: findings.plain_text(name, &path, "name").unwrap_or(""),
            conditions: self::conditions(findings, &path, conditions, owner),
            rollout: rollout(findings, &path, dispatch_key, included_in_expt, variations, known),
        });
    }
    rules
}

fn fallthrough<'a>(
    findings: &mut Findings,
    path: &Path<'_>,
    property: Property<'_, 'a>,
    known: &VariationIds<'_, 'a>,
) -> Rollout<'a> {
    let path = path.key("fallthrough");
    let Some(value) = property.filter(|value| !value.is_null()) else {
        let rust = if property.is_some() { ", and the Rust SDK discards the whole message" } else { "" };
        findings.harms(
            &path,
            format_args!(
                "is absent: users whom no target and no rule matches get no variation, the Go SDK panics in the \
                 application for them, the Java SDK gives the application's default{rust}; add it with a rollout"
            ),
        );
        return Rollout::default();
    };
    pick!(findings.object(value, &path) =>
        dispatch_key: "dispatchKey",
        included_in_expt: "includedInExpt",
        variations: "variations",
    );
    rollout(findings, &path, dispatch_key, included_in_expt, variations, known)
}

fn rollout<'a>(
    findings: &mut Findings,
    path: &Path<'_>,
    dispatch_key: Property<'_, 'a>,
    included_in_expt: Property<'_, 'a>,
    variations: Property<'_, 'a>,
    known: &VariationIds<'_, 'a>,
) -> Rollout<'a> {
    let dispatch_key = findings.text(dispatch_key, path, "dispatchKey");
    let included_in_expt = findings.boolean(included_in_expt, path, "includedInExpt");
    let (variations_property, elements) = (variations, findings.list(variations, path, "variations"));
    let mut variations = Vec::with_capacity(elements.len());
    for (index, element) in elements.enumerate() {
        let path = path.item("variations", index);
        pick!(findings.object(element, &path) =>
            id: "id",
            rollout: "rollout",
            expt_rollout: "exptRollout",
        );
        let id = findings.plain_text(id, &path, "id").unwrap_or("");
        lint::variation_reference(findings, &path.key("id"), id, known);
        let range = range(findings, &path, rollout);
        let expt_rollout = findings.number(expt_rollout, &path.key("exptRollout"));
        variations.push(RolloutVariation { id, range, expt_rollout });
    }
    lint::rollout(findings, &path.key("variations"), variations_property, &variations);
    Rollout { dispatch_key, included_in_expt, variations }
}

/// The two ends of a share. .NET reads an array of any length, throws at evaluation if it has fewer than two elements, and
/// ignores a third one; here a share with fewer than two matches no user.
fn range(findings: &mut Findings, path: &Path<'_>, property: Property<'_, '_>) -> [f64; 2] {
    let elements = findings.list(property, path, "rollout");
    let count = elements.len();
    let mut range = [0.0; 2];
    for (index, element) in elements.enumerate() {
        let path = path.item("rollout", index);
        let end = findings.number(Some(element), &path);
        if element.is_null() {
            findings.fault(&path, "is null, but must be a number");
        }
        if let Some(place) = range.get_mut(index) {
            *place = end;
        }
    }
    match count {
        2 => range,
        0 | 1 => {
            // The Node SDK indexes a null, the Go and Java SDKs an array that is too short.
            let harm = match property {
                Some(value) if !value.is_null() => "the Go and Java SDKs panic and throw in the application",
                Some(_) => {
                    "Go, Java and Node SDKs panic and throw in the application, and Rust's discards the message"
                }
                None => "the Go, Java and Node SDKs panic and throw in the application",
            };
            findings.harms(
                &path.key("rollout"),
                format_args!(
                    "holds {count} numbers instead of two: the share matches no user, and {harm}; write [from, to]"
                ),
            );
            [0.0; 2]
        }
        _ => {
            findings.warn(
                &path.key("rollout"),
                format_args!(
                    "holds {count} numbers instead of two: only the first two count; write [from, to]"
                ),
            );
            range
        }
    }
}

fn conditions<'a>(
    findings: &mut Findings,
    path: &Path<'_>,
    property: Property<'_, 'a>,
    owner: Owner<'_, 'a>,
) -> Vec<Condition<'a>> {
    if property.is_none_or(|value| value.is_null()) {
        let harm = property::absence_of_a_list(property);
        findings.harms(
            &path.key("conditions"),
            format_args!("{harm}; a rule without conditions matches every user: write [] if that is meant"),
        );
    }
    let elements = findings.list(property, path, "conditions");
    let mut conditions = Vec::with_capacity(elements.len());
    for (index, element) in elements.enumerate() {
        let path = path.item("conditions", index);
        pick!(findings.object(element, &path) => property: "property", op: "op", value: "value");
        let condition = Condition {
            property: findings.plain_text(property, &path, "property").unwrap_or(""),
            op: findings.text(op, &path, "op").unwrap_or(""),
            value: findings.text(value, &path, "value"),
        };
        let Condition { property, op: op_text, value: value_text } = condition;
        lint::condition(findings, &path, property, (op_text, op), (value_text, value), owner);
        conditions.push(condition);
    }
    conditions
}

/// Reads the segment at `path`, whose own JSON is `raw`; `None`, with an error, if it is not an object.
pub(super) fn segment<'a>(
    findings: &mut Findings,
    path: &Path<'_>,
    value: Value<'_, 'a>,
    raw: &'a str,
) -> Option<SegmentDef<'a>> {
    pick!(findings.required_object(value, path)? =>
        id: "id",
        env_id: "envId",
        updated_at: "updatedAt",
        pending: "pending",
        is_archived: "isArchived",
        included: "included",
        excluded: "excluded",
        rules: "rules",
    );
    Some(SegmentDef {
        raw,
        id: findings.item_id(id, path),
        env_id: findings.environment(env_id, path, "envId"),
        updated_at_ms: findings.updated_at_ms(updated_at, path),
        suits_all_sdks: suits_all_sdks(updated_at, pending),
        has_microseconds: has_microseconds(updated_at),
        sent_ms: i64::MIN,
        is_archived: findings.is_archived(is_archived, path),
        included: findings.texts(included, path, "included"),
        excluded: findings.texts(excluded, path, "excluded"),
        rules: segment_rules(findings, path, rules),
    })
}

fn segment_rules<'a>(
    findings: &mut Findings,
    path: &Path<'_>,
    property: Property<'_, 'a>,
) -> Vec<SegmentRule<'a>> {
    let elements = findings.needed_list(property, path, "rules");
    let mut rules = Vec::with_capacity(elements.len());
    for (index, element) in elements.enumerate() {
        let path = path.item("rules", index);
        pick!(findings.object(element, &path) => conditions: "conditions");
        let conditions = self::conditions(findings, &path, conditions, Owner::Segment);
        rules.push(SegmentRule { conditions });
    }
    rules
}
