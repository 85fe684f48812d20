//! Messages on a stream. What another parser takes for JSON must be taken for JSON here.
#![no_main]

use featbit_agent::protocol::from_sdk::{FromSdk, IgnoreReason};
use libfuzzer_sys::fuzz_target;

/// Deeper text is refused on purpose.
fn is_shallow(data: &[u8]) -> bool {
    data.iter().filter(|byte| matches!(byte, b'{' | b'[')).count() <= 64
}

fuzz_target!(|data: &[u8]| {
    let incoming = FromSdk::parse(data, 1000);
    if let FromSdk::DataSync(sync) = &incoming {
        if let Some(user) = &sync.user {
            assert!(!user.key_id().trim().is_empty());
        }
    }
    if is_shallow(data) {
        let twin = serde_json::from_slice::<serde_json::Value>(data);
        assert!(twin.is_err() || incoming != FromSdk::Ignored(IgnoreReason::NotJson));
        if !matches!(incoming, FromSdk::Ignored(_)) {
            let ignored = serde_json::from_slice::<&serde_json::value::RawValue>(data);
            assert!(ignored.is_ok(), "taken for a message, but no JSON");
        }
    }
});
