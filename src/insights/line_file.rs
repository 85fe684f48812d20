//! A file of lines that is being written: what was not acknowledged is cut off after an error, and so is what a failing machine
//! left behind.
//!
//! Must not know what a line says. A line that was acknowledged is never changed.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::persist::log::{Disk, DiskFile, FileId};

/// How many bytes are collected before they are written, if no sync comes first.
const BUFFER_BYTES: usize = 256 * 1024;

/// The file.
#[derive(Debug)]
pub struct LineFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    id: FileId,
    /// So much is on the disk and acknowledged.
    kept: u64,
    /// So much was written to the file.
    written: u64,
    /// What follows it, not written yet.
    buffer: Vec<u8>,
    /// The file may be longer than `written`: it could not be cut.
    has_rest: bool,
}

impl LineFile {
    /// Creates a file. It is an error if there is one.
    pub fn create(disk: &Arc<dyn Disk>, path: PathBuf) -> io::Result<Self> {
        let file = disk.create(&path).map_err(|error| at(&path, error))?;
        Self::new(disk, path, file, 0)
    }

    /// Opens a file, of which `known` bytes are known to be whole lines, to continue it. `None` if there is none.
    pub fn reopen(disk: &Arc<dyn Disk>, path: PathBuf, known: Option<u64>) -> io::Result<Option<Self>> {
        let Some(file) = disk.open(&path, false).map_err(|error| at(&path, error))? else { return Ok(None) };
        let bytes = file.bytes().map_err(|error| at(&path, error))?;
        let whole = match known {
            Some(known) if known == bytes => known,
            _ => scan(&*file).map_err(|error| at(&path, error))?.bytes,
        };
        let mut file = Self::new(disk, path, file, whole)?;
        file.has_rest = bytes > whole;
        Ok(Some(file))
    }

    fn new(disk: &Arc<dyn Disk>, path: PathBuf, file: Box<dyn DiskFile>, kept: u64) -> io::Result<Self> {
        let id = file.id().map_err(|error| at(&path, error))?;
        let buffer = Vec::new();
        Ok(Self { disk: disk.clone(), path, file, id, kept, written: kept, buffer, has_rest: false })
    }

    /// Its length with everything that was appended.
    pub fn bytes(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Its length with only what was acknowledged.
    pub fn kept_bytes(&self) -> u64 {
        self.kept
    }

    /// Whether something was appended that is not acknowledged.
    pub fn is_dirty(&self) -> bool {
        self.bytes() > self.kept
    }

    /// Appends whole lines: all of them, or none after an error.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let before = self.bytes();
        self.buffer.extend_from_slice(lines);
        if self.buffer.len() < BUFFER_BYTES {
            return Ok(());
        }
        let flushed = self.flush();
        if flushed.is_err() {
            self.cut_to(before);
        }
        flushed
    }

    /// Makes everything durable. It counts as acknowledged only after [`LineFile::keep`].
    pub fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        self.file.sync().map_err(|error| at(&self.path, error))?;
        if self.is_gone() {
            let why = "was removed or replaced while the agent was writing it";
            return Err(at(&self.path, io::Error::new(io::ErrorKind::NotFound, why)));
        }
        Ok(())
    }

    /// From here on everything that was synced is acknowledged.
    pub fn keep(&mut self) {
        self.kept = self.written;
        self.buffer.shrink_to(BUFFER_BYTES / 4);
    }

    /// Takes back what is not acknowledged.
    pub fn roll_back(&mut self) {
        self.cut_to(self.kept);
    }

    /// Whether the file no longer has its name.
    pub fn is_gone(&self) -> bool {
        matches!(self.disk.id(&self.path), Ok(id) if id != Some(self.id))
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.has_rest {
            self.file.truncate(self.written).map_err(|error| at(&self.path, error))?;
            self.has_rest = false;
        }
        while !self.buffer.is_empty() {
            match self.file.write_at(&self.buffer, self.written) {
                Ok(0) => return Err(at(&self.path, io::ErrorKind::WriteZero.into())),
                Ok(more) => {
                    self.written += more as u64;
                    self.buffer.drain(..more.min(self.buffer.len()));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(at(&self.path, error)),
            }
        }
        Ok(())
    }

    fn cut_to(&mut self, bytes: u64) {
        if let Some(buffered) = bytes.checked_sub(self.written) {
            self.buffer.truncate(buffered as usize);
            return;
        }
        self.buffer.clear();
        self.written = bytes;
        // If this fails, it is tried again before the next write.
        self.has_rest = self.file.truncate(bytes).is_err();
    }
}

