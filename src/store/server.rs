//! What server SDKs get: answers to `data-sync`, pushes, and bodies of polls.
//!
//! Must not know connections or HTTP. What is the same for many of them is made once and shared.

use std::io::{IoSlice, Write};
use std::sync::Arc;

use super::environment::{Environment, SyncPatch};
use super::item::Item;
use super::message::{
    Changed, EMPTY_PATCH_FRAME, SEGMENTS, SERVER_END, SERVER_FULL, SERVER_PATCH, append_header, frames,
    sort_by_version,
};
use super::ring::Push;
use super::table::Table;
use crate::payload::{Parts, Payload};
use crate::protocol::sdk::Sdk;
use crate::wire::ws::frame::MAX_HEADER_BYTES;

/// Up to this size a full payload is one run of bytes, so that it goes out in one system call; beyond it
/// is a list of runs that it shares with the full payloads before and after it.
const CONTIGUOUS_BYTES: usize = 64 * 1024;
/// One-item patches that answer a `data-sync` at most; a full is taken in as well and costs less.
const SYNC_PATCHES: usize = 64;
/// Up to this many changed items are pushed one by one even if they are most of the environment.
const PUSH_PATCHES: usize = 64;

/// Whether a payload replaces what the SDK has or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncKind {
    /// Replaces it.
    Full,
    /// Is added to it.
    Patch,
}

/// What an SDK takes in of patches, which decides how they are cut into messages and what goes as a full instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchForm {
    /// Whatever is newer than what it has of the same item. A `data-sync` is answered by one message with all items,
    /// in the environment's order, as FeatBit does it.
    Batch,
    /// One item a message, ascending by `updatedAt` (Python). Before 1.2 it loses an item that is not newer than
    /// all it has, and does not say which version it is.
    OnePerItem,
    /// The same, and an item that is not newer than all it has makes it close the connection and come back (Java, Go).
    Strict,
}

impl PatchForm {
    /// What an SDK takes in.
    pub fn of(sdk: Sdk) -> Self {
        match sdk {
            Sdk::Java | Sdk::Go => Self::Strict,
            Sdk::Python => Self::OnePerItem,
            Sdk::Ruby | Sdk::Android | Sdk::Other => Self::Batch,
        }
    }
}

/// The answer to a poll of a server SDK.
#[derive(Clone, Debug)]
pub enum Poll {
    /// Nothing is newer: an empty body.
    Empty,
    /// A `data-sync` message.
    Body(Payload),
}

impl Environment {
    /// Answers a `data-sync` of a server SDK that has everything up to `timestamp_ms`: 0 asks for all, a
    /// negative one for a patch with all. Appends whole WebSocket frames.
    pub fn server_sync(&self, timestamp_ms: i64, form: PatchForm, out: &mut Vec<Payload>) -> SyncKind {
        if self.server.needs_full(timestamp_ms) {
            return self.push_full(out);
        }
        if timestamp_ms >= self.newest_ms() {
            out.push(Payload::Static(EMPTY_PATCH_FRAME));
            return SyncKind::Patch;
        }
        // What is newer than all it has can be taken in by the strict too.
        let form = if form == PatchForm::Batch { form } else { PatchForm::OnePerItem };
        let cached = self.cache.patch.load();
        if let Some(patch) =
            cached.as_ref().filter(|patch| (patch.timestamp_ms, patch.form) == (timestamp_ms, form))
        {
            out.push(Payload::Shared(Arc::clone(&patch.frames)));
            return SyncKind::Patch;
        }
        let frames = match form {
            PatchForm::Batch => self.patch(timestamp_ms, true),
            PatchForm::OnePerItem | PatchForm::Strict => match self.few_newer_than(timestamp_ms) {
                Some(newer) => frames(&newer),
                None => return self.push_full(out),
            },
        };
        let frames: Arc<[u8]> = Arc::from(frames);
        self.cache.patch.store(Some(Arc::new(SyncPatch { timestamp_ms, form, frames: Arc::clone(&frames) })));
        out.push(Payload::Shared(frames));
        SyncKind::Patch
    }

