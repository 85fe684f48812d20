//! The chunked transfer coding of request bodies (RFC 9112 section 7.1).
//!
//! Must not keep bytes: the state between two calls is a few numbers. Extensions and trailer fields are checked for form and
//! size, and then ignored.

use super::Refusal;

/// The longest extensions of one chunk, in bytes.
const MAX_EXTENSION_BYTES: u32 = 1024;

/// The longest extensions and trailer fields of a whole body, in bytes.
const MAX_OVERHEAD_BYTES: u32 = 16 * 1024;

/// The most hexadecimal digits of a chunk's size, leading zeros included: those of 64 bits.
const MAX_SIZE_DIGITS: u8 = 16;

/// What the next byte must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// The first digit of a chunk's size.
    Size,
    /// Another digit, an extension or the end of the line.
    MoreSize,
    /// Blanks before an extension.
    Blank,
    /// An extension, or the end of the line.
    Extension,
    /// The LF of a chunk's size line.
    SizeLf,
    /// The rest of a chunk.
    Data,
    /// The CR after a chunk.
    DataCr,
    /// The LF after a chunk.
    DataLf,
    /// The first byte of a trailer field, or the CR of the last line.
    Trailer,
    /// The rest of a trailer field.
    MoreTrailer,
    /// The LF of a trailer field.
    TrailerLf,
    /// The very last LF.
    LastLf,
    /// Nothing: the body is complete.
    Nothing,
}

/// The state of decoding one body.
#[derive(Clone, Debug)]
pub struct Chunked {
    /// Bytes of the present chunk that are still to come; while its size is read, the size so far.
    remaining: u64,
    /// Bytes of body so far, the present chunk included.
    body_bytes: u64,
    overhead_bytes: u32,
    extension_bytes: u32,
    size_digits: u8,
    expect: Expect,
}

/// The result of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of input that were consumed: all of them, unless the body ended before.
    pub consumed: usize,
    /// Whether the body is complete; what follows is the next request.
    pub done: bool,
}

impl Default for Chunked {
    fn default() -> Self {
        Self::new()
    }
}

impl Chunked {
    /// A decoder at the start of a body.
    pub const fn new() -> Self {
        Self {
            remaining: 0,
            body_bytes: 0,
            overhead_bytes: 0,
            extension_bytes: 0,
            size_digits: 0,
            expect: Expect::Size,
        }
    }

    /// Decodes `input` and appends the body's bytes to `out`.
    ///
    /// A body of more than `max_body_bytes` is refused with 413 as soon as a chunk's size shows it, before its bytes arrive;
    /// a malformed one with 400. After a refusal the decoder cannot be used any more.
    pub fn decode(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        max_body_bytes: u64,
    ) -> Result<Progress, Refusal> {
        let mut rest = input;
        while self.expect != Expect::Nothing {
            if self.expect == Expect::Data {
                let here = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(rest.len());
                let (data, after) = rest.split_at(here);
                out.extend_from_slice(data);
                rest = after;
                self.remaining -= here as u64;
                if self.remaining > 0 {
                    break;
                }
                self.expect = Expect::DataCr;
            }
            let [byte, ref after @ ..] = *rest else { break };
            rest = after;
            self.expect = self.next(byte, max_body_bytes)?;
        }
        Ok(Progress { consumed: input.len() - rest.len(), done: self.expect == Expect::Nothing })
    }

    /// Whether the body is complete.
    pub fn is_done(&self) -> bool {
        self.expect == Expect::Nothing
    }

