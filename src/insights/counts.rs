//! How many events came, and what became of them, by environment.
//!
//! Must not name a user: only environments are told apart.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::RwLock;

use crate::model::environment_id::EnvironmentId;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Fate {
    /// The agent has taken it.
    Accepted,
    /// It was not an event, or had no valid user.
    Invalid,
    /// The server has it.
    Sent,
    /// It is in a file of the mode local.
    Kept,
    /// The mode is drop.
    Dropped,
    /// The server has rejected it, or it is too large for the server.
    Rejected,
    /// It waited for too long.
    ExpiredByAge,
    /// Others needed its place on the disk.
    ExpiredBySize,
    /// The disk could not be read.
    Damaged,
    /// Nothing of it may be sent, as without a user key that can be replaced.
    Withheld,
    /// The agent ended while it was only in memory.
    Lost,
    /// All its evaluations were of flags without insights.
    WithoutInsights,
}

impl Fate {
    /// All of them, in the order of their numbers.
    pub const ALL: [Fate; 12] = [
        Fate::Accepted,
        Fate::Invalid,
        Fate::Sent,
        Fate::Kept,
        Fate::Dropped,
        Fate::Rejected,
        Fate::ExpiredByAge,
        Fate::ExpiredBySize,
        Fate::Damaged,
        Fate::Withheld,
        Fate::Lost,
        Fate::WithoutInsights,
    ];

    /// Its name in metrics and in the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Fate::Accepted => "accepted",
            Fate::Invalid => "invalid",
            Fate::Sent => "sent",
            Fate::Kept => "kept",
            Fate::Dropped => "dropped",
            Fate::Rejected => "rejected",
            Fate::ExpiredByAge => "expired_by_age",
            Fate::ExpiredBySize => "expired_by_size",
            Fate::Damaged => "damaged",
            Fate::Withheld => "withheld",
            Fate::Lost => "lost",
            Fate::WithoutInsights => "without_insights",
        }
    }
}

/// The numbers of one environment.
#[derive(Debug, Default)]
pub struct EnvironmentCounts {
    fates: [AtomicU64; Fate::ALL.len()],
    /// Evaluations that were left out, since their flag has no insights.
    evaluations_left_out: AtomicU64,
}

impl EnvironmentCounts {
    /// Counts events.
    pub fn add(&self, fate: Fate, events: u64) {
        if events > 0 {
            self.fates[fate as usize].fetch_add(events, Relaxed);
        }
    }

    /// Counts evaluations that were left out of events.
    pub fn left_out(&self, evaluations: u64) {
        self.evaluations_left_out.fetch_add(evaluations, Relaxed);
    }

    /// How many events had this fate.
    pub fn of(&self, fate: Fate) -> u64 {
        self.fates[fate as usize].load(Relaxed)
    }

    /// How many evaluations were left out.
    pub fn evaluations_left_out(&self) -> u64 {
        self.evaluations_left_out.load(Relaxed)
    }
}

/// The numbers of all environments that had events.
#[derive(Debug, Default)]
pub struct Counts(RwLock<HashMap<EnvironmentId, Arc<EnvironmentCounts>>>);

impl Counts {
    /// The numbers of an environment. Their number is bounded by that of the environments that had valid secrets.
    pub fn of(&self, id: EnvironmentId) -> Arc<EnvironmentCounts> {
        if let Some(counts) = self.0.read().get(&id) {
            return Arc::clone(counts);
        }
        Arc::clone(self.0.write().entry(id).or_default())
    }

    /// All of them.
    pub fn all(&self) -> Vec<(EnvironmentId, Arc<EnvironmentCounts>)> {
        self.0.read().iter().map(|(id, counts)| (*id, Arc::clone(counts))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fate_has_its_place_and_name() {
        let counts = EnvironmentCounts::default();
        for (place, fate) in Fate::ALL.into_iter().enumerate() {
            assert_eq!(fate as usize, place, "{fate:?}");
            counts.add(fate, place as u64 + 1);
        }
        let names: std::collections::BTreeSet<_> = Fate::ALL.map(Fate::as_str).into();
        assert_eq!(names.len(), Fate::ALL.len());
        assert!(Fate::ALL.into_iter().enumerate().all(|(place, fate)| counts.of(fate) == place as u64 + 1));
    }

    #[test]
    fn one_environment_has_one_set_of_numbers() {
        let counts = Counts::default();
        let id = EnvironmentId::from_bytes([7; 16]);
        counts.of(id).add(Fate::Sent, 2);
        counts.of(id).add(Fate::Sent, 3);
        assert_eq!(counts.of(id).of(Fate::Sent), 5);
        assert_eq!(counts.all().len(), 1);
    }
}
