//! `updatedAt`: what can be read can be written and read again.
#![no_main]

use featbit_agent::model::timestamp::{format_iso8601, is_safe_for_all_sdks, parse_iso8601_ms};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let safe = is_safe_for_all_sdks(text);
    if let Some(ms) = parse_iso8601_ms(text) {
        assert_eq!(parse_iso8601_ms(&format_iso8601(ms)), Some(ms));
        assert!(is_safe_for_all_sdks(&format_iso8601(ms)));
    } else {
        assert!(!safe, "{text:?} is no moment");
    }
});
