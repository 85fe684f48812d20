use proptest::prelude::*;

use super::*;
use crate::model::timestamp::parse_iso8601_ms;
use crate::protocol::status::SyncState;

#[test]
fn reads_what_featbits_agent_sends_and_what_this_one_adds() {
    let id = "84e8a446-59bc-49f5-bd3a-12313237697e";
    let message = format!(
        r#"{{"messageType":"data-sync","data":{{"timestamp":9,"envs":[{{"envId":"{id}","timestamp":7}}]}}}}"#
    );
    let plain = RelayRequest {
        timestamp_ms: 9,
        environments: vec![(EnvironmentId::parse(id).unwrap(), 7)],
        ..RelayRequest::default()
    };
    assert_eq!(FromRelay::parse(message.as_bytes()), FromRelay::DataSync(plain));
    let more = br#"{"messageType":"Data-Sync","data":{"timestamp":0,"secrets":"ab","verify":3}}"#;
    let expected = RelayRequest { digest: Some("ab".into()), verify: Some(3), ..RelayRequest::default() };
    assert_eq!(FromRelay::parse(more), FromRelay::DataSync(expected));
    assert_eq!(FromRelay::parse(br#"{"messageType":"ping","data":{}}"#), FromRelay::Ping);
    let status = br#"{"messageType":"rp-agent-status","data":{"agentId":"a","status":"{\"serves\":\"x\"}"}}"#;
    let expected = FromRelay::Status { agent_id: "a".into(), status: serde_json::json!({ "serves": "x" }) };
    assert_eq!(FromRelay::parse(status), expected);
}

#[test]
fn what_is_not_understood_is_ignored() {
    for text in [
        "",
        "{}",
        "[]",
        r#"{"messageType":1,"data":{}}"#,
        r#"{"messageType":"data-sync"}"#,
        r#"{"messageType":"data-sync","data":{"timestamp":"0"}}"#,
        r#"{"messageType":"data-sync","data":{"timestamp":1,"envs":[{"envId":"no id","timestamp":1}]}}"#,
        r#"{"messageType":"rp-agent-status","data":{"agentId":"a","status":"[]"}}"#,
        r#"{"messageType":"rp-agent-status","data":{"agentId":"a","status":{}}}"#,
        r#"{"messageType":"other","data":{}}"#,
    ] {
        assert_eq!(FromRelay::parse(text.as_bytes()), FromRelay::Ignored, "{text}");
    }
}

fn some_request() -> impl Strategy<Value = RelayRequest> {
    let environment = (any::<[u8; 16]>().prop_map(EnvironmentId::from_bytes), any::<i64>());
    (
        prop_oneof![Just(0), any::<i64>()],
        prop::collection::vec(environment, 0..3),
        prop::option::of(".*"),
        any::<Option<u64>>(),
    )
        .prop_map(|(timestamp_ms, environments, digest, verify)| RelayRequest {
            timestamp_ms,
            environments,
            digest,
            verify,
        })
}

proptest! {
    #[test]
    fn a_request_is_read_as_it_is_written(request in some_request()) {
        let text = request.write();
        prop_assert_eq!(FromRelay::parse(text.as_bytes()), FromRelay::DataSync(request));
    }
}

#[test]
fn a_request_for_a_full_sync_is_what_featbits_agent_sends() {
    assert_eq!(RelayRequest::full().write(), r#"{"messageType":"data-sync","data":{"timestamp":0}}"#);
    assert_eq!(
        RelayRequest::verified_full(2).write(),
        r#"{"messageType":"data-sync","data":{"timestamp":0,"verify":2}}"#
    );
    assert!(RelayRequest::verified_full(2).is_full());
    assert_eq!(FromRelay::parse(PING.as_bytes()), FromRelay::Ping);
}

#[test]
fn the_status_is_reported_as_the_server_reads_it() {
    let recorded: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/vectors/relay.json")).unwrap();
    let said = recorded["streaming"].as_array().unwrap().iter().find(|part| part["what"] == "status report");
    let said = said.unwrap()["send"].as_str().unwrap();
    let parsed: serde_json::Value = serde_json::from_str(said).unwrap();
    let status: serde_json::Value = serde_json::from_str(parsed["data"]["status"].as_str().unwrap()).unwrap();
    let at = |field: &str| status[field].as_str().and_then(parse_iso8601_ms);
    let status = Status {
        serves: status["serves"].as_str().unwrap(),
        data_version: status["dataVersion"].as_i64().unwrap(),
        sync_state: SyncState::Stable,
        last_synced_at_ms: at("lastSyncedAt"),
        reported_at_ms: at("reportedAt").unwrap(),
    };
    let report = StatusReport::write("agent-1", &status).unwrap();
    // This one says milliseconds.
    assert_eq!((report.text, report.left_out), (said.replace(":00Z", ":00.000Z"), 0));
}

#[test]
fn a_report_of_many_environments_is_no_longer_than_the_server_takes() {
    let status = |serves: &str, agent_id: &str| {
        let status = Status {
            serves,
            data_version: i64::MAX,
            sync_state: SyncState::Interrupted,
            last_synced_at_ms: None,
            reported_at_ms: 0,
        };
        StatusReport::write(agent_id, &status).map(|report| {
            let text: serde_json::Value = serde_json::from_str(&report.text).unwrap();
            let status: serde_json::Value =
                serde_json::from_str(text["data"]["status"].as_str().unwrap()).unwrap();
            (report.text.len(), report.left_out, status["serves"].as_str().unwrap().to_owned())
        })
    };
    let names: Vec<String> = (0..1400).map(|number| format!("webshop-{number}:\"prod\"-é")).collect();
    let (bytes, left_out, serves) = status(&names.join(","), "agent-1").unwrap();
    assert!((7_900..=8_000).contains(&bytes), "{bytes}");
    let kept = names.len() - left_out;
    assert_eq!(serves, format!("{},… ({left_out} more)", names[..kept].join(",")));
    // One that fits is whole, at every length around the limit.
    for length in 7_700..8_000 {
        let (bytes, left_out, serves) = status(&format!("a:b,{}", "x".repeat(length)), "a").unwrap();
        assert!(bytes <= 8_000);
        assert_eq!(left_out == 0, serves.len() == length + 4);
        assert!(left_out <= 1);
    }
    let one = "x".repeat(9_000);
    assert_eq!(
        status(&one, "a").map(|(_, left_out, serves)| (left_out, serves)),
        Some((1, "… (1 more)".into()))
    );
    assert_eq!(status("a:b", &one), None);
}

#[test]
fn a_registration_is_read_as_it_is_written() {
    assert_eq!(write_registration("agent \"1\""), r#""agent \"1\"""#);
    assert_eq!(parse_registration(write_registration("agent \"1\"").as_bytes()), Some("agent \"1\"".into()));
    for body in ["", r#"" ""#, "1", "null", "{}", "agent-1"] {
        assert_eq!(parse_registration(body.as_bytes()), None, "{body}");
    }
}
