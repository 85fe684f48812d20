//! What server SDKs get: answers to `data-sync`, pushes, and bodies of polls.
//!
//! Must not know connections or HTTP. What many connections get is built once and shared.

use std::io::{IoSlice, Write};
use std::sync::Arc;

use super::cache::SyncPatch;
use super::environment::Environment;
use super::item::Item;
use super::outgoing_item::{OutgoingItem, TextKind, frames};
use super::patch_form::PatchForm;
use super::ring::Push;
use super::table::{Entry, Table};
use crate::payload::{Parts, Payload};
use crate::protocol::to_sdk::{
    EMPTY_PATCH_FRAME, SEGMENTS, SERVER_END, SERVER_FULL, SERVER_PATCH, server_full_len, server_patch_len,
};
use crate::wire::ws::frame::{MAX_HEADER_BYTES, append_text_header};

/// Up to this many bytes a full payload is one run of bytes, so that one system call sends it. A larger one is a list of
/// runs, shared with the full payloads before and after it.
const CONTIGUOUS_BYTES: usize = 64 * 1024;
/// Most one-item patches in a row; for more changes there is a full. It costs less, and beyond 100 patches the Go SDK's
/// queue overflows, so that it loses flags permanently. If most of the environment changed, every SDK gets a full.
const PATCHES_MAX: usize = 64;

