//! Appends batches and notes to the newest segment, closes it, and removes segments.
//!
//! Must not go on with a file after an error, nor write beyond the bound of all files.

use std::collections::HashMap;
use std::io;

use super::super::events::Batch;
use super::super::queue::{ExpiredReason, StreamKey};
use super::Spool;
use super::backlog::Segment;
use super::newest::Newest;
use super::options::IDENTITY;
use super::record::{self, BATCH, BatchHead, NOTE, Position, SUMMARY};
use crate::persist::log::{self, SegmentWriter};

type Notes = [(StreamKey, Position)];

impl Spool {
    /// Writes the batches and the notes, and makes them durable. After an error the newest segment is closed, at the end
    /// of what was durable before.
    pub(super) fn write(&mut self, batches: &[Batch], notes: &Notes) -> io::Result<()> {
        if self.must_roll(batches) {
            self.seal();
        }
        let written = self.try_write(batches, notes);
        match written {
            Ok(()) => self.backlog.noted(notes, self.newest.as_ref().map_or(0, |newest| newest.number)),
            Err(_) => self.seal(),
        }
        written
    }

    /// Whether a new segment has to begin before these are appended.
    fn must_roll(&self, batches: &[Batch]) -> bool {
        let Some(newest) = &self.newest else { return false };
        let now_ms = batches.iter().map(|batch| batch.received_ms).max();
        newest.writer.bytes() >= self.options.segment_bytes
            || now_ms.is_some_and(|now_ms| self.is_old(newest.number, now_ms))
    }

    /// Whether the first event of a segment is so old that no more should be added.
    pub(super) fn is_old(&self, number: u64, now_ms: i64) -> bool {
        let first_ms = self.backlog.segments.get(&number).and_then(|segment| segment.first_ms);
        first_ms.is_some_and(|first_ms| now_ms.saturating_sub(first_ms) >= self.options.segment_ms())
    }

    fn try_write(&mut self, batches: &[Batch], notes: &Notes) -> io::Result<()> {
        let bytes = bytes_of(batches, notes);
        if !batches.is_empty() {
            self.make_room(bytes + self.margin())?;
        }
        self.begin()?;
        let Some(newest) = &mut self.newest else { return Err(io::Error::other("there is no segment")) };
        let heads = heads(&self.backlog.segments, newest, batches, notes.len())?;
        let scratch = &mut self.scratch;
        newest.writer.append(&mut |out| {
            for (key, position) in notes {
                record::write_note(key, *position, scratch);
                out(NOTE, scratch);
            }
            for (batch, (_, head)) in batches.iter().zip(&heads) {
                record::write_batch(batch, head.first, scratch);
                out(BATCH, scratch);
            }
        })?;
        scratch.shrink_to(1 << 20);
        newest.writer.sync()?;
        newest.has_events |= !batches.is_empty();
        let (number, end, file_bytes) = (newest.number, newest.writer.bytes(), newest.writer.file_bytes());
        for (at, head) in &heads {
            self.backlog.add(number, head);
            self.indexes.add(number, *at, head);
        }
        if let Some(segment) = self.backlog.segments.get_mut(&number) {
            (segment.records_end, segment.file_bytes) = (end, file_bytes);
        }
        Ok(())
    }

