//! What is asked of the server, and what is done with what it says.

use std::collections::HashSet;

use crate::model::environment_id::EnvironmentId;
use crate::protocol::from_relay::RelayRequest;
use crate::protocol::to_relay::MessageKind;

use super::coverage::Coverage;
use super::line::{Line, Vouches};
use super::uncovered::Uncovered;
use super::{Action, Data, Fault, Follow, Request, Why};

/// The longest pause between two fulls that are to end a grace, as a multiple of the first.
const DOUBT_PAUSES_MAX: u64 = 16;

/// A message, as far as it matters what is done with it.
#[derive(Clone, Copy, Debug)]
pub(in crate::sync::upstream) enum Brought<'a> {
    /// Everything.
    Full {
        coverage: &'a Coverage,
        /// Whether it would empty what is in service, which nobody means.
        empty: bool,
        /// Whether it says nothing of secrets that it lacks.
        provisional: bool,
    },
    /// What is newer than what was asked for, of these environments: those that the server tells this line of, whether
    /// or not something of them is newer. `strange`: one of them is not held.
    Patch { environments: &'a [EnvironmentId], strange: bool },
    /// Items that changed, of these environments.
    Change { environments: &'a [EnvironmentId], strange: bool },
    /// All that this environment holds, unasked. `None` if it cannot be told which environment that is. `strange`: it is
    /// not held.
    Environment { environment: Option<EnvironmentId>, strange: bool },
    /// What was sent before is certainly all there was when the full of this number was asked for.
    Verified(u64),
    /// It cannot be used; of this kind, as far as that could be read.
    Broken(Option<MessageKind>),
    /// It may say anything.
    Unknown,
    /// It says nothing about data.
    Other,
}

/// What is to be done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sync::upstream) enum Take {
    /// Nothing.
    Nothing,
    /// Nothing, and it is to be reported: it would empty what is in service.
    Refuse,
    /// Everything is as it says, but for what was pushed since it was asked for. `answered`: the number of the full
    /// that it answers for certain.
    Everything { answered: Option<u64> },
    /// What is in service answers the full of this number for certain.
    Certain { answered: u64 },
    /// What the full of this number lacks is gone for certain; what is unknown may not be.
    Proved { answered: u64 },
    /// Its items are to be taken in as far as their environments are held. `remember`: and kept for the full that
    /// is under way.
    Items { remember: bool },
    /// It is to be kept for the full that is under way, without which its items have no place.
    Remember,
}

impl Follow {
    /// A message came in on a line (also on one that is being closed).
    pub fn message(&mut self, now_ms: u64, number: u64, brought: Brought<'_>) -> Take {
        match brought {
            Brought::Other => Take::Nothing,
            Brought::Unknown | Brought::Environment { environment: None, .. } => {
                self.puzzled(now_ms);
                Take::Nothing
            }
            Brought::Environment { environment: Some(environment), strange } => {
                if let Some(line) = self.line(number) {
                    line.heard_of.insert(environment);
                }
                self.items(now_ms, strange)
            }
            Brought::Verified(answered) => match self.line(number) {
                // Whoever verifies what was not asked for on this line means somebody else.
                Some(line) if answered <= line.last_full => match line.vouches {
                    Vouches::All => Take::Certain { answered },
                    Vouches::Gone => Take::Proved { answered },
                    // What is held is not what was told.
                    Vouches::Nothing => Take::Nothing,
                },
                _ => Take::Nothing,
            },
            Brought::Broken(kind) => {
                self.broken(now_ms, number, kind);
                Take::Nothing
            }
            Brought::Full { coverage, empty, provisional } => {
                self.full(now_ms, number, coverage, empty, provisional)
            }
            Brought::Patch { environments, strange } => {
                let answers = self
                    .line(number)
                    .is_some_and(|line| line.request.take_if(|request| *request == Request::Since).is_some());
                if answers {
                    self.told(now_ms, number, environments);
                }
                let take = self.items(now_ms, strange);
                if answers {
                    self.synced(now_ms, number);
                }
                take
            }
            Brought::Change { environments, strange } => {
                if let Some(line) = self.line(number) {
                    line.heard_of.extend(environments);
                }
                self.items(now_ms, strange)
            }
        }
    }

