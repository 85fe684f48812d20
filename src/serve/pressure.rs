//! Memory for answers that are made for one connection: who waits while it is short.
//!
//! What a socket takes at once costs nothing, so nobody waits for that; only large answers do, for a short time.

use std::collections::VecDeque;
use std::time::Duration;

use crate::net::service::Link;
use crate::net::slab::Key;
use crate::net::ticks::Tick;

/// An answer of up to so many bytes is sent however short memory is: the kernel takes it from a peer that reads.
const AT_ONCE_BYTES: usize = 64 * 1024;

/// How long an answer waits for memory. Then it is sent, and the connections that hold most are closed.
const WAIT: Duration = Duration::from_secs(5);

/// The connections of one reactor whose answers wait for memory, the first come first.
#[derive(Debug, Default)]
pub(crate) struct MemoryWaiters {
    waiting: VecDeque<Waiter>,
    /// One of them is being served: it does not wait again.
    serving: bool,
}

#[derive(Debug)]
struct Waiter {
    key: Key,
    since: Tick,
}

impl MemoryWaiters {
    /// Whether an answer that takes so many bytes for this connection alone may be sent now.
    pub fn fits(&self, link: &Link<'_>, private_bytes: usize) -> bool {
        self.serving || private_bytes <= AT_ONCE_BYTES || !link.memory_is_short()
    }

    /// A connection waits from now on.
    pub fn add(&mut self, link: &Link<'_>) {
        self.waiting.push_back(Waiter { key: link.key(), since: link.now() });
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether the first has waited as long as it has to.
    pub fn is_overdue(&self, now: Tick) -> bool {
        self.waiting.front().is_some_and(|first| first.since.after(WAIT).has_come(now))
    }

    /// Takes the first, whose answer fits until [`MemoryWaiters::end_serving`].
    pub fn begin_serving(&mut self) -> Option<Key> {
        let first = self.waiting.pop_front()?;
        self.serving = true;
        Some(first.key)
    }

    /// The one that was taken has been served.
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
