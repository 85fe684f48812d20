//! (room: eval)
