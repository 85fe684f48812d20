//! What is in service: the snapshot that reactors read, and the one writer that makes the next.
//!
//! Must not know sockets, threads or clocks (`now` is an argument), where data comes from, or who is told of
//! a change. It diffs new data against what is in service, compiles and encodes what changed, and answers
//! what an SDK lacks. Order is by publish sequence, never by `updatedAt`: items come late, share a
//! millisecond or get removed.
//!
//! | Where | What |
//! |---|---|
//! | `snapshot`, `environment`, `cache` | what reactors read; secrets; backup; payloads made once |
//! | `server_sdk`, `client_sdk` | what an SDK gets: answers, pushes, polls |
//! | `relay` | what agents get that follow this one |
//! | `outgoing_item`, `ring` | an item on its way out; the last changes, encoded |
//! | `table`, `item`, `served`, `same` | items in chunks that generations of snapshots share; the text that SDKs get of one |
//! | `change`, `names` | what a publish changed, for those who are told of it; the names for the log |
//! | `state` | all that a restart must keep |
//! | `writer/` | the one writer. `draft`: the next snapshot in the making; `merge`: what new data makes of a table; `definition`: in what flags and segments differ; `edit`: what a change means for SDKs; `version`: the versions that they are told; `grace`, `tombstones`, `records`: what it remembers of secrets, removals and environments; `resolution`: segments that environments share; `duplicate_keys`; `restore`: its state, out and in |

mod cache;
mod change;
mod client_sdk;
mod environment;
mod item;
mod names;
mod outgoing_item;
mod relay;
mod ring;
mod same;
mod served;
mod server_sdk;
mod snapshot;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod writer;

pub use change::{Change, ChangedItem, Ending, ItemChange, NotNewer, Published, RemovedItem, Report};
pub use client_sdk::SyncOutcome;
pub use environment::{Environment, EnvironmentSlot, ListedSecret};
pub use item::{ItemKind, StoredItem};
pub use names::ChangedNames;
pub use outgoing_item::PatchForm;
pub use relay::{NeedsFull, Scope};
pub use server_sdk::{Poll, SyncKind};
pub use snapshot::{SecretEntry, Snapshot};
pub use state::{
    Contents, EnvironmentState, FormerUse, ItemState, SecretState, State, TombstoneState, Words,
};
pub use writer::{AwaitingSync, Moment, Removal, Writer, WriterOptions};
