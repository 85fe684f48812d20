//! A plain twin of the queues, for tests: random steps, and what a queue must answer to them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use proptest::prelude::*;

use super::events::{Batch, Events, Form};
use super::queue::{ExpiredReason, PeekLimits, Queue, StreamKey};
use crate::model::environment_id::EnvironmentId;
use crate::model::secret::SecretKind;
use crate::protocol::secret::Secret;

/// A stream of tests.
pub(crate) fn key(stream: u8) -> StreamKey {
    let kind = if stream.is_multiple_of(2) { SecretKind::Server } else { SecretKind::Client };
    StreamKey { environment: EnvironmentId::from_bytes([stream / 2 + 1; 16]), kind }
}

/// A batch whose events have texts of their own.
pub(crate) fn batch(stream: u8, received_ms: i64, events: usize) -> Batch {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut builder = Events::builder(0);
    for _ in 0..events {
        let number = NEXT.fetch_add(1, Relaxed);
        let padding = "x".repeat(number as usize % 60);
        builder.add(format!("{{\"n\":{number},\"p\":\"{padding}\"}}").as_bytes());
    }
    let StreamKey { environment, kind } = key(stream);
    let secret = Secret::build([stream; 16], environment);
    let form = if events.is_multiple_of(2) { Form::Raw } else { Form::Pseudonymized };
    Batch { environment, secret, kind, form, received_ms, events: builder.build() }
}

/// The texts of all events, in order.
pub(crate) fn texts(batches: &[Batch]) -> Vec<Vec<u8>> {
    batches.iter().flat_map(|batch| batch.events.iter().map(<[u8]>::to_vec)).collect()
}

/// Everything that waits in a stream, in order. Nothing of it is confirmed.
pub(crate) fn all_of(queue: &mut dyn Queue, stream: StreamKey) -> Vec<Batch> {
    let limits = PeekLimits { events: usize::MAX, bytes: usize::MAX };
    queue.peek(stream, limits).unwrap().map_or(Vec::new(), |portion| portion.batches)
}

/// What is done to a queue.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Append { stream: u8, events: usize },
    Sync,
    Peek { stream: u8, limits: PeekLimits },
    Confirm { stream: u8, events: usize },
    Later { by_ms: i64 },
    Expire,
    Reopen,
}

/// Steps in `streams` streams, the last of which never confirms.
pub(crate) fn any_step(streams: u8) -> impl Strategy<Value = Step> {
    let limits = (1usize..30, 1usize..3000).prop_map(|(events, bytes)| PeekLimits { events, bytes });
    prop_oneof![
        8 => (0..streams, 0usize..12).prop_map(|(stream, events)| Step::Append { stream, events }),
        4 => Just(Step::Sync),
        6 => (0..streams, limits).prop_map(|(stream, limits)| Step::Peek { stream, limits }),
        6 => (0..streams - 1, 0usize..30).prop_map(|(stream, events)| Step::Confirm { stream, events }),
        2 => (1i64..300).prop_map(|by_ms| Step::Later { by_ms }),
        1 => Just(Step::Expire),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Debug, Default)]
struct Stream {
    /// All events ever taken: text and time.
    events: Vec<(Vec<u8>, i64)>,
    /// How many of them are finished or dropped.
    finished: usize,
    /// How many of them were so when that was last made durable.
    noted: usize,
    /// What the last peek gave out and is not confirmed.
    given: std::ops::Range<usize>,
}

/// What a queue must hold.
#[derive(Debug, Default)]
struct Twin {
    streams: BTreeMap<StreamKey, Stream>,
    pending: Vec<Batch>,
    now_ms: i64,
    has_room: bool,
}

/// Runs the steps on a queue that drops events of this age. `has_room`: it can always note what is confirmed. `reopen` ends it
/// and opens it again, or does nothing if it cannot outlive the process.
pub(crate) fn run<Q: Queue>(
    mut queue: Q,
    steps: &[Step],
    age_max_ms: i64,
    has_room: bool,
    reopen: impl Fn(Q) -> Option<Q>,
) {
    let mut twin = Twin { has_room, ..Twin::default() };
    for step in steps {
        if !matches!(step, Step::Append { .. } | Step::Reopen | Step::Later { .. }) {
            twin.sync(&mut queue);
        }
        match *step {
            Step::Append { stream, events } => {
                let batch = batch(stream, twin.now_ms, events);
                queue.append(&batch).unwrap();
                twin.pending.push(batch);
            }
            Step::Sync => {}
            Step::Peek { stream, limits } => twin.peek(&mut queue, key(stream), limits),
            Step::Confirm { stream, events } => twin.confirm(&mut queue, key(stream), events),
            Step::Later { by_ms } => twin.now_ms += by_ms,
            Step::Expire => twin.expire(&mut queue, twin.now_ms, age_max_ms),
            Step::Reopen => {
                let Some(opened) = reopen(queue) else { return };
                queue = opened;
                twin.reopened(&mut queue);
            }
        }
        if twin.pending.is_empty() {
            twin.check(&queue);
        }
    }
}

