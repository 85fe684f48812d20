//! Limits that all reactors share: memory for request bodies, and the number of datasets received at a time. Dropping a
//! guard gives back what it has taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Memory for the bodies of all requests together.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    used: Arc<AtomicUsize>,
    bytes_max: usize,
}

impl BodyBudget {
    /// A budget of `bytes_max`.
    pub fn new(bytes_max: usize) -> Self {
        Self { used: Arc::default(), bytes_max }
    }

    /// The memory account of a new body, still empty.
    pub fn body(&self) -> BodyMemory {
        BodyMemory { all: self.used.clone(), all_max: self.bytes_max, own: 0 }
    }
}

/// The memory that one body has taken; dropping it gives the memory back.
#[derive(Debug)]
pub(crate) struct BodyMemory {
    all: Arc<AtomicUsize>,
    all_max: usize,
    own: usize,
}

impl BodyMemory {
    /// Records that the body has grown to `bytes`. Returns false if all bodies together now exceed the budget. For small
    /// bodies the budget counts twice, so that a few large ones do not block them.
    pub fn grow_to(&mut self, bytes: usize, is_small: bool) -> bool {
        let more = bytes.saturating_sub(self.own);
        self.own += more;
        let all = self.all.fetch_add(more, Ordering::Relaxed) + more;
        all / (1 + usize::from(is_small)) <= self.all_max
    }
}

impl Drop for BodyMemory {
    fn drop(&mut self) {
        self.all.fetch_sub(self.own, Ordering::Relaxed);
    }
}

/// Limits how many datasets are received at a time.
#[derive(Debug)]
pub(crate) struct Bootstraps {
    under_way: Arc<AtomicUsize>,
    max: usize,
}

impl Bootstraps {
    /// At most `max` at once.
    pub fn new(max: usize) -> Self {
        Self { under_way: Arc::default(), max }
    }

    /// Permission to receive one more dataset; `None` if the limit is reached.
    pub fn permit(&self) -> Option<BootstrapPermit> {
        let taken = self.under_way.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |under_way| {
            (under_way < self.max).then_some(under_way + 1)
        });
        taken.ok().map(|_| BootstrapPermit(self.under_way.clone()))
    }
}

/// Permission to receive one dataset; dropping it makes room for another one.
#[derive(Debug)]
pub(crate) struct BootstrapPermit(Arc<AtomicUsize>);

impl Drop for BootstrapPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What went wrong: small bodies were not counted, however many there were.
    #[test]
    fn large_bodies_leave_room_for_small_ones_and_those_are_bounded_too() {
        let budget = BodyBudget::new(100);
        let mut large = budget.body();
        assert!(large.grow_to(60, false) && large.grow_to(100, false));
        assert!(!budget.body().grow_to(1, false));
        let mut small: Vec<BodyMemory> = (0..10).map(|_| budget.body()).collect();
        assert!(small.iter_mut().all(|body| body.grow_to(10, true)));
        assert!(!budget.body().grow_to(2, true));
        drop(large);
        assert!(budget.body().grow_to(50, true));
        drop(small);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_permit_is_free_again_once_it_is_dropped() {
        let bootstraps = Bootstraps::new(1);
        let permit = bootstraps.permit();
        assert!(permit.is_some() && bootstraps.permit().is_none());
        drop(permit);
        assert!(bootstraps.permit().is_some());
    }
}
