//! The data file, which is read again when it changes.
//!
//! Changes are found by polling: a check takes microseconds, follows renames and swapped symbolic links, and works on
//! network and overlay file systems, where the kernel reports no changes.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use crate::config::{Key, files};
use crate::ingest::{Ingest, ResyncReason};

use super::source::Source;

/// A file with so recent a time stamp may be written again within the same tick of the file system's clock, without a new
/// time stamp. So it is read once more after this time.
const RACY: Duration = Duration::from_secs(2);

/// After this many checks in a row that each found a change, the file is read although it still changes.
const MOVING_CHECKS: u32 = 10;

/// The metadata by which a change of the file is found without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileState {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileState {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether a later write might not change this state, since it may get the same time stamp.
    fn is_racy(&self, now: SystemTime) -> bool {
        let Ok(since_epoch) = now.duration_since(SystemTime::UNIX_EPOCH) else { return true };
        let modified = Duration::new(u64::try_from(self.modified.0).unwrap_or(0), self.modified.1 as u32);
        // True also for a time in the future, as of a file from a machine whose clock is ahead.
        since_epoch < modified + RACY
    }
}

impl Source for DataFile {
    fn start(&mut self, ingest: &mut Ingest) {
        self.receive(ingest);
    }

    fn receive(&mut self, ingest: &mut Ingest) {
        if let Some(bytes) = self.poll(ingest.snapshot().loaded()) {
            // An error was logged there.
            let _ = ingest.load_file(bytes, &self.path);
        }
    }

    fn wait(&self) -> Duration {
        self.poll_every
    }

    /// Offline, the file is the only source that can be asked.
    fn refresh(&mut self, _ingest: &Ingest, _why: ResyncReason) {
        self.read_again();
    }
}

/// A file's content, and its state before it was read.
struct Reading {
    state: FileState,
    /// Whether the file was not written while it was read.
    is_consistent: bool,
    content: Vec<u8>,
}

/// The data file, watched for changes.
#[derive(Debug)]
pub struct DataFile {
    path: PathBuf,
    poll_every: Duration,
    bytes_max: u64,
    /// The state of the file when it was last read.
    read_state: Option<FileState>,
    /// A new state, found at the last check. The file is read when the next check finds the same state.
    settling: Option<FileState>,
    /// How many checks in a row found a change.
    moving: u32,
    /// When to read the file once more, since its time stamp was recent.
    read_again_at: Option<Instant>,
    /// The hash of the content that was last returned.
    content: Option<u64>,
    /// The last error logged, so that it is logged only once.
    logged_error: Option<String>,
    /// Whether it was logged that the file has no directory entry any more.
    logged_unlinked: bool,
}

impl DataFile {
    /// Watches `path` by a check every `poll_every`. A file larger than `bytes_max` is refused.
    pub fn new(path: PathBuf, poll_every: Duration, bytes_max: u64) -> Self {
        Self {
            path,
            poll_every,
            bytes_max,
            read_state: None,
            settling: None,
            moving: 0,
            read_again_at: None,
            content: None,
            logged_error: None,
            logged_unlinked: false,
        }
    }

    /// Checks the file, and returns its content if that is new. The first check reads the file at once. A later change is
    /// read when two checks in a row find the same state, so that the file is not read while it is written. A file that
    /// changes at every check is read after ten checks; its content counts if the file did not change meanwhile and the
    /// JSON is complete.
    ///
    /// `has_data`: whether there is data in service, from the file or from elsewhere.
    pub fn poll(&mut self, has_data: bool) -> Option<Vec<u8>> {
        match self.check(has_data) {
            Ok(content) => {
                // That something exists at the path is not enough: it may be a directory, or too large.
                let was_read = self.read_state.is_some() && self.settling.is_none();
                if was_read && self.logged_error.take().is_some() {
                    tracing::info!(path = self.path.display().to_string(), "the data file can be read again");
                }
                content
            }
            Err(error) => {
                let error = error.to_string();
                if self.logged_error.as_ref() != Some(&error) {
                    tracing::error!(
                        path = self.path.display().to_string(),
                        "the data file cannot be read ({error}); {}. Put a file there that the agent may read: it is \
                         loaded as soon as it can be read",
                        meanwhile(has_data)
                    );
                    self.logged_error = Some(error);
                }
                None
            }
        }
    }

    /// Makes the next check read the file and return its content, even if nothing has changed.
    fn read_again(&mut self) {
        self.read_state = None;
        self.content = None;
        self.logged_error = None;
    }

    fn check(&mut self, has_data: bool) -> io::Result<Option<Vec<u8>>> {
        let metadata = fs::metadata(&self.path)?;
        self.warn_if_unlinked(metadata.nlink());
        let state = FileState::of(&metadata);
        if self.read_state == Some(state) {
            (self.settling, self.moving) = (None, 0);
            return match self.read_again_at {
                Some(at) if at <= Instant::now() => self.read().map(|reading| self.accept(reading)),
                _ => Ok(None),
            };
        }
        let is_first = self.read_state.is_none() && self.logged_error.is_none();
        if is_first || self.settling.replace(state) == Some(state) {
            return self.read().map(|reading| self.accept(reading));
        }
        self.moving += 1;
        if self.moving < MOVING_CHECKS { Ok(None) } else { self.read_while_moving(has_data) }
    }

    /// Warns once that a file without directory entries never changes: if a file alone is mounted into a container and then
    /// replaced by a rename, the container still sees the old one.
    fn warn_if_unlinked(&mut self, links: u64) {
        let is_unlinked = links == 0;
        if is_unlinked && !self.logged_unlinked {
            tracing::warn!(
                path = self.path.display().to_string(),
                "the data file was replaced or removed on the host, but the agent still sees the old one, and will not \
                 see later changes: the file alone was mounted into the container. Mount the folder that holds the file \
                 instead, then restart the container"
            );
        }
        self.logged_unlinked = is_unlinked;
    }

