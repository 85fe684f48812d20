//! Follows a server: when to connect, what to ask, what to believe, when to give up on a connection.
//!
//! Must not touch a socket, a clock or the data: times, chance and what came in are arguments, what is to be done
//! comes out as [`Action`]s. Never ends: whatever the server does, sooner or later there is another attempt.
//!
//! A connection is a *line*, numbered as the dial that opened it. There is one, or two for a while: a server maps a
//! connection to its environments when it is opened, so when a full sync brings an environment or server secret that
//! the server did not know of then, a second one is opened, synced, and the first closed. Both are read meanwhile. Which
//! environments a connection is mapped to is told by the answer to a request for what is newer.

#[cfg(test)]
mod cover_tests;
mod coverage;
#[cfg(test)]
mod doubt_tests;
mod line;
mod registration;
mod sync;
#[cfg(test)]
mod tests;
mod uncovered;
#[cfg(test)]
mod world;
#[cfg(test)]
mod world_steps;

use std::collections::VecDeque;

use crate::client::random::Random;
use crate::client::retry::{Retry, Throttle};
use crate::protocol::from_relay::RelayRequest;
use crate::protocol::status::SyncState;

pub(super) use coverage::Coverage;
pub(super) use line::Vouches;
use line::{Line, Request};
use registration::Registration;
pub(super) use sync::{Brought, Take};
use uncovered::Uncovered;

/// Between two things that are done rarely, if there are no full syncs by time, in milliseconds.
const PAUSE_MS: u64 = 600_000;

/// How long after its own deadline a dial is given up that says nothing, in milliseconds.
const DIAL_SLACK_MS: u64 = 5_000;

/// Spans of time, in milliseconds.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// Between pings.
    pub ping_ms: u64,
    /// Without a byte heard, after which a connection is given up.
    pub silence_ms: u64,
    /// Without progress of an answer, after which a connection is given up.
    pub sync_ms: u64,
    /// Bytes of a message that has begun that have to come in that time.
    pub sync_bytes: u64,
    /// Between full syncs; 0 for none.
    pub resync_ms: u64,
    /// Between full syncs for secrets that are not known, or whose grace is due.
    pub unknown_secret_ms: u64,
    /// The longest delay between attempts.
    pub retry_ms: u64,
    /// Between status reports.
    pub status_ms: u64,
    /// A dial's own deadline.
    pub dial_ms: u64,
}

impl Options {
    /// How rarely is rare: the time between full syncs, or what is used in its place if there are none by time.
    fn pause_ms(&self) -> u64 {
        if self.resync_ms == 0 { PAUSE_MS } else { self.resync_ms }
    }
}

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Open a connection, and say so with this number; register too if told, and say what became of that.
    Dial { number: u64, register: bool },
    /// Register, and say what became of it.
    Register,
    /// Send a request for data. If it asks for a full sync, what is pushed from now on is to be remembered until the answer
    /// comes.
    Ask { line: u64, request: RelayRequest },
    /// Send a ping.
    Ping { line: u64 },
    /// Report the agent's status.
    Report { line: u64 },
    /// Close it in order: another has taken its place. What it still says counts.
    Close { line: u64 },
    /// Let go of it.
    Drop { line: u64, why: Why },
}

/// Why a connection is let go of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Nothing was heard.
    Silent,
    /// The answer did not come, or came no further.
    Unanswered,
    /// A message came, but too slowly ever to end.
    Slow,
    /// Something else came where an answer was awaited.
    Unreadable,
    /// It came after its dial had been given up.
    Late,
}

/// How trying to connect failed, or how a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The server knows better than to let this agent in: its key, its licence.
    Refused,
    /// Anything else.
    Failed,
}

/// What the data can tell.
pub(super) trait Data {
    /// The request for what is newer than what is held of this server, if it may be sent.
    fn since(&self) -> Option<RelayRequest>;
    /// Numbers a full sync that is about to be asked for.
    fn begin_full(&mut self) -> u64;
}

/// A dial under way.
#[derive(Debug)]
struct Dial {
    number: u64,
    give_up_ms: u64,
    /// What the data covered when it began.
    known: Option<Coverage>,
}

