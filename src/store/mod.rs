//! What is in service: the snapshot that reactors read, and the one writer that makes the next.
//!
//! Must not know sockets, threads or clocks (`now` is an argument), where data comes from, or who is told of
//! a change. It diffs new data against what is in service, compiles and encodes what changed, and answers
//! what an SDK lacks. Order is by publish sequence, never by `updatedAt`: items come late, share a
//! millisecond or get removed.

mod client;
mod environment;
mod grace;
mod item;
mod merge;
mod message;
mod publish;
mod resolution;
mod ring;
mod server;
mod snapshot;
mod stamp;
mod table;
#[cfg(test)]
mod tests;
mod writer;

pub use client::SyncOutcome;
pub use environment::{Environment, EnvironmentSlot};
pub use server::{PatchForm, Poll, SyncKind};
pub use snapshot::{SecretEntry, Snapshot};
pub use writer::{Change, Forgotten, Published, Report, Writer, WriterOptions};
