//! What leaves of the events of every SDK, and what does not.

mod planted;
mod twin;

use super::*;
use crate::config::event_properties;
use crate::insights::known_flags::NoFlags;
use serde_json::Value;

const KEY: &str = "0123456789abcdefghijklmnopqrstuv";

/// The flag `banner` with the variation `v-1` of the value `ann's`; any other flag is not known.
struct Flags;

impl KnownFlags for Flags {
    fn insights_enabled(&self, _: &str) -> bool {
        true
    }

    fn has_flag(&self, key: &str) -> bool {
        key == "banner"
    }

    fn has_variation(&self, key: &str, id: &str, value: &str) -> bool {
        (key, id, value) == ("banner", "v-1", "ann's")
    }
}

fn environment(number: u8) -> EnvironmentId {
    EnvironmentId::from_bytes([number; 16])
}

fn pseudonymizer(properties: &str) -> Pseudonymizer {
    Pseudonymizer::new(PseudonymKey::from_text(KEY).unwrap(), event_properties::parse(properties).unwrap())
}

fn transformed(properties: &str, event: &str) -> Option<String> {
    let out = pseudonymizer(properties).transform(environment(1), &Flags, event.as_bytes())?;
    let text = String::from_utf8(out).unwrap();
    serde_json::from_str::<Value>(&text).unwrap();
    Some(text)
}

/// `P` in `expected` stands for the pseudonym of `key`.
#[track_caller]
fn check(properties: &str, key: &str, event: &str, expected: &str) {
    let pseudonym = PseudonymKey::from_text(KEY).unwrap().user(environment(1), key);
    assert_eq!(transformed(properties, event).unwrap(), expected.replace("<P>", &pseudonym), "{event}");
}

#[test]
fn the_form_of_every_sdk_keeps_what_statistics_need() {
    for (event, expected) in [
        // Node: the variation has a name.
        (
            r#"{"user":{"keyId":"ann","name":"Ann","customizedProperties":[{"name":"a","value":"b"}]},"variations":[{"featureFlagKey":"banner","sendToExperiment":true,"timestamp":1700000000000,"variation":{"id":"v-1","value":"ann's","name":"on"}}]}"#,
            r#"{"user":{"keyId":"<P>"},"variations":[{"featureFlagKey":"banner","sendToExperiment":true,"timestamp":1700000000000,"variation":{"id":"v-1","value":"ann's"}}]}"#,
        ),
        // Python: a reason; 1.2.1 has no sendToExperiment.
        (
            r#"{"user": {"keyId": "ann", "name": "Ann"}, "variations": [{"featureFlagKey": "other-ann", "timestamp": 1, "variation": {"id": "v-1", "value": "ann's", "reason": "x"}}]}"#,
            r#"{"user":{"keyId":"<P>"},"variations":[{"featureFlagKey":"other-<P>","timestamp":1,"variation":{"id":"v-1","value":"<P>'s"}}]}"#,
        ),
        // Python's identify.
        (
            r#"{"user": {"keyId": "ann", "name": "Ann", "customizedProperties": []}}"#,
            r#"{"user":{"keyId":"<P>"}}"#,
        ),
        // Browser: no variation, or null.
        (
            r#"{"user":{"keyId":"ann"},"variations":[{"featureFlagKey":"banner","sendToExperiment":false},{"featureFlagKey":"banner","variation":null}]}"#,
            r#"{"user":{"keyId":"<P>"},"variations":[{"featureFlagKey":"banner","sendToExperiment":false},{"featureFlagKey":"banner"}]}"#,
        ),
        (
            r#"{"metrics":[{"route":"index/metric","type":"CustomEvent","eventName":"buy","numericValue":1.50,"appType":"x","timestamp":1}],"user":{"keyId":"ann"}}"#,
            r#"{"user":{"keyId":"<P>"},"metrics":[{"route":"index/metric","type":"CustomEvent","eventName":"buy","numericValue":1.50,"appType":"x","timestamp":1}]}"#,
        ),
    ] {
        check("", "ann", event, expected);
    }
    // Such texts are never the user's.
    check(
        "",
        "index",
        r#"{"user":{"keyId":"index","name":"CustomEvent"},"metrics":[{"route":"index/metric","type":"CustomEvent","eventName":"index"}]}"#,
        r#"{"user":{"keyId":"<P>"},"metrics":[{"route":"index/metric","type":"CustomEvent","eventName":"<P>"}]}"#,
    );
}