/// An error with the path that it is about.
pub fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// What a file begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WholeLines {
    /// How many lines are whole, and were written as they are.
    pub lines: u64,
    /// How many bytes these have.
    pub bytes: u64,
}

/// The whole lines at the beginning of a file. What a failing machine had not yet written is missing at the end, or reads as
/// zeros, which no line contains.
pub fn scan(file: &dyn DiskFile) -> io::Result<WholeLines> {
    let mut whole = WholeLines::default();
    let mut lines = 0;
    let mut reader = FileReader::new(file);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let start = reader.offset;
        let read = reader.read(&mut buffer)?;
        let chunk = buffer.get(..read).unwrap_or_default();
        let zero = memchr::memchr(0, chunk);
        let sound = chunk.get(..zero.unwrap_or(read)).unwrap_or_default();
        lines += memchr::memchr_iter(b'\n', sound).count() as u64;
        if let Some(last) = memchr::memrchr(b'\n', sound) {
            whole = WholeLines { lines, bytes: start + last as u64 + 1 };
        }
        if read == 0 || zero.is_some() {
            return Ok(whole);
        }
    }
}

/// Reads a file from its beginning.
#[derive(Debug)]
pub struct FileReader<'f> {
    file: &'f dyn DiskFile,
    offset: u64,
}

impl<'f> FileReader<'f> {
    /// At the beginning of `file`.
    pub fn new(file: &'f dyn DiskFile) -> Self {
        Self { file, offset: 0 }
    }
}

