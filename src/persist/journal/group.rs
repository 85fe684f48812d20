//! What a caller gives to a journal: records, and whom to tell.
//!
//! Must not know the queue or the thread.

/// One group of records, which is encoded on the journal's thread.
pub trait Records: Send {
    /// Calls `out` for each record, with its kind and its body.
    fn write(&self, out: &mut dyn FnMut(u8, &[u8]));
}

/// Is called when a group is durable, or when it certainly will not be. Must not block.
pub type Done = Box<dyn FnOnce(Result<(), String>) + Send>;

/// Asks for the whole state; [`Journal::replace`](super::Journal::replace) is the answer. Is called on the journal's thread,
/// and must not block. A request that is not answered comes again.
pub type NeedsFullState = Box<dyn Fn() + Send>;
