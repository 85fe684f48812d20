//! Messages of a server to a relay: what a real one said, and what a broken one may say.

use serde_json::{Value, json};

use crate::model::dataset::LEFT_OUT_FAULTS_MAX;
use crate::model::parse::samples::{ENV, ID, OTHER_ENV, SECRET, SEGMENT_ID, dump};

use super::*;
use crate::model::secret::SecretKind;

/// The recorded conversation with a real server.
fn recorded() -> Value {
    serde_json::from_str(include_str!("../../../tests/vectors/relay.json")).unwrap()
}

/// What the server said in the part of the conversation that is called `what`.
fn answers(what: &str) -> Vec<String> {
    let recorded = recorded();
    let parts = recorded["streaming"].as_array().unwrap();
    let part = parts.iter().find(|part| part["what"] == what).unwrap_or_else(|| panic!("no {what}"));
    part["got"].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn message_of(data: Value) -> String {
    json!({"messageType": "data-sync", "data": data}).to_string()
}

fn error_of(text: impl Into<Vec<u8>>) -> MessageError {
    let text: Vec<u8> = text.into();
    ToRelay::parse(&mut DatasetText::new(text)).unwrap_err()
}

#[test]
fn a_real_servers_first_answer_is_everything_it_holds() {
    let [answer] = &answers("first sync")[..] else { panic!("one answer") };
    let mut text = DatasetText::new(answer.clone().into_bytes());
    let ToRelay::Full { dataset, provisional, out_of_scope: false } = ToRelay::parse(&mut text).unwrap()
    else {
        panic!("no full")
    };
    assert!(!provisional);
    let recorded = recorded();
    let held = recorded["dump"]["items"].as_array().unwrap();
    assert_eq!(dataset.environments.len(), held.len());
    for (environment, held) in dataset.environments.iter().zip(held) {
        assert_eq!(environment.id.to_string(), held["envId"].as_str().unwrap());
        let of = |list: &str| held[list].as_array().unwrap().clone();
        let secrets: Vec<_> = environment.secrets.iter().map(|secret| secret.value.to_owned()).collect();
        let expected: Vec<_> =
            of("secrets").iter().map(|secret| secret["value"].as_str().unwrap().to_owned()).collect();
        assert_eq!(secrets, expected);
        for (flag, held) in environment.flags.iter().zip(of("featureFlags")) {
            assert_eq!(serde_json::from_str::<Value>(flag.raw).unwrap(), held);
        }
        assert_eq!(environment.flags.len(), of("featureFlags").len());
        for (segment, held) in environment.segments.iter().zip(of("segments")) {
            assert_eq!(serde_json::from_str::<Value>(segment.raw).unwrap(), held);
        }
        assert_eq!(environment.segments.len(), of("segments").len());
    }
}

#[test]
fn a_real_servers_patch_names_an_environment_once_for_each_server_secret() {
    let [answer] = &answers("resync, the main environment two flags behind")[..] else {
        panic!("one answer")
    };
    let mut text = DatasetText::new(answer.clone().into_bytes());
    let ToRelay::Patch(dataset) = ToRelay::parse(&mut text).unwrap() else { panic!("no patch") };
    let counts: Vec<_> = dataset.environments.iter().map(|environment| environment.flags.len()).collect();
    // It says the main one twice, with the same two flags.
    assert_eq!(answer.matches("\"envId\":\"84e8a446-59bc-49f5-bd3a-12313237697e\",\"secrets\"").count(), 2);
    assert_eq!(counts, [2, 0, 0]);
    assert!(dataset.environments.iter().all(|environment| environment.secrets.is_empty()));
    assert_eq!(dataset.warnings, []);

    let [answer] = &answers("resync, nothing newer")[..] else { panic!("one answer") };
    let mut text = DatasetText::new(answer.clone().into_bytes());
    let ToRelay::Patch(dataset) = ToRelay::parse(&mut text).unwrap() else { panic!("no patch") };
    assert_eq!(dataset.environments.len(), 3);
    assert!(dataset.environments.iter().all(|one| one.flags.is_empty() && one.segments.is_empty()));
}

#[test]
fn a_real_servers_push_is_one_unmodified_item() {
    for answer in answers("a flag changes at the server (published on Redis)") {
        let mut text = DatasetText::new(answer.clone().into_bytes());
        let ToRelay::Change(Changes { flags, segments, .. }) = ToRelay::parse(&mut text).unwrap() else {
            panic!("no change")
        };
        assert_eq!((flags.len(), segments.len()), (1, 0));
        assert!(answer.contains(&format!(r#""featureFlags":[{}],"segments":[]}}"#, flags[0].raw)));
    }
    for answer in answers("a segment changes at the server") {
        let mut text = DatasetText::new(answer.clone().into_bytes());
        let ToRelay::Change(Changes { flags, segments, .. }) = ToRelay::parse(&mut text).unwrap() else {
            panic!("no change")
        };
        assert_eq!((flags.len(), segments.len()), (0, 1));
        assert!(answer.contains(&format!(r#""featureFlags":[],"segments":[{}]}}"#, segments[0].raw)));
    }
}

#[test]
fn what_is_of_no_known_kind_is_not_broken() {
    let [pong] = &answers("ping")[..] else { panic!("one answer") };
    let mut text = DatasetText::new(pong.as_bytes().to_vec());
    assert!(matches!(ToRelay::parse(&mut text), Ok(ToRelay::Pong)));
    for (text, expected) in
        [(r#"{"messageType":"Pong"}"#, "Pong"), (r#"{"messageType":"nonsense"}"#, "nonsense")]
    {
        let mut parsed = DatasetText::new(text.as_bytes().to_vec());
        let ToRelay::Unknown(kind) = ToRelay::parse(&mut parsed).unwrap() else { panic!("{text}") };
        assert_eq!(kind, expected);
    }
    for (text, expected) in [
        (r#"{"data":{"eventType":"rp_more"},"messageType":"data-sync"}"#, "rp_more"),
        (r#"{"messageType":"DATA-SYNC","data":{"eventType":"Full","featureFlags":7}}"#, "Full"),
    ] {
        let mut parsed = DatasetText::new(text.as_bytes().to_vec());
        let ToRelay::UnknownSync(kind) = ToRelay::parse(&mut parsed).unwrap() else { panic!("{text}") };
        assert_eq!(kind, expected);
    }
}

/// A flag of an environment, as far as this is about it.
fn item(environment: &str, id: &str, second: u8) -> Value {
    json!({"id": id, "envId": environment, "key": id, "variations": [],
        "updatedAt": format!("2026-01-01T00:00:{second:02}Z")})
}

/// What went wrong: what FeatBit 6 sends unasked was of no known kind.
#[test]
fn an_unasked_full_is_all_of_the_environment_that_its_items_name() {
    let data = |flags: Value, segments: Value| json!({"eventType": "full", "featureFlags": flags, "segments": segments});
    let other = "7c689106-35df-4d9f-b4d8-cb3d7342e4c3";
    for (flags, segments, expected) in [
        (json!([item(ENV, "a", 1), item(ENV, "b", 2)]), json!([item(ENV, "s", 1)]), vec![(ENV, 2, 1)]),
        (json!([]), json!([item(other, "s", 1)]), vec![(other, 0, 1)]),
        // The newer of two is used, as everywhere in a server's messages.
        (json!([item(ENV, "a", 2), item(ENV, "a", 1)]), json!([]), vec![(ENV, 1, 0)]),
        (json!([item(ENV, "a", 1)]), json!([item(other, "s", 1)]), vec![(ENV, 1, 0), (other, 0, 1)]),
        (json!([]), json!([]), vec![]),
    ] {
        let mut text = DatasetText::new(message_of(data(flags, segments)).into_bytes());
        let ToRelay::Environment(all) = ToRelay::parse(&mut text).unwrap() else { panic!("another kind") };
        let found: Vec<_> = all
            .environments
            .iter()
            .map(|one| (one.id.to_string(), one.flags.len(), one.segments.len()))
            .collect();
        let expected: Vec<_> = expected.into_iter().map(|(id, a, b)| (id.to_owned(), a, b)).collect();
        assert_eq!(found, expected);
        assert!(all.environments.iter().all(|one| one.secrets.is_empty()) && all.warnings.is_empty());
    }
    // What cannot be read is left out, in the environment that it or the others name.
    let flags = json!([{"id": "x", "updatedAt": 7}, item(ENV, "a", 1)]);
    let mut text = DatasetText::new(message_of(data(flags, json!([]))).into_bytes());
    let ToRelay::Environment(all) = ToRelay::parse(&mut text).unwrap() else { panic!("another kind") };
    assert_eq!((all.environments.len(), all.environments[0].flags.len()), (1, 1));
    assert_eq!(all.left_out.flags[0].env_id, EnvironmentId::parse(ENV));
}

#[test]
fn an_unasked_full_without_a_list_or_an_environment_is_broken() {
    for (data, path) in [
        (json!({"eventType": "full", "featureFlags": [item(ENV, "a", 1)]}), "data.segments"),
        (json!({"eventType": "full", "featureFlags": null, "segments": []}), "data.featureFlags"),
        (json!({"eventType": "full", "featureFlags": [7, {"id": "a"}], "segments": []}), "data"),
    ] {
        let error = error_of(message_of(data));
        assert_eq!((error.kind, &*error.faults.faults[0].path), (Some(MessageKind::Environment), path));
    }
}

#[test]
fn errors_are_reported_with_their_path() {
    for (text, path, part) in [
        ("", "line 1, column 1 (byte 0)", "empty"),
        ("[]", "the message", "an object"),
        ("{}", "messageType", "missing"),
        (r#"{"messageType":7}"#, "messageType", "a number"),
        (r#"{"messageType":"data-sync"}"#, "data", "null"),
        (r#"{"messageType":"data-sync","data":[]}"#, "data", "an array"),
        (r#"{"messageType":"data-sync","data":{}}"#, "data.eventType", "missing"),
        (r#"{"messageType":"data-sync","data":{"eventType":"rp_full"}}"#, "data.items", "missing"),
        (
            r#"{"messageType":"data-sync","data":{"eventType":"rp_patch","items":[7]}}"#,
            "data.items[0]",
            "number",
        ),
        (
            r#"{"messageType":"data-sync","data":{"eventType":"rp_full","items":[{"envId":7,"secrets":[]}]}}"#,
            "data.items[0].envId",
            "number",
        ),
        (
            r#"{"messageType":"data-sync","data":{"eventType":"patch","segments":7}}"#,
            "data.segments",
            "a number",
        ),
    ] {
        let error = error_of(text);
        assert_eq!(error.faults.faults[0].path, path, "{text}");
        assert!(error.faults.faults[0].message.contains(part), "{text}: {error}");
    }
}

#[test]
fn a_full_without_a_list_of_secrets_does_not_mean_that_there_are_none() {
    for secrets in [None, Some(json!(null))] {
        let mut full = dump();
        let item = full["items"][0].as_object_mut().unwrap();
        item.remove("secrets");
        item.extend(secrets.map(|secrets| ("secrets".to_owned(), secrets)));
        let error = error_of(message_of(full.clone()));
        assert_eq!((error.kind, error.faults.faults.len()), (Some(MessageKind::Full), 1), "{error}");
        assert_eq!(error.faults.faults[0].path, "data.items[0].secrets");
        // A patch never has secrets, and a dump may leave them out.
        full["eventType"] = json!("rp_patch");
        assert!(ToRelay::parse(&mut DatasetText::new(message_of(full.clone()).into_bytes())).is_ok());
        full["eventType"] = json!("rp_full");
        assert!(DatasetText::new(full.to_string().into_bytes()).parse().is_ok());
    }
}

#[test]
fn errors_are_reported_with_the_kind_of_message_if_that_can_be_read() {
    for (event_type, kind) in
        [("rp_full", MessageKind::Full), ("rp_patch", MessageKind::Patch), ("patch", MessageKind::Change)]
    {
        let data = json!({"eventType": event_type, "items": [7], "segments": 7});
        assert_eq!(error_of(message_of(data)).kind, Some(kind));
    }
    assert_eq!(error_of(r#"{"messageType":"data-sync","data":{"eventType":"rp_full""#).kind, None);
}

#[test]
fn a_secret_is_never_repeated_in_a_fault() {
    let mut broken = dump();
    broken["items"][0]["secrets"][0]["value"] = json!("a-secret-of-the-wrong-length");
    let mut text = DatasetText::new(message_of(broken).into_bytes());
    let ToRelay::Full { dataset, .. } = ToRelay::parse(&mut text).unwrap() else { panic!("no full") };
    let listed = dataset.left_out.to_string();
    assert!(listed.contains("data.items[0].secrets[0].value") && !listed.contains("a-secret"), "{listed}");
    assert!(dataset.environments[0].secrets.is_empty());
}

/// What went wrong: one that could not be read kept every environment from syncing.
#[test]
fn a_flag_segment_or_secret_that_cannot_be_read_is_left_out_and_the_rest_is_used() {
    let home = EnvironmentId::parse(ENV);
    for (list, broken, name) in [
        ("featureFlags", json!(null), None),
        ("featureFlags", json!({"id": 7, "envId": ENV}), None),
        ("featureFlags", json!({"id": "broken", "envId": "nowhere"}), Some("broken")),
        ("featureFlags", json!({"id": "broken", "variations": null}), Some("broken")),
        ("segments", json!({"id": "broken", "updatedAt": "yesterday"}), Some("broken")),
        ("secrets", json!({"type": "mobile", "value": "short"}), None),
    ] {
        for event_type in ["rp_full", "rp_patch"] {
            let mut data = dump();
            data["eventType"] = json!(event_type);
            data["items"][0][list].as_array_mut().unwrap().push(broken.clone());
            let mut text = DatasetText::new(message_of(data).into_bytes());
            let dataset = match ToRelay::parse(&mut text).unwrap() {
                ToRelay::Full { dataset, .. } | ToRelay::Patch(dataset) => dataset,
                other => panic!("{other:?}"),
            };
            let [environment] = &dataset.environments[..] else { panic!("one environment") };
            let counts = (environment.flags.len(), environment.segments.len(), environment.secrets.len());
            assert_eq!(counts, (1, 1, 1), "{broken}");
            let left_out = &dataset.left_out;
            let [ref lost] =
                [&left_out.flags, &left_out.segments, &left_out.secrets].map(|one| &one[..]).concat()[..]
            else {
                panic!("one is left out: {left_out:?}")
            };
            assert_eq!((lost.env_id, lost.name, lost.at), (home, name, 1));
            assert!(left_out.to_string().contains(&format!("data.items[0].{list}[1]")), "{left_out}");
        }
        // A dump with it is refused as ever.
        let mut data = dump();
        data["items"][0][list].as_array_mut().unwrap().push(broken);
        assert!(DatasetText::new(data.to_string().into_bytes()).parse().is_err());
    }
    let flag = dump()["items"][0]["featureFlags"][0].clone();
    let change = json!({"eventType": "patch", "featureFlags": [null, flag], "segments": [{"id": 1}]});
    let mut text = DatasetText::new(message_of(change).into_bytes());
    let ToRelay::Change(Changes { flags, segments, left_out }) = ToRelay::parse(&mut text).unwrap() else {
        panic!("no change")
    };
    assert_eq!((flags.len(), segments.len()), (1, 0));
    assert_eq!((left_out.flags.len(), left_out.segments.len()), (1, 1));
    assert!(left_out.to_string().contains("data.segments[0].id: is a number"), "{left_out}");
}

#[test]
fn of_many_errors_the_first_are_listed_and_the_rest_counted() {
    let mut data = dump();
    let flags = data["items"][0]["featureFlags"].as_array_mut().unwrap();
    flags.extend(vec![json!({}); 50]);
    let mut text = DatasetText::new(message_of(data).into_bytes());
    let ToRelay::Full { dataset, .. } = ToRelay::parse(&mut text).unwrap() else { panic!("no full") };
    let left_out = dataset.left_out;
    assert_eq!((left_out.count(), left_out.faults.len()), (50, LEFT_OUT_FAULTS_MAX));
    assert!(left_out.more >= 50 - LEFT_OUT_FAULTS_MAX, "{left_out}");
    assert!(left_out.to_string().ends_with(&format!("; and {} more", left_out.more)), "{left_out}");
}

#[test]
fn of_two_items_of_one_id_the_newer_is_used() {
    let mut twice = dump();
    let item = twice["items"][0].clone();
    twice["items"].as_array_mut().unwrap().push(item);
    twice["items"][0]["featureFlags"][0]["updatedAt"] = json!("2025-03-01T00:00:09Z");
    twice["items"][1]["segments"][0]["updatedAt"] = json!("2026-03-01T00:00:09Z");
    twice["items"][1]["segments"][0]["name"] = json!("the newer one");
    let mut text = DatasetText::new(message_of(twice).into_bytes());
    let ToRelay::Full { dataset, .. } = ToRelay::parse(&mut text).unwrap() else { panic!("no full") };
    let [environment] = &dataset.environments[..] else { panic!("one environment") };
    assert_eq!(Some(environment.id), EnvironmentId::parse(ENV));
    assert_eq!((environment.flags.len(), environment.flags[0].id), (1, ID));
    assert!(environment.flags[0].raw.contains("00:00:09"));
    assert_eq!((environment.segments.len(), environment.segments[0].id), (1, SEGMENT_ID));
    assert!(environment.segments[0].raw.contains("the newer one"));
    assert_eq!(environment.secrets.len(), 1);
}

#[test]
fn of_two_items_of_one_id_and_date_that_of_the_greater_bytes_counts_in_any_order() {
    for names in [["a", "b"], ["b", "a"]] {
        let mut twice = dump();
        let item = twice["items"][0].clone();
        twice["items"].as_array_mut().unwrap().push(item);
        for (at, name) in names.into_iter().enumerate() {
            twice["items"][at]["featureFlags"][0]["name"] = json!(name);
            twice["items"][at]["segments"][0]["name"] = json!(name);
        }
        let mut text = DatasetText::new(message_of(twice).into_bytes());
        let ToRelay::Full { dataset, .. } = ToRelay::parse(&mut text).unwrap() else { panic!("no full") };
        let environment = &dataset.environments[0];
        assert_eq!((environment.flags.len(), environment.segments.len()), (1, 1));
        for raw in [environment.flags[0].raw, environment.segments[0].raw] {
            assert_eq!(serde_json::from_str::<Value>(raw).unwrap()["name"], "b", "{raw}");
        }
    }
}

#[test]
fn a_state_is_one_of_featbits_names() {
    let read = |data: &str| {
        let mut text =
            DatasetText::new(format!(r#"{{"messageType":"rp-state","data":{data}}}"#).into_bytes());
        match ToRelay::parse(&mut text).unwrap() {
            ToRelay::State(state) => Some(state),
            _ => None,
        }
    };
    assert_eq!(read(r#"{"state":"Interrupted"}"#), Some(Some(SyncState::Interrupted)));
    assert_eq!(read(r#"{"state":"Dreaming"}"#), Some(None), "of a newer agent");
    for strange in [r#"{"state":1}"#, r#"{"state":null}"#, "{}", "[]", "null"] {
        assert_eq!(read(strange), None, "{strange}");
    }
}

#[test]
fn a_path_is_a_list_of_names() {
    let read = |message: &str| {
        let mut text = DatasetText::new(message.as_bytes().to_vec());
        match ToRelay::parse(&mut text).unwrap() {
            ToRelay::Path(path) => Some(path),
            _ => None,
        }
    };
    let path = read(r#"{"messageType":"rp-path","data":{"path":["ab","cd"]}}"#);
    assert_eq!(path, Some(vec!["ab".to_owned(), "cd".to_owned()]));
    for strange in [r#"{"path":"ab"}"#, r#"{"path":[1]}"#, "{}", "null"] {
        assert_eq!(read(&format!(r#"{{"messageType":"rp-path","data":{strange}}}"#)), None, "{strange}");
    }
    let of = |names: &[&str]| {
        read(&serde_json::json!({ "messageType": "rp-path", "data": { "path": names } }).to_string())
    };
    assert_eq!(of(&["a"; 16]).map(|path| path.len()), Some(16));
    // Nobody's names, and they would go into the head of an answer.
    for strange in [&[][..], &[""], &["a b"], &["a,b"], &["ab", "ä"], &["a"; 17], &[&"x".repeat(65)]] {
        assert_eq!(of(strange), None, "{strange:?}");
    }
    assert_eq!(of(&["evil\r\nX-Injected: yes"]), None);
}

#[test]
fn a_full_may_be_provisional() {
    let mut data = dump();
    data["provisional"] = json!(true);
    let mut text = DatasetText::new(message_of(data).into_bytes());
    let message = ToRelay::parse(&mut text).unwrap();
    assert!(matches!(message, ToRelay::Full { provisional: true, .. }), "{message:?}");
}

#[test]
fn a_full_without_environments_may_be_meant() {
    let read = |data: Value| {
        let mut text = DatasetText::new(message_of(data).into_bytes());
        match ToRelay::parse(&mut text).unwrap() {
            ToRelay::Full { out_of_scope, .. } => out_of_scope,
            other => panic!("{other:?}"),
        }
    };
    assert!(read(json!({ "eventType": "rp_full", "items": [], "outOfScope": true })));
    for strange in [json!(false), json!(null), json!("true"), json!(1)] {
        assert!(!read(json!({ "eventType": "rp_full", "items": [], "outOfScope": strange })));
    }
    assert!(!read(json!({ "eventType": "rp_full", "items": [] })));
    let mut full = dump();
    full["outOfScope"] = json!(true);
    assert!(!read(full), "it holds something");
}

#[test]
fn a_number_may_be_verified() {
    let of = |text: &str| {
        let mut text = DatasetText::new(text.as_bytes().to_vec());
        match ToRelay::parse(&mut text).unwrap() {
            ToRelay::Verified(number) => Some(number),
            _ => None,
        }
    };
    assert_eq!(of(r#"{"messageType":"rp-verified","data":{"verify":7}}"#), Some(7));
    for text in [
        r#"{"messageType":"rp-verified"}"#,
        r#"{"messageType":"rp-verified","data":[]}"#,
        r#"{"messageType":"rp-verified","data":{"verify":-1}}"#,
        r#"{"messageType":"rp-verified","data":{"verify":"7"}}"#,
    ] {
        assert_eq!(of(text), None, "{text}");
    }
}

fn parsed(text: String, read: impl FnOnce(ToRelay<'_>)) {
    let mut text = DatasetText::new(text.into_bytes());
    read(ToRelay::parse(&mut text).unwrap());
}

#[test]
fn small_messages_are_read_as_they_are_written() {
    parsed(verified(7), |message| assert!(matches!(message, ToRelay::Verified(7))));
    parsed(state(SyncState::Stable), |message| {
        assert!(matches!(message, ToRelay::State(Some(SyncState::Stable))));
    });
    let names = ["ab".to_owned(), "cd".to_owned()];
    parsed(path(&names), |message| {
        let ToRelay::Path(read) = message else { panic!("{message:?}") };
        assert_eq!(read, names);
    });
}

#[test]
fn a_full_sync_is_read_as_it_is_written() {
    let secret = |value: &'static str, env_key| SecretDef {
        kind: SecretKind::Server,
        project_key: "web \"shop\"",
        env_id: EnvironmentId::parse(ENV).unwrap(),
        env_key,
        value,
    };
    let ids = [ENV, OTHER_ENV].map(|id| EnvironmentId::parse(id).unwrap());
    let secrets = [vec![secret(SECRET, "dev"), secret(SECRET, "dev")], vec![]];
    for (provisional, out_of_scope) in [(false, false), (true, true)] {
        let mut text = FULL_START.as_bytes().to_vec();
        for (index, (id, secrets)) in ids.iter().zip(&secrets).enumerate() {
            text.extend_from_slice(if index > 0 { b"," } else { b"" });
            append_environment_start(*id, secrets.iter().cloned(), &mut text);
            text.extend_from_slice(SEGMENTS.as_bytes());
            text.extend_from_slice(ENVIRONMENT_END.as_bytes());
        }
        append_full_end(provisional, out_of_scope, &mut text);
        parsed(String::from_utf8(text).unwrap(), |message| {
            let ToRelay::Full { dataset, provisional: said, out_of_scope: false } = message else {
                panic!("{message:?}")
            };
            assert_eq!(said, provisional);
            assert!(dataset.left_out.is_empty());
            assert_eq!(dataset.environments.iter().map(|one| one.id).collect::<Vec<_>>(), ids);
            let [secret] = &dataset.environments[0].secrets[..] else { panic!("one secret") };
            assert_eq!((secret.value, secret.project_key, secret.env_key), (SECRET, "web \"shop\"", "dev"));
        });
    }
    let mut empty = FULL_START.as_bytes().to_vec();
    append_full_end(false, true, &mut empty);
    parsed(String::from_utf8(empty).unwrap(), |message| {
        assert!(matches!(message, ToRelay::Full { provisional: false, out_of_scope: true, .. }));
    });
}
