//! Counts the memory of all compiled patterns, and how often a limit was hit.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Shared by the patterns of one compiler, and read for metrics.
#[derive(Debug, Default)]
pub struct PatternUsage {
    bytes: AtomicUsize,
    too_large: AtomicU64,
    too_many: AtomicU64,
    given_up: AtomicU64,
}

impl PatternUsage {
    /// Memory of the patterns that are still used, in bytes: their programs, as far as it can be measured.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Patterns that were refused because each alone would take too much memory.
    pub fn too_large(&self) -> u64 {
        self.too_large.load(Ordering::Relaxed)
    }

    /// Patterns that were refused because all together would take too much memory.
    pub fn too_many(&self) -> u64 {
        self.too_many.load(Ordering::Relaxed)
    }

    /// Searches that were stopped after too many backtracking steps.
    pub fn given_up(&self) -> u64 {
        self.given_up.load(Ordering::Relaxed)
    }

    pub(super) fn taken(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn given_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn count_given_up(&self) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    pub(in super::super) fn count_too_large(&self) {
        self.too_large.fetch_add(1, Ordering::Relaxed);
    }

    pub(in super::super) fn count_too_many(&self) {
        self.too_many.fetch_add(1, Ordering::Relaxed);
    }
}
