//! One session with the server: its requests and its times.
//!
//! Must not decide what to do about them.

use std::collections::HashSet;

use crate::model::environment_id::EnvironmentId;

use super::action::DropReason;
use super::coverage::Coverage;
use super::timing::Timing;

/// The request that is not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaits {
    /// For a full sync; its number.
    Full(u64),
    /// For everything newer than the data in service.
    Since,
}

/// An incomplete message.
#[derive(Debug)]
struct IncompleteMessage {
    began_ms: u64,
    /// When it began, or last made progress: when enough further bytes had been received.
    progress_ms: u64,
    /// How many bytes were received since then.
    bytes: u64,
}

/// What the server's later confirmation, that it has sent everything, proves about the data in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirms {
    /// Nothing: the last full sync is not in service, or came on another session.
    Nothing,
    /// That everything the last full sync lacks was removed. An unknown secret may still exist: one could not be parsed.
    Removals,
    /// That nothing exists but what the last full sync contains.
    Everything,
}

/// An open session.
#[derive(Debug)]
pub(super) struct Session {
    /// The number of the dial that opened it.
    pub number: u64,
    pub awaits: Option<Awaits>,
    /// If the server is an agent: whether that is connected to its own server. True until it reports otherwise.
    pub is_upstream_connected: bool,
    /// When its first request was answered.
    pub synced_ms: Option<u64>,
    /// The number of the last full sync that was requested.
    pub last_full: u64,
    /// Whether the last full sync that was received had been requested.
    pub answers_request: bool,
    /// What a confirmation of the server would prove.
    pub confirms: Confirms,
    /// What the server is known to push on it; `None` before the first full sync.
    pub known: Option<Coverage>,
    /// The environments that the server pushes on it, as the server has listed them.
    pub mapped: Option<HashSet<EnvironmentId>>,
    /// Whether that list was requested.
    pub mapping_requested: bool,
    /// Whether a full sync of this session was put in service, so that the data is younger than the session.
    pub brought_full: bool,
    /// The environments of which it has received a push.
    pub pushed: HashSet<EnvironmentId>,
    /// Whether it has been open long enough for earlier failures to be forgotten.
    is_stable: bool,
    /// When something was last received.
    heard_ms: u64,
    incomplete: Option<IncompleteMessage>,
    requested_ms: u64,
    /// When the last request was sent, or a message last made progress. The begin of a message is no progress, since it may
    /// not be the answer.
    progress_ms: u64,
    /// Whether an answer or the rest of a message is late, so that the data may be out of date.
    overdue: bool,
    next_ping_ms: u64,
    /// When the first ping was sent after which nothing was received.
    unanswered_ping_ms: Option<u64>,
}

impl Session {
    pub fn new(number: u64, known: Option<Coverage>, now_ms: u64, timing: &Timing) -> Self {
        Self {
            number,
            awaits: None,
            is_upstream_connected: true,
            synced_ms: None,
            last_full: 0,
            answers_request: false,
            confirms: Confirms::Nothing,
            known,
            mapped: None,
            mapping_requested: false,
            brought_full: false,
            pushed: HashSet::new(),
            is_stable: false,
            heard_ms: now_ms,
            incomplete: None,
            requested_ms: now_ms,
            progress_ms: now_ms,
            overdue: false,
            next_ping_ms: now_ms + timing.ping_ms,
            unanswered_ping_ms: None,
        }
    }

    pub fn is_synced(&self) -> bool {
        self.synced_ms.is_some()
    }

    /// Whether it has received everything that the server has, except for messages under way.
    pub fn is_up_to_date(&self) -> bool {
        self.is_synced() && self.is_upstream_connected && !self.overdue
    }

    /// The number of the full sync that it has requested, until that is answered.
    pub fn full_awaited(&self) -> Option<u64> {
        match self.awaits {
            Some(Awaits::Full(number)) => Some(number),
            _ => None,
        }
    }

    /// A request was sent.
    pub fn request_sent(&mut self, awaits: Awaits, now_ms: u64) {
        if let Awaits::Full(number) = awaits {
            self.last_full = number;
        }
        self.awaits = Some(awaits);
        self.requested_ms = now_ms;
        self.progress_ms = now_ms;
    }

