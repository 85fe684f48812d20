//! Builds dumps as FeatBit's back end writes them, and changes them as its users do.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// When the items of a new dataset were last changed: 2024-02-01T00:00:00Z.
pub const START_MS: i64 = 1_706_745_600_000;

/// Which SDKs a secret is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Server SDKs.
    Server,
    /// Client SDKs.
    Client,
}

impl Kind {
    /// As the wire spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Server => "server",
            Kind::Client => "client",
        }
    }
}

/// One environment of a dump.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Its id, a GUID.
    pub id: String,
    /// `project:environment` of its secrets.
    pub serves: (String, String),
    /// Its secrets.
    pub secrets: Vec<Value>,
    /// Its flags.
    pub flags: Vec<Value>,
    /// Its segments.
    pub segments: Vec<Value>,
}

/// A dump.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    /// Its environments, in order.
    pub environments: Vec<Environment>,
}

impl Dataset {
    /// A dump of these environments.
    pub fn of(environments: impl IntoIterator<Item = Environment>) -> Self {
        Self { environments: environments.into_iter().collect() }
    }

    /// The dataset of a dump.
    pub fn from_json(dump: &Value) -> Self {
        let list = |item: &Value, name: &str| item[name].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self::of(dump["items"].as_array().into_iter().flatten().map(|item| {
            let secrets = list(item, "secrets");
            let first = secrets.first().cloned().unwrap_or_default();
            Environment {
                id: text(&item["envId"]),
                serves: (text(&first["projectKey"]), text(&first["envKey"])),
                secrets,
                flags: list(item, "featureFlags"),
                segments: list(item, "segments"),
            }
        }))
    }

    /// As the bootstrap call takes it.
    pub fn to_json(&self) -> Value {
        let items: Vec<Value> = self
            .environments
            .iter()
            .map(|environment| {
                json!({
                    "envId": environment.id,
                    "secrets": environment.secrets,
                    "featureFlags": environment.flags,
                    "segments": environment.segments,
                })
            })
            .collect();
        json!({ "eventType": "rp_full", "items": items })
    }

    /// As a data file holds it.
    pub fn to_text(&self) -> String {
        self.to_json().to_string()
    }
}

impl Environment {
    /// An environment with one server and one client secret. Each has its own `number`.
    pub fn new(number: u8) -> Self {
        let id = format!("e1a1d6a4-6b7c-4f1e-9a53-3b8d3a0e7c{number:02x}");
        let serves = (format!("project-{number}"), "production".to_owned());
        let mut environment =
            Self { id, serves, secrets: Vec::new(), flags: Vec::new(), segments: Vec::new() };
        environment.add_secret(Kind::Server, 0);
        environment.add_secret(Kind::Client, 0);
        environment
    }

    /// With this flag.
    pub fn flag(mut self, flag: Value) -> Self {
        self.add_flag(flag);
        self
    }

    /// With this segment.
    pub fn segment(mut self, segment: Value) -> Self {
        self.add_segment(segment);
        self
    }

    /// Adds a flag, as one of this environment.
    pub fn add_flag(&mut self, mut flag: Value) {
        flag["envId"] = json!(self.id);
        self.flags.push(flag);
    }

    /// Adds a segment, as one of this environment.
    pub fn add_segment(&mut self, mut segment: Value) {
        segment["envId"] = json!(self.id);
        self.segments.push(segment);
    }

    /// Adds the `number`th secret of that kind and returns its text.
    pub fn add_secret(&mut self, kind: Kind, number: u8) -> String {
        let value = secret_text(&self.id, kind, number);
        self.secrets.push(json!({
            "type": kind.as_str(),
            "projectKey": self.serves.0,
            "envId": self.id,
            "envKey": self.serves.1,
            "value": value,
        }));
        value
    }

    /// Its first secret of that kind.
    pub fn secret(&self, kind: Kind) -> String {
        let listed = self.secrets.iter().find(|secret| secret["type"] == kind.as_str());
        let listed = listed.and_then(|secret| secret["value"].as_str()).map(str::to_owned);
        listed.unwrap_or_else(|| secret_text(&self.id, kind, 0))
    }

    /// The flag of that key.
    pub fn flag_mut(&mut self, key: &str) -> &mut Value {
        let found = self.flags.iter_mut().find(|flag| flag["key"] == key);
        found.unwrap_or_else(|| panic!("no flag {key}"))
    }

    /// The segment of that id.
    pub fn segment_mut(&mut self, id: &str) -> &mut Value {
        let found = self.segments.iter_mut().find(|segment| segment["id"] == id);
        found.unwrap_or_else(|| panic!("no segment {id}"))
    }

    /// Takes the flag of that key away.
    pub fn remove_flag(&mut self, key: &str) {
        let before = self.flags.len();
        self.flags.retain(|flag| flag["key"] != key);
        assert_eq!(self.flags.len() + 1, before, "no flag {key}");
    }
}

/// A secret as FeatBit makes it: 22 characters of its own, 22 of its environment's id.
pub fn secret_text(environment_id: &str, kind: Kind, number: u8) -> String {
    let mut own = *b"0123456789abcdef";
    own[0] = kind as u8;
    own[1] = number;
    format!("{}{}", base64url(&own), base64url(&dotnet_guid_bytes(environment_id)))
}

