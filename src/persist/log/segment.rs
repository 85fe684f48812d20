//! A log of many files: each is written from its start until it is sealed, then only read and removed as a whole. The caller
//! has locked the folder.
//!
//! Must not append to a file that another process has written, nor to one after an error.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Contents, Disk, FileId};
use super::format::{self, ALIGNMENT, FILE_HEADER, Identity, RECORD_HEADER, RecordHeader};
use super::names;
use super::read::{End, Reader, Record};
use super::write::{LogFile, LogLimits, WriteGroup, Written};

/// The bytes of a record's header.
pub const RECORD_HEADER_BYTES: usize = RECORD_HEADER;

/// The bytes that a record with a body of this length takes in a file.
pub fn record_bytes(body: usize) -> u64 {
    (RECORD_HEADER + format::padded(body)) as u64
}

/// The bytes of the record that begins at the start of `bytes`, if its header is valid.
pub fn record_bytes_at(bytes: &[u8], salt: u32) -> Option<u64> {
    Some(RecordHeader::read(bytes, salt)?.record() as u64)
}

/// The record that begins at the start of `bytes`, if it is complete and valid.
pub fn record_at(bytes: &[u8], salt: u32) -> Option<Record<'_>> {
    let header = RecordHeader::read(bytes, salt)?;
    let body = header.body(bytes, salt)?;
    Some(Record { kind: header.kind, sequence: header.sequence, body })
}

/// A segment file that is being written.
#[derive(Debug)]
pub struct SegmentWriter {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    own: FileId,
    file: LogFile,
    limits: LogLimits,
    /// What was durable when a sync last succeeded.
    durable_bytes: u64,
    has_failed: bool,
}

impl SegmentWriter {
    /// Begins a new file. Its header and its name are durable then, so that a broken header is never a matter of a crash.
    ///
    /// # Errors
    /// What the system says. Then there is no file, unless it cannot be removed either.
    pub fn create(
        disk: Arc<dyn Disk>,
        path: &Path,
        identity: &Identity,
        limits: LogLimits,
    ) -> io::Result<Self> {
        let new = disk.create(path)?;
        let begun = new.id().and_then(|own| {
            let mut file = LogFile::create(new, identity, &limits)?;
            file.is_unnamed = false;
            file.sync()?;
            disk.sync_folder(names::folder_of(path))?;
            Ok((own, file))
        });
        match begun {
            Ok((own, file)) => {
                let (path, durable_bytes) = (path.to_owned(), file.end);
                Ok(Self { disk, path, own, file, limits, durable_bytes, has_failed: false })
            }
            Err(error) => {
                let _ = disk.remove(path);
                Err(error)
            }
        }
    }

    /// The number that the checksums of its records start from.
    pub fn salt(&self) -> u32 {
        self.file.salt
    }

    /// The bytes of the header and all records: where the next record begins.
    pub fn bytes(&self) -> u64 {
        self.file.end
    }

    /// The length of the file, with the space that is allocated in advance.
    pub fn file_bytes(&self) -> u64 {
        self.file.allocated
    }

    /// Appends a group. It is durable after [`SegmentWriter::sync`].
    ///
    /// # Errors
    /// What the system says. Then the only way on is to seal the file.
    pub fn append(&mut self, group: WriteGroup<'_>) -> io::Result<Written> {
        self.check()?;
        let written = self.file.append(group, &self.limits);
        self.has_failed = written.is_err();
        written
    }

    /// Makes everything durable that was appended.
    ///
    /// # Errors
    /// What the system says, and `NotFound` if the file is not in its place any more. Then the only way on is to seal
    /// the file.
    pub fn sync(&mut self) -> io::Result<()> {
        self.check()?;
        let synced = self.try_sync();
        self.has_failed = synced.is_err();
        synced
    }

    fn try_sync(&mut self) -> io::Result<()> {
        self.file.sync()?;
        // Without a name the file would be lost at the end of the process, although every write succeeds.
        if self.disk.id(&self.path)? != Some(self.own) {
            let text = "the file was removed or replaced by another one";
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        self.durable_bytes = self.file.end;
        Ok(())
    }

    fn check(&self) -> io::Result<()> {
        match self.has_failed {
            true => Err(io::Error::other("an earlier write to the file has failed")),
            false => Ok(()),
        }
    }

    /// Ends the file: cuts what does not count, which is the space in advance, and after an error what is not synced.
    /// Returns the bytes that count, and the length of the file.
    pub fn seal(self) -> (u64, u64) {
        let end = if self.has_failed { self.durable_bytes } else { self.file.end };
        match self.file.file.truncate(end) {
            Ok(()) => (end, end),
            // A reader finds the same end, or what nobody was told to be durable.
            Err(_) => (end, self.file.allocated),
        }
    }
}

/// A segment file that was read and verified.
#[derive(Clone, Debug)]
pub struct ReadSegment {
    contents: Contents,
    salt: u32,
    records_end: usize,
    /// How the file ended.
    pub end: End,
}

impl ReadSegment {
    /// Verifies a file.
    pub fn of(contents: Contents, expected: &Identity) -> Self {
        let reader = Reader::new(&contents, Some(expected));
        let end = match reader.end {
            // What the disk cannot read is damage.
            End::Clean | End::Torn { .. } if contents.unreadable.is_some() => {
                End::Damaged { at: reader.records_end as u64 }
            }
            End::Empty if contents.unreadable.is_some() => End::HeaderBroken,
            end => end,
        };
        let records_end = match end {
            End::Clean | End::Torn { .. } => reader.records_end,
            End::Damaged { .. } => contents.len(),
            _ => 0,
        };
        Self { salt: reader.salt, end, records_end, contents }
    }

    /// The number that the checksums of its records start from.
    pub fn salt(&self) -> u32 {
        self.salt
    }

    /// Where the last record ends that may be valid.
    pub fn records_end(&self) -> u64 {
        self.records_end as u64
    }

    /// Whether there is nothing but zeros, as after a crash before the first sync.
    pub fn is_blank(&self) -> bool {
        self.contents.unreadable.is_none() && self.contents.iter().all(|&byte| byte == 0)
    }

    /// All valid records with their places, whether or not their group is complete. In a damaged file those behind
    /// the damage, too.
    pub fn records(&self) -> SegmentRecords<'_> {
        let file = self.contents.get(..self.records_end).unwrap_or_default();
        SegmentRecords { file, salt: self.salt, at: FILE_HEADER, sequence: 0 }
    }
}

/// Iterates over all valid records of a file.
#[derive(Clone, Debug)]
pub struct SegmentRecords<'a> {
    file: &'a [u8],
    salt: u32,
    at: usize,
    /// The sequence of the last record that was valid.
    sequence: u64,
}

impl<'a> Iterator for SegmentRecords<'a> {
    /// The offset and the record.
    type Item = (u64, Record<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let at = self.at;
            let bytes = self.file.get(at..).filter(|bytes| bytes.len() >= RECORD_HEADER)?;
            let header = RecordHeader::read(bytes, self.salt).filter(|found| found.sequence > self.sequence);
            if let Some(header) = header
                && let Some(body) = header.body(bytes, self.salt)
            {
                self.at = at.checked_add(header.record())?;
                self.sequence = header.sequence;
                return Some((at as u64, Record { kind: header.kind, sequence: header.sequence, body }));
            }
            // Its length is not trusted either: what looks like a header may be anything.
            self.at += ALIGNMENT;
        }
    }
}
