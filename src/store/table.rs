//! The items of an environment in their order, in chunks that successive snapshots share.
//!
//! Must not know what an item means. A table never changes: `with` and `arrange` make a new one that shares every unchanged
//! chunk. So a patch to one flag of ten thousand copies one chunk of references, and a slow connection that still reads an
//! old full payload keeps only the changed chunks in memory.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use super::item::{Item, Served, Text};

/// Most items of a chunk.
pub(super) const CHUNK_ITEMS: usize = 128;

/// One item: when it changed, and what SDKs get of it.
pub(super) struct Entry<T> {
    pub data: Arc<T>,
    /// The publish sequence at which the item, or what server SDKs get of it, last changed.
    pub sequence: u64,
    /// The publish sequence at which the item, or a segment that it refers to, last changed: client SDKs may get another
    /// result since.
    pub client_sequence: u64,
    /// The version that server SDKs are sent, in Unix milliseconds.
    pub version_ms: i64,
    /// The version that client SDKs are sent: also rises when a segment that the item refers to changes.
    pub client_version_ms: i64,
    pub served: Served,
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Self { data: Arc::clone(&self.data), served: self.served.clone(), ..*self }
    }
}

impl<T> Entry<T> {
    /// Whether both are the same state of the same item.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.data, &other.data)
            && self.sequence == other.sequence
            && self.client_sequence == other.client_sequence
            && self.version_ms == other.version_ms
            && self.client_version_ms == other.client_version_ms
            && self.served.is(&other.served)
    }

    /// Whether SDKs get anything of it.
    pub fn is_served(&self) -> bool {
        !matches!(self.served, Served::Nothing)
    }
}

impl<T: Item> Entry<T> {
    /// The item's text from its source.
    pub fn source(&self) -> &Text {
        self.data.text()
    }

    /// The JSON that server SDKs get, if any.
    pub fn served_text(&self) -> Option<&str> {
        self.served.of(self.data.text())
    }
}

/// The newest values among several items, so that a reader can skip chunks with nothing new for it. Versions count only
/// items that SDKs get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Newest {
    pub updated_at_ms: i64,
    pub sequence: u64,
    pub client_sequence: u64,
    pub version_ms: i64,
    pub client_version_ms: i64,
}

impl Newest {
    pub const NONE: Self = Self {
        updated_at_ms: i64::MIN,
        sequence: 0,
        client_sequence: 0,
        version_ms: i64::MIN,
        client_version_ms: i64::MIN,
    };

    fn of<T: Item>(entry: &Entry<T>) -> Self {
        let if_served = |version_ms| if entry.is_served() { version_ms } else { i64::MIN };
        Self {
            updated_at_ms: entry.source().updated_at_ms,
            sequence: entry.sequence,
            client_sequence: entry.client_sequence,
            version_ms: if_served(entry.version_ms),
            client_version_ms: if_served(entry.client_version_ms),
        }
    }

    pub fn max(self, other: Self) -> Self {
        Self {
            updated_at_ms: self.updated_at_ms.max(other.updated_at_ms),
            sequence: self.sequence.max(other.sequence),
            client_sequence: self.client_sequence.max(other.client_sequence),
            version_ms: self.version_ms.max(other.version_ms),
            client_version_ms: self.client_version_ms.max(other.client_version_ms),
        }
    }
}

/// Consecutive entries of a table.
pub(super) struct Chunk<T> {
    entries: Box<[Entry<T>]>,
    pub newest: Newest,
    /// Bit `slot % 64` is set for every segment that an item refers to.
    slot_mask: u64,
    /// How many items SDKs get.
    served: usize,
    /// Bytes of these items, without commas.
    served_bytes: usize,
    /// Whether SDKs get every item, as the source's JSON.
    all_unmodified: bool,
    /// Whether no item before this chunk is served: its encoding then begins without a comma.
    leads: bool,
    encoded: OnceLock<Arc<[u8]>>,
}

impl<T: Item> Chunk<T> {
    fn new(entries: Vec<Entry<T>>, leads: bool) -> Self {
        let mut newest = Newest::NONE;
        let mut slot_mask = 0;
        let (mut served, mut served_bytes) = (0, 0);
        let mut all_unmodified = true;
        for entry in &entries {
            newest = newest.max(Newest::of(entry));
            slot_mask |= entry.data.slots().iter().fold(0, |mask, slot| mask | mask_of(*slot));
            all_unmodified &= matches!(entry.served, Served::Unmodified);
            if let Some(text) = entry.served_text() {
                served += 1;
                served_bytes += text.len();
            }
        }
        let entries = entries.into_boxed_slice();
        Self {
            entries,
            newest,
            slot_mask,
            served,
            served_bytes,
            all_unmodified,
            leads,
            encoded: OnceLock::new(),
        }
    }

