//! Work on closed files that takes long: compressing them, and removing them with a count of what they held.
//!
//! Must not touch a file that is being written. Each step may be the last before the machine fails: at every moment a part is
//! there whole, in at least one form.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::names::{FileForm, Part};
use crate::insights::line_file::{FileReader, at, scan};
use crate::persist::log::{Disk, DiskFile};

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Compress the plain file. Only so many of its bytes count, if that is known.
    Compress {
        /// The length of its lines.
        known: Option<u64>,
    },
    /// Remove the file of this form.
    Remove(FileForm),
}

/// A task on one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The name of the environment's folder.
    pub folder: String,
    /// The part.
    pub part: Part,
    /// What to do with it.
    pub action: Action,
}

/// How a task ended.
#[derive(Debug)]
pub struct Done {
    /// The task.
    pub job: Job,
    /// What came of it.
    pub outcome: io::Result<Outcome>,
}

/// What came of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The part is compressed, to so many bytes.
    Compressed(u64),
    /// The part is gone. It held so many events.
    Removed(u64),
}

/// Does a task below `directory`. Ends early with an error once `stop` is set.
pub fn run(disk: &dyn Disk, directory: &Path, job: Job, stop: &AtomicBool) -> Done {
    let folder = directory.join(&job.folder);
    let outcome = match job.action {
        Action::Compress { known } => compress(disk, &folder, job.part, known, stop),
        Action::Remove(form) => remove(disk, &folder.join(job.part.file(form)), form, stop),
    };
    Done { job, outcome }
}

fn compress(
    disk: &dyn Disk,
    folder: &Path,
    part: Part,
    known: Option<u64>,
    stop: &AtomicBool,
) -> io::Result<Outcome> {
    let path = |form| folder.join(part.file(form));
    let (plain, compressed) = (path(FileForm::Plain), path(FileForm::Compressed));
    // An earlier attempt may have got so far that only the plain file was left to be removed.
    let mut bytes = bytes_of(disk, &compressed)?;
    if bytes.is_none() {
        let Some(file) = open(disk, &plain)? else { return Ok(Outcome::Removed(0)) };
        let whole = scan(&*file).map_err(|error| at(&plain, error))?.bytes;
        let whole = known.map_or(whole, |known| known.min(whole));
        if whole == 0 {
            disk.remove(&plain).map_err(|error| at(&plain, error))?;
            return Ok(Outcome::Removed(0));
        }
        let temporary = path(FileForm::Temporary);
        let written = write_compressed(disk, &*file, whole, &temporary, stop)
            .and_then(|bytes| disk.rename(&temporary, &compressed).map(|()| bytes));
        if written.is_err() {
            let _ = disk.remove(&temporary);
        }
        bytes = Some(written.map_err(|error| at(&temporary, error))?);
    }
    // The new name must be durable before the old file goes.
    disk.sync_folder(folder).map_err(|error| at(folder, error))?;
    disk.remove(&plain).map_err(|error| at(&plain, error))?;
    Ok(Outcome::Compressed(bytes.unwrap_or(0)))
}

fn write_compressed(
    disk: &dyn Disk,
    plain: &dyn DiskFile,
    bytes: u64,
    temporary: &Path,
    stop: &AtomicBool,
) -> io::Result<u64> {
    disk.remove(temporary)?;
    let file = disk.create(temporary)?;
    let writer = io::BufWriter::with_capacity(64 * 1024, FileWriter { file: &*file, offset: 0 });
    let mut encoder = GzEncoder::new(writer, Compression::default());
    let copied = io::copy(&mut Stoppable { inner: FileReader::new(plain).take(bytes), stop }, &mut encoder)?;
    if copied != bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut writer = encoder.finish()?;
    writer.flush()?;
    let bytes = writer.get_ref().offset;
    file.sync()?;
    Ok(bytes)
}

fn remove(disk: &dyn Disk, path: &Path, form: FileForm, stop: &AtomicBool) -> io::Result<Outcome> {
    let Some(file) = open(disk, path)? else { return Ok(Outcome::Removed(0)) };
    let events = count(&*file, form, stop);
    if stop.load(Relaxed) {
        return Err(io::ErrorKind::Interrupted.into());
    }
    disk.remove(path).map_err(|error| at(path, error))?;
    Ok(Outcome::Removed(events))
}

/// The lines of a file, as far as it can be read.
fn count(file: &dyn DiskFile, form: FileForm, stop: &AtomicBool) -> u64 {
    if form == FileForm::Plain {
        return scan(file).map_or(0, |whole| whole.lines);
    }
    let mut reader = Stoppable { inner: MultiGzDecoder::new(FileReader::new(file)), stop };
    let mut buffer = vec![0; 64 * 1024];
    let mut lines = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) | Err(_) => return lines,
            Ok(read) => {
                lines += memchr::memchr_iter(b'\n', buffer.get(..read).unwrap_or_default()).count() as u64;
            }
        }
    }
}

fn open(disk: &dyn Disk, path: &Path) -> io::Result<Option<Box<dyn DiskFile>>> {
    disk.open(path, true).map_err(|error| at(path, error))
}

/// The length of a file, if there is one.
pub fn bytes_of(disk: &dyn Disk, path: &Path) -> io::Result<Option<u64>> {
    open(disk, path)?.map(|file| file.bytes().map_err(|error| at(path, error))).transpose()
}

/// Writes a file from its beginning.
struct FileWriter<'f> {
    file: &'f dyn DiskFile,
    offset: u64,
}

impl Write for FileWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write_at(bytes, self.offset)?;
        self.offset += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads until it is told to stop.
struct Stoppable<'s, R> {
    inner: R,
    stop: &'s AtomicBool,
}

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Relaxed) {
            return Err(io::Error::other("the agent is being stopped"));
        }
        self.inner.read(buffer)
    }
}
