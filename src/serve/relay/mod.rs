//! Downstream agents: their WebSocket connections, and what is known of them.

pub mod connection;
pub mod downstream;
pub mod registry;
pub mod relays;
