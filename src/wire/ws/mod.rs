//! The server's side of WebSocket (RFC 6455), without extensions.
//!
//! Must not decide what a message means or when a connection closes: [`reader`] finds messages and violations, [`rest`] finds
//! the peer's close frame in input that is dropped, [`frame`] builds frames, [`handshake`] answers the upgrade. Frame types
//! come from `tungstenite` where they fit; its parser is not used, because it does not check masks, reserved bits and
//! lengths.

pub mod close;
pub mod frame;
pub mod handshake;
pub mod mask;
pub mod reader;
pub mod rest;
