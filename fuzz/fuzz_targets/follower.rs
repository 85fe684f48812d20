//! What a relay that follows this agent sends, and the path of relays in a header field.
#![no_main]

use featbit_agent::model::environment_id::EnvironmentId;
use featbit_agent::protocol::from_relay::FromRelay;
use featbit_agent::protocol::relay_path::{PATH_MAX, parse_path};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let twin = serde_json::from_slice::<serde_json::Value>(data);
    let said = FromRelay::parse(data);
    match &said {
        FromRelay::Ignored => {}
        _ => assert!(twin.is_ok(), "taken for a message, but no JSON"),
    }
    if let (FromRelay::DataSync(sync), Ok(twin)) = (&said, &twin) {
        assert!(sync.environments.len() <= data.len() / 32);
        for (id, _) in &sync.environments {
            assert_eq!(EnvironmentId::parse(&id.to_string()), Some(*id));
        }
        assert_eq!(sync.timestamp_ms, twin["data"]["timestamp"].as_i64().unwrap_or(0));
        assert_eq!(FromRelay::parse(sync.write().as_bytes()), said);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let names = parse_path(text);
        assert!(names.len() <= PATH_MAX);
        if !names.is_empty() {
            assert_eq!(parse_path(&names.join(",")), names);
        }
    }
});
