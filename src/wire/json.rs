//! Writes a text as a JSON string (RFC 8259 section 7), quotes included. Only what must be escaped is escaped, in its
//! shortest form, as `serde_json` does it.
//!
//! Must not read JSON, and must not write anything but strings: messages are written by those who know them.

/// Appends `text` as a JSON string to bytes.
pub fn append_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    if is_plain(text) {
        out.extend_from_slice(text.as_bytes());
    } else {
        escape(text, |part| out.extend_from_slice(part.as_bytes()));
    }
    out.push(b'"');
}

/// Appends `text` as a JSON string to a text.
pub fn push_string(text: &str, out: &mut String) {
    out.push('"');
    if is_plain(text) {
        out.push_str(text);
    } else {
        escape(text, |part| out.push_str(part));
    }
    out.push('"');
}

/// `text` as a JSON string.
pub fn string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    push_string(text, &mut json);
    json
}

/// The escapes of the characters below a space.
const CONTROLS: [&str; 0x20] = [
    "\\u0000", "\\u0001", "\\u0002", "\\u0003", "\\u0004", "\\u0005", "\\u0006", "\\u0007", "\\b", "\\t",
    "\\n", "\\u000b", "\\f", "\\r", "\\u000e", "\\u000f", "\\u0010", "\\u0011", "\\u0012", "\\u0013",
    "\\u0014", "\\u0015", "\\u0016", "\\u0017", "\\u0018", "\\u0019", "\\u001a", "\\u001b", "\\u001c",
    "\\u001d", "\\u001e", "\\u001f",
];

/// Whether nothing has to be escaped, as nearly always. Looks at all bytes without leaving early, which is fastest.
fn is_plain(text: &str) -> bool {
    text.bytes().fold(true, |plain, byte| plain & (byte >= 0x20) & (byte != b'"') & (byte != b'\\'))
}

/// Hands out the escaped text in parts.
fn escape(text: &str, mut part: impl FnMut(&str)) {
    let mut copied = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            0..0x20 => CONTROLS[usize::from(byte)],
            _ => continue,
        };
        part(&text[copied..at]);
        part(escape);
        copied = at + 1;
    }
    part(&text[copied..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn agrees_with_serde_json(text: &str) {
        let expected = serde_json::to_string(text).unwrap();
        assert_eq!(string(text), expected);
        let mut bytes = Vec::new();
        append_string(text, &mut bytes);
        assert_eq!(bytes, expected.as_bytes());
    }

    #[test]
    fn every_character_of_ascii_is_written_as_serde_json_writes_it() {
        for character in '\0'..='\u{80}' {
            agrees_with_serde_json(&character.to_string());
            agrees_with_serde_json(&format!("客{character}户"));
        }
        assert_eq!(string("a\"b\\\n\u{1}\u{8}\u{c}\u{7f}"), "\"a\\\"b\\\\\\n\\u0001\\b\\f\u{7f}\"");
    }

    proptest! {
        #[test]
        fn any_text_is_written_as_serde_json_writes_it(text in ".*") {
            agrees_with_serde_json(&text);
        }
    }
}
