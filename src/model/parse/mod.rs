//! Reads FeatBit's relay dump, and single flags and segments, from JSON.
//!
//! Must not keep anything but the given text, and must not accept a part of a dump: either everything can be read, or the dump
//! is refused with the places of the first errors. In a server's message, flags, segments and secrets that cannot be read are
//! left out and reported. What a FeatBit server tolerates is accepted with a warning.
//!
//! | file | what |
//! |---|---|
//! | `text`, `tape`, `property` | the text, parsed by simd-json; its values; one property as one type |
//! | `secrets`, `items` | secrets; flags and segments |
//! | `dump`, `environments` | a whole dump; its environments, and checks between their items |
//! | `sync_data` | data that a server sends to a relay agent |
//! | `lint`, `findings` | finds likely mistakes and what harms SDKs; collects errors and warnings |
//! | `syntax`, `foreign` | errors for texts that are not JSON, and for JSON that is not a dump |

mod dump;
mod environments;
mod findings;
mod foreign;
mod items;
mod lint;
mod property;
#[cfg(test)]
pub(crate) mod samples;
mod secrets;
mod sync_data;
mod syntax;
mod tape;
#[cfg(test)]
mod tests;
mod text;

pub use findings::{DatasetError, FAULTS_MAX, Findings, Path, WARNINGS_MAX};
pub use sync_data::{Changes, read_changes, read_environment, read_full, read_patch};
pub(crate) use tape::pick;
pub use tape::{Fields, Value};
pub use text::Parsed;

use bytes::Bytes;

use super::dataset::{Dataset, Finding};
use super::flag::FlagDef;
use super::segment::SegmentDef;
use lint::SegmentIndex;
use text::{Memory, Scratch};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The text of a dump or of a server's message, with the buffers for parsing it.
pub struct DatasetText {
    bytes: Bytes,
    bom_bytes: usize,
    scratch: Scratch,
}

impl DatasetText {
    /// Takes over the bytes of a dump. A UTF-8 byte order mark is skipped.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let bom_bytes = if bytes.starts_with(BOM) { BOM.len() } else { 0 };
        Self { bytes, bom_bytes, scratch: Scratch::default() }
    }

    /// Reads the dump. Everything in the dataset borrows from this text. Takes a second copy of the text,
    /// which stays with it, and until it returns about five times its length for the parser.
    ///
    /// Fails if the text is not UTF-8 or not JSON, if a property that the server reads has the wrong type, if
    /// a required one is missing, if a secret is malformed or given to two environments or types, and if an
    /// environment has two flags or two segments of one id.
    pub fn parse(&mut self) -> Result<Dataset<'_>, DatasetError> {
        dump::read(&self.parsed()?)
    }

    /// Parses the text as JSON only, for other readers. Costs as much as [`Self::parse`].
    ///
    /// # Errors
    /// If the text is not UTF-8 or not JSON.
    pub fn parsed(&mut self) -> Result<Parsed<'_>, DatasetError> {
        let bytes = self.bytes.get(self.bom_bytes..).unwrap_or_default();
        let text = match simdutf8::basic::from_utf8(bytes) {
            Ok(text) => text,
            Err(_) => {
                let valid_bytes =
                    std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
                return Err(syntax::not_utf8(bytes, self.bom_bytes, valid_bytes));
            }
        };
        Parsed::new(text, self.bom_bytes, &mut self.scratch)
    }

    /// Bytes of the text, without a byte order mark.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.bom_bytes
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Sizes only: dumps hold secrets.
impl std::fmt::Debug for DatasetText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DatasetText({} bytes)", self.len())
    }
}

/// Reads items one after the other in the same memory, which is much cheaper than memory of its own for each.
#[derive(Default)]
pub struct ItemParser {
    scratch: Scratch,
    memory: Memory,
}

impl ItemParser {
    /// Reads the JSON of one flag and hands it to `f`; its `raw` is the given text without blanks around it.
    ///
    /// # Errors
    /// As [`DatasetText::parse`], with paths that begin at the flag.
    pub fn with_flag<R>(&mut self, raw: &str, f: impl FnOnce(FlagDef<'_>) -> R) -> Result<R, DatasetError> {
        let Self { scratch, memory } = self;
        let parsed = Parsed::with(raw.trim_matches(is_blank), 0, scratch, memory)?;
        let mut findings = Findings::quiet();
        let path = Path::Root("the flag");
        let flag = items::flag(&mut findings, &path, parsed.root(), parsed.text, &SegmentIndex::default());
        let made = read(flag, findings).map(f);
        memory.tape = parsed.into_tape();
        made
    }

    /// Reads the JSON of one segment and hands it to `f`; its `raw` is the given text without blanks around it.
    ///
    /// # Errors
    /// As [`DatasetText::parse`], with paths that begin at the segment.
    pub fn with_segment<R>(
        &mut self,
        raw: &str,
        f: impl FnOnce(SegmentDef<'_>) -> R,
    ) -> Result<R, DatasetError> {
        let Self { scratch, memory } = self;
        let parsed = Parsed::with(raw.trim_matches(is_blank), 0, scratch, memory)?;
        let mut findings = Findings::quiet();
        let path = Path::Root("the segment");
        let segment = items::segment(&mut findings, &path, parsed.root(), parsed.text);
        let made = read(segment, findings).map(f);
        memory.tape = parsed.into_tape();
        made
    }
}

/// As [`ItemParser::with_flag`], for a single flag.
pub fn with_flag<R>(raw: &str, f: impl FnOnce(FlagDef<'_>) -> R) -> Result<R, DatasetError> {
    ItemParser::default().with_flag(raw, f)
}

/// As [`ItemParser::with_segment`], for a single segment.
pub fn with_segment<R>(raw: &str, f: impl FnOnce(SegmentDef<'_>) -> R) -> Result<R, DatasetError> {
    ItemParser::default().with_segment(raw, f)
}

/// Everything in a flag's JSON that stops or breaks SDKs; paths begin at the flag.
pub fn harms_of_flag(raw: &str) -> Vec<Finding> {
    harms(raw, |findings, parsed| {
        let path = Path::Root("the flag");
        items::flag(findings, &path, parsed.root(), parsed.text, &SegmentIndex::default());
    })
}

/// Everything in a segment's JSON that stops or breaks SDKs; paths begin at the segment.
pub fn harms_of_segment(raw: &str) -> Vec<Finding> {
    harms(raw, |findings, parsed| {
        items::segment(findings, &Path::Root("the segment"), parsed.root(), parsed.text);
    })
}

fn harms(raw: &str, read: impl FnOnce(&mut Findings, &Parsed<'_>)) -> Vec<Finding> {
    let mut scratch = Scratch::default();
    let Ok(parsed) = Parsed::new(raw, 0, &mut scratch) else { return Vec::new() };
    let mut findings = Findings::default();
    read(&mut findings, &parsed);
    let Ok((mut warnings, harmful)) = findings.finish() else { return Vec::new() };
    let mut index = 0;
    warnings.retain(|_| {
        index += 1;
        harmful.binary_search(&(index - 1)).is_ok()
    });
    warnings
}

/// The item, if reading it found no fault.
fn read<T>(item: Option<T>, findings: Findings) -> Result<T, DatasetError> {
    findings.finish()?;
    item.ok_or(DatasetError { faults: Vec::new(), more: 0 })
}

/// The white space of JSON.
fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r')
}
