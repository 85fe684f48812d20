//! The open sessions: which one to use, and when another one is needed.
//!
//! Usually there is one session, for a while two. A server maps a connection to environments when it is opened. So when a
//! full sync contains an environment or server secret that was added later, a second session is opened and synced, then
//! the first one is closed; both are read meanwhile. The answer to a request for newer data lists the environments that a
//! session is mapped to.

use std::collections::HashSet;

use crate::model::environment_id::EnvironmentId;

use super::action::DropReason;
use super::coverage::Coverage;
use super::session::{Confirms, Session};
use super::timing::Timing;
use super::uncovered::Uncovered;

/// The open sessions, and what they cover.
#[derive(Debug)]
pub(super) struct Sessions {
    /// Oldest first; at most two.
    open: Vec<Session>,
    /// Sessions with lower numbers are not mapped to everything.
    covers_from: u64,
    /// The coverage of the data in service.
    coverage: Coverage,
    /// When a session may be replaced again that gets no pushes, or that lacks the same environments as its predecessor.
    next_replacement_ms: u64,
    replacement_pause_ms: u64,
    uncovered: Uncovered,
}

/// What is due on the sessions.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// The sessions to drop, and why.
    pub drops: Vec<(u64, DropReason)>,
    /// The sessions on which to send a ping.
    pub pings: Vec<u64>,
    /// Whether one has been open long enough for earlier failures to be forgotten.
    pub has_stable: bool,
}

/// A full sync that is in service.
#[derive(Debug)]
pub struct NewFull<'a> {
    /// The session that received it.
    pub number: u64,
    pub coverage: Coverage,
    /// The environments that it has changed.
    pub changed: &'a [EnvironmentId],
    /// What a later confirmation of the server would prove.
    pub confirms: Confirms,
}

impl Sessions {
    /// No sessions yet.
    pub fn new(timing: &Timing) -> Self {
        Self {
            open: Vec::new(),
            covers_from: 0,
            coverage: Coverage::default(),
            next_replacement_ms: 0,
            replacement_pause_ms: timing.pause_ms(),
            uncovered: Uncovered::default(),
        }
    }

    pub fn get(&mut self, number: u64) -> Option<&mut Session> {
        self.open.iter_mut().find(|session| session.number == number)
    }

