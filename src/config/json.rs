//! Reads JSON as .NET's configuration does: with comments, trailing commas and nested names.
//!
//! Must not know any setting, and must not quote a value in an error: it may be a secret. It flattens the text
//! into names and scalar values, each with its line.
//!
//! Written by hand: `serde_json` takes no comments, and parsers that do (`jsonc-parser`) accept line breaks and control
//! characters in texts and quote values in their errors.

use std::borrow::Cow;

/// A scalar value of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The names that lead to it, joined by `:`. Elements of an array have numbers.
    pub name: String,
    /// Its text; `None` for `null`.
    pub value: Option<String>,
    /// Its line, from 1.
    pub line: usize,
}

/// Why a text cannot be parsed, and in which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub line: usize,
    pub problem: String,
}

/// How deep values may nest; the same limit as in .NET.
const DEPTH_MAX: usize = 64;

/// Flattens the object that `text` must be.
///
/// # Errors
/// The first syntax error.
pub(super) fn flatten(text: &str) -> Result<Vec<Entry>, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { text, at: 0, entries: Vec::new() };
    reader.skip_blanks()?;
    if reader.peek() != Some(b'{') {
        return Err(reader.error("expected an object `{…}`"));
    }
    reader.value(&mut Vec::new())?;
    reader.skip_blanks()?;
    match reader.peek() {
        None => Ok(reader.entries),
        Some(_) => Err(reader.error("there is text after the end of the object")),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    entries: Vec<Entry>,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn line(&self) -> usize {
        let before = self.text.as_bytes().get(..self.at).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    fn error(&self, problem: &str) -> SyntaxError {
        SyntaxError { line: self.line(), problem: problem.to_string() }
    }

    /// Skips white space and comments of both kinds.
    fn skip_blanks(&mut self) -> Result<(), SyntaxError> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches([' ', '\t', '\r', '\n']);
            self.at += rest.len() - trimmed.len();
            if trimmed.starts_with("//") {
                self.at += trimmed.find('\n').unwrap_or(trimmed.len());
            } else if trimmed.starts_with("/*") {
                let end = trimmed.find("*/").ok_or_else(|| self.error("a comment is not closed"))?;
                self.at += end + 2;
            } else {
                return Ok(());
            }
        }
    }

    fn value(&mut self, path: &mut Vec<String>) -> Result<(), SyntaxError> {
        if path.len() > DEPTH_MAX {
            return Err(self.error("it is nested too deeply"));
        }
        match self.peek() {
            Some(b'{') => self.members(path, b'}'),
            Some(b'[') => self.members(path, b']'),
            _ => {
                let line = self.line();
                let value = self.scalar()?;
                self.entries.push(Entry { name: path.join(":"), value, line });
                Ok(())
            }
        }
    }

    /// The members of an object or an array, which differ in their names only.
    fn members(&mut self, path: &mut Vec<String>, end: u8) -> Result<(), SyntaxError> {
        self.at += 1;
        let mut index = 0;
        loop {
            self.skip_blanks()?;
            if self.peek() == Some(end) {
                self.at += 1;
                return Ok(());
            }
            if end == b'}' {
                let name = self.string()?.into_owned();
                self.skip_blanks()?;
                if self.peek() != Some(b':') {
                    return Err(self.error("expected `:` after a name"));
                }
                self.at += 1;
                path.push(name);
            } else {
                path.push(index.to_string());
                index += 1;
            }
            self.skip_blanks()?;
            self.value(path)?;
            path.pop();
            self.skip_blanks()?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(byte) if byte == end => {}
                _ => {
                    let problem = format!("expected `,` or `{}`", char::from(end));
                    return Err(self.error(&problem));
                }
            }
        }
    }

    fn scalar(&mut self) -> Result<Option<String>, SyntaxError> {
        if self.peek() == Some(b'"') {
            return Ok(Some(self.string()?.into_owned()));
        }
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '-' | '.'));
        let word = &rest[..end.unwrap_or(rest.len())];
        let value = match word {
            "null" => None,
            "true" | "false" => Some(word.to_string()),
            _ if serde_json::from_str::<serde_json::Number>(word).is_ok() => Some(word.to_string()),
            _ => return Err(self.error("expected a value (text must be in double quotes)")),
        };
        self.at += word.len();
        Ok(value)
    }

    fn string(&mut self) -> Result<Cow<'a, str>, SyntaxError> {
        let rest = self.rest();
        if !rest.starts_with('"') {
            return Err(self.error("expected a name in double quotes"));
        }
        let mut escaped = false;
        let end = rest.bytes().skip(1).position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        let end = end.ok_or_else(|| self.error("a text has no closing double quote"))? + 2;
        let text: String = serde_json::from_str(&rest[..end]).map_err(|_| {
            self.error("a text contains a line break, a control character or an invalid escape")
        })?;
        self.at += end;
        Ok(Cow::Owned(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(name: &str, value: Option<&str>, line: usize) -> Entry {
        Entry { name: name.into(), value: value.map(Into::into), line }
    }

    #[test]
    fn reads_what_dotnet_reads() {
        let text = "\u{feff}{ // comment, with \"quotes\"\n  \"Mode\": \"off\\u006cine\", /* more\n */\n  \
                    \"Streaming\": { \"TokenExpirySeconds\": 30, \"Track\": true, },\n \"A:B\": null,\n  \
                    \"Cors\": {\"Origins\": [\"x\", \"y\",]},\n \"Empty\": {}, \"N\": -1.5e3\n}\n";
        assert_eq!(
            flatten(text).unwrap(),
            [
                entry("Mode", Some("offline"), 2),
                entry("Streaming:TokenExpirySeconds", Some("30"), 4),
                entry("Streaming:Track", Some("true"), 4),
                entry("A:B", None, 5),
                entry("Cors:Origins:0", Some("x"), 6),
                entry("Cors:Origins:1", Some("y"), 6),
                entry("N", Some("-1.5e3"), 7),
            ]
        );
    }

    #[test]
    fn tells_what_is_broken_and_where_without_repeating_it() {
        for (text, line, part) in [
            ("", 1, "object"),
            ("[1]", 1, "object"),
            ("{\n\"A\" 1}", 2, "`:`"),
            ("{\n\"A\": sesame}", 2, "value"),
            ("{\"A\": 1\n \"B\": 2}", 2, "`,` or `}`"),
            ("{\"A\": \"sesame", 1, "closing"),
            ("{\"A\": \"ses\name\"}", 1, "line break"),
            ("{\"A\": 1} x", 1, "after the end"),
            ("{ /* ", 1, "comment"),
            ("{A: 1}", 1, "double quotes"),
            ("{\"A\": 01}", 1, "value"),
        ] {
            let error = flatten(text).unwrap_err();
            assert_eq!(error.line, line, "{text}");
            assert!(error.problem.contains(part), "{text}: {error:?}");
            assert!(!error.problem.contains("sesame"));
        }
        let deep = "{\"a\":".repeat(100);
        assert!(flatten(&deep).unwrap_err().problem.contains("deep"));
    }

    /// The plain twin: `serde_json`'s own tree, flattened.
    fn twin(value: &serde_json::Value, name: &str, into: &mut Vec<(String, Option<String>)>) {
        let join = |part: &str| if name.is_empty() { part.to_string() } else { format!("{name}:{part}") };
        match value {
            serde_json::Value::Object(map) => map.iter().for_each(|(k, v)| twin(v, &join(k), into)),
            serde_json::Value::Array(list) => {
                list.iter().enumerate().for_each(|(i, v)| twin(v, &join(&i.to_string()), into));
            }
            serde_json::Value::Null => into.push((name.into(), None)),
            serde_json::Value::String(text) => into.push((name.into(), Some(text.clone()))),
            other => into.push((name.into(), Some(other.to_string()))),
        }
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "\\PC{0,8}".prop_map(Into::into),
        ];
        let tree = leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::hash_map("[a-zA-Z\"\\\\é]{1,6}", inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        });
        prop::collection::hash_map("[a-zA-Z]{1,6}", tree, 0..4)
            .prop_map(|map| serde_json::Value::Object(map.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn agrees_with_its_plain_twin(json in any_json(), pretty in any::<bool>()) {
            let text = if pretty { format!("{json:#}") } else { json.to_string() };
            let mut expected = Vec::new();
            twin(&json, "", &mut expected);
            let entries: Vec<_> = flatten(&text).unwrap().into_iter().map(|e| (e.name, e.value)).collect();
            prop_assert_eq!(entries, expected);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[{}\\[\\]\",:/*\\\\a1é\n ]{0,40}") {
            let _ = flatten(&text);
            let _ = flatten(&format!("{{\"a\":{text}"));
        }
    }
}
