//! The single writer's work: parse and merge what comes in, publish the next snapshot, announce it to every reactor.
//!
//! Must not serve a connection. Bad data is refused whole; the data in service stays.
//!
//! | Where | What |
//! |---|---|
//! | `dataset` | datasets that replace everything: bootstrap calls, the data file |
//! | `upstream` | data of a server that is followed |
//! | `writer` | publish and announce; graces; metrics |
//! | `report` | what the log says of new data |
//! | `handle` | the reactors' way to the writer: jobs |
//! | `following` | the state of the server that is followed, and requests for a full sync, shared with the reactors |
//! | `offload` | the thread that encodes what would keep a reactor busy |

mod dataset;
mod following;
mod handle;
mod offload;
mod report;
mod upstream;
mod writer;

pub use following::{Following, ResyncReason, ResyncReasons, UpstreamStatus};
pub use handle::{Handle, Job, Jobs, Submission};
pub use offload::Offload;
pub use report::Loaded;
pub use writer::Ingest;
