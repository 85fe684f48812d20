//! The order of decisions, and the client payload byte by byte.

use super::super::audience::NoVariation;
use super::*;
use crate::model::environment_id::EnvironmentId;

fn share<'a>(id: &'a str, range: [f64; 2]) -> flag::RolloutVariation<'a> {
    flag::RolloutVariation { id, range, expt_rollout: 1.0 }
}

fn rollout<'a>(shares: Vec<flag::RolloutVariation<'a>>) -> flag::Rollout<'a> {
    flag::Rollout { dispatch_key: None, included_in_expt: false, variations: shares }
}

fn def() -> FlagDef<'static> {
    FlagDef {
        raw: "",
        id: "1",
        env_id: EnvironmentId::from_bytes([0; 16]),
        key: "a \"flag\"",
        variation_type: "boolean",
        updated_at_ms: -5,
        suits_all_sdks: true,
        has_microseconds: false,
        sent_ms: i64::MIN,
        client_sent_ms: i64::MIN,
        is_archived: false,
        is_enabled: true,
        disabled_variation_id: "off",
        variations: vec![
            flag::Variation { id: "on", value: "true" },
            flag::Variation { id: "off", value: "fal\\se" },
            flag::Variation { id: "on", value: "second of its id" },
        ],
        targets: vec![
            flag::Target { key_ids: vec!["u1", "u2"], variation_id: "off" },
            flag::Target { key_ids: vec!["u2"], variation_id: "on" },
            flag::Target { key_ids: vec!["u2", "u3"], variation_id: "gone" },
        ],
        rules: Vec::new(),
        fallthrough: rollout(vec![share("on", [0.0, 1.0])]),
        expt_include_all_targets: false,
        insights_enabled: true,
    }
}

fn evaluated(def: &FlagDef<'_>, key: &str) -> String {
    let flag = Compiler::default().flag(def, &mut Vec::new());
    let user = User::new(key, None, &[]).unwrap();
    let decision = flag.evaluate(&user, &Segments::default());
    format!("{:?} {} {}", decision.variation, decision.reason, decision.send_to_experiment)
}

#[test]
fn archived_comes_before_disabled_before_targets() {
    let on = r#"Some(("on", "true"))"#;
    let off = r#"Some(("off", "fal\\se"))"#;
    assert_eq!(evaluated(&def(), "u1"), format!("{off} targeted false"));
    assert_eq!(evaluated(&def(), "u2"), format!("{off} targeted false"), "the first target wins");
    assert_eq!(evaluated(&def(), "u3"), "None targeted false", "a variation that is gone");
    assert_eq!(evaluated(&def(), "u4"), format!("{on} default false"), "the first of an id wins");
    let included = FlagDef { expt_include_all_targets: true, ..def() };
    assert_eq!(evaluated(&included, "u1"), format!("{off} targeted true"));
    let disabled = FlagDef { is_enabled: false, ..included.clone() };
    assert_eq!(evaluated(&disabled, "u1"), format!("{off} flag disabled false"));
    let missing = FlagDef { disabled_variation_id: "", ..disabled.clone() };
    assert_eq!(evaluated(&missing, "u1"), "None flag disabled false");
    let archived = FlagDef { is_archived: true, ..disabled };
    assert_eq!(evaluated(&archived, "u1"), "None flag archived false");
}

#[test]
fn a_user_in_no_share_gets_empty_texts_and_the_same_reason() {
    let none = FlagDef { fallthrough: rollout(vec![share("on", [0.0, 0.0])]), ..def() };
    assert_eq!(evaluated(&none, "u4"), r#"Some(("", "")) default false"#);
    let included = FlagDef { expt_include_all_targets: true, ..none };
    assert_eq!(evaluated(&included, "u4"), r#"Some(("", "")) default true"#);
    let gone = FlagDef { fallthrough: rollout(vec![share("gone", [0.0, 1.0])]), ..def() };
    assert_eq!(evaluated(&gone, "u4"), "None default false");
}

fn payload(def: &FlagDef<'_>, key: &str) -> String {
    let flag = Compiler::default().flag(def, &mut Vec::new());
    let mut out = b"before ".to_vec();
    flag.append_client_json(&User::new(key, None, &[]).unwrap(), &Segments::default(), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn client_json_is_spliced_in_the_order_of_the_original() {
    let options = r#"[{"id":"on","value":"true"},{"id":"off","value":"fal\\se"},{"id":"on","value":"second of its id"}]"#;
    assert_eq!(
        payload(&def(), "u1"),
        format!(
            r#"before {{"id":"a \"flag\"","variation":"fal\\se","variationType":"boolean","variationId":"off","matchReason":"targeted","variationOptions":{options},"sendToExperiment":false,"timestamp":-5}}"#
        )
    );
    let archived = FlagDef { is_archived: true, variations: Vec::new(), key: "k", ..def() };
    assert_eq!(
        payload(&archived, "u1"),
        r#"before {"id":"k","variation":null,"variationType":"boolean","variationId":null,"matchReason":"flag archived","variationOptions":[],"sendToExperiment":false,"timestamp":-5}"#
    );
    let rule = flag::Rule {
        name: "a \"rule\"",
        conditions: Vec::new(),
        rollout: rollout(vec![share("on", [0.0, 0.0])]),
    };
    let ruled = FlagDef { rules: vec![rule], targets: Vec::new(), ..def() };
    let json = payload(&ruled, "u1");
    assert!(json.contains(r#""variation":"","#) && json.contains(r#""variationId":"","#), "{json}");
    assert!(json.contains(r#""matchReason":"a \"rule\"","#), "{json}");
}

/// What went wrong: the Android SDK passes over an item whose variation is null, and kept the old value of an archived flag.
#[test]
fn a_flag_without_a_variation_can_be_told_as_an_empty_text() {
    let user = User::new("u1", None, &[]).unwrap();
    let audience = Audience { user: &user, no_variation: NoVariation::EmptyText };
    let written = |def: &FlagDef<'_>| {
        let mut out = Vec::new();
        let flag = Compiler::default().flag(def, &mut Vec::new());
        flag.append_client_json(audience, &Segments::default(), &mut out);
        String::from_utf8(out).unwrap()
    };
    let archived = written(&FlagDef { is_archived: true, ..def() });
    assert!(archived.contains(r#""variation":"","#), "{archived}");
    assert!(archived.contains(r#""variationId":null,"matchReason":"flag archived""#), "{archived}");
    let gone =
        FlagDef { fallthrough: rollout(vec![share("gone", [0.0, 1.0])]), targets: Vec::new(), ..def() };
    assert!(written(&gone).contains(r#""variation":"","#));
    assert_eq!(written(&def()), payload(&def(), "u1")["before ".len()..]);
}

#[test]
fn a_flag_stays_lean() {
    let flag = Compiler::default().flag(&def(), &mut Vec::new());
    assert!(size_of::<Flag>() <= 256, "{}", size_of::<Flag>());
    assert!(size_of::<Condition>() <= 40, "{}", size_of::<Condition>());
    assert!(flag.memory_bytes() < 900, "{}", flag.memory_bytes());
    // Each variation's texts are there once, whatever refers to them.
    assert_eq!(flag.arena.matches("second of its id").count(), 1);
}
