//! What is kept for a connection. Idle ones hold no buffer and, but for a client's user, no memory of their own.

use crate::eval::{Audience, NoVariation};
use crate::fanout::index::Place;
use crate::fanout::secrets::SecretId;
use crate::model::user::User;
use crate::protocol::sdk::Sdk;
use crate::protocol::secret::Secret;
use crate::telemetry::metrics::{Closed, Connection};
use crate::wire::ws::reader::Reader;
use crate::wire::ws::rest::Rest;

use crate::serve::http::body::Body;
use crate::serve::http::exchange::Exchange;
use crate::serve::relay::connection::Relay;
use crate::serve::verdict::Wanted;
use crate::serve::verdict::pending::HeldStream;

/// Which of the agent's ports a connection came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The port of SDKs and operators.
    Data,
    /// The port of `Metrics__Url`: metrics and health only.
    Metrics,
}

/// A connection's state.
#[derive(Debug)]
pub struct Session {
    /// Where it came in.
    pub(crate) door: Door,
    pub(crate) state: State,
    /// What it counts as in metrics.
    pub(crate) counted_as: Connection,
    /// Whether it has brought a whole request yet.
    pub(crate) has_asked: bool,
    /// Why the agent closed it, once it has.
    pub(crate) why: Option<Closed>,
}

impl Session {
    /// A connection that has just come in.
    pub(crate) fn new(door: Door) -> Self {
        Self {
            door,
            state: State::Head { begun: false },
            counted_as: Connection::Http,
            has_asked: false,
            why: None,
        }
    }
}

/// LIFECYCLE: every connection begins as `Head`. A request with a body makes it `Body`, an answer that has to be
/// waited for `Parked`; both go back to `Head`. An upgrade makes it `Held` (no verdict yet) or `Stream`, or `Relay`, or `Echo`.
/// `Closing` was sent a close frame, and waits for the peer's. `Over` takes no input: the connection is being closed.
#[derive(Debug)]
pub(crate) enum State {
    /// Between requests, or within a head: `begun` once its first byte has come.
    Head {
        begun: bool,
    },
    Body(Box<Body>),
    Parked(Box<Parked>),
    Held(Box<HeldStream>),
    Stream(Stream),
    Relay(Box<Relay>),
    Echo(Reader),
    Closing(Rest),
    Over,
}

/// A streaming connection whose secret was accepted.
#[derive(Debug)]
pub(crate) struct Stream {
    pub reader: Reader,
    pub place: Place,
    pub secret: SecretId,
    pub sdk: Sdk,
    /// A request that waits until the peer reads, or until memory is free.
    pub asked: Option<i64>,
    /// On the list of those who wait for memory.
    pub starving: bool,
    /// The user of a client connection, once it has said it.
    pub user: Option<User>,
}

/// A request that waits for an answer from elsewhere, or for data.
#[derive(Debug)]
pub(crate) struct Parked {
    pub exchange: Exchange,
    pub wait: Wait,
}

/// What a parked request waits for.
#[derive(Debug)]
pub(crate) enum Wait {
    /// An answer in the mailbox.
    Reply,
    /// Data, by which the secret can be judged.
    Verdict(Asked),
    /// Memory for the answer.
    Memory(Asked),
}

/// A question that cannot be answered yet.
#[derive(Debug)]
pub(crate) struct Asked {
    pub secret: Secret,
    pub wanted: Wanted,
    pub question: Question,
}

/// What a request with an environment secret asks, once its secret has been accepted.
#[derive(Debug)]
pub(crate) enum Question {
    ServerPoll { timestamp_ms: i64 },
    ClientPoll { timestamp_ms: i64, user: User, sdk: Sdk },
    Track { events: crate::protocol::insight::Counts },
}

/// A user, and what their SDK needs.
pub(crate) fn audience(user: &User, sdk: Sdk) -> Audience<'_> {
    let no_variation = match sdk {
        Sdk::Android => NoVariation::EmptyText,
        Sdk::Java | Sdk::Go | Sdk::Python | Sdk::Ruby | Sdk::Other => NoVariation::Null,
    };
    Audience { user, no_variation }
}
