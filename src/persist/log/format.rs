//! Headers of files and of records: bytes ↔ values.
//!
//! Must not read or write a file. The layout is documented in the module above.

use crc32fast::Hasher;

/// The bytes of a file's header.
pub(super) const FILE_HEADER: usize = 64;
/// The bytes of a record's header.
pub(super) const RECORD_HEADER: usize = 24;
/// Records begin at multiples of this.
pub(super) const ALIGNMENT: usize = 8;
/// The format version that this program writes, and the highest that it reads.
pub(super) const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"FBAGLOG\x1a";

/// The last record of its group.
pub(super) const LAST: u8 = 1;
/// Everything before this record was on the disk when it was written.
pub(super) const SYNCED: u8 = 2;
/// It belongs to the group that a new file began with, all of which was on the disk before the file got its name.
pub(super) const INITIAL: u8 = 4;

const _: () = assert!(FILE_HEADER.is_multiple_of(ALIGNMENT) && RECORD_HEADER.is_multiple_of(ALIGNMENT));

/// What a log is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum LogKind {
    /// The backup journal.
    Journal = 1,
    /// The spool of usage events.
    Spool = 2,
}

impl LogKind {
    /// Its name in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            LogKind::Journal => "backup",
            LogKind::Spool => "spool of usage events",
        }
    }
}

/// Which log a file must be to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What it is for.
    pub kind: LogKind,
    /// Whose it is.
    pub fingerprint: [u8; 32],
}

/// A file's header as far as it could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileHeader {
    /// It is valid.
    Valid {
        /// As in the file: it may be a kind that this program does not know.
        kind: u32,
        fingerprint: [u8; 32],
        salt: u32,
    },
    /// It was written by a newer version of this program.
    Future { version: u32 },
    /// It is not a header, or not complete.
    Broken,
}

/// The header of a new file.
pub(super) fn write_file_header(identity: &Identity, salt: u32) -> [u8; FILE_HEADER] {
    let mut header = [0; FILE_HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&(identity.kind as u32).to_le_bytes());
    header[16..48].copy_from_slice(&identity.fingerprint);
    header[52..56].copy_from_slice(&salt.to_le_bytes());
    let checksum = crc32fast::hash(&header[..60]);
    header[60..].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// Reads the header of a file. Every version keeps magic, version and checksum where they are, so that a later version is
/// told from a damaged header.
pub(super) fn read_file_header(file: &[u8]) -> FileHeader {
    let Some(header) = file.get(..FILE_HEADER) else { return FileHeader::Broken };
    let version = u32_at(header, 8);
    if header[..8] != MAGIC || u32_at(header, 60) != crc32fast::hash(&header[..60]) || version == 0 {
        return FileHeader::Broken;
    }
    // Features that this version does not know are of a later one, too.
    if version > VERSION || u32_at(header, 48) != 0 {
        return FileHeader::Future { version };
    }
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(&header[16..48]);
    FileHeader::Valid { kind: u32_at(header, 12), fingerprint, salt: u32_at(header, 52) }
}

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) body: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) sequence: u64,
    body_checksum: u32,
}

/// A body and the zeros behind it.
pub(super) fn padded(body: usize) -> usize {
    body.next_multiple_of(ALIGNMENT)
}

fn checksum(salt: u32, bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(salt);
    hasher.update(bytes);
    hasher.finalize()
}

/// Fills in the header of a record whose body and zeros lie behind it: `record` is all of it, `body` the body's length.
pub(super) fn seal_record(record: &mut [u8], body: usize, kind: u8, flags: u8, sequence: u64, salt: u32) {
    let (header, padded_body) = record.split_at_mut(RECORD_HEADER);
    let length = (RECORD_HEADER + body) as u32;
    header[..4].copy_from_slice(&length.to_le_bytes());
    (header[4], header[5]) = (kind, flags);
    header[6..8].fill(0);
    header[8..16].copy_from_slice(&sequence.to_le_bytes());
    header[16..20].copy_from_slice(&checksum(salt, padded_body).to_le_bytes());
    let own = checksum(salt, &header[..20]);
    header[20..].copy_from_slice(&own.to_le_bytes());
}

impl RecordHeader {
    /// The header at the start of `bytes`, if it is valid. The body is not checked.
    pub(super) fn read(bytes: &[u8], salt: u32) -> Option<Self> {
        let header = bytes.get(..RECORD_HEADER)?;
        let body = (u32_at(header, 0) as usize).checked_sub(RECORD_HEADER)?;
        if u32_at(header, 20) != checksum(salt, &header[..20]) {
            return None;
        }
        let mut sequence = [0; 8];
        sequence.copy_from_slice(&header[8..16]);
        Some(Self {
            body,
            kind: header[4],
            flags: header[5],
            sequence: u64::from_le_bytes(sequence),
            body_checksum: u32_at(header, 16),
        })
    }

    /// The body that follows this header, which stands at the start of `bytes`, if it is complete and valid.
    pub(super) fn body<'a>(&self, bytes: &'a [u8], salt: u32) -> Option<&'a [u8]> {
        let end = RECORD_HEADER.checked_add(padded(self.body))?;
        let padded_body = bytes.get(RECORD_HEADER..end)?;
        let is_valid = checksum(salt, padded_body) == self.body_checksum;
        padded_body.get(..self.body).filter(|_| is_valid)
    }

    /// The bytes of the whole record.
    pub(super) fn record(&self) -> usize {
        RECORD_HEADER + padded(self.body)
    }
}

/// The number at `at`, which the caller knows to be within `bytes`.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}
