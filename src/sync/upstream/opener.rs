//! Opens connections to the server, including the WebSocket handshake, and registers. Each step blocks until its deadline:
//! call it on a separate thread.
//!
//! Must not decide when to open a connection, or whether to retry.

use std::fmt;
use std::time::{Duration, Instant};

use crate::client::{DialError, Dialer, Step, Stream};
use crate::config::Access;
use crate::telemetry::metrics::DialFault;

use super::connection::{Connection, OpenError};
use super::endpoint::Endpoint;
use super::follow::FailureKind;
use super::limited_stream::LimitedStream;
use super::register::{Registration, register};
use super::reply::{Asked, Meaning};

/// Opens connections to one server.
#[derive(Clone, Debug)]
pub struct Opener {
    pub(super) endpoint: Endpoint,
    dialer: Dialer,
    /// How long the server may take to answer on a connection.
    answer_time: Duration,
    /// The most bytes of a message.
    pub(super) message_bytes_max: u64,
}

/// Why the server was not reached, or did not accept the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConnectError {
    /// What it means for the next attempt.
    pub kind: FailureKind,
    /// The label of the metric.
    pub reason: DialFault,
    /// The description: what happened, where, and what to do.
    pub text: String,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<DialError> for ConnectError {
    fn from(error: DialError) -> Self {
        let reason = match error.step {
            Step::Resolve => DialFault::Resolve,
            Step::Connect => DialFault::Connect,
            Step::Proxy => DialFault::Proxy,
            Step::Tls => DialFault::Tls,
        };
        Self { kind: FailureKind::Failed, reason, text: error.to_string() }
    }
}

impl Opener {
    /// An opener for the server in `access`, for an agent with this name.
    pub fn new(access: Access, agent_id: String, dialer: Dialer) -> Self {
        let Access { streaming_uri, api_key, dial, message_bytes_max, .. } = access;
        let endpoint = Endpoint { uri: streaming_uri, key: api_key, agent_id };
        Self { endpoint, dialer, answer_time: dial.connect, message_bytes_max }
    }

    /// The same opener with another key.
    pub(super) fn with_key(&self, key: crate::config::Secret) -> Self {
        let endpoint = Endpoint { key, ..self.endpoint.clone() };
        Self { endpoint, ..self.clone() }
    }

    /// How long a dial waits for the registration. Short, so that a registration that hangs does not delay SDKs; a server that
    /// refuses the agent answers within this time.
    pub(super) fn head_start(&self) -> Duration {
        self.answer_time / 10
    }

    /// The longest time that a dial can take, if every step takes its maximum.
    pub(super) fn longest(&self) -> Duration {
        6 * self.answer_time
    }

    /// Registers, and returns the name that the server has given the agent.
    pub(super) fn register(&self) -> Result<String, ConnectError> {
        let mut absent = String::new();
        for path in self.endpoint.register_paths() {
            let mut wire = self.connect()?;
            match register(&mut wire, &self.endpoint, &path) {
                Registration::Done(id) => return Ok(id),
                Registration::Not(_, Meaning::Absent(text)) => absent = text,
                Registration::Not(status, Meaning::Refused) => return Err(self.refused(status)),
                // Not refused: a gateway that blocks this call may still forward a WebSocket.
                Registration::Not(_, Meaning::Blocked(text)) => {
                    return Err(self.failed(DialFault::Gateway, &text));
                }
                Registration::Not(_, Meaning::Failed(text)) | Registration::Failed(text) => {
                    return Err(self.failed(DialFault::Register, &text));
                }
            }
        }
        Err(self.failed(DialFault::Register, &absent))
    }

    /// Opens a connection for streaming.
    pub(super) fn stream(&self) -> Result<Connection, ConnectError> {
        let wire = self.connect()?;
        Connection::open(wire, &self.endpoint, self.message_bytes_max).map_err(|error| match error {
            OpenError::Answered(reply) => {
                match reply.meaning(Asked::Stream, &format!("{}/streaming", self.endpoint.uri.path())) {
                    Meaning::Refused => self.refused(reply.status),
                    Meaning::Blocked(text) => {
                        ConnectError { kind: FailureKind::Refused, ..self.failed(DialFault::Gateway, &text) }
                    }
                    Meaning::Absent(text) | Meaning::Failed(text) => self.failed(DialFault::Handshake, &text),
                }
            }
            OpenError::Failed(text) => self.failed(DialFault::Handshake, &text),
        })
    }

    fn connect(&self) -> Result<LimitedStream, ConnectError> {
        let stream: Stream = self.dialer.connect(&self.endpoint.uri)?;
        // Without this, Nagle's algorithm would delay the second of two small requests until the first is acknowledged.
        let _ = stream.socket().set_nodelay(true);
        Ok(LimitedStream::new(stream, Instant::now() + self.answer_time))
    }

    fn failed(&self, reason: DialFault, text: &str) -> ConnectError {
        ConnectError { kind: FailureKind::Failed, reason, text: format!("{}: {text}", self.endpoint) }
    }

    fn refused(&self, status: u16) -> ConnectError {
        let why = match status {
            401 => "does not know the ApiKey; copy the key of the relay proxy from FeatBit again",
            _ => {
                "accepts no more agents: the licence's quota is used up, or the key is not allowed to; check FeatBit's \
                  licence and relay proxies"
            }
        };
        let text = format!("{}: the server {why} (status {status})", self.endpoint);
        ConnectError { kind: FailureKind::Refused, reason: DialFault::Refused, text }
    }
}
