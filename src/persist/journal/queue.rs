//! What waits for the disk: groups, at most one whole state before them, and those who wait for dropped groups.
//!
//! Must not write anything, nor call anybody while it holds its lock.

use std::collections::VecDeque;
use std::mem;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::group::{Done, Records};
use super::options::Options;
use super::status::{Counters, Status, wall_ms};

/// A queued group.
pub(super) struct Item {
    pub(super) group: Box<dyn Records>,
    pub(super) done: Option<Done>,
    pub(super) at: Instant,
}

/// A queued whole state: a group that begins a new file.
pub(super) struct FullState {
    pub(super) group: Box<dyn Records>,
    pub(super) waiting: Vec<Waiting>,
    /// Since when the file lacks something that this contains.
    pub(super) at: Instant,
}

/// Somebody who waits for a group that a whole state contains.
pub(super) struct Waiting {
    done: Done,
    until: Instant,
}

/// Those who wait for an answer.
pub(super) type Calls = Vec<Done>;

/// What the thread shall do next.
pub(super) enum Work {
    /// Append these.
    Append(Vec<Item>),
    /// Write a new file.
    Replace(FullState),
    /// Ask for the whole state.
    Ask,
    /// Answer these that their groups were not written in time.
    Expire(Calls),
    /// End.
    Stop(Calls),
}

/// When the thread may do what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// Whether the log can be appended to. If not, a new file may be written from `retry_at` on.
    pub(super) is_trusted: bool,
    pub(super) retry_at: Instant,
    /// From when on the whole state may be asked for.
    pub(super) ask_at: Instant,
}

/// The queue, and what callers may ask about it.
pub(super) struct Shared {
    options: Options,
    queue: Mutex<Queue>,
    changed: Condvar,
    ended: Condvar,
    /// Whose file the next one is to be, if that has changed.
    fingerprint: Mutex<Option<[u8; 32]>>,
    pub(super) counters: Counters,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("options", &self.options).field("counters", &self.counters).finish()
    }
}

#[derive(Default)]
struct Queue {
    /// Comes before all groups.
    whole: Option<FullState>,
    groups: VecDeque<Item>,
    /// Since when groups are dropped, as everything is until a whole state comes.
    lost_since: Option<Instant>,
    waiting: Vec<Waiting>,
    dropped: u64,
    /// When the oldest group was queued that is being written.
    in_flight: Option<Instant>,
    failing_since: Option<Instant>,
    error: Option<String>,
    stopping: bool,
    /// A whole state was taken since `stopping`: that is the last attempt, whatever the delay.
    tried_to_stop: bool,
    ended: bool,
}

