//! Answers SDK and operator connections: HTTP, WebSocket streaming, polling, usage events, management.
//!
//! Must not touch a socket (that is `net`), and must not change data: what a bootstrap call brings is handed to
//! `ingest`, and comes back as a snapshot through the reactor's mailbox. Everything of a connection happens on its
//! reactor's thread.
//!
//! Start at [`Server`]: one a reactor. `http` receives requests, `api` answers them, `streaming` is the life of an SDK's
//! WebSocket and `relay` that of a downstream agent's. `verdict` decides, for all of them, what a secret opens.

mod api;
mod drain;
mod http;
mod keys;
mod metrics;
mod pressure;
mod refusals;
mod relay;
mod server;
mod session;
mod shared;
mod streaming;
#[cfg(test)]
mod tests;
mod verdict;

pub use http::connection::PLAIN_REFUSAL;
pub use http::routes::Route;
pub use keys::{KeySwap, Keys, RelayAccess};
pub use server::Server;
pub use session::{Door, Session};
pub use shared::{Options, Shared};