    /// The server tells a line of these environments, and of no others as long as it is open.
    fn told(&mut self, now_ms: u64, number: u64, environments: &[EnvironmentId]) {
        let Some(line) = self.line(number) else { return };
        line.told = Some(environments.iter().copied().collect());
        let brought_full = line.brought_full;
        let untold = self.untold();
        self.uncovered.keep_only(|environment| untold.contains(&environment));
        if untold.is_empty() {
            self.uncovered = Uncovered::default();
        } else if brought_full {
            self.cover_untold(now_ms);
        } else if self.uncovered.take_first_answer(number, self.cover_from)
            || untold != self.uncovered.environments
            || now_ms >= self.next_deaf_ms
        {
            // What is held is older than the line: they may have left the scope. A full tells.
            self.want_full(now_ms);
        }
    }

    /// The environments that are held and that the youngest line is not told of.
    fn untold(&self) -> HashSet<EnvironmentId> {
        let Some(told) = self.lines.last().and_then(|line| line.told.as_ref()) else {
            return HashSet::new();
        };
        self.coverage.pushed().filter(|environment| !told.contains(environment)).collect()
    }

    /// Has the youngest line replaced if it is not told of everything that is held by a full younger than it. If its
    /// successor is not told of the same, the server has its reasons, and is asked more rarely.
    fn cover_untold(&mut self, now_ms: u64) {
        let untold = self.untold();
        if !untold.is_empty() && (self.uncovered.is_reason(&untold) || now_ms >= self.next_deaf_ms) {
            self.uncovered.tried(untold);
            self.replace_deaf(now_ms);
        }
    }

    fn replace_deaf(&mut self, now_ms: u64) {
        self.next_deaf_ms = now_ms + self.options.pause_ms();
        self.cover_all();
    }

    /// Has a line opened that is told of all that is held.
    fn cover_all(&mut self) {
        // One that is being dialled may have been mapped before.
        self.cover_from = self.numbers + 1;
    }

    fn broken(&mut self, now_ms: u64, number: u64, kind: Option<MessageKind>) {
        self.troubled(now_ms);
        let Some(line) = self.line(number) else { return };
        if matches!(kind, Some(MessageKind::Full) | None) {
            line.vouches = Vouches::Nothing;
        }
        match (line.request, kind) {
            (Some(Request::Full(_)), Some(MessageKind::Full))
            | (Some(Request::Since), Some(MessageKind::Full | MessageKind::Patch)) => line.request = None,
            (Some(_), None) => {
                // Nobody can tell whether that was the answer, and what would be made of one that comes later.
                self.actions.push_back(Action::Drop { line: number, why: Why::Unreadable });
                self.ended(now_ms, number, Fault::Failed);
            }
            _ => {}
        }
    }

    fn items(&mut self, now_ms: u64, strange: bool) -> Take {
        let under_way = self.full_under_way();
        if !self.loaded {
            return if under_way { Take::Remember } else { Take::Nothing };
        }
        // One that is under way may bring it; if it does not, that is seen then.
        if strange && !under_way {
            self.want_full(now_ms);
        }
        Take::Items { remember: under_way }
    }

    fn full(
        &mut self,
        now_ms: u64,
        number: u64,
        coverage: &Coverage,
        empty: bool,
        provisional: bool,
    ) -> Take {
        // One that comes late, on a line that is being closed: the next will tell the same.
        let Some(line) = self.line(number) else { return Take::Nothing };
        let asked = line.full_asked();
        line.answers_full = asked.is_some();
        line.vouches = Vouches::Nothing;
        if line.known.is_none() || asked.is_some() && !line.is_synced() {
            line.known = Some(coverage.clone());
        }
        // Whatever was asked for, this tells as much.
        line.request = None;
        let spoilt = asked.is_some() && std::mem::take(&mut self.spoilt);
        if empty {
            self.troubled(now_ms);
            return Take::Refuse;
        }
        if spoilt && self.loaded {
            self.want_full(now_ms);
            return Take::Nothing;
        }
        Take::Everything { answered: asked.filter(|_| !provisional) }
    }

