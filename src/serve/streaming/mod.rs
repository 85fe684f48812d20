//! The life of an SDK's WebSocket: the upgrade, data syncs, pushes, the close.

pub mod close;
pub mod push;
pub mod stream;
