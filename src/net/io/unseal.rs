//! Reads from connections with TLS: decrypts input and passes it to the service.

use super::super::service::{Close, Phase, Service};
use super::super::slab::Key;
use super::Io;
use super::connection::{Socket, ended_by};

/// A plaintext buffer of up to this size is kept for the next connection.
const PLAIN_KEPT_BYTES: usize = 256 * 1024;

impl<T: Socket, S> Io<T, S> {
    /// Decrypts the input of a connection and passes it to the service. Returns whether there is work to do before more is
    /// read.
    pub(super) fn unseal(
        &mut self,
        key: Key,
        bytes: &mut [u8],
        service: &mut impl Service<Session = S>,
    ) -> bool {
        let Self { slab, scratch, counters, .. } = self;
        let Some(connection) = slab.get_mut(key) else { return true };
        let Some(secure) = &mut connection.secure else { return true };
        let was_handshaking = secure.is_handshaking();
        let received = secure.receive(bytes, scratch);
        match received {
            Ok(Some(how)) => counters.handshakes.done[how as usize] += 1,
            Err(failure) if was_handshaking => {
                counters.handshakes.failed[failure as usize] += 1;
                counters.handshakes.certificate_error =
                    secure.certificate_error().or(counters.handshakes.certificate_error);
            }
            Ok(None) | Err(_) => {}
        }
        match secure.write_out(&mut connection.socket, scratch) {
            Ok(written) => counters.bytes_out += written as u64,
            Err(error) => {
                scratch.begin();
                self.kill(key, ended_by(&error));
                return true;
            }
        }
        let (pending, ended) = (secure.pending_bytes() > 0, secure.has_ended());
        if pending {
            self.block(key);
        }
        self.offer_plain(key, service);
        if let Some(connection) = self.slab.get_mut(key) {
            self.memory.count(connection, self.now);
        }
        if received.is_err() {
            self.break_off(key);
            return true;
        }
        if ended && let Some(connection) = self.slab.get_mut(key) {
            connection.core.unread = true;
        }
        ended
    }

    fn offer_plain(&mut self, key: Key, service: &mut impl Service<Session = S>) {
        if self.scratch.plain.is_empty() {
            return;
        }
        let mut plain = std::mem::take(&mut self.scratch.plain);
        let kept = self.slab.get_mut(key).and_then(|connection| connection.core.input.take());
        match kept {
            Some(mut kept) => {
                kept.extend_from_slice(&plain);
                self.offer(key, kept, service);
            }
            None => self.offer_shared(key, &mut plain, service),
        }
        plain.clear();
        if plain.capacity() <= PLAIN_KEPT_BYTES {
            self.scratch.plain = plain;
        }
    }

    /// TLS has failed: closes the connection after its pending output was sent.
    fn break_off(&mut self, key: Key) {
        let Some(connection) = self.slab.get_mut(key) else { return };
        if connection.core.phase == Phase::Open {
            connection.core.phase = Phase::Flushing(Close::Linger);
        }
        let pending = connection.secure.as_ref().is_some_and(|secure| secure.pending_bytes() > 0);
        if !pending {
            connection.core.outbox = None;
        }
        self.settle(key);
    }
}