    pub fn entries(&self) -> &[Entry<T>] {
        &self.entries
    }

    /// Whether an item may refer to one of the segments of `mask` (see [`mask_of`]).
    pub fn may_refer(&self, mask: u64) -> bool {
        self.slot_mask & mask != 0
    }

    /// What SDKs get of the items, joined by commas, with a comma before them unless the chunk leads. Built on first use;
    /// other threads that need it meanwhile wait for tens of microseconds.
    fn encoded(&self) -> &Arc<[u8]> {
        self.encoded.get_or_init(|| {
            let commas = self.served.saturating_sub(usize::from(self.leads));
            // Filled in place: a vector would be copied once more to become an `Arc`.
            let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, self.served_bytes + commas).collect();
            let mut rest = Arc::get_mut(&mut bytes).unwrap_or_default();
            self.pieces(|piece| {
                if let Some((to, after)) = std::mem::take(&mut rest).split_at_mut_checked(piece.len()) {
                    to.copy_from_slice(piece);
                    rest = after;
                }
            });
            bytes
        })
    }

    fn append(&self, out: &mut Vec<u8>) {
        self.pieces(|piece| out.extend_from_slice(piece));
    }

    fn pieces(&self, mut each: impl FnMut(&[u8])) {
        let mut leads = self.leads;
        for text in self.entries.iter().filter_map(Entry::served_text) {
            if !std::mem::take(&mut leads) {
                each(b",");
            }
            each(text.as_bytes());
        }
    }

    /// The source's JSON of all items, joined by commas.
    fn source_json(&self, leads: bool) -> Arc<[u8]> {
        if self.all_unmodified && self.leads == leads {
            return Arc::clone(self.encoded());
        }
        let mut bytes =
            Vec::with_capacity(self.entries.iter().map(|entry| entry.source().raw.len() + 1).sum());
        for (index, entry) in self.entries.iter().enumerate() {
            if index > 0 || !leads {
                bytes.push(b',');
            }
            bytes.extend_from_slice(entry.source().raw.as_bytes());
        }
        Arc::from(bytes)
    }
}

/// The bit of a segment in a chunk's mask.
pub(super) fn mask_of(slot: u32) -> u64 {
    1 << (slot % 64)
}

/// The position of an item in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Position {
    chunk: u32,
    index: u32,
}

/// The position of each item, by id. The writer keeps it until an item is added, removed or moved.
pub(super) type Positions = HashMap<Arc<str>, Position, foldhash::fast::RandomState>;

/// The items of an environment, in their order.
pub(super) struct Table<T> {
    chunks: Arc<[Arc<Chunk<T>>]>,
    len: usize,
    served: usize,
    served_bytes: usize,
    pub newest: Newest,
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self { chunks: Arc::clone(&self.chunks), ..*self }
    }
}

impl<T: Item> Table<T> {
    pub fn empty() -> Self {
        Self::of(Vec::new())
    }

