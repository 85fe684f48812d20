//! The last changes of an environment, as they go out to server SDKs.
//!
//! Must not grow without bound: older changes make room for newer ones, and who needs an older one gets a
//! diff computed for it (`server`). Encoded once by the writer, so that a broadcast costs a reference a
//! connection.

use std::sync::Arc;

/// Changes kept at most.
const STEPS: usize = 64;
/// Bytes of the changes before the last at most; the last is kept whatever its size, because every
/// connection is about to get it.
const BYTES: usize = 256 * 1024;

/// What one change means to a server SDK.
#[derive(Clone)]
pub(super) enum Push {
    /// One-item patches, ascending by version: each is newer than everything told before it.
    Patches {
        frames: Arc<[u8]>,
        /// How many there are.
        count: usize,
        /// Whether they hold all that changed, in the source's own words: other agents then get the same.
        own_words: bool,
    },
    /// The environment as it is.
    Full,
}

impl Push {
    fn bytes(&self) -> usize {
        match self {
            Push::Patches { frames, .. } => frames.len(),
            Push::Full => 0,
        }
    }
}

/// The last changes in ascending order of their publish sequence.
#[derive(Clone, Default)]
pub(super) struct Ring {
    steps: Arc<[(u64, Push)]>,
    /// The sequence of the newest change that is no longer held.
    floor: u64,
}

impl Ring {
    /// A ring without changes for an environment that came to be at `sequence`.
    pub fn begun_at(sequence: u64) -> Self {
        Self { steps: Arc::from([]), floor: sequence }
    }

    /// The ring with one change more.
    pub fn with(&self, sequence: u64, push: Push) -> Self {
        let mut room = BYTES;
        let older = self.steps.iter().rev().take(STEPS - 1).take_while(|(_, push)| {
            let fits = push.bytes() <= room;
            room = room.saturating_sub(push.bytes());
            fits
        });
        let kept = older.count();
        let dropped = self.steps.len() - kept;
        let floor = dropped.checked_sub(1).map_or(self.floor, |last| self.steps[last].0);
        let steps = self.steps[dropped..].iter().cloned().chain([(sequence, push)]).collect();
        Self { steps, floor }
    }

    /// The changes after `sequence`, unless some of them are no longer held.
    pub fn since(&self, sequence: u64) -> Option<&[(u64, Push)]> {
        if sequence < self.floor {
            return None;
        }
        let first = self.steps.partition_point(|(at, _)| *at <= sequence);
        Some(&self.steps[first..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patches(bytes: usize) -> Push {
        Push::Patches { frames: Arc::from(vec![0; bytes]), count: 1, own_words: true }
    }

    #[test]
    fn gives_what_came_after_a_sequence() {
        let ring = Ring::begun_at(3).with(5, patches(1)).with(9, Push::Full);
        assert!(ring.since(2).is_none());
        for (from, left) in [(3, 2), (4, 2), (5, 1), (8, 1), (9, 0), (10, 0)] {
            assert_eq!(ring.since(from).map(<[_]>::len), Some(left), "{from}");
        }
    }

    #[test]
    fn forgets_the_oldest_beyond_its_count() {
        let ring = (1..=100).fold(Ring::begun_at(0), |ring, at| ring.with(at, patches(1)));
        assert!(ring.since(100 - STEPS as u64 - 1).is_none());
        assert_eq!(ring.since(100 - STEPS as u64).map(<[_]>::len), Some(STEPS));
    }

    #[test]
    fn forgets_the_oldest_beyond_its_bytes_but_never_the_last() {
        let ring = Ring::begun_at(0).with(1, patches(BYTES / 2)).with(2, patches(BYTES / 2 + 1));
        assert_eq!(ring.since(0).map(<[_]>::len), Some(2));
        let ring = ring.with(3, patches(10 * BYTES));
        assert!(ring.since(0).is_none());
        assert_eq!(ring.since(1).map(<[_]>::len), Some(2));
        let ring = ring.with(4, patches(1));
        assert!(ring.since(2).is_none());
        assert_eq!(ring.since(3).map(<[_]>::len), Some(1));
    }
}
