//! Which events are sent next, and what becomes of them: between the queue and the threads that make requests.
//!
//! Must not send events of an environment whose mode does not send now, whatever it was when they came.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::EventsMode;
use crate::protocol::secret::Secret;
use crate::store::{Environment, Snapshot};
use crate::telemetry::once::RateLimit;

use super::board::{Board, Noted, Pause};
use super::counts::{Counts, EventResult};
use super::dead_letters::{Cause, DeadLetters};
use super::events::{Batch, Form};
use super::intake::Intake;
use super::known_flags::{KnownFlags, NoFlags};
use super::local::LocalFiles;
use super::queue::{PeekLimits, Portion, Queue, StreamKey, StreamStatus};
use super::sender::{BreakerState, Deliveries, Job, JobDone, SendLog, Sender, Verdict};

/// After so long it is tried again to read or judge a stream.
const BLOCKED_MS: u64 = 1_000;
/// How many portions are kept locally or dropped in one turn, instead of sent.
const NOT_SENT_MAX: usize = 64;

/// The sending side of the thread of usage events.
pub(super) struct Dispatch {
    pub queue: Box<dyn Queue>,
    pub deliveries: Deliveries,
    /// `None` where no mode sends.
    pub sender: Option<Sender>,
    pub log: SendLog,
    pub local: Option<LocalFiles>,
    pub dead_letters: Option<DeadLetters>,
    pub counts: Arc<Counts>,
    pub board: Arc<Board>,
    /// How long events wait for others.
    pub flush: Duration,
    /// How much a request holds at most.
    pub max: PeekLimits,
    /// What is under way, as it came from the queue.
    pub under_way: HashMap<StreamKey, Portion>,
    /// Streams that cannot be read or judged at present, and when that is tried again, by the steady clock.
    pub blocked: HashMap<StreamKey, u64>,
    pub disk_log: RateLimit,
    /// Events of local files that were removed because of age or size.
    pub local_removed: u64,
}

/// The present moment by two clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// Unix milliseconds.
    pub wall_ms: i64,
    /// Milliseconds of a clock that only rises.
    pub steady_ms: u64,
}

impl Dispatch {
    /// Begins as many requests as may begin now. With `at_once` no events wait for others.
    pub fn begin_requests(&mut self, intake: &Intake, snapshot: &Snapshot, now: Now, at_once: bool) {
        self.blocked.retain(|_, until_ms| *until_ms > now.steady_ms);
        let mut not_sent = 0;
        loop {
            let due = self.due(now, at_once);
            let mode = |stream: &StreamStatus| intake.policy.mode_in(snapshot, stream.key.environment);
            for stream in due.iter().filter(|stream| mode(stream).is_none()) {
                self.blocked.insert(stream.key, now.steady_ms + BLOCKED_MS);
            }
            let is_sent = |stream: &StreamStatus| mode(stream).map(EventsMode::sends);
            if not_sent < NOT_SENT_MAX
                && let Some(stays) = due.iter().find(|stream| is_sent(stream) == Some(false))
            {
                not_sent += 1;
                self.keep_or_drop(intake, snapshot, stays.key, now);
                continue;
            }
            if self.sender.as_ref().map_or(0, Sender::free) == 0 {
                return;
            }
            let ready = due.iter().filter(|stream| is_sent(stream) == Some(true)).map(|stream| stream.key);
            let Some((key, limits)) = self.deliveries.next(ready, now.steady_ms) else { return };
            if let Some(portion) = self.peek(key, limits, now) {
                self.send(intake, snapshot, key, portion);
            }
        }
    }

    /// The streams whose events are to be sent, kept or dropped now.
    fn due(&self, now: Now, at_once: bool) -> Vec<StreamStatus> {
        let mut streams = self.queue.streams();
        streams.retain(|stream| self.is_free(stream.key) && (at_once || self.is_due(stream, now)));
        streams
    }

    fn is_free(&self, key: StreamKey) -> bool {
        !self.under_way.contains_key(&key) && !self.blocked.contains_key(&key)
    }

    /// The first events of a stream. Without any, the stream is left alone for a while.
    fn peek(&mut self, key: StreamKey, limits: PeekLimits, now: Now) -> Option<Portion> {
        let peeked = self.queue.peek(key, limits).unwrap_or_else(|error| {
            self.log_disk("read", &error, now);
            None
        });
        if peeked.is_none() {
            self.blocked.insert(key, now.steady_ms + BLOCKED_MS);
        }
        peeked
    }

