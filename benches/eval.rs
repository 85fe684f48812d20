//! What one evaluation costs beside a bare MD5 of its dispatch key, and a client payload beside its serialization.
//!
//! Read the ratios, not the figures: `evaluate/rollout` to `md5/one block`, the kinds without rollout to it, and
//! `client payload/evaluate and assemble` to `client payload/serde_json of the decided`.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use featbit_agent::eval::{Compiler, Flag, Segments};
use featbit_agent::model::environment_id::EnvironmentId;
use featbit_agent::model::flag::{FlagDef, Rollout, RolloutVariation, Rule, Target, Variation};
use featbit_agent::model::segment::{Condition, SegmentDef};
use featbit_agent::model::user::User;
use md5::{Digest, Md5};
use serde::Serialize;

const KEY: &str = "checkout.new-payment-page";
const ON: &str = "29b2d481-54fa-4b73-88af-661c1dfca53f";
const OFF: &str = "f0281f33-d115-475f-b3dc-1efeefbf3277";
const NO_ENV: EnvironmentId = EnvironmentId::from_bytes([0; 16]);

fn share(id: &str, min: f64, max: f64) -> RolloutVariation<'_> {
    RolloutVariation { id, range: [min, max], expt_rollout: 1.0 }
}

fn rollout(shares: Vec<RolloutVariation<'_>>) -> Rollout<'_> {
    Rollout { dispatch_key: None, included_in_expt: false, variations: shares }
}

fn flag(key: &str) -> FlagDef<'_> {
    FlagDef {
        raw: "",
        id: "fa5a26a7-6f74-4f9e-a99f-c882c7cf8979",
        env_id: NO_ENV,
        key,
        variation_type: "boolean",
        updated_at_ms: 1_735_689_607_273,
        is_archived: false,
        is_enabled: true,
        disabled_variation_id: OFF,
        variations: vec![Variation { id: ON, value: "true" }, Variation { id: OFF, value: "false" }],
        targets: Vec::new(),
        rules: Vec::new(),
        fallthrough: rollout(vec![share(ON, 0.0, 1.0)]),
        expt_include_all_targets: false,
    }
}

fn rule<'a>(property: &'a str, op: &'a str, value: &'a str) -> Rule<'a> {
    let conditions = vec![Condition { property, op, value: Some(value) }];
    Rule { name: "Rule 1", conditions, rollout: rollout(vec![share(ON, 0.0, 1.0)]) }
}

fn user() -> User {
    let properties = [
        ("country", Some("de")),
        ("plan", Some("enterprise")),
        ("age", Some("42")),
        ("email", Some("somebody@example.com")),
    ];
    User::new("3eacb184-2d79-49df-9ea7", Some("Somebody"), &properties).unwrap_or_else(|| unreachable!())
}

