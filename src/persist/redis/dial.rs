//! What the worker needs of a connector, and what it gets told when something fails.
//!
//! Must not know hosts, passwords or TLS.

use std::fmt;

use redis::ConnectionLike;

/// Opens connections to Redis. Each call may block.
pub trait Dial: Send + Sync {
    /// A connection for commands. It has time-outs, so that no command waits for ever.
    fn connect(&self) -> Result<Box<dyn ConnectionLike + Send>, Failure>;
    /// A connection to a node for announcements.
    fn subscribe(&self) -> Result<redis::Connection, Failure>;
    /// Where Redis is, for log lines and the status; without a password.
    fn address(&self) -> String;
    /// What an error means.
    fn explain(&self, error: &redis::RedisError) -> Failure;
}

/// Why Redis could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// A short constant name of the reason: one log line a reason.
    pub kind: &'static str,
    /// Whether it lasts until an operator changes something. Retries are slower then.
    pub refused: bool,
    /// What happened and what to do, without secrets.
    pub text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}