/// The state machine. See the module.
#[derive(Debug)]
pub(super) struct Follow {
    options: Options,
    random: Random,
    actions: VecDeque<Action>,
    /// Oldest first; at most two.
    lines: Vec<Line>,
    dial: Option<Dial>,
    numbers: u64,
    next_dial_ms: u64,
    retry: Retry,
    failed_attempts: u64,
    registration: Registration,
    /// Lines of lower numbers are not told of everything.
    cover_from: u64,
    coverage: Coverage,
    /// Whether a full of this server is in service.
    loaded: bool,
    /// Something could not be taken in since the last full that could.
    trouble: bool,
    /// A full is wanted, from this time on.
    full_ms: Option<u64>,
    gate: Throttle,
    /// A full is wanted for what the server said that is not understood, from this time on.
    puzzle_ms: Option<u64>,
    puzzle_gate: Throttle,
    /// Unknown secrets were shown.
    wish: bool,
    next_wish_ms: u64,
    /// Something is to end that only a full ends.
    doubt: bool,
    next_doubt_ms: u64,
    doubt_pause_ms: u64,
    doubt_gate: Throttle,
    next_resync_ms: u64,
    /// When a line may be replaced again that hears no pushes, or is not told of the environments that its predecessor
    /// was not told of.
    next_deaf_ms: u64,
    uncovered: Uncovered,
    /// What was pushed since the full was asked for could not be remembered.
    spoilt: bool,
    /// What is held is not only of this server.
    disturbed: bool,
    next_status_ms: u64,
    reported: SyncState,
}