impl Shared {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            queue: Mutex::default(),
            changed: Condvar::new(),
            ended: Condvar::new(),
            fingerprint: Mutex::default(),
            counters: Counters::default(),
        }
    }

    pub(super) fn set_fingerprint(&self, fingerprint: [u8; 32]) {
        *self.fingerprint.lock() = Some(fingerprint);
    }

    pub(super) fn take_fingerprint(&self) -> Option<[u8; 32]> {
        self.fingerprint.lock().take()
    }

    pub(super) fn append(&self, group: Box<dyn Records>, done: Option<Done>, now: Instant) {
        let mut queue = self.queue.lock();
        if queue.ended {
            drop(queue);
            return fail_all(done.into_iter().collect(), "the journal was stopped");
        }
        queue.groups.push_back(Item { group, done, at: now });
        let mut refused = Vec::new();
        if queue.lost_since.is_some() || queue.groups.len() > self.options.queue_max {
            refused = queue.lose_groups(&self.options);
        }
        drop(queue);
        self.changed.notify_one();
        fail_all(refused, "too many others wait for the disk");
    }

    pub(super) fn replace(&self, group: Box<dyn Records>, done: Option<Done>, now: Instant) {
        let mut queue = self.queue.lock();
        if queue.ended {
            drop(queue);
            return fail_all(done.into_iter().collect(), "the journal was stopped");
        }
        // Those who were refused here would wait beyond the bound of what may wait.
        let refused = if queue.groups.is_empty() { Vec::new() } else { queue.lose_groups(&self.options) };
        let mut whole = FullState { group, waiting: mem::take(&mut queue.waiting), at: now };
        let before = queue.whole.take();
        whole.at = whole.at.min(queue.lost_since.take().unwrap_or(now));
        if let Some(before) = before {
            whole.at = whole.at.min(before.at);
            whole.waiting.extend(before.waiting);
        }
        whole.waiting.extend(done.map(|done| Waiting { done, until: now + self.options.done_within }));
        queue.whole = Some(whole);
        drop(queue);
        self.changed.notify_one();
        fail_all(refused, "too many others wait for the disk");
    }

    /// Waits for something to do.
    pub(super) fn next(&self, timing: Timing) -> Work {
        let mut queue = self.queue.lock();
        loop {
            queue.in_flight = None;
            let now = Instant::now();
            if let Some(work) = queue.work(timing, now) {
                return work;
            }
            let wakes = [
                queue.whole.is_some().then_some(timing.retry_at),
                (queue.whole.is_none() && queue.lost_since.is_some()).then_some(timing.ask_at),
                queue.all_waiting().map(|waiting| waiting.until).min(),
            ];
            match wakes.into_iter().flatten().min() {
                Some(wake) => drop(self.changed.wait_until(&mut queue, wake)),
                None => self.changed.wait(&mut queue),
            }
        }
    }

    /// What was being written failed. Drops it, and what is queued before a whole state.
    pub(super) fn failed(&self, items: Vec<Item>, whole: Option<FullState>, error: String, now: Instant) {
        let mut queue = self.queue.lock();
        queue.error = Some(error);
        queue.failing_since.get_or_insert(now);
        let refused = queue.give_back(items, whole, &self.options);
        drop(queue);
        fail_all(refused, "too many others wait for the disk");
    }

    /// The file cannot be written from the beginning on.
    pub(super) fn failed_at_start(&self, error: String, now: Instant) {
        let mut queue = self.queue.lock();
        queue.error = Some(error);
        queue.failing_since.get_or_insert(now);
        if queue.whole.is_none() {
            queue.lost_since.get_or_insert(now);
        }
    }

    /// A write succeeded. Returns since when writes had failed.
    pub(super) fn succeeded(&self) -> Option<Instant> {
        let mut queue = self.queue.lock();
        queue.in_flight = None;
        queue.error = None;
        queue.failing_since.take()
    }

    pub(super) fn status(&self, now: Instant) -> Status {
        let queue = self.queue.lock();
        let oldest = queue.oldest().filter(|&at| {
            queue.failing_since.is_some()
                || queue.lost_since.is_some()
                || now.saturating_duration_since(at) > self.options.stale_after
        });
        let stale_since = oldest.into_iter().chain(queue.failing_since).min();
        Status {
            dropped: queue.dropped,
            queued: (queue.groups.len() + usize::from(queue.whole.is_some())) as u64,
            stale_since_ms: stale_since.map(|at| wall_ms(now.saturating_duration_since(at))),
            error: queue.error.clone(),
            ..self.counters.status()
        }
    }

    pub(super) fn begin_stop(&self) {
        self.queue.lock().stopping = true;
        self.changed.notify_one();
    }

    /// Lets the thread write what is queued. Returns whether it has ended by `until`; if not, what is queued is given up.
    pub(super) fn stop(&self, until: Instant) -> bool {
        self.begin_stop();
        let mut queue = self.queue.lock();
        while !queue.ended {
            if self.ended.wait_until(&mut queue, until).timed_out() && !queue.ended {
                queue.ended = true;
                let calls = queue.give_up();
                drop(queue);
                fail_all(calls, "the disk did not answer before the agent stopped");
                return false;
            }
        }
        true
    }

    /// The thread has ended.
    pub(super) fn end(&self) {
        let mut queue = self.queue.lock();
        queue.ended = true;
        let calls = queue.give_up();
        drop(queue);
        self.ended.notify_all();
        fail_all(calls, "the journal was stopped");
    }
}

