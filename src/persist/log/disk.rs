//! The file operations that a log needs, behind traits, so that tests can make every one of them fail.
//!
//! Must not know what is in a file.

use std::ffi::OsString;
use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::ops::Deref;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Once};

use memmap2::{Mmap, MmapOptions};
use rustix::fs::{CWD, FallocateFlags, RenameFlags};
use rustix::io::Errno;

/// Which file it is, whatever its name: device and inode.
pub type FileId = (u64, u64);

/// The file system.
pub trait Disk: Send + Sync + Debug {
    /// Opens an existing file to read and write; only to read if `read_only`. `None` if there is none.
    fn open(&self, path: &Path, read_only: bool) -> io::Result<Option<Box<dyn DiskFile>>>;
    /// Creates a file that only its owner may read. It is an error if there is one.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Gives a file another name, where it replaces what is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file another name, unless there is something with that name (`AlreadyExists`).
    fn rename_to_free(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file, if there is one.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The names in a folder, in no order; none if there is no folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>>;
    /// Creates a folder that only its owner may use, and the ones above it that are missing. What is there stays as it is.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// The file that has this name, if there is one.
    fn id(&self, path: &Path) -> io::Result<Option<FileId>>;
    /// Locks a file, which is created if need be, until the returned value is dropped. `None`: another process has it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskFile>>>;
}

/// An open file.
pub trait DiskFile: Send + Debug {
    /// Which file it is.
    fn id(&self) -> io::Result<FileId>;
    /// Its length in bytes.
    fn bytes(&self) -> io::Result<u64>;
    /// Reads some bytes at `offset` into `buffer`, and returns how many; none at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes some of `bytes` at `offset`, and returns how many were written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Makes the file `bytes` long, with its space on the disk reserved if the file system can do that.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
    /// Cuts the file.
    fn truncate(&self, bytes: u64) -> io::Result<()>;
    /// Makes the content durable, and the length.
    fn sync(&self) -> io::Result<()>;
    /// The content, to read. What the disk cannot read is left out, with everything behind it.
    fn contents(&self) -> io::Result<Contents>;
}

/// The content of a file, mapped where possible. It stays valid when the file gets another name or none.
#[derive(Clone, Debug)]
pub struct Contents {
    bytes: Memory,
    /// Why the rest of the file is not here, if there is more.
    pub unreadable: Option<Arc<io::Error>>,
}

#[derive(Clone, Debug)]
enum Memory {
    Map(Arc<Mmap>),
    Copy(Arc<[u8]>),
}

impl Deref for Contents {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Memory::Map(map) => map,
            Memory::Copy(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Contents {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Vec<u8>> for Contents {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes: Memory::Copy(bytes.into()), unreadable: None }
    }
}

/// The real one.
#[derive(Clone, Copy, Debug)]
pub struct RealDisk(());

impl RealDisk {
    /// The file system of this machine. From here on a file that would grow past the limit of the process
    /// (`RLIMIT_FSIZE`) is an error; by default the kernel ends the process.
    pub fn new() -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let seen = Arc::new(AtomicBool::new(false));
            if let Err(error) = signal_hook::flag::register(rustix::process::Signal::XFSZ.as_raw(), seen) {
                tracing::debug!("SIGXFSZ cannot be caught ({error})");
            }
        });
        Self(())
    }
}

impl Default for RealDisk {
    fn default() -> Self {
        Self::new()
    }
}

/// Only the owner reads and writes: a backup contains secrets.
const OWNER_ONLY: u32 = 0o600;
/// The same for a folder.
const OWNER_ONLY_FOLDER: u32 = 0o700;

fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn boxed(file: File) -> Box<dyn DiskFile> {
    Box::new(RealFile(file))
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, read_only: bool) -> io::Result<Option<Box<dyn DiskFile>>> {
        let Some(file) = found(OpenOptions::new().read(true).write(!read_only).open(path))? else {
            return Ok(None);
        };
        let mode = file.metadata()?.mode() & 0o777;
        if !read_only && mode != OWNER_ONLY {
            // Someone else's file that we may write all the same keeps its mode: that is no reason not to start.
            let _ = file.set_permissions(Permissions::from_mode(OWNER_ONLY));
        }
        Ok(Some(boxed(file)))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(OWNER_ONLY).open(path)?;
        Ok(boxed(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn rename_to_free(&self, from: &Path, to: &Path) -> io::Result<()> {
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // The file system does not know the flag.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) if self.id(to)?.is_none() => {
                fs::rename(from, to)
            }
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Err(io::ErrorKind::AlreadyExists.into()),
            other => Ok(other?),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        found(fs::remove_file(path)).map(|_| ())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        let Some(entries) = found(fs::read_dir(folder))? else { return Ok(Vec::new()) };
        entries.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(OWNER_ONLY_FOLDER).create(folder)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        match File::open(folder)?.sync_all() {
            // Some network file systems cannot do this; their renames are durable, or nothing can make them so.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => other,
        }
    }

    fn id(&self, path: &Path) -> io::Result<Option<FileId>> {
        Ok(found(fs::metadata(path))?.map(|metadata| (metadata.dev(), metadata.ino())))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn DiskFile>>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(OWNER_ONLY)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(boxed(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn id(&self) -> io::Result<FileId> {
        let metadata = self.0.metadata()?;
        Ok((metadata.dev(), metadata.ino()))
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let before = self.bytes()?;
        let Some(more) = bytes.checked_sub(before).filter(|&more| more > 0) else { return Ok(()) };
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), before, more) {
            Ok(()) => Ok(()),
            // The file system cannot reserve space: a full disk then shows when the bytes are written.
            Err(Errno::NOTSUP | Errno::NOSYS) => self.0.set_len(bytes),
            Err(Errno::INTR) => self.allocate(bytes),
            Err(error) => {
                // Some file systems keep what they could allocate of it.
                let _ = self.0.set_len(before);
                Err(error.into())
            }
        }
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn contents(&self) -> io::Result<Contents> {
        let bytes = usize::try_from(self.bytes()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let (readable, unreadable) = read_once(&self.0, bytes);
        if readable == 0 {
            return Ok(Contents { unreadable, ..Contents::from(Vec::new()) });
        }
        // SAFETY: the memory changes only if the file does. Agents lock the file and write only behind what a reader has
        // found valid; that no other program writes to it or cuts it is the operator's promise, as the help of BackupFile says.
        let map = unsafe { MmapOptions::new().len(readable).map(&self.0)? };
        Ok(Contents { bytes: Memory::Map(Arc::new(map)), unreadable })
    }
}

/// Reads a file once, and returns how much of it can be read and why not more. A place that the disk cannot read is an
/// error here; through a map it would end the process. The pages stay in the kernel's cache for the map.
fn read_once(file: &File, bytes: usize) -> (usize, Option<Arc<io::Error>>) {
    let mut buffer = vec![0; 256 * 1024];
    let mut read = 0;
    while read < bytes {
        match file.read_at(&mut buffer, read as u64) {
            Ok(0) => return (read, None),
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (read, Some(Arc::new(error))),
        }
    }
    (bytes, None)
}
