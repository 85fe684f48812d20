//! Connections that wait for the verdict on their secret. Meanwhile they are not refused, since a refusal stops an SDK for
//! good.
//!
//! Must not judge: it only lists which connections wait, and which can be judged again since there is new data.

use std::collections::VecDeque;

use crate::net::slab::Key;

/// Closed connections are removed only from lists longer than this.
const TIDY_FROM: usize = 1024;

/// The connections of one reactor that wait for a verdict.
#[derive(Debug, Default)]
pub(crate) struct PendingVerdicts {
    /// Those that wait for new data. Some of them may be closed.
    waiting: Vec<Key>,
    /// Those that can be judged again.
    ready: VecDeque<Key>,
}

impl PendingVerdicts {
    /// Adds a connection that waits for new data.
    pub fn add(&mut self, key: Key) {
        self.waiting.push(key);
    }

    /// There is new data: all that wait can be judged again.
    pub fn data_changed(&mut self) {
        self.ready.extend(self.waiting.drain(..));
    }

    /// Takes the next one that can be judged again.
    pub fn take_ready(&mut self) -> Option<Key> {
        self.ready.pop_front()
    }

    /// Whether one can be judged again.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Removes those that were closed while they waited, once these may be many. `open`: how many connections are open.
    pub fn forget_closed(&mut self, open: usize, mut is_open: impl FnMut(Key) -> bool) {
        if self.waiting.len() > TIDY_FROM && self.waiting.len() > 2 * open {
            self.waiting.retain(|key| is_open(*key));
        }
    }

    /// Whether no connection waits.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.ready.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_connections_are_judged_once_for_each_change_of_the_data() {
        let mut pending = PendingVerdicts::default();
        pending.add(Key::from_u64(1));
        assert_eq!(pending.take_ready(), None);
        pending.data_changed();
        pending.add(Key::from_u64(2));
        assert_eq!(pending.take_ready(), Some(Key::from_u64(1)));
        assert!(!pending.has_ready() && !pending.is_empty());
    }

    #[test]
    fn closed_connections_are_removed_once_they_are_many() {
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
