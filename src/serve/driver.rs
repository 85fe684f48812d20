//! What a reactor's server does between socket events: it reads its mailbox, and works in bounded slices, so that the
//! sockets are polled in between.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::fanout::mailbox::Mail;
use crate::net::io::{Io, Socket};
use crate::net::reactor::Driver;
use crate::payload::Payload;
use crate::protocol::to_relay;
use crate::store::Change;
use crate::wire::ws::frame;

use super::api::{reply, sdk_call};
use super::context::Context;
use super::drain::close_connection::close_for_shutdown;
use super::http::parked::Wait;
use super::relay::connection as relay;
use super::server::Server;
use super::session::{Session, State};
use super::streaming::{admit, revoke, sync};

/// How many connections' secrets are judged again in one slice.
const VERDICT_SLICE: usize = 256;
/// How many connections with a removed secret are closed in one slice.
const REVOKE_SLICE: usize = 256;
/// How many connections that waited for memory are answered in one slice.
const MEMORY_SLICE: usize = 64;
/// To how many downstream agents changes are sent in one slice.
const RELAY_SLICE: usize = 64;
/// How many connections are closed in one slice of a drain.
const DRAIN_SLICE: usize = 256;

impl<T: Socket> Driver<T> for Server {
    fn mail(&mut self, io: &mut Io<T, Session>) {
        while let Some(mail) = self.parts.mailbox.take() {
            self.receive(mail, io);
        }
    }

    fn work(&mut self, io: &mut Io<T, Session>) -> bool {
        self.judge_again(io);
        self.close_revoked(io);
        self.serve_memory_waiters(io);
        self.push_changes(io);
        self.update_relays(io);
        self.drain(io);
        let parts = &self.parts;
        parts.pending.has_ready()
            || parts.broadcast.has_revoked()
            || parts.relays.has_to_update()
            || parts.broadcast.is_walking()
            || parts.drain.is_behind()
            || self.can_serve_memory_waiter(io)
    }

    fn tick(&mut self, io: &mut Io<T, Session>) {
        let parts = &mut self.parts;
        parts.pending.forget_closed(io.len(), |key| io.socket_mut(key).is_some());
        if !io.is_empty() {
            parts.drain.add_late(|| io.keys());
        }
        parts.meter.publish_environments(&parts.view, &parts.broadcast.index, io.is_empty());
    }

    fn turn_ended(&mut self, io: &Io<T, Session>, busy: Duration) {
        self.parts.meter.turn_ended(&io.counters, io.pending_private_bytes(), busy);
    }

    fn is_accepting(&self) -> bool {
        !self.parts.drain.is_on()
    }

    fn is_done(&self) -> bool {
        self.done
    }
}

impl Server {
    fn receive<T: Socket>(&mut self, mail: Mail, io: &mut Io<T, Session>) {
        match mail {
            Mail::Change { change, arrived, in_service } => {
                self.serve_from(&change, arrived);
                drop(in_service);
            }
            Mail::Reply { key, reply } => {
                self.visit(io, key, |cx, state| state.change(|state| reply::received(cx, state, reply)))
            }
            Mail::RelayFull { key, full } => {
                self.visit(io, key, |cx, state| relay::send_full(cx, state, full));
            }
            Mail::Path(upstream) => {
                self.parts.relays.set_upstream_path(&upstream);
                // Each agent downstream checks the path, so a ring is detected whichever link closes it.
                let message = to_relay::path(self.parts.relays.path());
                self.send_to_relays(&message, io);
            }
            Mail::UpstreamStatus => {
                let message = to_relay::state(self.parts.shared.ingest.following().state());
                self.send_to_relays(&message, io);
            }
            Mail::Keys => {
                let keys = self.parts.shared.keys.load_full();
                for key in self.parts.relays.connections() {
                    self.visit(io, key, |cx, state| relay::recheck_key(cx, state, &keys));
                }
            }
            Mail::Drain(over) => self.parts.drain.begin(io.keys(), over),
            Mail::Stop => self.done = true,
        }
    }

    /// Serves new data from now on, and marks the connections that the change concerns.
    fn serve_from(&mut self, change: &Arc<Change>, arrived: Instant) {
        let parts = &mut self.parts;
        let answered = parts.view.answered();
        parts.view = change.snapshot.clone();
        for slot in &change.environments {
            parts.broadcast.environment_changed(*slot, arrived);
        }
        if change.secrets_changed || parts.view.answered() != answered {
            parts.pending.data_changed();
        }
        parts.relays.data_changed();
        if change.secrets_changed {
            parts.broadcast.find_revoked(&parts.view);
        }
    }