    /// Reads a file that changes at every check.
    fn read_while_moving(&mut self, has_data: bool) -> io::Result<Option<Vec<u8>>> {
        let reading = self.read()?;
        // A truncated file is never valid JSON.
        let is_complete = || serde_json::from_slice::<serde::de::IgnoredAny>(&reading.content).is_ok();
        if reading.is_consistent && is_complete() {
            return Ok(self.accept(reading));
        }
        if self.moving == MOVING_CHECKS {
            tracing::warn!(
                path = self.path.display().to_string(),
                "the data file changes at every check, and was incomplete when it was read; until it is complete, {}. \
                 Write a new file and rename it over this one",
                meanwhile(has_data)
            );
        }
        Ok(None)
    }

    fn read(&self) -> io::Result<Reading> {
        let (mut file, metadata) = files::open(&self.path)?;
        let limit = Key::LimitsBootstrapBytes.definition().name;
        let content = files::read_open(&mut file, &metadata, self.bytes_max, limit)?;
        let (state, after) = (FileState::of(&metadata), FileState::of(&file.metadata()?));
        // Without `changed` (ctime): renaming another file over this one changes that, but the content read is complete.
        let is_consistent = (state.size, state.modified) == (after.size, after.modified);
        Ok(Reading { state, is_consistent, content })
    }

    /// Remembers the state that was read, and returns the content if it is new.
    fn accept(&mut self, Reading { state, content, .. }: Reading) -> Option<Vec<u8>> {
        // The state before reading, so that the next check finds a write in between.
        let is_new = self.read_state.replace(state) != Some(state);
        (self.settling, self.moving) = (None, 0);
        // Only once for each state: a time stamp in the future would be racy for years.
        self.read_again_at = (is_new && state.is_racy(SystemTime::now())).then(|| Instant::now() + RACY);
        let hash = foldhash_of(&content);
        (self.content.replace(hash) != Some(hash)).then_some(content)
    }
}

/// What SDKs get while the file cannot be used.
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

    /// Checks until there is new content, at most four times.
    fn next(file: &mut DataFile) -> Option<Vec<u8>> {
        (0..4).find_map(|_| file.poll(true))
    }

    #[test]
    fn the_first_check_reads_the_file_and_later_ones_return_only_new_content() {
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
    fn a_change_is_read_only_when_two_checks_agree() {
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

    /// What went wrong: a file that changed at every check was never loaded.
    #[test]
    fn a_file_that_changes_at_every_check_is_loaded_after_ten_checks_if_it_is_complete() {
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
                for check in 1..MOVING_CHECKS {
                    write(format!("[{round},{}]", "1".repeat(check as usize)));
                    assert_eq!(file.poll(true), None, "check {check}");
                }
                // Longer at each check: a file system may give two writes the same time.
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
    fn a_file_with_a_time_in_the_future_is_read_once_more_and_no_change_is_missed() {
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
        assert!(file.read_again_at.is_some(), "it may have been written again within the same tick");
        file.read_again_at = Some(Instant::now());
        assert_eq!(file.poll(true), None);
        assert_eq!(file.read_again_at, None, "once is enough");
        write("three");
        assert_eq!(next(&mut file).as_deref(), Some(&b"three"[..]));
    }

    #[test]
    fn a_write_within_the_same_tick_is_found_by_reading_once_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.json");
        fs::write(&path, "one").unwrap();
        let mut file = watched(path.clone());
        file.poll(true);
        fs::write(&path, "two").unwrap();
        // As if the file system had given both writes the same times.
        file.read_state = Some(FileState::of(&fs::metadata(&path).unwrap()));
        file.read_again_at = Some(Instant::now());
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
    fn a_file_that_was_missing_or_too_large_is_loaded_once_it_is_right() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.json");
        let mut file = watched(path.clone());
        assert_eq!(next(&mut file), None);
        fs::write(&path, "x".repeat(101)).unwrap();
        assert_eq!(next(&mut file), None);
        assert!(file.logged_error.as_ref().unwrap().contains("Limits__BootstrapBytes"));
        fs::write(&path, "right").unwrap();
        assert_eq!(next(&mut file).as_deref(), Some(&b"right"[..]));
    }

    /// What went wrong: when a directory appeared at the path, the log said that the file
    /// could be read again, and then why it could not be.
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
            assert!(file.logged_error.is_some(), "nothing was read");
        }
        fs::remove_dir(&path).unwrap();
        fs::write(&path, "one").unwrap();
        assert_eq!(next(&mut file), None, "it holds what is in service");
        assert_eq!(file.logged_error, None);
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

    /// What went wrong: a file that was mounted alone into a container never changed again, and nothing was logged.
    #[test]
    fn a_file_without_a_directory_entry_is_logged_once() {
        use std::os::fd::AsRawFd;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.json");
        fs::write(&path, "one").unwrap();
        // Like a file that is mounted alone: it can still be read after it was removed from its directory.
        let open = fs::File::open(&path).unwrap();
        let mut file = watched(format!("/proc/self/fd/{}", open.as_raw_fd()).into());
        assert_eq!(file.poll(true).as_deref(), Some(&b"one"[..]));
        assert!(!file.logged_unlinked);
        fs::remove_file(&path).unwrap();
        file.poll(true);
        assert!(file.logged_unlinked);
        file.path = path.clone();
        fs::write(&path, "two").unwrap();
        file.poll(true);
        assert!(!file.logged_unlinked, "it would be logged again");
    }
}
