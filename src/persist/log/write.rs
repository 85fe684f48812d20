//! The writer: appends groups, syncs them, and replaces the file by a new one.
//!
//! Must not write through a map, nor go on with a file after a write or a sync of it has failed: nobody knows what is on
//! the disk then. The way on is a new file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, DiskFile, FileId};
use super::format::{self, ALIGNMENT, FILE_HEADER, INITIAL, Identity, LAST, RECORD_HEADER, SYNCED};
use super::lock::Lock;
use super::names;
use super::read::UNSYNCED_BYTES_MAX;

/// Records are collected up to this size before they are written.
const FLUSH_BYTES: usize = 1 << 20;
/// Space is allocated in multiples of this.
const BLOCK: u64 = 4096;

/// Bounds of a log.
#[derive(Clone, Copy, Debug)]
pub struct LogLimits {
    /// The longest body of a record. A crash while one of more than some 32 MB is written may look like damage behind the
    /// groups before it, and not like a torn tail.
    pub record_bytes_max: usize,
    /// The least space that is allocated in advance, in bytes.
    pub step_bytes_min: u64,
    /// The most space that is allocated in advance, in bytes; between the two it is an eighth of the file.
    pub step_bytes_max: u64,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { record_bytes_max: 512 << 20, step_bytes_min: 256 << 10, step_bytes_max: 16 << 20 }
    }
}

const _: () = assert!(2 * FLUSH_BYTES < UNSYNCED_BYTES_MAX / 2, "records must not need a sync each");

/// Writes the records of one group: calls its argument for each, with a kind and a body.
pub type WriteGroup<'a> = &'a mut dyn FnMut(&mut dyn FnMut(u8, &[u8]));

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// How many records.
    pub records: u64,
    /// How many bytes, headers included.
    pub bytes: u64,
}

/// A log that this process has locked to write it.
#[derive(Debug)]
pub struct OpenLog {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
    pub(super) limits: LogLimits,
    pub(super) lock: Lock,
    /// `None` after an error: then only a new file is trusted.
    pub(super) file: Option<LogFile>,
    /// The file at the path, if this log has put it there or took it over.
    pub(super) own: Option<FileId>,
    /// How a file at the path that is not its own is called when it is set aside.
    pub(super) other: &'static str,
    /// The offset behind the first group; 0 if there is none.
    pub(super) first_group_end: u64,
    /// Why it could not be written when it was opened.
    pub(super) trouble: Option<io::Error>,
}

impl OpenLog {
    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is for.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The next file gets this fingerprint. The present one keeps its own.
    pub fn set_fingerprint(&mut self, fingerprint: [u8; 32]) {
        self.identity.fingerprint = fingerprint;
    }

    /// Whether it can be appended to. If not, [`OpenLog::replace`] is the way on.
    pub fn is_trusted(&self) -> bool {
        self.file.is_some()
    }

    /// Why it could not be written when it was opened. [`OpenLog::replace`] is the way on when the cause is gone.
    pub fn trouble(&self) -> Option<&io::Error> {
        self.trouble.as_ref()
    }

    /// The bytes of the header and all records.
    pub fn bytes(&self) -> u64 {
        self.file.as_ref().map_or(0, |file| file.end)
    }

    /// The bytes up to the end of the first group, which is the whole state in a journal.
    pub fn first_group_bytes(&self) -> u64 {
        self.first_group_end
    }

    /// Appends a group. It is durable after [`OpenLog::sync`].
    ///
    /// # Errors
    /// What the system says, and `InvalidInput` if a body is too long. The file is not trusted any more.
    pub fn append(&mut self, group: WriteGroup<'_>) -> io::Result<Written> {
        let mut file = self.file.take().ok_or_else(not_trusted)?;
        let written = file.append(group, &self.limits)?;
        if self.first_group_end == 0 {
            self.first_group_end = file.end;
        }
        self.file = Some(file);
        Ok(written)
    }

