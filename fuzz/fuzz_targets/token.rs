//! Tokens and secrets: what was taken apart can be put together again.
#![no_main]

use featbit_agent::protocol::secret::Secret;
use featbit_agent::protocol::token::{decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(token) = decode(text) {
        assert_eq!(Secret::parse(token.secret.as_str()), Some(token.secret));
        assert!(token.issued_at_ms >= 0);
        if !token.secret.as_str().ends_with('=') {
            for position in [0, 2, 22, 44] {
                assert_eq!(decode(&encode(&token.secret, token.issued_at_ms, position)), Ok(token));
            }
        }
    }
    if let Some(secret) = Secret::parse(text) {
        assert_eq!(secret.as_str(), text);
        let _ = secret.environment_id();
    }
});
