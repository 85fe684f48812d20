//! The queue in memory: bounded by bytes, gone with the process.
//!
//! Must not drop an event for lack of room: then it takes no more.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::mem::size_of;

use super::events::Batch;
use super::queue::{
    Expired, ExpiredReason, Full, PeekLimits, Portion, Queue, QueueStatus, StreamKey, StreamStatus,
};

/// What a batch takes beside its text and the places of its events, as an estimate: its slot, and the allocations.
const BATCH_BYTES: u64 = size_of::<Batch>() as u64 + 64;

/// How much may wait, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryQueueOptions {
    /// The memory of all batches together, in bytes. One batch is taken by an empty queue even if it is larger.
    pub bytes_max: u64,
    /// The age at which events are dropped, in milliseconds.
    pub age_max_ms: i64,
}

/// The queue. What is appended is given out at once: there is nothing to sync.
#[derive(Debug)]
pub struct MemoryQueue {
    options: MemoryQueueOptions,
    /// Those with events.
    streams: BTreeMap<StreamKey, Stream>,
    memory_bytes: u64,
}

#[derive(Debug, Default)]
struct Stream {
    batches: VecDeque<Batch>,
    /// The events of the first batch that are finished: fewer than it has.
    finished: usize,
    events: u64,
    bytes: u64,
    /// How many events that are finished or dropped came before the first one that waits.
    before: u64,
    /// The events that were given out and are not confirmed yet, counted in the same way: from, to.
    given: (u64, u64),
}

impl MemoryQueue {
    /// An empty queue.
    pub fn new(options: MemoryQueueOptions) -> Self {
        Self { options, streams: BTreeMap::new(), memory_bytes: 0 }
    }

    /// Runs `change` on a stream, and forgets the stream if nothing waits in it any more.
    fn change(&mut self, key: StreamKey, change: impl FnOnce(&mut Stream) -> u64) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        self.memory_bytes = self.memory_bytes.saturating_sub(change(stream));
        if stream.batches.is_empty() {
            self.streams.remove(&key);
        }
    }
}

fn memory_of(batch: &Batch) -> u64 {
    BATCH_BYTES + (batch.events.text().len() + size_of_val(batch.events.ends())) as u64
}

fn text_bytes(batch: &Batch) -> u64 {
    batch.events.text().len() as u64
}

impl Stream {
    /// The next events are finished or dropped: `count` of the first batch, or all of it. Returns the memory that is free.
    fn advance(&mut self, count: usize) -> u64 {
        let Some(first) = self.batches.front() else { return 0 };
        let rest = first.events.len().saturating_sub(self.finished);
        let count = count.min(rest);
        self.events = self.events.saturating_sub(count as u64);
        self.before += count as u64;
        if count < rest {
            self.finished += count;
            return 0;
        }
        let (memory, bytes) = (memory_of(first), text_bytes(first));
        self.bytes = self.bytes.saturating_sub(bytes);
        self.finished = 0;
        self.batches.pop_front();
        memory
    }

    /// Events are finished up to this one.
    fn advance_to(&mut self, end: u64) -> u64 {
        let mut memory = 0;
        while self.before < end && !self.batches.is_empty() {
            memory += self.advance(usize::try_from(end - self.before).unwrap_or(usize::MAX));
        }
        memory
    }

    /// Drops the batches that came before this time. Returns what was dropped, and the memory that is free.
    fn drop_before(&mut self, limit_ms: i64, key: StreamKey) -> (Expired, u64) {
        let (events, bytes, mut memory) = (self.events, self.bytes, 0);
        while self.batches.front().is_some_and(|batch| batch.received_ms < limit_ms) {
            memory += self.advance(usize::MAX);
        }
        let expired = Expired {
            stream: key,
            events: events - self.events,
            bytes: bytes - self.bytes,
            reason: ExpiredReason::Age,
        };
        (expired, memory)
    }

    fn peek(&mut self, limits: &PeekLimits) -> Portion {
        let mut portion = Portion::default();
        let mut skip = self.finished;
        for batch in &self.batches {
            let rest = match std::mem::take(&mut skip) {
                0 => batch.clone(),
                skip => Batch { events: batch.events.split_at(skip).1, ..batch.clone() },
            };
            let wanted = rest.events.len();
            if portion.add(rest, limits) < wanted {
                break;
            }
        }
        self.given = (self.before, self.before + portion.events as u64);
        portion
    }

    fn oldest_ms(&self) -> i64 {
        self.batches.front().map_or(0, |batch| batch.received_ms)
    }
}