    /// What is newer than `timestamp_ms`, ascending; `None` if that is too much for one-item patches, or two
    /// items share a millisecond.
    fn few_newer_than(&self, timestamp_ms: i64) -> Option<Vec<Changed<'_>>> {
        let mut newer: Vec<_> = self.newer_than(timestamp_ms).take(SYNC_PATCHES + 1).collect();
        let shared = sort_by_version(&mut newer);
        (newer.len() <= SYNC_PATCHES && !shared).then_some(newer)
    }

    /// Brings a server SDK from `from_sequence` to now; `None` if nothing changed for it. Appends whole
    /// WebSocket frames, one item a patch, ascending by `updatedAt` within a change.
    pub fn server_since(
        &self,
        from_sequence: u64,
        form: PatchForm,
        out: &mut Vec<Payload>,
    ) -> Option<SyncKind> {
        if from_sequence >= self.server.changed {
            return None;
        }
        if self.server.removed > from_sequence {
            return Some(self.push_full(out));
        }
        let Some(steps) = self.ring.since(from_sequence) else {
            return Some(self.computed_since(from_sequence, form, out));
        };
        let before = out.len();
        for (_, push) in steps {
            let frames = match push {
                Push::Patches(frames) => Some(frames),
                Push::Late(frames) => (form != PatchForm::Strict).then_some(frames),
                Push::CatchUp(frames) => (form == PatchForm::Batch).then_some(frames),
                Push::Full => None,
            };
            let Some(frames) = frames else {
                out.truncate(before);
                return Some(self.push_full(out));
            };
            out.push(Payload::Shared(Arc::clone(frames)));
        }
        Some(SyncKind::Patch)
    }

    /// For who was left behind further than the ring reaches.
    fn computed_since(&self, from_sequence: u64, form: PatchForm, out: &mut Vec<Payload>) -> SyncKind {
        let needs_full = match form {
            PatchForm::Batch => false,
            PatchForm::OnePerItem => self.lateness.caught_up > from_sequence,
            PatchForm::Strict => self.lateness.caught_up.max(self.lateness.late) > from_sequence,
        };
        if needs_full {
            return self.push_full(out);
        }
        let mut unchanged_ms = i64::MIN;
        let mut changed = Vec::new();
        fn gather<'a, T: Item>(
            table: &'a Table<T>,
            from_sequence: u64,
            unchanged_ms: &mut i64,
            mut changed: impl FnMut(&'a T),
        ) {
            for chunk in table.chunks() {
                if chunk.newest.sequence <= from_sequence {
                    *unchanged_ms = chunk.newest.updated_at_ms.max(*unchanged_ms);
                    continue;
                }
                for entry in chunk.entries() {
                    if entry.sequence > from_sequence {
                        changed(&entry.data);
                    } else {
                        *unchanged_ms = entry.data.text().updated_at_ms.max(*unchanged_ms);
                    }
                }
            }
        }
        gather(&self.flags, from_sequence, &mut unchanged_ms, |flag| changed.push(Changed::Flag(flag)));
        gather(&self.segments, from_sequence, &mut unchanged_ms, |segment| {
            changed.push(Changed::Segment(segment));
        });
        let shared = sort_by_version(&mut changed);
        let items = self.flags.len() + self.segments.len();
        if changed.len() * 2 > items || shared && self.newest_ms() > unchanged_ms {
            return self.push_full(out);
        }
        out.push(Payload::private(frames(&changed)));
        SyncKind::Patch
    }

    /// Answers a poll of a server SDK that has everything up to `timestamp_ms`. A full is always sent,
    /// also when it holds nothing.
    pub fn server_poll(&self, timestamp_ms: i64) -> Poll {
        if self.server.needs_full(timestamp_ms) {
            return Poll::Body(self.full_body().clone());
        }
        if timestamp_ms >= self.newest_ms() {
            return Poll::Empty;
        }
        Poll::Body(Payload::private(self.patch(timestamp_ms, false)))
    }

    /// The highest `updatedAt` among what it holds.
    fn newest_ms(&self) -> i64 {
        self.flags.newest.updated_at_ms.max(self.segments.newest.updated_at_ms)
    }

    /// Whether [`Self::server_poll`] answers `timestamp_ms` with the full payload, of which
    /// [`Self::poll_full_gzip`] may hold a compressed form.
    pub fn polls_full(&self, timestamp_ms: i64) -> bool {
        self.server.needs_full(timestamp_ms)
    }

    /// The full payload of polls, compressed with gzip, if that has been made already.
    pub fn poll_full_gzip(&self) -> Option<&Payload> {
        self.cache.full_gzip.get()
    }

    /// Compresses the full payload of polls, if it is not yet. Takes its time: not for reactors.
    pub fn build_gzip(&self) {
        if self.cache.full_gzip.get().is_some() {
            return;
        }
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        let (body, mut at) = (self.full_body(), 0);
        loop {
            let mut slices = [IoSlice::new(&[]); 64];
            let filled = body.slices(at, &mut slices);
            if filled == 0 {
                break;
            }
            for slice in &slices[..filled] {
                if encoder.write_all(slice).is_err() {
                    return;
                }
                at += slice.len();
            }
        }
        if let Ok(bytes) = encoder.finish() {
            self.cache.full_gzip.get_or_init(|| Payload::Shared(Arc::from(bytes)));
        }
    }

    /// Makes the full payload of streams, if it is not yet, so that no reactor has to: that takes milliseconds
    /// for ten thousand flags. The writer does it by itself for an environment whose last one was asked for.
    pub fn build_full(&self) {
        self.full_frame();
    }

    /// The full payload as a WebSocket frame; made when first asked for.
    pub(super) fn full_frame(&self) -> &Payload {
        self.cache.full_frame.get_or_init(|| self.full(true))
    }

    fn full_body(&self) -> &Payload {
        self.cache.full_body.get_or_init(|| self.full(false))
    }

    fn push_full(&self, out: &mut Vec<Payload>) -> SyncKind {
        out.push(self.full_frame().clone());
        SyncKind::Full
    }

    fn full(&self, framed: bool) -> Payload {
        let around = SERVER_FULL.len() + SEGMENTS.len() + SERVER_END.len();
        let len = around + self.flags.encoded_bytes() + self.segments.encoded_bytes();
        let mut bytes =
            Vec::with_capacity(if len > CONTIGUOUS_BYTES { around } else { len } + MAX_HEADER_BYTES);
        if framed {
            append_header(len, &mut bytes);
        }
        bytes.extend_from_slice(SERVER_FULL.as_bytes());
        if len <= CONTIGUOUS_BYTES {
            self.flags.append(&mut bytes);
            bytes.extend_from_slice(SEGMENTS.as_bytes());
            self.segments.append(&mut bytes);
            bytes.extend_from_slice(SERVER_END.as_bytes());
            return Payload::Shared(Arc::from(bytes));
        }
        let mut runs = vec![Arc::from(bytes)];
        self.flags.append_runs(&mut runs);
        runs.push(Arc::from(SEGMENTS.as_bytes()));
        self.segments.append_runs(&mut runs);
        runs.push(Arc::from(SERVER_END.as_bytes()));
        Payload::Parts(Arc::new(Parts::new(runs)))
    }

    /// Flags, then segments, that are newer than `timestamp_ms`, each in the environment's order.
    pub(super) fn newer_than(&self, timestamp_ms: i64) -> impl Iterator<Item = Changed<'_>> {
        let flags = newer(&self.flags, timestamp_ms).map(Changed::Flag);
        flags.chain(newer(&self.segments, timestamp_ms).map(Changed::Segment))
    }

    /// One patch with all that is newer than `timestamp_ms`.
    fn patch(&self, timestamp_ms: i64, framed: bool) -> Vec<u8> {
        let mut flags = Vec::new();
        let mut segments = Vec::new();
        for item in self.newer_than(timestamp_ms) {
            let (raw, into) = match item {
                Changed::Flag(flag) => (&flag.text.raw, &mut flags),
                Changed::Segment(segment) => (&segment.text.raw, &mut segments),
            };
            if !into.is_empty() {
                into.push(b',');
            }
            into.extend_from_slice(raw.as_bytes());
        }
        let len = SERVER_PATCH.len() + flags.len() + SEGMENTS.len() + segments.len() + SERVER_END.len();
        let mut out = Vec::with_capacity(len + MAX_HEADER_BYTES);
        if framed {
            append_header(len, &mut out);
        }
        for part in [SERVER_PATCH.as_bytes(), &flags, SEGMENTS.as_bytes(), &segments, SERVER_END.as_bytes()] {
            out.extend_from_slice(part);
        }
        out
    }
}

fn newer<T: Item>(table: &Table<T>, timestamp_ms: i64) -> impl Iterator<Item = &T> {
    let chunks = table.chunks().iter().filter(move |chunk| chunk.newest.updated_at_ms > timestamp_ms);
    let entries = chunks.flat_map(|chunk| chunk.entries());
    entries.map(|entry| &*entry.data).filter(move |item| item.text().updated_at_ms > timestamp_ms)
}

/// What a change at `sequence` means to the server SDKs of `environment`, which has it already: its changed items
/// one by one, or a full where that is what every SDK takes in.
pub(super) fn push_of(environment: &Environment, mut changed: Vec<Changed<'_>>, sequence: u64) -> Push {
    let shared = sort_by_version(&mut changed);
    if environment.lateness.late == sequence {
        return Push::Late(Arc::from(frames(&changed)));
    }
    let items = environment.flags.len() + environment.segments.len();
    let most = changed.len() > PUSH_PATCHES && changed.len() * 2 > items;
    if shared || most {
        return Push::Full;
    }
    let frames = Arc::from(frames(&changed));
    if environment.lateness.caught_up == sequence { Push::CatchUp(frames) } else { Push::Patches(frames) }
}