    fn of(mut chunks: Vec<Arc<Chunk<T>>>) -> Self {
        // Whether a chunk leads depends on the chunks before it.
        let mut served = 0;
        for chunk in &mut chunks {
            if chunk.leads != (served == 0) {
                *chunk = Arc::new(Chunk::new(chunk.entries.to_vec(), served == 0));
            }
            served += chunk.served;
        }
        Self {
            len: chunks.iter().map(|chunk| chunk.entries.len()).sum(),
            served,
            served_bytes: chunks.iter().map(|chunk| chunk.served_bytes).sum(),
            newest: chunks.iter().fold(Newest::NONE, |newest, chunk| newest.max(chunk.newest)),
            chunks: chunks.into(),
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// How many items SDKs get.
    pub fn served(&self) -> usize {
        self.served
    }

    /// Bytes of what SDKs get of all items, joined by commas.
    pub fn encoded_bytes(&self) -> usize {
        self.served_bytes + self.served.saturating_sub(1)
    }

    pub fn chunks(&self) -> &[Arc<Chunk<T>>] {
        &self.chunks
    }

    pub fn entries(&self) -> impl Iterator<Item = &Entry<T>> {
        self.chunks.iter().flat_map(|chunk| chunk.entries.iter())
    }

    /// The positions of all entries, in their order.
    pub fn all_positions(&self) -> impl Iterator<Item = Position> {
        let chunks = self.chunks.iter().enumerate();
        chunks.flat_map(|(chunk, entries)| {
            (0..entries.entries.len()).map(move |index| Position { chunk: chunk as u32, index: index as u32 })
        })
    }

    pub fn get(&self, at: Position) -> Option<&Entry<T>> {
        self.chunks.get(at.chunk as usize)?.entries.get(at.index as usize)
    }

    /// Appends what SDKs get of all items, joined by commas.
    pub fn append(&self, out: &mut Vec<u8>) {
        self.chunks.iter().for_each(|chunk| chunk.append(out));
    }

    /// The same as runs of bytes, which the next table shares as far as nothing changed.
    pub fn append_runs(&self, runs: &mut Vec<Arc<[u8]>>) {
        runs.extend(self.chunks.iter().map(|chunk| Arc::clone(chunk.encoded())));
    }

    /// The source's JSON of all items as runs of bytes, shared with those for SDKs where both are the same.
    pub fn append_source_json(&self, runs: &mut Vec<Arc<[u8]>>) {
        runs.extend(self.chunks.iter().enumerate().map(|(index, chunk)| chunk.source_json(index == 0)));
    }

    /// The table with the entries at some positions replaced and others added at the end.
    pub fn with(&self, mut replaced: Vec<(Position, Entry<T>)>, added: Vec<Entry<T>>) -> Self {
        let mut chunks: Vec<Arc<Chunk<T>>> = self.chunks.to_vec();
        replaced.sort_by_key(|(at, _)| (at.chunk, at.index));
        let mut rest = replaced.into_iter().peekable();
        while let Some((at, _)) = rest.peek() {
            let of = at.chunk;
            let old = &self.chunks[of as usize];
            let mut entries = old.entries.to_vec();
            let mut same_text = true;
            while let Some((at, entry)) = rest.next_if(|(at, _)| at.chunk == of) {
                let before = &entries[at.index as usize];
                same_text &= Arc::ptr_eq(&before.data, &entry.data) && before.served.is(&entry.served);
                entries[at.index as usize] = entry;
            }
            let mut chunk = Chunk::new(entries, old.leads);
            if same_text {
                chunk.encoded = old.encoded.clone();
            }
            chunks[of as usize] = Arc::new(chunk);
        }
        let mut added = added.into_iter().peekable();
        if added.peek().is_some()
            && let Some(last) = chunks.pop_if(|chunk| chunk.entries.len() < CHUNK_ITEMS)
        {
            let mut entries = last.entries.to_vec();
            entries.extend(added.by_ref().take(CHUNK_ITEMS - last.entries.len()));
            chunks.push(Arc::new(Chunk::new(entries, last.leads)));
        }
        while added.peek().is_some() {
            let entries: Vec<_> = added.by_ref().take(CHUNK_ITEMS).collect();
            chunks.push(Arc::new(Chunk::new(entries, chunks.is_empty())));
        }
        Self::of(chunks)
    }

    /// The table with exactly `entries`. It shares each of this table's chunks whose items are still together: an added or
    /// removed item rebuilds its own chunk, not all chunks after it.
    pub fn arrange(&self, positions: &Positions, entries: &[Entry<T>]) -> Self {
        let mut chunks: Vec<Arc<Chunk<T>>> = Vec::with_capacity(entries.len() / CHUNK_ITEMS + 1);
        // `entries[loose..at]` are in no chunk yet.
        let (mut at, mut loose) = (0, 0);
        while at < entries.len() {
            let Some(old) = self.chunk_at(positions, &entries[at..]) else {
                at += 1;
                if at - loose == CHUNK_ITEMS {
                    Self::flush(&mut chunks, &entries[loose..at]);
                    loose = at;
                }
                continue;
            };
            Self::flush(&mut chunks, &entries[loose..at]);
            let run = &entries[at..at + old.entries.len()];
            let same = old.entries.iter().zip(run).all(|(old, new)| old.is(new));
            let chunk = if same { Arc::clone(old) } else { Arc::new(Chunk::new(run.to_vec(), old.leads)) };
            chunks.push(chunk);
            at += run.len();
            loose = at;
        }
        Self::flush(&mut chunks, &entries[loose..]);
        Self::of(chunks)
    }

    fn flush(chunks: &mut Vec<Arc<Chunk<T>>>, loose: &[Entry<T>]) {
        if !loose.is_empty() {
            chunks.push(Arc::new(Chunk::new(loose.to_vec(), chunks.is_empty())));
        }
    }

    /// The chunk of this table whose items, by id, are the first of `entries`. Small chunks are not reused unless they end the
    /// table, so that repeated insertions do not leave many small chunks.
    fn chunk_at(&self, positions: &Positions, entries: &[Entry<T>]) -> Option<&Arc<Chunk<T>>> {
        let at = positions.get(&entries.first()?.data.text().id).filter(|at| at.index == 0)?;
        let chunk = self.chunks.get(at.chunk as usize)?;
        let len = chunk.entries.len();
        let ends = at.chunk as usize + 1 == self.chunks.len() && len == entries.len();
        let run = entries.get(..len).filter(|_| ends || len >= CHUNK_ITEMS / 2)?;
        Self::same_items(&chunk.entries, run).then_some(chunk)
    }

    fn same_items(some: &[Entry<T>], others: &[Entry<T>]) -> bool {
        some.len() == others.len()
            && some.iter().zip(others).all(|(some, other)| {
                let (some, other) = (&some.data.text().id, &other.data.text().id);
                Arc::ptr_eq(some, other) || some == other
            })
    }

    /// The position of each item; `None` if all are as in `old`, the previous table.
    pub fn positions(&self, old: &Self) -> Option<Positions> {
        let stays = self.chunks.len() == old.chunks.len()
            && self
                .chunks
                .iter()
                .zip(old.chunks.iter())
                .all(|(new, old)| Arc::ptr_eq(new, old) || Self::same_items(&new.entries, &old.entries));
        if stays {
            return None;
        }
        let mut positions = Positions::with_capacity_and_hasher(self.len, Default::default());
        for (chunk, entries) in self.chunks.iter().enumerate() {
            for (index, entry) in entries.entries.iter().enumerate() {
                let at = Position { chunk: chunk as u32, index: index as u32 };
                positions.insert(Arc::clone(&entry.source().id), at);
            }
        }
        Some(positions)
    }

    /// The entries that `found` accepts, with their positions, in the chunks that `within` accepts.
    pub fn find<'a>(
        &'a self,
        within: impl Fn(&Chunk<T>) -> bool + 'a,
        found: impl Fn(&Entry<T>) -> bool + 'a,
    ) -> impl Iterator<Item = (Position, &'a Entry<T>)> {
        self.chunks
            .iter()
            .enumerate()
            .filter(move |(_, chunk)| within(chunk))
            .flat_map(move |(at, chunk)| {
                chunk
                    .entries
                    .iter()
                    .enumerate()
                    .map(move |(index, entry)| (Position { chunk: at as u32, index: index as u32 }, entry))
            })
            .filter(move |(_, entry)| found(entry))
    }

    /// What differs from `old`, an earlier table of the same environment. Costs only as much as the chunks that differ.
    pub fn difference<'a>(&'a self, old: &'a Self) -> Difference<'a, T> {
        let same = |(one, other): &(&Arc<Chunk<T>>, &Arc<Chunk<T>>)| Arc::ptr_eq(one, other);
        let before = self.chunks.iter().zip(old.chunks.iter()).take_while(same).count();
        let (new, old) = (&self.chunks[before..], &old.chunks[before..]);
        let behind = new.iter().rev().zip(old.iter().rev()).take_while(same).count();
        let entries = |chunks: &'a [Arc<Chunk<T>>]| {
            chunks[..chunks.len() - behind].iter().flat_map(|chunk| chunk.entries.iter())
        };
        let ids: HashMap<&str, &Entry<T>> = entries(old).map(|entry| (&*entry.source().id, entry)).collect();
        let mut put = Vec::new();
        let mut added = 0;
        let mut kept: HashSet<&str> = HashSet::with_capacity(ids.len());
        let mut kept_in_order = Vec::with_capacity(ids.len());
        for entry in entries(new) {
            let id = &*entry.source().id;
            match ids.get(id) {
                // Entries that stayed come before new ones.
                Some(_) if added > 0 => return Difference::Order,
                Some(old) => {
                    kept.insert(id);
                    kept_in_order.push(id);
                    if !entry.is(old) {
                        put.push(entry);
                    }
                }
                None => {
                    added += 1;
                    put.push(entry);
                }
            }
        }
        let stays = entries(old).map(|entry| &*entry.source().id).filter(|id| kept.contains(id));
        match stays.eq(kept_in_order) && (added == 0 || behind == 0) {
            true => Difference::Entries(put),
            false => Difference::Order,
        }
    }
}

/// How a table differs from an earlier one.
pub(super) enum Difference<'a, T> {
    /// Besides removed entries: those that replace the one with their id, or are new at the end.
    Entries(Vec<&'a Entry<T>>),
    /// The entries that stayed are in another order, or new ones are not at the end.
    Order,
}