    fn judge_again<T: Socket>(&mut self, io: &mut Io<T, Session>) {
        for _ in 0..VERDICT_SLICE {
            let Some(key) = self.parts.pending.take_ready() else { return };
            self.visit(io, key, |cx, state| state.change(|state| data_changed(cx, state)));
        }
    }

    fn close_revoked<T: Socket>(&mut self, io: &mut Io<T, Session>) {
        for _ in 0..REVOKE_SLICE {
            let Some(key) = self.parts.broadcast.take_revoked() else { return };
            self.visit(io, key, revoke::close_if_revoked);
        }
    }

    fn serve_memory_waiters<T: Socket>(&mut self, io: &mut Io<T, Session>) {
        for _ in 0..MEMORY_SLICE {
            if self.parts.memory.is_empty() {
                return;
            }
            if io.memory_is_short() && !self.parts.memory.is_overdue(io.now()) {
                io.make_room(self);
                if io.memory_is_short() {
                    return;
                }
            }
            let Some(key) = self.parts.memory.begin_serving() else { return };
            self.visit(io, key, |cx, state| state.change(|state| memory_is_free(cx, state)));
            self.parts.memory.end_serving();
            io.relieve(self);
        }
    }

    fn can_serve_memory_waiter<T: Socket>(&self, io: &Io<T, Session>) -> bool {
        let memory = &self.parts.memory;
        !memory.is_empty() && (!io.memory_is_short() || memory.is_overdue(io.now()))
    }

    fn push_changes<T: Socket>(&mut self, io: &mut Io<T, Session>) {
        let parts = &mut self.parts;
        let Some(slice) = parts.broadcast.next_slice(&parts.view) else { return };
        for key in slice.keys() {
            self.visit(io, key, sync::push);
            io.relieve(self);
        }
        if let Some(took) = self.parts.broadcast.end_slice(slice) {
            self.parts.meter.change_delivered(took);
        }
    }

    fn update_relays<T: Socket>(&mut self, io: &mut Io<T, Session>) {
        for _ in 0..RELAY_SLICE {
            let Some(key) = self.parts.relays.take_to_update() else { return };
            self.visit(io, key, relay::update);
            io.relieve(self);
        }
    }

    fn drain<T: Socket>(&mut self, io: &mut Io<T, Session>) {
        let parts = &mut self.parts;
        // The reactor closes its listeners before this call, in the first turn of the drain.
        if parts.drain.set_listeners_closed() {
            parts.shared.reactor_stopped_accepting();
        }
        // The Go SDK reconnects at once. No other reactor may still accept it, only to close it again.
        if parts.shared.is_any_reactor_accepting() && parts.drain.may_wait_for_others() {
            return;
        }
        for _ in 0..DRAIN_SLICE {
            if self.parts.drain.is_finished(io.is_empty()) {
                self.done = true;
                return;
            }
            let Some(key) = self.parts.drain.take_due() else { return };
            self.visit(io, key, |cx, state| state.change(|state| close_for_shutdown(cx, state)));
        }
    }

    fn send_to_relays<T: Socket>(&mut self, message: &str, io: &mut Io<T, Session>) {
        let message = Payload::Shared(frame::text_frame(message.as_bytes()).into());
        for key in self.parts.relays.connections() {
            self.visit(io, key, |cx, _| {
                if !cx.link.is_closing() {
                    cx.link.send(message.clone());
                }
            });
        }
    }
}

/// The data has changed: judges again the secret for which the connection is pending.
fn data_changed(cx: &mut Context<'_, '_>, state: State) -> State {
    match state {
        State::Parked(parked) => sdk_call::retry_parked(cx, *parked),
        State::Pending(pending) => admit::decide_again(cx, pending),
        other => other,
    }
}

/// Memory is free: sends the answer that was waiting for it.
fn memory_is_free(cx: &mut Context<'_, '_>, state: State) -> State {
    match state {
        State::Stream(mut stream) => {
            sync::resume(cx, &mut stream);
            State::Stream(stream)
        }
        State::Parked(parked) if matches!(parked.wait, Wait::Memory(_)) => {
            sdk_call::retry_parked(cx, *parked)
        }
        other => other,
    }
}
