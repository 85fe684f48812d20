//! The content of `ApiKey__File`, `RelayKeys__File` and files of passwords.
//!
//! Must not show a key or a part of one: an error describes what is around it.

use super::relay_keys;
use super::secret::Secret;
use super::settings::RelayKey;
use super::value::{InvalidValue, invalid};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The byte order marks of UTF-16, which editors and shells of Windows write.
const UTF16_BOMS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// The key in the content of an `ApiKey__File`.
///
/// # Errors
/// What is wrong with the content.
pub fn api_key(content: &[u8]) -> Result<Secret, InvalidValue> {
    let text = text(content)?;
    one_key(&text)?;
    Ok(Secret::new(text))
}

/// The keys in the content of a `RelayKeys__File`. None of them may be `api_key`.
///
/// # Errors
/// Everything that is wrong with the content.
pub fn relay_keys(content: &[u8], api_key: Option<&Secret>) -> Result<Vec<RelayKey>, Vec<InvalidValue>> {
    let text = text(content).map_err(|invalid| vec![invalid])?;
    relay_keys::parse(&text, api_key)
}

/// The password in the content of a file, which may contain anything but line breaks.
///
/// # Errors
/// What is wrong with the content.
pub fn password(content: &[u8]) -> Result<Secret, InvalidValue> {
    let text = text(content)?;
    match text.contains(['\n', '\r', '\0']) {
        true => Err(invalid("contains several lines, but must be one password", "Keep only the password")),
        false => Ok(Secret::new(text)),
    }
}

/// The text of a file, without a byte order mark and white space around it.
fn text(content: &[u8]) -> Result<String, InvalidValue> {
    if UTF16_BOMS.iter().any(|bom| content.starts_with(bom)) {
        return Err(invalid("the file is UTF-16", "Save it as UTF-8"));
    }
    let content = content.strip_prefix(BOM).unwrap_or(content);
    let Ok(text) = std::str::from_utf8(content) else {
        return Err(invalid("the file is not UTF-8", "Save it as UTF-8, with nothing else in it"));
    };
    match text.trim() {
        "" => Err(invalid("the file is empty", "Write the key or the password into it")),
        text => Ok(text.to_owned()),
    }
}

/// Checks that `text` is one key: no client could send one with white space or line breaks in it.
///
/// # Errors
/// What is wrong with it.
pub(super) fn one_key(text: &str) -> Result<(), InvalidValue> {
    let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
    if lines > 1 {
        return Err(invalid(
            format!("contains {lines} lines, but must be one key and nothing else"),
            "Keep only the key, without a comment, a name or a second key",
        ));
    }
    if text.starts_with('\u{feff}') {
        return Err(invalid("begins with a byte order mark", "Save it without one"));
    }
    let what = match text.chars().find(|character| character.is_whitespace() || character.is_control()) {
        None => return Ok(()),
        Some(' ') => "contains a space",
        Some('\t') => "contains a tab",
        Some(_) => "contains a control character or another kind of white space",
    };
    let is_named = text.contains('=') || text.to_ascii_lowercase().starts_with("bearer ");
    let remedy = if is_named {
        "Keep only the key, without a name or `Bearer` before it"
    } else {
        "Copy the key again, without anything else"
    };
    Err(invalid(what, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "rp-0123456789abcdefghij";

    /// What went wrong: a key file that an editor of Windows had saved answered 401 for ever.
    #[test]
    fn a_byte_order_mark_is_no_part_of_a_key() {
        for content in [format!("\u{feff}{KEY}"), format!("\u{feff} {KEY}\r\n"), format!("{KEY}\n\n")] {
            assert!(api_key(content.as_bytes()).unwrap().matches(KEY.as_bytes()), "{content:?}");
            let keys = relay_keys(content.as_bytes(), None).unwrap();
            assert!(keys.len() == 1 && keys[0].key.matches(KEY.as_bytes()), "{content:?}");
        }
        let two = format!("\u{feff}{KEY}\r\n{KEY}2=shop:dev\r\n");
        assert_eq!(relay_keys(two.as_bytes(), None).unwrap().len(), 2);
        let api_key = Secret::new(KEY.into());
        let errors = relay_keys(two.as_bytes(), Some(&api_key)).unwrap_err();
        assert_eq!(errors[0].problem, "has ApiKey as its entry number 1");
    }

    #[test]
    fn what_is_no_key_is_told_without_the_key() {
        let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain(KEY.bytes().flat_map(|byte| [byte, 0])).collect();
        for (content, says) in [
            (format!("{KEY}\n{KEY}").into_bytes(), "contains 2 lines"),
            (format!("# our key\n\n{KEY}\n").into_bytes(), "contains 2 lines"),
            (format!("{KEY} {KEY}").into_bytes(), "contains a space"),
            (format!("Bearer {KEY}").into_bytes(), "without a name or `Bearer` before it"),
            (format!("ApiKey = {KEY}").into_bytes(), "without a name or `Bearer` before it"),
            (format!("{KEY}\t{KEY}").into_bytes(), "contains a tab"),
            (format!("{KEY}\u{a0}{KEY}").into_bytes(), "another kind of white space"),
            (format!("{KEY}\0{KEY}").into_bytes(), "another kind of white space"),
            (format!("\u{feff}\u{feff}{KEY}").into_bytes(), "begins with a byte order mark"),
            (utf16, "the file is UTF-16"),
            (vec![b'r', 0xe9], "the file is not UTF-8"),
            (b"\xef\xbb\xbf \n".to_vec(), "the file is empty"),
            (Vec::new(), "the file is empty"),
        ] {
            let invalid = api_key(&content).unwrap_err();
            let text = format!("{}. {}", invalid.problem, invalid.remedy);
            assert!(text.contains(says), "{text} without {says}");
            assert!(!text.contains("0123"), "{text}");
        }
    }
}