fn one_evaluation(criterion: &mut Criterion) {
    let user = user();
    let members: Vec<String> = (0..100_000).map(|number| format!("user-{number}")).collect();
    let mut compiler = Compiler::default();
    let segment = SegmentDef {
        raw: "",
        id: "s",
        env_id: NO_ENV,
        updated_at_ms: 0,
        is_archived: false,
        included: members.iter().map(String::as_str).chain([user.key_id()]).collect(),
        excluded: Vec::new(),
        rules: Vec::new(),
    };
    let segment = compiler.segment(&segment, &mut Vec::new());
    let segments = Segments::default().with([(compiler.slots.slot("s"), Some(Arc::new(segment)))]);

    let targeted = || Target {
        key_ids: members[..999].iter().map(String::as_str).chain([user.key_id()]).collect(),
        variation_id: OFF,
    };
    let halves = || rollout(vec![share(OFF, 0.0, 0.5), share(ON, 0.5, 1.0)]);
    let experiment = || Rollout {
        included_in_expt: true,
        variations: halves()
            .variations
            .into_iter()
            .map(|share| RolloutVariation { expt_rollout: 0.2, ..share })
            .collect(),
        ..halves()
    };
    let mut with_rule = |rule| compiler.flag(&FlagDef { rules: vec![rule], ..flag(KEY) }, &mut Vec::new());
    let mut kinds = vec![
        ("equal", with_rule(rule("plan", "Equal", "enterprise"))),
        ("number", with_rule(rule("age", "BiggerEqualThan", "18"))),
        ("segment of 100,001", with_rule(rule("User is in segment", "", r#"["s"]"#))),
        ("regex", with_rule(rule("email", "MatchRegex", r"@example\.(com|org)$"))),
        ("regex with look-ahead", with_rule(rule("email", "MatchRegex", r"^(?!admin).*@example\.com$"))),
    ];
    let mut other = |def| compiler.flag(&def, &mut Vec::new());
    kinds.push(("no rollout", other(flag(KEY))));
    kinds.push(("target of 1,000", other(FlagDef { targets: vec![targeted()], ..flag(KEY) })));
    kinds.push(("rollout", other(FlagDef { fallthrough: halves(), ..flag(KEY) })));
    kinds.push(("rollout with experiment", other(FlagDef { fallthrough: experiment(), ..flag(KEY) })));

    let mut group = criterion.benchmark_group("md5");
    let text = format!("{KEY}{}", user.key_id());
    group.bench_function("one block", |bencher| bencher.iter(|| Md5::digest(black_box(&text))));
    group.finish();
    let mut group = criterion.benchmark_group("evaluate");
    for (name, flag) in &kinds {
        group.bench_function(*name, |bencher| {
            bencher.iter(|| black_box(flag).evaluate(black_box(&user), black_box(&segments)));
        });
    }
    group.finish();
}

/// The client payload as it would be serialized, already decided.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Decided {
    id: String,
    variation: Option<String>,
    variation_type: String,
    variation_id: Option<String>,
    match_reason: String,
    variation_options: Vec<VariationOption>,
    send_to_experiment: bool,
    timestamp: i64,
}

#[derive(Serialize)]
struct VariationOption {
    id: String,
    value: String,
}

/// A thousand flags of every kind: a quarter each with a rule, a rollout, targets, and nothing.
fn thousand(keys: &[String]) -> Vec<FlagDef<'_>> {
    keys.iter().enumerate().map(|(number, key)| one_of_thousand(number, key)).collect()
}

fn one_of_thousand(number: usize, key: &str) -> FlagDef<'_> {
    match number % 4 {
        0 => FlagDef { rules: vec![rule("plan", "Equal", "enterprise")], ..flag(key) },
        1 => {
            let halves = rollout(vec![share(OFF, 0.0, 0.5), share(ON, 0.5, 1.0)]);
            FlagDef { fallthrough: halves, ..flag(key) }
        }
        2 => {
            let target = Target { key_ids: vec!["a", "b", "c"], variation_id: OFF };
            FlagDef { targets: vec![target], ..flag(key) }
        }
        _ => flag(key),
    }
}

fn client_payload(criterion: &mut Criterion) {
    let user = user();
    let segments = Segments::default();
    let keys: Vec<String> = (0..1000).map(|number| format!("area-{}.flag-{number}", number % 7)).collect();
    let defs = thousand(&keys);
    let mut compiler = Compiler::default();
    let flags: Vec<Flag> = defs.iter().map(|def| compiler.flag(def, &mut Vec::new())).collect();
    let decided: Vec<Decided> = flags
        .iter()
        .zip(&defs)
        .map(|(flag, def)| {
            let decision = flag.evaluate(&user, &segments);
            Decided {
                id: def.key.to_owned(),
                variation: decision.variation.map(|(_, value)| value.to_owned()),
                variation_type: def.variation_type.to_owned(),
                variation_id: decision.variation.map(|(id, _)| id.to_owned()),
                match_reason: decision.reason.to_owned(),
                variation_options: (def.variations.iter())
                    .map(|one| VariationOption { id: one.id.to_owned(), value: one.value.to_owned() })
                    .collect(),
                send_to_experiment: decision.send_to_experiment,
                timestamp: def.updated_at_ms,
            }
        })
        .collect();
    let assemble = || {
        let mut out = vec![b'['];
        for flag in &flags {
            if out.len() > 1 {
                out.push(b',');
            }
            flag.append_client_json(&user, &segments, &mut out);
        }
        out.push(b']');
        out
    };
    assert_eq!(serde_json::to_vec(&decided).ok(), Some(assemble()), "both sides make the same payload");

    let mut group = criterion.benchmark_group("client payload");
    group.bench_function("evaluate and assemble", |bencher| bencher.iter(assemble));
    group.bench_function("serde_json of the decided", |bencher| {
        bencher.iter(|| serde_json::to_vec(black_box(&decided)));
    });
    group.finish();
}

fn compiling(criterion: &mut Criterion) {
    let keys: Vec<String> = (0..1000).map(|number| format!("flag-{number}")).collect();
    let defs = thousand(&keys);
    criterion.bench_function("compile/1,000 flags", |bencher| {
        let mut compiler = Compiler::default();
        bencher.iter(|| defs.iter().map(|def| compiler.flag(def, &mut Vec::new())).collect::<Vec<_>>());
    });
}

criterion_group!(benches, one_evaluation, client_payload, compiling);
criterion_main!(benches);
