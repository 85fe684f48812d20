//! The connections of one reactor: reading, writing, closing. Sockets are behind a trait, so that a simulation can replace
//! them.
//!
//! `receive` reads, `send` writes and closes; [`secure`] is TLS of one connection, `unseal` reads through it. `slow_peers`
//! ends connections that take too much time or memory, which `memory` counts.

mod connection;
mod memory;
mod receive;
pub mod secure;
mod send;
mod slow_peers;
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

/// The size of the one read buffer that all connections of a reactor share.
pub const SHARED_BUFFER_BYTES: usize = 128 * 1024;

/// The most listeners that a reactor can have.
pub const ORIGINS_MAX: usize = 256;

/// Counters of one reactor's connections; they only increase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that were accepted and closed at once, because the limit of connections was reached.
    pub over_limit: u64,
    /// Connections closed here whose peer did not close them in time.
    pub linger_timeouts: u64,
    /// Accepts that failed.
    pub accept_errors: u64,
    /// Accepts that failed because descriptors or kernel memory ran out; also part of `accept_errors`.
    pub out_of_resources: u64,
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
    /// How long pending output may make no progress.
    pub write_stall: Duration,
    /// Bytes of pending output that a peer must accept each second, on average over `write_stall`.
    pub write_min_bytes_per_second: u64,
    /// How long the peer may take to close after this side has shut down writing.
    pub close: Duration,
    /// Memory for data that belongs to single connections: pending output and incomplete input. A single connection may
    /// exceed it.
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
    /// Connections that must be watched for writability.
    blocked: Vec<Key>,
    dead: Vec<(Key, Ended)>,
    /// Connections with unprocessed handshake input, in order of arrival.
    handshakes: VecDeque<Key>,
    scratch: Scratch,
    memory: Memory,
    sweep_at: usize,
    open_by_origin: Box<[usize; ORIGINS_MAX]>,
    /// Counters of what has happened.
    pub counters: Counters,
}

impl<T: Socket, S> Io<T, S> {
    /// Without connections.
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

    /// The number of open connections.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether no connection is open.
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// The number of open connections that one listener accepted.
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

    /// Whether a connection has work to do without an event.
    pub fn has_runnable(&self) -> bool {
        !self.runnable.is_empty() || !self.handshakes.is_empty()
    }

    /// Moves the connections that have work to do without an event into `keys` and replaces its content. Both lists keep
    /// their memory.
    pub fn take_runnable(&mut self, keys: &mut Vec<Key>) {
        keys.clear();
        std::mem::swap(keys, &mut self.runnable);
    }

    /// Moves the connections that must be watched for writability from now on into `keys`, like
    /// [`take_runnable`](Io::take_runnable).
    pub fn take_blocked(&mut self, keys: &mut Vec<Key>) {
        keys.clear();
        std::mem::swap(keys, &mut self.blocked);
    }

    /// The connection's socket.
    pub fn socket_mut(&mut self, key: Key) -> Option<&mut T> {
        self.slab.get_mut(key).map(|connection| &mut connection.socket)
    }

    /// Adds a new connection without TLS.
    pub fn insert(&mut self, socket: T, origin: Origin, service: &mut impl Service<Session = S>) -> Key {
        self.add(socket, None, origin, service)
    }

    /// Adds a new connection that begins with a TLS handshake.
    pub fn insert_secure(
        &mut self,
        socket: T,
        secure: Box<Secure>,
        origin: Origin,
        service: &mut impl Service<Session = S>,
    ) -> Key {
        self.add(socket, Some(secure), origin, service)
    }

    fn add(
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
            handshake_queued: false,
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

    /// Calls `visit` for an open connection and sends the output that it produces. `None` if the connection has ended or is
    /// closing.
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

    /// Handles the event that a socket accepts output again.
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

    /// Handles the event that the peer has closed the connection in both directions.
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

    /// Removes connections that have ended and informs the service. If too much memory is used, ends some more.
    pub fn reap(&mut self, service: &mut impl Service<Session = S>) {
        self.remove_ended(service);
        self.relieve(service);
    }

    fn remove_ended(&mut self, service: &mut impl Service<Session = S>) {
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

    /// All connections, for shutdown.
    pub fn keys(&mut self) -> Vec<Key> {
        (0..self.slab.slots()).filter_map(|slot| self.slab.at_mut(slot).map(|(key, _)| key)).collect()
    }
}

#[cfg(test)]
pub(super) mod tests;
