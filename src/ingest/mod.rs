//! The single writer's work: parse and merge new data, publish the next snapshot, announce it to every reactor.
//!
//! Must not serve a connection. A dataset with errors is rejected as a whole; the data in service stays.
//!
//! | Where | What |
//! |---|---|
//! | `dataset` | datasets that replace all data: bootstrap calls, the data file |
//! | `upstream`, `cluster`, `membership` | data from the upstream server; data of other agents of the cluster, and what has to be remembered of it |
//! | `writer` | publishes and announces changes; grace periods; metrics |
//! | `sink`, `sinks`, `journal/` | what keeps every change beyond this process; the contents of the backup file |
//! | `report` | the log lines about new data |
//! | `handle` | how reactors send jobs to the writer |
//! | `following` | the upstream status and requests for a full sync, shared by the sync thread and the reactors |
//! | `offload` | a thread for encoding that would block a reactor for too long |

mod cluster;
mod dataset;
mod following;
mod handle;
pub mod journal;
mod membership;
mod offload;
mod report;
mod sink;
mod sinks;
mod upstream;
mod writer;

pub use cluster::{ClusterEdition, ClusterItems};
pub use following::{Following, ResyncReason, UpstreamStatus};
pub use handle::{Handle, Job, Jobs, Submission};
pub use offload::Offload;
pub use report::Loaded;
pub use sink::{Answer, ChangeSink, Origin, PublishedChange};
pub use writer::Ingest;
