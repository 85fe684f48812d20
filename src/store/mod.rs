//! What is in service: the snapshot that reactors read, and the one writer that makes the next.
//!
//! Must not know sockets, threads or clocks (`now` is an argument), where data comes from, or who is told of
//! a change. It diffs new data against what is in service, compiles and encodes what changed, and answers
//! what an SDK lacks. Order is by publish sequence, never by `updatedAt`: items come late, share a
//! millisecond or get removed.
//!
//! | Where | What |
//! |---|---|
//! | `snapshot`, `environment` | what reactors read; secrets; backup |
//! | `server`, `client` | what an SDK gets: answers, pushes, polls |
//! | `relay` | what relays get that follow this agent |
//! | `message`, `ring` | the texts and frames around items; the last changes, encoded |
//! | `table`, `item` | items in chunks that generations of snapshots share |
//! | `writer`, `grace` | what may change data; how long what is gone stays |
//! | `publish`, `merge`, `same`, `resolution`, `edit` | one publish: diff, segments shared by environments, histories |
//! | `stamp` | a newer `updatedAt` for what was changed without one |

mod client;
mod edit;
mod environment;
mod grace;
mod item;
mod merge;
mod message;
mod publish;
mod relay;
mod resolution;
mod ring;
mod same;
mod server;
mod snapshot;
mod stamp;
mod table;
#[cfg(test)]
mod tests;
mod writer;

pub use client::SyncOutcome;
pub use environment::{Environment, EnvironmentSlot};
pub use grace::HeldOn;
pub use relay::{NeedsFull, Scope};
pub use server::{PatchForm, Poll, SyncKind};
pub use snapshot::{SecretEntry, Snapshot};
pub use writer::{Change, Ending, Forgotten, Published, Report, Writer, WriterOptions};
