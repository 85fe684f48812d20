//! The data in service: the snapshot that reactors read, and the single writer that builds the next one.
//!
//! Must not know sockets, threads or clocks (`now` is an argument), where data comes from, or who gets a change. It
//! compares new data with the snapshot in service, compiles and encodes what changed, and computes what an SDK lacks.
//! Changes are ordered by publish sequence, never by `updatedAt`: items arrive late, share a millisecond or get removed.
//!
//! | Where | What |
//! |---|---|
//! | `snapshot`, `environment`, `cache` | what reactors read; secrets; backup; payloads that are built once |
//! | `flags_by_key` | finds a flag by its key, for usage events |
//! | `server_sdk`, `client_sdk` | what an SDK gets: answers, pushes, polls |
//! | `relay` | what downstream agents get |
//! | `patch_form` | how a patch is cut into messages: Java, Go and Python SDKs need one item a message |
//! | `outgoing_item`, `ring` | the text of an item in a message; the latest changes, encoded |
//! | `table`, `item`, `served`, `same_json` | items in chunks that snapshots share; the text that SDKs get of an item |
//! | `change`, `names` | what a publish changed; the names of it for the log |
//! | `state`, `delta`, `replay` | everything that must survive a restart; what a publish changes in it; a state rebuilt from such changes |
//! | `writer/` | the single writer. `list`, `groups`, `incoming`: the list of environments and secrets, new items by environment; `cluster`: data of other agents; `delta`: what a publish changed in the state; `draft`: the next snapshot, while it is built; `merge`: merges new data into a table; `definition`: the differences between flags and segments; `edit`: what a change means for SDKs; `version`: the versions that they are sent; `grace`: grace periods of secrets and environments; `tombstones`: removed items; `records`: what it knows of each environment; `resolution`: segments that environments share; `duplicate_keys`: flags with the same key; `restore`: its state, extracted and restored |

mod cache;
mod change;
mod client_sdk;
mod delta;
mod environment;
mod flags_by_key;
mod item;
mod names;
mod outgoing_item;
mod patch_form;
mod relay;
mod replay;
mod ring;
mod same_json;
mod served;
mod server_sdk;
mod snapshot;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod writer;

pub use change::{Change, ChangedItem, EndingSecrets, ItemChange, NotNewer, Published, RemovedItem, Report};
pub use client_sdk::SyncOutcome;
pub use delta::{ContentsDelta, ContentsPatch, Delta, EnvironmentDelta};
pub use environment::{Environment, EnvironmentSlot, ListedSecret};
pub use item::{ItemKind, StoredItem};
pub use names::ChangedNames;
pub use patch_form::PatchForm;
pub use relay::{NeedsFull, Scope};
pub use replay::Replay;
pub use server_sdk::{Poll, SyncKind};
pub use snapshot::{SecretEntry, Snapshot};
pub use state::{
    Access, Contents, EnvironmentState, FormerUse, Head, ItemJson, ItemState, Removals, SecretState, State,
    TombstoneState, Versions,
};
pub use writer::{
    AwaitingSync, ChangedSinceRequest, ClusterData, ClusterList, Moment, Removal, Writer, WriterOptions,
};
