//! Stats of files as the agent writes them, against a plain twin with `serde_json`.

use std::collections::HashSet;
use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

/// 2026-11-30T12:00:00Z
const NOON_MS: i64 = 1_796_040_000_000;
const DAY_MS: i64 = 86_400_000;

fn id(number: u8) -> EnvironmentId {
    EnvironmentId::from_bytes([number; 16])
}

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Writes a file of an environment. `name` decides whether it is compressed.
    fn put(&self, label: &str, environment: u8, name: &str, content: &str) -> &Self {
        let folder = self.0.path().join("local").join(folder(label, id(environment)));
        fs::create_dir_all(&folder).unwrap();
        let mut bytes = content.as_bytes().to_vec();
        if name.ends_with(".gz") {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&bytes).unwrap();
            bytes = encoder.finish().unwrap();
        }
        fs::write(folder.join(name), bytes).unwrap();
        self
    }

    fn collect(&self, query: &Query) -> Stats {
        collect(self.0.path(), query).unwrap().unwrap()
    }
}

fn line(received_ms: i64, label: &str, event: &Value) -> String {
    let received_at = crate::model::timestamp::format_iso8601(received_ms);
    let line = json!({"receivedAt": received_at, "environment": label, "secret": "server", "event": event});
    format!("{line}\n")
}

fn evaluation(user: &str, flag: &str, value: &str) -> Value {
    json!({"user": {"keyId": user}, "variations": [
        {"featureFlagKey": flag, "timestamp": 1, "variation": {"id": format!("id-{value}"), "value": value}}
    ]})
}

/// All that is in the stats, in a form that a twin can make.
fn plain(stats: &Stats) -> Value {
    let environments = stats.environments.iter().map(|(id, environment)| {
        let flags = environment.flags.iter().map(|(key, flag)| {
            let variations = flag.variations.iter().flat_map(|(id, values)| {
                values
                    .iter()
                    .map(move |(value, one)| json!([id, value, one.evaluations, one.users.count().users]))
            });
            json!([key, flag.evaluations, flag.users.count().users, variations.collect::<Vec<_>>()])
        });
        let metrics = environment
            .metrics
            .iter()
            .map(|(name, metric)| json!([name, metric.count, metric.sum, metric.users.count().users]));
        json!([
            id.to_string(),
            environment.label,
            environment.events,
            environment.users.count().users,
            flags.collect::<Vec<_>>(),
            metrics.collect::<Vec<_>>()
        ])
    });
    json!(environments.collect::<Vec<_>>())
}

#[derive(Default)]
struct Group {
    count: u64,
    sum: f64,
    users: HashSet<String>,
}

impl Group {
    fn add(&mut self, user: Option<&str>, value: f64) {
        self.count += 1;
        self.sum += value;
        self.users.extend(user.map(str::to_owned));
    }
}

/// The same from the events of one environment, with trees.
fn twin(events: &[Value]) -> Value {
    let mut all = Group::default();
    type Variations = BTreeMap<(String, String), Group>;
    let mut flags: BTreeMap<String, (Group, Variations)> = BTreeMap::new();
    let mut metrics: BTreeMap<String, Group> = BTreeMap::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for event in events {
        let user = event["user"]["keyId"].as_str();
        all.add(user, 0.0);
        for element in event["variations"].as_array().into_iter().flatten() {
            let flag = text(&element["featureFlagKey"]);
            if flag.is_empty() {
                continue;
            }
            let value = match &element["variation"]["value"] {
                Value::Null if element["variation"].get("value").is_none() => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let (whole, variations) = flags.entry(flag).or_default();
            whole.add(user, 0.0);
            variations.entry((text(&element["variation"]["id"]), value)).or_default().add(user, 0.0);
        }
        for element in event["metrics"].as_array().into_iter().flatten() {
            let name = text(&element["eventName"]);
            if !name.is_empty() {
                let value = element["numericValue"].as_f64().unwrap_or_default();
                metrics.entry(name).or_default().add(user, value);
            }
        }
    }
    if all.count == 0 {
        return json!([]);
    }
    let flags = flags.iter().map(|(key, (whole, variations))| {
        let variations =
            variations.iter().map(|((id, value), one)| json!([id, value, one.count, one.users.len()]));
        json!([key, whole.count, whole.users.len(), variations.collect::<Vec<_>>()])
    });
    let metrics =
        metrics.iter().map(|(name, metric)| json!([name, metric.count, metric.sum, metric.users.len()]));
    json!([[
        id(1).to_string(),
        "shop:prod",
        all.count,
        all.users.len(),
        flags.collect::<Vec<_>>(),
        metrics.collect::<Vec<_>>()
    ]])
}

/// Few different texts, and other values where texts should be.
fn word() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => "[ab\u{e4}\"]{0,2}".prop_map(Value::from),
        1 => prop_oneof![Just(json!(null)), Just(json!(7)), Just(json!({"a": [1, "b"]})), Just(json!([]))],
    ]
}

fn object(names: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop::collection::vec(prop::option::weighted(0.9, word()), names.len()).prop_map(move |values| {
        let members = names.iter().zip(values).filter_map(|(name, value)| Some(((*name).to_owned(), value?)));
        Value::Object(members.collect())
    })
}

