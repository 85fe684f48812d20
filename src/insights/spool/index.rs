//! Where the records of a segment are, by stream: in memory only of the newest segment and of a few that are being read.
//!
//! Must not hold a text.

use std::collections::{BTreeMap, HashMap};
use std::io;

use super::super::events::Batch;
use super::super::queue::StreamKey;
use super::files::Files;
use super::options::IDENTITY;
use super::record::{self, BATCH, BatchHead, Item};
use crate::persist::log::{self, DiskFile, ReadSegment, Record};

/// Of how many closed segments the places are kept.
pub(super) const INDEXES_MAX: usize = 8;

/// How much is read at once if the stream's next record is in that.
const WINDOW_BYTES: usize = 32 << 10;
/// How much is read at once if not: a page, which has a usual record.
const SMALL_WINDOW_BYTES: usize = 4 << 10;

/// Records begin at multiples of this.
const UNIT: u64 = 8;

/// A batch of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its offset, in units of 8 bytes.
    at: u32,
    /// Its first event, and the one behind its last, counted within the stream and segment.
    pub(super) first: u32,
    pub(super) end: u32,
}

impl Entry {
    /// `None` if it is too far behind in the file: segments are not that long.
    pub(super) fn new(at: u64, head: &BatchHead) -> Option<Self> {
        Some(Self { at: u32::try_from(at / UNIT).ok()?, first: head.first, end: head.end() })
    }
}

/// Where the records of one segment are.
#[derive(Debug)]
struct Index {
    salt: u32,
    entries: HashMap<StreamKey, Vec<Entry>>,
    /// `None` until something is read, or if there is no such file.
    file: Option<Box<dyn DiskFile>>,
    used: u64,
}

/// The indexes of some segments.
#[derive(Debug, Default)]
pub(super) struct Indexes {
    indexes: BTreeMap<u64, Index>,
    /// The segment that is being written: its index stays.
    newest: Option<u64>,
    uses: u64,
}

