//! A newer `updatedAt` for items that were changed without one.
//!
//! Must not touch anything else of an item's JSON. People edit dumps by hand and forget `updatedAt`, and
//! several SDKs then ignore what they are sent.

use std::ops::Range;

use crate::model::timestamp::{format_iso8601, parse_iso8601_ms};

/// The JSON object `raw` with every `updatedAt` of its own (not of nested objects) set to `updated_at_ms`.
/// `None` if it has none, or the time has no text that can be read.
pub(super) fn with_updated_at(raw: &str, updated_at_ms: i64) -> Option<String> {
    let text = format_iso8601(updated_at_ms);
    parse_iso8601_ms(&text)?;
    let mut out = String::with_capacity(raw.len() + 16);
    let mut copied = 0;
    for value in own_values(raw, "updatedAt") {
        out.push_str(&raw[copied..value.start]);
        out.push('"');
        out.push_str(&text);
        out.push('"');
        copied = value.end;
    }
    if copied == 0 {
        return None;
    }
    out.push_str(&raw[copied..]);
    Some(out)
}

/// Where the string values of the property `name` of the object itself stand, quotes included. `raw` must
/// be well-formed JSON; of anything else it finds nothing useful, but does not fail.
fn own_values(raw: &str, name: &str) -> Vec<Range<usize>> {
    let bytes = raw.as_bytes();
    let mut found = Vec::new();
    let mut depth = 0usize;
    let mut at = 0;
    // The last string of the object itself, if nothing but a colon came after it.
    let mut last: Option<Range<usize>> = None;
    let mut colon = false;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let end = string_end(bytes, at);
                let own = at..end;
                if depth == 1 {
                    match last.take() {
                        Some(key) if colon => {
                            if serde_json::from_str::<String>(&raw[key]).is_ok_and(|key| key == name) {
                                found.push(own);
                            }
                        }
                        _ => last = Some(own),
                    }
                    colon = false;
                }
                at = end;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b':' if depth == 1 => colon = true,
            b',' if depth == 1 => (last, colon) = (None, false),
            _ => {}
        }
        at += 1;
    }
    found
}

/// Where the string that begins at `start` ends.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::with_updated_at;

    #[test]
    fn changes_the_items_own_updated_at_and_nothing_else() {
        let raw = r#"{ "a":{"updatedAt":"x"}, "name":"updatedAt", "b":["updatedAt","y"],"updatedAt" : "2020-01-01T00:00:00Z" ,"c":1.50}"#;
        let expected = r#"{ "a":{"updatedAt":"x"}, "name":"updatedAt", "b":["updatedAt","y"],"updatedAt" : "2025-01-01T00:00:07.273Z" ,"c":1.50}"#;
        assert_eq!(with_updated_at(raw, 1_735_689_607_273).as_deref(), Some(expected));
    }

    #[test]
    fn takes_escaped_and_repeated_names_as_a_parser_does() {
        let raw = r#"{"\u0075pdatedAt":"1","x":"a\"b\\","updatedAt":"2"}"#;
        let at = "1970-01-01T00:00:00.001Z";
        let expected = format!(r#"{{"\u0075pdatedAt":"{at}","x":"a\"b\\","updatedAt":"{at}"}}"#);
        assert_eq!(with_updated_at(raw, 1), Some(expected));
    }

    #[test]
    fn leaves_alone_what_has_none_or_what_cannot_be_written() {
        assert_eq!(with_updated_at(r#"{"a":1}"#, 1), None);
        assert_eq!(with_updated_at(r#"{"updatedAt":5}"#, 1), None);
        assert_eq!(with_updated_at(r#"{"updatedAt":"x"}"#, i64::MAX), None);
        for broken in ["", "\"", "{\"updatedAt", "{\"updatedAt\":\"", "{\"a\\", "]]{\"updatedAt\":\"é"] {
            let _ = with_updated_at(broken, 1);
        }
    }
}
