//! A cursor over JSON text, with the rules of .NET's reader.
//!
//! Must not build a tree, or copy without need: callers read the members they know and skip the rest, and strings are
//! borrowed until they are decoded. Accepts RFC 8259 to a depth of 64, as FeatBit's server does. Callers decide about
//! duplicate names (in FeatBit's server, the last one wins).
//!
//! No other parser does all of this: they build a tree, refuse duplicates, or lose the difference between `1e3` and
//! `1000`.

use std::borrow::Cow;

/// How deep objects and arrays may nest, as in `System.Text.Json`.
const MAX_DEPTH: u32 = 64;

/// The bytes with a special meaning in a string: quote, backslash and control characters.
const ENDS_RUN: [bool; 256] = {
    let mut ends = [false; 256];
    let mut control = 0;
    while control < 0x20 {
        ends[control] = true;
        control += 1;
    }
    ends[b'"' as usize] = true;
    ends[b'\\' as usize] = true;
    ends
};

/// The text is not JSON, or nests too deep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotJson;

/// The kind of the next value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    Object,
    Array,
    Text,
    Number,
    True,
    False,
    Null,
}

/// A string as written in the text, without its quotes and with its escapes.
#[derive(Clone, Copy, Debug)]
pub struct RawText<'t> {
    raw: &'t str,
    has_escapes: bool,
}

/// A position in a text.
#[derive(Clone, Debug)]
pub struct Cursor<'t> {
    text: &'t str,
    at: usize,
    depth: u32,
}