    /// Makes everything that was appended durable.
    ///
    /// # Errors
    /// What the system says, and `NotFound` if the file is not in its place any more. The file is not trusted any more.
    pub fn sync(&mut self) -> io::Result<()> {
        let mut file = self.file.take().ok_or_else(not_trusted)?;
        file.sync()?;
        // Without a name the file would be lost at the end of the process, although every write succeeds.
        if self.disk.id(&self.path)? != self.own {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the file was removed or replaced by another one",
            ));
        }
        self.file = Some(file);
        Ok(())
    }

    /// Writes a new file with this group, makes it durable, and puts it in the place of the present one.
    ///
    /// # Errors
    /// What the system says. The file in place is complete, either the old or the new one, but is not trusted any more.
    pub fn replace(&mut self, group: WriteGroup<'_>) -> io::Result<Written> {
        self.file = None;
        self.lock.ensure(&*self.disk)?;
        let new = names::with_suffix(&self.path, ".new");
        let result = self.write_new(&new, group).and_then(|(mut file, written)| {
            self.take_place(&new, &file)?;
            file.is_unnamed = false;
            self.first_group_end = if written.records > 0 { file.end } else { 0 };
            (self.file, self.trouble) = (Some(file), None);
            Ok(written)
        });
        if result.is_err() {
            // The space may be what is missing. If it stays, the next attempt or the next start removes it.
            let _ = self.disk.remove(&new);
        }
        result
    }

    fn write_new(&self, new: &Path, group: WriteGroup<'_>) -> io::Result<(LogFile, Written)> {
        self.disk.remove(new)?;
        let mut file = LogFile::create(self.disk.create(new)?, &self.identity, &self.limits)?;
        let written = file.append(group, &self.limits)?;
        file.sync()?;
        Ok((file, written))
    }

    fn take_place(&mut self, new: &Path, file: &LogFile) -> io::Result<()> {
        let id = file.file.id()?;
        let at_path = self.disk.id(&self.path)?;
        if at_path.is_some() && at_path != self.own {
            let aside = names::set_aside(&*self.disk, &self.path, self.other)?;
            tracing::warn!(
                file = self.path.display().to_string(),
                "another file in the place of the {} was set aside as {}",
                self.identity.kind.as_str(),
                aside.display()
            );
        }
        self.disk.rename(new, &self.path)?;
        self.own = Some(id);
        self.disk.sync_folder(names::folder_of(&self.path))
    }
}

fn not_trusted() -> io::Error {
    io::Error::other("an earlier write failed, and no new file was written since")
}

/// One file that is being written.
#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) file: Box<dyn DiskFile>,
    pub(super) salt: u32,
    /// Where the next record begins.
    pub(super) end: u64,
    /// The length of the file; behind `end` it is zero.
    pub(super) allocated: u64,
    /// The sequence of the last record.
    sequence: u64,
    /// Everything before this offset is on the disk.
    synced: u64,
    /// Whether the file has no name yet. It gets it only when all that was written is on the disk.
    pub(super) is_unnamed: bool,
}

impl LogFile {
    /// Begins a new file.
    pub(super) fn create(
        file: Box<dyn DiskFile>,
        identity: &Identity,
        limits: &LogLimits,
    ) -> io::Result<Self> {
        let salt = random();
        let mut new = Self { file, salt, end: 0, allocated: 0, sequence: 0, synced: 0, is_unnamed: true };
        new.write(&format::write_file_header(identity, salt), limits)?;
        Ok(new)
    }

    /// Goes on with a file that is valid and synced up to `end` and has nothing behind it.
    pub(super) fn resume(file: Box<dyn DiskFile>, salt: u32, end: u64, sequence: u64) -> io::Result<Self> {
        let allocated = file.bytes()?;
        Ok(Self { file, salt, end, allocated, sequence, synced: end, is_unnamed: false })
    }

    pub(super) fn append(&mut self, group: WriteGroup<'_>, limits: &LogLimits) -> io::Result<Written> {
        let before = (self.sequence, self.end);
        let mut records = Records { file: self, limits, buffer: Vec::new(), unsealed: None, error: None };
        group(&mut |kind, body| records.add(kind, body));
        records.finish()?;
        Ok(Written { records: self.sequence - before.0, bytes: self.end - before.1 })
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync()?;
        self.check_length()?;
        self.synced = self.end;
        Ok(())
    }

