use super::*;
use crate::protocol::samples::{damaged, some_user};
use proptest::prelude::*;
use serde_json::Value;

const PROPERTIES_MAX: usize = 1000;

fn parse_text(text: &str) -> FromSdk {
    FromSdk::parse(text.as_bytes(), PROPERTIES_MAX)
}

fn timestamp(text: &str) -> Option<i64> {
    match parse_text(&format!(r#"{{"messageType":"data-sync","data":{text}}}"#)) {
        FromSdk::DataSync(request) => Some(request.timestamp_ms),
        FromSdk::Ignored(IgnoreReason::BadRequest) => None,
        other => panic!("{text}: {other:?}"),
    }
}

/// The plain twin, over a tree (where, too, the last of several members of one name wins).
fn parse_plainly(text: &str) -> FromSdk {
    let Ok(tree) = serde_json::from_str::<Value>(text) else {
        return FromSdk::Ignored(IgnoreReason::NotJson);
    };
    let (Some(Value::String(message_type)), Some(data)) = (tree.get("messageType"), tree.get("data")) else {
        return FromSdk::Ignored(IgnoreReason::NoEnvelope);
    };
    match message_type.to_ascii_lowercase().as_str() {
        "ping" => FromSdk::Ping,
        "echo" => FromSdk::Echo,
        "rp-agent-status" => FromSdk::RelayStatus,
        "data-sync" => {
            let timestamp_ms = match data.get("timestamp") {
                _ if !data.is_object() => return FromSdk::Ignored(IgnoreReason::BadRequest),
                None => 0,
                Some(Value::Number(number)) => number.as_i64().unwrap_or(0),
                Some(_) => return FromSdk::Ignored(IgnoreReason::BadRequest),
            };
            let user = data
                .get("user")
                .and_then(|user| user::parse_http(user.to_string().as_bytes(), PROPERTIES_MAX).ok());
            FromSdk::DataSync(SdkRequest { timestamp_ms, user, user_is_too_large: false })
        }
        _ => FromSdk::Ignored(IgnoreReason::UnknownType),
    }
}

const PINGS: [&str; 4] = [
    r#"{"messageType":"ping","data":null}"#,
    r#"{"messageType":"ping","data":{}}"#,
    r#"{"messageType":"ping","data":{"timestamp":0}}"#,
    r#"{"messageType": "ping", "data": null}"#,
];

#[test]
fn a_user_with_too_many_properties_is_none_and_the_rest_of_the_message_is_read() {
    let text = r#"{"data":{"user":{"keyId":"k","customizedProperties":[{},{},{}]},"timestamp":7},"messageType":"data-sync"}"#;
    let request = |max| match FromSdk::parse(text.as_bytes(), max) {
        FromSdk::DataSync(request) => request,
        other => panic!("{other:?}"),
    };
    assert!(request(3).user.is_some() && !request(3).user_is_too_large);
    assert_eq!(request(2), SdkRequest { timestamp_ms: 7, user: None, user_is_too_large: true });
}

#[test]
fn the_short_way_for_pings_says_what_the_long_way_says() {
    for ping in PINGS {
        assert_eq!(parse_text(ping), FromSdk::Ping);
        assert_eq!(parse_any(ping.as_bytes(), PROPERTIES_MAX), Ok(FromSdk::Ping));
    }
}

#[test]
fn tells_the_types_apart_in_either_case() {
    for (text, expected) in [
        (r#" { "data" : [1] , "messageType" : "PING" } "#, FromSdk::Ping),
        (r#"{"messageType":"p\u0069ng","data":0}"#, FromSdk::Ping),
        (r#"{"messageType":"Echo","data":{"é":1}}"#, FromSdk::Echo),
        (r#"{"messageType":"rp-agent-status","data":{}}"#, FromSdk::RelayStatus),
        (r#"{"messageType":"echo","messageType":"ping","data":null}"#, FromSdk::Ping),
        (r#"{"messageType":5,"messageType":"ping","data":null}"#, FromSdk::Ping),
    ] {
        assert_eq!(parse_text(text), expected, "{text}");
    }
}

#[test]
fn what_is_not_understood_is_ignored_for_a_reason() {
    for (text, reason) in [
        ("", IgnoreReason::NotJson),
        ("ping", IgnoreReason::NotJson),
        (r#"{"messageType":"ping","data":null"#, IgnoreReason::NotJson),
        (r#"{"messageType":"ping","data":null}}"#, IgnoreReason::NotJson),
        (r#"{"messageType":"ping","data":{"a":01}}"#, IgnoreReason::NotJson),
        ("[]", IgnoreReason::NoEnvelope),
        ("[", IgnoreReason::NotJson),
        ("null", IgnoreReason::NoEnvelope),
        ("{}", IgnoreReason::NoEnvelope),
        (r#"{"messageType":"ping"}"#, IgnoreReason::NoEnvelope),
        (r#"{"data":null}"#, IgnoreReason::NoEnvelope),
        (r#"{"messagetype":"ping","data":null}"#, IgnoreReason::NoEnvelope),
        (r#"{"messageType":"ping","Data":null}"#, IgnoreReason::NoEnvelope),
        (r#"{"messageType":null,"data":null}"#, IgnoreReason::NoEnvelope),
        (r#"{"messageType":"ping","messageType":5,"data":null}"#, IgnoreReason::NoEnvelope),
        (r#"{"messageType":"pong","data":null}"#, IgnoreReason::UnknownType),
        (r#"{"messageType":"","data":null}"#, IgnoreReason::UnknownType),
        (r#"{"messageType":"\ud800","data":null}"#, IgnoreReason::UnknownType),
        (r#"{"messageType":"data-sync","data":null}"#, IgnoreReason::BadRequest),
        (r#"{"messageType":"data-sync","data":[]}"#, IgnoreReason::BadRequest),
    ] {
        assert_eq!(parse_text(text), FromSdk::Ignored(reason), "{text}");
    }
    let not_utf8 = b"{\"messageType\":\"ping\",\"data\":\"\xFF\"}";
    assert_eq!(FromSdk::parse(not_utf8, PROPERTIES_MAX), FromSdk::Ignored(IgnoreReason::NotJson));
}

#[test]
fn timestamps_are_read_as_dotnet_reads_them() {
    for (data, expected) in [
        ("{}", Some(0)),
        (r#"{"timestamp":0}"#, Some(0)),
        (r#"{"timestamp":-1}"#, Some(-1)),
        (r#"{"timestamp":1735689644638}"#, Some(1_735_689_644_638)),
        (r#"{"timestamp":9223372036854775807}"#, Some(i64::MAX)),
        (r#"{"timestamp":9223372036854775808}"#, Some(0)),
        (r#"{"timestamp":-9223372036854775808}"#, Some(i64::MIN)),
        (r#"{"timestamp":1e3}"#, Some(0)),
        (r#"{"timestamp":5.0}"#, Some(0)),
        (r#"{"timestamp":-0}"#, Some(0)),
        (r#"{"Timestamp":7}"#, Some(0)),
        (r#"{"timestamp":7,"timestamp":8}"#, Some(8)),
        (r#"{"timestamp":null,"timestamp":8}"#, Some(8)),
        (r#"{"timestamp":8,"timestamp":null}"#, None),
        (r#"{"timestamp":null}"#, None),
        (r#"{"timestamp":"0"}"#, None),
        (r#"{"timestamp":{}}"#, None),
    ] {
        assert_eq!(timestamp(data), expected, "{data}");
    }
}

#[test]
fn a_user_comes_along_if_it_is_valid() {
    let key_of = |data: &str| match parse_text(&format!(r#"{{"messageType":"data-sync","data":{data}}}"#)) {
        FromSdk::DataSync(request) => request.user.map(|user| user.key_id().to_owned()),
        other => panic!("{data}: {other:?}"),
    };
    assert_eq!(key_of(r#"{"timestamp":0,"user":{"keyId":"u1","name":"n"}}"#).as_deref(), Some("u1"));
    assert_eq!(key_of(r#"{"user":{"KEYID":"u1"}}"#).as_deref(), Some("u1"));
    assert_eq!(key_of(r#"{"user":{"keyId":"a"},"user":{"keyId":"b"}}"#).as_deref(), Some("b"));
    for data in [
        "{}",
        r#"{"user":null}"#,
        r#"{"user":5}"#,
        r#"{"User":{"keyId":"u1"}}"#,
        r#"{"user":{"keyId":" "}}"#,
        r#"{"user":{"keyId":5}}"#,
        r#"{"user":{"keyId":"a"},"user":null}"#,
    ] {
        assert_eq!(key_of(data), None, "{data}");
    }
}

#[test]
fn debug_output_of_a_request_hides_the_user() {
    let request = parse_text(r#"{"messageType":"data-sync","data":{"user":{"keyId":"alice"}}}"#);
    assert!(matches!(request, FromSdk::DataSync(SdkRequest { user: Some(_), .. })));
    assert!(!format!("{request:?}").contains("alice"));
}

fn some_message() -> impl Strategy<Value = String> {
    let message_type = prop::sample::select(vec![
        "\"data-sync\"",
        "\"Data-Sync\"",
        "\"data-sync\"",
        "\"ping\"",
        "\"echo\"",
        "\"x\"",
        "5",
        "null",
    ]);
    let timestamp = prop::sample::select(vec![
        "0",
        "1735689644638",
        "-5",
        "1e3",
        "99999999999999999999",
        "null",
        "\"0\"",
    ]);
    let member = prop_oneof![
        2 => timestamp.prop_map(|timestamp| format!("\"timestamp\":{timestamp}")),
        2 => some_user().prop_map(|user| format!("\"user\": {user}")),
        1 => Just("\"User\":{\"keyId\":\"x\"}".to_owned()),
    ];
    let data = prop_oneof![
        6 => prop::collection::vec(member, 0..4).prop_map(|members| format!("{{{}}}", members.join(","))),
        1 => Just("null".to_owned()),
    ];
    let member = prop_oneof![
        3 => message_type.prop_map(|message_type| format!("\"messageType\":{message_type}")),
        3 => data.prop_map(|data| format!("\"data\":{data}")),
        1 => Just("\"other\":[{}]".to_owned()),
    ];
    prop::collection::vec(member, 0..5).prop_map(|members| format!("{{{}}}", members.join(", ")))
}

proptest! {
    #[test]
    fn equals_the_plain_twin(text in some_message()) {
        prop_assert_eq!(parse_text(&text), parse_plainly(&text));
    }

    #[test]
    fn equals_the_plain_twin_on_damaged_messages(text in damaged(some_message())) {
        prop_assert_eq!(parse_text(&text), parse_plainly(&text));
    }

    #[test]
    fn equals_the_plain_twin_near_pings(text in damaged(prop::sample::select(PINGS.to_vec()).prop_map(str::to_owned))) {
        prop_assert_eq!(parse_text(&text), parse_plainly(&text));
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = FromSdk::parse(&bytes, PROPERTIES_MAX);
    }
}

/// Requests for flags that begin as most SDKs write them, whole or damaged.
fn usual_request() -> impl Strategy<Value = String> {
    let user = prop_oneof![
        Just("null".to_owned()),
        Just(
            r#"{"keyId":"u","name":null,"customizedProperties":[{"name":"a","value":"\u00e9"}]}"#.to_owned()
        ),
        Just(r#"{"keyId":" "}"#.to_owned()),
        (60usize..66).prop_map(|depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth))),
    ];
    let timestamp = "-?[0-9]{1,20}|0[0-9]?|[0-9a.e]{0,4}|null";
    let end =
        prop::sample::select(vec!["}}", "}", "} } ", "}}}", "},\"data\":{}}", "},\"messageType\":\"ping\"}"]);
    (timestamp, prop::option::of(user), end).prop_map(|(timestamp, user, end)| {
        let user = user.map_or(String::new(), |user| format!(r#","user":{user}"#));
        format!(r#"{{"messageType":"data-sync","data":{{"timestamp":{timestamp}{user}{end}"#)
    })
}

proptest! {
    #[test]
    fn the_usual_way_is_the_long_one(text in prop_oneof![usual_request(), damaged(usual_request())]) {
        // A blank before it makes it unusual.
        let (usual, unusual) = (parse_text(&text), parse_text(&format!(" {text}")));
        prop_assert_eq!(usual, unusual, "{}", text);
    }
}
