//! What is kept for a connection. Idle ones hold no buffer and, but for a client's user, no memory of their own.

use crate::telemetry::metrics::{Closed, Connection};
use crate::wire::ws::reader::Reader;
use crate::wire::ws::rest::Rest;

use super::http::body::Body;
use super::http::parked::Parked;
use super::http::routes::ListenerRole;
use super::relay::downstream::Downstream;
use super::streaming::stream::{PendingStream, Stream};

/// A connection: what it is, and the state it is in.
#[derive(Debug)]
pub struct Session {
    pub(crate) info: Info,
    pub(crate) state: State,
}

/// What is known of a connection in every state.
#[derive(Debug)]
pub(crate) struct Info {
    /// The role of the listener that it came in by.
    pub role: ListenerRole,
    /// What it counts as in metrics.
    pub counted_as: Connection,
    /// Whether it has brought a whole request yet.
    pub has_asked: bool,
    /// Why the agent closed it, once it has.
    pub closed: Option<Closed>,
}

impl Session {
    /// A connection that has just come in.
    pub(crate) fn new(role: ListenerRole) -> Self {
        Self {
            info: Info { role, counted_as: Connection::Http, has_asked: false, closed: None },
            state: State::Head { begun: false },
        }
    }
}

/// LIFECYCLE: every connection begins as `Head`. A request with a body makes it `Body`, an answer that has to be waited
/// for makes it `Parked`; both go back to `Head`. An upgrade makes it `Pending` (no verdict yet), `Stream`, `Relay` or
/// `Echo`. `Closing` was sent a close frame and waits for the peer's. `Over` takes no input: the connection is being
/// closed.
///
/// What changes the state takes the old one by value and returns the new one, see [`State::change`].
#[derive(Debug)]
pub(crate) enum State {
    /// Between requests, or within a head: `begun` once its first byte has come.
    Head {
        begun: bool,
    },
    Body(Box<Body>),
    Parked(Box<Parked>),
    Pending(Box<PendingStream>),
    Stream(Stream),
    Relay(Box<Downstream>),
    Echo(Reader),
    Closing(Rest),
    Over,
}

impl State {
    /// Moves to the state that `next` makes of this one.
    pub fn change(&mut self, next: impl FnOnce(State) -> State) {
        // `Over` is seen by nobody: `next` has to return a state.
        let old = std::mem::replace(self, State::Over);
        *self = next(old);
    }
}