impl Twin {
    fn sync(&mut self, queue: &mut dyn Queue) {
        queue.sync().unwrap();
        for batch in self.pending.drain(..) {
            let stream = self.streams.entry(StreamKey::of(&batch)).or_default();
            stream.events.extend(batch.events.iter().map(|text| (text.to_vec(), batch.received_ms)));
        }
        if self.has_room {
            self.streams.values_mut().for_each(|stream| stream.noted = stream.finished);
        }
        // There may have been no room; nothing is that old.
        self.expire(queue, i64::MIN, 0);
    }

    fn peek(&mut self, queue: &mut dyn Queue, key: StreamKey, limits: PeekLimits) {
        let portion = queue.peek(key, limits).unwrap();
        let Some(stream) = self.streams.get_mut(&key) else {
            assert_eq!(portion, None);
            return;
        };
        let mut expected = Vec::new();
        let mut bytes = 0;
        for (text, _) in &stream.events[stream.finished..] {
            let more = text.len() + usize::from(!expected.is_empty());
            if !expected.is_empty() && (expected.len() == limits.events || bytes + more > limits.bytes) {
                break;
            }
            bytes += more;
            expected.push(text.clone());
        }
        stream.given = stream.finished..stream.finished + expected.len();
        let portion = portion.unwrap_or_default();
        assert_eq!(texts(&portion.batches), expected);
        assert_eq!((portion.events, portion.bytes), (expected.len(), bytes));
        assert!(portion.batches.iter().all(|batch| StreamKey::of(batch) == key && !batch.events.is_empty()));
    }

    fn confirm(&mut self, queue: &mut dyn Queue, key: StreamKey, events: usize) {
        queue.confirm(key, events);
        if let Some(stream) = self.streams.get_mut(&key) {
            stream.given.start = (stream.given.start + events).min(stream.given.end);
            stream.finished = stream.finished.max(stream.given.start);
        }
    }

    fn expire(&mut self, queue: &mut dyn Queue, now_ms: i64, age_max_ms: i64) {
        for expired in queue.expire(now_ms) {
            let stream = self.streams.get_mut(&expired.stream).unwrap();
            let until = stream.finished + expired.events as usize;
            let gone = &stream.events[stream.finished..until];
            let limit_ms = now_ms.saturating_sub(age_max_ms);
            match expired.reason {
                ExpiredReason::Age => assert!(gone.iter().all(|(_, at_ms)| *at_ms < limit_ms)),
                ExpiredReason::Size => {}
                ExpiredReason::Damaged => panic!("nothing is damaged"),
            }
            assert!(
                expired.events > 0 && expired.bytes >= gone.iter().map(|(text, _)| text.len() as u64).sum()
            );
            stream.finished = until;
        }
    }

    /// What was finished may come again as far as that was not durable, and nothing else has changed.
    fn reopened(&mut self, queue: &mut dyn Queue) {
        self.pending.clear();
        for (&key, stream) in &mut self.streams {
            let read = texts(&all_of(queue, key));
            let first = stream.events.len() - read.len();
            let all: Vec<&Vec<u8>> = stream.events[first..].iter().map(|(text, _)| text).collect();
            assert!(read.iter().eq(all), "other events");
            let (noted, finished) = (stream.noted, stream.finished);
            assert!((noted..=finished).contains(&first), "{first} of {noted} to {finished}");
            (stream.finished, stream.noted, stream.given) = (first, first, first..stream.events.len());
        }
    }

    fn check(&self, queue: &dyn Queue) {
        let waiting = |stream: &Stream| (stream.events.len() - stream.finished) as u64;
        let expected: Vec<(StreamKey, u64)> = self
            .streams
            .iter()
            .map(|(&key, stream)| (key, waiting(stream)))
            .filter(|&(_, events)| events > 0)
            .collect();
        let streams = queue.streams();
        let told: Vec<(StreamKey, u64)> = streams.iter().map(|stream| (stream.key, stream.events)).collect();
        assert_eq!(told, expected);
        for status in &streams {
            let stream = &self.streams[&status.key];
            let rest = &stream.events[stream.finished..];
            assert!(status.oldest_ms <= rest[0].1 && status.oldest_ms >= stream.events[0].1);
            assert!(status.bytes >= rest.iter().map(|(text, _)| text.len() as u64).sum());
        }
        let all = queue.status();
        assert_eq!(all.events, expected.iter().map(|(_, events)| events).sum::<u64>());
        assert_eq!(all.bytes, streams.iter().map(|stream| stream.bytes).sum::<u64>());
        assert_eq!(all.oldest_ms, streams.iter().map(|stream| stream.oldest_ms).min());
    }
}
