//! The backup file and the cluster's Redis.
//!
//! Must not know them: whoever does gives the numbers at each scrape.

use std::fmt::Error;

use super::page::Page;

/// The backup file at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupNumbers {
    /// Bytes of its header and records.
    pub file_bytes: u64,
    /// Records written.
    pub records: u64,
    /// Bytes of records written.
    pub written_bytes: u64,
    /// Syncs that succeeded.
    pub syncs: u64,
    /// New files that took the place of the one before.
    pub compactions: u64,
    /// Writes that failed.
    pub failures: u64,
    /// Whether it does not hold the newest data.
    pub stale: bool,
}

/// The cluster's Redis at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedisNumbers {
    /// Whether everything in it was read, and changes come as they happen.
    pub connected: bool,
    /// Records in it.
    pub records: u64,
    /// The last change of the cluster that was read.
    pub sequence: u64,
    /// Changes that were announced and not yet read.
    pub lag: u64,
    /// Commands sent.
    pub commands: u64,
    /// Records read.
    pub records_read: u64,
    /// Records stored.
    pub records_written: u64,
    /// Announcements of other agents.
    pub announcements: u64,
    /// Connections opened after the first one.
    pub reconnects: u64,
    /// Lost connections, failed attempts and refused commands.
    pub errors: u64,
    /// Records that no agent has written.
    pub unreadable: u64,
    /// Times that own changes were dropped because they came faster than Redis took them, and all data was compared.
    pub overflows: u64,
}

/// Tells the numbers at each scrape.
pub struct Reader<T>(Box<dyn Fn() -> T + Send + Sync>);

impl<T> Reader<T> {
    /// The numbers that `read` returns.
    pub fn new(read: impl Fn() -> T + Send + Sync + 'static) -> Self {
        Self(Box::new(read))
    }

    pub(super) fn read(&self) -> T {
        (self.0)()
    }
}

impl<T> std::fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

impl BackupNumbers {
    pub(super) fn encode(self, page: &mut Page<'_>) -> Result<(), Error> {
        page.gauge("backup_file_bytes", "Bytes of the backup file that are in use.", self.file_bytes as f64)?;
        let stale = if self.stale { 1.0 } else { 0.0 };
        page.gauge("backup_stale", "1 while the backup file does not hold the newest data.", stale)?;
        page.counter("backup_records", "Records written to the backup file.", self.records)?;
        page.counter("backup_written_bytes", "Bytes written to the backup file.", self.written_bytes)?;
        page.counter("backup_syncs", "Times that changes were made durable together.", self.syncs)?;
        page.counter("backup_compactions", "Times that the backup file was written anew.", self.compactions)?;
        page.counter("backup_failures", "Writes of the backup file that failed.", self.failures)
    }
}

impl RedisNumbers {
    pub(super) fn encode(self, page: &mut Page<'_>) -> Result<(), Error> {
        let connected = if self.connected { 1.0 } else { 0.0 };
        page.gauge("redis_connected", "1 while the agent is up to date with Redis.", connected)?;
        page.gauge("redis_records", "Flags, segments and removals in Redis.", self.records as f64)?;
        page.gauge("redis_sequence", "The last change in Redis that was read.", self.sequence as f64)?;
        page.gauge("redis_lag", "Changes that were announced and not yet read.", self.lag as f64)?;
        page.counter("redis_commands", "Commands sent to Redis.", self.commands)?;
        page.counter("redis_records_read", "Records read from Redis.", self.records_read)?;
        page.counter("redis_records_written", "Records stored in Redis.", self.records_written)?;
        page.counter("redis_announcements", "Announcements of other agents.", self.announcements)?;
        page.counter("redis_reconnects", "Connections to Redis after the first one.", self.reconnects)?;
        page.counter("redis_errors", "Lost connections, failed attempts, refused commands.", self.errors)?;
        page.counter("redis_unreadable", "Records in Redis that no agent has written.", self.unreadable)?;
        let overflows = "Times that changes came faster than Redis took them, and all data was compared.";
        page.counter("redis_overflows", overflows, self.overflows)
    }
}
