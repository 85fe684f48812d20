//! Generated users whose values can be found wherever they turn up, planted in every place that events of SDKs have and in
//! some that they do not have.
//!
//! Base64 and other codings that nobody reads as text are left out.

use serde_json::{Value, json};

use super::rng::Rng;

/// A user. What is secret of it is found nowhere by chance.
#[derive(Clone, Debug)]
pub struct Person {
    /// The user key, an e-mail address.
    pub key: String,
    /// The name.
    pub name: String,
    /// A city, a property that no setting names.
    pub city: String,
    /// An account number.
    pub account: String,
    /// An address in the network 203.0.x.0/24.
    pub ip: String,
}

/// What the tests let leave.
pub const PROPERTIES: &str = "plan;age=range:10;mail=domain;ip=network;locale=country;account=hash";

/// Forms of events. `KEY`, `NAME`, `CITY`, `ACCOUNT`, `IP` are the user's values, `%` is where one of them is planted. Between
/// them they have two evaluations and two metrics, all valid.
pub const FORMS: [&str; 6] = [
    // Node, browsers.
    r#"{"user":{"keyId":"KEY","name":"NAME","customizedProperties":[{"name":"plan","value":"gold"},{"name":"age","value":"37"},{"name":"city","value":"CITY"},{"name":"Mail","value":"KEY"},{"name":"ip","value":"IP"},{"name":"locale","value":"de-CH"},{"name":"account","value":"ACCOUNT"}]},"variations":[{"featureFlagKey":"%","sendToExperiment":true,"timestamp":1706745600000,"variation":{"id":"%","value":"%","name":"%","reason":"%"}}]}"#,
    // Python, with its spaces.
    r#"{"user": {"keyId": "KEY", "name": "NAME", "customizedProperties": [{"name": "city", "value": "CITY"}]}, "variations": [{"featureFlagKey": "on", "timestamp": 1706745600000, "variation": {"id": "v0", "value": "{\"a\": [\"%\"]}", "reason": "%"}}]}"#,
    // Its identify.
    r#"{"user": {"keyId": "KEY", "name": "NAME", "customizedProperties": [{"name": "plan", "value": "of %"}, {"name": "other", "value": "%"}]}}"#,
    // Metrics.
    r#"{"user":{"keyId":"KEY","name":"NAME","customizedProperties":[{"name":"account","value":"ACCOUNT"}]},"metrics":[{"route":"%","type":"%","eventName":"https://shop/?q=%&r=%","numericValue":12.5,"appType":"%","timestamp":1706745600000}]}"#,
    // In other letters, twice the same member, and where no SDK has anything.
    r#"{"USER":{"KeyID":"KEY","Name":"NAME","email":"%","more":{"deep":["CITY",{"%":"%"}]},"customizedproperties":[{"NAME":"plan","VALUE":"of %","more":"%"}]},"ip":"IP","headers":{"%":["%"]},"%":"%","Metrics":[{"EventName":"%","props":{"%":"%"},"timestamp":1706745600001}]}"#,
    r#"{"user":{"keyId":"%","name":"NAME","keyId":"KEY"},"session":"%","variations":"%","metrics":{"%":"%"}}"#,
];

/// Evaluations and metrics in all of [`FORMS`].
pub const IN_FORMS: (usize, usize) = (2, 2);

impl Person {
    /// The user of this number.
    pub fn new(rng: &mut Rng, number: usize) -> Self {
        let mut word = |letters: usize| -> String {
            (0..letters).map(|_| *rng.pick(&["q", "Zu", "vé", "x", "Kö", "w", "my"])).collect()
        };
        let (first, last, city, account) = (word(5), word(6), word(6), word(7));
        Self {
            key: format!("{first}.{last}+{number}@mail{number}.example"),
            name: format!("{last} O'\"{first}\" {number}"),
            city: format!("{city} & Söhne/{number}"),
            account: format!("A-{account}-{number}"),
            ip: format!("203.0.{}.{}", number % 200, 100 + number % 100),
        }
    }

    /// What must not be found of it.
    pub fn secrets(&self) -> [&str; 5] {
        [&self.key, &self.name, &self.city, &self.account, &self.ip]
    }

    /// The events of all forms, as one body.
    pub fn body(&self, rng: &mut Rng) -> String {
        format!("[{}]", FORMS.map(|form| self.event(form, rng)).join(" , "))
    }

