//! A text as it is, and as what it says once its escapes are decoded, layer by layer.
//!
//! Must not lose where a character came from: what is found in a decoded text is replaced in the text itself.

/// How many layers of escapes are decoded: JSON text in a query string in JSON text is three.
const LAYERS_MAX: usize = 5;

/// A text in one letter case, for searching.
pub struct Lowercased {
    /// The lowercased text.
    pub text: String,
    /// For each byte of it, the part of the original that it came from. `None`: both have the same places.
    origins: Option<Vec<(u32, u32)>>,
}

impl Lowercased {
    /// The part of the original that a part of the lowercased text came from.
    pub fn origin(&self, start: usize, end: usize) -> (usize, usize) {
        let Some(origins) = &self.origins else { return (start, end) };
        let from = origins.get(start).map_or(0, |origin| origin.0);
        let to = end.checked_sub(1).and_then(|last| origins.get(last)).map_or(0, |origin| origin.1);
        (from as usize, to as usize)
    }
}

/// A character, and the part of the original that it came from.
#[derive(Clone, Copy)]
struct Unit {
    character: char,
    start: u32,
    end: u32,
}

/// Hands the text out, lowercased, then what it says with one layer of escapes decoded, and so on: `%41`, `+`, `\"`, `\u0041`.
pub fn each_level(text: &str, mut level: impl FnMut(&Lowercased)) {
    let has_escapes = memchr::memchr3(b'%', b'\\', b'+', text.as_bytes()).is_some();
    if text.is_ascii() {
        level(&Lowercased { text: text.to_ascii_lowercase(), origins: None });
        if !has_escapes {
            return;
        }
    }
    let mut units: Vec<Unit> = text
        .char_indices()
        .map(|(at, character)| Unit { character, start: at as u32, end: (at + character.len_utf8()) as u32 })
        .collect();
    if !text.is_ascii() {
        level(&lowercased(&units));
    }
    for _ in 0..LAYERS_MAX {
        let Some(decoded) = decoded(&units) else { return };
        units = decoded;
        level(&lowercased(&units));
    }
}

/// Case folding of single characters by way of both cases, so that `ß`, `ẞ` and `ss` are the same, and `ς` and `σ`.
fn lowercased(units: &[Unit]) -> Lowercased {
    let mut text = String::with_capacity(units.len());
    let mut origins = Vec::with_capacity(units.len());
    for unit in units {
        let lower = unit.character.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase);
        for lower in lower {
            text.push(lower);
            origins.extend(std::iter::repeat_n((unit.start, unit.end), lower.len_utf8()));
        }
    }
    Lowercased { text, origins: Some(origins) }
}

/// The text with one layer of escapes decoded; `None` if it has none.
fn decoded(units: &[Unit]) -> Option<Vec<Unit>> {
    let mut result = Vec::with_capacity(units.len());
    let mut changed = false;
    let mut at = 0;
    while let Some(unit) = units.get(at) {
        let rest = &units[at..];
        let used = match unit.character {
            '%' => percent(rest, &mut result),
            '\\' => backslash(rest, &mut result),
            '+' => {
                result.push(Unit { character: ' ', ..*unit });
                1
            }
            _ => 0,
        };
        changed |= used > 0;
        if used == 0 {
            result.push(*unit);
        }
        at += used.max(1);
    }
    changed.then_some(result)
}

/// Decodes a run of `%41%42`. Returns how many characters it is.
fn percent(units: &[Unit], result: &mut Vec<Unit>) -> usize {
    let mut bytes = Vec::new();
    let mut used = 0;
    while let Some([sign, high, low]) = units.get(used..used + 3)
        && sign.character == '%'
        && let (Some(high), Some(digit)) = (high.character.to_digit(16), low.character.to_digit(16))
    {
        bytes.push(((high * 16 + digit) as u8, sign.start, low.end));
        used += 3;
    }
    let plain: Vec<u8> = bytes.iter().map(|(byte, _, _)| *byte).collect();
    let mut at = 0;
    for chunk in plain.utf8_chunks() {
        let valid = chunk.valid().chars();
        // What is no UTF-8 is Latin-1.
        let invalid = chunk.invalid().iter().map(|byte| (char::from(*byte), 1));
        for (character, len) in valid.map(|character| (character, character.len_utf8())).chain(invalid) {
            let (first, last) = (bytes[at], bytes[at + len - 1]);
            result.push(Unit { character, start: first.1, end: last.2 });
            at += len;
        }
    }
    used
}

/// Decodes an escape of JSON. Returns how many characters it is.
fn backslash(units: &[Unit], result: &mut Vec<Unit>) -> usize {
    let (Some(first), Some(kind)) = (units.first(), units.get(1)) else { return 0 };
    let character = match kind.character {
        'u' => return unicode(units, result),
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        other @ ('"' | '\\' | '/' | '\'') => other,
        _ => return 0,
    };
    result.push(Unit { character, start: first.start, end: kind.end });
    2
}

/// Decodes `\u0041`, or two of them for one character.
fn unicode(units: &[Unit], result: &mut Vec<Unit>) -> usize {
    let code = |from: usize| {
        let digits = units.get(from..from + 6)?;
        let is_escape = digits[0].character == '\\' && digits[1].character == 'u';
        let value = digits[2..].iter().try_fold(0, |sum, unit| Some(sum * 16 + unit.character.to_digit(16)?));
        value.filter(|_| is_escape)
    };
    let Some(first) = code(0) else { return 0 };
    let pair = code(6).filter(|low| (0xd800..0xdc00).contains(&first) && (0xdc00..0xe000).contains(low));
    let (value, used) = match pair {
        Some(low) => (0x1_0000 + ((first - 0xd800) << 10) + (low - 0xdc00), 12),
        None => (first, 6),
    };
    let character = char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER);
    result.push(Unit { character, start: units[0].start, end: units[used - 1].end });
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn levels(text: &str) -> Vec<String> {
        let mut levels = Vec::new();
        each_level(text, |lowercased| levels.push(lowercased.text.clone()));
        levels
    }

    #[test]
    fn every_layer_of_escapes_is_decoded() {
        for (text, expected) in [
            ("Ann", &["ann"][..]),
            ("", &[""]),
            ("A%40B", &["a%40b", "a@b"]),
            ("a+b", &["a+b", "a b"]),
            ("%25", &["%25", "%"]),
            ("a%2540b", &["a%2540b", "a%40b", "a@b"]),
            ("%c3%89%e9%", &["%c3%89%e9%", "éé%"]),
            (r"\u0041\\\uD83D\uDE00\ud83dx\q", &[r"\u0041\\\ud83d\ude00\ud83dx\q", "a\\😀\u{fffd}x\\q"]),
            ("ẞς", &["ssσ"]),
            ("%4", &["%4"]),
            ("%zz", &["%zz"]),
            (r"\u12", &[r"\u12"]),
            ("\\", &["\\"]),
        ] {
            assert_eq!(levels(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_part_of_a_level_comes_from_a_part_of_the_text(text in "[aßİ%0-9+\\\\u\"d😀]{0,24}") {
            each_level(&text, |lowercased| {
                let ends = lowercased.text.char_indices().map(|(at, character)| (at, at + character.len_utf8()));
                let mut before = 0;
                for (start, end) in ends {
                    let (from, to) = lowercased.origin(start, end);
                    assert!(from < to && text.is_char_boundary(from) && text.is_char_boundary(to));
                    assert!(before <= from);
                    before = from;
                }
                if !lowercased.text.is_empty() {
                    assert_eq!(lowercased.origin(0, lowercased.text.len()), (0, text.len()));
                }
            });
        }
    }
}
