//! Targets of requests: query parameters, paths, the time stamp of a poll, content types.
#![no_main]

use featbit_agent::protocol::http::{is_json_content_type, timestamp_ms};
use featbit_agent::wire::http1::target::{path_is, path_under, query_param};
use libfuzzer_sys::fuzz_target;

/// Decodes the escapes of a path; one of a `/` stays, as it separates nothing. Several `/` are one.
fn decoded(path: &str) -> Vec<u8> {
    let mut rest = path.as_bytes();
    let mut bytes = Vec::new();
    while let [first, after @ ..] = rest {
        let escaped = after.get(..2).filter(|_| *first == b'%').and_then(|digits| {
            let both_digits = digits.iter().all(u8::is_ascii_hexdigit);
            let value = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
            (both_digits && value != b'/').then_some(value)
        });
        bytes.push(escaped.unwrap_or(*first).to_ascii_lowercase());
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    bytes.dedup_by(|byte, before| *byte == b'/' && *before == b'/');
    bytes
}

fuzz_target!(|text: &str| {
    for name in ["token", "type", "version", "timestamp"] {
        if let Some(value) = query_param(text, name) {
            // An escape takes three bytes; bytes that are not UTF-8 become a character of three.
            assert!(value.len() <= 3 * text.len());
            let escaped: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let again = format!("a=b&{name}={escaped}&other");
            assert_eq!(query_param(&again, name).as_deref(), Some(value.as_ref()), "a value changes");
        }
    }
    if let Ok(ms) = timestamp_ms(text) {
        assert_eq!(timestamp_ms(&format!("timestamp={ms}")), Ok(ms));
    }
    let _ = is_json_content_type(text);
    for route in ["/streaming", "/health/liveness"] {
        assert!(!path_is(text, route) || path_under(text, route), "a path is not below itself");
        let plain = decoded(text);
        let rest = plain.strip_prefix(route.as_bytes());
        // A `/` that stands for itself after the route, not one that an escape hides.
        let is_route = rest.is_some_and(|rest| rest.is_empty() || rest == b"/");
        assert_eq!(path_is(text, route), is_route, "{text:?} as {route}");
    }
});
