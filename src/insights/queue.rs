//! The queue of usage events that wait to be sent: what every implementation offers.
//!
//! Must not know where events are sent, nor read a clock: times are arguments.
//!
//! All calls come from one thread. A queue keeps a stream's events in order and gives them out at least once: what is not
//! confirmed when the process ends comes again, if the queue outlives it.

use std::fmt;
use std::io;

use super::events::Batch;
use crate::model::environment_id::EnvironmentId;
use crate::model::secret::SecretKind;

/// Events that are sent together and in order: those of one environment and one kind of secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey {
    /// The environment.
    pub environment: EnvironmentId,
    /// The kind of the secret that the calls carried.
    pub kind: SecretKind,
}

impl StreamKey {
    /// The stream of a batch.
    pub fn of(batch: &Batch) -> Self {
        Self { environment: batch.environment, kind: batch.kind }
    }
}

/// The first events of a stream, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Portion {
    /// The events. The first batch may be the rest of one, and the last may be the beginning of one.
    pub batches: Vec<Batch>,
    /// How many events there are.
    pub events: usize,
    /// The bytes of their texts, with the commas between them.
    pub bytes: usize,
}

/// How much a portion may hold. One event is given out even if it is larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeekLimits {
    /// Events.
    pub events: usize,
    /// Bytes of their texts.
    pub bytes: usize,
}

impl PeekLimits {
    /// How many of `batch`'s events may be added to a portion: none if there is no room.
    pub fn room_for(&self, portion: &Portion, batch: &Batch) -> usize {
        let first = usize::from(portion.events == 0);
        let events = self.events.saturating_sub(portion.events).max(first);
        // A comma goes between this batch and the one before.
        let bytes = self.bytes.saturating_sub(portion.bytes + usize::from(portion.events > 0));
        let fit = batch.events.ends().partition_point(|&end| end as usize <= bytes);
        fit.max(first).min(events).min(batch.events.len())
    }
}

impl Portion {
    /// Adds as much of `batch` as the limits allow. Returns how many of its events were added.
    pub fn add(&mut self, batch: Batch, limits: &PeekLimits) -> usize {
        let count = limits.room_for(self, &batch);
        if count == 0 {
            return 0;
        }
        let events = if count < batch.events.len() { batch.events.split_at(count).0 } else { batch.events };
        self.bytes += events.text().len() + usize::from(self.events > 0);
        self.events += count;
        self.batches.push(Batch { events, ..batch });
        count
    }
}

/// Why nothing more is taken at present. The caller answers 503.
#[derive(Debug)]
pub enum Full {
    /// As many bytes wait in memory as may.
    Memory,
    /// The disk has no room or cannot be written. The text names the file.
    Disk(io::Error),
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Full::Memory => f.write_str("the queue in memory is full"),
            Full::Disk(error) => write!(f, "the spool cannot be written: {error}"),
        }
    }
}

impl std::error::Error for Full {}

/// Events that were dropped before they were confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Whose they were.
    pub stream: StreamKey,
    /// How many.
    pub events: u64,
    /// The bytes of their texts; a batch of which some events were confirmed counts in full.
    pub bytes: u64,
    /// Why.
    pub reason: ExpiredReason,
}

/// Why events were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ExpiredReason {
    /// They had waited for too long.
    Age,
    /// They were the oldest when there was no room for new ones.
    Size,
    /// They cannot be read.
    Damaged,
}

impl ExpiredReason {
    /// Its name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            ExpiredReason::Age => "age",
            ExpiredReason::Size => "size",
            ExpiredReason::Damaged => "damaged",
        }
    }
}

/// What waits in one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamStatus {
    /// Which one.
    pub key: StreamKey,
    /// How many events wait, at least one.
    pub events: u64,
    /// The bytes of their texts; a batch of which some events were confirmed counts in full.
    pub bytes: u64,
    /// When the oldest one came, in Unix milliseconds. The spool may tell an earlier time, of one that came shortly before.
    pub oldest_ms: i64,
}

