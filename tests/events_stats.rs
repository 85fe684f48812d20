//! `featbit-agent events stats` as a shell sees it: the table, `--json`, times, and what is wrong with files.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

const PROD: &str = "shop_prod_ad99d259-1f50-4ed9-a002-7c65e25487df";
const TEST: &str = "shop_test_7c689106-35df-4d9f-b4d8-cb3d7342e4c3";

/// Runs the command with nothing but `environment` around it.
fn stats(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_featbit-agent"))
        .args(["events", "stats"])
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .expect("the binary runs")
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn line(day: &str, environment: &str, event: &Value) -> String {
    let received_at = format!("{day}T12:00:00.000Z");
    format!(
        "{}\n",
        json!({"receivedAt": received_at, "environment": environment, "secret": "client", "event": event})
    )
}

fn evaluation(user: &str, flag: &str, id: &str, value: &str) -> Value {
    json!({"user": {"keyId": user}, "variations": [
        {"featureFlagKey": flag, "timestamp": 1, "variation": {"id": id, "value": value}}
    ]})
}

fn metric(user: &str, name: &str, value: f64) -> Value {
    json!({"user": {"keyId": user}, "metrics": [{"eventName": name, "numericValue": value}]})
}

struct Events(TempDir);

impl Events {
    /// Two environments over two days, one file compressed, one with a torn last line.
    fn new() -> Self {
        let events = Self(tempfile::tempdir().unwrap());
        let earlier: String = (0..3)
            .map(|user| {
                line("2026-11-29", "shop:prod", &evaluation(&format!("user-{user}"), "new-ui", "1", "on"))
            })
            .collect();
        events.put(PROD, "2026-11-29.ndjson.gz", &earlier);
        let today = [
            line("2026-11-30", "shop:prod", &evaluation("user-0", "new-ui", "2", "off")),
            line("2026-11-30", "shop:prod", &evaluation("user-0", "checkout\u{1b}[2J", "", "")),
            line("2026-11-30", "shop:prod", &metric("user-0", "purchase", 9.5)),
            line("2026-11-30", "shop:prod", &metric("user-1", "purchase", 0.5)),
        ];
        events.put(PROD, "2026-11-30.ndjson", &(today.concat() + "{\"receivedAt\":\"2026-11-30T13"));
        let test = line("2026-11-30", "shop:test", &evaluation("user-9", "new-ui", "1", "on"));
        events.put(TEST, "2026-11-30.ndjson", &test);
        events
    }

    fn put(&self, folder: &str, name: &str, content: &str) -> PathBuf {
        let folder = self.0.path().join("local").join(folder);
        fs::create_dir_all(&folder).unwrap();
        let mut bytes = content.as_bytes().to_vec();
        if name.ends_with(".gz") {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&bytes).unwrap();
            bytes = encoder.finish().unwrap();
        }
        fs::write(folder.join(name), bytes).unwrap();
        folder.join(name)
    }

    fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = stats(&[&["--directory", self.path(), "--json"], arguments].concat(), &[]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert_eq!(stderr(&output), "");
        serde_json::from_str(&stdout(&output)).unwrap()
    }
}

