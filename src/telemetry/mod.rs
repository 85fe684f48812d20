//! Log lines and metrics.
//!
//! Must not import any other room or decide anything: the rooms above report what happened. Secrets, tokens and user data must
//! not be passed to it, and log lines of libraries are not let through.

pub mod log;
mod log_writer;
pub mod memory;
pub mod metrics;
pub mod once;