impl Queue {
    fn work(&mut self, timing: Timing, now: Instant) -> Option<Work> {
        let expired = self.expired(now);
        if !expired.is_empty() {
            return Some(Work::Expire(expired));
        }
        let may_replace =
            timing.is_trusted || now >= timing.retry_at || (self.stopping && !self.tried_to_stop);
        if may_replace && let Some(whole) = self.whole.take() {
            self.in_flight = Some(whole.at);
            self.tried_to_stop = self.stopping;
            return Some(Work::Replace(whole));
        }
        if timing.is_trusted && self.whole.is_none() && !self.groups.is_empty() {
            self.in_flight = self.groups.front().map(|item| item.at);
            return Some(Work::Append(mem::take(&mut self.groups).into()));
        }
        if self.stopping {
            return Some(Work::Stop(self.give_up()));
        }
        let must_ask = self.lost_since.is_some() && self.whole.is_none() && now >= timing.ask_at;
        must_ask.then_some(Work::Ask)
    }

    /// Since when the file lacks something.
    fn oldest(&self) -> Option<Instant> {
        let whole = self.whole.as_ref().map(|whole| whole.at);
        let group = self.groups.front().map(|item| item.at);
        [self.in_flight, whole, group, self.lost_since].into_iter().flatten().min()
    }

    fn all_waiting(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.iter().chain(self.whole.iter().flat_map(|whole| &whole.waiting))
    }

    /// Drops all groups; those who wait for them wait for a whole state. Returns those who cannot.
    fn lose_groups(&mut self, options: &Options) -> Calls {
        let items = mem::take(&mut self.groups).into();
        self.lose(items, options)
    }

    fn lose(&mut self, items: Vec<Item>, options: &Options) -> Calls {
        let mut refused = Vec::new();
        if let Some(first) = items.first() {
            self.lost_since = Some(self.lost_since.map_or(first.at, |since| since.min(first.at)));
        }
        self.dropped += items.len() as u64;
        for item in items {
            match item.waiting(options) {
                Some(waiting) if self.waiting.len() < options.queue_max => self.waiting.push(waiting),
                refusal => refused.extend(refusal.map(|waiting| waiting.done)),
            }
        }
        refused
    }

    /// Takes back what could not be written. A whole state that was queued during the write contains all of it; what was
    /// queued or dropped after that state stays as it is.
    fn give_back(&mut self, items: Vec<Item>, whole: Option<FullState>, options: &Options) -> Calls {
        let first = items.first().map(|item| item.at);
        let since = first.into_iter().chain(whole.as_ref().map(|whole| whole.at)).min();
        let waiting = whole.map(|whole| whole.waiting).unwrap_or_default();
        if let Some(next) = &mut self.whole {
            next.at = since.map_or(next.at, |since| since.min(next.at));
            next.waiting.extend(waiting);
            self.dropped += items.len() as u64;
            next.waiting.extend(items.into_iter().filter_map(|item| item.waiting(options)));
            return Vec::new();
        }
        self.lost_since = self.lost_since.into_iter().chain(since).min();
        self.waiting.extend(waiting);
        let mut refused = self.lose(items, options);
        refused.extend(self.lose_groups(options));
        refused
    }

    /// Takes out those who have waited long enough.
    fn expired(&mut self, now: Instant) -> Calls {
        let lists = self.whole.iter_mut().map(|whole| &mut whole.waiting).chain([&mut self.waiting]);
        lists
            .flat_map(|list| list.extract_if(.., |waiting| waiting.until <= now))
            .map(|waiting| waiting.done)
            .collect()
    }

    /// Drops everything. Returns those who wait for it.
    fn give_up(&mut self) -> Calls {
        let whole = self.whole.take().map(|whole| whole.waiting).unwrap_or_default();
        let waiting = mem::take(&mut self.waiting).into_iter().chain(whole).map(|waiting| waiting.done);
        waiting.chain(mem::take(&mut self.groups).into_iter().filter_map(|item| item.done)).collect()
    }
}

impl Item {
    /// Whoever waits for it, if it is not written itself.
    fn waiting(self, options: &Options) -> Option<Waiting> {
        self.done.map(|done| Waiting { done, until: self.at + options.done_within })
    }
}

impl FullState {
    /// Those who wait for it.
    pub(super) fn into_dones(self) -> impl Iterator<Item = Done> {
        self.waiting.into_iter().map(|waiting| waiting.done)
    }
}

/// Answers that their groups are not durable.
pub(super) fn fail_all(dones: Calls, why: &str) {
    for done in dones {
        done(Err(why.to_owned()));
    }
}

#[cfg(test)]
mod tests;