    pub fn newest(&self) -> Option<&Session> {
        self.open.last()
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The coverage of the data in service.
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// Whether another session is needed: there is none that is mapped to everything.
    pub fn needs_another(&self) -> bool {
        self.open.len() < 2 && !self.open.iter().any(|session| session.number >= self.covers_from)
    }

    /// Whether a full sync was requested and is not answered yet.
    pub fn full_sync_under_way(&self) -> bool {
        self.open.iter().any(|session| session.full_awaited().is_some())
    }

    /// The session on which a request can be sent now, if there is one.
    pub fn free(&self) -> Option<u64> {
        let newest = self.open.last().filter(|session| session.awaits.is_none())?;
        (!self.full_sync_under_way()).then_some(newest.number)
    }

    /// Whether one of them is up to date, see [`Session::is_up_to_date`].
    pub fn any_up_to_date(&self) -> bool {
        self.open.iter().any(Session::is_up_to_date)
    }

    pub fn add(&mut self, session: Session) {
        self.open.push(session);
    }

    /// Removes a session, if it is there.
    pub fn remove(&mut self, number: u64) -> Option<Session> {
        let at = self.open.iter().position(|session| session.number == number)?;
        Some(self.open.remove(at))
    }

    /// The oldest session, if it is older than this one.
    pub fn older_than(&self, number: u64) -> Option<u64> {
        self.open.first().map(|session| session.number).filter(|older| *older < number)
    }

    /// When something is due on one of them.
    pub fn deadline_ms(&self, timing: &Timing) -> u64 {
        self.open.iter().map(|session| session.deadline_ms(timing)).min().unwrap_or(u64::MAX)
    }

    /// Returns what is due on the sessions.
    pub fn check_times(&mut self, now_ms: u64, timing: &Timing) -> Due {
        let mut due = Due::default();
        for session in &mut self.open {
            if let Some(why) = session.drop_reason(now_ms, timing) {
                due.drops.push((session.number, why));
            } else if session.take_ping(now_ms, timing) {
                due.pings.push(session.number);
            }
            session.update_overdue(now_ms, timing);
            due.has_stable |= session.take_stable(now_ms, timing);
        }
        due
    }

    // Which environments the server pushes.

    /// The server has listed the environments that it pushes on a session; this does not change while the session is open.
    /// Returns true if a full sync is needed to find out whether the other environments have left the scope.
    pub fn mapped(
        &mut self,
        now_ms: u64,
        number: u64,
        environments: &[EnvironmentId],
        last_dial: u64,
    ) -> bool {
        let Some(session) = self.get(number) else { return false };
        session.mapped = Some(environments.iter().copied().collect());
        let brought_full = session.brought_full;
        let unmapped = self.unmapped();
        self.uncovered.keep_only(|environment| unmapped.contains(&environment));
        if unmapped.is_empty() {
            self.uncovered = Uncovered::default();
            return false;
        }
        if brought_full {
            self.replace_if_unmapped(now_ms, last_dial);
            return false;
        }
        // Here the data in service is older than the session.
        self.uncovered.take_first_answer(number, self.covers_from)
            || unmapped != self.uncovered.environments
            || now_ms >= self.next_replacement_ms
    }

    /// The environments in service that the newest session is not mapped to.
    fn unmapped(&self) -> HashSet<EnvironmentId> {
        let Some(mapped) = self.open.last().and_then(|session| session.mapped.as_ref()) else {
            return HashSet::new();
        };
        self.coverage.pushed().filter(|environment| !mapped.contains(environment)).collect()
    }

    /// Replaces the newest session if it is not mapped to all environments of a full sync younger than it. If its successor
    /// lacks the same environments, the server has a reason for that, and further attempts are made more rarely.
    fn replace_if_unmapped(&mut self, now_ms: u64, last_dial: u64) {
        let unmapped = self.unmapped();
        if unmapped.is_empty() {
            return;
        }
        if self.uncovered.is_reason(&unmapped) || now_ms >= self.next_replacement_ms {
            self.uncovered.tried(unmapped);
            self.replace_rarely(now_ms, last_dial);
        }
    }

    fn replace_rarely(&mut self, now_ms: u64, last_dial: u64) {
        self.next_replacement_ms = now_ms + self.replacement_pause_ms;
        self.replace(last_dial);
    }

    /// Requires another session, mapped to all environments in service. A dial under way does not count, since the server may
    /// have mapped it already.
    pub fn replace(&mut self, last_dial: u64) {
        self.covers_from = last_dial + 1;
    }

    /// A full sync is in service.
    pub fn full_in_service(&mut self, now_ms: u64, full: NewFull<'_>, is_first: bool, last_dial: u64) {
        let NewFull { number, coverage, changed, confirms } = full;
        for session in &mut self.open {
            let is_its_own = session.number == number;
            session.brought_full |= is_its_own;
            session.confirms = if is_its_own { confirms } else { Confirms::Nothing };
        }
        if let Some(newest) = self.open.last() {
            let lacks = newest.known.as_ref().is_some_and(|known| known.lacks(&coverage));
            let misses_pushes = newest.number == number
                && !is_first
                && newest.answers_request
                && newest.mapped.is_none()
                && changed.iter().any(|environment| {
                    !newest.pushed.contains(environment) && coverage.is_pushed(*environment)
                });
            if misses_pushes && now_ms >= self.next_replacement_ms {
                self.replace_rarely(now_ms, last_dial);
            } else if lacks {
                self.replace(last_dial);
            }
        }
        self.uncovered.keep_only(|environment| coverage.is_pushed(environment));
        self.coverage = coverage;
        if self.open.last().is_some_and(|newest| newest.brought_full) {
            self.replace_if_unmapped(now_ms, last_dial);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{HOME, OTHER, TIMING, both, home};
    use super::*;

    fn with_one(known: Option<Coverage>) -> Sessions {
        let mut sessions = Sessions::new(&TIMING);
        assert!(sessions.needs_another());
        sessions.add(Session::new(1, known, 0, &TIMING));
        assert!(!sessions.needs_another());
        sessions
    }

    fn full(number: u64, coverage: Coverage) -> NewFull<'static> {
        NewFull { number, coverage, changed: &[], confirms: Confirms::Everything }
    }

    #[test]
    fn a_full_sync_with_more_than_the_session_covers_needs_another_session() {
        let mut sessions = with_one(Some(home()));
        sessions.full_in_service(0, full(1, home()), true, 1);
        assert!(!sessions.needs_another());
        sessions.full_in_service(0, full(1, both()), false, 1);
        assert!(sessions.needs_another());
        sessions.add(Session::new(2, Some(both()), 0, &TIMING));
        assert!(!sessions.needs_another());
        assert_eq!(sessions.older_than(2), Some(1));
        assert!(sessions.remove(1).is_some() && sessions.remove(1).is_none());
    }

    #[test]
    fn a_session_that_is_not_mapped_to_all_of_a_younger_full_sync_is_replaced() {
        let mut sessions = with_one(Some(both()));
        sessions.full_in_service(0, full(1, both()), true, 1);
        assert!(!sessions.mapped(0, 1, &[HOME, OTHER], 1));
        assert!(!sessions.needs_another());
        assert!(!sessions.mapped(0, 1, &[HOME], 1));
        assert!(sessions.needs_another());
        // The new session has no full sync yet: one is needed to find out whether the environment still exists.
        sessions.add(Session::new(2, Some(both()), 0, &TIMING));
        assert!(sessions.mapped(0, 2, &[HOME], 2));
        assert!(!sessions.needs_another());
    }

    #[test]
    fn one_request_at_a_time_on_the_newest() {
        use super::super::session::Awaits;
        let mut sessions = with_one(None);
        assert_eq!(sessions.free(), Some(1));
        sessions.get(1).unwrap().request_sent(Awaits::Full(1), 0);
        assert!(sessions.full_sync_under_way());
        sessions.add(Session::new(2, None, 0, &TIMING));
        assert_eq!(sessions.free(), None, "a full sync is under way");
        sessions.get(1).unwrap().awaits = None;
        assert_eq!(sessions.free(), Some(2));
    }
}
