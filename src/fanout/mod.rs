//! From the single writer to every connection: one mailbox per reactor, and each reactor's index of its connections by
//! environment.
//!
//! Must not encode or evaluate anything, and has no sockets: it finds the connections that a change affects, in slices of
//! bounded size.

pub mod index;
pub mod mailbox;
pub mod secrets;
