//! The reader: finds the longest valid prefix of whole groups, and says what comes behind it.
//!
//! Must not panic whatever the bytes are, nor return a record of a group that is not complete.

use super::format::{
    self, ALIGNMENT, FILE_HEADER, FileHeader, INITIAL, Identity, LAST, RECORD_HEADER, RecordHeader, SYNCED,
};

/// A writer never has more than this many bytes that are not synced, so what lies farther behind an invalid byte proves
/// damage. The exception is one record that is as long by itself.
pub(super) const UNSYNCED_BYTES_MAX: usize = 64 << 20;

/// How a file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Behind the last group there is nothing.
    Clean,
    /// The last write was lost in part, as when the machine fails. It had not been acknowledged.
    Torn {
        /// The offset of the first byte that does not count.
        at: u64,
    },
    /// Something that was on the disk has changed.
    Damaged {
        /// The offset of the first byte that does not count.
        at: u64,
    },
    /// The file is empty.
    Empty,
    /// The file does not begin with a valid header.
    HeaderBroken,
    /// It is a log for another purpose.
    OtherKind,
    /// It belongs to another ApiKey.
    OtherFingerprint,
    /// A newer version of this program wrote it.
    FutureVersion {
        /// The version of the format.
        version: u32,
    },
}

impl End {
    /// Whether the file may be appended to, cut at the end of its groups if need be.
    pub fn is_usable(self) -> bool {
        matches!(self, End::Clean | End::Torn { .. })
    }
}

/// A file that was read and verified.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    prefix: &'a [u8],
    /// How the file ends.
    pub end: End,
    /// How many whole groups there are.
    pub groups: u64,
    /// How many records they have.
    pub records: u64,
    /// The offset behind the first group; 0 if there is none.
    pub first_group_end: u64,
    /// Whose file it is; all zeros if its header could not be read.
    pub fingerprint: [u8; 32],
    pub(super) salt: u32,
    /// Where the last valid record ends before the first invalid byte, whether or not its group is complete.
    pub(super) records_end: usize,
}

impl<'a> Reader<'a> {
    /// Reads `file` and verifies every checksum. `expected` is which log it must be; `None` takes any.
    pub fn new(file: &'a [u8], expected: Option<&Identity>) -> Self {
        let nothing = Reader {
            prefix: &[],
            end: End::Empty,
            groups: 0,
            records: 0,
            first_group_end: 0,
            fingerprint: [0; 32],
            salt: 0,
            records_end: 0,
        };
        let (kind, fingerprint, salt) = match format::read_file_header(file) {
            FileHeader::Valid { kind, fingerprint, salt } => (kind, fingerprint, salt),
            FileHeader::Future { version } => {
                return Reader { end: End::FutureVersion { version }, ..nothing };
            }
            FileHeader::Broken if file.is_empty() => return nothing,
            FileHeader::Broken => return Reader { end: End::HeaderBroken, ..nothing },
        };
        let nothing = Reader { fingerprint, salt, ..nothing };
        match expected {
            Some(expected) if expected.kind as u32 != kind => Reader { end: End::OtherKind, ..nothing },
            Some(expected) if expected.fingerprint != fingerprint => {
                Reader { end: End::OtherFingerprint, ..nothing }
            }
            _ => nothing.verify(file),
        }
    }

    fn verify(mut self, file: &'a [u8]) -> Self {
        let (mut at, mut group_end, mut records) = (FILE_HEADER, FILE_HEADER, 0);
        let mut in_initial_group = false;
        while let Some(header) = valid_record(file, at, self.salt, records + 1) {
            at += header.record();
            records += 1;
            in_initial_group = header.flags & (INITIAL | LAST) == INITIAL;
            if header.flags & LAST != 0 {
                (group_end, self.records) = (at, records);
                self.groups += 1;
                if self.groups == 1 {
                    self.first_group_end = at as u64;
                }
            }
        }
        self.records_end = at;
        self.prefix = file.get(..group_end).unwrap_or_default();
        self.end = match in_initial_group {
            // No crash can have left only a part of this group.
            true => End::Damaged { at: group_end as u64 },
            false => judge_rest(file, at, group_end, self.salt, records),
        };
        self
    }

