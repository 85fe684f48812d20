//! How a journal works: its bounds and delays.
//!
//! Must not know the queue or the thread.

use std::time::Duration;

/// How a journal works.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The whole state is asked for when the file is this many times as large as the last whole state.
    pub compact_factor: u64,
    /// A file of fewer bytes is never compacted.
    pub compact_bytes_min: u64,
    /// How many groups may be queued.
    pub queue_max: usize,
    /// How long the `Done` of a dropped group waits for a whole state.
    pub done_within: Duration,
    /// The delay after the first error; each further one doubles it.
    pub retry_min: Duration,
    /// The longest delay. A request for the whole state is repeated after this time.
    pub retry_max: Duration,
    /// If a group waits for longer than this, the file counts as stale.
    pub stale_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            compact_factor: 4,
            compact_bytes_min: 1 << 20,
            queue_max: 4096,
            done_within: Duration::from_secs(30),
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(60),
            stale_after: Duration::from_secs(5),
        }
    }
}
