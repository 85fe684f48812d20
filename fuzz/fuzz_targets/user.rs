//! The user in the body of a client SDK's poll.
#![no_main]

use featbit_agent::model::user::User;
use featbit_agent::protocol::user::parse_http;
use libfuzzer_sys::fuzz_target;

const PROPERTIES_MAX: usize = 1000;

fuzz_target!(|data: &[u8]| {
    let Ok(user) = parse_http(data, PROPERTIES_MAX) else { return };
    assert!(!user.key_id().trim().is_empty());
    let properties: Vec<_> = user.properties().collect();
    assert!(properties.len() <= PROPERTIES_MAX);
    let again = User::new(user.key_id(), user.name(), &properties);
    assert_eq!(again.as_ref(), Some(&user), "a user changes when it is packed again");
});
