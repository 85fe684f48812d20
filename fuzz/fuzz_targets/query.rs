//! Targets of requests: query parameters, paths, the time stamp of a poll, content types.
#![no_main]

use featbit_agent::protocol::http::{is_json_content_type, timestamp_ms};
use featbit_agent::wire::http1::target::{path_is, path_under, query_param};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for name in ["token", "type", "version", "timestamp"] {
        if let Some(value) = query_param(text, name) {
            // An escape takes three bytes; bytes that are not UTF-8 become a character of three.
            assert!(value.len() <= 3 * text.len());
        }
    }
    let _ = timestamp_ms(text);
    let _ = is_json_content_type(text);
    for route in ["/streaming", "/health/liveness"] {
        assert!(!path_is(text, route) || path_under(text, route), "a path is not below itself");
    }
});
