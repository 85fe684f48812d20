//! Append-only files of checksummed records: the backup journal, which is one file, and the segments of the spool of usage
//! events.
//!
//! Must not know what a record means. A reader never panics and never returns wrong data: it returns the longest valid
//! prefix of whole groups, wherever a file was cut or changed, and says how the file ended.
//!
//! # The file
//!
//! All numbers are little endian. The header has 64 bytes:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | magic, `FBAGLOG` and 0x1a |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | kind of log: 1 journal, 2 spool |
//! | 16 | 32 | fingerprint of the ApiKey, as the caller computes it |
//! | 48 | 4 | features that a reader must know, a bit each, such as encryption; none is defined yet |
//! | 52 | 4 | salt: a random number, different in every file |
//! | 56 | 4 | reserved, 0 |
//! | 60 | 4 | CRC-32 of the bytes before |
//!
//! Records follow, each at a multiple of 8 bytes. A record has a header of 24 bytes, a body, and zeros up to the next
//! multiple of 8:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | length of header and body; 0 is the end of the log |
//! | 4 | 1 | kind, of the caller |
//! | 5 | 1 | flags: 1 the last record of its group; 2 everything before this record was on the disk when it was written; 4 all of its group was on the disk before the file got its name |
//! | 6 | 2 | reserved, 0 |
//! | 8 | 8 | sequence: 1 for the first record of a file, then consecutive |
//! | 16 | 4 | CRC-32 of the body and the zeros behind it |
//! | 20 | 4 | CRC-32 of the 20 bytes before, and so of the whole record |
//!
//! Both checksums of a record start from the salt, so that no record of another file, nor one that a body contains, is
//! taken for one of this file. (CRC-32 is the one of IEEE 802.3.) A *group* is a run of records up to one with the first
//! flag. Either all of it counts, or nothing. Behind the last record the file is zero: space is allocated in advance.
//!
//! # A torn tail or damage
//!
//! What was written since the last sync may be lost in part and in any order when the machine fails. So the first invalid
//! byte is a *torn tail* as long as nothing proves that this place had reached the disk before. It is *damage* if a record
//! with the second or third flag lies behind it, or anything farther away than a writer ever goes without a sync, or if a
//! record with the third flag is in an incomplete group.

mod disk;
mod error;
mod format;
mod lock;
mod names;
mod open;
mod read;
mod segment;
mod write;

#[cfg(test)]
pub(crate) mod simulated;
#[cfg(test)]
mod tests;

pub use disk::{Contents, Disk, DiskFile, FileId, RealDisk};
pub use error::OpenError;
pub use format::{Identity, LogKind};
pub use lock::Lock;
pub use names::set_aside;
pub use open::{Opened, Recovered, SetAside, check_place, inspect, open};
pub use read::{End, Group, Groups, Reader, Record};
pub use segment::{
    RECORD_HEADER_BYTES, ReadSegment, SegmentRecords, SegmentWriter, record_at, record_bytes, record_bytes_at,
};
pub use write::{LogLimits, OpenLog, WriteGroup, Written};
