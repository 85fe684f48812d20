//! What comes out of the machines, and what they ask of the data.

use crate::protocol::from_relay::RelayRequest;

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a connection, and report the outcome with this number. `register`: register as well, and report that too.
    Dial { number: u64, register: bool },
    /// Register, and report the outcome.
    Register,
    /// Send a request for data. If it asks for a full sync, what is pushed from now on is to be remembered until the answer
    /// comes.
    Request { number: u64, request: RelayRequest },
    /// Send a ping.
    Ping { number: u64 },
    /// Report the agent's status.
    ReportStatus { number: u64 },
    /// Close it in order: another one has taken its place. What still comes on it counts.
    Close { number: u64 },
    /// Close it at once.
    Drop { number: u64, why: DropReason },
}

/// Why a connection is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Nothing came in.
    Silent,
    /// The answer did not come, or came no further.
    Unanswered,
    /// A message came, but too slowly ever to end.
    Slow,
    /// Something else came where an answer was awaited.
    Unreadable,
    /// It was opened after its dial had been given up.
    Late,
}

/// How an attempt failed, or how a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The server does not let this agent in: its key or its licence has to be put right.
    Refused,
    /// Anything else.
    Failed,
}

/// What the data in service can tell.
pub trait DataInService {
    /// The request for what is newer, if it may be sent.
    fn since(&self) -> Option<RelayRequest>;
    /// Numbers a full sync that is about to be asked for.
    fn begin_full(&mut self) -> u64;
}