    fn is_due(&self, stream: &StreamStatus, now: Now) -> bool {
        let waited_ms = u64::try_from(now.wall_ms.saturating_sub(stream.oldest_ms)).unwrap_or(0);
        // A clock that was set back must not stop the events.
        let is_ahead = stream.oldest_ms > now.wall_ms;
        let flush_ms = u64::try_from(self.flush.as_millis()).unwrap_or(u64::MAX);
        is_ahead
            || waited_ms >= flush_ms
            || stream.events >= self.max.events as u64
            || stream.bytes >= self.max.bytes as u64
    }

    /// Keeps or drops the first events of a stream whose mode does not send any more.
    fn keep_or_drop(&mut self, intake: &Intake, snapshot: &Snapshot, key: StreamKey, now: Now) {
        let Some(portion) = self.peek(key, self.max, now) else { return };
        let (result, events) = match intake.policy.mode_in(snapshot, key.environment) {
            Some(EventsMode::Drop) => (EventResult::Dropped, portion.events),
            Some(EventsMode::Local) => {
                let label = snapshot.label_of(key.environment);
                let (kept, error) = self.keep_locally(&portion, &label, now);
                if let Some(error) = error {
                    self.log_disk("written", &error, now);
                    self.blocked.insert(key, now.steady_ms + BLOCKED_MS);
                }
                (EventResult::Kept, kept)
            }
            Some(EventsMode::Forward | EventsMode::Pseudonymize) | None => return,
        };
        self.counts.of(key.environment).add(result, events as u64);
        self.queue.confirm(key, events);
    }

