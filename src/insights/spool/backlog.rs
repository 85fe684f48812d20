//! What waits in which segment: counts a segment and stream, never a thing for each event or batch.
//!
//! Must not touch a file. That is what keeps the memory of a full spool small.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};

use super::super::queue::{Expired, ExpiredReason, StreamKey, StreamStatus};
use super::record::{BatchHead, Position};

/// What a segment has of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    /// All events, finished or not.
    pub(super) events: u32,
    /// The bytes of the texts of the batches that are not finished.
    pub(super) bytes: u64,
    /// When the first of those came, or one that is finished.
    pub(super) oldest_ms: i64,
}

/// What is known of a segment.
#[derive(Clone, Debug, Default)]
pub(super) struct Segment {
    /// Where its last record ends.
    pub(super) records_end: u64,
    /// The length of the file, with what is allocated in advance.
    pub(super) file_bytes: u64,
    pub(super) shares: HashMap<StreamKey, Share>,
    /// The events that are not finished.
    pub(super) unfinished: u64,
    /// When its first and its last event came.
    pub(super) first_ms: Option<i64>,
    pub(super) last_ms: i64,
    pub(super) is_damaged: bool,
}

/// A part of a batch that was given out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) segment: u64,
    /// The first event and the one behind the last, counted within the stream and segment.
    pub(super) first: u32,
    pub(super) end: u32,
    /// The bytes of the batch's texts if this is the end of it, or else 0.
    pub(super) bytes: u64,
    pub(super) received_ms: i64,
}

#[derive(Debug, Default)]
struct Stream {
    finished: Position,
    /// What was last noted on the disk, and in which segment.
    noted: Position,
    noted_in: u64,
    events: u64,
    bytes: u64,
    given: VecDeque<Piece>,
}

/// The counts of all segments and streams.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    pub(super) segments: BTreeMap<u64, Segment>,
    streams: BTreeMap<StreamKey, Stream>,
    /// Streams of which more is finished than is noted, or whose notes will be removed.
    to_note: BTreeSet<StreamKey>,
    /// The latter of those.
    to_note_again: BTreeSet<StreamKey>,
    expired: Vec<Expired>,
}

impl Segment {
    /// Counts a batch. `finished`: how many events of its stream are finished in this segment.
    pub(super) fn count(&mut self, head: &BatchHead, finished: u32) {
        let share = self.shares.entry(head.stream).or_default();
        if share.bytes == 0 {
            share.oldest_ms = head.received_ms;
        }
        share.events = share.events.max(head.end());
        if head.end() > finished {
            share.bytes += head.bytes;
        }
        self.first_ms.get_or_insert(head.received_ms);
        self.last_ms = self.last_ms.max(head.received_ms);
    }
}

impl Backlog {
    /// Counts a batch that was appended to a segment.
    pub(super) fn add(&mut self, number: u64, head: &BatchHead) {
        let Some(segment) = self.segments.get_mut(&number) else { return };
        segment.count(head, 0);
        segment.unfinished += u64::from(head.events);
        let stream = self.streams.entry(head.stream).or_default();
        stream.events += u64::from(head.events);
        stream.bytes += head.bytes;
    }

    /// Takes a segment that was found on the disk. `finished`: what is finished of each stream, and where that is noted.
    pub(super) fn restore(
        &mut self,
        number: u64,
        mut segment: Segment,
        finished: &HashMap<StreamKey, (Position, u64)>,
    ) {
        for (key, share) in &mut segment.shares {
            let (position, noted_in) = finished.get(key).copied().unwrap_or_default();
            let rest = remaining(share, number, position);
            share.bytes = if rest == 0 { 0 } else { share.bytes };
            segment.unfinished += u64::from(rest);
            let stream = self.streams.entry(*key).or_default();
            (stream.finished, stream.noted, stream.noted_in) = (position, position, noted_in);
            stream.events += u64::from(rest);
            stream.bytes += share.bytes;
        }
        self.segments.insert(number, segment);
    }

    /// How many events of a stream a segment has.
    pub(super) fn events_in(&self, number: u64, key: StreamKey) -> u32 {
        let share = self.segments.get(&number).and_then(|segment| segment.shares.get(&key));
        share.map_or(0, |share| share.events)
    }

