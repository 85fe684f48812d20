//! One connection of a reactor, and what is asked of its socket.

use std::io::{self, Read, Write};

use super::super::service::{Core, Ended, Phase};
use super::secure::Secure;

/// A non-blocking stream socket.
pub trait Socket: Read + Write {
    /// Shuts down the sending side.
    fn shutdown_write(&mut self) -> io::Result<()>;
}

/// A connection: its socket, its state and the service's session.
#[derive(Debug)]
pub(super) struct Connection<T, S> {
    pub core: Core,
    pub socket: T,
    pub session: S,
    /// TLS, if the connection uses it.
    pub secure: Option<Box<Secure>>,
}

impl<T, S> Connection<T, S> {
    /// Whether input belongs to a TLS handshake.
    pub(super) fn is_handshaking(&self) -> bool {
        self.core.phase == Phase::Open && self.secure.as_ref().is_some_and(|secure| secure.is_handshaking())
    }
}

/// Whether an IO error means that the peer has left, or something else.
pub(super) fn ended_by(error: &io::Error) -> Ended {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected => {
            Ended::Peer
        }
        _ => Ended::Error,
    }
}
