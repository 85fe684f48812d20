//! Memory for answers that are made for a single connection: the connections that wait while it is short.
//!
//! Only large answers wait, for a short time. Small ones need no memory here, since the socket takes them at once.

use std::collections::VecDeque;
use std::time::Duration;

use crate::net::service::Link;
use crate::net::slab::Key;
use crate::net::ticks::Tick;

/// An answer of up to this size is sent even if memory is short: if the peer reads, the kernel takes all of it at once.
const AT_ONCE_BYTES: usize = 64 * 1024;

/// How long an answer waits for memory. Then it is sent, and the connections that use most memory are closed.
const WAIT: Duration = Duration::from_secs(5);

/// The connections of one reactor whose answers wait for memory, the longest wait first.
#[derive(Debug, Default)]
pub(crate) struct MemoryWaiters {
    waiting: VecDeque<Waiter>,
    /// Whether one of them is being served, which must not wait again.
    serving: bool,
}

#[derive(Debug)]
struct Waiter {
    key: Key,
    since: Tick,
}

impl MemoryWaiters {
    /// Whether an answer that needs this much memory, for this connection alone, may be sent now.
    pub fn fits(&self, link: &Link<'_>, private_bytes: usize) -> bool {
        self.serving || private_bytes <= AT_ONCE_BYTES || !link.memory_is_short()
    }

    /// Adds a connection that waits from now on.
    pub fn add(&mut self, link: &Link<'_>) {
        self.waiting.push_back(Waiter { key: link.key(), since: link.now() });
    }

    /// Whether no connection waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether the first one has waited for the longest time allowed.
    pub fn is_overdue(&self, now: Tick) -> bool {
        self.waiting.front().is_some_and(|first| first.since.after(WAIT).has_come(now))
    }

    /// Takes the first one. Until [`MemoryWaiters::end_serving`] every answer fits.
    pub fn begin_serving(&mut self) -> Option<Key> {
        let first = self.waiting.pop_front()?;
        self.serving = true;
        Some(first.key)
    }

    /// The connection that was taken has been served.
    pub fn end_serving(&mut self) {
        self.serving = false;
    }

    /// How many wait.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests;
