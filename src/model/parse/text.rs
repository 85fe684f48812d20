//! Parses a text into a tape, and finds the text of a value on the tape.
//!
//! Must not change the text: simd-json decodes strings in place, so it works on a copy, and the raw JSON of an item is taken
//! from the original. Strings keep their position in the copy, which gives the spans without extra work.

use simd_json::{Buffers, ErrorType, INPUT_PADDING, Tape};

use super::findings::DatasetError;
use super::syntax;
use super::tape::Value;

/// Copies of a text, in which the JSON parser decodes strings.
#[derive(Default)]
pub(super) struct Scratch {
    first: Vec<u8>,
    /// Used only for valid JSON that simd-json rejects.
    repaired: Vec<u8>,
}

/// What the JSON parser allocates besides: several times the text. Worth keeping for many small texts only.
pub(super) struct Memory {
    buffers: Buffers,
    pub(super) tape: Tape<'static>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { buffers: Buffers::new(0), tape: Tape::null() }
    }
}

/// A text and its tape.
pub struct Parsed<'a> {
    /// The original text.
    pub(super) text: &'a str,
    /// Address of the copy of the text in which the strings of the tape lie.
    base: usize,
    tape: Tape<'a>,
}

impl<'a> Parsed<'a> {
    /// Parses `text`; `bom_bytes` is the length of the byte order mark before it.
    pub(super) fn new(
        text: &'a str,
        bom_bytes: usize,
        scratch: &'a mut Scratch,
    ) -> Result<Self, DatasetError> {
        Self::with(text, bom_bytes, scratch, &mut Memory::default())
    }

    /// The same with memory of an earlier text. [`Self::into_tape`] gives the tape back.
    pub(super) fn with(
        text: &'a str,
        bom_bytes: usize,
        scratch: &'a mut Scratch,
        memory: &mut Memory,
    ) -> Result<Self, DatasetError> {
        let Scratch { first, repaired } = scratch;
        let error = match fill(text.as_bytes(), first, memory) {
            Ok((base, tape)) => return Ok(Self { text, base, tape }),
            Err(error) => error,
        };
        if let Some(fault) = syntax::fault(text, bom_bytes) {
            return Err(fault);
        }
        // Well-formed, but rejected: numbers or escapes that simd-json does not accept, or one of its limits.
        match error {
            ErrorType::DepthLimitExceeded | ErrorType::InputTooLarge => Err(syntax::limit(error)),
            _ => match fill(&syntax::repair(text), repaired, memory) {
                Ok((base, tape)) => Ok(Self { text, base, tape }),
                Err(error) => Err(syntax::limit(error)),
            },
        }
    }

    /// The tape's memory, for the next text.
    pub(super) fn into_tape(self) -> Tape<'static> {
        self.tape.reset()
    }

    /// The whole value.
    pub fn root(&self) -> Value<'_, 'a> {
        Value::new(&self.tape.0)
    }

    /// The raw JSON of `object`, which must not be empty. `next` is the next element of its array; with it, the end need not
    /// be searched.
    pub(super) fn raw(&self, object: Value<'_, 'a>, next: Option<Value<'_, 'a>>) -> &'a str {
        let Some(start) = self.start(object) else {
            return "";
        };
        let end = match next.and_then(|next| self.end_before(next)) {
            Some(end) => end,
            None => object_end(self.text.as_bytes(), start),
        };
        self.text.get(start..end).unwrap_or("")
    }

    /// The position of the object's `{`: before its first key, with only white space between.
    fn start(&self, object: Value<'_, 'a>) -> Option<usize> {
        let (key, _) = object.fields()?.next()?;
        let quote = (key.as_ptr() as usize).checked_sub(self.base)?.checked_sub(1)?;
        self.last_before(quote, b'{')
    }

    /// The position after the `}` of the object before `next` in their array.
    fn end_before(&self, next: Value<'_, 'a>) -> Option<usize> {
        let comma = self.last_before(self.start(next)?, b',')?;
        self.last_before(comma, b'}').map(|brace| brace + 1)
    }

    /// The position of the last byte before `at` that is not white space, if it is `wanted`.
    fn last_before(&self, at: usize, wanted: u8) -> Option<usize> {
        let before = self.text.as_bytes().get(..at)?;
        let found = before.iter().rposition(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t'))?;
        (before.get(found) == Some(&wanted)).then_some(found)
    }
}

/// Builds the tape of `text` in `copy`. Returns the address of the copy as well.
fn fill<'a>(text: &[u8], copy: &'a mut Vec<u8>, memory: &mut Memory) -> Result<(usize, Tape<'a>), ErrorType> {
    let len = text.len();
    copy.clear();
    copy.reserve_exact(len + INPUT_PADDING);
    copy.extend_from_slice(text);
    copy.resize(len + INPUT_PADDING, b' ');
    let base = copy.as_ptr() as usize;
    let mut tape = std::mem::replace(&mut memory.tape, Tape::null()).reset();
    match simd_json::fill_tape_padded(copy, len, &mut memory.buffers, &mut tape) {
        Ok(()) => Ok((base, tape)),
        Err(error) => Err(match error.error() {
            ErrorType::DepthLimitExceeded => ErrorType::DepthLimitExceeded,
            ErrorType::InputTooLarge => ErrorType::InputTooLarge,
            _ => ErrorType::Syntax,
        }),
    }
}

/// The position after the `}` that closes the object at `start` of well-formed JSON.
fn object_end(text: &[u8], start: usize) -> usize {
    let mut depth = 0usize;
    let mut at = start;
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'{' => depth += 1,
            b'}' if depth <= 1 => return at,
            b'}' => depth -= 1,
            b'"' => at = string_end(text, at),
            _ => {}
        }
    }
    text.len()
}

/// The position after the quote that closes the string whose content starts at `at`.
pub(super) fn string_end(text: &[u8], mut at: usize) -> usize {
    loop {
        let Some(found) = text.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) else {
            return text.len();
        };
        at += found;
        match text.get(at) {
            Some(b'\\') => at += 2,
            _ => return at + 1,
        }
    }
}
