//! The open sessions: which one to use, when another one is wanted.
//!
//! There is one session, or two for a while. A server maps a connection to its environments when it is opened, so when
//! a full sync brings an environment or server secret that the server did not know of then, a second session is opened,
//! synced, and the first one closed. Both are read meanwhile. The answer to a request for what is newer names the
//! environments that a session is mapped to.

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
    /// Sessions of lower numbers are not mapped to everything.
    covers_from: u64,
    /// What is in service.
    coverage: Coverage,
    /// When a session may be replaced again that gets no pushes, or is not mapped to the environments that its
    /// predecessor was not mapped to.
    next_replacement_ms: u64,
    replacement_pause_ms: u64,
    uncovered: Uncovered,
}

/// What time has brought.
#[derive(Debug, Default)]
pub(super) struct Timed {
    /// Those that have to be given up, and why.
    pub given_up: Vec<(u64, DropReason)>,
    /// Those on which a ping is due.
    pub pings: Vec<u64>,
    /// One has lasted: failures before it do not count any more.
    pub lasted: bool,
}

/// A full sync that is in service.
#[derive(Debug)]
pub struct NewFull<'a> {
    /// The session that it came on.
    pub number: u64,
    pub coverage: Coverage,
    /// The environments of which it brought something new.
    pub changed: &'a [EnvironmentId],
    /// What a later message of the server may confirm of it.
    pub confirms: Confirms,
}

impl Sessions {
    /// None yet.
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

    /// What is in service.
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// Whether another one is wanted: there is none, or none that is mapped to everything.
    pub fn wants_another(&self) -> bool {
        self.open.len() < 2 && !self.open.iter().any(|session| session.number >= self.covers_from)
    }

    /// Whether a full sync was asked for and not yet answered.
    pub fn full_sync_under_way(&self) -> bool {
        self.open.iter().any(|session| session.full_awaited().is_some())
    }

    /// The session on which data can be asked for, if one can now.
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

    /// Takes one out, if it is there.
    pub fn remove(&mut self, number: u64) -> Option<Session> {
        let at = self.open.iter().position(|session| session.number == number)?;
        Some(self.open.remove(at))
    }

    /// The oldest one, if it is older than this.
    pub fn older_than(&self, number: u64) -> Option<u64> {
        self.open.first().map(|session| session.number).filter(|older| *older < number)
    }

    /// When something is due on one of them.
    pub fn deadline_ms(&self, timing: &Timing) -> u64 {
        self.open.iter().map(|session| session.deadline_ms(timing)).min().unwrap_or(u64::MAX)
    }

    /// Sees what time has brought.
    pub fn time(&mut self, now_ms: u64, timing: &Timing) -> Timed {
        let mut timed = Timed::default();
        for session in &mut self.open {
            if let Some(why) = session.given_up(now_ms, timing) {
                timed.given_up.push((session.number, why));
            } else if session.take_ping(now_ms, timing) {
                timed.pings.push(session.number);
            }
            session.see_overdue(now_ms, timing);
            timed.lasted |= session.take_lasted(now_ms, timing);
        }
        timed
    }

    // Which environments the server pushes.

    /// The server pushes these environments on a session, and no others as long as it is open. True if a full sync has to
    /// tell whether the others have left the scope.
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
        // What is in service is older than the session.
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

    /// Has the newest session replaced if it is not mapped to everything that a full sync younger than it brought. If its
    /// successor is not mapped to the same, the server has its reasons, and another one is tried more rarely.
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

    /// Has another session opened that is mapped to all that is in service. A dial that is under way may have been mapped
    /// before.
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
        assert!(sessions.wants_another());
        sessions.add(Session::new(1, known, 0, &TIMING));
        assert!(!sessions.wants_another());
        sessions
    }

    fn full(number: u64, coverage: Coverage) -> NewFull<'static> {
        NewFull { number, coverage, changed: &[], confirms: Confirms::Everything }
    }

    #[test]
    fn a_full_sync_that_brings_more_than_the_session_is_known_to_cover_wants_another() {
        let mut sessions = with_one(Some(home()));
        sessions.full_in_service(0, full(1, home()), true, 1);
        assert!(!sessions.wants_another());
        sessions.full_in_service(0, full(1, both()), false, 1);
        assert!(sessions.wants_another());
        sessions.add(Session::new(2, Some(both()), 0, &TIMING));
        assert!(!sessions.wants_another());
        assert_eq!(sessions.older_than(2), Some(1));
        assert!(sessions.remove(1).is_some() && sessions.remove(1).is_none());
    }

    #[test]
    fn a_session_that_is_not_mapped_to_all_of_a_younger_full_sync_is_replaced() {
        let mut sessions = with_one(Some(both()));
        sessions.full_in_service(0, full(1, both()), true, 1);
        assert!(!sessions.mapped(0, 1, &[HOME, OTHER], 1));
        assert!(!sessions.wants_another());
        assert!(!sessions.mapped(0, 1, &[HOME], 1));
        assert!(sessions.wants_another());
        // Of one that has not brought a full sync, one tells first whether the environment is still there.
        sessions.add(Session::new(2, Some(both()), 0, &TIMING));
        assert!(sessions.mapped(0, 2, &[HOME], 2));
        assert!(!sessions.wants_another());
    }

    #[test]
    fn one_request_at_a_time_on_the_newest() {
        use super::super::session::Awaits;
        let mut sessions = with_one(None);
        assert_eq!(sessions.free(), Some(1));
        sessions.get(1).unwrap().asked(Awaits::Full(1), 0);
        assert!(sessions.full_sync_under_way());
        sessions.add(Session::new(2, None, 0, &TIMING));
        assert_eq!(sessions.free(), None, "a full sync is under way");
        sessions.get(1).unwrap().awaits = None;
        assert_eq!(sessions.free(), Some(2));
    }
}
