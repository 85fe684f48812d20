//! The life of an SDK's WebSocket: the upgrade with its token, the verdict, messages, data syncs and pushes, the close.

pub mod admit;
pub mod broadcast;
pub mod close;
pub mod close_reason;
pub mod echo;
pub mod messages;
pub mod revoke;
pub mod stream;
pub mod sync;
mod token;
pub mod upgrade;