    /// Of something that was pushed, not all could be read: a full may tell it better.
    pub fn lost_some(&mut self, now_ms: u64) {
        if !self.full_under_way() {
            self.want_full(now_ms);
        }
    }

    /// What was pushed while a full is under way could not be remembered: it would take some of it back.
    pub fn overflowed(&mut self) {
        self.spoilt = true;
    }

    /// A full is in service. `changed`: the environments of which it brought something new; `strange`: what was
    /// pushed since it was asked for names an environment that it lacks. `vouches`: what the other end may make certain
    /// of it later.
    pub fn in_service(
        &mut self,
        now_ms: u64,
        number: u64,
        coverage: Coverage,
        changed: &[EnvironmentId],
        strange: bool,
        vouches: Vouches,
    ) {
        let first = self.line(number).is_some_and(|line| !line.is_synced());
        self.loaded = true;
        self.trouble = false;
        if strange {
            self.want_full(now_ms);
        }
        self.next_resync_ms = match self.options.resync_ms {
            0 => u64::MAX,
            resync_ms => {
                let spread_ms = resync_ms / 10;
                now_ms + resync_ms - spread_ms + self.random.draw() % (2 * spread_ms + 1)
            }
        };
        self.synced(now_ms, number);
        if let Some(line) = self.line(number) {
            line.brought_full = true;
        }
        for line in &mut self.lines {
            line.vouches = if line.number == number { vouches } else { Vouches::Nothing };
        }
        let deaf = |line: &Line| {
            let silent = |environment: &&EnvironmentId| {
                !line.heard_of.contains(environment) && coverage.is_pushed(**environment)
            };
            line.number == number
                && !first
                && line.answers_full
                && line.told.is_none()
                && changed.iter().any(|environment| silent(&environment))
        };
        if let Some(line) = self.lines.last() {
            let lacks = line.known.as_ref().is_some_and(|known| known.lacks(&coverage));
            let deaf = now_ms >= self.next_deaf_ms && deaf(line);
            if deaf {
                self.replace_deaf(now_ms);
            } else if lacks {
                self.cover_all();
            }
        }
        self.uncovered.keep_only(|environment| coverage.is_pushed(environment));
        self.coverage = coverage;
        if self.lines.last().is_some_and(|line| line.brought_full) {
            self.cover_untold(now_ms);
        }
    }

    /// Data came in by another way: only a full tells what is held of this server.
    pub fn disturbed(&mut self) {
        self.disturbed = true;
    }

    /// There is another key: it may open other environments, so that a new line is to bring everything, and nothing that
    /// went wrong before need go wrong again.
    pub fn rekeyed(&mut self, now_ms: u64) {
        self.disturbed = true;
        self.cover_all();
        self.registration.forget();
        self.retry.reset();
        self.next_dial_ms = now_ms;
    }

    /// Somebody asks for a full now.
    pub fn resync(&mut self) {
        self.full_ms = Some(0);
    }

    /// Secrets are shown that are not known.
    pub fn wish(&mut self) {
        self.wish = true;
    }

    /// Whether the grace of something is due, so that only a full ends it that is asked for after that. To be said
    /// whenever it may have changed.
    pub fn doubt(&mut self, now_ms: u64, doubt: bool) {
        if doubt && !self.doubt {
            let random = self.random.draw();
            self.next_doubt_ms = self.doubt_gate.next_ms(now_ms, random);
            self.doubt_pause_ms = self.options.unknown_secret_ms;
        }
        self.doubt = doubt;
    }

    /// A line has had its answer.
    fn synced(&mut self, now_ms: u64, number: u64) {
        let Some(line) = self.line(number) else { return };
        if line.synced_ms.is_none() {
            line.synced_ms = Some(now_ms);
            self.failed_attempts = 0;
            self.take_over(number);
        }
    }

    fn troubled(&mut self, now_ms: u64) {
        self.trouble = true;
        self.want_full(now_ms);
    }

    /// Wants a full, at once unless one was wanted just before.
    fn want_full(&mut self, now_ms: u64) {
        if self.full_ms.is_none() {
            let random = self.random.draw();
            self.full_ms = Some(self.gate.next_ms(now_ms, random));
        }
    }

