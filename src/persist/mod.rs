//! What outlives the process.
//!
//! Must not know flags: it stores records whose meaning is the caller's.

pub mod journal;
pub mod log;
pub mod redis;
