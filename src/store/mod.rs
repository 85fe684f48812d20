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
//! | `names` | what a publish changed, for the log |
//! | `message`, `ring` | the texts and frames around items; the last changes, encoded |
//! | `table`, `item` | items in chunks that generations of snapshots share |
//! | `writer`, `grace` | what may change data; how long what is gone stays |
//! | `publish`, `merge`, `same`, `resolution`, `doubled`, `edit` | one publish: diff, segments shared by environments, keys used twice, histories |
//! | `version`, `served` | the versions that SDKs are told, and the text of items that are told with another than their own |

mod client;
mod doubled;
mod edit;
mod environment;
mod grace;
mod item;
mod merge;
mod message;
mod names;
mod publish;
mod relay;
mod resolution;
mod ring;
mod same;
mod served;
mod server;
mod snapshot;
mod table;
#[cfg(test)]
mod tests;
mod version;
mod writer;

pub use client::SyncOutcome;
pub use environment::{Environment, EnvironmentSlot};
pub use grace::HeldOn;
pub use names::ChangedNames;
pub use relay::{NeedsFull, Scope};
pub use server::{PatchForm, Poll, SyncKind};
pub use snapshot::{SecretEntry, Snapshot};
pub use writer::{Change, Ending, Forgotten, Moment, Published, Report, Writer, WriterOptions};
