//! Values of generated users, planted in every place of every SDK's form and in places that they do not have. None of them
//! may be found in what goes out, whatever is decoded.

use super::*;
use proptest::prelude::*;

/// The events of the SDKs. `%` is a place where a value is planted; `KEY`, `NAME`, `TEXT` and `AGE` are the user's.
const FORMS: [&str; 5] = [
    // Node.
    r#"{"user":{"keyId":"KEY","name":"NAME","customizedProperties":[{"name":"city","value":"TEXT"},{"name":"plan","value":"gold %"}]},"variations":[{"featureFlagKey":"%","sendToExperiment":true,"timestamp":1700000000000,"variation":{"id":"%","value":"%","name":"%"}}]}"#,
    // Python.
    r#"{"user": {"keyId": "KEY", "name": "NAME", "customizedProperties": [{"name": "age", "value": "AGE"}]}, "variations": [{"featureFlagKey": "%", "timestamp": 1700000000000, "variation": {"id": "%", "value": "{\"a\": [\"%\"]}", "reason": "%"}}]}"#,
    // Python's identify.
    r#"{"user": {"keyId": "KEY", "name": "NAME", "customizedProperties": [{"name": "plan", "value": "is %"}, {"name": "other", "value": "%"}]}}"#,
    // A metric of any SDK.
    r#"{"user":{"keyId":"KEY","name":"NAME","customizedProperties":[{"name":"city","value":"TEXT"}]},"metrics":[{"route":"%","type":"%","eventName":"https://x/?q=%&r=%","numericValue":AGE,"appType":"%","timestamp":1700000000000}]}"#,
    // Where no SDK has anything.
    r#"{"User":{"KEYID":"KEY","Name":"NAME","email":"TEXT","more":{"age":AGE},"customizedProperties":[{"name":"plan","value":"is %","more":"%"}],"%":"%"},"ip":"%","headers":{"%":["%"]},"variations":[{"featureFlagKey":"x","variation":{"value":"%","%":"%"},"user":"%"}],"metrics":[{"eventName":"%","props":{"%":"%"}}]}"#,
];

/// A value as text within JSON, in one of the ways that programs write it.
fn written(value: &str, how: u8) -> String {
    let json = |text: &str| {
        let text = serde_json::to_string(text).unwrap();
        text[1..text.len() - 1].to_owned()
    };
    let percent = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    json(&match how {
        0 => value.to_owned(),
        1 => value.to_uppercase(),
        2 => value.to_lowercase(),
        3 => percent(value),
        4 => percent(value).replace("%20", "+"),
        5 => json(&serde_json::json!({"deep": {"user": value}}).to_string()),
        6 => serde_json::json!([value, 1]).to_string(),
        _ => format!("-{value}-"),
    })
}

/// Everything that a text may say: itself, and with its escapes decoded as often as there are any.
fn readings(text: &str) -> Vec<String> {
    let mut readings = vec![text.to_owned()];
    for _ in 0..4 {
        let last = readings.last().unwrap().clone();
        let percent =
            percent_encoding::percent_decode_str(&last.replace('+', " ")).decode_utf8_lossy().into_owned();
        let json = last.replace("\\\"", "\"").replace("\\\\", "\\").replace("\\/", "/");
        readings.extend([percent, json]);
    }
    readings.iter().map(|text| text.to_lowercase()).collect()
}

/// All strings of a document: names and values.
fn strings(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => out.push(text.clone()),
        Value::Array(list) => list.iter().for_each(|one| strings(one, out)),
        Value::Object(members) => members.iter().for_each(|(name, one)| {
            out.push(name.clone());
            strings(one, out);
        }),
        Value::Number(number) => out.push(number.to_string()),
        _ => {}
    }
}

proptest! {
    #[test]
    fn no_value_of_a_user_is_found_in_what_goes_out(
        key in "[A-Z][a-zé\"\\\\ /@.]{2,8}[0-9]{3}",
        name in "[A-Z][a-z]{3,6} [A-ZŐ][a-z']{4,8}",
        text in "[XYZ][a-zß王&=%]{3,9}[0-9]{2}",
        // Not a part of a timestamp.
        age in 20_000u32..69_999,
        form in prop::sample::select(&FORMS[..]),
        hows in prop::collection::vec((0u8..3, 0u8..8), 24),
    ) {
        let values = [key.as_str(), &name, &text];
        let mut plants = hows.iter().cycle();
        let mut event = String::new();
        for (index, part) in form.split('%').enumerate() {
            if index > 0 {
                let (which, how) = plants.next().unwrap();
                event.push_str(&written(values[usize::from(*which)], *how));
            }
            let own = |text: &str| written(text, 0);
            event.push_str(&part.replace("KEYID", "kEYiD").replace("KEY", &own(&key)).replace("NAME", &own(&name))
                .replace("TEXT", &own(&text)).replace("AGE", &age.to_string()));
        }
        prop_assume!(serde_json::from_str::<Value>(&event).is_ok());
        // A value that is planted but not the user's is no secret of the user.
        let event_value: Value = serde_json::from_str(&event).unwrap();
        let mut own = Vec::new();
        event_value.as_object().unwrap().iter().filter(|(name, _)| name.eq_ignore_ascii_case("user"))
            .for_each(|(_, user)| strings(user, &mut own));
        let secrets: Vec<&str> = values.into_iter().filter(|value| own.iter().any(|one| one == value)).collect();
        prop_assert!(secrets.contains(&key.as_str()), "{event}");
        let out = transformed("plan", &event).unwrap();
        let mut found = vec![out.clone()];
        strings(&serde_json::from_str(&out).unwrap(), &mut found);
        for reading in found.iter().flat_map(|text| readings(text)) {
            for secret in &secrets {
                let secret = secret.to_lowercase();
                prop_assert!(!reading.contains(&secret), "{secret:?} is in {out} of {event}");
            }
            if own.contains(&age.to_string()) {
                prop_assert!(!reading.contains(&age.to_string()) , "{age} is in {out} of {event}");
            }
        }
    }
}
