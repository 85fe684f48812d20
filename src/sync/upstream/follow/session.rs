//! One session with the server: what was asked on it, when something last came in.
//!
//! Must not decide what to do about it.

use std::collections::HashSet;

use crate::model::environment_id::EnvironmentId;

use super::action::DropReason;
use super::coverage::Coverage;
use super::timing::Timing;

/// What was asked for and is not yet answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaits {
    /// A full sync; its number.
    Full(u64),
    /// What is newer than what is in service.
    Since,
}

/// A message that is not complete.
#[derive(Debug)]
struct Part {
    began_ms: u64,
    /// When it began, or enough of it had come in since this was last set.
    progress_ms: u64,
    /// What has come in since.
    bytes: u64,
}

/// What it confirms when the server says later that it has sent all there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirms {
    /// Nothing: the last full sync was not taken in, or not on this session.
    Nothing,
    /// That what the last full sync lacks is gone. A secret of it that could not be read may still exist.
    Removals,
    /// That there is nothing but what it brought.
    Everything,
}

/// A session that is open.
#[derive(Debug)]
pub(super) struct Session {
    /// The number of the dial that opened it.
    pub number: u64,
    pub awaits: Option<Awaits>,
    /// Whether the server, if it is an agent, is connected to its own server: so until it says otherwise.
    pub is_upstream_connected: bool,
    /// When its first sync was answered.
    pub synced_ms: Option<u64>,
    /// The number of the last full sync that was asked for.
    pub last_full: u64,
    /// Whether the last full sync that came was asked for.
    pub answers_request: bool,
    /// What the server may confirm of what is in service.
    pub confirms: Confirms,
    /// What the server is known to push on it; `None` until its first full sync tells.
    pub known: Option<Coverage>,
    /// The environments that the server says it pushes on it.
    pub mapped: Option<HashSet<EnvironmentId>>,
    /// Whether that was asked.
    pub mapping_asked: bool,
    /// Whether a full sync that came on it was taken in: then what is in service is younger than the session.
    pub brought_full: bool,
    /// Environments of which a push came on it.
    pub pushed: HashSet<EnvironmentId>,
    /// Whether it has lasted long enough for failures before it not to count.
    lasted: bool,
    /// When something last came in.
    heard_ms: u64,
    /// The message that has begun and is not complete.
    part: Option<Part>,
    asked_ms: u64,
    /// When the answer was asked for, or a message last made progress. A message that begins is no progress: it may be
    /// another one than the answer.
    progress_ms: u64,
    /// Whether an answer, or the end of a message, has been awaited for too long to say that data is up to date.
    overdue: bool,
    next_ping_ms: u64,
    /// The first ping since something came in.
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
            mapping_asked: false,
            brought_full: false,
            pushed: HashSet::new(),
            lasted: false,
            heard_ms: now_ms,
            part: None,
            asked_ms: now_ms,
            progress_ms: now_ms,
            overdue: false,
            next_ping_ms: now_ms + timing.ping_ms,
            unanswered_ping_ms: None,
        }
    }

    pub fn is_synced(&self) -> bool {
        self.synced_ms.is_some()
    }

    /// Whether what it has brought is all that the server has, but for what is on its way.
    pub fn is_up_to_date(&self) -> bool {
        self.is_synced() && self.is_upstream_connected && !self.overdue
    }

    /// The number of the full sync that it waits for.
    pub fn full_awaited(&self) -> Option<u64> {
        match self.awaits {
            Some(Awaits::Full(number)) => Some(number),
            _ => None,
        }
    }

    pub fn asked(&mut self, awaits: Awaits, now_ms: u64) {
        if let Awaits::Full(number) = awaits {
            self.last_full = number;
        }
        self.awaits = Some(awaits);
        self.asked_ms = now_ms;
        self.progress_ms = now_ms;
    }

    /// Bytes came in; `unfinished` if the last are of a message that is not complete. `least` of them are progress.
    pub fn heard(&mut self, bytes: u64, unfinished: bool, least: u64, now_ms: u64) {
        self.heard_ms = now_ms;
        self.unanswered_ping_ms = None;
        if !unfinished {
            self.part = None;
            return;
        }
        let part = self.part.get_or_insert(Part { began_ms: now_ms, progress_ms: now_ms, bytes: 0 });
        part.bytes = part.bytes.saturating_add(bytes);
        if part.bytes >= least {
            (part.bytes, part.progress_ms, self.progress_ms) = (0, now_ms, now_ms);
        }
    }

    /// Sees whether something has been awaited for too long.
    pub fn see_overdue(&mut self, now_ms: u64, timing: &Timing) {
        self.overdue = now_ms >= self.overdue_ms(timing);
    }

    fn overdue_ms(&self, timing: &Timing) -> u64 {
        let part_ms = self.part.as_ref().map(|part| part.began_ms);
        let asked_ms = self.awaits.map(|_| self.asked_ms);
        part_ms.into_iter().chain(asked_ms).min().map_or(u64::MAX, |since_ms| since_ms + timing.sync_ms)
    }

    /// Whether a ping is due; it then counts as sent.
    pub fn take_ping(&mut self, now_ms: u64, timing: &Timing) -> bool {
        let due = now_ms >= self.next_ping_ms;
        if due {
            self.next_ping_ms = now_ms + timing.ping_ms;
            self.unanswered_ping_ms.get_or_insert(now_ms);
        }
        due
    }

    /// Whether it has just lasted long enough for failures before it not to count.
    pub fn take_lasted(&mut self, now_ms: u64, timing: &Timing) -> bool {
        let due = now_ms >= self.lasted_ms(timing);
        self.lasted |= due;
        due
    }

    fn lasted_ms(&self, timing: &Timing) -> u64 {
        match self.synced_ms {
            Some(synced_ms) if !self.lasted => synced_ms + timing.retry_ms,
            _ => u64::MAX,
        }
    }

    /// Why it has to be given up, if it has.
    pub fn given_up(&self, now_ms: u64, timing: &Timing) -> Option<DropReason> {
        if now_ms >= self.silent_ms(timing) {
            return Some(DropReason::Silent);
        }
        if now_ms >= self.slow_ms(timing) {
            return Some(DropReason::Slow);
        }
        (now_ms >= self.unanswered_ms(timing)).then_some(DropReason::Unanswered)
    }

    /// When it has been silent for too long. It was pinged meanwhile: an agent that was too busy to ping (with a large
    /// dataset, say) cannot call the server silent.
    fn silent_ms(&self, timing: &Timing) -> u64 {
        let patience_ms = timing.silence_ms.saturating_sub(timing.ping_ms);
        match self.unanswered_ping_ms {
            Some(ping_ms) => (self.heard_ms + timing.silence_ms).max(ping_ms + patience_ms),
            None => u64::MAX,
        }
    }

    fn slow_ms(&self, timing: &Timing) -> u64 {
        self.part.as_ref().map_or(u64::MAX, |part| part.progress_ms + timing.sync_ms)
    }

    fn unanswered_ms(&self, timing: &Timing) -> u64 {
        // A message that is on its way has its own time limit.
        let part_ms = self.part.as_ref().map_or(0, |part| part.progress_ms);
        if self.awaits.is_some() { self.progress_ms.max(part_ms) + timing.sync_ms } else { u64::MAX }
    }

    /// When one of these is due.
    pub fn deadline_ms(&self, timing: &Timing) -> u64 {
        let ends_ms = self.silent_ms(timing).min(self.unanswered_ms(timing)).min(self.slow_ms(timing));
        let overdue_ms = if self.overdue { u64::MAX } else { self.overdue_ms(timing) };
        self.next_ping_ms.min(ends_ms).min(overdue_ms).min(self.lasted_ms(timing))
    }
}
