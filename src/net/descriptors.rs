//! Reactors that wait for a descriptor. They belong to the process, so one that another reactor gives back will do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::Waker;
use parking_lot::Mutex;

/// Those of this process.
pub(super) static WAITING: Waiting = Waiting::new();

/// Who is woken when a descriptor is given back, since no event tells of it.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Looked at for each connection that ends; the list, only when somebody waits.
    anybody: AtomicBool,
    wakers: Mutex<Vec<Arc<Waker>>>,
}

impl Waiting {
    const fn new() -> Self {
        Self { anybody: AtomicBool::new(false), wakers: Mutex::new(Vec::new()) }
    }

    /// Puts a reactor on the list. False if it is there already.
    pub fn join(&self, waker: &Arc<Waker>) -> bool {
        let mut wakers = self.wakers.lock();
        if wakers.iter().any(|other| Arc::ptr_eq(other, waker)) {
            return false;
        }
        wakers.push(waker.clone());
        self.anybody.store(true, Ordering::Release);
        true
    }

    /// Wakes all, and empties the list. A reactor that has ended is woken in vain.
    pub fn wake(&self) {
        if !self.anybody.load(Ordering::Acquire) {
            return;
        }
        let mut wakers = self.wakers.lock();
        self.anybody.store(false, Ordering::Release);
        for waker in wakers.drain(..) {
            // What cannot be woken looks again at its next tick.
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
