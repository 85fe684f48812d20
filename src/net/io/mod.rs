//! The connections of one reactor and their reading and writing; knows sockets only by a trait, so that a
//! simulation can stand in for them.
//!
//! `receive` reads, `send` writes and closes; [`secure`] is TLS of one connection, `unseal` reads through it. `limits`
//! ends connections that take too much time or memory, which `memory` counts.

mod connection;
mod limits;
mod memory;
mod receive;
pub mod secure;
mod send;
mod unseal;

use std::collections::VecDeque;
use std::time::Duration;

use super::outbox::Outbox;
use super::service::{Core, Ended, Link, Origin, Phase, Service};
use super::slab::{Key, Slab};
use super::ticks::Tick;
use connection::Connection;
pub use connection::Socket;
use memory::Memory;
use secure::{Scratch, Secure};

/// Bytes of the one buffer into which all connections of a reactor are read.
pub const SHARED_BUFFER_BYTES: usize = 128 * 1024;

/// Listeners of a reactor at most.
pub const ORIGINS_MAX: usize = 256;

/// What happened on the reactor's connections, ever increasing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections accepted and dropped at once, since the limit of connections was reached.
    pub over_limit: u64,
    /// Closed connections whose peer did not end them in time.
    pub linger_timeouts: u64,
    /// Failed accepts, mostly for want of descriptors.
    pub accept_errors: u64,
    /// Those of them that failed for want of descriptors or memory of the kernel.
    pub starvations: u64,
    /// Connections ended, by [`Ended::index`].
    pub ended: [u64; Ended::ALL.len()],
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Handshakes of TLS.
    pub handshakes: secure::Handshakes,
}

/// Bounds of time and memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long pending output may stand still.
    pub write_stall: Duration,
    /// Bytes a second of pending output that a peer has to take, on average over `write_stall`.
    pub write_min_bytes_per_second: u64,
    /// How long the peer may take to finish after we have shut down.
    pub close: Duration,
    /// Memory that connections may hold for themselves alone: output that waits, and input that is not complete. One
    /// connection alone may go beyond it.
    pub private_bytes_max: usize,
}

/// The connections of one reactor.
#[derive(Debug)]
pub struct Io<T, S> {
    slab: Slab<Connection<T, S>>,
    fresh: Outbox,
    limits: Limits,
    now: Tick,
    /// Connections that have something to do without an event.
    runnable: Vec<Key>,
    /// Connections that want to hear when they are writable.
    blocked: Vec<Key>,
    dead: Vec<(Key, Ended)>,
    /// Connections whose handshake has input to be worked through, in the order in which it came.
    handshakes: VecDeque<Key>,
    scratch: Scratch,
    memory: Memory,
    sweep_at: usize,
    open_by_origin: Box<[usize; ORIGINS_MAX]>,
    /// What happened so far.
    pub counters: Counters,
}

impl<T: Socket, S> Io<T, S> {
    /// No connections yet.
    pub fn new(limits: Limits, now: Tick) -> Self {
        Self {
            slab: Slab::default(),
            fresh: Outbox::default(),
            limits,
            now,
            runnable: Vec::new(),
            blocked: Vec::new(),
            dead: Vec::new(),
            handshakes: VecDeque::new(),
            scratch: Scratch::default(),
            memory: Memory::default(),
            sweep_at: 0,
            open_by_origin: Box::new([0; ORIGINS_MAX]),
            counters: Counters::default(),
        }
    }

    /// Connections open.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether no connection is open.
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// Connections open that came in by one listener.
    pub fn open_by_origin(&self, origin: Origin) -> usize {
        self.open_by_origin.get(origin.0).copied().unwrap_or(0)
    }

    /// The time of this turn.
    pub fn now(&self) -> Tick {
        self.now
    }

    /// Sets the time of this turn.
    pub fn set_now(&mut self, now: Tick) {
        self.now = now;
    }

    /// Whether some connection has something to do without an event.
    pub fn has_runnable(&self) -> bool {
        !self.runnable.is_empty() || !self.handshakes.is_empty()
    }

    /// Moves the connections that have something to do without an event into `keys`, whose content is dropped. Both
    /// lists keep their memory.
    pub fn take_runnable(&mut self, keys: &mut Vec<Key>) {
        keys.clear();
        std::mem::swap(keys, &mut self.runnable);
    }

    /// Moves the connections that have to be watched for writability from now on into `keys`, as
    /// [`take_runnable`](Io::take_runnable) does.
    pub fn take_blocked(&mut self, keys: &mut Vec<Key>) {
        keys.clear();
        std::mem::swap(keys, &mut self.blocked);
    }

    /// The connection's socket.
    pub fn socket_mut(&mut self, key: Key) -> Option<&mut T> {
        self.slab.get_mut(key).map(|connection| &mut connection.socket)
    }

