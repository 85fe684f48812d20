//! Follows a server: when to connect, what to ask, what to believe, when to give a connection up.
//!
//! Must not touch a socket, a clock or the data: times, random numbers and what came in are arguments, and what is to be
//! done comes out as [`Action`]s. Never ends: whatever the server does, sooner or later there is another attempt.
//!
//! Three machines, each tested alone, and [`Follower`], which puts them together:
//!
//! | Where | What it decides |
//! |---|---|
//! | `dialling` | when to dial and to register |
//! | `full_sync_schedule` | when to ask for a full sync |
//! | `sessions`, `session`, `uncovered` | which sessions are open, and whether another one is wanted |
//! | `follower`, `messages` | puts them together; what a message means |
//!
//! A session is numbered as the dial that opened it.

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
