//! featbit-agent: a relay between a FeatBit server and FeatBit SDKs.
//!
//! The rooms and the layers they stand on are described in `docs/ARCHITECTURE.md`; a room imports only
//! from strictly lower layers, which `tests/layering` checks.

pub mod app;
pub mod cli;
pub mod client;
pub mod config;
pub mod eval;
pub mod fanout;
pub mod ingest;
pub mod insights;
pub mod model;
pub mod net;
pub mod payload;
pub mod persist;
pub mod protocol;
pub mod serve;
pub mod store;
pub mod sync;
pub mod telemetry;
pub mod tls;
pub mod wire;
