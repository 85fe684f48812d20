//! The server as one thread sees it: at most one connection, opened when it is needed and kept for a few seconds.
//!
//! Must not send a request twice, unless a connection that was used before ends without a byte of an answer.

use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::client::{DialError, Dialer, Step};

use super::connection::{Connection, Lost, Reply};
use super::outcome::{Fault, NoAnswer};
use super::request::Target;

/// The server.
pub(super) struct Peer {
    dialer: Dialer,
    target: Arc<Target>,
    timeout: Duration,
    kept: Option<Connection>,
    switch: Arc<Switch>,
}

/// What became of one question.
pub(super) struct Asked {
    /// The answer, or why there is none.
    pub answer: Result<Reply, Fault>,
    /// How often the request was sent.
    pub sent: u32,
}

impl Peer {
    /// Not connected yet. A question takes at most `timeout`, and ends when the switch is turned off.
    pub fn new(dialer: Dialer, target: Arc<Target>, timeout: Duration, switch: Arc<Switch>) -> Self {
        Self { dialer, target, timeout, kept: None, switch }
    }

    /// Sends a request and returns the answer.
    pub fn ask(&mut self, request: &[u8]) -> Asked {
        let deadline = Instant::now() + self.timeout;
        let mut sent = 0;
        if let Some(mut connection) = self.kept.take()
            && connection.is_fresh()
        {
            sent = 1;
            match self.exchange(connection, request, deadline) {
                // The server has closed it just when the request came, and most probably not taken that.
                Err(Trouble::Lost(lost)) if lost.how == NoAnswer::Closed && !lost.has_begun => {}
                answer => return Asked { answer: answer.map_err(Fault::from), sent },
            }
        }
        let connection = self.dialer.connect_before(self.target.uri(), deadline).and_then(|stream| {
            Connection::new(stream).map_err(|error| DialError {
                step: Step::Connect,
                peer: self.target.host().to_owned(),
                problem: format!("its socket cannot be set up ({error})"),
                remedy: String::new(),
            })
        });
        let answer = match connection {
            Err(_) if self.switch.is_off() => Err(Fault::Abandoned),
            Err(error) => Err(Fault::NoConnection(error)),
            Ok(connection) => {
                sent += 1;
                self.exchange(connection, request, deadline).map_err(Fault::from)
            }
        };
        Asked { answer, sent }
    }

    /// Whether a connection is kept.
    pub fn is_connected(&self) -> bool {
        self.kept.is_some()
    }

    /// Closes the connection that is kept.
    pub fn disconnect(&mut self) {
        self.kept = None;
    }

    /// Whether connections are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.target.uri().scheme().eq_ignore_ascii_case("https")
    }

    fn exchange(
        &mut self,
        mut connection: Connection,
        request: &[u8],
        deadline: Instant,
    ) -> Result<Reply, Trouble> {
        let Some(_watched) = self.switch.watch(connection.stream().socket()) else {
            return Err(Trouble::Off);
        };
        let answer = connection.exchange(request, deadline);
        match answer {
            Ok(reply) => {
                self.kept = reply.can_continue.then_some(connection);
                Ok(reply)
            }
            Err(_) if self.switch.is_off() => Err(Trouble::Off),
            Err(lost) => Err(Trouble::Lost(lost)),
        }
    }
}

enum Trouble {
    Lost(Lost),
    Off,
}

impl From<Trouble> for Fault {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Lost(Lost { how, detail, .. }) => Fault::NoAnswer { how, detail },
            Trouble::Off => Fault::Abandoned,
        }
    }
}

/// Ends the exchange of a thread from another one.
#[derive(Debug, Default)]
pub(super) struct Switch(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    off: bool,
    /// The socket of the exchange under way.
    socket: Option<TcpStream>,
}

impl Switch {
    /// Ends the exchange under way, and lets no other begin.
    pub fn turn_off(&self) {
        let mut state = self.0.lock();
        state.off = true;
        if let Some(socket) = state.socket.take() {
            // Fails if it is not connected any more.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Whether it is turned off.
    pub fn is_off(&self) -> bool {
        self.0.lock().off
    }

    /// Lets [`Switch::turn_off`] end what happens on this socket, until the result is dropped. `None` if it is off.
    fn watch(&self, socket: &TcpStream) -> Option<Watched<'_>> {
        let mut state = self.0.lock();
        if state.off {
            return None;
        }
        // Without a second descriptor the exchange goes on to its own deadline.
        state.socket = socket.try_clone().ok();
        Some(Watched(self))
    }
}

struct Watched<'a>(&'a Switch);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0.0.lock().socket = None;
    }
}
