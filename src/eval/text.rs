//! The texts of one flag or segment, kept in one allocation.
//!
//! Knows nothing of flags. [`TextBuilder`] collects texts during compilation, [`Text`] refers to one of them by offset, and
//! the finished arena is a `Box<str>`.

use crate::wire::json::push_string;

/// The position of a text in its arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Text {
    start: u32,
    end: u32,
}

impl Text {
    /// The bytes of the text: cheaper where it need not be known to be whole characters.
    pub(super) fn bytes_of(self, arena: &str) -> &[u8] {
        arena.as_bytes().get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// The text. Empty if `self` belongs to another arena and is out of range here.
    pub(super) fn of(self, arena: &str) -> &str {
        arena.get(self.start as usize..self.end as usize).unwrap_or("")
    }
}

/// Collects texts into an arena.
#[derive(Debug, Default)]
pub(super) struct TextBuilder {
    arena: String,
}

impl TextBuilder {
    /// Adds `text` as it is.
    pub(super) fn push(&mut self, text: &str) -> Text {
        self.run(|arena| arena.push_str(text))
    }

    /// Adds `text` as a JSON string, with quotes.
    pub(super) fn push_json(&mut self, text: &str) -> Text {
        self.run(|arena| push_string(text, arena))
    }

    /// Adds `text` unchanged; its JSON string was added as `json` before.
    ///
    /// Both share their bytes unless something was escaped, which is rare.
    pub(super) fn plain_of(&mut self, json: Text, text: &str) -> JsonText {
        let plain = if (json.end - json.start) as usize == text.len() + 2 {
            Text { start: json.start + 1, end: json.end - 1 }
        } else {
            self.push(text)
        };
        JsonText { json, plain }
    }

    /// Adds `text` in both forms.
    pub(super) fn push_both(&mut self, text: &str) -> JsonText {
        let json = self.push_json(text);
        self.plain_of(json, text)
    }

    /// Adds what `write` appends. A text that would pass 4 GiB, more than any dataset may hold, is left out.
    pub(super) fn run(&mut self, write: impl FnOnce(&mut String)) -> Text {
        let start = self.arena.len();
        write(&mut self.arena);
        match (u32::try_from(start), u32::try_from(self.arena.len())) {
            (Ok(start), Ok(end)) => Text { start, end },
            _ => {
                self.arena.truncate(start);
                Text::default()
            }
        }
    }

    /// The end of what was added so far, from where [`TextBuilder::since`] can start.
    pub(super) fn mark(&self) -> usize {
        self.arena.len()
    }

    /// Everything added since `mark`, as one text.
    pub(super) fn since(&self, mark: usize) -> Text {
        match (u32::try_from(mark), u32::try_from(self.arena.len())) {
            (Ok(start), Ok(end)) => Text { start, end },
            _ => Text::default(),
        }
    }

    /// The arena that the texts belong to.
    pub(super) fn finish(self) -> Box<str> {
        self.arena.into_boxed_str()
    }
}

/// A text as a JSON string and as it is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct JsonText {
    /// With quotes and escapes.
    pub(super) json: Text,
    /// Without.
    pub(super) plain: Text,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_share_their_bytes_unless_something_is_escaped() {
        let mut builder = TextBuilder::default();
        let plain = builder.push_both("客户");
        let escaped = builder.push_both("a\"b\\\n\u{1}\u{8}\u{c}\u{7f}");
        let arena = builder.finish();
        assert_eq!((plain.json.of(&arena), plain.plain.of(&arena)), ("\"客户\"", "客户"));
        assert_eq!(escaped.plain.of(&arena), "a\"b\\\n\u{1}\u{8}\u{c}\u{7f}");
        assert_eq!(escaped.json.of(&arena), "\"a\\\"b\\\\\\n\\u0001\\b\\f\u{7f}\"");
        assert_eq!(
            arena.len(),
            "\"客户\"".len() + escaped.plain.of(&arena).len() + escaped.json.of(&arena).len()
        );
    }

    #[test]
    fn a_text_of_another_arena_is_empty_rather_than_a_panic() {
        let mut builder = TextBuilder::default();
        let text = builder.push("0123456789");
        assert_eq!(text.of("0123"), "");
        assert_eq!(text.of("012345678é"), "");
    }
}
