//! The data file, read again whenever it changes.
//!
//! It is looked at, not waited for: a look costs microseconds, follows renames and swapped symbolic links, and works
//! on network and overlay file systems, where the kernel reports no changes.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use crate::config::{Key, files};
use crate::ingest::{Ingest, ResyncReason};

use super::source::Source;

/// A file whose time stamp is this young may be written again without its time stamp moving on: it is read once
/// more when so much time has passed. Whoever set the stamp, and by which clock, it moves on after that.
const RACY: Duration = Duration::from_secs(2);

/// Looks in a row that found another state each time, from which on a file that does not hold still is read all the
/// same.
const MOVING_LOOKS: u32 = 10;

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether the file may have been written after this stamp was taken without the stamp showing it.
    fn is_racy(&self, now: SystemTime) -> bool {
        let Ok(since_epoch) = now.duration_since(SystemTime::UNIX_EPOCH) else { return true };
        let modified = Duration::new(u64::try_from(self.modified.0).unwrap_or(0), self.modified.1 as u32);
        // Also one in the future, which a file that was copied with its time has, or one on another machine's clock.
        since_epoch < modified + RACY
    }
}

impl Source for DataFile {
    fn start(&mut self, ingest: &mut Ingest) {
        self.receive(ingest);
    }

    fn receive(&mut self, ingest: &mut Ingest) {
        if let Some(bytes) = self.poll(ingest.snapshot().loaded()) {
            // Why a dataset was refused has been logged.
            let _ = ingest.load_file(bytes, &self.path);
        }
    }

    fn wait(&self) -> Duration {
        self.poll_every
    }

    /// Without a server to follow, the file is all there is to ask.
    fn refresh(&mut self, _ingest: &Ingest, _why: ResyncReason) {
        self.read_again();
    }
}

/// A file's content, and its state before it was read.
struct Reading {
    stamp: Stamp,
    /// Nobody wrote into the file meanwhile.
    held_still: bool,
    content: Vec<u8>,
}

/// A file that is watched.
#[derive(Debug)]
pub struct DataFile {
    path: PathBuf,
    poll_every: Duration,
    bytes_max: u64,
    /// The state whose content was handed out.
    taken: Option<Stamp>,
    /// A new state, seen at the last look: it is read once it holds still.
    settling: Option<Stamp>,
    /// Looks in a row that found another state each time.
    moving: u32,
    /// When a racy state has to be read once more.
    read_again: Option<Instant>,
    /// Hash of what was handed out.
    content: Option<u64>,
    /// What was last complained of.
    complaint: Option<String>,
    /// It was told that the file is in no folder any more.
    told_alone: bool,
}

impl DataFile {
    /// Watches `path`, looking every `poll_every`. Larger files than `bytes_max` are refused.
    pub fn new(path: PathBuf, poll_every: Duration, bytes_max: u64) -> Self {
        Self {
            path,
            poll_every,
            bytes_max,
            taken: None,
            settling: None,
            moving: 0,
            read_again: None,
            content: None,
            complaint: None,
            told_alone: false,
        }
    }

    /// Looks at the file; returns its content if it is new. The first look returns what there is; later changes
    /// are taken when two looks in a row agree, so that a file is not read while it is being written. One that is
    /// written more often than that is taken after ten looks, if it stayed as it was while it was read and is whole.
    ///
    /// `has_data`: something is in service, from here or from elsewhere.
    pub fn poll(&mut self, has_data: bool) -> Option<Vec<u8>> {
        match self.look(has_data) {
            Ok(content) => {
                // Not as soon as there is something at the path: it may be a folder, or too large.
                let was_read = self.taken.is_some() && self.settling.is_none();
                if was_read && self.complaint.take().is_some() {
                    tracing::info!(path = self.path.display().to_string(), "the data file can be read again");
                }
                content
            }
            Err(error) => {
                let complaint = error.to_string();
                if self.complaint.as_ref() != Some(&complaint) {
                    tracing::error!(
                        path = self.path.display().to_string(),
                        "the data file cannot be read ({complaint}); {}. Put the file there, readable for the agent: \
                         it is taken in as soon as it can be read",
                        meanwhile(has_data)
                    );
                    self.complaint = Some(complaint);
                }
                None
            }
        }
    }

    /// Has the next look read the file, changed or not, and return its content.
    fn read_again(&mut self) {
        self.taken = None;
        self.content = None;
        self.complaint = None;
    }

    fn look(&mut self, has_data: bool) -> io::Result<Option<Vec<u8>>> {
        let metadata = fs::metadata(&self.path)?;
        self.warn_of_the_link(metadata.nlink());
        let stamp = Stamp::of(&metadata);
        if self.taken == Some(stamp) {
            (self.settling, self.moving) = (None, 0);
            return match self.read_again {
                Some(when) if when <= Instant::now() => self.read().map(|reading| self.take(reading)),
                _ => Ok(None),
            };
        }
        let is_first = self.taken.is_none() && self.complaint.is_none();
        if is_first || self.settling.replace(stamp) == Some(stamp) {
            return self.read().map(|reading| self.take(reading));
        }
        self.moving += 1;
        if self.moving < MOVING_LOOKS { Ok(None) } else { self.look_at_moving(has_data) }
    }