    /// Writes `bytes` at the end, however many writes that takes.
    fn write(&mut self, bytes: &[u8], limits: &LogLimits) -> io::Result<()> {
        self.reserve(self.end + bytes.len() as u64, limits)?;
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.file.write_at(rest, self.end) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    self.end += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Notices a program that has emptied or cut the file, or written another one into it: what it held is gone then,
    /// although every write succeeds.
    fn check_length(&self) -> io::Result<()> {
        match self.file.bytes()? == self.allocated {
            true => Ok(()),
            false => Err(io::Error::other("another program has changed the file")),
        }
    }

    /// Makes sure that the file has space up to `end`.
    fn reserve(&mut self, end: u64, limits: &LogLimits) -> io::Result<()> {
        if end <= self.allocated {
            return Ok(());
        }
        self.check_length()?;
        let step = (end / 8).clamp(limits.step_bytes_min, limits.step_bytes_max.max(limits.step_bytes_min));
        let (least, wanted) = (end.next_multiple_of(BLOCK), (end + step).next_multiple_of(BLOCK));
        self.allocated = match self.file.allocate(wanted) {
            Ok(()) => wanted,
            // What is left may be enough.
            Err(_) if least < wanted => self.file.allocate(least).map(|()| least)?,
            Err(error) => return Err(error),
        };
        Ok(())
    }
}

/// The records of a group on their way into a file.
struct Records<'a> {
    file: &'a mut LogFile,
    limits: &'a LogLimits,
    /// Records that are not written yet; they begin at the file's end.
    buffer: Vec<u8>,
    /// Start, body's length and kind of the last record in the buffer: whether it is the last one of its group is not known
    /// yet.
    unsealed: Option<(usize, usize, u8)>,
    error: Option<io::Error>,
}

impl Records<'_> {
    fn add(&mut self, kind: u8, body: &[u8]) {
        if self.error.is_none() {
            self.error = self.try_add(kind, body).err();
        }
    }

    fn try_add(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        if body.len() > self.limits.record_bytes_max {
            let (bytes, max) = (body.len(), self.limits.record_bytes_max);
            let text = format!("a record of {bytes} bytes is longer than the allowed {max}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.seal(0);
        self.make_room(RECORD_HEADER + format::padded(body.len()))?;
        self.unsealed = Some((self.buffer.len(), body.len(), kind));
        self.buffer.extend_from_slice(&[0; RECORD_HEADER]);
        self.buffer.extend_from_slice(body);
        self.buffer.resize(self.buffer.len().next_multiple_of(ALIGNMENT), 0);
        Ok(())
    }

    /// Writes and syncs what the bounds of the buffer and of what is not synced ask for, before `bytes` more come.
    fn make_room(&mut self, bytes: usize) -> io::Result<()> {
        if self.buffer.len() >= FLUSH_BYTES {
            self.flush()?;
        }
        let end = self.file.end + (self.buffer.len() + bytes) as u64;
        if end - self.file.synced >= UNSYNCED_BYTES_MAX as u64 / 2 && self.file.end > FILE_HEADER as u64 {
            self.flush()?;
            self.file.sync()?;
        }
        Ok(())
    }

    /// Completes the last record of the buffer.
    fn seal(&mut self, flags: u8) {
        let Some((start, body, kind)) = self.unsealed.take() else { return };
        let is_first_since_sync = self.file.synced == self.file.end + start as u64;
        let flags = if is_first_since_sync { flags | SYNCED } else { flags };
        let flags = if self.file.is_unnamed { flags | INITIAL } else { flags };
        self.file.sequence += 1;
        if let Some(record) = self.buffer.get_mut(start..) {
            format::seal_record(record, body, kind, flags, self.file.sequence, self.file.salt);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write(&self.buffer, self.limits)?;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        self.seal(LAST);
        self.flush()
    }
}

/// A number that differs from file to file. It need not be secret.
fn random() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::time::SystemTime::now()) as u32
}
