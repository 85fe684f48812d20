//! The output of the state machines, and what they need to know about the data.

use crate::protocol::from_relay::RelayRequest;

/// What the driver must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a connection and report the result with this number. `register`: also register, and report that result too.
    Dial { number: u64, register: bool },
    /// Register, and report the result.
    Register,
    /// Send a request for data. If it requests a full sync, forget the pushes remembered so far: only those from now on have
    /// to be merged into the answer.
    Request { number: u64, request: RelayRequest },
    /// Send a ping.
    Ping { number: u64 },
    /// Report the agent's status.
    ReportStatus { number: u64 },
    /// Send a close frame: another session has replaced this one. Messages that still arrive are used.
    Close { number: u64 },
    /// Drop the connection at once.
    Drop { number: u64, why: DropReason },
}

/// Why a connection is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Nothing was received for too long.
    Silent,
    /// The answer to a request did not come, or made no progress.
    Unanswered,
    /// A message arrived too slowly.
    Slow,
    /// A message that may be the awaited answer cannot be parsed.
    Unreadable,
    /// It was opened after its dial was given up.
    Late,
}

/// How an attempt failed, or how a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The server refuses this agent. An operator has to correct the key or the licence.
    Refused,
    /// Anything else.
    Failed,
}

/// What the state machines need to know about the data in service.
pub trait DataInService {
    /// The request for everything newer; `None` if only a full sync can be requested.
    fn since(&self) -> Option<RelayRequest>;
    /// Returns the number of a full sync that is about to be requested.
    fn begin_full(&mut self) -> u64;
}
