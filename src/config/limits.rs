//! The limits of time and memory, as the agent uses them. `table` has their names, defaults and ranges.

use std::num::NonZeroUsize;
use std::time::Duration;

/// Bounds of time and memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at a time; `None` is what the descriptor limit allows.
    pub connections: Option<NonZeroUsize>,
    /// How long an SDK waits while there is no data.
    pub verdict_wait: Duration,
    /// Time to send the head of a request.
    pub head: Duration,
    /// The longest pause within a body.
    pub body: Duration,
    /// How long an HTTP connection may be idle between requests.
    pub keep_alive: Duration,
    /// How long a streaming connection may be silent; `None` means no limit.
    pub stream_idle: Option<Duration>,
    /// How long pending output may make no progress.
    pub write_stall: Duration,
    /// Bytes of pending output that a peer must accept each second; 0 means no minimum.
    pub write_min_bytes_per_second: u64,
    /// How long to wait for the peer's part of a close.
    pub close: Duration,
    /// The longest head of a request.
    pub header_bytes: usize,
    /// Header lines of a request.
    pub headers: usize,
    /// The longest body of a request other than a bootstrap call.
    pub body_bytes: u64,
    /// The longest user that a client SDK polls with.
    pub user_bytes: u64,
    /// Custom properties of a user.
    pub user_properties: usize,
    /// The longest message from an SDK.
    pub message_bytes: usize,
    /// The longest dump.
    pub bootstrap_bytes: u64,
    /// Bootstrap calls in progress at a time.
    pub bootstraps: usize,
    /// Memory for data that belongs to single connections, over all of them.
    pub pending_bytes: usize,
    /// The kernel's send buffer of a connection.
    pub send_buffer_bytes: usize,
    /// Memory of one compiled regular expression.
    pub regex_program_bytes: usize,
    /// Memory of all compiled regular expressions.
    pub regex_total_bytes: usize,
    /// Backtracking steps of one search with a regular expression.
    pub regex_steps: usize,
}