    /// Where the first unfinished event of a stream is, in `after` or a later segment.
    pub(super) fn next(&self, key: StreamKey, after: Option<u64>) -> Option<Position> {
        let stream = self.streams.get(&key).filter(|stream| stream.events > 0)?;
        let range = match after {
            Some(after) => self.segments.range((Excluded(after), Unbounded)),
            None => self.segments.range(stream.finished.segment..),
        };
        for (&number, segment) in range {
            let Some(share) = segment.shares.get(&key) else { continue };
            let rest = remaining(share, number, stream.finished);
            if rest > 0 {
                return Some(Position { segment: number, events: share.events - rest });
            }
        }
        None
    }

    /// Notes what a peek has given out.
    pub(super) fn give(&mut self, key: StreamKey, pieces: VecDeque<Piece>) {
        if let Some(stream) = self.streams.get_mut(&key) {
            stream.given = pieces;
        }
    }

    /// The first `events` events that were given out are finished.
    pub(super) fn confirm(&mut self, key: StreamKey, events: usize) {
        let mut left = u32::try_from(events).unwrap_or(u32::MAX);
        while left > 0 {
            let Some(stream) = self.streams.get_mut(&key) else { return };
            let Some(mut piece) = stream.given.pop_front() else { return };
            let count = left.min(piece.end - piece.first);
            left -= count;
            let is_whole = piece.first + count == piece.end;
            piece.first += count;
            if !is_whole {
                stream.given.push_front(piece);
            }
            let bytes = if is_whole { piece.bytes } else { 0 };
            self.advance(key, Position { segment: piece.segment, events: piece.first }, bytes);
            let share = self.segments.get_mut(&piece.segment).and_then(|found| found.shares.get_mut(&key));
            if let Some(share) = share {
                share.oldest_ms = share.oldest_ms.max(piece.received_ms);
            }
        }
    }

    /// The events of a stream up to here cannot be read. They come next.
    pub(super) fn lose(&mut self, key: StreamKey, until: Position) {
        let Some(from) = self.next(key, None).filter(|from| from.segment == until.segment) else { return };
        let events = until.events.saturating_sub(from.events);
        let Some(segment) = self.segments.get_mut(&until.segment) else { return };
        if !std::mem::replace(&mut segment.is_damaged, true) {
            tracing::error!(
                segment = until.segment,
                "a segment of the spool of usage events is damaged; what can be read of it is sent. Check the disk"
            );
        }
        let Some(share) = segment.shares.get(&key).filter(|_| events > 0) else { return };
        // Which batches these were is not known any more.
        let rest = u64::from(share.events.saturating_sub(from.events)).max(1);
        let bytes = (u128::from(share.bytes) * u128::from(events) / u128::from(rest)) as u64;
        self.advance(key, until, bytes);
        let reason = ExpiredReason::Damaged;
        self.expired.push(Expired { stream: key, events: u64::from(events), bytes, reason });
    }

    /// The stream is finished up to here, of which `bytes` bytes of whole batches.
    fn advance(&mut self, key: StreamKey, to: Position, bytes: u64) {
        let (Some(stream), Some(segment)) = (self.streams.get_mut(&key), self.segments.get_mut(&to.segment))
        else {
            return;
        };
        let Some(share) = segment.shares.get_mut(&key) else { return };
        let before = remaining(share, to.segment, stream.finished);
        if to <= stream.finished || before == 0 {
            return;
        }
        stream.finished = to;
        let rest = remaining(share, to.segment, to);
        let bytes = if rest == 0 { share.bytes } else { bytes.min(share.bytes) };
        share.bytes -= bytes;
        stream.bytes = stream.bytes.saturating_sub(bytes);
        let events = u64::from(before - rest);
        stream.events = stream.events.saturating_sub(events);
        segment.unfinished = segment.unfinished.saturating_sub(events);
        self.to_note.insert(key);
    }

