//! `examples/demo.json`, which the README recommends to new users, must keep what the README promises.

use std::collections::BTreeSet;

use crate::model::dataset::Dataset;
use crate::model::environment_id::EnvironmentId;
use crate::model::parse::DatasetText;
use crate::model::secret::{SecretKind, encoded_env_id};

const DEMO: &str = include_str!("../../../../examples/demo.json");

fn with_demo(check: impl FnOnce(&Dataset<'_>)) {
    let mut text = DatasetText::new(DEMO.as_bytes().to_vec());
    check(&text.parse().unwrap());
}

#[test]
fn gives_no_warning() {
    with_demo(|demo| assert_eq!(demo.warnings, []));
}

#[test]
fn has_three_environments_of_two_projects_with_secrets_for_both_kinds_of_sdks() {
    with_demo(|demo| {
        let mut names = Vec::new();
        for environment in &demo.environments {
            let [server, client] = &environment.secrets[..] else {
                panic!("{}: {} secrets", environment.id, environment.secrets.len());
            };
            assert_eq!((server.kind, client.kind), (SecretKind::Server, SecretKind::Client));
            for secret in [server, client] {
                assert_eq!(encoded_env_id(secret.value), Some(environment.id));
                assert_eq!(secret.env_id, environment.id);
            }
            names.push(format!("{}:{}", server.project_key, server.env_key));
        }
        assert_eq!(names, ["webshop:dev", "webshop:prod", "mobile:prod"]);
    });
}

/// What went wrong: `search-settings` made `variation` of the Node SDK throw for users without `appVersion`.
#[test]
fn no_condition_makes_the_node_sdk_throw_for_a_user_without_the_attribute() {
    with_demo(|demo| {
        let flags = demo.environments.iter().flat_map(|environment| &environment.flags);
        let segments = demo.environments.iter().flat_map(|environment| &environment.segments);
        let rules = flags.flat_map(|flag| flag.rules.iter().map(|rule| (flag.key, &rule.conditions)));
        let rules = rules.chain(
            segments.flat_map(|segment| segment.rules.iter().map(|rule| (segment.id, &rule.conditions))),
        );
        for (name, conditions) in rules {
            let reached = conditions.iter().take_while(|condition| condition.op != "IsOneOf");
            for condition in reached {
                let throws =
                    ["Contains", "NotContain", "StartsWith", "EndsWith", "MatchRegex", "NotMatchRegex"];
                let has =
                    matches!(condition.property, "keyId" | "User is in segment" | "User is not in segment");
                assert!(
                    has || !throws.contains(&condition.op),
                    "{name}: {} {}",
                    condition.property,
                    condition.op
                );
            }
        }
    });
}

#[test]
fn every_sdk_can_read_it() {
    with_demo(|demo| {
        let mut times = BTreeSet::new();
        for environment in &demo.environments {
            let flags = environment.flags.iter().map(|flag| (flag.id, flag.updated_at_ms));
            let segments = environment.segments.iter().map(|segment| (segment.id, segment.updated_at_ms));
            for (id, updated_at_ms) in flags.chain(segments) {
                assert!(EnvironmentId::parse(id).is_some(), "{id}");
                // In any order: anybody who tries the demo sets one to the current time.
                assert!(times.insert(updated_at_ms), "{id}: another item has its updatedAt");
            }
        }
    });
}

/// fb-python-sdk 1.2.1 logs `KeyError: 'cat'` for each archived flag that it gets.
#[test]
fn the_environment_that_the_readme_tries_has_no_archived_flag() {
    with_demo(|demo| {
        let archived = |at: usize| demo.environments[at].flags.iter().any(|flag| flag.is_archived);
        assert_eq!((archived(0), archived(1)), (false, true));
    });
}

#[test]
fn the_readme_names_only_secrets_and_values_that_are_in_it() {
    let readme = include_str!("../../../../README.md");
    let secrets = readme
        .split(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c))
        .filter(|word| word.len() == 44)
        .collect::<BTreeSet<_>>();
    assert_eq!(secrets.len(), 2);
    for text in secrets.into_iter().chain(["Grüezi!", "banner-text", "2025-01-06T12:14:53.727Z"]) {
        assert!(DEMO.contains(text), "{text}");
    }
    // The highest version of the data, which the lines of the log in the README show.
    assert!(readme.contains("data_version=1736165693727"));
}

#[test]
fn shows_everything_that_flags_can_do() {
    let mut shown = BTreeSet::new();
    let mut homes = std::collections::BTreeMap::<String, BTreeSet<String>>::new();
    with_demo(|demo| {
        for environment in &demo.environments {
            for flag in &environment.flags {
                shown.insert(flag.variation_type.to_string());
                let rollouts = flag.rules.iter().map(|rule| &rule.rollout).chain([&flag.fallthrough]);
                for rollout in rollouts {
                    if rollout.variations.len() > 1 {
                        let by = rollout.dispatch_key.map_or("rollout by key", |_| "rollout by attribute");
                        shown.insert(by.to_string());
                    }
                    if rollout.included_in_expt
                        && rollout.variations.iter().any(|share| share.expt_rollout < 1.0)
                    {
                        shown.insert(String::from("experiment"));
                    }
                }
                for condition in flag.rules.iter().flat_map(|rule| &rule.conditions) {
                    let segment = condition.property.starts_with("User is ");
                    shown.insert(if segment { condition.property } else { condition.op }.to_string());
                }
                for (feature, has) in [
                    ("disabled", !flag.is_enabled),
                    ("archived", flag.is_archived),
                    ("targets", !flag.targets.is_empty()),
                ] {
                    shown.extend(has.then(|| feature.to_string()));
                }
            }
            for segment in &environment.segments {
                homes.entry(segment.id.to_string()).or_default().insert(environment.id.to_string());
                for (feature, has) in [
                    ("included", !segment.included.is_empty()),
                    ("excluded", !segment.excluded.is_empty()),
                    ("segment rules", !segment.rules.is_empty()),
                ] {
                    shown.extend(has.then(|| feature.to_string()));
                }
            }
        }
    });
    let expected = [
        "BiggerEqualThan",
        "BiggerThan",
        "Contains",
        "Equal",
        "IsFalse",
        "IsOneOf",
        "IsTrue",
        "LessEqualThan",
        "LessThan",
        "MatchRegex",
        "NotContain",
        "NotEqual",
        "NotMatchRegex",
        "NotOneOf",
        "StartsWith",
        "User is in segment",
        "User is not in segment",
        "archived",
        "boolean",
        "disabled",
        "excluded",
        "experiment",
        "included",
        "json",
        "number",
        "rollout by attribute",
        "rollout by key",
        "segment rules",
        "string",
        "targets",
    ];
    // `EndsWith` is in a segment: flags reach it through "User is in segment".
    assert_eq!(shown.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    assert!(DEMO.contains("\"op\": \"EndsWith\""));
    assert_eq!(homes.values().map(BTreeSet::len).max(), Some(3), "no segment is shared by all environments");
}

#[test]
fn values_are_of_their_flags_type() {
    with_demo(|demo| {
        for flag in demo.environments.iter().flat_map(|environment| &environment.flags) {
            for variation in &flag.variations {
                let value = serde_json::from_str::<serde_json::Value>(variation.value);
                let good = match flag.variation_type {
                    "boolean" => value.is_ok_and(|value| value.is_boolean()),
                    "number" => value.is_ok_and(|value| value.is_number()),
                    "json" => value.is_ok_and(|value| value.is_object()),
                    _ => true,
                };
                assert!(good, "{}: {}", flag.key, variation.value);
            }
        }
    });
}
