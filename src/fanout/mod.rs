//! (room: fanout)