impl Read for FileReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.file.read_at(buffer, self.offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => {
                    let read = read?;
                    self.offset += read as u64;
                    return Ok(read);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::persist::log::simulated::{Fault, Op, SimulatedDisk};

    const PATH: &str = "/d/lines";

    fn file(simulated: &SimulatedDisk) -> LineFile {
        let disk = simulated.shared();
        let found = LineFile::reopen(&disk, PATH.into(), None).unwrap();
        found.unwrap_or_else(|| LineFile::create(&disk, PATH.into()).unwrap())
    }

    fn content(simulated: &SimulatedDisk) -> String {
        String::from_utf8(simulated.content(Path::new(PATH)).unwrap_or_default()).unwrap()
    }

    fn add(file: &mut LineFile, line: &str) -> io::Result<()> {
        file.append(line.as_bytes())?;
        match file.sync() {
            Ok(()) => file.keep(),
            Err(error) => {
                file.roll_back();
                return Err(error);
            }
        }
        Ok(())
    }

    #[test]
    fn a_torn_last_line_is_cut_wherever_it_ends() {
        let lines = "{\"a\":1}\n{\"b\":2}\n";
        for end in 0..=lines.len() {
            let disk = SimulatedDisk::default();
            disk.put(Path::new(PATH), lines.as_bytes()[..end].to_vec());
            add(&mut file(&disk), "{}\n").unwrap();
            let whole = lines[..end].rfind('\n').map_or(0, |at| at + 1);
            assert_eq!(content(&disk), format!("{}{{}}\n", &lines[..whole]), "{end}");
        }
    }

    #[test]
    fn only_what_was_acknowledged_stays_after_a_failure_of_any_operation() {
        for fault in [Fault::Error(io::ErrorKind::StorageFull), Fault::Short(3)] {
            for failing in 0..12 {
                let disk = SimulatedDisk::default();
                let mut file = file(&disk);
                disk.plan(move |number, _| (number == failing).then_some(fault));
                let mut expected = String::new();
                for number in 0..4 {
                    let line = format!("{{\"number\":{number}}}\n");
                    if add(&mut file, &line).is_ok() {
                        expected.push_str(&line);
                    }
                }
                assert_eq!(content(&disk), expected, "{fault:?} {failing}");
                assert!(!file.is_dirty() && file.kept_bytes() == expected.len() as u64);
            }
        }
    }

    #[test]
    fn a_rest_that_cannot_be_cut_is_cut_before_the_next_write() {
        let disk = SimulatedDisk::default();
        let mut file = file(&disk);
        disk.plan(|_, op| {
            matches!(op, Op::Sync | Op::Truncate).then_some(Fault::Error(io::ErrorKind::PermissionDenied))
        });
        assert!(add(&mut file, "a long line\n").is_err());
        assert_eq!(content(&disk), "a long line\n");
        disk.heal();
        add(&mut file, "a\n").unwrap();
        assert_eq!(content(&disk), "a\n");
    }

    #[test]
    fn a_large_append_that_fails_leaves_what_was_appended_before() {
        let disk = SimulatedDisk::default();
        let mut file = file(&disk);
        file.append(b"first\n").unwrap();
        let large = [vec![b'x'; BUFFER_BYTES], vec![b'\n']].concat();
        disk.plan(|number, op| match (number, op) {
            (0, Op::Write) => Some(Fault::Short(1000)),
            (_, Op::Write) => Some(Fault::Error(io::ErrorKind::StorageFull)),
            _ => None,
        });
        assert_eq!(file.append(&large).unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.heal();
        file.append(b"second\n").unwrap();
        file.sync().unwrap();
        assert_eq!(content(&disk), "first\nsecond\n");
    }

    #[test]
    fn a_file_that_somebody_removes_does_not_swallow_lines() {
        let disk = SimulatedDisk::default();
        let mut file = file(&disk);
        add(&mut file, "a\n").unwrap();
        disk.shared().remove(Path::new(PATH)).unwrap();
        let error = add(&mut file, "b\n").unwrap_err();
        assert!(error.to_string().contains("/d/lines: was removed"), "{error}");
        assert!(file.is_gone());
    }

    proptest! {
        #[test]
        fn what_was_acknowledged_survives_a_failing_machine(
            lengths in prop::collection::vec(1usize..1500, 1..8),
            crash_at in 0u64..30,
            seed in any::<u64>(),
        ) {
            let disk = SimulatedDisk::default();
            let mut random = seed | 1;
            let mut writer = file(&disk);
            disk.shared().sync_folder(Path::new("/d")).unwrap();
            disk.plan(move |number, _| (number == crash_at).then_some(Fault::Crash));
            let mut kept = String::new();
            let mut tried = String::new();
            for length in lengths {
                let line = format!("{}\n", "x".repeat(length));
                tried.push_str(&line);
                if add(&mut writer, &line).is_ok() {
                    kept = tried.clone();
                }
            }
            let after = disk.after_crash(&mut |bound| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (random >> 33) as usize % bound
            });
            add(&mut file(&after), "").unwrap();
            let found = content(&after);
            prop_assert!(found.starts_with(&kept), "{} of {}", found.len(), kept.len());
            prop_assert!(tried.starts_with(&found));
        }

        #[test]
        fn only_whole_lines_in_front_of_the_first_zero_count(content in "[a\n\0]{0,12}") {
            let mut kept = WholeLines::default();
            for line in content.split_inclusive('\n') {
                if !line.ends_with('\n') || line.contains('\0') {
                    break;
                }
                kept = WholeLines { lines: kept.lines + 1, bytes: kept.bytes + line.len() as u64 };
            }
            let disk = SimulatedDisk::default();
            disk.put(Path::new(PATH), content.into_bytes());
            let file = disk.open(Path::new(PATH), true).unwrap().unwrap();
            prop_assert_eq!(scan(&*file).unwrap(), kept);
        }
    }
}