    /// Keeps a new connection without TLS.
    pub fn insert(&mut self, socket: T, origin: Origin, service: &mut impl Service<Session = S>) -> Key {
        self.keep(socket, None, origin, service)
    }

    /// Keeps a new connection that begins with a handshake of TLS.
    pub fn insert_secure(
        &mut self,
        socket: T,
        secure: Box<Secure>,
        origin: Origin,
        service: &mut impl Service<Session = S>,
    ) -> Key {
        self.keep(socket, Some(secure), origin, service)
    }

    fn keep(
        &mut self,
        socket: T,
        secure: Option<Box<Secure>>,
        origin: Origin,
        service: &mut impl Service<Session = S>,
    ) -> Key {
        self.counters.accepted += 1;
        let core = Core {
            input: None,
            outbox: None,
            deadline: Tick::NEVER,
            progress: Tick::NEVER,
            phase: Phase::Open,
            paused: false,
            closing: false,
            unread: false,
            offer_again: false,
            queued: false,
            shaking_hands: false,
            peer_hung_up: false,
            end_of_input: false,
            writable_registered: false,
            origin: u8::try_from(origin.0).unwrap_or(u8::MAX),
            held_bytes: 0,
            counted_private_bytes: 0,
        };
        let memory_is_short = self.memory_is_short();
        self.open_by_origin[usize::from(core.origin)] += 1;
        let Self { slab, fresh, now, .. } = self;
        let key = slab.insert_with(|key| {
            let mut core = core;
            let mut link = Link { key, now: *now, core: &mut core, fresh, memory_is_short };
            let session = service.open(&mut link, origin);
            Connection { core, socket, session, secure }
        });
        self.settle(key);
        key
    }

    /// Calls `visit` with an open connection and sends what it leaves. `None` if the connection is gone or about
    /// to be.
    pub fn visit<R>(&mut self, key: Key, visit: impl FnOnce(&mut Link<'_>, &mut S) -> R) -> Option<R> {
        let memory_is_short = self.memory_is_short();
        let Self { slab, fresh, now, .. } = self;
        let connection = slab.get_mut(key)?;
        if connection.core.phase != Phase::Open {
            return None;
        }
        let mut link = Link { key, now: *now, core: &mut connection.core, fresh, memory_is_short };
        let result = visit(&mut link, &mut connection.session);
        self.settle(key);
        Some(result)
    }

    /// The socket takes output again.
    pub fn writable(&mut self, key: Key, service: &mut impl Service<Session = S>) {
        let Some(connection) = self.slab.get_mut(key) else { return };
        if connection.core.outbox.is_none() {
            return;
        }
        self.settle_writable(key);
        let drained = self.slab.get_mut(key).is_some_and(|connection| connection.core.outbox.is_none());
        if drained {
            self.visit(key, |link, session| service.drained(link, session));
        }
    }

    /// The peer is gone altogether, as the poller says.
    pub fn hung_up(&mut self, key: Key) {
        let Some(connection) = self.slab.get_mut(key) else { return };
        let ended = if connection.core.phase == Phase::Open { Ended::Peer } else { Ended::Closed };
        self.kill(key, ended);
    }

    fn kill(&mut self, key: Key, ended: Ended) {
        if let Some(connection) = self.slab.get_mut(key)
            && connection.core.phase != Phase::Gone
        {
            connection.core.phase = Phase::Gone;
            self.dead.push((key, ended));
        }
    }

    /// Removes the connections that ended, and tells the service. If too much memory is held, some more are ended.
    pub fn reap(&mut self, service: &mut impl Service<Session = S>) {
        self.bury(service);
        self.relieve(service);
    }

    fn bury(&mut self, service: &mut impl Service<Session = S>) {
        while let Some((key, ended)) = self.dead.pop() {
            if let Some(connection) = self.slab.remove(key) {
                let failed = connection.secure.as_ref().is_some_and(|secure| secure.has_failed());
                let ended = if failed { Ended::Error } else { ended };
                if let Some(secure) = &connection.secure {
                    self.counters.handshakes.count_broken_off(secure, ended, connection.core.end_of_input);
                }
                self.memory.forget(&connection.core);
                self.open_by_origin[usize::from(connection.core.origin)] -= 1;
                self.counters.ended[ended.index()] += 1;
                service.closed(key, connection.session, ended);
            }
        }
    }

    /// Every open connection, for shutdown.
    pub fn keys(&mut self) -> Vec<Key> {
        (0..self.slab.slots()).filter_map(|slot| self.slab.at_mut(slot).map(|(key, _)| key)).collect()
    }
}

#[cfg(test)]
pub(super) mod tests;
