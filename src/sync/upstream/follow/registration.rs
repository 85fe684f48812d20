//! When to register: with each dial until it is done, and, where a server could not do it then, while its stream is
//! open. Once at a time.

use super::Fault;
use crate::client::random::Random;
use crate::client::retry::Retry;

/// Whether the agent is registered, and when to try again.
#[derive(Debug)]
pub(super) struct Registration {
    done: bool,
    under_way: bool,
    next_ms: u64,
    retry: Retry,
}

impl Registration {
    /// Not done yet; pauses of up to `cap_ms`.
    pub fn new(cap_ms: u64) -> Self {
        Self { done: false, under_way: false, next_ms: 0, retry: Retry::new(cap_ms) }
    }

    /// Whether a dial is to register.
    pub fn is_wanted(&self) -> bool {
        !self.done && !self.under_way
    }

    /// When it is to be tried on its own.
    pub fn due_ms(&self) -> u64 {
        if self.is_wanted() { self.next_ms } else { u64::MAX }
    }

    /// It is tried.
    pub fn begun(&mut self) {
        self.under_way = true;
    }

    /// The server took it.
    pub fn is_done(&mut self) {
        (self.done, self.under_way) = (true, false);
        self.retry.reset();
    }

    /// The server did not take it.
    pub fn failed(&mut self, now_ms: u64, fault: Fault, random: &mut Random) {
        (self.done, self.under_way) = (false, false);
        let delay_ms = match fault {
            Fault::Refused => self.retry.refused(random.draw()),
            Fault::Failed => self.retry.failed(random.draw()),
        };
        self.next_ms = now_ms + delay_ms;
    }

    /// It may not hold any more.
    pub fn forget(&mut self) {
        self.done = false;
    }
}
