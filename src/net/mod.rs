//! Sockets and time: listeners, the reactor's event loop, connections with their pending input and output.
//!
//! Must not know what the bytes mean: no HTTP, no WebSocket, no flag. A [`Service`](service::Service) interprets them. It
//! never touches a socket: it gets input and returns output, so that a simulation can run the same service without
//! sockets.

pub mod channel;
mod descriptors;
pub mod io;
pub mod listener;
pub mod outbox;
pub mod reactor;
pub mod service;
pub mod slab;
pub mod ticks;
