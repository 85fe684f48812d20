//! The latest changes of an environment, encoded for server SDKs.
//!
//! Must not grow without bound: the oldest changes are dropped, and a connection that needs one gets a computed diff
//! (`server_sdk`). The writer encodes each change once, so a broadcast costs one reference per connection.

use std::sync::Arc;

/// Most changes that are kept.
const STEPS: usize = 64;
/// Most bytes of all changes but the last. The last is kept whatever its size, because every connection is about to get
/// it.
const BYTES: usize = 256 * 1024;

/// What a server SDK is sent for one change.
#[derive(Clone)]
pub(super) enum Push {
    /// Patches with one item each, ascending by version: each is newer than everything sent before it.
    Patches {
        frames: Arc<[u8]>,
        /// The number of patches.
        count: usize,
        /// Whether relay agents can get the same frames: they have every changed item, as the source's JSON.
        suits_relays: bool,
    },
    /// The whole environment.
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

/// The latest changes, ascending by publish sequence.
#[derive(Clone, Default)]
pub(super) struct Ring {
    steps: Arc<[(u64, Push)]>,
    /// The sequence of the newest change that was dropped.
    floor: u64,
}

impl Ring {
    /// A ring without changes, for an environment that was created at `sequence`.
    pub fn starting_at(sequence: u64) -> Self {
        Self { steps: Arc::from([]), floor: sequence }
    }

    /// The ring with one more change.
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

    /// The changes after `sequence`; `None` if some of them were dropped.
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
        Push::Patches { frames: Arc::from(vec![0; bytes]), count: 1, suits_relays: true }
    }

    #[test]
    fn gives_the_changes_after_a_sequence() {
        let ring = Ring::starting_at(3).with(5, patches(1)).with(9, Push::Full);
        assert!(ring.since(2).is_none());
        for (from, left) in [(3, 2), (4, 2), (5, 1), (8, 1), (9, 0), (10, 0)] {
            assert_eq!(ring.since(from).map(<[_]>::len), Some(left), "{from}");
        }
    }

    #[test]
    fn drops_the_oldest_beyond_its_count() {
        let ring = (1..=100).fold(Ring::starting_at(0), |ring, at| ring.with(at, patches(1)));
        assert!(ring.since(100 - STEPS as u64 - 1).is_none());
        assert_eq!(ring.since(100 - STEPS as u64).map(<[_]>::len), Some(STEPS));
    }

    #[test]
    fn drops_the_oldest_beyond_its_bytes_but_never_the_last() {
        let ring = Ring::starting_at(0).with(1, patches(BYTES / 2)).with(2, patches(BYTES / 2 + 1));
        assert_eq!(ring.since(0).map(<[_]>::len), Some(2));
        let ring = ring.with(3, patches(10 * BYTES));
        assert!(ring.since(0).is_none());
        assert_eq!(ring.since(1).map(<[_]>::len), Some(2));
        let ring = ring.with(4, patches(1));
        assert!(ring.since(2).is_none());
        assert_eq!(ring.since(3).map(<[_]>::len), Some(1));
    }
}
