//! Reads from the sockets into the shared buffer, and passes input to the service.

use std::io;

use super::super::service::{Ended, Phase, Service};
use super::super::slab::Key;
use super::Io;
use super::connection::{Socket, ended_by};

/// Reads from one connection in a row before the others are served.
const READS_PER_TURN: usize = 8;

impl<T: Socket, S> Io<T, S> {
    /// Handles the event that a socket is readable. `hung_up`: the event said that the peer has shut down its sending side,
    /// so that a short read is followed by the end of input.
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
        if connection.is_handshaking() {
            if !std::mem::replace(&mut connection.core.handshake_queued, true) {
                self.handshakes.push_back(key);
            }
            return;
        }
        self.read(key, buffer, service);
    }

    /// Processes the input of at most `budget` handshakes. Handshakes cost far more CPU time than other input, so the rest
    /// waits until the other connections have been served.
    pub fn process_handshakes(
        &mut self,
        mut budget: usize,
        buffer: &mut [u8],
        service: &mut impl Service<Session = S>,
    ) {
        while budget > 0
            && let Some(key) = self.handshakes.pop_front()
        {
            let Some(connection) = self.slab.get_mut(key) else { continue };
            connection.core.handshake_queued = false;
            budget -= 1;
            self.read(key, buffer, service);
        }
        if !self.handshakes.is_empty() {
            self.counters.handshakes.deferred += 1;
        }
    }

    fn read(&mut self, key: Key, buffer: &mut [u8], service: &mut impl Service<Session = S>) {
        let Some(connection) = self.slab.get_mut(key) else { return };
        if !connection.core.paused
            && std::mem::take(&mut connection.core.offer_again)
            && let Some(kept) = connection.core.input.take()
        {
            self.offer(key, kept, service);
        }
        for _ in 0..READS_PER_TURN {
            let Some(connection) = self.slab.get_mut(key) else { return };
            let hung_up = connection.core.peer_hung_up;
            match connection.core.phase {
                Phase::Open if connection.core.paused => {
                    connection.core.unread = true;
                    if hung_up {
                        self.visit(key, |link, session| service.end_of_input(link, session));
                    }
                    return;
                }
                // Input that was kept comes before new input and before the end of input.
                Phase::Open if connection.core.offer_again => break,
                Phase::Open => {}
                Phase::Flushing(_) => {
                    connection.core.unread = true;
                    return;
                }
                Phase::Lingering { .. } => return self.discard(key, buffer),
                Phase::Dead | Phase::Gone => return,
            }
            connection.core.unread = false;
            if connection.secure.as_ref().is_some_and(|secure| secure.has_ended()) {
                return self.input_ended(key, service);
            }
            match connection.socket.read(buffer) {
                Ok(0) => return self.input_ended(key, service),
                Ok(count) => {
                    self.counters.bytes_in += count as u64;
                    if connection.secure.is_some() {
                        if !self.unseal(key, &mut buffer[..count], service)
                            && count < buffer.len()
                            && !hung_up
                        {
                            return;
                        }
                        continue;
                    }
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
    pub(super) fn offer(
        &mut self,
        key: Key,
        mut kept: Box<Vec<u8>>,
        service: &mut impl Service<Session = S>,
    ) {
        let Some(consumed) = self.visit(key, |link, session| service.input(link, session, &mut kept)) else {
            return;
        };
        if consumed < kept.len() {
            kept.drain(..consumed);
            if let Some(connection) = self.slab.get_mut(key) {
                connection.core.input = Some(kept);
                self.memory.count(connection, self.now);
            }
        }
    }

    pub(super) fn offer_shared(
        &mut self,
        key: Key,
        bytes: &mut [u8],
        service: &mut impl Service<Session = S>,
    ) {
        let Some(consumed) = self.visit(key, |link, session| service.input(link, session, bytes)) else {
            return;
        };
        if consumed < bytes.len()
            && let Some(connection) = self.slab.get_mut(key)
        {
            connection.core.input = Some(Box::new(bytes[consumed..].to_vec()));
            self.memory.count(connection, self.now);
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

    /// Discards input until the peer closes.
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

    /// Marks a connection as runnable in the next turn.
    pub(super) fn run_again(&mut self, key: Key) {
        if let Some(connection) = self.slab.get_mut(key) {
            connection.core.unread = true;
            if !std::mem::replace(&mut connection.core.queued, true) {
                self.runnable.push(key);
            }
        }
    }
}
