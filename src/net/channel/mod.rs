//! An encrypted channel without IO: bytes of the network in, what the peer says out, and back.
//!
//! Must not touch a socket. [`Channel`] is what this room needs of TLS; [`unbuffered`] is the one implementation that
//! serves. It keeps no buffer for a connection that is idle, which rustls' buffered interface does.

#[cfg(test)]
pub(super) mod tests;
pub mod unbuffered;

pub use crate::telemetry::metrics::{Handshake as Established, HandshakeFailure as Failure};

/// Plaintext in one record at most (RFC 8446, 5.1).
pub const RECORD_BYTES_MAX: usize = 16 * 1024;

/// TLS of one connection, on the accepting side.
pub trait Channel {
    /// Takes bytes that came in. Appends to `plain` what they say, and to `out` what has to be sent because of them,
    /// also where it fails: then that is the alert that tells the peer. May change `bytes`.
    ///
    /// # Errors
    /// Why the connection cannot go on. Nothing can be received or sealed after that.
    fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Outgoing,
    ) -> Result<Received, Failure>;

    /// Appends `plain`, encrypted, to `out`. Only once the channel [is established](Channel::is_established).
    ///
    /// # Errors
    /// Why the connection cannot go on.
    fn seal(&mut self, plain: &[u8], out: &mut Outgoing) -> Result<(), Failure>;

    /// Appends the message to `out` that says that nothing more will be sent.
    fn say_goodbye(&mut self, out: &mut Outgoing);

    /// Whether the handshake is done.
    fn is_established(&self) -> bool;
}

/// What came of bytes that came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The handshake ended with these bytes.
    pub established: Option<Established>,
    /// The peer has said that it sends nothing more.
    pub ended: bool,
}

/// Bytes for the network, gathered in memory that is used again and again.
#[derive(Debug, Default)]
pub struct Outgoing {
    bytes: Vec<u8>,
    used: usize,
}

impl Outgoing {
    /// What has been gathered.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    /// Whether nothing has been gathered.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Forgets what has been gathered, and keeps its memory.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// Appends bytes as they are.
    pub fn push(&mut self, bytes: &[u8]) {
        self.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.advance(bytes.len());
    }

    /// At least `count` bytes to write into, behind what has been gathered.
    fn room(&mut self, count: usize) -> &mut [u8] {
        if self.bytes.len() < self.used + count {
            self.bytes.resize(self.used + count, 0);
        }
        &mut self.bytes[self.used..]
    }

    /// The first `count` bytes of the room have been written.
    fn advance(&mut self, count: usize) {
        self.used += count;
    }
}