    /// The server says something of which nobody can tell what it changes, so that a full has to. One that says it again and
    /// again, or with each full, is asked ever more rarely, at last as rarely as by time.
    fn puzzled(&mut self, now_ms: u64) {
        if self.puzzle_ms.is_none() {
            let random = self.random.draw();
            self.puzzle_ms = Some(self.puzzle_gate.next_ms(now_ms, random));
        }
    }

    /// Whether a full was asked for and not yet answered.
    pub fn full_under_way(&self) -> bool {
        self.lines.iter().any(|line| line.full_asked().is_some())
    }

    /// When a full is to be asked for.
    pub(super) fn full_due_ms(&self) -> u64 {
        let wish_ms = if self.wish { self.next_wish_ms } else { u64::MAX };
        let doubt_ms = if self.doubt { self.next_doubt_ms } else { u64::MAX };
        let wanted_ms = self.full_ms.into_iter().chain(self.puzzle_ms).min().unwrap_or(u64::MAX);
        wanted_ms.min(wish_ms).min(doubt_ms).min(self.next_resync_ms)
    }

    /// The line on which a full can be asked for.
    pub(super) fn asks_on(&self) -> Option<u64> {
        let line = self.lines.last().filter(|line| line.request.is_none())?;
        (!self.full_under_way()).then_some(line.number)
    }

    pub(super) fn ask_full(&mut self, now_ms: u64, data: &mut impl Data) {
        if let Some(number) = self.asks_on()
            && now_ms >= self.full_due_ms()
        {
            self.ask(now_ms, number, None, data);
        }
    }

    /// Asks a line that began with everything for what is newer: the answer names the environments that it is told of,
    /// which may have been others when it was opened.
    pub(super) fn probe(&mut self, now_ms: u64, data: &mut impl Data) {
        let Some(number) = self.asks_on() else { return };
        let Some(line) = self.line(number) else { return };
        if !line.brought_full || line.told.is_some() || std::mem::replace(&mut line.probed, true) {
            return;
        }
        if let Some(since) = data.since() {
            self.ask(now_ms, number, Some(since), data);
        }
    }

    /// The first request on the youngest line.
    pub(super) fn first_ask(&mut self, now_ms: u64, data: &mut impl Data) {
        let Some(number) = self.lines.last().map(|line| line.number) else { return };
        let under_way = self.full_under_way();
        let wants_full = !self.loaded || self.disturbed || now_ms >= self.full_due_ms();
        let since = if wants_full && !under_way { None } else { data.since() };
        if since.is_none() && under_way {
            // One at a time: when that one is answered.
            self.full_ms = Some(0);
            return;
        }
        self.ask(now_ms, number, since, data);
    }

    /// Asks for what is newer, or for everything.
    fn ask(&mut self, now_ms: u64, number: u64, since: Option<RelayRequest>, data: &mut impl Data) {
        let awaited = if since.is_none() { Request::Full(data.begin_full()) } else { Request::Since };
        let mut request = since.unwrap_or_else(RelayRequest::full);
        if let Request::Full(asked) = awaited {
            if self.wish || self.doubt {
                request = RelayRequest::verified_full(asked);
            }
            if self.doubt {
                // Down a chain the answer takes its time, and whoever asks again meanwhile makes it take longer.
                self.next_doubt_ms = now_ms + self.doubt_pause_ms;
                let longest_ms = self.options.unknown_secret_ms.saturating_mul(DOUBT_PAUSES_MAX);
                self.doubt_pause_ms = self.doubt_pause_ms.saturating_mul(2).min(longest_ms);
            }
            self.full_ms = None;
            self.puzzle_ms = None;
            self.next_resync_ms = u64::MAX;
            self.disturbed = false;
            self.spoilt = false;
            if std::mem::take(&mut self.wish) {
                self.next_wish_ms = now_ms + self.options.unknown_secret_ms;
            }
        }
        if let Some(line) = self.line(number) {
            line.asked(awaited, now_ms);
        }
        self.actions.push_back(Action::Ask { line: number, request });
    }
}