/// What waits in all streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStatus {
    /// Events.
    pub events: u64,
    /// The bytes of their texts; a batch of which some events were confirmed counts in full.
    pub bytes: u64,
    /// When the oldest one came, in Unix milliseconds, as in [`StreamStatus::oldest_ms`].
    pub oldest_ms: Option<i64>,
    /// The space that all files of the queue take on the disk, in bytes; 0 in memory.
    pub file_bytes: u64,
    /// How many segment files there are; 0 in memory.
    pub segments: u64,
    /// Of how many segments the places of their records are in memory; 0 in memory.
    pub indexes: u64,
    /// How many damaged files were set aside and are still there, as far as is known; 0 in memory.
    pub set_aside: u64,
}

/// A queue of usage events.
pub trait Queue: Send {
    /// Takes a batch. It is safe, and certain to be given out, only after [`Queue::sync`].
    ///
    /// # Errors
    /// If it cannot be taken at present. What was appended before is not affected.
    fn append(&mut self, batch: &Batch) -> Result<(), Full>;

    /// Makes everything durable that was appended, and notes what was confirmed. Call it once for a group of calls, and
    /// within a second of a [`Queue::confirm`] even if nothing was appended. Cheap if there is nothing to do.
    ///
    /// # Errors
    /// If that was not possible: nothing that was appended since the last success counts as taken, nor will be given
    /// out by this process. What had been taken before is not affected.
    fn sync(&mut self) -> Result<(), Full>;

    /// The streams in which events wait, in the order of their keys.
    fn streams(&self) -> Vec<StreamStatus>;

    /// The first events of a stream, the same ones again until they are confirmed. `None` if none wait.
    ///
    /// # Errors
    /// If they cannot be read at present; later they may. What can never be read is skipped, and [`Queue::expire`] tells.
    fn peek(&mut self, stream: StreamKey, limits: PeekLimits) -> io::Result<Option<Portion>>;

    /// The first `events` events of those that the last peek of this stream gave out, and that are not confirmed yet, are
    /// finished: sent, dead or dropped. What is beyond those is ignored.
    fn confirm(&mut self, stream: StreamKey, events: usize);

    /// Drops the oldest events by age and by size, and returns what was dropped since the last call, for these reasons or
    /// because it cannot be read. Call it every few seconds. Events that are in flight may be among them; a later
    /// [`Queue::confirm`] of those does no harm.
    fn expire(&mut self, now_ms: i64) -> Vec<Expired>;

    /// What waits.
    fn status(&self) -> QueueStatus;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insights::events::{Events, Form};
    use crate::protocol::secret::Secret;

    fn batch(texts: &[&str]) -> Batch {
        let environment = EnvironmentId::from_bytes([7; 16]);
        let mut events = Events::builder(0);
        texts.iter().for_each(|text| events.add(text.as_bytes()));
        Batch {
            environment,
            secret: Secret::build([1; 16], environment),
            kind: SecretKind::Server,
            form: Form::Raw,
            received_ms: 1,
            events: events.build(),
        }
    }

    #[test]
    fn a_portion_holds_what_its_limits_allow_and_at_least_one_event() {
        let all = batch(&["aaaa", "bb", "c"]);
        for (events, bytes, expected) in
            [(9, 99, 3), (9, 9, 3), (9, 8, 2), (9, 7, 2), (9, 6, 1), (2, 99, 2), (0, 99, 1), (9, 0, 1)]
        {
            let mut portion = Portion::default();
            assert_eq!(portion.add(all.clone(), &PeekLimits { events, bytes }), expected, "{events} {bytes}");
            assert_eq!(portion.events, expected);
            let text = portion.batches[0].events.text();
            assert_eq!(portion.bytes, text.len());
            assert_eq!(portion.batches[0].events, all.events.split_at(expected).0);
        }
    }

    #[test]
    fn a_comma_between_batches_counts() {
        let limits = PeekLimits { events: 9, bytes: 7 };
        let mut portion = Portion::default();
        assert_eq!(portion.add(batch(&["aaa"]), &limits), 1);
        assert_eq!(portion.add(batch(&["bbbb"]), &limits), 0);
        assert_eq!(portion.add(batch(&["bbb", "c"]), &limits), 1);
        assert_eq!((portion.events, portion.bytes, portion.batches.len()), (2, 7, 2));
    }
}
