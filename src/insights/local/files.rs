//! The files that are being written, and the life of a file: written, closed, compressed, removed.
//!
//! Must not lose a line that was acknowledged, and must not acknowledge one that is not on the disk.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::catalogue::{Bounds, Catalogue, Entry, State};
use super::helper::Helper;
use super::jobs::{Action, Outcome};
use super::line;
use super::lock::FolderLock;
use super::names::{self, Day, FileForm, Part};
use crate::insights::events::Batch;
use crate::insights::line_file::{LineFile, at};
use crate::model::environment_id::EnvironmentId;
use crate::persist::log::{Disk, RealDisk};

/// How many names a new file is tried with, if others put files of the same names there.
const NAMES_MAX: u32 = 100;

/// Bounds of local files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalOptions {
    /// A file with so many bytes is followed by another part of the day. The last call's events may go beyond it.
    pub file_bytes: u64,
    /// How many days before today are kept.
    pub days: u64,
    /// How many bytes are kept, over all environments: the oldest files go first. At least a few times `file_bytes`.
    pub total_bytes: u64,
    /// How many files stay open.
    pub open_files: usize,
    /// After so long without events a file is closed.
    pub idle_ms: i64,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self { file_bytes: 64 << 20, days: 30, total_bytes: 1 << 30, open_files: 64, idle_ms: 10 * 60_000 }
    }
}

/// What was removed because of its age, or because there was too much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// How many files.
    pub files: u64,
    /// How many bytes they had on the disk.
    pub bytes: u64,
    /// How many events they held, as far as they could be read.
    pub events: u64,
}

/// What there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalStatus {
    /// Files, open and closed.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that are open.
    pub open_files: u64,
}

#[derive(Debug)]
struct Current {
    folder: String,
    part: Part,
    file: LineFile,
    used_ms: i64,
}

/// The local files of all environments.
#[derive(Debug)]
pub struct LocalFiles {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    options: LocalOptions,
    current: HashMap<EnvironmentId, Current>,
    /// Complete, but with lines that are not acknowledged.
    retired: Vec<Current>,
    /// Folders with new names in them.
    new_names: BTreeSet<PathBuf>,
    catalogue: Catalogue,
    helper: Helper,
    helper_fails: bool,
    /// Removed since the last log line about that.
    unlogged: Removed,
    lines: Vec<u8>,
    lock: FolderLock,
}

impl LocalFiles {
    /// Opens `directory/local/`, which is created if need be, and starts the thread that compresses closed files.
    ///
    /// # Errors
    /// `WouldBlock` if another agent uses it; any other error if it cannot be created or listed, or if there is no thread. The
    /// error says where.
    pub fn open(directory: &Path, options: LocalOptions, now_ms: i64) -> io::Result<Self> {
        Self::open_on(Arc::new(RealDisk::new()), directory, options, now_ms, Helper::start)
    }

    pub(super) fn open_on(
        disk: Arc<dyn Disk>,
        directory: &Path,
        options: LocalOptions,
        now_ms: i64,
        helper: impl FnOnce(Arc<dyn Disk>, &Path, FolderLock) -> io::Result<Helper>,
    ) -> io::Result<Self> {
        let local = directory.join("local");
        disk.create_folder(&local).map_err(|error| at(&local, error))?;
        let lock = FolderLock::take(&*disk, &local)?;
        let catalogue = Catalogue::open(&*disk, &local).map_err(|error| at(&local, error))?;
        let helper = helper(disk.clone(), &local, lock.clone())?;
        let mut files = Self {
            disk,
            options,
            current: HashMap::new(),
            retired: Vec::new(),
            new_names: BTreeSet::from([directory.to_owned(), local.clone()]),
            directory: local,
            catalogue,
            helper,
            helper_fails: false,
            unlogged: Removed::default(),
            lines: Vec::new(),
            lock,
        };
        files.hand_out_jobs(now_ms);
        Ok(files)
    }

    /// What there is.
    pub fn status(&self) -> LocalStatus {
        LocalStatus {
            files: self.catalogue.len() as u64,
            bytes: self.catalogue.bytes(),
            open_files: (self.current.len() + self.retired.len()) as u64,
        }
    }

    /// Whether files are being compressed or removed: then the next [`LocalFiles::tick`] must not wait for events.
    pub fn is_busy(&self) -> bool {
        self.helper.is_busy()
    }

