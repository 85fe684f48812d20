//! Random dumps, and random ways to write one down.

use std::fmt::Write;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use super::{ENV, OTHER_ENV, OTHER_SECRET, SECRET};

/// Texts that are difficult for a scanner: braces, quotes, escapes, more than one block of SIMD.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z]{0,8}",
        2 => "[\\[\\]{}\",:\\\\ \n\t/é😀\u{0}]{0,12}",
        1 => "[a-z\\\\\"]{60,140}",
    ]
}

fn nullable(strategy: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    prop_oneof![4 => strategy, 1 => Just(Value::Null)].boxed()
}

fn text() -> BoxedStrategy<Value> {
    texts().prop_map(Value::from).boxed()
}

fn list(element: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    prop::collection::vec(element, 0..4).prop_map(Value::from).boxed()
}

/// An object in which each property may be missing, with some properties that are not read.
fn object(
    required: Vec<(&'static str, BoxedStrategy<Value>)>,
    optional: Vec<(&'static str, BoxedStrategy<Value>)>,
) -> BoxedStrategy<Value> {
    let all = required.into_iter().map(|(name, value)| (name, value.prop_map(Some).boxed()));
    let all = all
        .chain(optional.into_iter().map(|(name, value)| (name, prop::option::weighted(0.8, value).boxed())));
    let (names, values): (Vec<_>, Vec<_>) = all.unzip();
    (values, prop::option::weighted(0.3, foreign()))
        .prop_map(move |(values, foreign)| {
            let mut object = Map::new();
            for (name, value) in names.iter().zip(values) {
                if let Some(value) = value {
                    object.insert(name.to_string(), value);
                }
            }
            if let Some(foreign) = foreign {
                object.insert(String::from("foreign"), foreign);
            }
            Value::Object(object)
        })
        .boxed()
}

/// Properties that the server does not read.
fn foreign() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text(),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((texts(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn conditions() -> BoxedStrategy<Value> {
    let property = prop_oneof![Just(json!("User is in segment")), Just(json!("age")), text()];
    let op = prop_oneof![Just(json!("IsOneOf")), Just(json!("Equal")), text()];
    let value = prop_oneof![Just(json!("[\"a\",\"b\"]")), text()];
    list(object(
        vec![],
        vec![("property", nullable(property)), ("op", nullable(op)), ("value", nullable(value))],
    ))
}

fn rollout() -> Vec<(&'static str, BoxedStrategy<Value>)> {
    let range = prop::collection::vec(prop_oneof![Just(0.0), Just(0.5), Just(1.0), -1.0..2.0], 0..4);
    let share = object(
        vec![],
        vec![
            ("id", nullable(text())),
            ("rollout", nullable(range.prop_map(Value::from))),
            ("exptRollout", nullable((0.0..1.0).prop_map(Value::from))),
        ],
    );
    vec![
        ("dispatchKey", nullable(text())),
        ("includedInExpt", nullable(any::<bool>().prop_map(Value::from))),
        ("variations", nullable(list(share))),
    ]
}

fn environments() -> BoxedStrategy<Value> {
    select(vec![json!(ENV), json!(OTHER_ENV), json!(ENV.to_uppercase())]).boxed()
}

fn moments() -> BoxedStrategy<Value> {
    select(vec![json!("2025-01-01"), json!("2025-03-01T00:00:04.0782311Z"), json!("2025-03-01T00:00+02:00")])
        .boxed()
}

fn flags() -> BoxedStrategy<Value> {
    let boolean = || nullable(any::<bool>().prop_map(Value::from));
    let variation = object(vec![], vec![("id", nullable(text())), ("value", nullable(text()))]);
    let target =
        object(vec![], vec![("keyIds", nullable(list(nullable(text())))), ("variationId", nullable(text()))]);
    let mut rule = rollout();
    rule.extend([("name", nullable(text())), ("conditions", nullable(conditions()))]);
    object(
        vec![
            ("id", text()),
            ("envId", environments()),
            ("key", text()),
            ("updatedAt", moments()),
            ("variations", list(variation)),
        ],
        vec![
            ("variationType", nullable(text())),
            ("isArchived", boolean()),
            ("isEnabled", boolean()),
            ("exptIncludeAllTargets", boolean()),
            ("disabledVariationId", nullable(text())),
            ("targetUsers", nullable(list(target))),
            ("rules", nullable(list(object(vec![], rule)))),
            ("fallthrough", nullable(object(vec![], rollout()))),
        ],
    )
}

fn segments() -> BoxedStrategy<Value> {
    let keys = || nullable(list(nullable(text())));
    let rule = object(vec![], vec![("conditions", nullable(conditions()))]);
    object(
        vec![("id", text()), ("envId", environments()), ("updatedAt", moments())],
        vec![
            ("isArchived", nullable(any::<bool>().prop_map(Value::from))),
            ("included", keys()),
            ("excluded", keys()),
            ("rules", nullable(list(rule))),
        ],
    )
}

/// Dumps that are accepted, with every property absent, null or odd at times.
pub fn dumps() -> impl Strategy<Value = Value> {
    let secret = select(vec![
        json!({"type": "server", "value": SECRET, "envId": ENV, "projectKey": "webshop", "envKey": "dev"}),
        json!({"type": "client", "value": OTHER_SECRET, "envId": OTHER_ENV, "projectKey": null}),
    ]);
    let item = object(
        vec![("envId", environments()), ("featureFlags", list(flags())), ("segments", list(segments()))],
        vec![("secrets", nullable(list(secret)))],
    );
    object(vec![("eventType", text()), ("items", list(item))], vec![]).prop_map(|mut dump| {
        number_ids(&mut dump);
        dump
    })
}

/// Makes the ids of flags and segments different; everything else stays as it was generated.
fn number_ids(dump: &mut Value) {
    let mut next = 0;
    for item in dump["items"].as_array_mut().unwrap() {
        for list in ["featureFlags", "segments"] {
            for element in item[list].as_array_mut().unwrap() {
                next += 1;
                let id = format!("{}{next}", element["id"].as_str().unwrap());
                element["id"] = json!(id);
            }
        }
    }
}

/// Writes JSON with random white space and escapes, by `dice`.
struct Writer<'d> {
    out: String,
    dice: std::iter::Cycle<std::slice::Iter<'d, u8>>,
}

impl Writer<'_> {
    fn roll(&mut self) -> u8 {
        *self.dice.next().unwrap_or(&0)
    }

    fn blank(&mut self) {
        let blank = match self.roll() {
            0..160 => "",
            160..200 => " ",
            200..220 => "\n  ",
            220..240 => "\t\r\n",
            240.. => "                                                                      ",
        };
        self.out.push_str(blank);
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for character in text.chars() {
            let escape = self.roll() > 230;
            match character {
                '"' | '\\' if !escape => self.out.extend(['\\', character]),
                '\n' if !escape => self.out.push_str("\\n"),
                '/' if escape => self.out.push_str("\\/"),
                _ if escape || character < ' ' || matches!(character, '"' | '\\') => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        write!(self.out, "\\u{unit:04x}").unwrap();
                    }
                }
                _ => self.out.push(character),
            }
        }
        self.out.push('"');
    }

    fn value(&mut self, value: &Value) {
        self.blank();
        match value {
            Value::String(text) => self.string(text),
            Value::Array(elements) => {
                self.out.push('[');
                for (index, element) in elements.iter().enumerate() {
                    self.out.push_str(if index == 0 { "" } else { "," });
                    self.value(element);
                }
                self.blank();
                self.out.push(']');
            }
            Value::Object(fields) => {
                self.out.push('{');
                for (index, (name, value)) in fields.iter().enumerate() {
                    self.out.push_str(if index == 0 { "" } else { "," });
                    self.blank();
                    self.string(name);
                    self.blank();
                    self.out.push(':');
                    self.value(value);
                }
                self.blank();
                self.out.push('}');
            }
            scalar => self.out.push_str(&scalar.to_string()),
        }
        self.blank();
    }
}

/// `value` as JSON text in a random format, by `dice`.
pub fn written(value: &Value, dice: &[u8]) -> String {
    let mut writer = Writer { out: String::new(), dice: dice.iter().cycle() };
    writer.value(value);
    writer.out
}