impl Follow {
    /// One that has not begun; the first [`Self::tick`] dials.
    pub fn new(options: Options, seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            actions: VecDeque::new(),
            lines: Vec::new(),
            dial: None,
            numbers: 0,
            next_dial_ms: 0,
            retry: Retry::new(options.retry_ms),
            failed_attempts: 0,
            registration: Registration::new(options.retry_ms),
            cover_from: 0,
            coverage: Coverage::default(),
            loaded: false,
            trouble: false,
            full_ms: None,
            gate: Throttle::new(options.retry_ms),
            puzzle_ms: None,
            puzzle_gate: Throttle::new(options.pause_ms()),
            wish: false,
            next_wish_ms: 0,
            doubt: false,
            next_doubt_ms: 0,
            doubt_pause_ms: options.unknown_secret_ms,
            doubt_gate: Throttle::new(options.retry_ms),
            next_resync_ms: u64::MAX,
            next_deaf_ms: 0,
            uncovered: Uncovered::default(),
            spoilt: false,
            disturbed: false,
            next_status_ms: u64::MAX,
            reported: SyncState::Starting,
            options,
        }
    }

    /// The next thing to do.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// FeatBit's word for where the agent stands.
    pub fn state(&self) -> SyncState {
        if !self.loaded {
            SyncState::Starting
        } else if self.trouble || !self.lines.iter().any(Line::is_up_to_date) {
            SyncState::Interrupted
        } else {
            SyncState::Stable
        }
    }

    /// Whether what is held is what the server holds, as far as this line tells.
    pub fn is_up_to_date(&self, number: u64) -> bool {
        self.lines.iter().any(|line| line.number == number && line.is_up_to_date())
    }

    /// Attempts that failed since the last one that did not.
    pub fn failed_attempts(&self) -> u64 {
        self.failed_attempts
    }

    /// Does what is due. To be called after everything else, and at [`Self::deadline_ms`].
    pub fn tick(&mut self, now_ms: u64, data: &mut impl Data) {
        self.time_out_dial(now_ms);
        self.time_lines(now_ms);
        self.ask_full(now_ms, data);
        self.probe(now_ms, data);
        self.redial(now_ms);
        self.register(now_ms);
        self.report(now_ms);
    }

    /// When [`Self::tick`] has something to do, if nothing else happens.
    pub fn deadline_ms(&self) -> u64 {
        let lines = self.lines.iter().map(|line| line.deadline_ms(&self.options));
        let dial = match &self.dial {
            Some(dial) => dial.give_up_ms,
            None if self.wants_dial() => self.next_dial_ms,
            None => u64::MAX,
        };
        let status = if self.lines.is_empty() { u64::MAX } else { self.next_status_ms };
        let full = if self.asks_on().is_some() { self.full_due_ms() } else { u64::MAX };
        let register = if self.registers_alone() { self.registration.due_ms() } else { u64::MAX };
        lines.chain([dial, status, full, register]).min().unwrap_or(u64::MAX)
    }

    fn line(&mut self, number: u64) -> Option<&mut Line> {
        self.lines.iter_mut().find(|line| line.number == number)
    }

    // Dials.

    fn wants_dial(&self) -> bool {
        self.dial.is_none()
            && self.lines.len() < 2
            && !self.lines.iter().any(|line| line.number >= self.cover_from)
    }

    fn redial(&mut self, now_ms: u64) {
        if !self.wants_dial() || now_ms < self.next_dial_ms {
            return;
        }
        self.numbers += 1;
        let number = self.numbers;
        let give_up_ms = now_ms + self.options.dial_ms + DIAL_SLACK_MS;
        let known = self.loaded.then(|| self.coverage.clone());
        self.dial = Some(Dial { number, give_up_ms, known });
        let register = self.registration.is_wanted();
        if register {
            self.registration.begun();
        }
        self.actions.push_back(Action::Dial { number, register });
    }

    fn time_out_dial(&mut self, now_ms: u64) {
        if self.dial.as_ref().is_some_and(|dial| now_ms >= dial.give_up_ms) {
            self.dial = None;
            self.failed(now_ms, Fault::Failed);
        }
    }

    /// The server took the registration.
    pub fn registered(&mut self) {
        self.registration.is_done();
    }

    /// The server did not take the registration.
    pub fn not_registered(&mut self, now_ms: u64, fault: Fault) {
        self.registration.failed(now_ms, fault, &mut self.random);
    }

    /// Whether nothing else registers.
    fn registers_alone(&self) -> bool {
        self.dial.is_none() && !self.lines.is_empty()
    }

    fn register(&mut self, now_ms: u64) {
        if self.registers_alone() && now_ms >= self.registration.due_ms() {
            self.registration.begun();
            self.actions.push_back(Action::Register);
        }
    }

    /// A dial came to an end.
    pub fn dialled(&mut self, now_ms: u64, number: u64, result: Result<(), Fault>, data: &mut impl Data) {
        let Some(dial) = self.dial.take_if(|dial| dial.number == number) else {
            if result.is_ok() {
                self.actions.push_back(Action::Drop { line: number, why: Why::Late });
            }
            return;
        };
        match result {
            Err(fault) => self.failed(now_ms, fault),
            Ok(()) => {
                let line = Line::new(number, dial.known, now_ms, &self.options);
                self.lines.push(line);
                self.next_status_ms = now_ms;
                self.first_ask(now_ms, data);
            }
        }
    }

    fn failed(&mut self, now_ms: u64, fault: Fault) {
        self.failed_attempts += 1;
        self.wait(now_ms, fault);
    }

    /// Puts the next dial off.
    fn wait(&mut self, now_ms: u64, fault: Fault) {
        let random = self.random.draw();
        let delay_ms = match fault {
            Fault::Refused => {
                self.registration.forget();
                self.retry.refused(random)
            }
            Fault::Failed => self.retry.failed(random),
        };
        self.next_dial_ms = now_ms + delay_ms;
    }

    // Lines.

    /// Bytes came in on a line; `unfinished` if the last of them are of a message that is not complete.
    pub fn heard(&mut self, now_ms: u64, number: u64, bytes: u64, unfinished: bool) {
        let least = self.options.sync_bytes;
        if let Some(line) = self.line(number) {
            line.heard(bytes, unfinished, least, now_ms);
        }
    }

    /// The other end of a line, an agent of our make, says whether it is in touch with what it follows itself. The
    /// line stays as good as any: what comes on it is all there is.
    pub fn above(&mut self, number: u64, is_current: bool) {
        if let Some(line) = self.line(number) {
            line.is_above_current = is_current;
        }
    }

    /// A line ended.
    pub fn ended(&mut self, now_ms: u64, number: u64, fault: Fault) {
        let Some(line) = self.forget(number) else { return };
        if !line.is_synced() {
            // As a server refuses a key: it lets the agent in, and closes at once.
            self.failed_attempts += 1;
        }
        self.lost(now_ms, fault);
    }

    /// Takes a line out, if it is there.
    fn forget(&mut self, number: u64) -> Option<Line> {
        let at = self.lines.iter().position(|line| line.number == number)?;
        let line = self.lines.remove(at);
        if line.full_asked().is_some() {
            // Whatever it was asked for, nobody has answered it.
            self.full_ms.get_or_insert(0);
        }
        Some(line)
    }

    fn lost(&mut self, now_ms: u64, fault: Fault) {
        if fault == Fault::Refused {
            self.registration.forget();
        }
        if self.wants_dial() {
            self.wait(now_ms, fault);
        }
    }

    fn time_lines(&mut self, now_ms: u64) {
        let Self { lines, options, actions, retry, .. } = self;
        let mut given_up = Vec::new();
        for line in lines {
            if let Some(why) = line.given_up(now_ms, options) {
                given_up.push(line.number);
                actions.push_back(Action::Drop { line: line.number, why });
            } else if line.take_ping(now_ms, options) {
                actions.push_back(Action::Ping { line: line.number });
            }
            line.see_overdue(now_ms, options);
            if line.take_forgiveness(now_ms, options) {
                retry.reset();
            }
        }
        for number in given_up {
            self.ended(now_ms, number, Fault::Failed);
        }
    }

    /// Closes the lines before one that is synced.
    fn take_over(&mut self, number: u64) {
        while let Some(older) = self.lines.first().map(|line| line.number).filter(|older| *older < number) {
            self.forget(older);
            self.actions.push_back(Action::Close { line: older });
        }
    }

    fn report(&mut self, now_ms: u64) {
        let state = self.state();
        let Some(line) = self.lines.last() else {
            self.reported = state;
            return;
        };
        if state != self.reported || now_ms >= self.next_status_ms {
            self.reported = state;
            self.next_status_ms = now_ms + self.options.status_ms;
            self.actions.push_back(Action::Report { line: line.number });
        }
    }
}
