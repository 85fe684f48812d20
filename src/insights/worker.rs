//! The thread of usage events: takes calls, keeps their events, and has them sent.
//!
//! Must not wait for a server: other threads make the requests. It waits for the disk of `Events__Directory`, so nothing else
//! may wait for it but calls with events.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam::channel::{Receiver, never};

use crate::client::random::{self, Random};
use crate::fanout::mailbox::{Mail, Mailbox, Reply};
use crate::model::environment_id::EnvironmentId;
use crate::net::slab::Key;
use crate::store::Snapshot;
use crate::telemetry::once::RateLimit;

use super::counts::EventResult;
use super::dispatch::{Dispatch, Now};
use super::handle::{Message, Taken};
use super::intake::{Destination, Intake, Judged, Tally};
use super::local::LocalFiles;
use super::queue::Full;
use super::sender::JobDone;
use super::spool::SPOOL_BYTES_MIN;

/// As many calls are kept together, or calls of so many bytes, decompressed: they share one sync of the disk.
const GROUP_CALLS: usize = 1024;
const GROUP_BYTES: usize = 8 << 20;
// A group with one more call of 4 MiB, and what the disk needs beside the texts, fits into the smallest spool.
const _: () = assert!(GROUP_BYTES as u64 + 2 * (4 << 20) <= SPOOL_BYTES_MIN);
/// How often the bounds of age and size are checked, and what was sent is noted on the disk.
const TICK: Duration = Duration::from_secs(1);
/// The same while there is nothing to do, so that an idle agent sleeps.
const IDLE_TICK: Duration = Duration::from_secs(30);
/// Between two log lines about the same reason for refusing calls.
const REFUSED_AGAIN_MS: u64 = 60_000;

/// The thread's state.
pub(super) struct Worker {
    pub intake: Intake,
    pub dispatch: Dispatch,
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    pub wall_ms: fn() -> i64,
    pub messages: Receiver<Message>,
    /// What the sending threads report.
    pub done: Receiver<JobDone>,
    /// When to end although events are left.
    pub stop: Receiver<Instant>,
    pub began: Instant,
    pub random: Random,
    /// The overrides that name no environment of the data, as they were last logged.
    pub unused: Vec<String>,
    /// The publish sequence of the data for which that was looked at.
    pub looked_at: Option<u64>,
    pub refused_log: RateLimit,
}

/// What is left at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// Events that wait on the disk for the next start.
    pub on_disk: u64,
    /// Events that are lost, since they were only in memory.
    pub lost: u64,
}

/// A call whose events were taken, and that is to be answered.
struct Waiting {
    mailbox: Mailbox,
    key: Key,
    environment: EnvironmentId,
    tally: Tally,
    destination: Kept,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Nowhere,
    Queue,
    Local,
}

impl Worker {
    /// Works until it is told to end.
    pub fn run(mut self) -> Left {
        let mut deadline: Option<Instant> = None;
        let mut ended = false;
        let mut next_tick = Instant::now() + TICK;
        loop {
            // A deadline that has passed while calls may still follow is nothing to wake for.
            let wake = self.next_wake(next_tick, deadline.filter(|_| ended), deadline.is_some());
            let mut is_idle = true;
            let mut first = None;
            // Once there are no more calls, this channel would always be ready.
            let no_message = never();
            let messages = if ended { &no_message } else { &self.messages };
            crossbeam::select! {
                recv(messages) -> message => match message {
                    Ok(Message::Call(call)) => first = Some(call),
                    Ok(Message::End) | Err(_) => ended = true,
                },
                recv(self.done) -> done => match done {
                    Ok(done) => self.ended(&done),
                    // No thread sends: such a channel would always be ready.
                    Err(_) => self.done = never(),
                },
                recv(self.stop) -> at => {
                    deadline = Some(at.unwrap_or_else(|_| Instant::now()));
                    self.stop = never();
                }
                default(wake.saturating_duration_since(Instant::now())) => {}
            }
            if let Some(first) = first {
                is_idle = false;
                ended |= self.take_group(first);
            }
            while let Ok(done) = self.done.try_recv() {
                self.ended(&done);
            }
            is_idle &= self.dispatch.queue.status().events == 0;
            let now = self.now();
            if Instant::now() >= next_tick {
                self.tick(now);
                is_idle &= !self.dispatch.local.as_ref().is_some_and(LocalFiles::is_busy);
                next_tick = Instant::now() + if is_idle { IDLE_TICK } else { TICK };
            } else if !is_idle {
                next_tick = next_tick.min(Instant::now() + TICK);
            }
            let snapshot = self.snapshot.load_full();
            self.dispatch.begin_requests(&self.intake, &snapshot, now, deadline.is_some());
            self.note();
            if let Some(deadline) = deadline
                && ended
                && (Instant::now() >= deadline || self.has_done_its_part())
            {
                return self.finish();
            }
        }
    }

