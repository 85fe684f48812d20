//! From the one writer to every connection: a mailbox a reactor, and the reactor's index of its connections by
//! environment.
//!
//! Must not encode or evaluate anything, and holds no socket: it says who has to be brought to which state, and
//! keeps count of it in bounded slices.

pub mod index;
pub mod mailbox;
pub mod secrets;
