//! The lock of the directory: one agent at a time writes it.
//!
//! Must not be removed from the disk: another process may be waiting for that file.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::insights::line_file::at;
use crate::persist::log::{Disk, DiskFile};

/// The lock, until its last clone is dropped.
#[derive(Clone, Debug)]
pub struct FolderLock {
    // A mutex only because files cannot be shared by threads; nobody uses this one.
    _held: Arc<Mutex<Box<dyn DiskFile>>>,
}

impl FolderLock {
    /// Locks `folder`, which exists.
    ///
    /// # Errors
    /// `WouldBlock` if another agent has it.
    pub fn take(disk: &dyn Disk, folder: &Path) -> io::Result<Self> {
        let path = folder.join("lock");
        match disk.lock(&path).map_err(|error| at(&path, error))? {
            Some(held) => Ok(Self { _held: Arc::new(Mutex::new(held)) }),
            None => Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                format!(
                    "another agent writes to {}. Give each agent an Events__Directory of its own",
                    folder.display()
                ),
            )),
        }
    }
}
