//! Answers SDK and operator connections: HTTP, WebSocket streaming, polling, usage events, management.
//!
//! Must not touch a socket (that is `net`), and must not change data: what a bootstrap call brings is handed to
//! `ingest`, and comes back as a snapshot through the reactor's mailbox. Everything of a connection happens on its
//! reactor's thread.
//!
//! Start at [`Server`]: one a reactor. It gives each event to the handler of the state (`session`) that the connection is in:
//!
//! - `http/` receives requests, `api/` answers them, a file an endpoint;
//! - `streaming/` is the life of an SDK's WebSocket, `relay/` that of a downstream agent's;
//! - `verdict/` judges secrets, for all of them.
//!
//! Between events, `driver` does the server's mail and the work that is left. Handlers are functions of a `Context`: one
//! connection, and the parts that the server owns (`context`). A part is a type of its own that knows no other part:
//! `streaming/broadcast`, `verdict/pending`, `pressure` (memory), `relay/relays`, `drain`, `metrics`. What all reactors
//! share is in `shared`, the settings in `options`, every rate limit of log lines in `log_limits`.

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

pub use http::foreign::PLAIN_REFUSAL;
pub use http::routes::ListenerRole;
pub use keys::{KeySwap, Keys, RelayAccess};
pub use options::Options;
pub use server::Server;
pub use session::Session;
pub use shared::Shared;