    /// Says once of a file that is in no folder any more that it will not change: a container to which it was given alone
    /// goes on seeing the old one when another is renamed over it.
    fn warn_of_the_link(&mut self, links: u64) {
        let is_alone = links == 0;
        if is_alone && !self.told_alone {
            tracing::warn!(
                path = self.path.display().to_string(),
                "the data file was replaced or removed where it comes from, and the agent still sees the old one: it was \
                 mounted into the container alone, and later changes will not be seen either. Mount the folder that holds \
                 it instead of the file, then start the container anew"
            );
        }
        self.told_alone = is_alone;
    }

    /// Reads a file that was found in another state at each look.
    fn look_at_moving(&mut self, has_data: bool) -> io::Result<Option<Vec<u8>>> {
        let reading = self.read()?;
        // Half of a file is no JSON, wherever it was cut.
        let is_whole = || serde_json::from_slice::<serde::de::IgnoredAny>(&reading.content).is_ok();
        if reading.held_still && is_whole() {
            return Ok(self.take(reading));
        }
        if self.moving == MOVING_LOOKS {
            tracing::warn!(
                path = self.path.display().to_string(),
                "the data file is written at every look, and was not whole when it was read; until it is, {}. Write a \
                 new file and rename it over this one",
                meanwhile(has_data)
            );
        }
        Ok(None)
    }

    fn read(&self) -> io::Result<Reading> {
        let (mut file, metadata) = files::open(&self.path)?;
        let limit = Key::LimitsBootstrapBytes.definition().name;
        let content = files::read_open(&mut file, &metadata, self.bytes_max, limit)?;
        let (stamp, after) = (Stamp::of(&metadata), Stamp::of(&file.metadata()?));
        // Not by the time of the last change: a file that another one was renamed over is whole.
        let held_still = (stamp.size, stamp.modified) == (after.size, after.modified);
        Ok(Reading { stamp, held_still, content })
    }

    /// Remembers what was read, and hands it out if it is new.
    fn take(&mut self, Reading { stamp, content, .. }: Reading) -> Option<Vec<u8>> {
        // The state before reading: a write in between makes the next look differ.
        let is_new = self.taken.replace(stamp) != Some(stamp);
        (self.settling, self.moving) = (None, 0);
        // Once for each state: a time stamp in the future stays racy for years.
        self.read_again = (is_new && stamp.is_racy(SystemTime::now())).then(|| Instant::now() + RACY);
        let hash = foldhash_of(&content);
        (self.content.replace(hash) != Some(hash)).then_some(content)
    }
}

/// What SDKs get while the file is of no use.
fn meanwhile(has_data: bool) -> &'static str {
    if has_data { "what is in service stays" } else { "there is no data yet, and SDKs wait until there is" }
}