impl<'t> Cursor<'t> {
    /// A cursor at the start of `text`.
    pub fn new(text: &'t str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// A cursor at the position `at` of `text`, which is one object.
    pub fn inside_object(text: &'t str, at: usize) -> Self {
        Self { text, at, depth: 1 }
    }

    /// Reads the end of that object. Only white space may follow.
    pub fn end_of_object(&mut self) -> Result<(), NotJson> {
        self.take(b'}')?;
        self.end()
    }

    /// The position in the text: behind what was read last.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The kind of the next value, by its first byte. White space before it is skipped.
    pub fn kind(&mut self) -> Result<Kind, NotJson> {
        match self.skip_blanks() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::Text),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't') => Ok(Kind::True),
            Some(b'f') => Ok(Kind::False),
            Some(b'n') => Ok(Kind::Null),
            _ => Err(NotJson),
        }
    }

    /// Reads an object; `member` is called with each name and must consume the value that follows.
    pub fn object<E: From<NotJson>>(
        &mut self,
        mut member: impl FnMut(&mut Self, RawText<'t>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.enter(b'{')?;
        if !self.take_if(b'}') {
            loop {
                let name = self.string()?;
                self.take(b':')?;
                member(self, name)?;
                if !self.take_if(b',') {
                    break;
                }
            }
            self.take(b'}')?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads an array; `element` is called before each element and must consume it.
    pub fn array<E: From<NotJson>>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.enter(b'[')?;
        if !self.take_if(b']') {
            loop {
                element(self)?;
                if !self.take_if(b',') {
                    break;
                }
            }
            self.take(b']')?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads a string.
    pub fn string(&mut self) -> Result<RawText<'t>, NotJson> {
        self.take(b'"')?;
        let start = self.at;
        let mut has_escapes = false;
        loop {
            let rest = self.text.as_bytes().get(self.at..).ok_or(NotJson)?;
            self.at += rest.iter().position(|&byte| ENDS_RUN[usize::from(byte)]).ok_or(NotJson)?;
            match self.byte() {
                Some(b'"') => break,
                Some(b'\\') => {
                    has_escapes = true;
                    self.at += 1;
                    self.skip_escape()?;
                }
                // Control characters must be escaped.
                _ => return Err(NotJson),
            }
        }
        let raw = self.text.get(start..self.at).ok_or(NotJson)?;
        self.at += 1;
        Ok(RawText { raw, has_escapes })
    }

    /// Skips what follows a `\`. A lone surrogate is an error only when the string is decoded.
    fn skip_escape(&mut self) -> Result<(), NotJson> {
        match self.byte() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let digits = self.text.as_bytes().get(self.at + 1..self.at + 5).ok_or(NotJson)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(NotJson);
                }
                self.at += 5;
            }
            _ => return Err(NotJson),
        }
        Ok(())
    }

    /// Reads a number and returns its text.
    pub fn number(&mut self) -> Result<&'t str, NotJson> {
        self.skip_blanks();
        let start = self.at;
        self.at += usize::from(self.byte() == Some(b'-'));
        if self.byte() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits()?;
        }
        self.text.get(start..self.at).ok_or(NotJson)
    }

    /// At least one digit.
    fn digits(&mut self) -> Result<(), NotJson> {
        let start = self.at;
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(NotJson) }
    }

    /// Reads any value and returns its text, without white space around it.
    pub fn skip(&mut self) -> Result<&'t str, NotJson> {
        let kind = self.kind()?;
        let start = self.at;
        match kind {
            Kind::Object => self.object(|cursor, _| cursor.skip().map(drop))?,
            Kind::Array => self.array(|cursor| cursor.skip().map(drop))?,
            Kind::Text => drop(self.string()?),
            Kind::Number => drop(self.number()?),
            Kind::True => self.literal("true")?,
            Kind::False => self.literal("false")?,
            Kind::Null => self.literal("null")?,
        }
        self.text.get(start..self.at).ok_or(NotJson)
    }

    /// Reads `null` if it comes next. Returns whether it did.
    pub fn null(&mut self) -> Result<bool, NotJson> {
        let is_null = self.kind()? == Kind::Null;
        if is_null {
            self.literal("null")?;
        }
        Ok(is_null)
    }

    /// Checks that only white space follows.
    pub fn end(&mut self) -> Result<(), NotJson> {
        match self.skip_blanks() {
            None => Ok(()),
            Some(_) => Err(NotJson),
        }
    }

    fn literal(&mut self, literal: &str) -> Result<(), NotJson> {
        if !self.text.as_bytes()[self.at..].starts_with(literal.as_bytes()) {
            return Err(NotJson);
        }
        self.at += literal.len();
        Ok(())
    }

    fn enter(&mut self, open: u8) -> Result<(), NotJson> {
        self.take(open)?;
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(NotJson) } else { Ok(()) }
    }

    fn take(&mut self, expected: u8) -> Result<(), NotJson> {
        if self.take_if(expected) { Ok(()) } else { Err(NotJson) }
    }

    fn take_if(&mut self, expected: u8) -> bool {
        let found = self.skip_blanks() == Some(expected);
        self.at += usize::from(found);
        found
    }

    /// The next byte that is not white space.
    fn skip_blanks(&mut self) -> Option<u8> {
        loop {
            match self.byte() {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                other => return other,
            }
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

impl<'t> RawText<'t> {
    /// The string's value; `None` if it contains a lone surrogate, which UTF-8 cannot express.
    pub fn decode(self) -> Option<Cow<'t, str>> {
        if !self.has_escapes {
            return Some(Cow::Borrowed(self.raw));
        }
        let mut decoded = String::with_capacity(self.raw.len());
        let mut rest = self.raw;
        while let Some((plain, escape)) = rest.split_once('\\') {
            decoded.push_str(plain);
            let (character, after) = unescape(escape)?;
            decoded.push(character);
            rest = after;
        }
        decoded.push_str(rest);
        Some(Cow::Owned(decoded))
    }

    /// Whether the string's value is `other`.
    pub fn is(self, other: &str) -> bool {
        if self.has_escapes { self.decode().is_some_and(|text| text == other) } else { self.raw == other }
    }

    /// Whether the string's value is `other`, ignoring the case of ASCII letters.
    pub fn is_in_any_case(self, other: &str) -> bool {
        if self.has_escapes {
            self.decode().is_some_and(|text| text.eq_ignore_ascii_case(other))
        } else {
            self.raw.eq_ignore_ascii_case(other)
        }
    }
}

/// The character of an escape, and the text after it. `escape` begins after the `\`.
fn unescape(escape: &str) -> Option<(char, &str)> {
    let character = match escape.as_bytes().first()? {
        b'b' => '\u{8}',
        b'f' => '\u{C}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unescape_unicode(escape),
        &other => char::from(other),
    };
    Some((character, escape.get(1..)?))
}

/// Decodes `u1234`, or `uD83D\uDE00` for a character of two UTF-16 units.
fn unescape_unicode(escape: &str) -> Option<(char, &str)> {
    let unit = |digits: &str| u32::from_str_radix(digits, 16).ok();
    let first = unit(escape.get(1..5)?)?;
    let after = escape.get(5..)?;
    if !(0xD800..0xDC00).contains(&first) {
        return Some((char::from_u32(first)?, after));
    }
    let second = unit(after.strip_prefix("\\u")?.get(..4)?)?;
    if !(0xDC00..0xE000).contains(&second) {
        return None;
    }
    let character = char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00))?;
    Some((character, after.get(6..)?))
}

#[cfg(test)]
mod tests;
