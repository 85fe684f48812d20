//! Whether the server takes compressed bodies.
//!
//! Must not let a server that cannot read them send events to the dead letters: until it has taken one, a body that it
//! rejects is sent again as it is.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

const UNKNOWN: u8 = 0;
const TAKES: u8 = 1;
const REFUSES: u8 = 2;

/// What is known about the server, shared by the threads.
#[derive(Debug, Default)]
pub(super) struct Compression(AtomicU8);

impl Compression {
    /// Whether bodies are compressed.
    pub fn is_used(&self) -> bool {
        self.0.load(Relaxed) != REFUSES
    }

    /// Whether a rejection may be about the compression.
    pub fn is_in_doubt(&self) -> bool {
        self.0.load(Relaxed) == UNKNOWN
    }

    /// The server has taken a compressed body.
    pub fn taken(&self) {
        self.0.store(TAKES, Relaxed);
    }

    /// The server has rejected a compressed body and taken the same one as it is. Returns whether that is new.
    pub fn refused(&self) -> bool {
        self.0.compare_exchange(UNKNOWN, REFUSES, Relaxed, Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_compressed_body_that_was_taken_or_refused_decides() {
        let takes = Compression::default();
        assert!(takes.is_used() && takes.is_in_doubt());
        takes.taken();
        assert!(!takes.refused());
        assert!(takes.is_used() && !takes.is_in_doubt());
        let refuses = Compression::default();
        assert!(refuses.refused());
        assert!(!refuses.is_used() && !refuses.is_in_doubt() && !refuses.refused());
    }
}
