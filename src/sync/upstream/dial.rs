//! Opens a stream of the server: connects, shakes hands; and registers. Blocks, each step within a deadline, and so has
//! a thread of its own.
//!
//! Must not decide when, or whether again.

use std::fmt;
use std::time::{Duration, Instant};

use crate::client::{DialError, Dialer, Step, Stream};
use crate::config::Access;
use crate::telemetry::metrics::DialFault;

use super::connection::{Connection, Refused};
use super::endpoint::Endpoint;
use super::follow::Fault;
use super::register::{Registration, register};
use super::reply::{Asked, Meaning};
use super::wire::Wire;

/// Knows the server, and how to reach it.
#[derive(Clone, Debug)]
pub struct Caller {
    pub(super) endpoint: Endpoint,
    dialer: Dialer,
    /// How long an answer may take to what is asked on a connection.
    answer_time: Duration,
    /// The longest message.
    pub(super) message_bytes_max: u64,
}

/// Why something did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// What it means for the next attempt.
    pub fault: Fault,
    /// As a metric has it.
    pub reason: DialFault,
    /// In words: what, where, what to do.
    pub told: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told)
    }
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        let reason = match error.step {
            Step::Resolve => DialFault::Resolve,
            Step::Connect => DialFault::Connect,
            Step::Proxy => DialFault::Proxy,
            Step::Tls => DialFault::Tls,
        };
        Self { fault: Fault::Failed, reason, told: error.to_string() }
    }
}

impl Caller {
    /// For a server, as an agent of this name.
    pub fn new(access: Access, agent_id: String, dialer: Dialer) -> Self {
        let Access { streaming_uri, api_key, dial, message_bytes_max, .. } = access;
        let endpoint = Endpoint { uri: streaming_uri, key: api_key, agent_id };
        Self { endpoint, dialer, answer_time: dial.connect, message_bytes_max }
    }

    /// The same with another key.
    pub(super) fn with_key(&self, key: crate::config::Secret) -> Self {
        let endpoint = Endpoint { key, ..self.endpoint.clone() };
        Self { endpoint, ..self.clone() }
    }

    /// How long a stream waits for a registration: a server that does not take this agent says so within it, and one that
    /// hangs costs SDKs no more.
    pub(super) fn head_start(&self) -> Duration {
        self.answer_time / 10
    }

    /// The longest that a dial takes, if every step takes as long as it may.
    pub(super) fn longest(&self) -> Duration {
        6 * self.answer_time
    }

    /// Registers; returns the name that the server gave the agent.
    pub(super) fn register(&self) -> Result<String, Failure> {
        let mut absent = String::new();
        for path in self.endpoint.register_paths() {
            let mut wire = self.connect()?;
            match register(&mut wire, &self.endpoint, &path) {
                Registration::Done(id) => return Ok(id),
                Registration::Not(_, Meaning::Absent(told)) => absent = told,
                Registration::Not(status, Meaning::Refused) => return Err(self.refused(status)),
                // What is in the way of this call may let the stream through.
                Registration::Not(_, Meaning::Kept(told)) => {
                    return Err(self.failed(DialFault::Gateway, &told));
                }
                Registration::Not(_, Meaning::Failed(told)) | Registration::Failed(told) => {
                    return Err(self.failed(DialFault::Register, &told));
                }
            }
        }
        Err(self.failed(DialFault::Register, &absent))
    }

    /// Opens a stream.
    pub(super) fn stream(&self) -> Result<Connection, Failure> {
        let wire = self.connect()?;
        Connection::open(wire, &self.endpoint, self.message_bytes_max).map_err(|refused| match refused {
            Refused::Answered(reply) => {
                match reply.meaning(Asked::Stream, &format!("{}/streaming", self.endpoint.uri.path())) {
                    Meaning::Refused => self.refused(reply.status),
                    Meaning::Kept(told) => {
                        Failure { fault: Fault::Refused, ..self.failed(DialFault::Gateway, &told) }
                    }
                    Meaning::Absent(told) | Meaning::Failed(told) => self.failed(DialFault::Handshake, &told),
                }
            }
            Refused::Failed(told) => self.failed(DialFault::Handshake, &told),
        })
    }

    fn connect(&self) -> Result<Wire, Failure> {
        let stream: Stream = self.dialer.connect(&self.endpoint.uri)?;
        // Requests are small and alone; without it the second of two waits for the first to be acknowledged.
        let _ = stream.socket().set_nodelay(true);
        Ok(Wire::new(stream, Instant::now() + self.answer_time))
    }

    fn failed(&self, reason: DialFault, told: &str) -> Failure {
        Failure { fault: Fault::Failed, reason, told: format!("{}: {told}", self.endpoint) }
    }

    fn refused(&self, status: u16) -> Failure {
        let why = match status {
            401 => "does not know the ApiKey; copy the key of the relay proxy from FeatBit again",
            _ => {
                "lets no more agents in: the licence's quota is used up, or the key is not allowed to; see FeatBit's \
                  licence and relay proxies"
            }
        };
        let told = format!("{}: the server {why} (status {status})", self.endpoint);
        Failure { fault: Fault::Refused, reason: DialFault::Refused, told }
    }
}