    /// Writes events to the local files. Returns how many of them, from the first one on, are there now, and why not all:
    /// those must not be written again.
    fn keep_locally(&mut self, portion: &Portion, label: &str, now: Now) -> (usize, Option<std::io::Error>) {
        let Some(local) = &mut self.local else {
            return (0, Some(std::io::Error::other("there are no local files")));
        };
        let (mut kept, mut failed) = (0, None);
        for batch in &portion.batches {
            match local.append(batch, label, now.wall_ms) {
                Ok(()) => kept += batch.events.len(),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        match local.sync() {
            Ok(()) => (kept, failed),
            Err(error) => (0, Some(error)),
        }
    }

    /// Sends a portion, changed if the mode asks for that and it was not yet.
    fn send(&mut self, intake: &Intake, snapshot: &Snapshot, key: StreamKey, portion: Portion) {
        let environment = snapshot.listed_environment(key.environment);
        let changes = intake.policy.mode_in(snapshot, key.environment) == Some(EventsMode::Pseudonymize);
        let flags = environment.map_or(&NoFlags as &dyn KnownFlags, |one: &Arc<Environment>| &**one);
        let batches = portion.batches.iter().filter_map(|batch| match batch.form {
            Form::Raw if changes => {
                let events = intake.pseudonymized(key.environment, flags, &batch.events);
                (!events.is_empty()).then(|| Batch { form: Form::Pseudonymized, events, ..batch.clone() })
            }
            Form::Raw | Form::Pseudonymized => Some(batch.clone()),
        });
        let to_send = Portion { batches: batches.collect(), ..portion };
        let Some(first) = to_send.batches.first() else {
            self.counts.of(key.environment).add(EventResult::Withheld, portion.events as u64);
            return self.queue.confirm(key, portion.events);
        };
        let Some(sender) = &self.sender else { return };
        let secret = secret_for(environment.map(|one| &**one), first);
        self.deliveries.begun(key);
        sender.submit(Job { stream: key, secret, portion: to_send.clone() });
        // What is rejected is kept as it would have been sent: raw events must not be in the dead letters then.
        self.under_way.insert(key, Portion { events: portion.events, ..to_send });
    }

    /// A request has ended.
    pub fn ended(&mut self, done: &JobDone, snapshot: &Snapshot, now: Now, random: u64) {
        let Some(portion) = self.under_way.remove(&done.stream) else { return };
        let label = snapshot.label_of(done.stream.environment);
        let verdict = self.deliveries.ended(
            done.stream,
            &done.outcome,
            (done.events, done.bytes),
            now.steady_ms,
            random,
        );
        self.log.ended(done, verdict, &label, now.steady_ms);
        {
            let mut requests = self.board.requests.lock();
            *requests.by_outcome.entry(done.outcome.label()).or_default() += 1;
            requests.bytes += done.bytes_sent;
        }
        let counts = self.counts.of(done.stream.environment);
        let sent: usize = portion.batches.iter().map(|batch| batch.events.len()).sum();
        match verdict {
            Verdict::Keep => {}
            Verdict::Confirm { events } => {
                counts.add(EventResult::Sent, sent as u64);
                counts.add(EventResult::Withheld, events.saturating_sub(sent) as u64);
                self.queue.confirm(done.stream, events);
            }
            Verdict::DeadLetter { events, status } => {
                if let Some(dead_letters) = &mut self.dead_letters
                    && let Err(error) = write_dead_letters(dead_letters, &portion.batches, &label, status)
                {
                    // They stay in the queue, and are rejected again when the disk may have room.
                    self.log_disk("written", &error, now);
                    self.blocked.insert(done.stream, now.steady_ms + BLOCKED_MS);
                    return;
                }
                counts.add(EventResult::Rejected, sent as u64);
                counts.add(EventResult::Withheld, events.saturating_sub(sent) as u64);
                self.queue.confirm(done.stream, events);
            }
        }
    }

    /// Closes, compresses and removes local files as their bounds ask for.
    pub fn tick_local(&mut self, now: Now) {
        if let Some(local) = &mut self.local {
            self.local_removed += local.tick(now.wall_ms).events;
        }
    }

    /// Drops what has become too old or too much, and counts it.
    pub fn expire(&mut self, now: Now) {
        for expired in self.queue.expire(now.wall_ms) {
            use super::queue::ExpiredReason::{Age, Damaged, Size};
            let result = match expired.reason {
                Age => EventResult::ExpiredByAge,
                Size => EventResult::ExpiredBySize,
                Damaged => EventResult::Damaged,
            };
            self.counts.of(expired.stream.environment).add(result, expired.events);
        }
    }

    /// When something is to be done again without a call or an answer, by the steady clock; `None` if nothing waits.
    pub fn next_ms(&self, now: Now, at_once: bool) -> Option<u64> {
        let blocked = self.blocked.values().copied().min();
        if self.sender.as_ref().map_or(0, Sender::free) == 0 {
            // The end of a request wakes the thread.
            return blocked;
        }
        let streams = self.queue.streams();
        let waiting = streams.iter().filter(|stream| self.is_free(stream.key));
        let each = waiting.filter_map(|stream| {
            let flush_ms = match at_once || self.is_due(stream, now) {
                true => 0,
                false => {
                    let due_ms = stream
                        .oldest_ms
                        .saturating_add(i64::try_from(self.flush.as_millis()).unwrap_or(i64::MAX));
                    u64::try_from(due_ms.saturating_sub(now.wall_ms)).unwrap_or(0)
                }
            };
            let may_ms = self.deliveries.next_at_ms([stream.key])?;
            Some(may_ms.max(now.steady_ms.saturating_add(flush_ms)))
        });
        each.chain(blocked).min()
    }

    /// What is to be shown.
    pub fn noted(&self) -> Noted {
        let streams = self.queue.streams();
        let pauses = streams.iter().filter_map(|stream| {
            let state = self.deliveries.state(stream.key)?;
            let reason = state.reason.as_ref().filter(|_| state.breaker != BreakerState::Closed)?;
            Some(Pause { stream: stream.key, reason: reason.to_string() })
        });
        let (_, unreachable) = self.deliveries.server_state();
        let local = self.local.as_ref().map(LocalFiles::status).unwrap_or_default();
        Noted {
            queue: self.queue.status(),
            pauses: pauses.collect(),
            streams,
            unreachable: unreachable.map(str::to_owned),
            local_bytes: local.bytes,
            local_removed: self.local_removed,
        }
    }

    pub fn log_disk(&self, what: &str, error: &std::io::Error, now: Now) {
        if let Some(others) = self.disk_log.allow(now.steady_ms) {
            tracing::error!(
                others_like_it = others,
                "usage events cannot be {what}: {error}. Calls are answered with 503 until they can. Check the \
                 disk of Events__Directory"
            );
        }
    }
}

/// Writes events to the dead letters.
fn write_dead_letters(
    dead_letters: &mut DeadLetters,
    batches: &[Batch],
    label: &str,
    status: u16,
) -> std::io::Result<()> {
    let reason = if status == 413 { "too large for the server" } else { "rejected by the server" };
    let appended = batches
        .iter()
        .try_for_each(|batch| dead_letters.append(batch, label, Cause { status: Some(status), reason }));
    if appended.is_err() {
        // They come again, all of them.
        dead_letters.roll_back();
    }
    appended.and_then(|()| dead_letters.sync())
}

/// The secret to send events with: the one that they came with, if the environment still has it, or else another of its
/// kind.
fn secret_for(environment: Option<&Environment>, batch: &Batch) -> Secret {
    let Some(environment) = environment else { return batch.secret };
    let listed = || {
        let of_kind = environment.listed_secrets().iter().filter(|listed| listed.kind == batch.kind);
        of_kind.map(|listed| listed.value)
    };
    let is_listed = listed().any(|secret| secret == batch.secret);
    if is_listed { batch.secret } else { listed().next().unwrap_or(batch.secret) }
}

#[cfg(test)]
pub(super) mod tests;
