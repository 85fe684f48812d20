//! Downstream agents: their WebSocket connections, and the list of them for the status.

pub mod connection;
pub mod downstream;
pub mod registry;
pub mod relays;
