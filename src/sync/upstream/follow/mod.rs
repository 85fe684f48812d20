//! Decides how to follow a server: when to connect, what to request, what to accept, when to drop a connection.
//!
//! Pure: times, random numbers and received messages are arguments, and the results are [`Action`]s. Must not touch a socket,
//! a clock or the data. Never gives up: whatever the server does, there is another attempt later.
//!
//! Three state machines, each tested alone, and [`Follower`], which combines them:
//!
//! | Where | What it decides |
//! |---|---|
//! | `dialling` | when to dial and to register |
//! | `full_sync_schedule` | when to request a full sync |
//! | `sessions`, `session`, `uncovered` | which sessions are open, and whether another one is needed |
//! | `follower`, `messages` | combines them; what a message means |
//!
//! A session has the number of the dial that opened it.

mod action;
mod coverage;
mod dialling;
mod follower;
mod full_sync_schedule;
mod messages;
mod session;
mod sessions;
#[cfg(test)]
mod tests;
mod timing;
mod uncovered;

pub(super) use action::{Action, DataInService, DropReason, FailureKind};
pub(super) use coverage::Coverage;
pub(super) use follower::Follower;
pub(super) use messages::{Instruction, Received};
pub(super) use session::Confirms;
pub(super) use sessions::NewFull;
pub(super) use timing::Timing;