    /// Whether nothing is left to do before the end: all is sent, or what is left is on the disk and cannot be sent now.
    fn has_done_its_part(&self) -> bool {
        let (queue, now) = (self.dispatch.queue.status(), self.now());
        let can_send = self.dispatch.next_ms(now, true).is_some_and(|at_ms| at_ms <= now.steady_ms);
        let is_safe = queue.segments > 0 && self.dispatch.under_way.is_empty() && !can_send;
        queue.events == 0 || is_safe
    }

    fn now(&self) -> Now {
        let steady_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { wall_ms: (self.wall_ms)(), steady_ms }
    }

    fn next_wake(&self, next_tick: Instant, deadline: Option<Instant>, at_once: bool) -> Instant {
        let now = self.now();
        let at = |steady_ms: u64| {
            self.began + Duration::from_millis(steady_ms.saturating_add(1).min(u64::from(u32::MAX) * 1000))
        };
        let next = self.dispatch.next_ms(now, at_once).map(at);
        [next, deadline].into_iter().flatten().fold(next_tick, Instant::min)
    }

    /// Takes this call and those that wait behind it, and answers them together. True if no call follows.
    fn take_group(&mut self, first: Taken) -> bool {
        let snapshot = self.snapshot.load_full();
        let now = self.now();
        let (mut waiting, mut bytes, mut calls) = (Vec::new(), 0, 0);
        let mut next = Some(first);
        let mut ended = false;
        while let Some(taken) = next.take() {
            let received = taken.bytes();
            let (one, kept) = self.take(taken, &snapshot, now);
            waiting.extend(one);
            // What was compressed takes the more memory until it is synced.
            bytes += received.max(kept);
            calls += 1;
            if calls < GROUP_CALLS && bytes < GROUP_BYTES {
                match self.messages.try_recv() {
                    Ok(Message::Call(call)) => next = Some(call),
                    Ok(Message::End) => ended = true,
                    Err(_) => {}
                }
            }
        }
        let uses = |kept: Kept| waiting.iter().any(|one: &Waiting| one.destination == kept);
        let queued = if uses(Kept::Queue) { self.dispatch.queue.sync() } else { Ok(()) };
        let local = match &mut self.dispatch.local {
            Some(local) if uses(Kept::Local) => local.sync(),
            _ => Ok(()),
        };
        let queued = queued.err().map(|full| self.refusal(&full, now));
        let local = local.err().map(|error| self.refusal(&Full::Disk(error), now));
        let replies = waiting.into_iter().map(|one| {
            let refusal = match one.destination {
                Kept::Nowhere => None,
                Kept::Queue => queued,
                Kept::Local => local,
            };
            let reply = match refusal {
                None => {
                    one.tally.count(&self.dispatch.counts, one.environment);
                    Reply::Accepted
                }
                Some((why, text)) => {
                    self.dispatch.board.refuse(why);
                    Reply::Busy(text)
                }
            };
            (one.mailbox, Mail::Reply { key: one.key, reply })
        });
        Mailbox::post_all(replies);
        ended
    }

