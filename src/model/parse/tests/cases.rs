//! Small inputs that harmed SDKs, or that people took for a dump.

use super::error_of;
use crate::model::parse::{DatasetText, harms_of_flag, harms_of_segment};

const DATES: &str = include_str!("../../../../tests/cases/dates.json");
const FAR_DATE: &str = include_str!("../../../../tests/cases/date-after-2262.json");
const HARMFUL: &str = include_str!("../../../../tests/cases/hurts-sdks.json");
const DOUBLED_KEY: &str = include_str!("../../../../tests/cases/doubled-key.json");
const FROM_THE_WIRE: &str = include_str!("../../../../tests/cases/saved-from-the-wire.json");

/// The warnings of a dump, and how many of them are about harm to SDKs.
fn warnings(dump: &str) -> (Vec<String>, usize) {
    let mut text = DatasetText::new(dump.as_bytes().to_vec());
    let dataset = text.parse().unwrap();
    (dataset.warnings.iter().map(ToString::to_string).collect(), dataset.harms().count())
}

/// What went wrong: the Go SDK reconnected 800 times a second.
#[test]
fn an_updated_at_after_2262_is_refused_with_its_place() {
    let line = error_of(FAR_DATE).to_string();
    assert!(line.starts_with("items[0].featureFlags[0].updatedAt: is after 2262-04-10"), "{line}");
    assert!(line.contains("(flag \"far\")"), "{line}");
    let latest = FAR_DATE.replace("2263-01-01T00:00:00.000Z", "2262-04-10T23:59:59.999Z");
    assert_eq!(warnings(&latest), (Vec::new(), 0));
}

/// What went wrong: each of these stopped the Go and Java SDKs for good.
#[test]
fn an_updated_at_that_stops_sdks_is_read_as_utc_and_reported_with_what_is_served() {
    let mut text = DatasetText::new(DATES.as_bytes().to_vec());
    let dataset = text.parse().unwrap();
    let flags = &dataset.environments[0].flags;
    let first_ms = 1_767_225_600_000;
    let day_ms = 24 * 3600 * 1000;
    let times: Vec<i64> = flags.iter().map(|flag| flag.updated_at_ms - first_ms).collect();
    assert_eq!(times, [123, day_ms, 2 * day_ms, 3 * day_ms + 123, 4 * day_ms]);
    let (lines, _) = warnings(DATES);
    for (index, served) in ["01T00:00:00.123Z", "02T00:00:00.000Z", "03T00:00:00.000Z"].iter().enumerate() {
        assert!(
            lines[index].starts_with(&format!("items[0].featureFlags[{index}].updatedAt: ")),
            "{lines:?}"
        );
        assert!(lines[index].contains(&format!("the agent serves 2026-01-{served}")), "{lines:?}");
    }
    assert_eq!(lines.len(), 3, "{lines:?}");
}

/// What went wrong: the agent served all this without a warning.
#[test]
fn what_stops_or_breaks_sdks_is_reported_with_flag_path_and_sdks() {
    // The real Java SDK catches its own errors, but not the one for a user that no share contains.
    const JAVA_DEFAULTS: &str = "Java SDK gives the application's default";
    let (lines, harms) = warnings(HARMFUL);
    for (place, flag, sdks) in [
        ("featureFlags[0].variations[1].id", "doubled-variation", &["Java"][..]),
        (
            "featureFlags[1].fallthrough.variations",
            "null-rollout",
            &["Go", "Node", "Rust", "Python and Java SDKs throw"],
        ),
        ("featureFlags[2].fallthrough.variations", "gap-in-rollout", &["Go", "Python and Java SDKs throw"]),
        (
            "featureFlags[3].rules[0].conditions[0].value",
            "list-not-json",
            &["Node", JAVA_DEFAULTS, "stops for good"],
        ),
        ("featureFlags[4].targetUsers", "null-lists", &["Node", "Rust"]),
        ("featureFlags[4].rules", "null-lists", &["Node", "Rust"]),
        ("featureFlags[5].targetUsers[0].keyIds[0]", "null-key", &[JAVA_DEFAULTS, "Rust"]),
        ("segments[0].included[0]", "", &["Rust"]),
        ("segments[1].rules[0].conditions[0].value", "", &[JAVA_DEFAULTS, "Rust"]),
    ] {
        let line = lines.iter().find(|line| line.starts_with(&format!("items[0].{place}: ")));
        let line = line.unwrap_or_else(|| panic!("{place}: {lines:#?}"));
        assert!(flag.is_empty() || line.ends_with(&format!("(flag \"{flag}\")")), "{line}");
        assert!(!flag.is_empty() || line.contains("(segment \"b000000"), "{line}");
        assert!(sdks.iter().all(|sdk| line.contains(sdk)), "{line} without {sdks:?}");
    }
    assert!(harms >= 9, "{lines:#?}");
}

#[test]
fn of_a_doubled_key_the_flag_that_is_left_out_is_named_once() {
    let (lines, harms) = warnings(DOUBLED_KEY);
    assert_eq!((lines.len(), harms), (1, 0), "{lines:?}");
    assert!(
        lines[0].contains("items[0].featureFlags[0] too") && lines[0].contains("that one is left out"),
        "{lines:?}"
    );
}

