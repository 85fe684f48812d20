//! Answers SDK and operator connections: HTTP, WebSocket streaming, polling, usage events, management.
//!
//! Must not touch a socket (that is `net`), and must not change data: a bootstrap call's dataset goes to `ingest`, and
//! comes back as a snapshot through the reactor's mailbox. Everything of a connection runs on its reactor's thread.
//!
//! Start at [`Server`]; each reactor has one. It passes an event to the handler for the connection's state (`session`):
//!
//! - `http/` receives requests, `api/` answers them, one file per endpoint;
//! - `streaming/` handles the WebSocket of an SDK, `relay/` that of a downstream agent;
//! - `verdict/` judges secrets for all of them.
//!
//! Between socket events, `driver` reads the mailbox and does the remaining work. A handler gets a `Context`: the
//! connection, and the parts that the server owns (`context`). No part knows another one: `streaming/broadcast`,
//! `verdict/pending`, `pressure` (memory), `relay/relays`, `drain`, `metrics`. What all reactors share is in `shared`, the
//! settings in `options`, how the backup file and Redis are in `persistence`, every rate limit for log lines in `log_limits`.

mod api;
mod budgets;
mod context;
mod drain;
mod driver;
mod http;
mod keys;
mod log_limits;
mod metrics;
mod options;
mod persistence;
mod pressure;
mod refusals;
mod relay;
mod scratch;
mod server;
mod session;
mod shared;
mod streaming;
#[cfg(test)]
mod tests;
mod verdict;

pub use http::foreign::PLAIN_REFUSAL;
pub use http::routes::ListenerRole;
pub use keys::{KeySwap, Keys, RelayAccess};
pub use options::Options;
pub use persistence::Persistence;
pub use server::Server;
pub use session::Session;
pub use shared::Shared;
