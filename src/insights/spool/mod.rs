//! The queue on disk: what was synced outlives the process and the machine.
//!
//! Must not keep in memory what waits on the disk, nor lose what was synced without counting it.
//!
//! # The files
//!
//! `DIRECTORY/spool/` has *segments* named by a rising number, each a log of checksummed records (`persist/log`), and the
//! file `spool.lock`. All environments share a segment, so that one sync makes a whole group of calls durable. A segment is
//! written from its start, then closed and only read; a new one begins when it is large or old enough, after a failed write,
//! and at every start. `record` documents what is in it.
//!
//! # What is finished
//!
//! Events of a stream finish in order, so one *position* a stream says all: a segment, and how many of the stream's events in
//! it are finished. Positions are noted in the newest segment with the next sync. What was confirmed and not noted when the
//! machine or the process failed is sent again. A closed segment of which all is finished is removed; if a position is
//! noted in it that still matters, that is noted again before.
//!
//! # Memory
//!
//! In memory are counts for each segment and stream (`backlog`), the places of the records of a few segments (`index`), and
//! nothing of the texts. A full spool of 1 GiB has 64 segments.

mod backlog;
mod files;
mod index;
mod newest;
mod open;
mod options;
mod read;
mod record;
mod write;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;

use super::events::Batch;
use super::queue::{
    Expired, ExpiredReason, Full, PeekLimits, Portion, Queue, QueueStatus, StreamKey, StreamStatus,
};
use crate::persist::log::Lock;
use backlog::Backlog;
use files::Files;
use index::Indexes;
use newest::Newest;
pub use options::{BYTES_MIN as SPOOL_BYTES_MIN, IDENTITY, SpoolError, SpoolOptions};
pub use record::{BatchHead, Item, Position, read_batch, write_batch, write_note, write_summary};

/// The queue. Dropping it notes what was confirmed.
pub struct Spool {
    options: SpoolOptions,
    files: Files,
    lock: Lock,
    backlog: Backlog,
    indexes: Indexes,
    /// The segment that is being written, if there is one: the last of `backlog`.
    newest: Option<Newest>,
    next_number: u64,
    /// What was appended since the last sync.
    pending: Vec<Batch>,
    /// Where bodies of records are put together.
    scratch: Vec<u8>,
}

/// Shows how much there is, never what: events hold user data.
impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool")
            .field("options", &self.options)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl Spool {
    /// Closes the newest segment if it is old, and drops old segments, the oldest first.
    fn drop_old(&mut self, now_ms: i64) {
        if let Some(newest) = self.newest.as_ref().map(|newest| newest.number)
            && self.is_old(newest, now_ms)
        {
            self.seal();
        }
        let limit_ms = now_ms.saturating_sub(self.options.age_max_ms);
        let newest = self.newest.as_ref().map(|newest| newest.number);
        let numbers: Vec<u64> = self.backlog.segments.keys().copied().collect();
        for number in numbers {
            let Some(segment) = self.backlog.segments.get(&number) else { continue };
            if Some(number) == newest || (segment.unfinished > 0 && segment.last_ms >= limit_ms) {
                break;
            }
            self.backlog.drop_segment(number, ExpiredReason::Age);
        }
        self.collect();
    }
}

impl Queue for Spool {
    fn append(&mut self, batch: &Batch) -> Result<(), Full> {
        if !batch.events.is_empty() {
            self.pending.push(batch.clone());
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Full> {
        let batches = std::mem::take(&mut self.pending);
        let mut notes = self.backlog.notes();
        let mut result = Ok(());
        if self.must_note(&batches, &notes) {
            result = self.write(&[], &notes);
            self.collect();
            notes = self.backlog.notes();
        }
        if !batches.is_empty() && result.is_ok() {
            result = self.write(&batches, &notes);
            self.collect();
        }
        self.files.sync();
        result.map_err(Full::Disk)
    }

    fn streams(&self) -> Vec<StreamStatus> {
        self.backlog.streams()
    }

    fn peek(&mut self, stream: StreamKey, limits: PeekLimits) -> io::Result<Option<Portion>> {
        self.read_portion(stream, limits)
    }

    fn confirm(&mut self, stream: StreamKey, events: usize) {
        self.backlog.confirm(stream, events);
        self.collect();
    }

    fn expire(&mut self, now_ms: i64) -> Vec<Expired> {
        self.drop_old(now_ms);
        while self.file_bytes() > self.options.bytes_max && self.drop_oldest() {}
        self.backlog.take_expired()
    }

    fn status(&self) -> QueueStatus {
        let streams = self.backlog.streams();
        QueueStatus {
            events: streams.iter().map(|stream| stream.events).sum(),
            bytes: streams.iter().map(|stream| stream.bytes).sum(),
            oldest_ms: streams.iter().map(|stream| stream.oldest_ms).min(),
            file_bytes: self.file_bytes(),
            segments: self.backlog.segments.len() as u64,
            indexes: self.indexes.count() as u64,
            set_aside: self.files.aside_count(),
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.pending.clear();
        if let Err(Full::Disk(error)) = self.sync() {
            tracing::debug!("what was sent last is not noted in the spool ({error}); it will be sent again");
        }
        self.seal();
    }
}