    /// The offset behind the last whole group.
    pub fn valid_bytes(&self) -> u64 {
        self.prefix.len() as u64
    }

    /// The sequence of the last record of a whole group; 0 if there is none.
    pub fn last_sequence(&self) -> u64 {
        self.records
    }

    /// The whole groups, in order.
    pub fn groups(&self) -> Groups<'a> {
        Groups::of(self.prefix, self.salt)
    }
}

/// The record at `at`, if it is valid and has this sequence.
fn valid_record(file: &[u8], at: usize, salt: u32, sequence: u64) -> Option<RecordHeader> {
    let bytes = file.get(at..)?;
    let header = RecordHeader::read(bytes, salt).filter(|header| header.sequence == sequence)?;
    header.body(bytes, salt).map(|_| header)
}

/// What lies behind the valid records, which end at `at`. `group_end` is where their last whole group ends.
fn judge_rest(file: &[u8], at: usize, group_end: usize, salt: u32, records: u64) -> End {
    let rest = file.get(at..).unwrap_or_default();
    let torn = End::Torn { at: group_end as u64 };
    let Some(first_other) = rest.iter().position(|&byte| byte != 0) else {
        return if at == group_end { End::Clean } else { torn };
    };
    let is_far_off = rest.iter().rposition(|&byte| byte != 0).is_some_and(|last| last >= UNSYNCED_BYTES_MAX);
    // The first record that did not count may claim that all before it was synced: what it claims is true.
    let search = (first_other / ALIGNMENT * ALIGNMENT).max(ALIGNMENT);
    if is_far_off
        || (search..rest.len()).step_by(ALIGNMENT).any(|offset| proves_sync(rest, offset, salt, records))
    {
        return End::Damaged { at: group_end as u64 };
    }
    torn
}

/// Whether the record that may be at `offset` proves that everything before it was on the disk.
fn proves_sync(rest: &[u8], offset: usize, salt: u32, records: u64) -> bool {
    let bytes = rest.get(offset..).unwrap_or_default();
    let length = bytes.get(..4).is_some_and(|length| length != [0; 4]);
    let header = if length { RecordHeader::read(bytes, salt) } else { None };
    header.is_some_and(|header| {
        header.flags & (SYNCED | INITIAL) != 0
            && header.sequence > records + 1
            && header.sequence - records <= (offset / RECORD_HEADER) as u64 + 1
    })
}

/// Iterates over whole groups.
#[derive(Clone, Debug)]
pub struct Groups<'a> {
    /// Whole groups of verified records.
    rest: &'a [u8],
    salt: u32,
}

impl<'a> Groups<'a> {
    /// The groups of a file up to the end of its last whole one.
    pub(super) fn of(prefix: &'a [u8], salt: u32) -> Self {
        Self { rest: prefix.get(FILE_HEADER..).unwrap_or_default(), salt }
    }
}

impl<'a> Iterator for Groups<'a> {
    type Item = Group<'a>;

    fn next(&mut self) -> Option<Group<'a>> {
        let (all, mut end) = (self.rest, 0);
        loop {
            let header = RecordHeader::read(all.get(end..)?, self.salt)?;
            end += header.record();
            if header.flags & LAST != 0 {
                break;
            }
        }
        let (group, rest) = all.split_at_checked(end)?;
        self.rest = rest;
        Some(Group { rest: group, salt: self.salt })
    }
}

/// The records of one group, in order.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    rest: &'a [u8],
    salt: u32,
}

impl<'a> Iterator for Group<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let header = RecordHeader::read(self.rest, self.salt)?;
        let body = self.rest.get(RECORD_HEADER..RECORD_HEADER.checked_add(header.body)?)?;
        self.rest = self.rest.get(header.record()..).unwrap_or_default();
        Some(Record { kind: header.kind, sequence: header.sequence, body })
    }
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it is, in the caller's terms.
    pub kind: u8,
    /// Its place in the file: 1 for the first.
    pub sequence: u64,
    /// Its content, within the file.
    pub body: &'a [u8],
}
