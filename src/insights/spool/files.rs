//! The files of a spool: their names, how they are removed, and those that were set aside.
//!
//! Must not remove a damaged file, unless its space is needed.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::persist::log::{self, Disk, DiskFile};

/// No segment has a higher number: names are as long as they should be, and there is always a next one.
const NUMBER_MAX: u64 = 999_999_999_999_999;

/// Behind the number in a segment's name. Files that are set aside have more behind it.
const SUFFIX: &str = ".events";

/// The folder of a spool.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) folder: PathBuf,
    /// Damaged files with their lengths, the oldest first.
    aside: VecDeque<(PathBuf, u64)>,
    /// A name is gone, and that is not durable yet.
    is_changed: bool,
    /// It was logged that a file cannot be removed.
    has_complained: bool,
}

impl Files {
    pub(super) fn new(disk: Arc<dyn Disk>, folder: PathBuf) -> Self {
        Self { disk, folder, aside: VecDeque::new(), is_changed: false, has_complained: false }
    }

    pub(super) fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:016}{SUFFIX}"))
    }

    /// The numbers of the segments in the folder, in order, and the highest one of any file, even if that was set aside.
    /// Files that were set aside are taken into account from here on.
    pub(super) fn list(&mut self) -> io::Result<(Vec<u64>, u64)> {
        let (mut numbers, mut aside, mut highest) = (Vec::new(), Vec::new(), 0);
        for name in self.disk.list(&self.folder)? {
            let Some((number, rest)) = name.to_str().and_then(|name| name.split_once(SUFFIX)) else {
                continue;
            };
            let Some(number) = number.parse().ok().filter(|&number: &u64| number <= NUMBER_MAX) else {
                continue;
            };
            highest = highest.max(number);
            match rest {
                "" if self.path(number).file_name() == Some(&name) => numbers.push(number),
                rest if rest.starts_with(".damaged-") => aside.push(self.folder.join(&name)),
                _ => {}
            }
        }
        numbers.sort_unstable();
        aside.sort_unstable();
        let length = |path: &PathBuf| self.disk.open(path, true).ok()??.bytes().ok();
        self.aside =
            aside.into_iter().map(|path| (length(&path).unwrap_or(0), path)).map(|(l, p)| (p, l)).collect();
        Ok((numbers, highest))
    }

    /// Opens a segment to read. `None` if it is not there.
    pub(super) fn open(&self, number: u64) -> io::Result<Option<Box<dyn DiskFile>>> {
        self.disk.open(&self.path(number), true)
    }

    /// Removes a segment. Returns whether it is gone; if not, that is logged.
    pub(super) fn remove(&mut self, number: u64) -> bool {
        let path = self.path(number);
        let removed = self.disk.remove(&path);
        self.finish(&path, removed)
    }

    /// Gives a damaged segment another name. Returns whether that worked; if not, that is logged.
    pub(super) fn set_aside(&mut self, number: u64, bytes: u64) -> bool {
        let path = self.path(number);
        let renamed = match log::set_aside(&*self.disk, &path, "damaged") {
            Ok(aside) => {
                tracing::error!(
                    file = aside.display().to_string(),
                    "a damaged segment of the spool of usage events was set aside under this name. Check the disk; the \
                     file may be deleted"
                );
                self.aside.push_back((aside, bytes));
                Ok(())
            }
            // Somebody has removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        self.finish(&path, renamed)
    }

    fn finish(&mut self, path: &Path, result: io::Result<()>) -> bool {
        self.is_changed |= result.is_ok();
        if let Err(error) = &result
            && !self.has_complained
        {
            tracing::error!(
                file = path.display().to_string(),
                "a finished segment of the spool of usage events cannot be removed ({error}). It is tried again; after a \
                 restart its events would be sent again. Let the agent's user write to the folder"
            );
        }
        self.has_complained = result.is_err();
        result.is_ok()
    }

    /// Removes the oldest file that was set aside. Returns whether there was one.
    pub(super) fn remove_aside(&mut self) -> bool {
        let Some((path, _)) = self.aside.pop_front() else { return false };
        let removed = self.disk.remove(&path);
        self.finish(&path, removed);
        true
    }

    /// Makes durable that names are gone. If that fails, events that are finished may come again after a failure of the machine.
    pub(super) fn sync(&mut self) {
        if std::mem::take(&mut self.is_changed)
            && let Err(error) = self.disk.sync_folder(&self.folder)
        {
            tracing::debug!("removed segments of the spool are not durable yet ({error})");
            self.is_changed = true;
        }
    }

    /// How many files were set aside.
    pub(super) fn aside_count(&self) -> u64 {
        self.aside.len() as u64
    }

    /// The length of all files that were set aside.
    pub(super) fn aside_bytes(&self) -> u64 {
        self.aside.iter().map(|(_, bytes)| bytes).sum()
    }
}
