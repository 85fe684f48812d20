//! Which files there are, and what is to be done with them.
//!
//! Must not touch the disk but to list it at the start.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::jobs::{Action, Job, Outcome, bytes_of};
use super::names::{Day, FileForm, Part, environment_of};
use crate::persist::log::Disk;

/// How long a task that failed is left alone.
const RETRY_MS: i64 = 60_000;

/// A file. Its place in the order is by day, part, and folder: the oldest comes first.
pub type Place = (Part, String);

/// What is known of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its length.
    pub bytes: u64,
    /// Whether `bytes` are known to be whole lines; else the file may end with a torn one.
    pub is_known: bool,
    /// In which state it is.
    pub state: State,
    /// Before this nothing is done with it again.
    pub not_before_ms: i64,
}

/// The state of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is being written.
    Open,
    /// It is plain, and closed. It may be continued if it is the last one of its day.
    Closed,
    /// It is compressed.
    Compressed,
    /// A thread compresses it.
    InWork,
    /// A thread removes it.
    Leaving,
}

/// Bounds of what is kept.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// A file with so many bytes is not continued.
    pub file_bytes: u64,
    /// How many days before today are kept.
    pub days: u64,
    /// How many bytes are kept.
    pub total_bytes: u64,
}

/// All files.
#[derive(Debug, Default)]
pub struct Catalogue {
    entries: BTreeMap<Place, Entry>,
    /// The sum of all that are not leaving.
    bytes: u64,
}

impl Catalogue {
    /// Lists `directory`, and removes what an agent left behind that ended in the middle of compressing.
    pub fn open(disk: &dyn Disk, directory: &Path) -> io::Result<Self> {
        let mut catalogue = Self::default();
        for folder in disk.list(directory)? {
            let Some(folder) = folder.to_str().filter(|name| environment_of(name).is_some()) else {
                continue;
            };
            catalogue.open_folder(disk, &directory.join(folder), folder)?;
        }
        Ok(catalogue)
    }

    fn open_folder(&mut self, disk: &dyn Disk, path: &Path, folder: &str) -> io::Result<()> {
        let mut files: Vec<(Part, FileForm)> =
            disk.list(path)?.iter().filter_map(|name| Part::parse(name.to_str()?)).collect();
        // Of one part the plain file comes first, the complete one after it.
        files.sort_unstable();
        for (part, form) in files {
            let file = path.join(part.file(form));
            let place = (part, folder.to_owned());
            let state = match form {
                FileForm::Plain => State::Closed,
                FileForm::Compressed if self.entries.contains_key(&place) => {
                    // It got its name when it was complete; only the plain one was not yet removed.
                    disk.remove(&path.join(part.file(FileForm::Plain)))?;
                    State::Compressed
                }
                FileForm::Compressed => State::Compressed,
                FileForm::Temporary => {
                    disk.remove(&file)?;
                    continue;
                }
            };
            if let Some(bytes) = bytes_of(disk, &file)? {
                self.put(place, Entry { bytes, is_known: false, state, not_before_ms: 0 });
            }
        }
        Ok(())
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many bytes they have together.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is known of a file.
    pub fn get(&self, place: &Place) -> Option<Entry> {
        self.entries.get(place).copied()
    }

    /// The last part of a day in a folder.
    pub fn last(&self, folder: &str, day: Day) -> Option<(Part, Entry)> {
        let first = (Part { day, number: 0 }, String::new());
        let parts = self.entries.range(first..).take_while(|((part, _), _)| part.day == day);
        parts.filter(|((_, of), _)| of == folder).last().map(|((part, _), entry)| (*part, *entry))
    }

    /// Puts or changes a file.
    pub fn put(&mut self, place: Place, entry: Entry) {
        let counted = |entry: Entry| if entry.state == State::Leaving { 0 } else { entry.bytes };
        let before = self.entries.insert(place, entry).map_or(0, counted);
        self.bytes = self.bytes.saturating_sub(before).saturating_add(counted(entry));
    }

    /// Changes a file, if it is there.
    pub fn change(&mut self, place: &Place, change: impl FnOnce(&mut Entry)) {
        if let Some(mut entry) = self.get(place) {
            change(&mut entry);
            self.put(place.clone(), entry);
        }
    }

    /// Forgets a file.
    pub fn forget(&mut self, place: &Place) {
        self.change(place, |entry| entry.bytes = 0);
        self.entries.remove(place);
    }

    /// The next task, which counts as begun: the oldest file that is to go, or else one to compress.
    pub fn next_job(&mut self, bounds: &Bounds, now_ms: i64) -> Option<Job> {
        let today = Day::of(now_ms);
        let oldest = today.before(bounds.days);
        let too_much = self.bytes > bounds.total_bytes;
        let is_free = |entry: &Entry| entry.not_before_ms <= now_ms;
        let leaving = self.entries.iter().find(|((part, _), entry)| {
            matches!(entry.state, State::Closed | State::Compressed)
                && is_free(entry)
                && (too_much || part.day < oldest)
        });
        let (place, action) = match leaving {
            Some((place, Entry { state: State::Compressed, .. })) => {
                (place.clone(), Action::Remove(FileForm::Compressed))
            }
            Some((place, _)) => (place.clone(), Action::Remove(FileForm::Plain)),
            None => {
                let (place, entry) = self.entries.iter().find(|(place, entry)| {
                    entry.state == State::Closed
                        && is_free(entry)
                        && self.is_complete(place, entry, bounds, today)
                })?;
                (place.clone(), Action::Compress { known: entry.is_known.then_some(entry.bytes) })
            }
        };
        let state = if matches!(action, Action::Remove(_)) { State::Leaving } else { State::InWork };
        self.change(&place, |entry| entry.state = state);
        Some(Job { folder: place.1, part: place.0, action })
    }

    /// Whether a closed file will not be continued.
    fn is_complete(&self, (part, folder): &Place, entry: &Entry, bounds: &Bounds, today: Day) -> bool {
        let later = (Part { day: part.day, number: part.number.saturating_add(1) }, String::new());
        let mut later = self.entries.range(later..).take_while(|((other, _), _)| other.day == part.day);
        part.day != today || entry.bytes >= bounds.file_bytes || later.any(|((_, of), _)| of == folder)
    }

    /// Puts back a task that could not be begun, or that failed.
    pub fn put_back(&mut self, job: &Job, now_ms: i64) {
        let state = match job.action {
            Action::Remove(FileForm::Compressed) => State::Compressed,
            _ => State::Closed,
        };
        self.change(&(job.part, job.folder.clone()), |entry| {
            entry.state = state;
            entry.not_before_ms = now_ms.saturating_add(RETRY_MS);
        });
    }

    /// Takes note of how a task ended. Returns the bytes of a file that is gone.
    pub fn finish(&mut self, job: &Job, outcome: Outcome) -> u64 {
        let place = (job.part, job.folder.clone());
        match outcome {
            Outcome::Compressed(bytes) => {
                self.put(place, Entry { bytes, is_known: true, state: State::Compressed, not_before_ms: 0 });
                0
            }
            Outcome::Removed(_) => {
                let bytes = self.get(&place).map_or(0, |entry| entry.bytes);
                self.forget(&place);
                bytes
            }
        }
    }
}
