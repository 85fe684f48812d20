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
    /// When the answer was asked for, or a part of a message last came in.
    progress_ms: u64,
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
            known,
            told: None,
            probed: false,
            brought_full: false,
            heard_of: HashSet::new(),
            forgiven: false,
            heard_ms: now_ms,
            progress_ms: now_ms,
            next_ping_ms: now_ms + options.ping_ms,
            unanswered_ping_ms: None,
        }
    }

    pub fn is_synced(&self) -> bool {
        self.synced_ms.is_some()
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
        self.progress_ms = now_ms;
    }

    /// Bytes came in; `unfinished` if they are of a message that is not complete.
    pub fn heard(&mut self, unfinished: bool, now_ms: u64) {
        self.heard_ms = now_ms;
        self.unanswered_ping_ms = None;
        if unfinished {
            self.progress_ms = now_ms;
        }
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

    fn unanswered_ms(&self, options: &Options) -> u64 {
        if self.request.is_some() { self.progress_ms + options.sync_ms } else { u64::MAX }
    }

    /// When one of these is due.
    pub fn deadline_ms(&self, options: &Options) -> u64 {
        let ends_ms = self.silent_ms(options).min(self.unanswered_ms(options));
        self.next_ping_ms.min(ends_ms).min(self.forgiven_ms(options))
    }
}