/// A GUID's bytes in .NET's order: the first three groups little-endian.
fn dotnet_guid_bytes(guid: &str) -> [u8; 16] {
    let hex: Vec<u8> = guid.bytes().filter(|&byte| byte != b'-').collect();
    assert_eq!(hex.len(), 32, "{guid} is no GUID");
    let mut bytes = [0; 16];
    for (index, byte) in bytes.iter_mut().enumerate() {
        let pair = std::str::from_utf8(&hex[2 * index..2 * index + 2]).expect("hexadecimal digits are ASCII");
        *byte = u8::from_str_radix(pair, 16).expect("a GUID is hexadecimal");
    }
    bytes[0..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes
}

/// 16 bytes as 22 characters of base64url without padding.
fn base64url(bytes: &[u8; 16]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits = u128::from_be_bytes(*bytes);
    (0..22)
        .map(|index| {
            let digit = if index < 21 { bits >> (122 - 6 * index) } else { bits << 4 };
            DIGITS[(digit & 63) as usize] as char
        })
        .collect()
}

/// Unix milliseconds as FeatBit writes `updatedAt`.
pub fn iso(at_ms: i64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let at =
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_ms) * 1_000_000).expect("a date of our time");
    at.format(format).expect("a date can be written")
}

/// The version that an item is sent with: `updatedAt` of a server SDK's, `timestamp` of a client SDK's.
pub fn item_version_ms(item: &Value) -> i64 {
    if let Some(timestamp_ms) = item["timestamp"].as_i64() {
        return timestamp_ms;
    }
    let text = item["updatedAt"].as_str().unwrap_or_else(|| panic!("no updatedAt in {item}"));
    let at = OffsetDateTime::parse(text, &Rfc3339).unwrap_or_else(|error| panic!("{text}: {error}"));
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).expect("a time of this age")
}

/// Says that an item was changed `later_ms` after [`START_MS`].
pub fn touch(item: &mut Value, later_ms: i64) {
    item["updatedAt"] = json!(iso(START_MS + later_ms));
}

/// A flag whose variations are `v0`, `v1` … with these values; everybody gets the first.
pub fn flag(key: &str, variation_type: &str, values: &[&str]) -> Value {
    let variations: Vec<Value> = values
        .iter()
        .enumerate()
        .map(|(index, value)| json!({ "id": format!("v{index}"), "name": format!("Variation {index}"), "value": value }))
        .collect();
    json!({
        "id": guid_of(key),
        "envId": "",
        "name": format!("Flag {key}"),
        "description": "",
        "key": key,
        "variationType": variation_type,
        "variations": variations,
        "targetUsers": [],
        "rules": [],
        "isEnabled": true,
        "disabledVariationId": "v0",
        "fallthrough": { "dispatchKey": null, "includedInExpt": false, "variations": everybody("v0") },
        "exptIncludeAllTargets": false,
        "tags": [],
        "isArchived": false,
        "createdAt": iso(START_MS),
        "updatedAt": iso(START_MS),
    })
}

/// A boolean flag: `v0` is `true`, `v1` is `false`.
pub fn boolean_flag(key: &str) -> Value {
    flag(key, "boolean", &["true", "false"])
}

/// A rollout that gives everybody one variation.
pub fn everybody(variation: &str) -> Value {
    json!([{ "id": variation, "rollout": [0, 1], "exptRollout": 1 }])
}

/// Gives everybody another variation.
pub fn serve(flag: &mut Value, variation: &str) {
    flag["fallthrough"]["variations"] = everybody(variation);
}

/// A rule: all conditions hold → that rollout.
pub fn rule(name: &str, conditions: Vec<Value>, variations: Value) -> Value {
    json!({
        "id": guid_of(name),
        "name": name,
        "dispatchKey": null,
        "includedInExpt": false,
        "conditions": conditions,
        "variations": variations,
    })
}

/// A condition on an attribute.
pub fn condition(property: &str, op: &str, value: &str) -> Value {
    json!({ "id": guid_of(&format!("{property}{op}{value}")), "property": property, "op": op, "value": value })
}

/// A condition on segments; `not` for "User is not in segment".
pub fn segment_condition(segments: &[&str], not: bool) -> Value {
    let property = if not { "User is not in segment" } else { "User is in segment" };
    condition(property, "", &json!(segments).to_string())
}

/// An empty segment. Its id is made from its name: see [`guid_of`].
pub fn segment(name: &str) -> Value {
    json!({
        "id": guid_of(name),
        "envId": "",
        "name": name,
        "description": "",
        "included": [],
        "excluded": [],
        "rules": [],
        "isArchived": false,
        "updatedAt": iso(START_MS),
    })
}

/// A GUID that is the same for the same text (FNV-1a, twice).
pub fn guid_of(text: &str) -> String {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for byte in text.bytes() {
        hash ^= u128::from(byte);
        hash = hash.wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    let hex = format!("{hash:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// A user in the form of the wire.
pub fn user(key: &str, attributes: &[(&str, &str)]) -> Value {
    let attributes: Vec<Value> =
        attributes.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    json!({ "keyId": key, "name": format!("Name of {key}"), "customizedProperties": attributes })
}

/// Writes a file so that a reader sees the old text or the new one.
pub fn write_atomically(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).expect("the directory can be written to");
    fs::rename(&beside, path).expect("a file can be renamed within its directory");
}
