//! Brings data into the agent, on one thread: from the sources that the settings name, and from management calls. All of
//! it goes to the one writer (`ingest`).
//!
//! Must not merge data itself, and serves nobody.
//!
//! | Where | What |
//! |---|---|
//! | `source` | what every source of data can do |
//! | `file`, `upstream` | the sources: a watched file, a FeatBit server that is followed |
//! | `run` | the thread: jobs, sources, waiting |
//! | `poller` | what the thread waits on |

pub mod file;
mod poller;
mod run;
mod source;
pub mod upstream;

pub use poller::{Poller, Tokens};
pub use run::run;
pub use source::Source;
