//! What a message of the server means: for the data, and for what is asked next.

use crate::model::environment_id::EnvironmentId;
use crate::protocol::to_relay::MessageKind;

use super::action::{Action, DropReason, FailureKind};
use super::coverage::Coverage;
use super::follower::Follower;
use super::session::{Awaits, Confirms};
use super::sessions::NewFull;

/// A message, as far as it matters what is done with it.
#[derive(Clone, Copy, Debug)]
pub enum Received<'a> {
    /// All there is.
    Full {
        coverage: &'a Coverage,
        /// Whether it would empty what is in service, which must be a mistake.
        empty: bool,
        /// Whether it says nothing of secrets that it lacks.
        provisional: bool,
    },
    /// What is newer than what was asked for. It names all environments that the server pushes on this session, whether
    /// or not something of them is newer. `unknown_environment`: one of them is not in service.
    Patch { environments: &'a [EnvironmentId], unknown_environment: bool },
    /// Items that changed, of these environments.
    Change { environments: &'a [EnvironmentId], unknown_environment: bool },
    /// All of this environment, unasked. `None` if nobody can tell which environment that is.
    Environment { environment: Option<EnvironmentId>, unknown_environment: bool },
    /// What was sent before is certainly all there was when the full sync of this number was asked for.
    Verified(u64),
    /// It cannot be read; of this kind, as far as that can be seen.
    Unreadable(Option<MessageKind>),
    /// It may say anything.
    Unknown,
    /// It says nothing about data.
    Other,
}

/// What is to be done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// Nothing.
    Ignore,
    /// Nothing, and report it: it would empty what is in service.
    Refuse,
    /// Put it in service as it is, but for what was pushed since it was asked for, and say so by
    /// [`Follower::full_in_service`]. `answered`: the number of the full sync that it answers for certain.
    ReplaceAll { answered: Option<u64> },
    /// What is in service answers the full sync of this number for certain.
    ConfirmAll { answered: u64 },
    /// What the full sync of this number lacks is gone for certain; what is unknown may exist.
    ConfirmRemovals { answered: u64 },
    /// Merge its items, as far as their environments are in service. `remember`: and keep it for the full sync that is
    /// under way.
    Merge { remember: bool },
    /// Keep it for the full sync that is under way, without which its items have no place.
    Remember,
}

impl Follower {
    /// A message came in on a session (also on one that is being closed).
    pub fn message(&mut self, now_ms: u64, number: u64, received: Received<'_>) -> Instruction {
        match received {
            Received::Other => Instruction::Ignore,
            Received::Unknown | Received::Environment { environment: None, .. } => {
                self.schedule.unknown_message(now_ms, &mut self.random);
                Instruction::Ignore
            }
            Received::Environment { environment: Some(environment), unknown_environment } => {
                if let Some(session) = self.sessions.get(number) {
                    session.pushed.insert(environment);
                }
                self.items(now_ms, unknown_environment)
            }
            Received::Change { environments, unknown_environment } => {
                if let Some(session) = self.sessions.get(number) {
                    session.pushed.extend(environments);
                }
                self.items(now_ms, unknown_environment)
            }
            Received::Patch { environments, unknown_environment } => {
                self.patch(now_ms, number, environments, unknown_environment)
            }
            Received::Full { coverage, empty, provisional } => {
                self.full(now_ms, number, coverage, empty, provisional)
            }
            Received::Verified(answered) => self.verified(number, answered),
            Received::Unreadable(kind) => {
                self.unreadable(now_ms, number, kind);
                Instruction::Ignore
            }
        }
    }

    fn patch(
        &mut self,
        now_ms: u64,
        number: u64,
        environments: &[EnvironmentId],
        unknown_environment: bool,
    ) -> Instruction {
        let answers = self
            .sessions
            .get(number)
            .is_some_and(|session| session.awaits.take_if(|awaits| *awaits == Awaits::Since).is_some());
        if answers {
            let last_dial = self.dialling.last_number();
            if self.sessions.mapped(now_ms, number, environments, last_dial) {
                self.schedule.wanted(now_ms, &mut self.random);
            }
        }
        let instruction = self.items(now_ms, unknown_environment);
        if answers {
            self.synced(now_ms, number);
        }
        instruction
    }

