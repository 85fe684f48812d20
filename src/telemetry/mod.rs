//! What the agent tells about itself: log lines and metrics.
//!
//! Must not import any other room, and must not decide anything: rooms above say what happened. No secret, token
//! or user data may be passed to it, and libraries' own lines never pass it.

pub mod log;
mod log_writer;
pub mod memory;
pub mod metrics;
pub mod once;