    /// What is unfinished in this segment is dropped. All segments before it are finished.
    pub(super) fn drop_segment(&mut self, number: u64, reason: ExpiredReason) {
        let Some(segment) = self.segments.get(&number) else { return };
        let mut shares: Vec<(StreamKey, Share)> =
            segment.shares.iter().map(|(&key, &share)| (key, share)).collect();
        shares.sort_unstable_by_key(|&(key, _)| key);
        for (key, share) in shares {
            let finished = self.streams.get(&key).map_or(Position::default(), |stream| stream.finished);
            let events = u64::from(remaining(&share, number, finished));
            if events > 0 {
                self.advance(key, Position { segment: number, events: share.events }, share.bytes);
                self.expired.push(Expired { stream: key, events, bytes: share.bytes, reason });
            }
        }
    }

    /// What was dropped since the last call.
    pub(super) fn take_expired(&mut self) -> Vec<Expired> {
        std::mem::take(&mut self.expired)
    }

    /// What must be noted on the disk: what is finished in files that are still there.
    pub(super) fn notes(&mut self) -> Vec<(StreamKey, Position)> {
        let mut notes = Vec::new();
        for key in std::mem::take(&mut self.to_note) {
            let Some(stream) = self.streams.get(&key) else { continue };
            let is_new = stream.finished != stream.noted || self.to_note_again.contains(&key);
            if is_new && self.has_records(key, stream.finished.segment, 0) {
                notes.push((key, stream.finished));
                self.to_note.insert(key);
            }
        }
        notes
    }

    /// These are on the disk now.
    pub(super) fn noted(&mut self, notes: &[(StreamKey, Position)], number: u64) {
        for (key, position) in notes {
            self.to_note.remove(key);
            self.to_note_again.remove(key);
            if let Some(stream) = self.streams.get_mut(key) {
                (stream.noted, stream.noted_in) = (*position, number);
            }
        }
    }

    /// Whether nothing is lost with this segment, which is finished. If not, that changes with the next notes: what is
    /// noted in it is noted again, and what is finished of its streams in segments before it is noted first.
    pub(super) fn may_remove(&mut self, number: u64) -> bool {
        let is_noted = |key: &StreamKey| {
            let is_noted = self.streams.get(key).is_none_or(|stream| stream.finished == stream.noted);
            is_noted || !self.has_records(*key, number.saturating_sub(1), number)
        };
        if self.segments.get(&number).is_some_and(|segment| !segment.shares.keys().all(is_noted)) {
            return false;
        }
        let needed = |(key, stream): &(&StreamKey, &Stream)| {
            stream.noted_in == number && self.has_records(**key, stream.noted.segment, number)
        };
        let keys: Vec<StreamKey> = self.streams.iter().filter(needed).map(|(&key, _)| key).collect();
        self.to_note.extend(&keys);
        self.to_note_again.extend(&keys);
        keys.is_empty()
    }

    /// Whether a segment up to `until`, other than `without`, has records of this stream.
    fn has_records(&self, key: StreamKey, until: u64, without: u64) -> bool {
        let mut range = self.segments.range(..=until);
        range.any(|(&number, segment)| number != without && segment.shares.contains_key(&key))
    }

    /// Forgets a segment whose file is gone, and the streams that only it had.
    pub(super) fn forget(&mut self, number: u64) {
        let Some(segment) = self.segments.remove(&number) else { return };
        for key in segment.shares.keys() {
            if !self.has_records(*key, u64::MAX, 0) {
                self.streams.remove(key);
                self.to_note.remove(key);
                self.to_note_again.remove(key);
            }
        }
    }

    /// The streams in which events wait.
    pub(super) fn streams(&self) -> Vec<StreamStatus> {
        let waiting = self.streams.iter().filter(|(_, stream)| stream.events > 0);
        let status = |(&key, stream): (&StreamKey, &Stream)| {
            let oldest =
                self.next(key, None).and_then(|next| self.segments.get(&next.segment)?.shares.get(&key));
            let oldest_ms = oldest.map_or(0, |share| share.oldest_ms);
            StreamStatus { key, events: stream.events, bytes: stream.bytes, oldest_ms }
        };
        waiting.map(status).collect()
    }
}

/// How many events of a share are not finished.
fn remaining(share: &Share, number: u64, finished: Position) -> u32 {
    match number.cmp(&finished.segment) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => share.events.saturating_sub(finished.events),
        std::cmp::Ordering::Greater => share.events,
    }
}