    /// Appends the events of `batch`, whose environment is called `label`, to the file of today. They count as kept only after
    /// [`LocalFiles::sync`].
    ///
    /// # Errors
    /// Nothing of this batch is kept. What was appended before is not affected.
    pub fn append(&mut self, batch: &Batch, label: &str, now_ms: i64) -> io::Result<()> {
        if batch.events.is_empty() {
            return Ok(());
        }
        let environment = batch.environment;
        self.choose_file(environment, names::folder(label, environment), now_ms)?;
        let Some(current) = self.current.get_mut(&environment) else { return Ok(()) };
        current.used_ms = now_ms;
        self.lines.clear();
        line::append_lines(batch, label, &mut self.lines);
        let appended = current.file.append(&self.lines);
        self.lines.shrink_to(1 << 20);
        appended
    }

    /// Makes everything durable that was appended. Only now it counts as kept.
    ///
    /// # Errors
    /// Nothing that was appended since the last sync is kept: it is cut off again.
    pub fn sync(&mut self) -> io::Result<()> {
        let synced = self.sync_all();
        let mut gone = Vec::new();
        for (environment, current) in &mut self.current {
            match synced {
                Ok(()) => current.file.keep(),
                Err(_) if current.file.is_gone() => gone.push(*environment),
                Err(_) => current.file.roll_back(),
            }
            self.catalogue.change(&(current.part, current.folder.clone()), |entry| {
                entry.bytes = current.file.kept_bytes();
            });
        }
        for environment in gone {
            if let Some(current) = self.current.remove(&environment) {
                self.catalogue.forget(&(current.part, current.folder));
            }
        }
        for mut retired in std::mem::take(&mut self.retired) {
            match synced {
                Ok(()) => retired.file.keep(),
                Err(_) => retired.file.roll_back(),
            }
            self.close(retired);
        }
        synced
    }

    fn sync_all(&mut self) -> io::Result<()> {
        for current in self.current.values_mut().chain(&mut self.retired) {
            if current.file.is_dirty() {
                current.file.sync()?;
            }
        }
        // An upper folder comes before those in it, so nothing durable hangs below a name that is not.
        for folder in &self.new_names {
            match self.disk.sync_folder(folder) {
                // Somebody has removed it. The files of this group are where they should be, as they say themselves.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                synced => synced.map_err(|error| at(folder, error))?,
            }
        }
        self.new_names.clear();
        Ok(())
    }

    /// Closes files of past days and idle ones, compresses closed ones, and removes what is too old or too much. To be called
    /// about once a second. Returns what was removed since the last call.
    pub fn tick(&mut self, now_ms: i64) -> Removed {
        let today = Day::of(now_ms);
        let is_idle = |current: &Current| {
            current.part.day != today || now_ms.saturating_sub(current.used_ms) >= self.options.idle_ms
        };
        let idle: Vec<_> =
            self.current.iter().filter(|(_, current)| is_idle(current)).map(|(id, _)| *id).collect();
        idle.into_iter().for_each(|environment| self.retire(environment));
        while self.current.len() > self.options.open_files && self.close_least_used() {}
        let removed = self.take_done(now_ms);
        self.hand_out_jobs(now_ms);
        self.log_removed(removed);
        removed
    }

    /// Makes sure that the environment's open file is the one to write to now.
    fn choose_file(&mut self, environment: EnvironmentId, folder: String, now_ms: i64) -> io::Result<()> {
        let day = Day::of(now_ms);
        if let Some(current) = self.current.get(&environment) {
            let is_full = current.file.bytes() >= self.options.file_bytes;
            if current.part.day == day && current.folder == folder && !is_full {
                return Ok(());
            }
            self.retire(environment);
        }
        while self.current.len() >= self.options.open_files && self.close_least_used() {}
        let (part, file) = self.open_part(&folder, day)?;
        let bytes = file.kept_bytes();
        self.catalogue.put(
            (part, folder.clone()),
            Entry { bytes, is_known: true, state: State::Open, not_before_ms: 0 },
        );
        self.current.insert(environment, Current { folder, part, file, used_ms: now_ms });
        Ok(())
    }

