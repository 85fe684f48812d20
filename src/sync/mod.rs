//! The sync thread: takes data from the configured sources and from management calls, and passes all of it to the one
//! writer (`ingest`).
//!
//! Must not merge data itself, and must not serve SDKs.
//!
//! | Where | What |
//! |---|---|
//! | `source` | the trait of all sources of data |
//! | `file`, `upstream`, `redis` | the sources: a watched file, an upstream FeatBit server, the Redis of a cluster of agents |
//! | `run` | the thread's loop: jobs, sources, waiting |
//! | `poller` | waits for sockets and for the waker |

pub mod file;
mod poller;
pub mod redis;
mod run;
mod source;
pub mod upstream;

pub use poller::{Poller, Tokens};
pub use run::run;
pub use source::Source;
