//! One reactor's server: passes each event that `net` reports to the handler for the connection's state.

use std::sync::Arc;

use crate::fanout::mailbox::Mailbox;
use crate::net::io::{Io, Socket};
use crate::net::service::{Close, Ended, Link, Origin, Service};
use crate::net::slab::Key;
use crate::store::Snapshot;
use crate::telemetry::metrics::Limit;

use super::context::{Context, Parts};
use super::http::connection as http;
use super::http::routes::ListenerRole;
use super::relay::connection as relay;
use super::session::{Session, State};
use super::shared::Shared;
use super::streaming::close_reason::CloseReason;
use super::streaming::{admit, close, echo, messages, sync};

/// When a connection has this much unsent output, the rest of its input waits for its next turn.
const YIELD_BYTES: usize = 64 * 1024;

/// The [`Service`] of one reactor.
#[derive(Debug)]
pub struct Server {
    pub(crate) parts: Parts,
    /// The role of each listener, by its index.
    roles: Vec<ListenerRole>,
    pub(crate) done: bool,
}

impl Server {
    /// A server whose listeners have these roles.
    pub fn new(shared: Arc<Shared>, mailbox: Mailbox, roles: Vec<ListenerRole>) -> Self {
        shared.reactor_started_accepting();
        Self { parts: Parts::new(shared, mailbox), roles, done: false }
    }

    /// The data that this reactor serves.
    pub fn view(&self) -> &Arc<Snapshot> {
        &self.parts.view
    }

    /// Runs `handler` on a connection, if it is still open.
    pub(crate) fn visit<T: Socket>(
        &mut self,
        io: &mut Io<T, Session>,
        key: Key,
        handler: impl FnOnce(&mut Context<'_, '_>, &mut State),
    ) {
        let parts = &mut self.parts;
        io.visit(key, |link, Session { info, state }| handler(&mut Context { link, info, parts }, state));
    }
}

impl Service for Server {
    type Session = Session;

    fn open(&mut self, link: &mut Link<'_>, origin: Origin) -> Session {
        link.set_deadline(link.now().after(self.parts.shared.options.limits.head));
        let role = self.roles.get(origin.0).copied().unwrap_or(ListenerRole::Data);
        self.parts.meter.accepted();
        Session::new(role)
    }

    fn input(&mut self, link: &mut Link<'_>, session: &mut Session, bytes: &mut [u8]) -> usize {
        let Session { info, state } = session;
        let cx = &mut Context { link, info, parts: &mut self.parts };
        let mut at = 0;
        while at < bytes.len() {
            if cx.link.is_closing() {
                return bytes.len();
            }
            if matches!(state, State::Closing(_)) {
                close::discard_input(cx.link, state, &bytes[at..]);
                return bytes.len();
            }
            if cx.link.is_blocked() {
                cx.link.pause();
                return at;
            }
            if cx.link.pending_bytes() > YIELD_BYTES {
                cx.link.yield_input();
                return at;
            }
            let rest = &mut bytes[at..];
            let had_body = matches!(state, State::Body(_));
            let consumed = match state {
                State::Head { .. } => http::receive_head(cx, state, rest),
                State::Body(_) => http::receive_body(cx, state, rest),
                State::Stream(_) => messages::receive(cx, state, rest),
                State::Relay(_) => relay::receive(cx, state, rest),
                State::Echo(_) => echo::receive(cx, state, rest),
                State::Parked(_) | State::Pending(_) => {
                    cx.link.pause();
                    return at;
                }
                State::Closing(_) | State::Over => return bytes.len(),
            };
            if consumed == 0 {
                return at;
            }
            at += consumed;
            // Even a small body may take long to process, so only one is processed in a turn.
            if had_body && !matches!(state, State::Body(_)) && at < bytes.len() {
                cx.link.yield_input();
                return at;
            }
        }
        at
    }

    fn end_of_input(&mut self, link: &mut Link<'_>, session: &mut Session) {
        match &session.state {
            // A half-close: the client has sent its request and still reads the answer.
            State::Parked(_) => {}
            // Paused because the peer reads slowly: earlier requests may still be unread in the socket.
            State::Head { .. } | State::Body(_) | State::Stream(_) | State::Relay(_) | State::Echo(_)
                if link.is_paused() => {}
            State::Head { .. }
            | State::Body(_)
            | State::Pending(_)
            | State::Stream(_)
            | State::Relay(_)
            | State::Echo(_)
            | State::Closing(_)
            | State::Over => link.close(Close::Flush),
        }
    }

    fn drained(&mut self, link: &mut Link<'_>, session: &mut Session) {
        let Session { info, state } = session;
        let cx = &mut Context { link, info, parts: &mut self.parts };
        match state {
            State::Stream(stream) => sync::catch_up(cx, stream),
            State::Relay(_) => relay::update(cx, state),
            State::Closing(_) => close::restart_close_deadline(cx),
            State::Head { .. }
            | State::Body(_)
            | State::Parked(_)
            | State::Pending(_)
            | State::Echo(_)
            | State::Over => {}
        }
        if !matches!(state, State::Parked(_) | State::Pending(_)) {
            cx.link.resume();
        }
    }

    fn deadline(&mut self, link: &mut Link<'_>, session: &mut Session) {
        let Session { info, state } = session;
        let cx = &mut Context { link, info, parts: &mut self.parts };
        state.change(|state| deadline_reached(cx, state));
    }

    fn shed(&mut self, link: &mut Link<'_>, session: &mut Session, input: &[u8]) {
        let Session { info, state } = session;
        close::shed(&mut Context { link, info, parts: &mut self.parts }, state, input);
    }

    fn closed(&mut self, key: Key, session: Session, ended: Ended) {
        let parts = &mut self.parts;
        parts.meter.closed(session.info.counted_as, session.info.closed, ended);
        match session.state {
            State::Stream(stream) => parts.broadcast.leave(stream.position, stream.secret),
            State::Relay(downstream) => parts.relays.leave(&parts.shared, key, downstream.id),
            State::Head { .. }
            | State::Body(_)
            | State::Parked(_)
            | State::Pending(_)
            | State::Echo(_)
            | State::Closing(_)
            | State::Over => {}
        }
    }
}

/// Handles the deadline of a connection: what it means depends on the connection's state.
fn deadline_reached(cx: &mut Context<'_, '_>, state: State) -> State {
    match state {
        State::Head { begun: false } => http::idle_timed_out(cx),
        State::Head { begun: true } => http::head_timed_out(cx),
        State::Body(body) => http::body_timed_out(cx, *body),
        State::Parked(parked) => http::parked_timed_out(cx, *parked),
        State::Pending(pending) => admit::wait_timed_out(cx, pending),
        State::Stream(_) | State::Relay(_) => {
            cx.parts.meter.limit_hit(Limit::StreamIdleSeconds);
            close::begin(cx, state, CloseReason::Silent)
        }
        State::Echo(_) => close::begin(cx, state, CloseReason::Silent),
        State::Closing(_) => {
            close::timed_out(cx);
            state
        }
        State::Over => {
            cx.link.close(Close::Linger);
            state
        }
    }
}
