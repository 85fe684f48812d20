//! What the worker needs of a connector, and what it learns when something fails.
//!
//! Must not know hosts, passwords or TLS.

use std::fmt;
use std::time::Duration;

use redis::ConnectionLike;

/// Opens connections to Redis. Each call may block.
pub trait Dial: Send + Sync {
    /// A connection for commands. It has time-outs, so that no command waits for ever.
    fn connect(&self) -> Result<Box<dyn ConnectionLike + Send>, Failure>;
    /// A connection that hears what is published on a channel. Returns when the server has confirmed it.
    fn listen(&self, channel: &str) -> Result<Box<dyn Listen>, Failure>;
    /// Where Redis is, for log lines and the status; without a password.
    fn address(&self) -> String;
    /// What an error in the answer to `what`, a command or script, means.
    fn explain(&self, error: &redis::RedisError, what: &str) -> Failure;
}

/// A connection that hears what is published. It notices by itself that the server is gone.
pub trait Listen {
    /// The next message; `None` if none comes within `wait`.
    fn next(&mut self, wait: Duration) -> Result<Option<Vec<u8>>, Failure>;
}

/// Why Redis could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// A short constant name of the reason: one log line a reason.
    pub kind: &'static str,
    /// Whether it lasts until an operator changes something. Retries are slower then.
    pub refused: bool,
    /// Whether the connection still works: only this command was refused, and others may not be.
    pub usable: bool,
    /// What happened and what to do, without secrets.
    pub text: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}
