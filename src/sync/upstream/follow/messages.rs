//! What a message of the server means for the data and for the next request.

use crate::model::environment_id::EnvironmentId;
use crate::protocol::to_relay::MessageKind;

use super::action::{Action, DropReason, FailureKind};
use super::coverage::Coverage;
use super::follower::Follower;
use super::session::{Awaits, Confirms};
use super::sessions::NewFull;

/// A received message, reduced to what the decision about it needs.
#[derive(Clone, Copy, Debug)]
pub enum Received<'a> {
    /// A full sync.
    Full {
        coverage: &'a Coverage,
        /// Whether it would empty the data in service, which must be a mistake.
        empty: bool,
        /// Whether secrets that it lacks may still exist.
        provisional: bool,
    },
    /// The answer to a request for newer data. It lists all environments that the server pushes on this session, even those
    /// without newer items. `unknown_environment`: one of them is not in service.
    Patch { environments: &'a [EnvironmentId], unknown_environment: bool },
    /// Changed items of these environments.
    Change { environments: &'a [EnvironmentId], unknown_environment: bool },
    /// An unrequested full sync of one environment. `None`: it does not show which environment.
    Environment { environment: Option<EnvironmentId>, unknown_environment: bool },
    /// The confirmation that everything was sent that existed when the full sync with this number was requested.
    Verified(u64),
    /// A message that cannot be parsed, and its kind if that is visible.
    Unreadable(Option<MessageKind>),
    /// A message of an unknown kind, which may have changed anything.
    Unknown,
    /// A message that is not about data.
    Other,
}

/// What the driver must do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// Nothing.
    Ignore,
    /// Reject and log it: it would empty the data in service.
    Refuse,
    /// Replace the data in service by it, merged with the pushes remembered since it was requested; then call
    /// [`Follower::full_in_service`]. `answered`: the number of the full sync that it answers with proof.
    ReplaceAll { answered: Option<u64> },
    /// The data in service is a complete answer to the full sync with this number.
    ConfirmAll { answered: u64 },
    /// Everything that the full sync with this number lacks was removed; unknown secrets may still exist.
    ConfirmRemovals { answered: u64 },
    /// Merge its items whose environments are in service. `remember`: also keep it for the full sync under way.
    Merge { remember: bool },
    /// Only keep it for the full sync under way, since there is no data yet to merge it into.
    Remember,
}

impl Follower {
    /// A message was received on a session, which may be one that is being closed.
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
                self.schedule.needed(now_ms, &mut self.random);
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
        // A full sync under way may contain the environment. If it does not, that is found then.
        if unknown_environment && !under_way {
            self.schedule.needed(now_ms, &mut self.random);
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
        // Too late, on a session that is being closed: the next full sync contains the same.
        let Some(session) = self.sessions.get(number) else { return Instruction::Ignore };
        let requested = session.full_awaited();
        session.answers_request = requested.is_some();
        session.confirms = Confirms::Nothing;
        if session.known.is_none() || requested.is_some() && !session.is_synced() {
            session.known = Some(coverage.clone());
        }
        // A full sync answers every kind of request.
        session.awaits = None;
        let would_undo_pushes = requested.is_some() && std::mem::take(&mut self.pushes_lost);
        if empty {
            self.data_rejected(now_ms);
            return Instruction::Refuse;
        }
        if would_undo_pushes && self.loaded {
            self.schedule.needed(now_ms, &mut self.random);
            return Instruction::Ignore;
        }
        Instruction::ReplaceAll { answered: requested.filter(|_| !provisional) }
    }

    fn verified(&mut self, number: u64, answered: u64) -> Instruction {
        // A number that was not requested on this session is ignored.
        match self.sessions.get(number).filter(|session| answered <= session.last_full) {
            Some(session) => match session.confirms {
                Confirms::Everything => Instruction::ConfirmAll { answered },
                Confirms::Removals => Instruction::ConfirmRemovals { answered },
                // The data in service is not what this session has sent.
                Confirms::Nothing => Instruction::Ignore,
            },
            None => Instruction::Ignore,
        }
    }

    fn unreadable(&mut self, now_ms: u64, number: u64, kind: Option<MessageKind>) {
        self.data_rejected(now_ms);
        let Some(session) = self.sessions.get(number) else { return };
        if matches!(kind, Some(MessageKind::Full) | None) {
            session.confirms = Confirms::Nothing;
        }
        match (session.awaits, kind) {
            (Some(Awaits::Full(_)), Some(MessageKind::Full))
            | (Some(Awaits::Since), Some(MessageKind::Full | MessageKind::Patch)) => session.awaits = None,
            (Some(_), None) => {
                // It may have been the awaited answer, so a later message might be taken for that by mistake.
                self.actions.push_back(Action::Drop { number, why: DropReason::Unreadable });
                self.ended(now_ms, number, FailureKind::Failed);
            }
            _ => {}
        }
    }

    fn data_rejected(&mut self, now_ms: u64) {
        self.has_rejected_data = true;
        self.schedule.needed(now_ms, &mut self.random);
    }

    /// A full sync is in service. `unknown_environment`: it lacks an environment of a push since it was requested.
    pub fn full_in_service(&mut self, now_ms: u64, full: NewFull<'_>, unknown_environment: bool) {
        let number = full.number;
        let is_first = self.sessions.get(number).is_some_and(|session| !session.is_synced());
        self.loaded = true;
        self.has_rejected_data = false;
        if unknown_environment {
            self.schedule.needed(now_ms, &mut self.random);
        }
        self.schedule.in_service(now_ms, &mut self.random);
        self.synced(now_ms, number);
        self.sessions.full_in_service(now_ms, full, is_first, self.dialling.last_number());
    }

    /// A session has received its first answer: closes older sessions.
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

    /// A part of a push could not be parsed: a full sync may contain it in a form that can.
    pub fn left_out(&mut self, now_ms: u64) {
        if !self.full_sync_under_way() {
            self.schedule.needed(now_ms, &mut self.random);
        }
    }

    /// A push could not be remembered while a full sync is under way, so that the full sync would undo it.
    pub fn pushes_lost(&mut self) {
        self.pushes_lost = true;
    }
}
