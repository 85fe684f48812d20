//! Sockets and time: listeners, the reactor's event loop, connections with their pending input and output.
//!
//! Must not know what the bytes mean: no HTTP, no WebSocket, no flag. What happens with them is the business of
//! a [`Service`](service::Service), which never touches a socket: it takes input and leaves output, so that the
//! same service runs under a simulation without any socket.

pub mod channel;
mod descriptors;
pub mod io;
pub mod listener;
pub mod outbox;
pub mod reactor;
pub mod service;
pub mod slab;
pub mod ticks;
