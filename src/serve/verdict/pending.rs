//! Connections that wait for the verdict on their secret. They are not refused meanwhile: a refusal stops an SDK for
//! good.
//!
//! Must not judge: it knows who waits, and who can be judged now since there is new data.

use std::collections::VecDeque;

use crate::net::slab::Key;

/// Below this number it does not matter who has gone.
const TIDY_FROM: usize = 1024;

/// Those of one reactor.
#[derive(Debug, Default)]
pub(crate) struct PendingVerdicts {
    /// Some of them may be gone.
    waiting: Vec<Key>,
    /// Those that can be judged now.
    ready: VecDeque<Key>,
}

impl PendingVerdicts {
    /// A connection waits.
    pub fn add(&mut self, key: Key) {
        self.waiting.push(key);
    }

    /// There is new data: all that wait can be judged by it.
    pub fn data_changed(&mut self) {
        self.ready.extend(self.waiting.drain(..));
    }

    /// Takes the next one that can be judged now.
    pub fn take_ready(&mut self) -> Option<Key> {
        self.ready.pop_front()
    }

    /// Whether somebody can be judged now.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Forgets those that went away while they waited, when they have become many. `open` connections are left.
    pub fn forget_closed(&mut self, open: usize, mut is_open: impl FnMut(Key) -> bool) {
        if self.waiting.len() > TIDY_FROM && self.waiting.len() > 2 * open {
            self.waiting.retain(|key| is_open(*key));
        }
    }

    /// Whether nobody waits.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.ready.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_wait_can_be_judged_once_for_each_time_that_data_comes() {
        let mut pending = PendingVerdicts::default();
        pending.add(Key::from_u64(1));
        assert_eq!(pending.take_ready(), None);
        pending.data_changed();
        pending.add(Key::from_u64(2));
        assert_eq!(pending.take_ready(), Some(Key::from_u64(1)));
        assert!(!pending.has_ready() && !pending.is_empty());
    }

    #[test]
    fn those_that_left_are_forgotten_once_they_are_many() {
        let mut pending = PendingVerdicts::default();
        for number in 0..=TIDY_FROM as u64 {
            pending.add(Key::from_u64(number));
        }
        pending.forget_closed(TIDY_FROM, |_| false);
        assert_eq!(pending.waiting.len(), TIDY_FROM + 1, "they may all be open");
        pending.forget_closed(1, |key| key == Key::from_u64(5));
        assert_eq!(pending.waiting, [Key::from_u64(5)]);
    }
}
