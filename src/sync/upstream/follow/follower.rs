//! The three machines put together: everything that happens goes in, and what is to be done comes out.

use std::collections::VecDeque;

use crate::client::random::Random;
use crate::protocol::from_relay::RelayRequest;
use crate::protocol::status::SyncState;

use super::action::{Action, DataInService, DropReason, FailureKind};
use super::dialling::Dialling;
use super::full_sync_schedule::FullSyncSchedule;
use super::session::{Awaits, Session};
use super::sessions::Sessions;
use super::timing::Timing;

/// Follows one server. Everything that happens is reported to it, and [`Self::turn`] says what to do.
#[derive(Debug)]
pub struct Follower {
    timing: Timing,
    pub(super) random: Random,
    pub(super) actions: VecDeque<Action>,
    pub(super) dialling: Dialling,
    pub(super) sessions: Sessions,
    pub(super) schedule: FullSyncSchedule,
    /// Whether a full sync of this server is in service.
    pub(super) loaded: bool,
    /// Something could not be taken in since the last full sync that could.
    pub(super) trouble: bool,
    /// What was pushed since the full sync was asked for could not be remembered.
    pub(super) pushes_lost: bool,
    /// What is in service is not only of this server.
    has_foreign_data: bool,
    next_status_ms: u64,
    reported: SyncState,
}

