//! What a journal has done, and how it is.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

/// What a journal has done since it was started, and how it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The bytes of the file's header and records; 0 while no file is trusted.
    pub file_bytes: u64,
    /// The bytes up to the end of the last whole state; 0 if there is none.
    pub full_state_bytes: u64,
    /// Records written.
    pub records_written: u64,
    /// Bytes of records written.
    pub bytes_written: u64,
    /// Syncs that succeeded.
    pub syncs: u64,
    /// New files that took the place of the one before.
    pub compactions: u64,
    /// Writes that failed.
    pub failures: u64,
    /// Groups dropped, because a whole state was going to contain them.
    pub dropped: u64,
    /// Groups that wait to be written.
    pub queued: u64,
    /// Since when the file does not hold the newest data, because of an error or a disk that hangs; Unix milliseconds.
    pub stale_since_ms: Option<i64>,
    /// The present error.
    pub error: Option<String>,
}

/// The numbers that only the journal's thread changes.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) file_bytes: AtomicU64,
    pub(super) full_state_bytes: AtomicU64,
    pub(super) records: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) compactions: AtomicU64,
    pub(super) failures: AtomicU64,
}

impl Counters {
    pub(super) fn status(&self) -> Status {
        Status {
            file_bytes: self.file_bytes.load(Relaxed),
            full_state_bytes: self.full_state_bytes.load(Relaxed),
            records_written: self.records.load(Relaxed),
            bytes_written: self.bytes.load(Relaxed),
            syncs: self.syncs.load(Relaxed),
            compactions: self.compactions.load(Relaxed),
            failures: self.failures.load(Relaxed),
            ..Status::default()
        }
    }
}

/// The wall clock `ago` before now, in Unix milliseconds.
pub(super) fn wall_ms(ago: Duration) -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.saturating_sub(ago).as_millis()).unwrap_or(i64::MAX)
}
