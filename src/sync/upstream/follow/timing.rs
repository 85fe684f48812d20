//! How long what may take, and how often it is done.

/// Between two things that are done rarely, if there are no full syncs by time, in milliseconds.
const PAUSE_MS: u64 = 600_000;

/// Spans of time, in milliseconds.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Between pings.
    pub ping_ms: u64,
    /// Without a byte from the server, after which a connection is given up.
    pub silence_ms: u64,
    /// Without progress of an answer, after which a connection is given up.
    pub sync_ms: u64,
    /// Bytes of a message that has begun that have to come in within that time.
    pub sync_bytes: u64,
    /// Between full syncs; 0 for none.
    pub resync_ms: u64,
    /// Between full syncs for secrets that are not in the data, or whose grace is due.
    pub unknown_secret_ms: u64,
    /// The longest delay between attempts.
    pub retry_ms: u64,
    /// Between status reports.
    pub status_ms: u64,
    /// A dial's own deadline.
    pub dial_ms: u64,
}

impl Timing {
    /// How rarely is rare: the time between full syncs, or what is used in its place if there are none by time.
    pub(super) fn pause_ms(&self) -> u64 {
        if self.resync_ms == 0 { PAUSE_MS } else { self.resync_ms }
    }
}
