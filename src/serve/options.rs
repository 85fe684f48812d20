//! What the settings say about serving: every limit that serving keeps.

use std::time::Duration;

use super::keys::Keys;

/// What the settings say about serving.
#[derive(Clone, Debug)]
pub struct Options {
    /// A random name of this process, a new one at each start.
    pub instance: String,
    /// `agent` or `offline`.
    pub mode: &'static str,
    /// The keys of operators and downstream agents at the start.
    pub keys: Keys,
    /// Largest difference between a token's time and ours, either way.
    pub token_expiry: Duration,
    /// How long a connection whose token is out of time waits before it is closed.
    pub token_hold: Duration,
    /// How long a request waits for the verdict on its secret before it is told to try again.
    pub verdict_wait: Duration,
    /// Whether secrets of both kinds are accepted by both polling endpoints, as by FeatBit's agent.
    pub lax_polling: bool,
    /// Origins that browsers may call from; `*` for any.
    pub cors_origins: Vec<String>,
    /// How long a browser may remember a preflight.
    pub cors_max_age: Duration,
    /// Path of the WebSocket echo, if there is one.
    pub echo_path: Option<String>,
    /// Whether metrics are served by the metrics port only.
    pub metrics_elsewhere: bool,
    /// Bytes of a request's head.
    pub head_bytes_max: usize,
    /// Header fields of a request.
    pub headers_max: usize,
    /// Bytes of a body from an SDK.
    pub body_bytes_max: u64,
    /// Bytes of the user that a client SDK polls with.
    pub user_bytes_max: u64,
    /// Custom properties of a user.
    pub user_properties_max: usize,
    /// Bytes of a dataset.
    pub bootstrap_bytes_max: u64,
    /// Datasets that may be on their way in at once.
    pub bootstraps_max: usize,
    /// Bytes of a WebSocket message from an SDK.
    pub message_bytes_max: usize,
    /// Bytes of larger bodies from SDKs that may be in memory, over all reactors.
    pub bodies_bytes_max: usize,
    /// Time to send a head.
    pub head_time: Duration,
    /// Time for each portion of a body.
    pub body_time: Duration,
    /// Time between two requests.
    pub keep_alive: Duration,
    /// Time that a peer may take to end a connection that is being closed.
    pub close: Duration,
    /// Time a streaming connection may be silent; zero for ever.
    pub stream_idle: Duration,
}