fn foldhash_of(content: &[u8]) -> u64 {
    use std::hash::BuildHasher;
    foldhash::quality::FixedState::default().hash_one(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn watched(path: PathBuf) -> DataFile {
        DataFile::new(path, Duration::ZERO, 100)
    }

    /// Looks until something comes, or the file has held still for a few looks.
    fn next(file: &mut DataFile) -> Option<Vec<u8>> {
        (0..4).find_map(|_| file.poll(true))
    }

    #[test]
    fn the_first_look_takes_what_there_is_and_later_ones_only_what_is_new() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.json");
        fs::write(&path, "one").unwrap();
        let mut file = watched(path.clone());
        assert_eq!(file.poll(true).as_deref(), Some(&b"one"[..]));
        assert_eq!(next(&mut file), None);
        fs::write(&path, "three").unwrap();
        assert_eq!(next(&mut file).as_deref(), Some(&b"three"[..]));
    }

    #[test]
    fn a_change_is_taken_only_when_two_looks_agree() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.json");
        fs::write(&path, "one").unwrap();
        let mut file = watched(path.clone());
        file.poll(true);
        fs::write(&path, "half").unwrap();
        assert_eq!(file.poll(true), None);
        fs::write(&path, "half, then whole").unwrap();
        assert_eq!(file.poll(true), None);
        assert_eq!(file.poll(true).as_deref(), Some(&b"half, then whole"[..]));
    }

    /// What went wrong: a file that was written more often than it was looked at twice was never taken in.
    #[test]
    fn a_file_that_never_holds_still_is_taken_after_ten_looks_if_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("data.json"), folder.path().join("other.json"));
        fs::write(&path, "[0]").unwrap();
        for rename in [true, false] {
            let mut file = watched(path.clone());
            assert!(file.poll(true).is_some());
            let write = |text: String| match rename {
                true => fs::write(&other, text).and_then(|()| fs::rename(&other, &path)).unwrap(),
                false => fs::write(&path, text).unwrap(),
            };
            for round in 0..3 {
                for look in 1..MOVING_LOOKS {
                    write(format!("[{round},{}]", "1".repeat(look as usize)));
                    assert_eq!(file.poll(true), None, "look {look}");
                }
                // Longer with each look: a file system may give two writes the same time.
                write(format!("[{round},\"half of it {}", "x".repeat(20)));
                assert_eq!(file.poll(true), None, "half of a file");
                let whole = format!("[{round},\"whole {}\"]", "x".repeat(30));
                write(whole.clone());
                assert_eq!(file.poll(true).as_deref(), Some(whole.as_bytes()));
            }
        }
    }

    /// What went wrong: a file with a time stamp in the future was read every two seconds for ever.
    #[test]
    fn a_time_stamp_in_the_future_has_the_file_read_once_more_and_no_change_is_missed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.json");
        let ahead = SystemTime::now() + Duration::from_secs(365 * 24 * 3600);
        let write = |text: &str| {
            fs::write(&path, text).unwrap();
            fs::File::options().write(true).open(&path).unwrap().set_modified(ahead).unwrap();
        };
        write("one");
        let mut file = watched(path.clone());
        assert_eq!(file.poll(true).as_deref(), Some(&b"one"[..]));
        assert!(file.read_again.is_some(), "it may have been written again within the same tick");
        file.read_again = Some(Instant::now());
        assert_eq!(file.poll(true), None);
        assert_eq!(file.read_again, None, "once is enough");
        write("three");
        assert_eq!(next(&mut file).as_deref(), Some(&b"three"[..]));
    }

    #[test]
    fn what_was_written_within_the_same_tick_is_found_by_reading_once_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.json");
        fs::write(&path, "one").unwrap();
        let mut file = watched(path.clone());
        file.poll(true);
        fs::write(&path, "two").unwrap();
        // As if the file system had given both writes the same times.
        file.taken = Some(Stamp::of(&fs::metadata(&path).unwrap()));
        file.read_again = Some(Instant::now());
        assert_eq!(file.poll(true).as_deref(), Some(&b"two"[..]));
    }

    #[test]
    fn a_rename_and_a_swapped_symbolic_link_are_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.json");
        let other = folder.path().join("other.json");
        fs::write(&path, "one").unwrap();
        let mut file = watched(path.clone());
        file.poll(true);
        fs::write(&other, "two").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(next(&mut file).as_deref(), Some(&b"two"[..]));
        // As Kubernetes swaps a mounted ConfigMap.
        fs::create_dir(folder.path().join("v2")).unwrap();
        fs::write(folder.path().join("v2/data.json"), "two, changed").unwrap();
        symlink(folder.path().join("v2/data.json"), &other).unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(next(&mut file).as_deref(), Some(&b"two, changed"[..]));
    }

    #[test]
    fn a_file_that_is_gone_or_too_large_is_taken_again_when_it_is_right() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.json");
        let mut file = watched(path.clone());
        assert_eq!(next(&mut file), None);
        fs::write(&path, "x".repeat(101)).unwrap();
        assert_eq!(next(&mut file), None);
        assert!(file.complaint.as_ref().unwrap().contains("Limits__BootstrapBytes"));
        fs::write(&path, "right").unwrap();
        assert_eq!(next(&mut file).as_deref(), Some(&b"right"[..]));
    }

    /// What went wrong: as soon as there was something at the path again, which was a folder, the log said that the file
    /// could be read again, and then why it could not.
    #[test]
    fn a_folder_in_place_of_a_file_that_was_gone_is_not_a_file_that_can_be_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.json");
        fs::write(&path, "one").unwrap();
        let mut file = watched(path.clone());
        file.poll(true);
        fs::remove_file(&path).unwrap();
        assert_eq!(file.poll(true), None);
        fs::create_dir(&path).unwrap();
        for _ in 0..3 {
            assert_eq!(file.poll(true), None);
            assert!(file.complaint.is_some(), "nothing was read");
        }
        fs::remove_dir(&path).unwrap();
        fs::write(&path, "one").unwrap();
        assert_eq!(next(&mut file), None, "it holds what is in service");
        assert_eq!(file.complaint, None);
    }

    #[test]
    fn the_same_content_written_again_is_nothing_new() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.json");
        fs::write(&path, "one").unwrap();
        let mut file = watched(path.clone());
        file.poll(true);
        let other = folder.path().join("other");
        fs::write(&other, "one").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_eq!(next(&mut file), None);
    }

    /// What went wrong: a file that was given to a container alone never changed again, without a word.
    #[test]
    fn a_file_that_is_in_no_folder_any_more_is_told_once() {
        use std::os::fd::AsRawFd;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.json");
        fs::write(&path, "one").unwrap();
        // As a file that is mounted alone: it can be read by a path of its own when it is gone from its folder.
        let open = fs::File::open(&path).unwrap();
        let mut file = watched(format!("/proc/self/fd/{}", open.as_raw_fd()).into());
        assert_eq!(file.poll(true).as_deref(), Some(&b"one"[..]));
        assert!(!file.told_alone);
        fs::remove_file(&path).unwrap();
        file.poll(true);
        assert!(file.told_alone);
        file.path = path.clone();
        fs::write(&path, "two").unwrap();
        file.poll(true);
        assert!(!file.told_alone, "it would be told again");
    }
}
