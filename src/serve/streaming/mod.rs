//! The WebSocket of an SDK, from begin to end: `upgrade` and `token`, `admit` (the verdict), `messages`, `sync` (answers and
//! pushes), `revoke`, `close`.

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