/// Whether a payload replaces the SDK's data or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncKind {
    /// Replaces it.
    Full,
    /// Is added to it.
    Patch,
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
    /// Answers a `data-sync` of a server SDK that has everything up to `timestamp_ms`. 0 requests a full, a negative number a
    /// patch with all items. Appends whole WebSocket frames.
    pub fn server_sync(&self, timestamp_ms: i64, form: PatchForm, out: &mut Vec<Payload>) -> SyncKind {
        if self.server.needs_full(timestamp_ms) {
            return self.push_full(out);
        }
        if timestamp_ms >= self.newest_ms() {
            out.push(Payload::Static(EMPTY_PATCH_FRAME));
            return SyncKind::Patch;
        }
        let cached = self.cache.patch.load();
        if let Some(patch) =
            cached.as_ref().filter(|patch| (patch.timestamp_ms, patch.form) == (timestamp_ms, form))
        {
            out.push(Payload::Shared(Arc::clone(&patch.frames)));
            return SyncKind::Patch;
        }
        let frames = match form {
            PatchForm::Batch => self.patch(timestamp_ms, true),
            PatchForm::OnePerItem => match self.few_newer_than(timestamp_ms) {
                Some(newer) => frames(&newer, TextKind::Served),
                None => return self.push_full(out),
            },
        };
        let frames: Arc<[u8]> = Arc::from(frames);
        self.cache.patch.store(Some(Arc::new(SyncPatch { timestamp_ms, form, frames: Arc::clone(&frames) })));
        out.push(Payload::Shared(frames));
        SyncKind::Patch
    }

    /// The items newer than `timestamp_ms`, ascending. `None` if there are too many for one-item patches, or if two items have
    /// the same version, which can happen in the first data.
    fn few_newer_than(&self, timestamp_ms: i64) -> Option<Vec<OutgoingItem<'_>>> {
        let mut newer: Vec<_> = self.newer_than(timestamp_ms).take(PATCHES_MAX + 1).collect();
        newer.sort_by_key(|item| item.version_ms());
        let shared = newer.windows(2).any(|pair| pair[0].version_ms() == pair[1].version_ms());
        (newer.len() <= PATCHES_MAX && !shared).then_some(newer)
    }

    /// Brings a server SDK up to date from `from_sequence`; `None` if nothing changed for it. Appends whole WebSocket frames:
    /// patches with one item each, ascending by version, or a full.
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
        let mut messages = 0;
        for (_, push) in steps {
            let frames = match push {
                Push::Patches { frames, count, .. } => {
                    messages += count;
                    (form == PatchForm::Batch || messages <= PATCHES_MAX).then_some(frames)
                }
                Push::Full => None,
            };
            let Some(frames) = frames else {
                out.truncate(before);
                return Some(self.push_full(out));
            };
            if !frames.is_empty() {
                out.push(Payload::Shared(Arc::clone(frames)));
            }
        }
        Some(SyncKind::Patch)
    }

    /// As [`Self::server_since`], for changes that the ring no longer has.
    fn computed_since(&self, from_sequence: u64, form: PatchForm, out: &mut Vec<Payload>) -> SyncKind {
        let mut changed = self.changed_since(from_sequence, |item| item.is_served());
        let items = self.flags.served() + self.segments.served();
        if changed.len() * 2 > items || form == PatchForm::OnePerItem && changed.len() > PATCHES_MAX {
            return self.push_full(out);
        }
        changed.sort_by_key(|item| item.version_ms());
        out.push(Payload::private(frames(&changed, TextKind::Served)));
        SyncKind::Patch
    }

    /// Flags, then segments, that changed after the publish `from_sequence` and that `wanted` accepts.
    pub(super) fn changed_since(
        &self,
        from_sequence: u64,
        wanted: impl Fn(OutgoingItem<'_>) -> bool,
    ) -> Vec<OutgoingItem<'_>> {
        fn of<T: Item>(table: &Table<T>, from_sequence: u64) -> impl Iterator<Item = &Entry<T>> {
            let chunks = table.chunks().iter().filter(move |chunk| chunk.newest.sequence > from_sequence);
            chunks.flat_map(|chunk| chunk.entries()).filter(move |entry| entry.sequence > from_sequence)
        }
        let flags = of(&self.flags, from_sequence).map(OutgoingItem::Flag);
        let segments = of(&self.segments, from_sequence).map(OutgoingItem::Segment);
        flags.chain(segments).filter(|item| wanted(*item)).collect()
    }

    /// Answers a poll of a server SDK that has everything up to `timestamp_ms`. A full is sent even if it has no items.
    pub fn server_poll(&self, timestamp_ms: i64) -> Poll {
        if self.server.needs_full(timestamp_ms) {
            return Poll::Body(self.full_body().clone());
        }
        if timestamp_ms >= self.newest_ms() {
            return Poll::Empty;
        }
        Poll::Body(Payload::private(self.patch(timestamp_ms, false)))
    }

    /// The highest version of the items that server SDKs get.
    fn newest_ms(&self) -> i64 {
        self.flags.newest.version_ms.max(self.segments.newest.version_ms)
    }

    /// Whether [`Self::server_poll`] answers `timestamp_ms` with the full payload, of which
    /// [`Self::poll_full_gzip`] may hold a compressed form.
    pub fn polls_full(&self, timestamp_ms: i64) -> bool {
        self.server.needs_full(timestamp_ms)
    }

    /// The full payload of polls, compressed with gzip; `None` if it has not been built yet.
    pub fn poll_full_gzip(&self) -> Option<&Payload> {
        self.cache.full_gzip.get()
    }

    /// Compresses the full payload of polls, if that has not been done. Slow: not for reactors.
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

    /// Builds the full payload of streams, if that has not been done, so that no reactor has to: it takes milliseconds for ten
    /// thousand flags. The writer does so for every environment whose previous full payload was used.
    pub fn build_full(&self) {
        self.full_frame();
    }

    /// The full payload as a WebSocket frame; built on first use.
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
        let len = server_full_len(self.flags.encoded_bytes() + self.segments.encoded_bytes());
        let mut bytes = Vec::with_capacity(
            if len > CONTIGUOUS_BYTES { SERVER_FULL.len() } else { len } + MAX_HEADER_BYTES,
        );
        if framed {
            append_text_header(len, &mut bytes);
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
    fn newer_than(&self, timestamp_ms: i64) -> impl Iterator<Item = OutgoingItem<'_>> {
        let flags = newer(&self.flags, timestamp_ms).map(OutgoingItem::Flag);
        flags.chain(newer(&self.segments, timestamp_ms).map(OutgoingItem::Segment))
    }

    /// One patch with all items newer than `timestamp_ms`.
    fn patch(&self, timestamp_ms: i64, framed: bool) -> Vec<u8> {
        let mut flags = Vec::new();
        let mut segments = Vec::new();
        for item in self.newer_than(timestamp_ms) {
            let into = match item {
                OutgoingItem::Flag(_) => &mut flags,
                OutgoingItem::Segment(_) => &mut segments,
            };
            if !into.is_empty() {
                into.push(b',');
            }
            into.extend_from_slice(item.text(TextKind::Served).unwrap_or_default().as_bytes());
        }
        let len = server_patch_len(flags.len() + segments.len());
        let mut out = Vec::with_capacity(len + MAX_HEADER_BYTES);
        if framed {
            append_text_header(len, &mut out);
        }
        for part in [SERVER_PATCH.as_bytes(), &flags, SEGMENTS.as_bytes(), &segments, SERVER_END.as_bytes()] {
            out.extend_from_slice(part);
        }
        out
    }
}

fn newer<T: Item>(table: &Table<T>, timestamp_ms: i64) -> impl Iterator<Item = &Entry<T>> {
    let chunks = table.chunks().iter().filter(move |chunk| chunk.newest.version_ms > timestamp_ms);
    let entries = chunks.flat_map(|chunk| chunk.entries());
    entries.filter(move |entry| entry.version_ms > timestamp_ms && entry.is_served())
}

/// What the server SDKs of `environment` are pushed: the items that changed after the publish `from_sequence`, one by one,
/// or a full if they are most of the environment.
pub(super) fn push_of(environment: &Environment, from_sequence: u64) -> Push {
    let all = environment.changed_since(from_sequence, |_| true);
    let suits_relays = all.iter().all(|item| item.is_served_unmodified());
    let mut served: Vec<_> = all.into_iter().filter(|item| item.is_served()).collect();
    let items = environment.flags.served() + environment.segments.served();
    if served.len() > PATCHES_MAX && served.len() * 2 > items {
        return Push::Full;
    }
    served.sort_by_key(|item| item.version_ms());
    let frames = Arc::from(frames(&served, TextKind::Served));
    Push::Patches { frames, count: served.len(), suits_relays }
}
