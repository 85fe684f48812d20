//! The reader compared with a plain twin on `serde_json`: generated dumps with blanks and escapes anywhere, and
//! damaged ones.

use std::fmt::Write;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::dump;
use super::generate::{dumps, written};
use crate::model::dataset::Dataset;
use crate::model::flag::{FlagDef, Rollout};
use crate::model::parse::{DatasetText, with_flag, with_segment};
use crate::model::secret::SecretKind;
use crate::model::segment::{Condition, SegmentDef};
use crate::model::timestamp::parse_iso8601_ms;

fn words(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn elements(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn same_conditions(conditions: &[Condition<'_>], value: &Value) {
    assert_eq!(conditions.len(), elements(value).len());
    for (condition, value) in conditions.iter().zip(elements(value)) {
        assert_eq!(condition.property, value["property"].as_str().unwrap_or(""));
        assert_eq!(condition.op, value["op"].as_str().unwrap_or(""));
        assert_eq!(condition.value, value["value"].as_str());
    }
}

fn same_rollout(rollout: &Rollout<'_>, value: &Value) {
    assert_eq!(rollout.dispatch_key, value["dispatchKey"].as_str());
    assert_eq!(rollout.included_in_expt, value["includedInExpt"] == json!(true));
    assert_eq!(rollout.variations.len(), elements(&value["variations"]).len());
    for (share, value) in rollout.variations.iter().zip(elements(&value["variations"])) {
        assert_eq!(share.id, value["id"].as_str().unwrap_or(""));
        assert_eq!(share.expt_rollout, value["exptRollout"].as_f64().unwrap_or(0.0));
        let ends = elements(&value["rollout"]).iter().map(|end| end.as_f64().unwrap()).collect::<Vec<_>>();
        assert_eq!(share.range, if let [min, max, ..] = ends[..] { [min, max] } else { [0.0; 2] });
    }
}

fn same_flag(flag: &FlagDef<'_>, value: &Value) {
    let text = |name: &str| value[name].as_str().unwrap_or("");
    let truth = |name: &str| value[name] == json!(true);
    assert_eq!((flag.id, flag.key), (text("id"), text("key")));
    assert_eq!(flag.env_id.to_string(), text("envId").to_lowercase());
    assert_eq!(flag.variation_type, value["variationType"].as_str().unwrap_or("string"));
    assert_eq!(Some(flag.updated_at_ms), parse_iso8601_ms(text("updatedAt")));
    assert_eq!((flag.is_archived, flag.is_enabled), (truth("isArchived"), truth("isEnabled")));
    assert_eq!(flag.expt_include_all_targets, truth("exptIncludeAllTargets"));
    assert_eq!(flag.disabled_variation_id, text("disabledVariationId"));
    let pairs = |name: &str, one: &str, other: &str| {
        let pair = |value: &Value| (value[one].clone(), value[other].clone());
        elements(&value[name]).iter().map(pair).collect::<Vec<_>>()
    };
    let variations = pairs("variations", "id", "value");
    assert_eq!(flag.variations.len(), variations.len());
    for (variation, (id, value)) in flag.variations.iter().zip(&variations) {
        assert_eq!(
            (variation.id, variation.value),
            (id.as_str().unwrap_or(""), value.as_str().unwrap_or(""))
        );
    }
    let targets = pairs("targetUsers", "keyIds", "variationId");
    assert_eq!(flag.targets.len(), targets.len());
    for (target, (keys, id)) in flag.targets.iter().zip(&targets) {
        assert_eq!((&target.key_ids, target.variation_id), (&words(keys), id.as_str().unwrap_or("")));
    }
    let rules = elements(&value["rules"]);
    assert_eq!(flag.rules.len(), rules.len());
    for (rule, value) in flag.rules.iter().zip(rules) {
        assert_eq!(rule.name, value["name"].as_str().unwrap_or(""));
        same_conditions(&rule.conditions, &value["conditions"]);
        same_rollout(&rule.rollout, value);
    }
    same_rollout(&flag.fallthrough, &value["fallthrough"]);
}

fn same_segment(segment: &SegmentDef<'_>, value: &Value) {
    assert_eq!(segment.id, value["id"].as_str().unwrap());
    assert_eq!(segment.env_id.to_string(), value["envId"].as_str().unwrap().to_lowercase());
    assert_eq!(Some(segment.updated_at_ms), parse_iso8601_ms(value["updatedAt"].as_str().unwrap()));
    assert_eq!(segment.is_archived, value["isArchived"] == json!(true));
    assert_eq!(segment.included, words(&value["included"]));
    assert_eq!(segment.excluded, words(&value["excluded"]));
    let rules = elements(&value["rules"]);
    assert_eq!(segment.rules.len(), rules.len());
    for (rule, value) in segment.rules.iter().zip(rules) {
        same_conditions(&rule.conditions, &value["conditions"]);
    }
}

/// `serde_json` reads floats with an error in the last digit, so both sides of a comparison have to go
/// through it.
fn value_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Compares the dataset with the value that its text was written from.
fn same_dataset(dataset: &Dataset<'_>, dump: &Value) {
    let mut order = Vec::new();
    let mut named = |id: &Value| {
        let id = id.as_str().unwrap().to_lowercase();
        if !order.contains(&id) {
            order.push(id);
        }
    };
    let items = elements(&dump["items"]);
    items.iter().for_each(|item| named(&item["envId"]));
    for item in items {
        for list in ["secrets", "featureFlags", "segments"] {
            elements(&item[list]).iter().for_each(|element| named(&element["envId"]));
        }
    }
    assert_eq!(dataset.environments.iter().map(|env| env.id.to_string()).collect::<Vec<_>>(), order);
    for environment in &dataset.environments {
        let id = environment.id.to_string();
        let of = |list: &'static str| {
            let all = items.iter().flat_map(|item| elements(&item[list]));
            all.filter(|element| element["envId"].as_str().unwrap().to_lowercase() == id).collect::<Vec<_>>()
        };
        let flags = of("featureFlags");
        assert_eq!(environment.flags.len(), flags.len());
        for (flag, value) in environment.flags.iter().zip(flags) {
            same_flag(flag, value);
            assert_eq!(value_of(flag.raw), value_of(&value.to_string()));
            assert!(flag.raw.starts_with('{') && flag.raw.ends_with('}'));
            with_flag(flag.raw, |again| assert_eq!(format!("{again:?}"), format!("{flag:?}"))).unwrap();
        }
        let segments = of("segments");
        assert_eq!(environment.segments.len(), segments.len());
        for (segment, value) in environment.segments.iter().zip(segments) {
            same_segment(segment, value);
            assert_eq!(value_of(segment.raw), value_of(&value.to_string()));
            with_segment(segment.raw, |again| assert_eq!(format!("{again:?}"), format!("{segment:?}")))
                .unwrap();
        }
        let secrets = of("secrets");
        assert_eq!(environment.secrets.len(), secrets.len().min(1));
        for (secret, value) in environment.secrets.iter().zip(secrets) {
            assert_eq!(secret.value, value["value"].as_str().unwrap());
            assert_eq!(secret.kind == SecretKind::Server, value["type"] == json!("server"));
            assert_eq!(secret.project_key, value["projectKey"].as_str().unwrap_or(""));
            assert_eq!(secret.env_key, value["envKey"].as_str().unwrap_or(""));
        }
    }
}

/// Any `bytes` are either rejected with an error, or `serde_json` accepts them as JSON too.
fn read_anything(bytes: Vec<u8>) {
    let whole = serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok();
    let mut text = DatasetText::new(bytes);
    match text.parse() {
        Ok(dataset) => {
            assert!(whole);
            for environment in &dataset.environments {
                let flags = environment.flags.iter().map(|flag| flag.raw);
                let segments = environment.segments.iter().map(|segment| segment.raw);
                for raw in flags.chain(segments) {
                    assert!(raw.starts_with('{') && raw.ends_with('}'));
                    serde_json::from_str::<serde::de::IgnoredAny>(raw).unwrap();
                }
            }
        }
        Err(error) => {
            assert!(!error.faults.is_empty());
            assert!(!error.to_string().contains('\n'));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn reads_what_serde_json_reads(dump in dumps(), dice in prop::collection::vec(any::<u8>(), 1..200)) {
        let text = written(&dump, &dice);
        let mut text = DatasetText::new(text.into_bytes());
        same_dataset(&text.parse().unwrap(), &dump);
    }

    #[test]
    fn never_panics_on_damaged_dumps(
        damage in prop::collection::vec((any::<Index>(), any::<u8>(), 0u8..4), 1..4),
        dice in prop::collection::vec(any::<u8>(), 1..50),
    ) {
        let mut bytes = written(&dump(), &dice).into_bytes();
        for (index, byte, how) in damage {
            let at = index.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes[at] = b"{}[]\",:\\ 0e-"[usize::from(byte) % 12],
                2 => {
                    bytes.remove(at);
                }
                _ => bytes.insert(at, b"{}[]\",:\\u0e-"[usize::from(byte) % 12]),
            }
        }
        read_anything(bytes);
    }

    #[test]
    fn never_panics_on_truncated_or_foreign_bytes(
        cut in any::<Index>(), foreign in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let mut bytes = dump().to_string().into_bytes();
        bytes.truncate(cut.index(bytes.len()));
        read_anything(bytes.clone());
        bytes.extend_from_slice(&foreign);
        read_anything(bytes);
        read_anything(foreign);
    }

    #[test]
    fn never_panics_on_exchanged_values(
        at in any::<Index>(), with in select(vec![json!(null), json!(1), json!("x"), json!([]), json!({}), json!([[{}]])]),
    ) {
        let mut dump = dump();
        let mut pointers = Vec::new();
        pointers_of(&dump, &mut String::new(), &mut pointers);
        let pointer = &pointers[at.index(pointers.len())];
        *dump.pointer_mut(pointer).unwrap() = with;
        read_anything(dump.to_string().into_bytes());
    }
}

fn pointers_of(value: &Value, here: &mut String, into: &mut Vec<String>) {
    into.push(here.clone());
    let steps: Vec<(String, &Value)> = match value {
        Value::Array(elements) => {
            elements.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect()
        }
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value)).collect(),
        _ => return,
    };
    for (step, value) in steps {
        let len = here.len();
        write!(here, "/{step}").unwrap();
        pointers_of(value, here, into);
        here.truncate(len);
    }
}
