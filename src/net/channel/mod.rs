//! TLS of one connection without IO: encrypts and decrypts bytes in memory.
//!
//! Must not touch a socket. [`Channel`] is the interface that `net` uses; [`unbuffered`] implements it. It keeps no buffer
//! for an idle connection, unlike rustls' buffered interface.

#[cfg(test)]
pub(super) mod tests;
pub mod unbuffered;

pub use crate::telemetry::metrics::{Handshake as Established, HandshakeFailure as Failure};

/// The longest plaintext of one record, in bytes (RFC 8446, 5.1).
pub const RECORD_BYTES_MAX: usize = 16 * 1024;

/// TLS of one connection, on the accepting side.
pub trait Channel {
    /// Processes received bytes. Appends the decrypted input to `plain` and the bytes to be sent in return to `out`. In
    /// case of an error, `out` gets the alert for the peer. May change `bytes`.
    ///
    /// # Errors
    /// Why the connection cannot continue. Nothing can be received or encrypted after that.
    fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Outgoing,
    ) -> Result<Received, Failure>;

    /// Encrypts `plain` and appends it to `out`. Only after the handshake ([`Channel::is_established`]).
    ///
    /// # Errors
    /// Why the connection cannot continue.
    fn seal(&mut self, plain: &[u8], out: &mut Outgoing) -> Result<(), Failure>;

    /// Appends a close_notify alert to `out`: nothing more will be sent.
    fn close_notify(&mut self, out: &mut Outgoing);

    /// Whether the handshake is done.
    fn is_established(&self) -> bool;
}

/// The result of processing received bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The handshake ended with these bytes.
    pub established: Option<Established>,
    /// The peer has sent close_notify.
    pub ended: bool,
}

/// Bytes to be sent, collected in memory that is reused.
#[derive(Debug, Default)]
pub struct Outgoing {
    bytes: Vec<u8>,
    used: usize,
}

impl Outgoing {
    /// The collected bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Removes the bytes and keeps the memory.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// Appends bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.advance(bytes.len());
    }

    /// At least `count` bytes of room after the collected bytes.
    fn room(&mut self, count: usize) -> &mut [u8] {
        if self.bytes.len() < self.used + count {
            self.bytes.resize(self.used + count, 0);
        }
        &mut self.bytes[self.used..]
    }

    /// Adds the first `count` bytes of the room, which have been written, to the collected bytes.
    fn advance(&mut self, count: usize) {
        self.used += count;
    }
}
