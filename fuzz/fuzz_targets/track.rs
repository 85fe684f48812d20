//! Bodies of usage events.
#![no_main]

use featbit_agent::protocol::insight::check;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let shallow = data.iter().filter(|byte| matches!(byte, b'{' | b'[')).count() <= 64;
    let twin = serde_json::from_slice::<serde_json::Value>(data);
    match (check(data), twin) {
        (Ok(counts), Ok(serde_json::Value::Array(events))) => {
            assert_eq!(counts.events, events.iter().filter(|event| event.is_object()).count());
        }
        (Ok(counts), Ok(_)) => assert_eq!(counts.events, 0),
        (Err(_), Ok(_)) => assert!(!shallow, "JSON was refused"),
        (_, Err(_)) => {}
    }
});
