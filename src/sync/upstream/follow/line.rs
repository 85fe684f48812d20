//! One connection to the server, as the state machine sees it: what was asked, when it was last heard of.
//!
//! Must not decide what to do about it.

use std::collections::HashSet;

use crate::model::environment_id::EnvironmentId;

use super::coverage::Coverage;
use super::{Options, Why};

/// A data-sync that was asked for and not yet answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Everything; the number of that request.
    Full(u64),
    /// What is newer than what is held.
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

/// What a word of the other end, that it has told all there was, makes certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sync::upstream) enum Vouches {
    /// Nothing: the last full was not taken in, or not on this line.
    Nothing,
    /// That what the last full lacks is gone. Some secret of it could be told but not read, and is not unknown.
    Gone,
    /// That there is nothing but what it brought.
    All,
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Line {
    /// The number of the dial that opened it.
    pub number: u64,
    pub request: Option<Request>,
    /// Whether its other end is in touch with what it follows itself: so until it says otherwise.
    pub is_above_current: bool,
    /// When its first sync was answered.
    pub synced_ms: Option<u64>,
    /// The number of the last full that it was asked for.
    pub last_full: u64,
    /// Whether the last full that came was asked for.
    pub answers_full: bool,
    /// What the other end may make certain of what is held.
    pub vouches: Vouches,
    /// What the server is known to push on it; `None` until its first full tells.
    pub known: Option<Coverage>,
    /// The environments that the server says it tells this line of.
    pub told: Option<HashSet<EnvironmentId>>,
    /// Whether that was asked.
    pub probed: bool,
    /// Whether a full that came on it was taken in: then what is held is younger than the line.
    pub brought_full: bool,
    /// Environments of which a push was heard on it.
    pub heard_of: HashSet<EnvironmentId>,
    /// Whether failures before it have been forgotten, as it has held for a while.
    forgiven: bool,
    heard_ms: u64,
    /// The message that has begun and is not complete.
    part: Option<Part>,
    asked_ms: u64,
    /// When the answer was asked for, or a message last made progress: that one begins is none, since it may be another
    /// one, and so may those after it.
    progress_ms: u64,
    /// Whether an answer, or the end of a message behind which others wait, has been awaited for too long to say that what
    /// is held is up to date.
    overdue: bool,
    next_ping_ms: u64,
    /// The first ping since something was heard.
    unanswered_ping_ms: Option<u64>,
}

impl Line {
    pub fn new(number: u64, known: Option<Coverage>, now_ms: u64, options: &Options) -> Self {
        Self {
            number,
            request: None,
            is_above_current: true,
            synced_ms: None,
            last_full: 0,
            answers_full: false,
            vouches: Vouches::Nothing,
            known,
            told: None,
            probed: false,
            brought_full: false,
            heard_of: HashSet::new(),
            forgiven: false,
            heard_ms: now_ms,
            part: None,
            asked_ms: now_ms,
            progress_ms: now_ms,
            overdue: false,
            next_ping_ms: now_ms + options.ping_ms,
            unanswered_ping_ms: None,
        }
    }

    pub fn is_synced(&self) -> bool {
        self.synced_ms.is_some()
    }

    /// Whether what it has brought is what the server holds, but for what is on its way.
    pub fn is_up_to_date(&self) -> bool {
        self.is_synced() && self.is_above_current && !self.overdue
    }

    /// The number of the full that it was asked for.
    pub fn full_asked(&self) -> Option<u64> {
        match self.request {
            Some(Request::Full(number)) => Some(number),
            _ => None,
        }
    }

    pub fn asked(&mut self, request: Request, now_ms: u64) {
        if let Request::Full(number) = request {
            self.last_full = number;
        }
        self.request = Some(request);
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
    pub fn see_overdue(&mut self, now_ms: u64, options: &Options) {
        self.overdue = now_ms >= self.overdue_ms(options);
    }

    fn overdue_ms(&self, options: &Options) -> u64 {
        let part_ms = self.part.as_ref().map(|part| part.began_ms);
        let asked_ms = self.request.map(|_| self.asked_ms);
        part_ms.into_iter().chain(asked_ms).min().map_or(u64::MAX, |since_ms| since_ms + options.sync_ms)
    }

    /// Whether a ping is due; it then counts as sent.
    pub fn take_ping(&mut self, now_ms: u64, options: &Options) -> bool {
        let due = now_ms >= self.next_ping_ms;
        if due {
            self.next_ping_ms = now_ms + options.ping_ms;
            self.unanswered_ping_ms.get_or_insert(now_ms);
        }
        due
    }

    /// Whether it has just held long enough for failures before it to be forgotten.
    pub fn take_forgiveness(&mut self, now_ms: u64, options: &Options) -> bool {
        let due = now_ms >= self.forgiven_ms(options);
        self.forgiven |= due;
        due
    }

    fn forgiven_ms(&self, options: &Options) -> u64 {
        match self.synced_ms {
            Some(synced_ms) if !self.forgiven => synced_ms + options.retry_ms,
            _ => u64::MAX,
        }
    }

    /// Why it has to be given up, if it has.
    pub fn given_up(&self, now_ms: u64, options: &Options) -> Option<Why> {
        if now_ms >= self.silent_ms(options) {
            return Some(Why::Silent);
        }
        if now_ms >= self.slow_ms(options) {
            return Some(Why::Slow);
        }
        (now_ms >= self.unanswered_ms(options)).then_some(Why::Unanswered)
    }

    /// When it has been silent for too long. It was asked for a sign meanwhile: whoever was too busy to ask
    /// (with a large dataset, say) may not complain.
    fn silent_ms(&self, options: &Options) -> u64 {
        let patience_ms = options.silence_ms.saturating_sub(options.ping_ms);
        match self.unanswered_ping_ms {
            Some(ping_ms) => (self.heard_ms + options.silence_ms).max(ping_ms + patience_ms),
            None => u64::MAX,
        }
    }

    fn slow_ms(&self, options: &Options) -> u64 {
        self.part.as_ref().map_or(u64::MAX, |part| part.progress_ms + options.sync_ms)
    }

    fn unanswered_ms(&self, options: &Options) -> u64 {
        // A message that is on its way has its own time.
        let part_ms = self.part.as_ref().map_or(0, |part| part.progress_ms);
        if self.request.is_some() { self.progress_ms.max(part_ms) + options.sync_ms } else { u64::MAX }
    }

    /// When one of these is due.
    pub fn deadline_ms(&self, options: &Options) -> u64 {
        let ends_ms = self.silent_ms(options).min(self.unanswered_ms(options)).min(self.slow_ms(options));
        let overdue_ms = if self.overdue { u64::MAX } else { self.overdue_ms(options) };
        self.next_ping_ms.min(ends_ms).min(overdue_ms).min(self.forgiven_ms(options))
    }
}
