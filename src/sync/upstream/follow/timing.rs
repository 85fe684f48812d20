//! Time limits and intervals.

/// The pause for rare attempts if there are no periodic full syncs, in milliseconds.
const PAUSE_MS: u64 = 600_000;

/// Time limits and intervals, in milliseconds.
#[derive(Clone, Debug)]
pub struct Timing {
    /// The interval of pings.
    pub ping_ms: u64,
    /// A connection is dropped after this time without a byte from the server.
    pub silence_ms: u64,
    /// A connection is dropped after this time without progress of an answer or message.
    pub sync_ms: u64,
    /// How many bytes of an incomplete message have to be received within `sync_ms`.
    pub sync_bytes: u64,
    /// The interval of periodic full syncs; 0 for none.
    pub resync_ms: u64,
    /// The pause between full syncs for unknown secrets, or for an ended grace period.
    pub unknown_secret_ms: u64,
    /// The longest delay between attempts.
    pub retry_ms: u64,
    /// The interval of status reports.
    pub status_ms: u64,
    /// The longest time that a dial may take by its own deadlines.
    pub dial_ms: u64,
}

impl Timing {
    /// The pause for rare attempts: the interval of periodic full syncs, or a default if there are none.
    pub(super) fn pause_ms(&self) -> u64 {
        if self.resync_ms == 0 { PAUSE_MS } else { self.resync_ms }
    }
}
