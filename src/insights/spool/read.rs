//! Gives out the first events of a stream.
//!
//! Must not move on from what is not confirmed, but for what cannot be read.

use std::collections::VecDeque;
use std::io;

use super::super::events::Batch;
use super::super::queue::{PeekLimits, Portion, StreamKey};
use super::Spool;
use super::backlog::Piece;
use super::index::Window;
use super::record::Position;

/// A portion that is being put together.
struct Reading {
    key: StreamKey,
    limits: PeekLimits,
    portion: Portion,
    pieces: VecDeque<Piece>,
    window: Window,
}

impl Reading {
    /// Adds what fits of the events of a batch from the one at `from` on. Returns whether that was all.
    fn add(&mut self, batch: Batch, first: u32, from: Position) -> bool {
        let skip = from.events.saturating_sub(first);
        let bytes = batch.events.text().len() as u64;
        let batch = match skip {
            0 => batch,
            skip => Batch { events: batch.events.split_at(skip as usize).1, ..batch },
        };
        let (wanted, received_ms) = (batch.events.len(), batch.received_ms);
        let added = self.portion.add(batch, &self.limits);
        if added > 0 {
            let end = from.events + added as u32;
            let bytes = if added == wanted { bytes } else { 0 };
            self.pieces.push_back(Piece {
                segment: from.segment,
                first: from.events,
                end,
                bytes,
                received_ms,
            });
        }
        added == wanted
    }

    fn is_full(&self) -> bool {
        self.portion.events >= self.limits.events.max(1) || self.portion.bytes >= self.limits.bytes.max(1)
    }
}

impl Spool {
    /// As [`super::super::queue::Queue::peek`].
    pub(super) fn read_portion(&mut self, key: StreamKey, limits: PeekLimits) -> io::Result<Option<Portion>> {
        let (portion, pieces) = (Portion::default(), VecDeque::new());
        let mut reading = Reading { key, limits, portion, pieces, window: Window::default() };
        let mut segment = None;
        while let Some(next) = self.backlog.next(key, segment) {
            segment = Some(next.segment);
            match self.read_segment(&mut reading, next) {
                Ok(true) => {}
                Ok(false) => break,
                // What comes before that is good.
                Err(_) if reading.portion.events > 0 => break,
                Err(error) => return Err(error),
            }
        }
        let Reading { portion, pieces, .. } = reading;
        self.backlog.give(key, pieces);
        self.collect();
        Ok(Some(portion).filter(|portion| portion.events > 0))
    }

    /// Adds the events of one segment. Returns whether to go on with the next one.
    fn read_segment(&mut self, reading: &mut Reading, from: Position) -> io::Result<bool> {
        let Position { segment: number, events: mut event } = from;
        let all = self.backlog.events_in(number, reading.key);
        let records_end = self.backlog.segments.get(&number).map_or(0, |segment| segment.records_end);
        self.indexes.load(&self.files, number, records_end)?;
        while event < all {
            if reading.is_full() {
                return Ok(false);
            }
            let entry = self.indexes.entry(number, reading.key, event).filter(|entry| entry.first < all);
            let batch = match entry.filter(|entry| entry.first <= event) {
                Some(entry) => self.indexes.read(number, reading.key, entry, &mut reading.window)?,
                None => None,
            };
            match (batch, entry) {
                (Some(batch), Some(entry)) => {
                    let from = Position { segment: number, events: event };
                    if !reading.add(batch, entry.first, from) {
                        return Ok(false);
                    }
                    event = entry.end;
                }
                // What was given out before has to be confirmed first.
                _ if reading.portion.events > 0 => return Ok(false),
                (_, entry) => {
                    event = match entry {
                        None => all,
                        Some(entry) if entry.first > event => entry.first,
                        Some(entry) => entry.end.min(all),
                    };
                    self.backlog.lose(reading.key, Position { segment: number, events: event });
                }
            }
        }
        Ok(true)
    }
}
