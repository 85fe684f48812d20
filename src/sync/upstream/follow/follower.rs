//! Combines the three state machines: events go in, actions come out.

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

/// Follows one server. The driver reports every event to it, and [`Self::turn`] returns what to do.
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
    /// Whether data of the server was rejected since the last full sync that is in service.
    pub(super) has_rejected_data: bool,
    /// Whether a push could not be remembered since the full sync under way was requested.
    pub(super) pushes_lost: bool,
    /// Whether the data in service may contain data that is not from this server.
    has_foreign_data: bool,
    next_status_ms: u64,
    reported: SyncState,
}

impl Follower {
    /// A follower without sessions; the first [`Self::turn`] dials.
    pub fn new(timing: Timing, seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            actions: VecDeque::new(),
            dialling: Dialling::new(timing.retry_ms),
            sessions: Sessions::new(&timing),
            schedule: FullSyncSchedule::new(&timing),
            loaded: false,
            has_rejected_data: false,
            pushes_lost: false,
            has_foreign_data: false,
            next_status_ms: u64::MAX,
            reported: SyncState::Starting,
            timing,
        }
    }

    /// Returns what to do now, in order. Call it in every turn of the loop, after all events were reported, and at
    /// [`Self::deadline_ms`]. `grace_due`: a grace period is over, and only a full sync requested from now on can prove the
    /// removal.
    pub fn turn(&mut self, now_ms: u64, grace_due: bool, data: &mut impl DataInService) -> Vec<Action> {
        self.schedule.set_grace_due(now_ms, grace_due, &mut self.random);
        self.dialling.time_out(now_ms, &mut self.random);
        self.check_session_times(now_ms);
        self.request_full_if_due(now_ms, data);
        self.request_mapping(now_ms, data);
        self.dial_if_needed(now_ms);
        self.actions.extend(self.dialling.register_alone(now_ms, !self.sessions.is_empty()));
        self.report_if_due(now_ms);
        self.actions.drain(..).collect()
    }

    /// When to call [`Self::turn`] if no event comes before.
    pub fn deadline_ms(&self) -> u64 {
        let dialling = self.dialling.deadline_ms(self.sessions.needs_another(), !self.sessions.is_empty());
        let full = if self.sessions.free().is_some() { self.schedule.due_ms() } else { u64::MAX };
        let status = if self.sessions.is_empty() { u64::MAX } else { self.next_status_ms };
        self.sessions.deadline_ms(&self.timing).min(dialling).min(full).min(status)
    }

    /// The upstream status, as FeatBit names it.
    pub fn state(&self) -> SyncState {
        if !self.loaded {
            SyncState::Starting
        } else if self.has_rejected_data || !self.sessions.any_up_to_date() {
            SyncState::Interrupted
        } else {
            SyncState::Stable
        }
    }

    /// Whether this session has received everything that the server has, except for messages under way.
    pub fn is_up_to_date(&mut self, number: u64) -> bool {
        self.sessions.get(number).is_some_and(|session| session.is_up_to_date())
    }

    /// How many attempts have failed since the last success.
    pub fn failed_attempts(&self) -> u64 {
        self.dialling.failed_attempts()
    }

    /// Whether a full sync was requested and is not answered yet.
    pub fn full_sync_under_way(&self) -> bool {
        self.sessions.full_sync_under_way()
    }

    // Events.

    /// The registration has succeeded.
    pub fn registered(&mut self) {
        self.dialling.registered();
    }

    /// The registration has failed.
    pub fn not_registered(&mut self, now_ms: u64, kind: FailureKind) {
        self.dialling.not_registered(now_ms, kind, &mut self.random);
    }

    /// A dial has succeeded or failed.
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
                self.request_first(now_ms, number, data);
            }
        }
    }

    /// Bytes were received on a session. `incomplete`: the last of them belong to an incomplete message.
    pub fn bytes_received(&mut self, now_ms: u64, number: u64, bytes: u64, incomplete: bool) {
        let progress_bytes = self.timing.sync_bytes;
        if let Some(session) = self.sessions.get(number) {
            session.bytes_received(bytes, incomplete, progress_bytes, now_ms);
        }
    }

    /// The server is an agent, and reports whether it is connected to its own server. The session stays in use, since there
    /// is no better source.
    pub fn upstream_is_connected(&mut self, number: u64, is_connected: bool) {
        if let Some(session) = self.sessions.get(number) {
            session.is_upstream_connected = is_connected;
        }
    }

    /// A session has ended.
    pub fn ended(&mut self, now_ms: u64, number: u64, kind: FailureKind) {
        let Some(session) = self.forget(number) else { return };
        if !session.is_synced() {
            self.dialling.ended_unsynced();
        }
        if kind == FailureKind::Refused {
            self.dialling.forget_registration();
        }
        if self.sessions.needs_another() && !self.dialling.is_under_way() {
            self.dialling.delay(now_ms, kind, &mut self.random);
        }
    }

    /// Data was loaded from elsewhere. Only a full sync shows which of it this server has too.
    pub fn foreign_data(&mut self) {
        self.has_foreign_data = true;
    }

    /// The key was replaced. It may open other environments, so a new session with a full sync is needed.
    pub fn key_changed(&mut self, now_ms: u64) {
        self.has_foreign_data = true;
        self.sessions.replace(self.dialling.last_number());
        self.dialling.start_over(now_ms);
    }

    /// An operator requests a full sync.
    pub fn full_sync_requested(&mut self) {
        self.schedule.requested();
    }

    /// SDKs have sent unknown secrets.
    pub fn unknown_secret(&mut self) {
        self.schedule.unknown_secret();
    }

    // Actions that are due.

    fn dial_if_needed(&mut self, now_ms: u64) {
        if self.sessions.needs_another() {
            let known = self.loaded.then(|| self.sessions.coverage().clone());
            self.actions.extend(self.dialling.begin(now_ms, &self.timing, known));
        }
    }

    fn check_session_times(&mut self, now_ms: u64) {
        let due = self.sessions.check_times(now_ms, &self.timing);
        let drops = due.drops.iter().map(|(number, why)| Action::Drop { number: *number, why: *why });
        self.actions.extend(drops);
        self.actions.extend(due.pings.into_iter().map(|number| Action::Ping { number }));
        if due.has_stable {
            self.dialling.session_is_stable();
        }
        for (number, _) in due.drops {
            self.ended(now_ms, number, FailureKind::Failed);
        }
    }

    /// Removes a session, if it is there. If its full sync was unanswered, that stays due.
    pub(super) fn forget(&mut self, number: u64) -> Option<Session> {
        let session = self.sessions.remove(number)?;
        if session.full_awaited().is_some() {
            self.schedule.still_needed();
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

    fn request_full_if_due(&mut self, now_ms: u64, data: &mut impl DataInService) {
        if let Some(number) = self.sessions.free()
            && now_ms >= self.schedule.due_ms()
        {
            self.request_full(now_ms, number, data);
        }
    }

    /// Requests newer data on a session whose first request was a full sync. The answer lists the environments that the
    /// session is mapped to. A full sync does not: it may contain environments that were added after the session was opened.
    fn request_mapping(&mut self, now_ms: u64, data: &mut impl DataInService) {
        let Some(number) = self.sessions.free() else { return };
        let Some(session) = self.sessions.get(number) else { return };
        if !session.brought_full
            || session.mapped.is_some()
            || std::mem::replace(&mut session.mapping_requested, true)
        {
            return;
        }
        if let Some(since) = data.since() {
            self.request(now_ms, number, Awaits::Since, since);
        }
    }

    /// Sends the first request on a new session.
    fn request_first(&mut self, now_ms: u64, number: u64, data: &mut impl DataInService) {
        let wants_full = !self.loaded || self.has_foreign_data || now_ms >= self.schedule.due_ms();
        let under_way = self.full_sync_under_way();
        let since = if wants_full && !under_way { None } else { data.since() };
        match since {
            Some(since) => self.request(now_ms, number, Awaits::Since, since),
            // Only one full sync at a time: this one is requested when the other one is answered.
            None if under_way => self.schedule.requested(),
            None => self.request_full(now_ms, number, data),
        }
    }

    fn request_full(&mut self, now_ms: u64, number: u64, data: &mut impl DataInService) {
        let full = data.begin_full();
        let request = match self.schedule.needs_verification() {
            true => RelayRequest::verified_full(full),
            false => RelayRequest::full(),
        };
        self.schedule.sent(now_ms);
        self.has_foreign_data = false;
        self.pushes_lost = false;
        self.request(now_ms, number, Awaits::Full(full), request);
    }

    fn request(&mut self, now_ms: u64, number: u64, awaits: Awaits, request: RelayRequest) {
        if let Some(session) = self.sessions.get(number) {
            session.request_sent(awaits, now_ms);
        }
        self.actions.push_back(Action::Request { number, request });
    }
}