    /// Makes sure that there is a segment to append to.
    fn begin(&mut self) -> io::Result<()> {
        if self.newest.is_some() {
            return Ok(());
        }
        let number = self.next_number;
        self.next_number += 1;
        let path = self.files.path(number);
        let disk = self.files.disk.clone();
        let create = || SegmentWriter::create(disk.clone(), &path, &IDENTITY, self.options.limits());
        let created = match create() {
            // Somebody has removed the folder, and the lock with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                disk.create_folder(&self.files.folder)?;
                self.lock.ensure(&*disk)?;
                tracing::warn!(
                    folder = self.files.folder.display().to_string(),
                    "the folder of usage events was removed and is made again; events that still waited in it are lost"
                );
                create()
            }
            created => created,
        };
        let writer =
            created.inspect_err(|error| tracing::debug!("{} cannot be created ({error})", path.display()))?;
        self.indexes.begin(number, writer.salt());
        let segment = Segment { file_bytes: writer.file_bytes(), ..Segment::default() };
        self.backlog.segments.insert(number, segment);
        self.newest = Some(Newest { number, writer, has_events: false });
        Ok(())
    }

    /// Closes the newest segment. The next write begins a new one.
    pub(super) fn seal(&mut self) {
        let Some(mut newest) = self.newest.take() else { return };
        let segment = self.backlog.segments.get_mut(&newest.number);
        if newest.has_events
            && let Some(segment) = &segment
        {
            let streams = segment.shares.iter().map(|(&key, share)| (key, share.events));
            record::write_summary(streams, &mut self.scratch);
            // Only a help against damage: after an error it is cut off again.
            let _ = newest.writer.append(&mut |out| out(SUMMARY, &self.scratch));
        }
        let (end, file_bytes) = newest.writer.seal();
        if let Some(segment) = segment {
            (segment.records_end, segment.file_bytes) = (end, file_bytes);
        }
        self.indexes.seal();
    }

    /// Whether to write notes before, or without, these batches: if that makes room, or at least takes none from events.
    pub(super) fn must_note(&self, batches: &[Batch], notes: &Notes) -> bool {
        let bytes = bytes_of(batches, notes) + self.margin();
        let has_room = self.file_bytes().saturating_add(self.growth(bytes)) <= self.options.bytes_max;
        !notes.is_empty()
            && if batches.is_empty() {
                has_room || self.has_finished()
            } else {
                !has_room && self.has_finished()
            }
    }

    /// Whether there are closed segments that only wait for notes.
    fn has_finished(&self) -> bool {
        let newest = self.newest.as_ref().map(|newest| newest.number);
        self.backlog
            .segments
            .iter()
            .any(|(&number, segment)| segment.unfinished == 0 && Some(number) != newest)
    }

    /// What files grow by beside the records: blocks, the header of a new file, and what is allocated in advance.
    fn margin(&self) -> u64 {
        self.options.step_bytes() + (8 << 10)
    }

    /// Makes sure that so many bytes more stay within the bound: the oldest files go.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        if bytes > self.options.bytes_max {
            let text = "it would not fit into the whole spool";
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        while self.file_bytes().saturating_add(self.growth(bytes)) > self.options.bytes_max {
            if !self.drop_oldest() {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        Ok(())
    }

    /// By how much the files grow at most if so many bytes are appended, the margin included.
    fn growth(&self, bytes: u64) -> u64 {
        let Some(newest) = &self.newest else { return bytes };
        let free = newest.writer.file_bytes().saturating_sub(newest.writer.bytes());
        if bytes.saturating_sub(self.margin()) <= free { 0 } else { bytes }
    }

    /// Drops the oldest file because of its size. Returns whether one is gone.
    pub(super) fn drop_oldest(&mut self) -> bool {
        if self.files.remove_aside() {
            return true;
        }
        let newest = self.newest.as_ref().map(|newest| newest.number);
        match self.backlog.segments.first_key_value() {
            None => return false,
            Some((&number, _)) if Some(number) == newest => self.seal(),
            Some(_) => {}
        }
        let Some((&number, _)) = self.backlog.segments.first_key_value() else { return false };
        self.backlog.drop_segment(number, ExpiredReason::Size);
        self.remove(number)
    }

    /// Removes closed segments in which nothing waits.
    pub(super) fn collect(&mut self) {
        let newest = self.newest.as_ref().map(|newest| newest.number);
        let finished = |(&number, segment): (&u64, &Segment)| {
            (segment.unfinished == 0 && Some(number) != newest).then_some((number, segment.is_damaged))
        };
        let finished: Vec<(u64, bool)> = self.backlog.segments.iter().filter_map(finished).collect();
        for (number, is_damaged) in finished {
            if !self.backlog.may_remove(number) {
                continue;
            }
            if is_damaged {
                let bytes = self.backlog.segments.get(&number).map_or(0, |segment| segment.file_bytes);
                if self.files.set_aside(number, bytes) {
                    self.forget(number);
                }
            } else {
                self.remove(number);
            }
        }
    }

    fn remove(&mut self, number: u64) -> bool {
        let is_gone = self.files.remove(number);
        if is_gone {
            self.forget(number);
        }
        is_gone
    }

    fn forget(&mut self, number: u64) {
        self.backlog.forget(number);
        self.indexes.remove(number);
    }

    /// The space of all files.
    pub(super) fn file_bytes(&self) -> u64 {
        let segments: u64 = self.backlog.segments.values().map(|segment| segment.file_bytes).sum();
        segments + self.files.aside_bytes()
    }
}

/// The bytes of the records of these.
fn bytes_of(batches: &[Batch], notes: &Notes) -> u64 {
    let batches = batches.iter().map(|batch| log::record_bytes(record::batch_bytes(batch)));
    batches.sum::<u64>() + notes.len() as u64 * log::record_bytes(record::NOTE_BYTES)
}

/// Where each batch will be in the newest segment, behind the notes, and what it tells.
fn heads(
    segments: &std::collections::BTreeMap<u64, Segment>,
    newest: &Newest,
    batches: &[Batch],
    notes: usize,
) -> io::Result<Vec<(u64, BatchHead)>> {
    let shares = segments.get(&newest.number).map(|segment| &segment.shares);
    let mut at = newest.writer.bytes() + notes as u64 * log::record_bytes(record::NOTE_BYTES);
    let mut next: HashMap<StreamKey, u32> = HashMap::new();
    let mut heads = Vec::with_capacity(batches.len());
    for batch in batches {
        let stream = StreamKey::of(batch);
        let before = || shares.and_then(|shares| shares.get(&stream)).map_or(0, |share| share.events);
        let next = next.entry(stream).or_insert_with(before);
        let events = u32::try_from(batch.events.len()).map_err(io::Error::other)?;
        let bytes = batch.events.text().len() as u64;
        let head = BatchHead { stream, first: *next, events, bytes, received_ms: batch.received_ms };
        *next = next.checked_add(events).ok_or(io::ErrorKind::FileTooLarge)?;
        heads.push((at, head));
        at += log::record_bytes(record::batch_bytes(batch));
    }
    Ok(heads)
}
