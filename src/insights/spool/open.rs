//! Opens a spool: reads every segment once, the newest first, and counts what waits in it.
//!
//! Must not keep the agent from starting for a fault in a file, nor keep a file in memory.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::super::queue::StreamKey;
use super::Spool;
use super::backlog::{Backlog, Segment};
use super::files::Files;
use super::index::Indexes;
use super::options::{IDENTITY, SpoolError, SpoolOptions};
use super::record::{Item, Position};
use crate::persist::log::{Disk, DiskFile, End, Lock, ReadSegment};

/// What is finished of each stream, and in which segment that is noted.
type Finished = HashMap<StreamKey, (Position, u64)>;

impl Spool {
    /// Opens or creates the spool in `directory`, in a folder of its own. Only one process at a time can. Files that cannot be
    /// used are left or set aside, and logged.
    ///
    /// # Errors
    /// If another process uses it, or the folder cannot be created, read or written.
    pub fn open(
        disk: Arc<dyn Disk>,
        directory: &Path,
        options: SpoolOptions,
        now_ms: i64,
    ) -> Result<Self, SpoolError> {
        let folder = directory.join("spool");
        let failed = |error| SpoolError::Folder { folder: folder.clone(), error };
        disk.create_folder(&folder).map_err(failed)?;
        let mut lock = Lock::beside(&folder.join("spool"));
        lock.ensure(&*disk).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                SpoolError::Locked { folder: folder.clone(), lock: lock.path().to_owned() }
            }
            _ => failed(error),
        })?;
        let mut files = Files::new(disk, folder.clone());
        let (numbers, highest) = files.list().map_err(failed)?;
        let mut spool = Self {
            options,
            files,
            lock,
            backlog: Backlog::default(),
            indexes: Indexes::default(),
            newest: None,
            next_number: highest.saturating_add(1),
            pending: Vec::new(),
            scratch: Vec::new(),
        };
        spool.restore(&numbers);
        spool.drop_old(now_ms);
        let status = spool.backlog.segments.len();
        tracing::debug!(
            folder = folder.display().to_string(),
            segments = status,
            "the spool of usage events was read"
        );
        Ok(spool)
    }

    fn restore(&mut self, numbers: &[u64]) {
        let mut finished = Finished::new();
        // The newest first: it tells what is finished in the others.
        for &number in numbers.iter().rev() {
            if let Some(segment) = self.read_file(number, &mut finished) {
                self.next_number = self.next_number.max(number.saturating_add(1));
                self.backlog.restore(number, segment, &finished);
            }
        }
        let noted = finished.values().map(|(position, _)| position.segment).max().unwrap_or(0);
        self.next_number = self.next_number.max(noted.saturating_add(1));
        self.collect();
    }

    /// Reads a segment and makes it ready to be used. `None` if it cannot be.
    fn read_file(&mut self, number: u64, finished: &mut Finished) -> Option<Segment> {
        let path = self.files.path(number);
        let name = path.display().to_string();
        let read = open_to_cut(&*self.files.disk, &path).and_then(|file| {
            let contents = file.contents()?;
            Ok((ReadSegment::of(contents, &IDENTITY), file))
        });
        let (segment, file) = match read {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(
                    file = name,
                    "a segment of the spool of usage events cannot be read ({error}), so its events are not sent. Let \
                     the agent's user read and write it, and check the disk"
                );
                return None;
            }
        };
        match segment.end {
            End::Clean => {}
            // Cut before.
            End::Torn { .. } if file.bytes().is_ok_and(|bytes| bytes == segment.records_end()) => {}
            End::Torn { at } => tracing::warn!(
                file = name,
                "the last write to the spool of usage events was not complete, as after a crash: what is not valid behind \
                 byte {at} does not count"
            ),
            End::Damaged { at } => tracing::error!(
                file = name,
                "a segment of the spool of usage events is damaged behind byte {at}; what can be read of it is sent. \
                 Check the disk"
            ),
            End::Empty | End::HeaderBroken if segment.is_blank() => {
                self.files.remove(number);
                return None;
            }
            End::Empty | End::HeaderBroken => {
                let bytes = file.bytes().unwrap_or(0);
                self.files.set_aside(number, bytes);
                return None;
            }
            End::FutureVersion { .. } | End::OtherKind | End::OtherFingerprint => {
                tracing::error!(
                    file = name,
                    "a file in the folder of usage events was written by a newer version of featbit-agent or for another \
                     purpose; it is not used and was not changed. Start that version again, or remove the file"
                );
                return None;
            }
        }
        let mut found = count(&segment, number, finished);
        found.is_damaged = matches!(segment.end, End::Damaged { .. });
        (found.records_end, found.file_bytes) = (segment.records_end(), file.bytes().unwrap_or(0));
        if !found.is_damaged && found.file_bytes > found.records_end {
            match file.truncate(found.records_end) {
                Ok(()) => found.file_bytes = found.records_end,
                Err(error) => tracing::debug!(file = name, "the file cannot be cut ({error})"),
            }
        }
        Some(found)
    }
}

/// Opens a file to cut it, or at least to read it.
fn open_to_cut(disk: &dyn Disk, path: &Path) -> io::Result<Box<dyn DiskFile>> {
    let file = disk.open(path, false).or_else(|_| disk.open(path, true))?;
    file.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Counts what a segment has. What is noted in it is added to `finished`, which is known of all later segments.
fn count(segment: &ReadSegment, number: u64, finished: &mut Finished) -> Segment {
    for (_, record) in segment.records() {
        if let Some(Item::Note(stream, position)) = Item::read(&record) {
            let known = finished.entry(stream).or_default();
            if position > known.0 && position.segment <= number {
                *known = (position, number);
            }
        }
    }
    let mut found = Segment::default();
    for (_, record) in segment.records() {
        match Item::read(&record) {
            Some(Item::Batch(head)) => {
                let position =
                    finished.get(&head.stream).map_or(Position::default(), |(position, _)| *position);
                let finished = match position.segment.cmp(&number) {
                    std::cmp::Ordering::Less => 0,
                    std::cmp::Ordering::Equal => position.events,
                    std::cmp::Ordering::Greater => u32::MAX,
                };
                found.count(&head, finished);
            }
            Some(Item::Summary(streams)) => {
                for (stream, events) in streams {
                    let share = found.shares.entry(stream).or_default();
                    share.events = share.events.max(events);
                }
            }
            Some(Item::Note(..)) | None => {}
        }
    }
    found
}
