//! Reactors that wait for a free file descriptor. All reactors share the descriptors of the process, so that one which
//! closes a connection wakes the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::Waker;
use parking_lot::Mutex;

/// The waiting reactors of this process.
pub(super) static WAITING: Waiting = Waiting::new();

/// Wakes reactors when a descriptor becomes free, because no event reports that.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Whether the list has entries: read for each connection that ends, so that the lock is rarely taken.
    anybody: AtomicBool,
    wakers: Mutex<Vec<Arc<Waker>>>,
}

impl Waiting {
    const fn new() -> Self {
        Self { anybody: AtomicBool::new(false), wakers: Mutex::new(Vec::new()) }
    }

    /// Adds a reactor. Returns false if it was there already.
    pub fn join(&self, waker: &Arc<Waker>) -> bool {
        let mut wakers = self.wakers.lock();
        if wakers.iter().any(|other| Arc::ptr_eq(other, waker)) {
            return false;
        }
        wakers.push(waker.clone());
        self.anybody.store(true, Ordering::Release);
        true
    }

    /// Wakes all reactors and clears the list. Waking a reactor that has ended has no effect.
    pub fn wake(&self) {
        if !self.anybody.load(Ordering::Acquire) {
            return;
        }
        let mut wakers = self.wakers.lock();
        self.anybody.store(false, Ordering::Release);
        for waker in wakers.drain(..) {
            // A reactor that cannot be woken tries again at its next tick.
            let _ = waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn who_waits_is_woken_once() {
        let mut poll = mio::Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), mio::Token(1)).unwrap());
        let waiting = Waiting::new();
        let mut woken = |waiting: &Waiting| {
            waiting.wake();
            let mut events = mio::Events::with_capacity(1);
            poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
            !events.is_empty()
        };
        assert!(!woken(&waiting));
        assert!(waiting.join(&waker) && !waiting.join(&waker));
        assert!(woken(&waiting));
        assert!(!woken(&waiting));
        assert!(waiting.join(&waker), "it is not on the list any more");
    }
}
