//! The server's side of WebSocket (RFC 6455), without extensions.
//!
//! Must not decide what a message means or when a connection closes: [`reader`] tells messages and violations,
//! [`rest`] finds the end of what is dropped, [`frame`] builds what is sent, [`handshake`] answers the upgrade. Frame
//! types come from `tungstenite` where they fit; its parser is not used, since it leaves masks, reserved bits and
//! lengths unchecked.

pub mod close;
pub mod frame;
pub mod handshake;
pub mod mask;
pub mod reader;
pub mod rest;
