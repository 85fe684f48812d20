//! The connections of one reactor and their reading and writing; knows sockets only by a trait, so that a
//! simulation can stand in for them.

use std::io::{self, Read, Write};

use super::limits::{Limits, Memory};
use super::outbox::{Flush, Outbox};
use super::service::{Close, Core, Ended, Link, Origin, Phase, Service};
use super::slab::{Key, Slab};
use super::ticks::Tick;

/// Bytes of the one buffer into which all connections of a reactor are read.
pub const SHARED_BUFFER_BYTES: usize = 128 * 1024;

/// Listeners of a reactor at most.
pub const ORIGINS_MAX: usize = 256;

/// Reads in a row from one connection before the others get their turn.
const READS_PER_TURN: usize = 8;

/// A non-blocking stream socket.
pub trait Socket: Read + Write {
    /// Tells the peer that nothing more will be sent.
    fn shutdown_write(&mut self) -> io::Result<()>;
}

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
    /// Connections ended, by [`Ended::index`].
    pub ended: [u64; Ended::ALL.len()],
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
}

#[derive(Debug)]
pub(super) struct Connection<T, S> {
    pub core: Core,
    pub socket: T,
    pub session: S,
}

/// The connections of one reactor.
#[derive(Debug)]
pub struct Io<T, S> {
    pub(super) slab: Slab<Connection<T, S>>,
    fresh: Outbox,
    pub(super) limits: Limits,
    pub(super) now: Tick,
    /// Connections that have something to do without an event.
    runnable: Vec<Key>,
    /// Connections that want to hear when they are writable.
    blocked: Vec<Key>,
    dead: Vec<(Key, Ended)>,
    pub(super) memory: Memory,
    pub(super) sweep_at: usize,
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
        !self.runnable.is_empty()
    }

    /// Takes the connections that have something to do without an event.
    pub fn take_runnable(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.runnable)
    }

    /// Takes the connections that have to be watched for writability from now on.
    pub fn take_blocked(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.blocked)
    }

    /// The connection's socket.
    pub fn socket_mut(&mut self, key: Key) -> Option<&mut T> {
        self.slab.get_mut(key).map(|connection| &mut connection.socket)
    }

    /// Keeps a new connection.
    pub fn insert(&mut self, socket: T, origin: Origin, service: &mut impl Service<Session = S>) -> Key {
        self.counters.accepted += 1;
        let core = Core {
            input: None,
            outbox: None,
            deadline: Tick::NEVER,
            progress: Tick::NEVER,
            phase: Phase::Open,
            paused: false,
            unread: false,
            offer_again: false,
            queued: false,
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
            Connection { core, socket, session }
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

    /// Reads what there is, in bounded portions. `hung_up`: the event said that the peer has ended its sending,
    /// so that a short read is not the last one.
    pub fn readable(
        &mut self,
        key: Key,
        hung_up: bool,
        buffer: &mut [u8],
        service: &mut impl Service<Session = S>,
    ) {
        let Some(connection) = self.slab.get_mut(key) else { return };
        connection.core.queued = false;
        connection.core.peer_hung_up |= hung_up;
        let hung_up = connection.core.peer_hung_up;
        if !connection.core.paused
            && std::mem::take(&mut connection.core.offer_again)
            && let Some(kept) = connection.core.input.take()
        {
            self.offer(key, kept, service);
        }
        for _ in 0..READS_PER_TURN {
            let Some(connection) = self.slab.get_mut(key) else { return };
            match connection.core.phase {
                Phase::Open if connection.core.paused => {
                    connection.core.unread = true;
                    if hung_up {
                        self.visit(key, |link, session| service.end_of_input(link, session));
                    }
                    return;
                }
                // What was left comes before what is still to be read, and before the end of it.
                Phase::Open if connection.core.offer_again => break,
                Phase::Open => {}
                Phase::Flushing(_) => {
                    connection.core.unread = true;
                    return;
                }
                Phase::Lingering => return self.discard(key, buffer),
                Phase::Dead | Phase::Gone => return,
            }
            connection.core.unread = false;
            match connection.socket.read(buffer) {
                Ok(0) => return self.input_ended(key, service),
                Ok(count) => {
                    self.counters.bytes_in += count as u64;
                    match connection.core.input.take() {
                        Some(mut kept) => {
                            kept.extend_from_slice(&buffer[..count]);
                            self.offer(key, kept, service);
                        }
                        None => self.offer_shared(key, &mut buffer[..count], service),
                    }
                    if count < buffer.len() && !hung_up {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.kill(key, ended_by(&error)),
            }
        }
        self.run_again(key);
    }

    #[expect(clippy::box_collection, reason = "as it is kept")]
    fn offer(&mut self, key: Key, mut kept: Box<Vec<u8>>, service: &mut impl Service<Session = S>) {
        let Some(consumed) = self.visit(key, |link, session| service.input(link, session, &mut kept)) else {
            return;
        };
        if consumed < kept.len() {
            kept.drain(..consumed);
            if let Some(connection) = self.slab.get_mut(key) {
                connection.core.input = Some(kept);
                self.memory.count(&mut connection.core, self.now);
            }
        }
    }

    fn offer_shared(&mut self, key: Key, bytes: &mut [u8], service: &mut impl Service<Session = S>) {
        let Some(consumed) = self.visit(key, |link, session| service.input(link, session, bytes)) else {
            return;
        };
        if consumed < bytes.len()
            && let Some(connection) = self.slab.get_mut(key)
        {
            connection.core.input = Some(Box::new(bytes[consumed..].to_vec()));
            self.memory.count(&mut connection.core, self.now);
        }
    }

    fn input_ended(&mut self, key: Key, service: &mut impl Service<Session = S>) {
        let Some(connection) = self.slab.get_mut(key) else { return };
        if connection.core.end_of_input {
            return;
        }
        connection.core.end_of_input = true;
        self.visit(key, |link, session| service.end_of_input(link, session));
    }

    /// Throws input away until the peer is done.
    fn discard(&mut self, key: Key, buffer: &mut [u8]) {
        for _ in 0..READS_PER_TURN {
            let Some(connection) = self.slab.get_mut(key) else { return };
            match connection.socket.read(buffer) {
                Ok(0) => return self.kill(key, Ended::Closed),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.kill(key, Ended::Closed),
            }
        }
        self.run_again(key);
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

    /// Marks a connection to be looked at in the next turn.
    fn run_again(&mut self, key: Key) {
        if let Some(connection) = self.slab.get_mut(key) {
            connection.core.unread = true;
            if !std::mem::replace(&mut connection.core.queued, true) {
                self.runnable.push(key);
            }
        }
    }

    pub(super) fn kill(&mut self, key: Key, ended: Ended) {
        if let Some(connection) = self.slab.get_mut(key)
            && connection.core.phase != Phase::Gone
        {
            connection.core.phase = Phase::Gone;
            self.dead.push((key, ended));
        }
    }

    /// Sends what a visit left, and takes the next step of closing.
    ///
    /// Output that is blocked is left alone: when the socket takes it again the poller says so, and only who hears
    /// that may tell the service. If it were sent here, that event would find nothing left to do, and a service
    /// that waits for [`Service::drained`] would wait for ever.
    fn settle(&mut self, key: Key) {
        self.send_and_close(key, false);
    }

    /// The same when the poller has said that the socket takes output.
    fn settle_writable(&mut self, key: Key) {
        self.send_and_close(key, true);
    }

    fn send_and_close(&mut self, key: Key, writable: bool) {
        let Self { slab, fresh, counters, now, blocked, memory, .. } = self;
        let Some(connection) = slab.get_mut(key) else { return };
        let Connection { core, socket, .. } = connection;
        match core.phase {
            Phase::Dead => {
                *fresh = Outbox::default();
                return self.kill(key, Ended::Aborted);
            }
            Phase::Gone => return,
            _ => {}
        }
        let flushed = match &mut core.outbox {
            Some(_) if !writable => Ok((Flush::Blocked, 0)),
            Some(outbox) => outbox.flush(socket),
            None if fresh.is_empty() => Ok((Flush::Done, 0)),
            None => fresh.flush(socket),
        };
        match flushed {
            Ok((outcome, written)) => {
                counters.bytes_out += written as u64;
                if written > 0 {
                    core.progress = *now;
                }
                match (outcome, &core.outbox) {
                    (Flush::Done, Some(_)) => core.outbox = None,
                    (Flush::Done, None) => {}
                    (Flush::Blocked, Some(_)) => {}
                    (Flush::Blocked, None) => {
                        fresh.begin_wait(*now);
                        core.outbox = Some(Box::new(std::mem::take(fresh)));
                        core.progress = *now;
                        if !core.writable_registered {
                            core.writable_registered = true;
                            blocked.push(key);
                        }
                    }
                }
            }
            Err(error) => {
                *fresh = Outbox::default();
                return self.kill(key, ended_by(&error));
            }
        }
        memory.count(core, *now);
        if core.outbox.is_none() {
            self.close_further(key);
        }
        if let Some(connection) = self.slab.get_mut(key)
            && connection.core.unread
            && !connection.core.paused
            && matches!(connection.core.phase, Phase::Open | Phase::Lingering)
            && !std::mem::replace(&mut connection.core.queued, true)
        {
            self.runnable.push(key);
        }
    }

    /// All output is sent: the next step of a connection that is being closed.
    fn close_further(&mut self, key: Key) {
        let Some(connection) = self.slab.get_mut(key) else { return };
        let Phase::Flushing(how) = connection.core.phase else { return };
        if how == Close::Flush || connection.core.end_of_input || connection.socket.shutdown_write().is_err()
        {
            return self.kill(key, Ended::Closed);
        }
        connection.core.phase = Phase::Lingering;
        connection.core.input = None;
        connection.core.paused = false;
        connection.core.unread = true;
        connection.core.deadline = self.now.after(self.limits.close);
    }

    /// Removes the connections that ended, and tells the service. If too much memory is held, some more are ended.
    pub fn reap(&mut self, service: &mut impl Service<Session = S>) {
        self.bury(service);
        self.relieve(service);
    }

    pub(super) fn bury(&mut self, service: &mut impl Service<Session = S>) {
        while let Some((key, ended)) = self.dead.pop() {
            if let Some(connection) = self.slab.remove(key) {
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

/// Whether an error says that the peer left, or something else.
fn ended_by(error: &io::Error) -> Ended {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected => {
            Ended::Peer
        }
        _ => Ended::Error,
    }
}

#[cfg(test)]
#[path = "io_tests.rs"]
pub(super) mod tests;
