//! The state of a connection. An idle one has no buffer, and no heap memory except for a client SDK's user.

use crate::telemetry::metrics::{Closed, Connection};
use crate::wire::ws::reader::Reader;
use crate::wire::ws::rest::Rest;

use super::http::body::Body;
use super::http::parked::Parked;
use super::http::routes::ListenerRole;
use super::relay::downstream::Downstream;
use super::streaming::stream::{PendingStream, Stream};

/// What a connection is used for: facts that hold in every state, and the state.
#[derive(Debug)]
pub struct Session {
    pub(crate) info: Info,
    pub(crate) state: State,
}

/// What is known about a connection in every state.
#[derive(Debug)]
pub(crate) struct Info {
    /// The role of the listener that accepted it.
    pub role: ListenerRole,
    /// As which kind of connection the metrics count it.
    pub counted_as: Connection,
    /// Whether the head of a request has been received on it.
    pub has_sent_request: bool,
    /// Why the agent closes it, if it does.
    pub closed: Option<Closed>,
}

impl Session {
    /// A connection that was just accepted.
    pub(crate) fn new(role: ListenerRole) -> Self {
        Self {
            info: Info { role, counted_as: Connection::Http, has_sent_request: false, closed: None },
            state: State::Head { begun: false },
        }
    }
}

/// The life of a connection: it starts as `Head`. A request with a body leads to `Body`, an answer that is not ready leads
/// to `Parked`; both return to `Head`. An upgrade leads to `Pending` (no verdict yet), `Stream`, `Relay` or `Echo`.
/// `Closing`: the agent has sent a close frame and waits for the peer's. `Over`: the connection is being closed, and its
/// input is ignored.
///
/// A function that changes the state takes the old one by value and returns the new one, see [`State::change`].
#[derive(Debug)]
pub(crate) enum State {
    /// Between requests, or within a head. `begun`: a part of the head has come.
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
    /// Replaces the state by the one that `next` returns for it.
    pub fn change(&mut self, next: impl FnOnce(State) -> State) {
        // Only a placeholder for the time of the call: `next` must return a state.
        let old = std::mem::replace(self, State::Over);
        *self = next(old);
    }
}