    /// The last part of the day if it can be continued, or else a new one.
    fn open_part(&mut self, folder: &str, day: Day) -> io::Result<(Part, LineFile)> {
        let path = self.directory.join(folder);
        let mut number = 1;
        if let Some((last, entry)) = self.catalogue.last(folder, day) {
            number = last.number.saturating_add(1);
            if entry.state == State::Closed && entry.bytes < self.options.file_bytes {
                let known = entry.is_known.then_some(entry.bytes);
                let plain = path.join(last.file(FileForm::Plain));
                match LineFile::reopen(&self.disk, plain, known)? {
                    Some(file) => return Ok((last, file)),
                    None => number = last.number,
                }
            }
        }
        self.lock.ensure(&*self.disk, &self.directory)?;
        self.disk.create_folder(&path).map_err(|error| at(&path, error))?;
        for number in number..number.saturating_add(NAMES_MAX) {
            let part = Part { day, number };
            match LineFile::create(&self.disk, path.join(part.file(FileForm::Plain))) {
                Ok(file) => {
                    self.new_names.extend([self.directory.clone(), path]);
                    return Ok((part, file));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(at(&path, io::Error::new(io::ErrorKind::AlreadyExists, "no name for a new file is free")))
    }

    /// Writes to an environment's open file no more.
    fn retire(&mut self, environment: EnvironmentId) {
        let Some(current) = self.current.remove(&environment) else { return };
        if current.file.is_dirty() {
            self.retired.push(current);
        } else {
            self.close(current);
        }
    }

    /// Closes a file all of whose lines are acknowledged.
    fn close(&mut self, current: Current) {
        let place = (current.part, current.folder);
        let bytes = current.file.kept_bytes();
        if current.file.is_gone() {
            self.catalogue.forget(&place);
            return;
        }
        if bytes == 0 {
            let path = self.directory.join(&place.1).join(place.0.file(FileForm::Plain));
            if self.disk.remove(&path).is_ok() {
                self.catalogue.forget(&place);
                return;
            }
        }
        self.catalogue.change(&place, |entry| {
            entry.bytes = bytes;
            entry.state = State::Closed;
        });
    }

    /// Closes the open file that was not used for the longest time. Returns whether there was one that can be closed.
    fn close_least_used(&mut self) -> bool {
        let clean = self.current.iter().filter(|(_, current)| !current.file.is_dirty());
        let Some((&environment, _)) = clean.min_by_key(|(_, current)| current.used_ms) else { return false };
        self.retire(environment);
        true
    }

    fn bounds(&self) -> Bounds {
        let LocalOptions { file_bytes, days, total_bytes, .. } = self.options;
        Bounds { file_bytes, days, total_bytes }
    }

    fn hand_out_jobs(&mut self, now_ms: i64) {
        while self.helper.has_room() {
            let bounds = self.bounds();
            let Some(job) = self.catalogue.next_job(&bounds, now_ms) else {
                // If open files alone are too much, the largest is closed and can go as well.
                let is_idle = self.catalogue.bytes() <= bounds.total_bytes;
                if is_idle || !self.close_largest() {
                    return;
                }
                continue;
            };
            if !self.helper.submit(job.clone()) {
                self.catalogue.put_back(&job, now_ms);
                if !std::mem::replace(&mut self.helper_fails, true) {
                    tracing::error!("the thread that compresses and removes local event files has ended");
                }
                return;
            }
        }
    }

    fn close_largest(&mut self) -> bool {
        let clean = self.current.iter().filter(|(_, current)| !current.file.is_dirty());
        let Some((&environment, _)) = clean.max_by_key(|(_, current)| current.file.bytes()) else {
            return false;
        };
        self.retire(environment);
        true
    }

    fn take_done(&mut self, now_ms: i64) -> Removed {
        let mut removed = Removed::default();
        while let Some(done) = self.helper.take_done() {
            match done.outcome {
                Ok(outcome) => {
                    self.helper_fails = false;
                    let bytes = self.catalogue.finish(&done.job, outcome);
                    if let (Outcome::Removed(events), Action::Remove(_)) = (outcome, done.job.action) {
                        removed.files += 1;
                        removed.bytes += bytes;
                        removed.events += events;
                    }
                }
                Err(error) => {
                    self.catalogue.put_back(&done.job, now_ms);
                    if !std::mem::replace(&mut self.helper_fails, true) {
                        let what = match done.job.action {
                            Action::Compress { .. } => "compressed",
                            Action::Remove(_) => "removed",
                        };
                        tracing::warn!(
                            "a local event file cannot be {what}, which is tried again every minute: {error}"
                        );
                    }
                }
            }
        }
        removed
    }

    /// One line for all that goes at about the same time.
    fn log_removed(&mut self, removed: Removed) {
        let sum = &mut self.unlogged;
        sum.files += removed.files;
        sum.bytes += removed.bytes;
        sum.events += removed.events;
        if sum.files == 0 || removed.files > 0 {
            return;
        }
        tracing::info!(
            files = sum.files,
            bytes = sum.bytes,
            events = sum.events,
            "removed local event files that are older than {} days, or beyond {} bytes together",
            self.options.days,
            self.options.total_bytes,
        );
        *sum = Removed::default();
    }
}

#[cfg(test)]
mod tests;