#[test]
fn the_table_shows_each_flag_with_its_results() {
    let events = Events::new();
    let output = stats(&["--directory", events.path()], &[]);
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    let expected = format!(
        "8 events of 2 days, from 3 files in {}/local

shop:prod (ad99d259-1f50-4ed9-a002-7c65e25487df): 7 events of 3 users
  FLAG          VALUE  VARIATION  EVALUATIONS  USERS
  checkout\u{FFFD}[2J                              1      1
                       -                    1      1
  new-ui                                    4      3
                on     1                    3      3
                off    2                    1      1
  METRIC    COUNT  SUM  USERS
  purchase      2   10      2

shop:test (7c689106-35df-4d9f-b4d8-cb3d7342e4c3): 1 event of 1 user
  FLAG    VALUE  VARIATION  EVALUATIONS  USERS
  new-ui                              1      1
          on     1                    1      1
",
        events.path()
    );
    assert_eq!(stdout(&output), expected);
    assert!(!stdout(&output).contains("user-"), "no key of a user is printed");
}

#[test]
fn json_has_all_of_it() {
    let events = Events::new();
    let all = events.json(&["--environment", "shop:prod"]);
    assert_eq!(
        all,
        json!({
            "since": null, "until": null, "events": 7, "days": 2, "files": 2,
            "unreadableLines": 0, "unreadableFiles": 0,
            "environments": [{
                "id": "ad99d259-1f50-4ed9-a002-7c65e25487df", "environment": "shop:prod",
                "events": 7, "users": 3, "usersEstimated": false,
                "flags": [
                    {"flag": "checkout\u{1b}[2J", "evaluations": 1, "users": 1, "usersEstimated": false, "variations": [
                        {"id": "", "value": "", "evaluations": 1, "users": 1, "usersEstimated": false}
                    ]},
                    {"flag": "new-ui", "evaluations": 4, "users": 3, "usersEstimated": false, "variations": [
                        {"id": "1", "value": "on", "evaluations": 3, "users": 3, "usersEstimated": false},
                        {"id": "2", "value": "off", "evaluations": 1, "users": 1, "usersEstimated": false}
                    ]}
                ],
                "metrics": [{"event": "purchase", "count": 2, "sum": 10.0, "users": 2, "usersEstimated": false}]
            }]
        })
    );
}

#[test]
fn times_choose_events_and_a_date_includes_its_day() {
    let events = Events::new();
    for (arguments, expected) in [
        (&["--since", "2026-11-30"][..], 5),
        (&["--until", "2026-11-29"], 3),
        (&["--since", "2026-11-29", "--until", "2026-11-30"], 8),
        (&["--until", "2026-11-30T12:00:00Z"], 3),
        (&["--since", "2026-11-30T12:00:01Z"], 0),
        (&["--since", "36500d"], 8),
        (&["--since", "2026-11-30", "--environment", "7c689106-35df-4d9f-b4d8-cb3d7342e4c3"], 1),
    ] {
        assert_eq!(events.json(arguments)["events"], expected, "{arguments:?}");
    }
}

#[test]
fn the_folder_comes_from_the_setting_whatever_else_is_wrong() {
    let events = Events::new();
    let environment = [("Events__Directory", events.path()), ("Reactors", "many")];
    let output = stats(&[], &environment);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).starts_with("8 events"));
    let output = stats(&["--events-directory", events.path()], &[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
}

#[test]
fn what_is_asked_for_wrongly_is_said() {
    let events = Events::new();
    let directory = ["--directory", events.path()];
    let with = |more: &[&'static str]| stats(&[&directory, more].concat(), &[]);
    let nowhere = Path::new(events.path()).join("nowhere");
    for (output, expected, text) in [
        (with(&["--since", "yesterday"]), 64, "--since \"yesterday\": write a date as 2026-11-30"),
        (with(&["--environment", "shop:stage"]), 66, "there is no environment \"shop:stage\""),
        (with(&["--enviroment", "shop:prod"]), 64, "--environment"),
        (stats(&[], &[]), 64, "--directory"),
        (stats(&["--directory", nowhere.to_str().unwrap()], &[]), 66, "nowhere/local: No such file"),
        (stats(&[], &[("FEATBIT_AGENT_CONFIG", "/does/not/exist.toml")]), 78, "/does/not/exist.toml"),
    ] {
        assert_eq!(code(&output), expected, "{}", stderr(&output));
        assert!(stderr(&output).contains(text), "{text} not in {}", stderr(&output));
        assert_eq!(stdout(&output), "");
    }
}

#[test]
fn damage_is_said_and_the_rest_counts() {
    let events = Events::new();
    let one = line("2026-11-30", "shop:test", &evaluation("user-9", "new-ui", "1", "on"));
    events.put(TEST, "2026-11-30.2.ndjson", &format!("what is this?\n{one}\u{0}\n{one}"));
    let output = stats(&["--directory", events.path(), "--environment", "shop:test"], &[]);
    assert_eq!(code(&output), 0);
    assert!(stdout(&output).starts_with("3 events of 1 day, from 2 files"), "{}", stdout(&output));
    assert!(stderr(&output).contains("2 lines that cannot be read do not count"), "{}", stderr(&output));
    let path = events.put(TEST, "2026-11-28.ndjson.gz", &one.repeat(100));
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let output = stats(&["--directory", events.path(), "--environment", "shop:test", "--json"], &[]);
    assert_eq!(code(&output), 65);
    assert!(stderr(&output).contains("2026-11-28.ndjson.gz: "), "{}", stderr(&output));
    let read: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&read["unreadableFiles"], &read["unreadableLines"]), (&json!(1), &json!(2)));
}
