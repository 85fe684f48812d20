//! Bytes ↔ messages: HTTP/1.1, WebSocket, gzip, and strings of JSON.
//!
//! Must not touch a socket, a clock, a thread or a global, and knows nothing of FeatBit: what comes in is a slice
//! of bytes, what goes out is a message or bytes to send. Every parser may be called again with a longer
//! slice: "more bytes are needed" is a normal result. Nothing that a peer sends makes it panic.

pub mod gzip;
pub mod http1;
pub mod json;
pub mod ws;