/// A part of a file that was read.
#[derive(Debug, Default)]
pub(super) struct Window {
    segment: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Indexes {
    /// Begins the index of a new segment.
    pub(super) fn begin(&mut self, number: u64, salt: u32) {
        self.newest = Some(number);
        let index = Index { salt, entries: HashMap::new(), file: None, used: self.uses };
        self.indexes.insert(number, index);
    }

    /// The newest segment was closed.
    pub(super) fn seal(&mut self) {
        self.newest = None;
        self.evict();
    }

    /// Adds a batch that was appended to the newest segment.
    pub(super) fn add(&mut self, number: u64, at: u64, head: &BatchHead) {
        if let (Some(index), Some(entry)) = (self.indexes.get_mut(&number), Entry::new(at, head)) {
            index.entries.entry(head.stream).or_default().push(entry);
        }
    }

    /// Forgets a segment.
    pub(super) fn remove(&mut self, number: u64) {
        self.indexes.remove(&number);
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.indexes.len()
    }

    /// Makes sure that there is the index of a segment, of which only what is before `records_end` counts.
    ///
    /// # Errors
    /// If the file cannot be opened or mapped at present.
    pub(super) fn load(&mut self, files: &Files, number: u64, records_end: u64) -> io::Result<()> {
        self.uses += 1;
        if let Some(index) = self.indexes.get_mut(&number) {
            index.used = self.uses;
            if index.file.is_none() {
                index.file = files.open(number)?;
            }
            return Ok(());
        }
        let mut index =
            Index { salt: 0, entries: HashMap::new(), file: files.open(number)?, used: self.uses };
        if let Some(file) = &index.file {
            let contents = file.contents()?;
            if let Some(error) = contents.unreadable.as_deref().filter(|error| !is_damage(error)) {
                return Err(io::Error::new(error.kind(), error.to_string()));
            }
            let segment = ReadSegment::of(contents, &IDENTITY);
            index.salt = segment.salt();
            for (at, found) in segment.records().take_while(|&(at, _)| at < records_end) {
                if let Some(Item::Batch(head)) = Item::read(&found)
                    && let Some(entry) = Entry::new(at, &head)
                {
                    index.entries.entry(head.stream).or_default().push(entry);
                }
            }
        }
        self.indexes.insert(number, index);
        self.evict();
        Ok(())
    }

    fn evict(&mut self) {
        let others = self.indexes.len() - usize::from(self.newest.is_some());
        if others > INDEXES_MAX {
            let others = self.indexes.iter().filter(|&(&number, _)| Some(number) != self.newest);
            if let Some((&number, _)) = others.min_by_key(|(_, index)| index.used) {
                self.indexes.remove(&number);
            }
        }
    }

    /// The batch of a stream that has this event or, if that is not there, a later one.
    pub(super) fn entry(&self, number: u64, key: StreamKey, event: u32) -> Option<Entry> {
        let entries = self.indexes.get(&number)?.entries.get(&key)?;
        entries.get(entries.partition_point(|entry| entry.end <= event)).copied()
    }

    /// How much to read at once at this entry.
    fn window_bytes(&self, number: u64, key: StreamKey, entry: Entry) -> usize {
        let entries = self.indexes.get(&number).and_then(|index| index.entries.get(&key));
        let next =
            entries.and_then(|entries| entries.get(entries.partition_point(|other| other.end <= entry.end)));
        let is_near = next
            .is_some_and(|next| u64::from(next.at.saturating_sub(entry.at)) * UNIT < WINDOW_BYTES as u64 / 2);
        if is_near { WINDOW_BYTES } else { SMALL_WINDOW_BYTES }
    }

    /// Reads a batch of a stream. `None` if that will never be possible.
    ///
    /// # Errors
    /// If it is not possible at present.
    pub(super) fn read(
        &self,
        number: u64,
        key: StreamKey,
        entry: Entry,
        window: &mut Window,
    ) -> io::Result<Option<Batch>> {
        let Some(index) = self.indexes.get(&number) else { return Ok(None) };
        let Some(file) = &index.file else { return Ok(None) };
        let is_same = |head: &BatchHead| (head.first, head.end()) == (entry.first, entry.end);
        let at = u64::from(entry.at) * UNIT;
        let bytes = self.window_bytes(number, key, entry);
        match window.record(number, &**file, index.salt, at, bytes) {
            Ok(found) => {
                let found = found.filter(|found| found.kind == BATCH);
                let batch = found.and_then(|found| record::read_batch(found.body));
                Ok(batch.filter(|(head, _)| is_same(head)).map(|(_, batch)| batch))
            }
            Err(error) if is_damage(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether an error says that what is on the disk is lost.
fn is_damage(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EIO)
        || matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

impl Window {
    /// The valid record at `at`. `bytes`: how much to read if it was not read before.
    fn record(
        &mut self,
        segment: u64,
        file: &dyn DiskFile,
        salt: u32,
        at: u64,
        bytes: usize,
    ) -> io::Result<Option<Record<'_>>> {
        let is_cached = segment == self.segment && log::record_at(self.from(at), salt).is_some();
        if !is_cached {
            (self.segment, self.start) = (segment, at);
            self.fill(file, bytes)?;
            match log::record_bytes_at(&self.bytes, salt) {
                Some(bytes)
                    if bytes > self.bytes.len() as u64 && at.saturating_add(bytes) <= file.bytes()? =>
                {
                    self.fill(file, bytes as usize)?;
                }
                _ => {}
            }
        }
        Ok(log::record_at(self.from(at), salt))
    }

    fn from(&self, at: u64) -> &[u8] {
        let offset = at.checked_sub(self.start).and_then(|offset| usize::try_from(offset).ok());
        offset.and_then(|offset| self.bytes.get(offset..)).unwrap_or_default()
    }

    /// Reads `bytes` bytes, or up to the end of the file.
    fn fill(&mut self, file: &dyn DiskFile, bytes: usize) -> io::Result<()> {
        self.bytes.resize(bytes, 0);
        let mut filled = 0;
        while let Some(rest) = self.bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, self.start + filled as u64) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.bytes.clear();
                    return Err(error);
                }
            }
        }
        self.bytes.truncate(filled);
        Ok(())
    }
}
