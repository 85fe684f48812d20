//! Errors for texts that are not JSON, and repair of JSON that only simd-json refuses.
//!
//! Must not run for valid dumps: it reads the text again, slowly.

use serde::de::IgnoredAny;
use simd_json::ErrorType;

use super::findings::DatasetError;

/// The error for bytes that are not UTF-8; `valid_bytes` is the length of the valid beginning.
pub(super) fn not_utf8(bytes: &[u8], bom_bytes: usize, valid_bytes: usize) -> DatasetError {
    let byte = bytes.get(valid_bytes).copied().unwrap_or(0);
    let message =
        format!("the text is not UTF-8: byte 0x{byte:02x} is not allowed here; save the file as UTF-8");
    DatasetError::single(place(bytes, bom_bytes, valid_bytes), message)
}

/// The first syntax error of `text` according to `serde_json`, if there is one.
pub(super) fn fault(text: &str, bom_bytes: usize) -> Option<DatasetError> {
    if text.trim_ascii().is_empty() {
        let message = String::from("the text is empty; a JSON object is needed");
        return Some(DatasetError::single(place(text.as_bytes(), bom_bytes, 0), message));
    }
    let error = serde_json::from_str::<IgnoredAny>(text).err()?;
    let line_start = match error.line().checked_sub(2) {
        None => 0,
        Some(newline) => memchr::memchr_iter(b'\n', text.as_bytes()).nth(newline).map_or(0, |at| at + 1),
    };
    let at = match error.is_eof() {
        true => text.len(),
        false => (line_start + error.column().saturating_sub(1)).min(text.len()),
    };
    let what = error.to_string();
    let what = what.split(" at line ").next().unwrap_or_default();
    let message = format!("the JSON is broken: {what}; correct it here or shortly before");
    Some(DatasetError::single(place(text.as_bytes(), bom_bytes, at), message))
}

/// The error for well-formed JSON beyond the parser's limits.
pub(super) fn limit(error: ErrorType) -> DatasetError {
    let message = match error {
        ErrorType::DepthLimitExceeded => {
            let levels = simd_json::DEFAULT_MAX_DEPTH;
            format!("the JSON is nested deeper than {levels} levels; FeatBit itself allows 64")
        }
        ErrorType::InputTooLarge => String::from("the JSON is larger than 4 GiB; split the environments"),
        _ => String::from("the JSON contains something that the parser cannot read"),
    };
    DatasetError::single(String::from("the text"), message)
}

/// Line, column (in characters) and byte offset of the byte `at`, as an editor counts them.
fn place(bytes: &[u8], bom_bytes: usize, at: usize) -> String {
    let before = bytes.get(..at).unwrap_or(bytes);
    let line = memchr::memchr_iter(b'\n', before).count() + 1;
    let line_start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
    let column = before[line_start..].iter().filter(|byte| (**byte as i8) >= -0x40).count() + 1;
    format!("line {line}, column {column} (byte {})", before.len() + bom_bytes)
}

/// A copy of well-formed JSON, of the same length, without what simd-json rejects although JSON allows it and FeatBit
/// accepts it in values that it does not read: numbers beyond 64 bits become ±9e300, which is out of every range too, and
/// escaped lone surrogates become U+FFFD.
pub(super) fn repair(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at = match byte {
            b'"' => repair_string(&mut bytes, at + 1),
            b'-' | b'0'..=b'9' => repair_number(&mut bytes, at),
            _ => at + 1,
        };
    }
    bytes
}

/// Repairs the string whose content starts at `at`; returns its end.
fn repair_string(bytes: &mut [u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => {}
            _ => {
                at += 1;
                continue;
            }
        }
        let (high, low) = (escaped_unit(bytes, at), escaped_unit(bytes, at + 6));
        at += match (high, low) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => 12,
            (Some(0xd800..0xe000), _) => {
                if let Some(escape) = bytes.get_mut(at..at + 6) {
                    escape.copy_from_slice(b"\\ufffd");
                }
                6
            }
            (Some(_), _) => 6,
            (None, _) => 2,
        };
    }
    bytes.len()
}

/// The UTF-16 unit of the escape `\uXXXX` at `at`.
fn escaped_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Repairs the number that starts at `start`; returns its end.
fn repair_number(bytes: &mut [u8], start: usize) -> usize {
    let token = bytes.get_mut(start..).unwrap_or_default();
    let part = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    let len = token.iter().take_while(part).count();
    let token = &mut token[..len];
    let value = std::str::from_utf8(token).ok().and_then(|token| token.parse::<f64>().ok());
    if value.is_some_and(|value| value.abs() >= 1e18) {
        let huge: &[u8] = if token.starts_with(b"-") { b"-9e300" } else { b"9e300" };
        if let Some((head, tail)) = token.split_at_mut_checked(huge.len()) {
            head.copy_from_slice(huge);
            tail.fill(b' ');
        }
    }
    start + len
}

#[cfg(test)]
mod tests {
    use super::{fault, not_utf8, repair};

    fn message(text: &str) -> String {
        fault(text, 0).unwrap().to_string()
    }

    #[test]
    fn gives_the_position_of_the_error() {
        let broken = "the JSON is broken";
        assert!(message("").starts_with("line 1, column 1 (byte 0): the text is empty"));
        assert!(message(" \n ").starts_with("line 1, column 1 (byte 0): the text is empty"));
        let text = "{\"é\": 1,\n  \"国\": tru}";
        assert!(
            message(text).starts_with(&format!("line 2, column 11 (byte 22): {broken}")),
            "{}",
            message(text)
        );
        assert!(
            message("[1,]").starts_with(&format!("line 1, column 4 (byte 3): {broken}: expected value")),
            "{}",
            message("[1,]")
        );
        assert!(message("[1] 2").starts_with(&format!("line 1, column 5 (byte 4): {broken}: trailing")));
        assert!(
            message("{\"a\"").starts_with(&format!("line 1, column 5 (byte 4): {broken}: EOF")),
            "{}",
            message("{\"a\"")
        );
        assert!(fault("{}", 0).is_none());
    }

    #[test]
    fn counts_a_byte_order_mark_as_bytes_only() {
        let error = fault("[1,]", 3).unwrap();
        assert_eq!(error.faults[0].path, "line 1, column 4 (byte 6)");
        let error = not_utf8(b"[\n\"\xc3\xa9\xff\"]", 0, 5);
        assert_eq!(error.faults[0].path, "line 2, column 3 (byte 5)");
        assert!(error.faults[0].message.contains("0xff"));
    }

    #[test]
    fn repairs_only_what_simd_json_cannot_read() {
        for (text, repaired) in [
            (r#"["\ud800", "\udc00\ud83d\ude00"]"#, r#"["\ufffd", "\ufffd\ud83d\ude00"]"#),
            (r#"["\\ud800", "\"\uD800\n"]"#, r#"["\\ud800", "\"\ufffd\n"]"#),
            (r#"{"1e999": 1e999, "a": -1e999}"#, r#"{"1e999": 9e300, "a": -9e300}"#),
            ("[123456789012345678901234567890]", "[9e300                         ]"),
            ("[1, -2.5, 1e-999, 0.1000000000000000000001]", "[1, -2.5, 1e-999, 0.1000000000000000000001]"),
        ] {
            assert_eq!(String::from_utf8(repair(text)).unwrap(), repaired);
        }
    }
}
