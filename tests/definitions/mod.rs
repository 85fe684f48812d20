//! Definitions out of JSON values, for tests of evaluation that should not depend on the dataset's parser.
#![allow(dead_code, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use featbit_agent::model::environment_id::EnvironmentId;
use featbit_agent::model::flag::{FlagDef, Rollout, RolloutVariation, Rule, Target, Variation};
use featbit_agent::model::segment::{Condition, SegmentDef, SegmentRule};
use featbit_agent::model::user::User;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Elements of the array `name`; none if it is missing.
pub fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().into_iter().flatten()
}

/// The text `name`; empty if it is missing or null.
pub fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or("")
}

fn flagged(value: &Value, name: &str) -> bool {
    value[name].as_bool().unwrap_or(false)
}

fn strings<'a>(value: &'a Value, name: &str) -> Vec<&'a str> {
    list(value, name).filter_map(Value::as_str).collect()
}

fn env_id(value: &Value) -> EnvironmentId {
    EnvironmentId::parse(text(value, "envId")).unwrap_or(EnvironmentId::from_bytes([0; 16]))
}

/// Milliseconds, truncated.
pub fn updated_at_ms(value: &Value) -> i64 {
    value["updatedAt"].as_str().map_or(0, |text| {
        let time = OffsetDateTime::parse(text, &Rfc3339).unwrap();
        i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap()
    })
}

pub fn flag(value: &Value) -> FlagDef<'_> {
    FlagDef {
        raw: "",
        id: text(value, "id"),
        env_id: env_id(value),
        key: text(value, "key"),
        variation_type: value["variationType"].as_str().unwrap_or("string"),
        updated_at_ms: updated_at_ms(value),
        suits_all_sdks: true,
        has_microseconds: false,
        sent_ms: i64::MIN,
        client_sent_ms: i64::MIN,
        is_archived: flagged(value, "isArchived"),
        is_enabled: flagged(value, "isEnabled"),
        disabled_variation_id: text(value, "disabledVariationId"),
        variations: list(value, "variations")
            .map(|variation| Variation { id: text(variation, "id"), value: text(variation, "value") })
            .collect(),
        targets: list(value, "targetUsers")
            .map(|target| Target {
                key_ids: strings(target, "keyIds"),
                variation_id: text(target, "variationId"),
            })
            .collect(),
        rules: list(value, "rules")
            .map(|rule| Rule {
                name: text(rule, "name"),
                conditions: list(rule, "conditions").map(condition).collect(),
                rollout: rollout(rule),
            })
            .collect(),
        fallthrough: rollout(&value["fallthrough"]),
        expt_include_all_targets: flagged(value, "exptIncludeAllTargets"),
        insights_enabled: value["insightsEnabled"] != Value::Bool(false),
    }
}

pub fn rollout(value: &Value) -> Rollout<'_> {
    let number = |value: &Value| value.as_f64().unwrap();
    Rollout {
        dispatch_key: value["dispatchKey"].as_str(),
        included_in_expt: flagged(value, "includedInExpt"),
        variations: list(value, "variations")
            .map(|share| RolloutVariation {
                id: text(share, "id"),
                range: [number(&share["rollout"][0]), number(&share["rollout"][1])],
                expt_rollout: number(&share["exptRollout"]),
            })
            .collect(),
    }
}

pub fn condition(value: &Value) -> Condition<'_> {
    Condition { property: text(value, "property"), op: text(value, "op"), value: value["value"].as_str() }
}

pub fn segment(value: &Value) -> SegmentDef<'_> {
    SegmentDef {
        raw: "",
        id: text(value, "id"),
        env_id: env_id(value),
        updated_at_ms: updated_at_ms(value),
        suits_all_sdks: true,
        has_microseconds: false,
        sent_ms: i64::MIN,
        is_archived: flagged(value, "isArchived"),
        included: strings(value, "included"),
        excluded: strings(value, "excluded"),
        rules: list(value, "rules")
            .map(|rule| SegmentRule { conditions: list(rule, "conditions").map(condition).collect() })
            .collect(),
    }
}

pub fn user(value: &Value) -> User {
    let properties: Vec<_> = list(value, "customizedProperties")
        .map(|property| (text(property, "name"), property["value"].as_str()))
        .collect();
    User::new(text(value, "keyId"), value["name"].as_str(), &properties).unwrap()
}