fn event() -> impl Strategy<Value = Value> {
    let evaluation = (object(&["featureFlagKey", "x"]), prop::option::of(object(&["id", "value", "reason"])))
        .prop_map(|(mut evaluation, variation)| {
            if let Some(variation) = variation {
                evaluation["variation"] = variation;
            }
            evaluation
        });
    let metric = (object(&["eventName", "route"]), prop_oneof![(-9i32..9).prop_map(Value::from), word()])
        .prop_map(|(mut metric, value)| {
            metric["numericValue"] = value;
            metric
        });
    let list = |element: BoxedStrategy<Value>| prop_oneof![8 => prop::collection::vec(element, 0..4).prop_map(Value::from), 1 => word()];
    (object(&["keyId", "name"]), list(evaluation.boxed()), list(metric.boxed())).prop_map(
        |(user, variations, metrics)| json!({"user": user, "variations": variations, "metrics": metrics}),
    )
}

proptest! {
    #[test]
    fn the_sums_are_those_of_a_plain_twin(
        events in prop::collection::vec(event(), 0..12),
        at in 0usize..12,
        compressed in any::<bool>(),
        torn in 0usize..40,
    ) {
        let lines: Vec<String> = events.iter().map(|event| line(NOON_MS, "shop:prod", event)).collect();
        let (first, second) = lines.split_at(at.min(lines.len()));
        // The file that is being written ends anywhere.
        let rest = line(NOON_MS, "shop:prod", &json!({}));
        let torn = &rest[..torn];
        let files = Files::new();
        files
            .put("shop:prod", 1, if compressed { "2026-11-30.ndjson.gz" } else { "2026-11-30.ndjson" }, &first.concat())
            .put("shop:prod", 1, "2026-11-30.2.ndjson", &(second.concat() + torn));
        let stats = files.collect(&Query::default());
        prop_assert_eq!(plain(&stats), twin(&events));
        prop_assert_eq!((stats.events, stats.files, stats.unreadable_lines), (events.len() as u64, 2, 0));
        prop_assert!(stats.unreadable_files.is_empty());
    }
}

#[test]
fn times_are_compared_by_event_and_files_of_earlier_days_are_not_read() {
    let files = Files::new();
    let event = evaluation("ann", "f", "on");
    let at = |offset_ms: i64| line(NOON_MS + offset_ms, "shop:prod", &event);
    files
        .put("shop:prod", 1, "2026-11-28.ndjson.gz", &at(-2 * DAY_MS))
        // An event that was kept a day after it came.
        .put("shop:prod", 1, "2026-11-30.ndjson", &[at(-DAY_MS), at(0), at(1)].concat());
    let events = |since_ms, until_ms| {
        let stats = files.collect(&Query { since_ms, until_ms, ..Query::default() });
        (stats.events, stats.days, stats.files)
    };
    assert_eq!(events(None, None), (4, 3, 2));
    assert_eq!(events(Some(NOON_MS), None), (2, 1, 1));
    assert_eq!(events(Some(NOON_MS - DAY_MS), Some(NOON_MS)), (1, 1, 1));
    assert_eq!(events(None, Some(NOON_MS - 2 * DAY_MS)), (0, 0, 2));
}

#[test]
fn an_environment_is_found_by_its_keys_also_earlier_ones_and_by_its_id() {
    let files = Files::new();
    let event = evaluation("ann", "f", "on");
    files
        .put("shop:prod", 1, "2026-11-29.ndjson", &line(NOON_MS - DAY_MS, "shop:prod", &event))
        .put("shop:live", 1, "2026-11-30.ndjson", &line(NOON_MS, "shop:live", &event))
        .put("shop:test", 2, "2026-11-30.ndjson", &line(NOON_MS, "shop:test", &event));
    for name in ["shop:prod", "shop:live", &id(1).to_string(), &id(1).to_string().to_uppercase()] {
        let stats = files.collect(&Query { environment: Some(name.to_owned()), ..Query::default() });
        assert_eq!(stats.events, 2, "{name}");
        assert_eq!(stats.environments[&id(1)].label, "shop:live", "{name}");
        assert_eq!(stats.environments[&id(1)].users.count().users, 1, "{name}");
    }
    let none = Query { environment: Some("shop:stage".to_owned()), ..Query::default() };
    assert!(collect(files.0.path(), &none).unwrap().is_none());
}

#[test]
fn of_a_part_in_both_forms_one_is_read() {
    let files = Files::new();
    let lines = line(NOON_MS, "a:b", &evaluation("ann", "f", "on"));
    files
        .put("a:b", 1, "2026-11-30.ndjson", &lines)
        .put("a:b", 1, "2026-11-30.ndjson.gz", &lines)
        .put("a:b", 1, "2026-11-30.ndjson.gz.tmp", "half")
        .put("a:b", 1, "notes.txt", "of somebody");
    assert_eq!(files.collect(&Query::default()).events, 1);
}

#[test]
fn damage_is_counted_and_the_rest_is_read() {
    let files = Files::new();
    let good = line(NOON_MS, "a:b", &evaluation("ann", "f", "on"));
    files.put("a:b", 1, "2026-11-29.ndjson", &format!("{good}not JSON\n{good}\u{0}\u{0}\n\n{good}"));
    files.put("a:b", 1, "2026-11-30.ndjson.gz", &good.repeat(500));
    let path = files.0.path().join("local").join(folder("a:b", id(1))).join("2026-11-30.ndjson.gz");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
    let stats = files.collect(&Query::default());
    assert_eq!(stats.unreadable_lines, 3);
    assert_eq!(stats.unreadable_files.len(), 1);
    assert!(stats.unreadable_files[0].0.ends_with("2026-11-30.ndjson.gz"));
    assert!(stats.events > 3);
}
