//! Buffers of one reactor in which the messages for one connection are put together before they are sent.
//!
//! Must not be read by anyone but who fills it: a buffer is empty whenever it is borrowed, whatever its last user left in
//! it. Otherwise one environment's data could reach a connection of another one.

use crate::payload::Payload;

/// The buffers. Their memory is used again, so that sending allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    frames: Vec<Payload>,
    text: Vec<u8>,
}

impl Scratch {
    /// For frames that are shared or computed, in the order in which they are sent. Empty.
    pub fn frames(&mut self) -> &mut Vec<Payload> {
        self.frames.clear();
        &mut self.frames
    }

    /// For the text of a message. Empty.
    pub fn text(&mut self) -> &mut Vec<u8> {
        self.text.clear();
        &mut self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What went wrong: frames that a connection could not take because memory was short stayed in the list, and the next
    /// connection, of another environment, was sent them.
    #[test]
    fn what_was_not_sent_because_memory_was_short_never_reaches_the_next_connection() {
        let mut scratch = Scratch::default();
        scratch.frames().push(Payload::Static(b"frame of one environment"));
        scratch.text().extend_from_slice(b"message of one environment");
        assert!(scratch.frames().is_empty());
        assert!(scratch.text().is_empty());
    }
}