    /// Appends the events of one call, and tells how many bytes they have. A call that cannot be taken is answered at once.
    fn take(&mut self, taken: Taken, snapshot: &Snapshot, now: Now) -> (Option<Waiting>, usize) {
        let (mailbox, key) = (taken.call.mailbox.clone(), taken.call.key);
        let refuse = |reply| mailbox.post(Mail::Reply { key, reply });
        let Judged { environment, tally, destination } = match self.intake.judge(taken.call, snapshot) {
            Ok(judged) => judged,
            Err(reply) => {
                refuse(reply);
                return (None, 0);
            }
        };
        let bytes = match &destination {
            Destination::Nowhere => 0,
            Destination::Queue(batch) | Destination::Local(batch) => batch.events.text().len(),
        };
        let appended = match &destination {
            Destination::Nowhere => Ok(Kept::Nowhere),
            Destination::Queue(batch) => self.dispatch.queue.append(batch).map(|()| Kept::Queue),
            Destination::Local(batch) => match &mut self.dispatch.local {
                Some(local) => {
                    let label = snapshot.label_of(environment);
                    local.append(batch, &label, now.wall_ms).map(|()| Kept::Local).map_err(Full::Disk)
                }
                None => Err(Full::Memory),
            },
        };
        match appended {
            Ok(destination) => (Some(Waiting { mailbox, key, environment, tally, destination }), bytes),
            Err(full) => {
                let (why, text) = self.refusal(&full, now);
                self.dispatch.board.refuse(why);
                refuse(Reply::Busy(text));
                (None, 0)
            }
        }
    }

    /// Why a call is not taken: for the metrics and for the client.
    fn refusal(&self, full: &Full, now: Now) -> (&'static str, &'static str) {
        match full {
            Full::Memory => {
                if let Some(others) = self.refused_log.allow(now.steady_ms) {
                    tracing::warn!(
                        others_like_it = others,
                        "usage events are refused with 503, since as many wait as Events__QueueBytes allows. Set \
                         Events__Directory, so that they wait on the disk"
                    );
                }
                ("memory", "too many usage events wait")
            }
            Full::Disk(error) => {
                self.dispatch.log_disk("written", error, now);
                ("disk", "usage events cannot be written at present")
            }
        }
    }

    fn ended(&mut self, done: &JobDone) {
        let snapshot = self.snapshot.load_full();
        let (now, random) = (self.now(), self.random.draw());
        self.dispatch.ended(done, &snapshot, now, random);
    }

    fn tick(&mut self, now: Now) {
        self.look_for_unused();
        self.dispatch.expire(now);
        if let Err(full) = self.dispatch.queue.sync() {
            self.refusal(&full, now);
        }
        self.dispatch.tick_local(now);
    }

    /// Warns of overrides that concern nothing: as at a typing error, or when an environment was renamed.
    fn look_for_unused(&mut self) {
        let snapshot = self.snapshot.load_full();
        if !snapshot.loaded() || self.looked_at.replace(snapshot.sequence()) == Some(snapshot.sequence()) {
            return;
        }
        let unused: Vec<String> =
            self.intake.policy.unused(&snapshot).into_iter().map(str::to_owned).collect();
        if unused.iter().any(|name| !self.unused.contains(name)) {
            tracing::warn!(
                environments = unused.join(", "),
                "Events__Overrides names environments that the data does not have: check their names"
            );
        }
        self.unused = unused;
    }

    fn note(&mut self) {
        let noted = self.dispatch.noted();
        self.dispatch.board.note(noted);
    }

    /// Lets the requests under way end, and says what is left.
    fn finish(mut self) -> Left {
        if let Some(sender) = self.dispatch.sender.take() {
            sender.stop(Instant::now());
        }
        while let Ok(done) = self.done.try_recv() {
            self.ended(&done);
        }
        let now = self.now();
        if let Err(full) = self.dispatch.queue.sync() {
            self.refusal(&full, now);
        }
        // What the queue had to drop meanwhile would not be counted otherwise.
        self.dispatch.expire(now);
        let mut left = Left::default();
        let outlives = self.dispatch.queue.status().segments > 0;
        let mut lost: HashMap<EnvironmentId, u64> = HashMap::new();
        for stream in self.dispatch.queue.streams() {
            match outlives {
                true => left.on_disk += stream.events,
                false => *lost.entry(stream.key.environment).or_default() += stream.events,
            }
        }
        let snapshot = self.snapshot.load_full();
        for (environment, events) in lost {
            left.lost += events;
            self.dispatch.counts.of(environment).add(EventResult::Lost, events);
            tracing::warn!(
                environment = snapshot.label_of(environment),
                events,
                "usage events were only in memory and are lost. Set Events__Directory, so that they are sent after the next \
                 start"
            );
        }
        self.note();
        left
    }
}

/// A generator with an unpredictable seed.
pub(super) fn random() -> Random {
    Random::new(random::seed())
}

/// The limit of log lines about refused calls.
pub(super) fn refused_log() -> RateLimit {
    RateLimit::new(REFUSED_AGAIN_MS)
}

#[cfg(test)]
mod tests;
