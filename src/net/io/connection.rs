//! One connection of a reactor, and what is asked of its socket.

use std::io::{self, Read, Write};

use super::super::service::{Core, Ended, Phase};
use super::secure::Secure;

/// A non-blocking stream socket.
pub trait Socket: Read + Write {
    /// Tells the peer that nothing more will be sent.
    fn shutdown_write(&mut self) -> io::Result<()>;
}

/// A connection: its socket, its state and the service's session.
#[derive(Debug)]
pub(super) struct Connection<T, S> {
    pub core: Core,
    pub socket: T,
    pub session: S,
    /// TLS, if that is spoken.
    pub secure: Option<Box<Secure>>,
}

impl<T, S> Connection<T, S> {
    /// Whether what comes in belongs to a handshake of TLS.
    pub(super) fn is_shaking_hands(&self) -> bool {
        self.core.phase == Phase::Open && self.secure.as_ref().is_some_and(|secure| secure.is_shaking_hands())
    }
}

/// Whether an error says that the peer left, or something else.
pub(super) fn ended_by(error: &io::Error) -> Ended {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected => {
            Ended::Peer
        }
        _ => Ended::Error,
    }
}
