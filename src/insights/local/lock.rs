//! The lock of the directory: one agent at a time writes it.
//!
//! Must not be removed from the disk: another process may be waiting for that file.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::insights::line_file::at;
use crate::persist::log::{Disk, DiskFile, FileId};

/// The lock, until its last clone is dropped.
#[derive(Clone, Debug)]
pub struct FolderLock {
    // A mutex only because files cannot be shared by threads; nobody uses this one.
    _held: Arc<Mutex<Box<dyn DiskFile>>>,
    id: Option<FileId>,
}

impl FolderLock {
    /// Locks `folder`, which exists.
    ///
    /// # Errors
    /// `WouldBlock` if another agent has it.
    pub fn take(disk: &dyn Disk, folder: &Path) -> io::Result<Self> {
        let path = folder.join("lock");
        match disk.lock(&path).map_err(|error| at(&path, error))? {
            Some(held) => Ok(Self { _held: Arc::new(Mutex::new(held)), id: disk.id(&path)? }),
            None => Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                format!(
                    "another agent writes to {}. Give each agent an Events__Directory of its own",
                    folder.display()
                ),
            )),
        }
    }

    /// Takes the lock of `folder` again if its file was removed, as with the folder: another agent could take it.
    ///
    /// # Errors
    /// As [`FolderLock::take`].
    pub fn ensure(&mut self, disk: &dyn Disk, folder: &Path) -> io::Result<()> {
        let path = folder.join("lock");
        if self.id.is_some() && disk.id(&path).map_err(|error| at(&path, error))? == self.id {
            return Ok(());
        }
        disk.create_folder(folder).map_err(|error| at(folder, error))?;
        *self = Self::take(disk, folder)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::persist::log::RealDisk;

    /// What went wrong: the folder was removed under an agent, which made it again without a lock, so that a second agent
    /// wrote to the same files.
    #[test]
    fn a_lock_that_was_removed_with_its_folder_let_another_agent_in() {
        let parent = tempfile::tempdir().unwrap();
        let (disk, folder) = (RealDisk::new(), parent.path().join("local"));
        fs::create_dir(&folder).unwrap();
        let mut lock = FolderLock::take(&disk, &folder).unwrap();
        lock.ensure(&disk, &folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        lock.ensure(&disk, &folder).unwrap();
        assert_eq!(FolderLock::take(&disk, &folder).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        // Another one was faster.
        fs::remove_dir_all(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        let other = FolderLock::take(&disk, &folder).unwrap();
        assert_eq!(lock.ensure(&disk, &folder).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(other);
        lock.ensure(&disk, &folder).unwrap();
    }
}
