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
pub enum EventResult {
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

impl EventResult {
    /// All of them, in the order of their numbers.
    pub const ALL: [EventResult; 12] = [
        EventResult::Accepted,
        EventResult::Invalid,
        EventResult::Sent,
        EventResult::Kept,
        EventResult::Dropped,
        EventResult::Rejected,
        EventResult::ExpiredByAge,
        EventResult::ExpiredBySize,
        EventResult::Damaged,
        EventResult::Withheld,
        EventResult::Lost,
        EventResult::WithoutInsights,
    ];

    /// Its name in metrics and in the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            EventResult::Accepted => "accepted",
            EventResult::Invalid => "invalid",
            EventResult::Sent => "sent",
            EventResult::Kept => "kept",
            EventResult::Dropped => "dropped",
            EventResult::Rejected => "rejected",
            EventResult::ExpiredByAge => "expired_by_age",
            EventResult::ExpiredBySize => "expired_by_size",
            EventResult::Damaged => "damaged",
            EventResult::Withheld => "withheld",
            EventResult::Lost => "lost",
            EventResult::WithoutInsights => "without_insights",
        }
    }
}

/// The numbers of one environment.
#[derive(Debug, Default)]
pub struct EnvironmentCounts {
    results: [AtomicU64; EventResult::ALL.len()],
    /// Evaluations that were left out, since their flag has no insights.
    evaluations_left_out: AtomicU64,
}

impl EnvironmentCounts {
    /// Counts events.
    pub fn add(&self, result: EventResult, events: u64) {
        if events > 0 {
            self.results[result as usize].fetch_add(events, Relaxed);
        }
    }

    /// Counts evaluations that were left out of events.
    pub fn left_out(&self, evaluations: u64) {
        self.evaluations_left_out.fetch_add(evaluations, Relaxed);
    }

    /// How many events had this result.
    pub fn of(&self, result: EventResult) -> u64 {
        self.results[result as usize].load(Relaxed)
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
    fn each_result_has_its_place_and_name() {
        let counts = EnvironmentCounts::default();
        for (place, result) in EventResult::ALL.into_iter().enumerate() {
            assert_eq!(result as usize, place, "{result:?}");
            counts.add(result, place as u64 + 1);
        }
        let names: std::collections::BTreeSet<_> = EventResult::ALL.map(EventResult::as_str).into();
        assert_eq!(names.len(), EventResult::ALL.len());
        assert!(
            EventResult::ALL
                .into_iter()
                .enumerate()
                .all(|(place, result)| counts.of(result) == place as u64 + 1)
        );
    }

    #[test]
    fn one_environment_has_one_set_of_numbers() {
        let counts = Counts::default();
        let id = EnvironmentId::from_bytes([7; 16]);
        counts.of(id).add(EventResult::Sent, 2);
        counts.of(id).add(EventResult::Sent, 3);
        assert_eq!(counts.of(id).of(EventResult::Sent), 5);
        assert_eq!(counts.all().len(), 1);
    }
}
