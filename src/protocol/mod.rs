//! FeatBit's wire: secrets, connection tokens, messages, users, usage events, status.
//!
//! Must not look anything up, evaluate, or know the time: it turns text into definitions and back. Nothing that
//! comes from a peer makes it panic, and neither secrets nor users appear in what it says.

pub mod close;
pub mod details;
pub mod from_relay;
pub mod http;
pub mod insight;
pub mod json;
pub mod message;
pub mod relay_path;
#[cfg(test)]
mod samples;
pub mod sdk;
pub mod secret;
pub mod status;
pub mod to_relay;
pub mod token;
pub mod user;