impl Follower {
    /// One that has not begun; the first [`Self::turn`] dials.
    pub fn new(timing: Timing, seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            actions: VecDeque::new(),
            dialling: Dialling::new(timing.retry_ms),
            sessions: Sessions::new(&timing),
            schedule: FullSyncSchedule::new(&timing),
            loaded: false,
            trouble: false,
            pushes_lost: false,
            has_foreign_data: false,
            next_status_ms: u64::MAX,
            reported: SyncState::Starting,
            timing,
        }
    }

    /// Returns what is to be done now, in order. Once a turn of the loop, after everything that came in was reported, and at
    /// [`Self::deadline_ms`]. `grace_due`: the grace of something is over that only a full sync ends that is asked for
    /// from now on.
    pub fn turn(&mut self, now_ms: u64, grace_due: bool, data: &mut impl DataInService) -> Vec<Action> {
        self.schedule.set_grace_due(now_ms, grace_due, &mut self.random);
        self.dialling.time_out(now_ms, &mut self.random);
        self.time_sessions(now_ms);
        self.ask_for_a_full_sync_if_due(now_ms, data);
        self.ask_for_the_mapping(now_ms, data);
        self.dial_if_wanted(now_ms);
        self.actions.extend(self.dialling.register_alone(now_ms, !self.sessions.is_empty()));
        self.report_if_due(now_ms);
        self.actions.drain(..).collect()
    }

    /// When [`Self::turn`] has something to do, if nothing else happens.
    pub fn deadline_ms(&self) -> u64 {
        let dialling = self.dialling.deadline_ms(self.sessions.wants_another(), !self.sessions.is_empty());
        let full = if self.sessions.free().is_some() { self.schedule.due_ms() } else { u64::MAX };
        let status = if self.sessions.is_empty() { u64::MAX } else { self.next_status_ms };
        self.sessions.deadline_ms(&self.timing).min(dialling).min(full).min(status)
    }

    /// FeatBit's word for the state of the synchronization.
    pub fn state(&self) -> SyncState {
        if !self.loaded {
            SyncState::Starting
        } else if self.trouble || !self.sessions.any_up_to_date() {
            SyncState::Interrupted
        } else {
            SyncState::Stable
        }
    }

    /// Whether what this session has brought is all that the server has, but for what is on its way.
    pub fn is_up_to_date(&mut self, number: u64) -> bool {
        self.sessions.get(number).is_some_and(|session| session.is_up_to_date())
    }

    /// Attempts that failed since the last one that did not.
    pub fn failed_attempts(&self) -> u64 {
        self.dialling.failed_attempts()
    }

    /// Whether a full sync was asked for and not yet answered.
    pub fn full_sync_under_way(&self) -> bool {
        self.sessions.full_sync_under_way()
    }

    // What is reported.

    /// The server took the registration.
    pub fn registered(&mut self) {
        self.dialling.registered();
    }

    /// The server did not take the registration.
    pub fn not_registered(&mut self, now_ms: u64, kind: FailureKind) {
        self.dialling.not_registered(now_ms, kind, &mut self.random);
    }

    /// A dial came to an end.
    pub fn dialled(
        &mut self,
        now_ms: u64,
        number: u64,
        result: Result<(), FailureKind>,
        data: &mut impl DataInService,
    ) {
        match (self.dialling.finish(number), result) {
            (None, Ok(())) => self.actions.push_back(Action::Drop { number, why: DropReason::Late }),
            (None, Err(_)) => {}
            (Some(_), Err(kind)) => self.dialling.failed(now_ms, kind, &mut self.random),
            (Some(dial), Ok(())) => {
                self.sessions.add(Session::new(number, dial.known, now_ms, &self.timing));
                self.next_status_ms = now_ms;
                self.ask_first(now_ms, number, data);
            }
        }
    }

    /// Bytes came in on a session; `unfinished` if the last of them are of a message that is not complete.
    pub fn bytes_received(&mut self, now_ms: u64, number: u64, bytes: u64, unfinished: bool) {
        let least = self.timing.sync_bytes;
        if let Some(session) = self.sessions.get(number) {
            session.heard(bytes, unfinished, least, now_ms);
        }
    }

    /// The server, an agent, says whether it is connected to its own server. The session is used as before: what comes
    /// on it is all there is.
    pub fn upstream_is_connected(&mut self, number: u64, is_connected: bool) {
        if let Some(session) = self.sessions.get(number) {
            session.is_upstream_connected = is_connected;
        }
    }

    /// A session ended.
    pub fn ended(&mut self, now_ms: u64, number: u64, kind: FailureKind) {
        let Some(session) = self.forget(number) else { return };
        if !session.is_synced() {
            self.dialling.ended_at_once();
        }
        if kind == FailureKind::Refused {
            self.dialling.forget_registration();
        }
        if self.sessions.wants_another() && !self.dialling.is_under_way() {
            self.dialling.put_off(now_ms, kind, &mut self.random);
        }
    }

    /// Data came in by another way: only a full sync tells what of it is this server's.
    pub fn foreign_data(&mut self) {
        self.has_foreign_data = true;
    }

    /// There is another key. It may open other environments, so that a new session has to bring everything.
    pub fn key_changed(&mut self, now_ms: u64) {
        self.has_foreign_data = true;
        self.sessions.replace(self.dialling.last_number());
        self.dialling.start_over(now_ms);
    }

    /// An operator asks for a full sync.
    pub fn full_sync_requested(&mut self) {
        self.schedule.requested();
    }

    /// SDKs show secrets that are not in the data.
    pub fn unknown_secret(&mut self) {
        self.schedule.unknown_secret();
    }

    // What is due.

    fn dial_if_wanted(&mut self, now_ms: u64) {
        if self.sessions.wants_another() {
            let known = self.loaded.then(|| self.sessions.coverage().clone());
            self.actions.extend(self.dialling.begin(now_ms, &self.timing, known));
        }
    }

    fn time_sessions(&mut self, now_ms: u64) {
        let timed = self.sessions.time(now_ms, &self.timing);
        let drops = timed.given_up.iter().map(|(number, why)| Action::Drop { number: *number, why: *why });
        self.actions.extend(drops);
        self.actions.extend(timed.pings.into_iter().map(|number| Action::Ping { number }));
        if timed.lasted {
            self.dialling.lasted();
        }
        for (number, _) in timed.given_up {
            self.ended(now_ms, number, FailureKind::Failed);
        }
    }

    /// Takes a session out, if it is there.
    pub(super) fn forget(&mut self, number: u64) -> Option<Session> {
        let session = self.sessions.remove(number)?;
        if session.full_awaited().is_some() {
            self.schedule.still_wanted();
        }
        Some(session)
    }

    fn report_if_due(&mut self, now_ms: u64) {
        let state = self.state();
        let Some(number) = self.sessions.newest().map(|session| session.number) else {
            self.reported = state;
            return;
        };
        if state != self.reported || now_ms >= self.next_status_ms {
            self.reported = state;
            self.next_status_ms = now_ms + self.timing.status_ms;
            self.actions.push_back(Action::ReportStatus { number });
        }
    }

    // Requests for data.

    fn ask_for_a_full_sync_if_due(&mut self, now_ms: u64, data: &mut impl DataInService) {
        if let Some(number) = self.sessions.free()
            && now_ms >= self.schedule.due_ms()
        {
            self.ask_for_a_full_sync(now_ms, number, data);
        }
    }

    /// Asks a session that began with a full sync for what is newer: the answer names the environments that it is mapped
    /// to, which may have been others when it was opened.
    fn ask_for_the_mapping(&mut self, now_ms: u64, data: &mut impl DataInService) {
        let Some(number) = self.sessions.free() else { return };
        let Some(session) = self.sessions.get(number) else { return };
        if !session.brought_full
            || session.mapped.is_some()
            || std::mem::replace(&mut session.mapping_asked, true)
        {
            return;
        }
        if let Some(since) = data.since() {
            self.ask(now_ms, number, Awaits::Since, since);
        }
    }

    /// The first request on a session that was just opened.
    fn ask_first(&mut self, now_ms: u64, number: u64, data: &mut impl DataInService) {
        let wants_full = !self.loaded || self.has_foreign_data || now_ms >= self.schedule.due_ms();
        let under_way = self.full_sync_under_way();
        let since = if wants_full && !under_way { None } else { data.since() };
        match since {
            Some(since) => self.ask(now_ms, number, Awaits::Since, since),
            // One at a time: when that one is answered.
            None if under_way => self.schedule.requested(),
            None => self.ask_for_a_full_sync(now_ms, number, data),
        }
    }

    fn ask_for_a_full_sync(&mut self, now_ms: u64, number: u64, data: &mut impl DataInService) {
        let asked = data.begin_full();
        let request = match self.schedule.needs_verification() {
            true => RelayRequest::verified_full(asked),
            false => RelayRequest::full(),
        };
        self.schedule.asked(now_ms);
        self.has_foreign_data = false;
        self.pushes_lost = false;
        self.ask(now_ms, number, Awaits::Full(asked), request);
    }

    fn ask(&mut self, now_ms: u64, number: u64, awaits: Awaits, request: RelayRequest) {
        if let Some(session) = self.sessions.get(number) {
            session.asked(awaits, now_ms);
        }
        self.actions.push_back(Action::Request { number, request });
    }
}