/// What went wrong: the only message was "eventType is missing".
#[test]
fn texts_that_people_take_for_dumps_are_recognized() {
    let data = serde_json::from_str::<serde_json::Value>(FROM_THE_WIRE).unwrap()["data"].to_string();
    let client = r#"{"messageType":"data-sync","data":{"eventType":"full","userKeyId":"u","featureFlags":[
        {"id":"a","variation":"true","variationType":"boolean"}]}}"#;
    for (text, says) in [
        (FROM_THE_WIRE, "is what a server SDK is sent"),
        (&*data, "is what a server SDK is sent"),
        (client, "is what a client SDK is sent"),
        (
            r#"[{"id":"a","variation":"true","variationType":"boolean"}]"#,
            "is what a client SDK is sent or bootstrapped with",
        ),
        (r#"[{"envId":"e","flags":[],"segments":[]}]"#, "FeatBit's agent v1"),
        (
            r#"[{"envId":"e","secrets":[],"featureFlags":[],"segments":[]}]"#,
            "the list of a dump's environments alone",
        ),
        (r#"{"envId":"e","secrets":[],"featureFlags":[],"segments":[]}"#, "one environment of a dump"),
        (r#"[{"id":"i","key":"k","variations":[]}]"#, "a list of flags alone"),
        (
            r#"{"messageType":"data-sync","data":{"eventType":"rp_full","items":[]}}"#,
            "Keep what is in \"data\"",
        ),
        (r#"{"messageType":"data-sync","data":{"eventType":"rp_patch","items":[]}}"#, "with changes only"),
        (r#"{"messageType":"ping","data":{}}"#, "a message between FeatBit and an SDK"),
        (r#"{"messageType":"ping","data":5}"#, "a message between FeatBit and an SDK"),
    ] {
        let error = error_of(text);
        assert_eq!(error.faults.len(), 1, "{text}: {error}");
        let line = error.to_string();
        assert!(line.starts_with("this is ") && line.contains(says), "{text}: {line}");
        assert!(line.contains("A dump is {\"eventType\":\"rp_full\",\"items\":[…]}"), "{line}");
    }
    for other in [
        "[]",
        "[1]",
        "{}",
        "[[]]",
        "7",
        r#"{"messageType":"x"}"#,
        r#"[{"variations":1,"variation":2,"id":3}]"#,
    ] {
        let line = error_of(other).to_string();
        assert!(!line.contains("A dump is") || line.contains("list of flags"), "{other}: {line}");
    }
}

/// What went wrong: the advice for a number was to put it in quotes, which is no date either.
#[test]
fn for_a_date_that_is_no_text_the_advice_is_the_date_that_is_taken() {
    let of = |value: &str| FAR_DATE.replace("\"2263-01-01T00:00:00.000Z\"", value);
    for (value, date) in [
        ("1767225600123", "2026-01-01T00:00:00.123Z"),
        ("1767225600", "2026-01-01T00:00:00.000Z"),
        ("1767225600123.9", "2026-01-01T00:00:00.123Z"),
        (r#"{"$date":1767225600123}"#, "2026-01-01T00:00:00.123Z"),
        (r#"{"$date":{"$numberLong":"1767225600123"}}"#, "2026-01-01T00:00:00.123Z"),
        (r#"{"$date":"2026-01-01T02:00:00+02:00"}"#, "2026-01-01T00:00:00.000Z"),
    ] {
        let line = error_of(of(value)).to_string();
        let (_, advice) = line.split_once("write ").unwrap_or_else(|| panic!("{value}: {line}"));
        assert!(advice.starts_with(&format!("\"{date}\"")), "{value}: {line}");
        assert_eq!(warnings(&of(&format!("\"{date}\""))), (Vec::new(), 0));
    }
    for value in [
        "true",
        "[]",
        "{}",
        "1e300",
        "-5",
        "99999999999999",
        r#"{"$date":true}"#,
        r#"{"$date":"x"}"#,
        r#"{"$date":{}}"#,
    ] {
        let line = error_of(of(value)).to_string();
        assert!(line.contains("ISO 8601") && !line.contains("write "), "{value}: {line}");
    }
}

#[test]
fn a_single_flag_or_segment_tells_what_harms_sdks_and_nothing_else() {
    let dump: serde_json::Value = serde_json::from_str(HARMFUL).unwrap();
    let environment = &dump["items"][0];
    let mut flag = environment["featureFlags"][0].clone();
    // A reference to an unknown segment does no harm.
    flag["rules"] = serde_json::json!([{"name": "r", "conditions": [{"property": "User is in segment", "op": "",
        "value": "[\"elsewhere\"]"}], "variations": [{"id": "gone", "rollout": [0, 1]}]}]);
    let harms = harms_of_flag(&flag.to_string());
    assert_eq!(harms.len(), 1, "{harms:?}");
    assert_eq!(harms[0].path, "variations[1].id");
    let harms = harms_of_segment(&environment["segments"][1].to_string());
    assert_eq!(harms.len(), 1, "{harms:?}");
    assert_eq!(harms[0].path, "rules[0].conditions[0].value");
    assert!(harms_of_flag("{").is_empty() && harms_of_flag("{}").is_empty());
}
