//! The user in the body of a client SDK's poll.
#![no_main]

use featbit_agent::model::user::User;
use featbit_agent::protocol::user::parse_http;
use libfuzzer_sys::fuzz_target;

const PROPERTIES_MAX: usize = 1000;

fuzz_target!(|data: &[u8]| {
    let Ok(user) = parse_http(data, PROPERTIES_MAX) else { return };
    assert!(!user.key_id().trim().is_empty());
    assert!(serde_json::from_slice::<&serde_json::value::RawValue>(data).is_ok(), "taken, but no JSON");
    // The size bounds what a connection keeps: an escape is never longer than what it stands for.
    let properties: Vec<_> = user.properties().collect();
    assert!(properties.len() <= PROPERTIES_MAX);
    let text = |text: &str| text.len();
    let kept: usize = properties.iter().map(|(name, value)| text(name) + value.map_or(0, text)).sum();
    assert!(user.key_id().len() + user.name().map_or(0, text) + kept <= data.len());
    let again = User::new(user.key_id(), user.name(), &properties);
    assert_eq!(again.as_ref(), Some(&user), "a user changes when it is packed again");
});