#[test]
fn what_is_not_known_or_of_another_type_is_dropped() {
    check(
        "",
        "ann",
        r#"{"ip":"1.2.3.4","user":{"keyId":"ann","email":"ann@x.org"},"Variations":[7,null,{"featureFlagKey":7},
            {"featureFlagKey":"banner","sendToExperiment":"yes","timestamp":"1","variation":{"id":7,"value":true,"extra":"x"},"ip":"1"},
            {"featureFlagKey":"banner","sendToExperiment":null,"timestamp":1.5,"variation":"v-1"}],
            "METRICS":[{"eventName":null},{"eventName":"e","numericValue":"1","type":{},"route":[],"appType":1,"timestamp":1e3},{"eventName":"e","numericValue":1e999}],
            "extra":{"deep":["ann"]}}"#,
        r#"{"user":{"keyId":"<P>"},"variations":[{"featureFlagKey":"banner","variation":{}},{"featureFlagKey":"banner"}],"metrics":[{"eventName":"e"},{"eventName":"e"}]}"#,
    );
    for event in [
        "",
        "null",
        "[]",
        "{}",
        "{",
        r#"{"user":{}}"#,
        r#"{"user":{"keyId":7}}"#,
        r#"{"user":{"keyId":" "}}"#,
        r#"{"user":{"keyId":"\ud800"}}"#,
        r#"{"user":{"keyId":"a","keyId":null}}"#,
        r#"{"user":{"keyId":"a"}} x"#,
    ] {
        assert_eq!(transformed("", event), None, "{event}");
    }
    assert_eq!(pseudonymizer("").transform(environment(1), &NoFlags, b"{\"user\":\"\xff\"}"), None);
}

#[test]
fn the_last_of_a_double_counts_and_the_others_still_identify_the_user() {
    check(
        "p=keep",
        "anna-2",
        r#"{"user":{"keyId":"anna-0","customizedProperties":[{"name":"p","value":"former"}]},
            "User":{"keyId":"anna-1","KEYID":"anna-2","name":"First","name":"Second",
                "customizedProperties":[{"name":"p","value":"earlier"}],
                "customizedProperties":[{"name":"q","name":"P","value":"older","value":"newer"}]},
            "metrics":[{"eventName":"lost"}],
            "metrics":[{"eventName":"x","eventName":"anna-0 anna-1 anna-2 first second former earlier older newer"}]}"#,
        r#"{"user":{"keyId":"<P>","customizedProperties":[{"name":"P","value":"newer"}]},"metrics":[{"eventName":"redacted redacted <P> redacted redacted redacted redacted redacted newer"}]}"#,
    );
}