    fn event(&self, form: &str, rng: &mut Rng) -> String {
        let mut event = String::new();
        for (index, part) in form.split('%').enumerate() {
            if index > 0 {
                // A user has the planted value himself: the key and the name are in each form.
                let value = *rng.pick(&[self.key.as_str(), &self.name]);
                event.push_str(&planted(value, rng.below(9)));
            }
            // Names of members that have the same letters stay.
            let part = part.replace("\"NAME\":\"plan\"", "\"nAmE\":\"plan\"");
            let own = [
                ("KEY", &self.key),
                ("NAME", &self.name),
                ("CITY", &self.city),
                ("ACCOUNT", &self.account),
                ("IP", &self.ip),
            ];
            let how = if rng.percent(30) { 8 } else { 0 };
            let filled =
                own.iter().fold(part, |part, (place, value)| part.replace(place, &planted(value, how)));
            event.push_str(&filled);
        }
        event
    }

    /// Header fields and a query that tell all of the user.
    pub fn around(&self) -> (Vec<(&'static str, String)>, String) {
        let all = self.secrets().map(percent).join("&");
        let headers = ["User-Agent", "X-User-Agent", "Cookie", "X-Forwarded-For", "Referer", "X-Request-Id"]
            .map(|name| (name, format!("{}; {all}", self.secrets().join("; ").escape_default())));
        (headers.into(), format!("?user={all}"))
    }
}

/// A value within a JSON string, in one of the ways that programs write it.
fn planted(value: &str, how: usize) -> String {
    match how {
        0 => in_json(value),
        1 => in_json(&value.to_uppercase()),
        2 => in_json(&value.to_lowercase()),
        3 => percent(value),
        4 => percent(value).replace("%20", "+"),
        5 => in_json(&in_json(&json!({ "user": value }).to_string())),
        6 => in_json(&json!([value, 1]).to_string()),
        7 => in_json(&format!("-{value}-")),
        _ => value.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect(),
    }
}

fn in_json(text: &str) -> String {
    let text = Value::from(text).to_string();
    text[1..text.len() - 1].to_owned()
}

fn percent(text: &str) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric();
    text.bytes()
        .map(|byte| if is_plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Fails if one of the secrets can be read in these bytes, whatever is decoded.
pub fn expect_nothing_of(people: &[Person], bytes: &[u8], place: &str) {
    let readings = readings(bytes);
    for secret in people.iter().flat_map(|person| person.secrets()) {
        for (how, reading) in readings.iter().enumerate() {
            let folded = secret.to_lowercase();
            if let Some(at) = find(reading, folded.as_bytes()) {
                let context = &reading[at.saturating_sub(200)..(at + folded.len() + 100).min(reading.len())];
                panic!("{secret:?} is in {place}, reading {how}: {}", String::from_utf8_lossy(context));
            }
        }
    }
}

/// Whether one of the secrets can be read: to show that the search finds what is there.
pub fn tells_of(person: &Person, bytes: &[u8]) -> bool {
    let readings = readings(bytes);
    person.secrets().iter().any(|secret| {
        readings.iter().any(|reading| find(reading, secret.to_lowercase().as_bytes()).is_some())
    })
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, part)
}

/// The bytes in lower case, and with escapes decoded up to three layers deep, in either order.
fn readings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![bytes.to_vec()];
    for layer in 0..3 {
        let last: Vec<Vec<u8>> = all[if layer == 0 { 0 } else { all.len() - 2 }..].to_vec();
        all.extend(last.iter().flat_map(|text| [unescaped(text), unpercented(text)]).take(2));
    }
    all.iter().map(|text| String::from_utf8_lossy(text).to_lowercase().into_bytes()).collect()
}

fn unpercented(bytes: &[u8]) -> Vec<u8> {
    let plus: Vec<u8> = bytes.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
    percent_encoding::percent_decode(&plus).collect()
}

/// With the escapes of JSON decoded wherever they are.
fn unescaped(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let mut units: Vec<u16> = Vec::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        let mut buffer = [0; 2];
        if character != '\\' {
            units.extend_from_slice(character.encode_utf16(&mut buffer));
            continue;
        }
        let ahead = rest.as_str();
        match ahead.strip_prefix('u').and_then(|hex| u16::from_str_radix(hex.get(..4)?, 16).ok()) {
            Some(unit) => {
                units.push(unit);
                rest.nth(4);
            }
            None => units.extend(rest.next().map(|escaped| escaped as u16)),
        }
    }
    String::from_utf16_lossy(&units).into_bytes()
}