    /// Bytes were received. `incomplete`: the last of them belong to an incomplete message, which makes progress with every
    /// `progress_bytes`.
    pub fn bytes_received(&mut self, bytes: u64, incomplete: bool, progress_bytes: u64, now_ms: u64) {
        self.heard_ms = now_ms;
        self.unanswered_ping_ms = None;
        if !incomplete {
            self.incomplete = None;
            return;
        }
        let begun = IncompleteMessage { began_ms: now_ms, progress_ms: now_ms, bytes: 0 };
        let message = self.incomplete.get_or_insert(begun);
        message.bytes = message.bytes.saturating_add(bytes);
        if message.bytes >= progress_bytes {
            (message.bytes, message.progress_ms, self.progress_ms) = (0, now_ms, now_ms);
        }
    }

    /// Updates whether an answer or the rest of a message is late.
    pub fn update_overdue(&mut self, now_ms: u64, timing: &Timing) {
        self.overdue = now_ms >= self.overdue_ms(timing);
    }

    fn overdue_ms(&self, timing: &Timing) -> u64 {
        let began_ms = self.incomplete.as_ref().map(|message| message.began_ms);
        let requested_ms = self.awaits.map(|_| self.requested_ms);
        began_ms.into_iter().chain(requested_ms).min().map_or(u64::MAX, |since_ms| since_ms + timing.sync_ms)
    }

    /// Whether a ping is due. If so, it counts as sent.
    pub fn take_ping(&mut self, now_ms: u64, timing: &Timing) -> bool {
        let due = now_ms >= self.next_ping_ms;
        if due {
            self.next_ping_ms = now_ms + timing.ping_ms;
            self.unanswered_ping_ms.get_or_insert(now_ms);
        }
        due
    }

    /// Whether it has just been open long enough for earlier failures to be forgotten. True once.
    pub fn take_stable(&mut self, now_ms: u64, timing: &Timing) -> bool {
        let due = now_ms >= self.stable_ms(timing);
        self.is_stable |= due;
        due
    }

    fn stable_ms(&self, timing: &Timing) -> u64 {
        match self.synced_ms {
            Some(synced_ms) if !self.is_stable => synced_ms + timing.retry_ms,
            _ => u64::MAX,
        }
    }

    /// Why it must be dropped, if it must.
    pub fn drop_reason(&self, now_ms: u64, timing: &Timing) -> Option<DropReason> {
        if now_ms >= self.silent_ms(timing) {
            return Some(DropReason::Silent);
        }
        if now_ms >= self.slow_ms(timing) {
            return Some(DropReason::Slow);
        }
        (now_ms >= self.unanswered_ms(timing)).then_some(DropReason::Unanswered)
    }

    /// When it counts as silent. Only after an unanswered ping: if the agent was too busy to send one, such as with a large
    /// dataset, it cannot know that the server is silent.
    fn silent_ms(&self, timing: &Timing) -> u64 {
        let patience_ms = timing.silence_ms.saturating_sub(timing.ping_ms);
        match self.unanswered_ping_ms {
            Some(ping_ms) => (self.heard_ms + timing.silence_ms).max(ping_ms + patience_ms),
            None => u64::MAX,
        }
    }

    fn slow_ms(&self, timing: &Timing) -> u64 {
        self.incomplete.as_ref().map_or(u64::MAX, |message| message.progress_ms + timing.sync_ms)
    }

    fn unanswered_ms(&self, timing: &Timing) -> u64 {
        // An incomplete message has its own time limit.
        let message_ms = self.incomplete.as_ref().map_or(0, |message| message.progress_ms);
        if self.awaits.is_some() { self.progress_ms.max(message_ms) + timing.sync_ms } else { u64::MAX }
    }

    /// When the next of these times comes.
    pub fn deadline_ms(&self, timing: &Timing) -> u64 {
        let ends_ms = self.silent_ms(timing).min(self.unanswered_ms(timing)).min(self.slow_ms(timing));
        let overdue_ms = if self.overdue { u64::MAX } else { self.overdue_ms(timing) };
        self.next_ping_ms.min(ends_ms).min(overdue_ms).min(self.stable_ms(timing))
    }
}
