//! The management calls: status, backup and bootstrap, as FeatBit's UI and operators use them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use std::io::Write;

use common::agent::{API_KEY, Agent, Builder};
use common::dataset::{
    Dataset, Environment, Kind, START_MS, boolean_flag, condition, everybody, flag, item_version_ms, rule,
    segment, serve, touch, user,
};
use common::http::{Connection, Response};
use common::raw::{
    BOOTSTRAP, CLIENT_POLL, SERVER_POLL, assert_closed, assert_error, chunked, connect, request, send,
    send_last,
};
use common::ws::Stream;
use common::{SOON, wait_until};
use serde_json::{Value, json};

const STATUS: &str = "/api/public/proxy/status";
const BACKUP: &str = "/api/public/proxy/backup";
const JSON: (&str, &str) = ("Content-Type", "application/json");
const KEY: (&str, &str) = ("Authorization", API_KEY);

fn two_environments() -> Dataset {
    let mut first = Environment::new(1).flag(boolean_flag("a")).segment(segment("people"));
    first.add_flag(flag("b", "string", &["ünï \u{1F600}", "two\n\"lines\""]));
    touch(first.flag_mut("b"), 7);
    let mut shared = segment("shared");
    shared["rules"] =
        json!([{ "id": "r", "name": "r", "conditions": [condition("age", "BiggerThan", "1.50")] }]);
    let first = first.segment(shared.clone());
    let second = Environment::new(2).flag(boolean_flag("a")).segment(shared);
    Dataset::of([first, second])
}

fn empty_agent() -> Agent {
    Builder::offline().api_key().start()
}

fn status(agent: &Agent) -> Value {
    agent.get(STATUS, &[KEY]).expect(200).json()
}

fn push(agent: &Agent, body: &[u8]) -> Response {
    send(agent, request("POST", BOOTSTRAP, &[KEY, JSON], Some(body)))
}

#[test]
fn status_says_what_is_served_and_since_when() {
    let agent = empty_agent();
    let before = status(&agent);
    assert_eq!(before["serves"], "");
    assert_eq!(before["dataVersion"], 0);
    assert_eq!(before["syncState"], "None");
    assert_eq!(before["lastSyncedAt"], Value::Null);
    assert!(before["reportedAt"].as_str().unwrap().ends_with('Z'));
    let answer = agent.bootstrap(&two_environments());
    assert_eq!(
        answer,
        json!({ "serves": "project-1:production,project-2:production", "dataVersion": START_MS + 7 })
    );
    let after = status(&agent);
    assert_eq!(after["serves"], answer["serves"]);
    assert_eq!(after["dataVersion"], answer["dataVersion"]);
    assert!(after["lastSyncedAt"].as_str().unwrap() >= before["reportedAt"].as_str().unwrap());
    // The same under the paths that FeatBit's docs write.
    assert_eq!(agent.get("/api/proxy/status", &[KEY]).expect(200).json()["serves"], answer["serves"]);
    assert_eq!(agent.get("/API/Proxy/Status/", &[KEY]).expect(200).json()["serves"], answer["serves"]);
    let backup = agent.get("/api/proxy/backup", &[KEY]).expect(200);
    assert_eq!(backup.body, agent.get(BACKUP, &[KEY]).expect(200).body);
    let again = request("POST", "/api/proxy/bootstrap", &[KEY, JSON], Some(&backup.body));
    assert_eq!(send(&agent, again).expect(200).json(), answer);
}

