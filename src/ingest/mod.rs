//! THE single writer: whatever changes data (a bootstrap call, the data file) is submitted here, parsed, merged into
//! the next snapshot, and announced to every reactor.
//!
//! Must not serve a connection. Bad data is refused whole; the data in service stays.

mod following;
mod handle;
mod inflate;
mod offload;
mod report;
mod upstream;
mod writer;

pub use following::{Following, Standing, Wish, Wishes};
pub use handle::{Handle, Jobs, Submission};
pub use inflate::{InflateFault, inflate};
pub use offload::Offload;
pub use writer::{Ingest, Job, Loaded};