impl Queue for MemoryQueue {
    fn append(&mut self, batch: &Batch) -> Result<(), Full> {
        if batch.events.is_empty() {
            return Ok(());
        }
        let memory = memory_of(batch);
        if self.memory_bytes > 0 && self.memory_bytes + memory > self.options.bytes_max {
            return Err(Full::Memory);
        }
        self.memory_bytes += memory;
        let stream = self.streams.entry(StreamKey::of(batch)).or_default();
        stream.events += batch.events.len() as u64;
        stream.bytes += text_bytes(batch);
        stream.batches.push_back(batch.clone());
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Full> {
        Ok(())
    }

    fn streams(&self) -> Vec<StreamStatus> {
        let status = |(&key, stream): (&StreamKey, &Stream)| StreamStatus {
            key,
            events: stream.events,
            bytes: stream.bytes,
            oldest_ms: stream.oldest_ms(),
        };
        self.streams.iter().map(status).collect()
    }

    fn peek(&mut self, stream: StreamKey, limits: PeekLimits) -> io::Result<Option<Portion>> {
        Ok(self.streams.get_mut(&stream).map(|stream| stream.peek(&limits)))
    }

    fn confirm(&mut self, stream: StreamKey, events: usize) {
        self.change(stream, |stream| {
            let (from, to) = stream.given;
            stream.given.0 = from.saturating_add(events as u64).min(to);
            stream.advance_to(stream.given.0)
        });
    }

    fn expire(&mut self, now_ms: i64) -> Vec<Expired> {
        let limit_ms = now_ms.saturating_sub(self.options.age_max_ms);
        let late = |stream: &Stream| stream.oldest_ms() < limit_ms;
        let keys: Vec<StreamKey> =
            self.streams.iter().filter(|(_, stream)| late(stream)).map(|(&key, _)| key).collect();
        let mut all = Vec::new();
        for key in keys {
            self.change(key, |stream| {
                let (expired, memory) = stream.drop_before(limit_ms, key);
                all.push(expired);
                memory
            });
        }
        all
    }

    fn status(&self) -> QueueStatus {
        QueueStatus {
            events: self.streams.values().map(|stream| stream.events).sum(),
            bytes: self.streams.values().map(|stream| stream.bytes).sum(),
            oldest_ms: self.streams.values().map(Stream::oldest_ms).min(),
            ..QueueStatus::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insights::queue_twin::{any_step, batch, key, run};
    use proptest::prelude::*;

    const OPTIONS: MemoryQueueOptions = MemoryQueueOptions { bytes_max: 10_000, age_max_ms: 1000 };
    const ALL: PeekLimits = PeekLimits { events: 1000, bytes: 1_000_000 };

    #[test]
    fn a_full_queue_takes_no_more_and_keeps_what_it_has() {
        let mut queue = MemoryQueue::new(OPTIONS);
        let mut taken = 0;
        while queue.append(&batch(0, 0, 5)).is_ok() {
            taken += 5;
        }
        assert!(taken > 50);
        assert_eq!(queue.status().events, taken as u64);
        assert_eq!(queue.peek(key(0), ALL).unwrap().unwrap().events, taken);
        assert!(matches!(queue.append(&batch(1, 0, 100)), Err(Full::Memory)));
        queue.confirm(key(0), 10);
        assert!(queue.append(&batch(1, 0, 5)).is_ok());
    }

    #[test]
    fn memory_is_free_again_when_all_is_confirmed_or_dropped() {
        let mut queue = MemoryQueue::new(OPTIONS);
        for stream in 0..3 {
            queue.append(&batch(stream, 0, 4)).unwrap();
        }
        queue.peek(key(0), ALL).unwrap();
        queue.confirm(key(0), 3);
        queue.peek(key(0), ALL).unwrap();
        queue.confirm(key(0), 1);
        assert_eq!(queue.expire(1001).len(), 2);
        assert_eq!(queue.memory_bytes, 0);
        assert_eq!(queue.status(), QueueStatus::default());
    }

    #[test]
    fn a_batch_that_is_larger_than_the_queue_is_taken_alone() {
        let mut queue = MemoryQueue::new(MemoryQueueOptions { bytes_max: 1, ..OPTIONS });
        queue.append(&batch(0, 0, 1)).unwrap();
        assert!(queue.append(&batch(0, 0, 1)).is_err());
    }

    #[test]
    fn what_expires_in_flight_is_not_taken_from_what_follows() {
        let mut queue = MemoryQueue::new(OPTIONS);
        queue.append(&batch(0, 0, 2)).unwrap();
        queue.append(&batch(0, 500, 2)).unwrap();
        queue.peek(key(0), PeekLimits { events: 3, bytes: 1000 }).unwrap();
        assert_eq!(queue.expire(1200)[0].events, 2);
        queue.confirm(key(0), 3);
        assert_eq!(queue.status().events, 1);
        queue.confirm(key(0), 3);
        assert_eq!(queue.status().events, 1);
    }

    proptest! {
        #[test]
        fn random_steps_have_the_results_of_a_plain_twin(steps in prop::collection::vec(any_step(4), 1..80)) {
            let queue = MemoryQueue::new(MemoryQueueOptions { bytes_max: u64::MAX, age_max_ms: 300 });
            run(queue, &steps, 300, true, |_| None);
        }
    }
}
