//! The lock of a log: one process at a time writes it.
//!
//! A lock on the log itself would be lost when a new file replaces it, so it is on a file beside it, `<name>.lock`, which
//! nobody ever removes. If somebody does, the next replacement notices.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::{Disk, DiskFile};
use super::names::with_suffix;

/// Attempts to lock a file that others may be replacing.
const ATTEMPTS: usize = 10;

/// The lock, until it is dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    held: Option<Box<dyn DiskFile>>,
}

impl Lock {
    /// The lock of the log at `log`, not taken yet.
    pub fn beside(log: &Path) -> Self {
        Self { path: with_suffix(log, ".lock"), held: None }
    }

    /// Makes sure that this process has the lock.
    ///
    /// # Errors
    /// `WouldBlock` if another process has it; any other error if that cannot be found out.
    pub fn ensure(&mut self, disk: &dyn Disk) -> io::Result<()> {
        for _ in 0..ATTEMPTS {
            let at_path = disk.id(&self.path)?;
            match &self.held {
                // Another process may lock whatever has the name now.
                Some(held) if at_path == Some(held.id()?) => return Ok(()),
                _ => {}
            }
            self.held = None;
            let Some(held) = disk.lock(&self.path)? else {
                return Err(io::Error::new(
                    io::ErrorKind::WouldBlock,
                    format!("another process has locked {}", self.path.display()),
                ));
            };
            self.held = Some(held);
        }
        Err(io::Error::other(format!("the lock file {} does not stay in its place", self.path.display())))
    }

    /// Where the lock file is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