    /// Processes one byte that is not data.
    fn next(&mut self, byte: u8, max_body_bytes: u64) -> Result<Expect, Refusal> {
        const BAD_SIZE: Refusal = Refusal::bad("malformed chunk size");
        const BAD_EXTENSION: Refusal = Refusal::bad("malformed chunk extension");
        const BAD_TRAILER: Refusal = Refusal::bad("malformed trailer field");
        match (self.expect, byte) {
            (Expect::Size | Expect::MoreSize, digit) if digit.is_ascii_hexdigit() => self.take_digit(digit),
            (Expect::MoreSize | Expect::Extension, b'\r') => Ok(Expect::SizeLf),
            (Expect::MoreSize | Expect::Blank, b';') => self.take_extension(Expect::Extension),
            (Expect::MoreSize | Expect::Blank, b' ' | b'\t') => self.take_extension(Expect::Blank),
            (Expect::Extension, byte) if is_field_byte(byte) => self.take_extension(Expect::Extension),
            (Expect::Extension, _) => Err(BAD_EXTENSION),
            (Expect::SizeLf, b'\n') => self.begin_chunk(max_body_bytes),
            (Expect::Size | Expect::MoreSize | Expect::Blank | Expect::SizeLf, _) => Err(BAD_SIZE),
            (Expect::DataCr, b'\r') => Ok(Expect::DataLf),
            (Expect::DataLf, b'\n') => {
                self.size_digits = 0;
                self.extension_bytes = 0;
                Ok(Expect::Size)
            }
            (Expect::Trailer, b'\r') => Ok(Expect::LastLf),
            // White space here would make the line a continuation of the one before.
            (Expect::Trailer, b' ' | b'\t') => Err(BAD_TRAILER),
            (Expect::MoreTrailer, b'\r') => Ok(Expect::TrailerLf),
            (Expect::Trailer | Expect::MoreTrailer, byte) if is_field_byte(byte) => {
                self.take_overhead(Refusal::new(431, "trailer fields are too large"))?;
                Ok(Expect::MoreTrailer)
            }
            (Expect::TrailerLf, b'\n') => Ok(Expect::Trailer),
            (Expect::LastLf, b'\n') => Ok(Expect::Nothing),
            (Expect::Trailer | Expect::MoreTrailer | Expect::TrailerLf | Expect::LastLf, _) => {
                Err(BAD_TRAILER)
            }
            (Expect::DataCr | Expect::DataLf | Expect::Data | Expect::Nothing, _) => {
                Err(Refusal::bad("chunk does not end where it should"))
            }
        }
    }

    fn take_digit(&mut self, digit: u8) -> Result<Expect, Refusal> {
        if self.size_digits == MAX_SIZE_DIGITS {
            return Err(Refusal::bad("malformed chunk size"));
        }
        self.size_digits += 1;
        let value = char::from(digit).to_digit(16).unwrap_or(0);
        // Sixteen digits are 64 bits: nothing is shifted out.
        self.remaining = self.remaining << 4 | u64::from(value);
        Ok(Expect::MoreSize)
    }

    fn take_extension(&mut self, then: Expect) -> Result<Expect, Refusal> {
        const TOO_LARGE: Refusal = Refusal::bad("chunk extensions are too large");
        self.extension_bytes += 1;
        if self.extension_bytes > MAX_EXTENSION_BYTES {
            return Err(TOO_LARGE);
        }
        self.take_overhead(TOO_LARGE)?;
        Ok(then)
    }

    fn take_overhead(&mut self, too_large: Refusal) -> Result<(), Refusal> {
        self.overhead_bytes += 1;
        if self.overhead_bytes > MAX_OVERHEAD_BYTES { Err(too_large) } else { Ok(()) }
    }

    fn begin_chunk(&mut self, max_body_bytes: u64) -> Result<Expect, Refusal> {
        if self.remaining == 0 {
            return Ok(Expect::Trailer);
        }
        match self.body_bytes.checked_add(self.remaining) {
            Some(body_bytes) if body_bytes <= max_body_bytes => self.body_bytes = body_bytes,
            _ => return Err(Refusal::new(413, "body is too large")),
        }
        Ok(Expect::Data)
    }
}

/// Whether a byte may be in a field's line: anything but control characters; white space is allowed.
fn is_field_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7F)
}

#[cfg(test)]
mod tests;
