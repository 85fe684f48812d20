//! Answers SDK and operator connections: HTTP, WebSocket streaming, polling, usage events, management.
//!
//! Must not touch a socket (that is `net`), and must not change data: what a bootstrap call brings is handed to
//! `ingest`, and comes back as a snapshot through the reactor's mailbox. Everything of a connection happens on its
//! reactor's thread.
//!
//! Start at [`Server`]: one a reactor. `http` is the conversation up to a request, `routes` says who answers it, and
//! `stream` is what becomes of a connection after the upgrade, `closing` its end. `verdict` decides, for all of them, what a secret
//! opens.

mod admin;
mod body;
mod children;
mod closing;
#[cfg(test)]
mod closing_tests;
mod cors;
mod drain;
mod exchange;
mod health;
mod hold;
mod http;
mod keys;
mod memory;
#[cfg(test)]
mod memory_tests;
mod meter;
mod poll;
mod push;
mod refusals;
mod relay;
mod request;
#[cfg(test)]
mod route_tests;
mod routes;
mod server;
mod session;
mod shared;
mod sightings;
mod status;
mod stream;
#[cfg(test)]
mod tests;
mod verdict;
#[cfg(test)]
mod verdict_tests;

pub use http::PLAIN_REFUSAL;
pub use keys::{KeySwap, Keys, RelayAccess};
pub use routes::Route;
pub use server::Server;
pub use session::{Door, Session};
pub use shared::{Options, Shared};