#[test]
fn properties_leave_in_the_form_that_the_rules_allow() {
    let key = PseudonymKey::from_text(KEY).unwrap();
    let hash = key.property(environment(1), "account", "A-1000");
    let expected = format!(
        r#"{{"user":{{"keyId":"<P>","customizedProperties":[{{"name":"Plan","value":"gold"}},{{"name":"account","value":"{hash}"}},{{"name":"age","value":"30-39"}},{{"name":"email","value":"example.org"}},{{"name":"ip","value":"203.0.113.0/24"}},{{"name":"locale","value":"CH"}}]}},"metrics":[{{"eventName":"gold redacted redacted redacted redacted redacted"}}]}}"#
    );
    check(
        "plan;account=hash;age=range:10;email=domain;ip=network;locale=country",
        "u-17",
        r#"{"user":{"keyId":"u-17","customizedProperties":[
            {"name":"Plan","value":"gold"},{"name":"account","value":"A-1000"},{"name":"age","value":"37"},
            {"name":"email","value":"Ann@example.org"},{"name":"ip","value":"203.0.113.7"},
            {"name":"locale","value":"de-CH"},{"name":"city","value":"Bern"},
            {"name":"age","value":"old"},{"name":"email","value":"none"},{"name":"ip","value":"here"},
            {"name":"plan","value":1},{"name":"plan","value":null},{"name":"plan"},{"value":"gold"},"plan",null]},
            "metrics":[{"eventName":"gold a-1000 37 ann@example.org 203.0.113.7 Bern"}]}"#
            .replace(r#",{"value":"gold"}"#, "")
            .as_str(),
        &expected,
    );
    // A value that may leave, but has the user key in it.
    check(
        "home=keep;mail=domain",
        "ann-1",
        r#"{"user":{"keyId":"ann-1","name":"Bob B","customizedProperties":[{"name":"home","value":"/home/ANN-1/bob%20b"},{"name":"mail","value":"x@ann-1.org"}]}}"#,
        r#"{"user":{"keyId":"<P>","customizedProperties":[{"name":"home","value":"/home/<P>/redacted"},{"name":"mail","value":"<P>.org"}]}}"#,
    );
    // What is short and may leave is not lost because another property has the same value.
    check(
        "country",
        "ann-1",
        r#"{"user":{"keyId":"ann-1","customizedProperties":[{"name":"country","value":"de"},{"name":"language","value":"de"}]}}"#,
        r#"{"user":{"keyId":"<P>","customizedProperties":[{"name":"country","value":"de"}]}}"#,
    );
}

#[test]
fn numbers_that_are_values_of_the_user_do_not_leave() {
    check(
        "",
        "1700000000001",
        r#"{"user":{"keyId":"1700000000001","tel":"+49 151 2345","name":12},"variations":[
            {"featureFlagKey":"banner","timestamp":1700000000001},{"featureFlagKey":"banner","timestamp":1700000000002}],
            "metrics":[{"eventName":"a","numericValue":1.700000000001e12},{"eventName":"b","numericValue":491512345},
            {"eventName":"c","timestamp":1700000000001},{"eventName":"d","numericValue":12}]}"#,
        r#"{"user":{"keyId":"<P>"},"variations":[{"featureFlagKey":"banner","timestamp":1700000000002}],"metrics":[{"eventName":"d","numericValue":12}]}"#,
    );
}

#[test]
fn pseudonyms_are_stable_and_differ_by_environment_and_key() {
    let event = br#"{"user":{"keyId":"ann"}}"#;
    let once = pseudonymizer("").transform(environment(1), &NoFlags, event).unwrap();
    assert_eq!(pseudonymizer("").transform(environment(1), &NoFlags, event).unwrap(), once);
    // Escapes and letter case of names do not matter, letter case of the key does.
    let same = pseudonymizer("").transform(environment(1), &NoFlags, br#"{"USER":{"KeyId":"\u0061nn"}}"#);
    assert_eq!(same.unwrap(), once);
    let other_case = pseudonymizer("").transform(environment(1), &NoFlags, br#"{"user":{"keyId":"Ann"}}"#);
    assert_ne!(other_case.unwrap(), once);
    assert_ne!(pseudonymizer("").transform(environment(2), &NoFlags, event).unwrap(), once);
    // A pseudonym is transformed like any other key.
    assert_ne!(pseudonymizer("").transform(environment(1), &NoFlags, &once).unwrap(), once);
    let other_key = PseudonymKey::from_text(&KEY.to_uppercase()).unwrap();
    let other_key = Pseudonymizer::new(other_key, Vec::new());
    assert_ne!(other_key.transform(environment(1), &NoFlags, event).unwrap(), once);
    let key = PseudonymKey::from_text(KEY).unwrap();
    let pseudonyms: std::collections::HashSet<_> =
        (0..10_000).map(|at| key.user(environment(1), &at.to_string())).collect();
    assert_eq!(pseudonyms.len(), 10_000);
    assert!(pseudonyms.iter().all(|pseudonym| pseudonym.len() == 22));
}
