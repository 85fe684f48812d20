//! The end of the agent's life: what is under way is finished, and streaming SDKs are sent away a few at a time, so
//! that those who take them over are not stormed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::net::io::{Io, Socket};
use crate::net::service::Link;
use crate::net::slab::Key;

use crate::protocol::close::CloseCode;
use crate::serve::http::exchange::Answer;
use crate::serve::server::Server;
use crate::serve::session::{Session, State, Wait};

/// How long the first is kept until every reactor has stopped accepting: one may be busy, or have ended by a bug.
const ALL_CLOSED: Duration = Duration::from_secs(2);
/// Connections looked at between two looks at the sockets.
const DRAIN_SLICE: usize = 256;
/// How long the last closing handshakes may take once every connection has been sent away.
const LAST_WAIT: Duration = Duration::from_secs(5);
/// The last part of that, which is for the end of TCP.
const LAST_END: Duration = Duration::from_millis(2500);
/// How long a request may still be on its way on a connection where nothing is asked.
const LAST_REQUEST: Duration = Duration::from_secs(2);

/// A drain under way.
#[derive(Debug)]
pub(super) struct Drain {
    waiting: VecDeque<Key>,
    total: usize,
    begun: Instant,
    over: Duration,
    /// This reactor's listeners have been closed.
    closed: bool,
}

impl Drain {
    /// How many connections should have been sent away by now.
    fn due(&self) -> usize {
        let share = if self.over.is_zero() {
            1.0
        } else {
            (self.begun.elapsed().as_secs_f64() / self.over.as_secs_f64()).min(1.0)
        };
        (self.total as f64 * share).ceil() as usize
    }

    /// How long a peer may take for its part of the closing handshake.
    fn close_wait(&self) -> Duration {
        (self.over + LAST_WAIT - LAST_END).saturating_sub(self.begun.elapsed())
    }

    /// Whether some should have been sent away that were not.
    fn is_behind(&self) -> bool {
        !self.waiting.is_empty() && self.total - self.waiting.len() < self.due()
    }
}

impl Server {
    /// Stops accepting, and begins to send connections away, spread over `over`.
    pub(super) fn begin_drain<T: Socket>(&mut self, over: Duration, io: &mut Io<T, Session>) {
        if self.draining.is_none() {
            let waiting = VecDeque::from(io.keys());
            let total = waiting.len();
            self.draining = Some(Drain { waiting, total, begun: Instant::now(), over, closed: false });
        }
    }

    /// Sends away those whose turn has come.
    pub(super) fn drain_some<T: Socket>(&mut self, io: &mut Io<T, Session>) {
        if let Some(drain) = &mut self.draining {
            // The listeners were closed in this turn, before this.
            if !std::mem::replace(&mut drain.closed, true) {
                self.shared.reactor_accepts_no_more();
            }
            // The Go SDK comes back at once, and must not get in by another reactor, only to be sent away again.
            if self.shared.any_reactor_accepts() && drain.begun.elapsed() < ALL_CLOSED {
                return;
            }
        }
        for _ in 0..DRAIN_SLICE {
            let Some(drain) = &mut self.draining else { return };
            if io.is_empty() || drain.waiting.is_empty() && drain.begun.elapsed() > drain.over + LAST_WAIT {
                return self.finish();
            }
            if !drain.is_behind() {
                return;
            }
            if let Some(key) = drain.waiting.pop_front() {
                io.visit(key, |link, session| self.send_away(link, session));
            }
        }
    }

    /// Whether the next slice is due already.
    pub(super) fn is_sending_away(&self) -> bool {
        self.draining.as_ref().is_some_and(Drain::is_behind)
    }

    /// Connections that came in while the listeners were being closed are sent away too.
    pub(super) fn drain_more<T: Socket>(&mut self, io: &mut Io<T, Session>) {
        self.tidy_held(io);
        if let Some(drain) = &mut self.draining
            && drain.waiting.is_empty()
            && !io.is_empty()
        {
            let late = io.keys();
            drain.total += late.len();
            drain.waiting.extend(late);
        }
    }

    /// How long a peer may take for its part of the closing handshake.
    pub(super) fn close_wait(&self) -> Duration {
        let close = self.shared.options.close;
        self.draining.as_ref().map_or(close, |drain| close.min(drain.close_wait()))
    }

    fn send_away(&mut self, link: &mut Link<'_>, session: &mut Session) {
        match &session.state {
            State::Stream(_) | State::Held(_) | State::Relay(_) | State::Echo(_) => {
                self.close_stream(link, session, CloseCode::GOING_AWAY, "the agent is shutting down");
            }
            // A request may be on its way: its answer says that it was the last one.
            State::Head { begun: false } => link.deadline_at_latest(link.now().after(LAST_REQUEST)),
            State::Closing(_) => link.deadline_at_latest(link.now().after(self.close_wait())),
            // Data will not come any more: whoever takes over may have some.
            State::Parked(parked) if matches!(parked.wait, Wait::Verdict(_)) => {
                if let State::Parked(parked) = std::mem::replace(&mut session.state, State::Over) {
                    let answer = Answer::later("the agent is shutting down");
                    self.answer_after_wait(link, session, &parked.exchange, answer);
                }
            }
            // A request that is under way is answered, and its connection closed with the answer.
            State::Head { begun: true } | State::Body(_) | State::Parked(_) | State::Over => {}
        }
    }
}