#[test]
fn status_has_more_for_operators_under_a_key_of_its_own() {
    let agent = empty_agent();
    agent.bootstrap(&two_environments());
    let secret = two_environments().environments[1].secret(Kind::Server);
    let sdk = Stream::connect(&agent, Kind::Server, &secret);
    let status = wait_until("the connection is counted", SOON, || {
        let status = status(&agent);
        (status["agent"]["environments"][1]["connections"]["server"] == 1).then_some(status)
    });
    let details = &status["agent"];
    assert_eq!(details["mode"], "offline");
    assert_eq!(details["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(details["instance"].as_str().unwrap().len(), 32);
    assert_eq!(details["upstream"], Value::Null);
    let first = &details["environments"][0];
    assert_eq!(first["name"], "project-1:production");
    assert_eq!((&first["flags"], &first["segments"]), (&json!(2), &json!(2)));
    assert_eq!(first["dataVersion"], START_MS + 7);
    assert_eq!(first["connections"], json!({ "server": 0, "client": 0 }));
    drop(sdk);
}

#[test]
fn resync_looks_at_the_data_file_again_and_needs_the_key() {
    let mut data = two_environments();
    let agent =
        Builder::offline().api_key().data_file(&data).env("DataFilePollMilliseconds", "3600000").start();
    let resync = "/api/public/proxy/resync";
    touch(data.environments[0].flag_mut("a"), 100);
    agent.write_data(&data);
    assert_error(&send(&agent, request("POST", resync, &[], None)), 401);
    assert_eq!(agent.get(resync, &[KEY]).status, 405);
    assert_eq!(status(&agent)["dataVersion"], START_MS + 7);
    let answer = send(&agent, request("POST", resync, &[KEY], None)).expect(202).json();
    assert_eq!(answer["syncState"], "None");
    wait_until("the file is read", SOON, || (status(&agent)["dataVersion"] == START_MS + 100).then_some(()));
}

#[test]
fn data_is_in_service_on_every_reactor_when_the_call_is_answered() {
    let agent = Builder::offline().api_key().env("Reactors", "8").start();
    let mut data = two_environments();
    let secret = data.environments[0].secret(Kind::Server);
    for round in 1..10 {
        touch(data.environments[0].flag_mut("a"), 100 * round);
        let version = agent.bootstrap(&data)["dataVersion"].as_i64().unwrap();
        assert_eq!(version, START_MS + 100 * round);
        // Each of these may come to another reactor.
        for _ in 0..12 {
            let target = format!("{SERVER_POLL}?timestamp={}", version - 1);
            let answer = agent.get(&target, &[("Authorization", &secret)]).expect(200);
            assert_eq!(answer.json()["data"]["featureFlags"].as_array().unwrap().len(), 1, "round {round}");
        }
    }
}

#[test]
fn a_backup_restores_another_agent() {
    let agent = empty_agent();
    let data = two_environments();
    agent.bootstrap(&data);
    let backup = agent.get(BACKUP, &[KEY]).expect(200);
    assert_eq!(backup.header("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(backup.json(), data.to_json());
    let other = empty_agent();
    push(&other, &backup.body).expect(200);
    assert!(other.get(BACKUP, &[KEY]).expect(200).body == backup.body);
    let same = |target: &str, headers: &[(&str, &str)]| {
        assert!(agent.get(target, headers).expect(200).body == other.get(target, headers).expect(200).body);
    };
    for environment in &data.environments {
        same(SERVER_POLL, &[("Authorization", &environment.secret(Kind::Server))]);
    }
    // Without data there is nothing to back up, which bootstrap accepts too.
    let none = empty_agent().get(BACKUP, &[KEY]).expect(200);
    assert_eq!(none.json(), json!({ "eventType": "rp_full", "items": [] }));
}

#[test]
fn bootstrap_accepts_chunks_and_both_spellings() {
    let text = two_environments().to_text();
    for text in [text.clone(), text.replace("rp_full", "rp-full")] {
        for size in [1000, 7, 100_000] {
            let agent = empty_agent();
            let mut bytes = request("POST", BOOTSTRAP, &[KEY, JSON, ("Transfer-Encoding", "chunked")], None);
            bytes.extend_from_slice(&chunked(text.as_bytes(), size));
            assert_eq!(send(&agent, bytes).expect(200).json()["dataVersion"], START_MS + 7);
            assert_eq!(agent.get(BACKUP, &[KEY]).expect(200).json()["eventType"], "rp_full");
        }
    }
}

/// A head that announces 100 MB, and no byte of them.
fn announced(authorization: Option<&str>) -> Vec<u8> {
    let mut headers = vec![JSON, ("Content-Length", "104857600")];
    headers.extend(authorization.map(|value| ("Authorization", value)));
    request("POST", BOOTSTRAP, &headers, None)
}

#[test]
fn the_key_is_checked_before_the_body_is_read() {
    let agent = empty_agent();
    let other_key = API_KEY.replace('9', "8");
    let bearer = format!("Bearer {API_KEY}");
    for key in [None, Some(""), Some(other_key.as_str()), Some(&API_KEY[..API_KEY.len() - 1]), Some(&bearer)]
    {
        assert_error(&send_last(&agent, announced(key)), 401);
        for target in [STATUS, BACKUP] {
            let headers: Vec<_> = key.iter().map(|&key| ("Authorization", key)).collect();
            assert_error(&agent.get(target, &headers), 401);
        }
    }
    agent.wait_metric("featbit_agent_refusals_total", "\"api_key\"", 15.0);
    agent.wait_line("without Bearer");
    let mut connection = connect(&agent);
    connection.send(&announced(Some(API_KEY))).unwrap();
    drop(connection);
    wait_until("the call that was given up is forgotten", SOON, || {
        (push(&agent, two_environments().to_text().as_bytes()).status == 200).then_some(())
    });
}

#[test]
fn without_an_api_key_all_management_calls_are_refused() {
    let agent = Builder::offline().data_file(&two_environments()).start();
    for key in [None, Some(""), Some(API_KEY)] {
        assert_error(&send_last(&agent, announced(key)), 401);
        let headers: Vec<_> = key.iter().map(|&key| ("Authorization", key)).collect();
        assert_error(&agent.get(STATUS, &headers), 401);
        assert_error(&agent.get(BACKUP, &headers), 401);
    }
    // What went wrong: the log advised to send a key, where none would have been taken.
    agent.wait_line("refused: the agent has no ApiKey");
    assert!(!agent.log().contains("Send the key"), "{}", agent.log());
}

#[test]
fn a_large_body_without_the_key_costs_no_memory() {
    let agent = empty_agent();
    let before = agent.metric("process_resident_memory_bytes", "");
    let mut connections: Vec<Connection> = (0..4).map(|_| connect(&agent)).collect();
    let portion = vec![b' '; 1 << 20];
    for connection in &mut connections {
        connection.send(&announced(Some("rp-wrong"))).unwrap();
        let mut sent = 0;
        while sent < 100 && connection.stream().write_all(&portion).is_ok() {
            sent += 1;
        }
        assert_error(&connection.read_response(false).unwrap(), 401);
    }
    let after = agent.metric("process_resident_memory_bytes", "");
    assert!(after < before + 10e6, "memory grew from {before} to {after} bytes");
}

#[test]
fn a_dump_beyond_the_limit_is_refused() {
    let data = two_environments().to_text();
    let agent = Builder::offline().api_key().env("Limits__BootstrapBytes", "1024").start();
    assert!(data.len() > 1024);
    assert_error(&push(&agent, data.as_bytes()), 413);
    let mut bytes = request("POST", BOOTSTRAP, &[KEY, JSON, ("Transfer-Encoding", "chunked")], None);
    bytes.extend_from_slice(&chunked(data.as_bytes(), 300));
    assert_error(&send_last(&agent, bytes), 413);
    agent.wait_metric("featbit_agent_limits_hit_total", "\"bootstrap_bytes\"", 2.0);
    // Larger than the limit of other bodies is no matter.
    let agent = Builder::offline().api_key().env("Limits__BodyBytes", "1024").start();
    push(&agent, data.as_bytes()).expect(200);
}

#[test]
fn a_bad_dump_is_rejected_completely_with_the_paths_of_its_errors() {
    let agent = empty_agent();
    let good = two_environments();
    agent.bootstrap(&good);
    let served = agent.get(BACKUP, &[KEY]).expect(200).body;
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut data = good.clone();
        // Something new that must not come into service with what is bad.
        serve(data.environments[0].flag_mut("a"), "v1");
        touch(data.environments[0].flag_mut("a"), 1000);
        let mut json = data.to_json();
        change(&mut json);
        json.to_string()
    };
    let whole = good.to_text();
    let secret = good.environments[0].secret(Kind::Server);
    for (dump, path) in [
        (String::new(), ""),
        (whole[..whole.len() / 2].to_owned(), ""),
        (format!("{whole}]"), ""),
        ("[]".to_owned(), ""),
        ("null".to_owned(), ""),
        ("{}".to_owned(), "items"),
        (changed(&|json| json["eventType"] = json!(1)), "eventType"),
        (changed(&|json| json["items"] = json!({})), "items"),
        (changed(&|json| json["items"][1]["envId"] = json!(7)), "items[1].envId"),
        (changed(&|json| json["items"][1]["envId"] = json!("no GUID")), "items[1].envId"),
        (
            changed(&|json| json["items"][0]["featureFlags"][1]["key"] = json!(1)),
            "items[0].featureFlags[1].key",
        ),
        (
            changed(&|json| {
                drop(json["items"][0]["featureFlags"][1].as_object_mut().unwrap().remove("variations"))
            }),
            "items[0].featureFlags[1].variations",
        ),
        (
            changed(&|json| {
                let bad = json!({ "id": "c", "property": "p", "op": 5, "value": "1" });
                json["items"][0]["featureFlags"][0]["rules"] = json!([rule("r", vec![bad], everybody("v0"))]);
            }),
            "items[0].featureFlags[0].rules[0].conditions[0].op",
        ),
        (
            changed(&|json| json["items"][0]["featureFlags"][0]["updatedAt"] = json!("yesterday")),
            "items[0].featureFlags[0].updatedAt",
        ),
        (
            changed(&|json| json["items"][0]["segments"][0]["included"] = json!("u")),
            "items[0].segments[0].included",
        ),
        (changed(&|json| json["items"][1]["secrets"][0]["value"] = json!(secret)), "items[1].secrets[0]"),
        (changed(&|json| json["items"][0]["secrets"][1]["value"] = json!(secret)), "items[0].secrets[1]"),
        (
            changed(&|json| json["items"][0]["secrets"][0]["type"] = json!("other")),
            "items[0].secrets[0].type",
        ),
    ] {
        let answer = push(&agent, dump.as_bytes());
        let reason = assert_error(&answer, 400);
        assert!(reason.contains(path), "{path} not in {reason}");
        assert!(!reason.contains(&secret[..22]), "{reason}");
        assert!(agent.get(BACKUP, &[KEY]).expect(200).body == served, "{path}: the data in service stays");
    }
    assert_eq!(status(&agent)["dataVersion"], START_MS + 7);
    agent.wait_metric("featbit_agent_datasets_rejected_total", "\"bootstrap\"", 18.0);
    assert!(!agent.log().contains(&secret[..22]));
}

#[test]
fn dumps_that_featbit_tolerates_are_accepted() {
    let agent = empty_agent();
    let mut environment = Environment::new(1).flag(boolean_flag("a"));
    let odd = vec![condition("p", "Resembles", "x"), condition("User is in segment", "", "[\"nowhere\"]")];
    environment.flag_mut("a")["rules"] =
        json!([rule("odd", odd, json!([{ "id": "gone", "rollout": [0.5, 0.2], "exptRollout": 3 }]))]);
    environment.flag_mut("a")["disabledVariationId"] = json!("gone");
    agent.bootstrap(&Dataset::of([environment.clone()]));
    let values = agent.evaluate(&environment.secret(Kind::Client), &user("u", &[]));
    assert_eq!(values["a"]["variation"], "true");
    agent.wait_line("warnings");
}

/// What went wrong: data that stops SDKs for good was served and not logged.
#[test]
fn data_that_stops_sdks_is_named_in_the_answer_and_the_log_and_every_flag_is_evaluated() {
    let agent = empty_agent();
    let dump = include_str!("cases/hurts-sdks.json");
    let answer = push(&agent, dump.as_bytes()).expect(200).json();
    let warnings = answer["warnings"].as_array().unwrap();
    let told = |part: &str| warnings.iter().any(|warning| warning.as_str().unwrap().contains(part));
    for part in [
        "items[0].featureFlags[0].variations[1].id: is the id of variations[0] too",
        "the Java SDK stops for good",
        "(flag \"gap-in-rollout\")",
        "the process of the Node SDK ends",
    ] {
        assert!(told(part), "{part}: {warnings:#?}");
        agent.wait_line(part);
    }
    // What went wrong: the command in the log ended with 78, since it lacked the mode.
    agent.wait_line("`featbit-agent check --mode offline --data-file FILE` shows");
    let secret = "caseclientxxxxxxxxxxxxUmoPOx18fk-aVS9PbwwaEQ";
    let values = agent.evaluate(secret, &user("anna", &[]));
    assert_eq!(values.len(), 6);
    assert_eq!(values["null-key"]["variation"], "two");
    // Nothing to say, nothing said.
    let good = push(&agent, two_environments().to_text().as_bytes()).expect(200).json();
    assert!(good.get("warnings").is_none(), "{good}");
}

#[test]
fn a_message_to_an_sdk_is_rejected_as_a_dump_and_named() {
    let agent = empty_agent();
    let answer = push(&agent, include_bytes!("cases/saved-from-the-wire.json"));
    let reason = assert_error(&answer, 400);
    assert!(reason.contains("is what a server SDK is sent") && reason.contains("secrets"), "{reason}");
}

#[test]
fn one_bootstrap_at_a_time() {
    let agent = Builder::offline().api_key().env("Limits__Bootstraps", "1").start();
    let text = two_environments().to_text();
    let mut first = connect(&agent);
    let headers = [KEY, JSON, ("Transfer-Encoding", "chunked"), ("Expect", "100-continue")];
    first.send(&request("POST", BOOTSTRAP, &headers, None)).unwrap();
    assert_eq!(first.read_response(false).unwrap().status, 100, "it is under way");
    let coded = chunked(text.as_bytes(), 500);
    first.send(&coded[..700]).unwrap();
    let refused = push(&agent, text.as_bytes());
    assert_error(&refused, 503);
    assert!(refused.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    agent.wait_metric("featbit_agent_limits_hit_total", "\"bootstraps\"", 1.0);
    // Status and backup do not wait for it, nor do SDKs.
    assert_eq!(status(&agent)["syncState"], "None");
    agent.get(BACKUP, &[KEY]).expect(200);
    first.send(&coded[700..]).unwrap();
    first.read_response(false).unwrap().expect(200);
    // The same connection may bring the next one, and others too.
    first.send(&request("POST", BOOTSTRAP, &[KEY, JSON], Some(text.as_bytes()))).unwrap();
    first.read_response(false).unwrap().expect(200);
    push(&agent, text.as_bytes()).expect(200);
}

#[test]
fn calls_that_come_together_are_all_answered() {
    let agent = Builder::offline().api_key().env("Limits__Bootstraps", "64").start();
    let data = two_environments();
    std::thread::scope(|scope| {
        for number in 0..24 {
            let (agent, mut data) = (&agent, data.clone());
            scope.spawn(move || {
                touch(data.environments[0].flag_mut("a"), 1000 + number);
                for _ in 0..5 {
                    let answer = push(agent, data.to_text().as_bytes());
                    // Either it was taken, or the writer had too much to do.
                    if answer.status == 200 {
                        assert!(answer.json()["dataVersion"].as_i64().unwrap() >= START_MS + 1000 + number);
                    } else {
                        assert_error(&answer, 503);
                    }
                    agent.get(BACKUP, &[KEY]).expect(200);
                }
            });
        }
    });
    assert!(status(&agent)["dataVersion"].as_i64().unwrap() <= START_MS + 1023);
}

#[test]
fn the_data_version_never_goes_down() {
    let agent = empty_agent();
    let mut data = two_environments();
    touch(data.environments[1].flag_mut("a"), 5000);
    assert_eq!(agent.bootstrap(&data)["dataVersion"], START_MS + 5000);
    let secret = data.environments[1].secret(Kind::Server);
    // Put back to an older state: it is served, and the version stays.
    touch(data.environments[1].flag_mut("a"), 1);
    serve(data.environments[1].flag_mut("a"), "v1");
    assert_eq!(agent.bootstrap(&data)["dataVersion"], START_MS + 5000);
    assert_eq!(status(&agent)["dataVersion"], START_MS + 5000);
    agent.wait_metric("featbit_agent_data_version", "", (START_MS + 5000) as f64);
    let poll = |timestamp: i64| {
        agent.get(&format!("{SERVER_POLL}?timestamp={timestamp}"), &[("Authorization", &secret)]).expect(200)
    };
    let flag = poll(0).json()["data"]["featureFlags"][0].clone();
    // SDKs with the newer state get it too, since its version is above every earlier one.
    let patch = poll(START_MS + 5000).json();
    assert_eq!((&patch["data"]["eventType"], &patch["data"]["featureFlags"][0]), (&json!("patch"), &flag));
    assert!(item_version_ms(&flag) > START_MS + 5000);
    assert_eq!(flag["fallthrough"], data.environments[1].flags[0]["fallthrough"]);
    // What is backed up is what the source said.
    let backup = agent.get(BACKUP, &[KEY]).expect(200).json();
    assert_eq!(backup["items"][1]["featureFlags"][0], data.environments[1].flags[0]);
    data.environments.clear();
    assert_eq!(agent.bootstrap(&data), json!({ "serves": "", "dataVersion": START_MS + 5000 }));
}

#[test]
fn the_same_dump_again_is_answered_and_changes_nothing() {
    let agent = empty_agent();
    let data = two_environments();
    let first = agent.bootstrap(&data);
    agent.wait_metric("featbit_agent_snapshots_published_total", "", 1.0);
    let published = agent.metric("featbit_agent_snapshots_published_total", "");
    assert_eq!(agent.bootstrap(&data), first);
    assert_eq!(agent.metric("featbit_agent_snapshots_published_total", ""), published);
}

#[test]
fn an_environment_that_left_the_dump_is_refused_once_the_grace_is_over() {
    let agent = Builder::offline().api_key().env("RevocationGraceSeconds", "0").start();
    let mut data = two_environments();
    agent.bootstrap(&data);
    let gone = data.environments.remove(0);
    assert_eq!(agent.bootstrap(&data)["serves"], "project-2:production");
    wait_until("its secrets are refused", SOON, || {
        let server = agent.get(SERVER_POLL, &[("Authorization", &gone.secret(Kind::Server))]);
        let client =
            agent.post(CLIENT_POLL, &[("Authorization", &gone.secret(Kind::Client))], &user("u", &[]));
        (server.status == 401 && client.status == 401).then_some(())
    });
    agent.get(SERVER_POLL, &[("Authorization", &data.environments[0].secret(Kind::Server))]).expect(200);
}

#[test]
fn a_dump_that_lost_its_environments_is_logged_before_its_sdks_are_stopped() {
    let agent = Builder::offline().api_key().env("RevocationGraceSeconds", "1").start();
    let data = two_environments();
    agent.bootstrap(&data);
    agent.wait_metric("featbit_agent_secrets", "", 4.0);
    agent.bootstrap(&Dataset::of([]));
    let says = "4 secrets (project-1:production, project-2:production) are no longer in the data; their SDKs are stopped in 1 s \
                unless the secrets come back";
    for part in [says, "the dataset has no environment", "removed=6"] {
        agent.wait_line(part);
    }
    assert!(!agent.log().contains(&data.environments[0].secret(Kind::Server)));
    // Secrets whose grace is over are no longer counted.
    agent.wait_metric("featbit_agent_secrets", "", 0.0);
}

#[test]
fn a_secret_whose_type_changes_stops_no_sdk_at_once() {
    let agent = empty_agent();
    let mut data = two_environments();
    data.environments.truncate(1);
    agent.bootstrap(&data);
    let secret = data.environments[0].secret(Kind::Server);
    let mut stream = Stream::connect(&agent, Kind::Server, &secret);
    stream.request_data(0);
    stream.next_data();
    let mut swapped = data.to_json();
    for secret in swapped["items"][0]["secrets"].as_array_mut().unwrap() {
        secret["type"] = json!(if secret["type"] == "server" { "client" } else { "server" });
    }
    push(&agent, swapped.to_string().as_bytes()).expect(200);
    let says = "2 secrets (project-1:production) have another type in the data; SDKs of the former type are stopped \
                in 60 s unless that type comes back";
    agent.wait_line(says);
    stream.request_data(0);
    assert_eq!(stream.next_data()["eventType"], "full");
    agent.get(SERVER_POLL, &[("Authorization", &secret)]).expect(200);
    agent.post(CLIENT_POLL, &[("Authorization", &secret)], &user("u", &[])).expect(200);
}

#[test]
fn an_updated_at_in_the_far_future_is_logged_once() {
    let agent = empty_agent();
    let mut data = two_environments();
    data.environments[1].flag_mut("a")["updatedAt"] = json!("2262-04-10T23:59:59Z");
    agent.bootstrap(&data);
    let says = "more than a day ahead of this machine's clock";
    let line = agent.wait_line(says);
    assert_eq!(agent.lines(says).len(), 1, "{}", agent.log());
    // What went wrong: the line began with "is 2262-…", and said at its end only what is.
    assert!(line.contains("project-2:production/a.updatedAt: is 2262-"), "{line}");
}

#[test]
fn a_client_that_leaves_during_a_backup_harms_nothing() {
    let agent = empty_agent();
    agent.bootstrap(&two_environments());
    for _ in 0..50 {
        let mut connection = connect(&agent);
        connection.send(&request("GET", BACKUP, &[KEY], None)).unwrap();
    }
    // And who only ends his own side gets it.
    let mut connection = connect(&agent);
    connection.send(&request("GET", BACKUP, &[KEY], None)).unwrap();
    connection.finish().unwrap();
    let answer = wait_until("the backup comes", SOON, || connection.read_response(false).ok());
    assert_eq!(answer.expect(200).json(), two_environments().to_json());
    assert_closed(&mut connection, "the backup");
}