    fn items(&mut self, now_ms: u64, unknown_environment: bool) -> Instruction {
        let under_way = self.full_sync_under_way();
        if !self.loaded {
            return if under_way { Instruction::Remember } else { Instruction::Ignore };
        }
        // A full sync that is under way may bring the environment; if it does not, that is seen then.
        if unknown_environment && !under_way {
            self.schedule.wanted(now_ms, &mut self.random);
        }
        Instruction::Merge { remember: under_way }
    }

    fn full(
        &mut self,
        now_ms: u64,
        number: u64,
        coverage: &Coverage,
        empty: bool,
        provisional: bool,
    ) -> Instruction {
        // One that comes late, on a session that is being closed: the next one brings the same.
        let Some(session) = self.sessions.get(number) else { return Instruction::Ignore };
        let asked = session.full_awaited();
        session.answers_request = asked.is_some();
        session.confirms = Confirms::Nothing;
        if session.known.is_none() || asked.is_some() && !session.is_synced() {
            session.known = Some(coverage.clone());
        }
        // Whatever was asked for, this brings as much.
        session.awaits = None;
        let would_undo_pushes = asked.is_some() && std::mem::take(&mut self.pushes_lost);
        if empty {
            self.trouble(now_ms);
            return Instruction::Refuse;
        }
        if would_undo_pushes && self.loaded {
            self.schedule.wanted(now_ms, &mut self.random);
            return Instruction::Ignore;
        }
        Instruction::ReplaceAll { answered: asked.filter(|_| !provisional) }
    }

    fn verified(&mut self, number: u64, answered: u64) -> Instruction {
        // What was not asked for on this session is meant for somebody else.
        let asked = |last_full: u64| answered <= last_full;
        match self.sessions.get(number).filter(|session| asked(session.last_full)) {
            Some(session) => match session.confirms {
                Confirms::Everything => Instruction::ConfirmAll { answered },
                Confirms::Removals => Instruction::ConfirmRemovals { answered },
                // What is in service is not what was sent.
                Confirms::Nothing => Instruction::Ignore,
            },
            None => Instruction::Ignore,
        }
    }

    fn unreadable(&mut self, now_ms: u64, number: u64, kind: Option<MessageKind>) {
        self.trouble(now_ms);
        let Some(session) = self.sessions.get(number) else { return };
        if matches!(kind, Some(MessageKind::Full) | None) {
            session.confirms = Confirms::Nothing;
        }
        match (session.awaits, kind) {
            (Some(Awaits::Full(_)), Some(MessageKind::Full))
            | (Some(Awaits::Since), Some(MessageKind::Full | MessageKind::Patch)) => session.awaits = None,
            (Some(_), None) => {
                // Nobody can tell whether that was the answer, and so what a later one means.
                self.actions.push_back(Action::Drop { number, why: DropReason::Unreadable });
                self.ended(now_ms, number, FailureKind::Failed);
            }
            _ => {}
        }
    }

    fn trouble(&mut self, now_ms: u64) {
        self.trouble = true;
        self.schedule.wanted(now_ms, &mut self.random);
    }

    /// A full sync is in service. `unknown_environment`: what was pushed since it was asked for names an environment that
    /// it lacks.
    pub fn full_in_service(&mut self, now_ms: u64, full: NewFull<'_>, unknown_environment: bool) {
        let number = full.number;
        let is_first = self.sessions.get(number).is_some_and(|session| !session.is_synced());
        self.loaded = true;
        self.trouble = false;
        if unknown_environment {
            self.schedule.wanted(now_ms, &mut self.random);
        }
        self.schedule.in_service(now_ms, &mut self.random);
        self.synced(now_ms, number);
        self.sessions.full_in_service(now_ms, full, is_first, self.dialling.last_number());
    }

    /// A session has had its answer: older ones are closed.
    fn synced(&mut self, now_ms: u64, number: u64) {
        let Some(session) = self.sessions.get(number) else { return };
        if session.synced_ms.is_some() {
            return;
        }
        session.synced_ms = Some(now_ms);
        self.dialling.synced();
        while let Some(older) = self.sessions.older_than(number) {
            self.forget(older);
            self.actions.push_back(Action::Close { number: older });
        }
    }

    /// Something of a push could not be read: a full sync may bring it in a form that can.
    pub fn left_out(&mut self, now_ms: u64) {
        if !self.full_sync_under_way() {
            self.schedule.wanted(now_ms, &mut self.random);
        }
    }

    /// What was pushed while a full sync is under way could not be remembered: the full sync would undo some of it.
    pub fn pushes_lost(&mut self) {
        self.pushes_lost = true;
    }
}
