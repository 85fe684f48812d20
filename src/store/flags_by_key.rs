//! Finds a flag of an environment by its key.
//!
//! Must not be used to serve SDKs: they get all flags. Usage events name flags by key. The index is built on first use after
//! a change, by the thread that needs it.

use std::hash::BuildHasher;

use super::item::FlagData;
use super::table::{Position, Table};
use crate::eval::Flag;

/// The places of all flags by the hash of their key.
pub(super) struct FlagsByKey {
    hasher: foldhash::fast::RandomState,
    /// Sorted by hash. Flags that share a key are both here.
    places: Box<[(u64, Position)]>,
    /// Whether no flag has its insights disabled, as nearly always.
    pub all_insights: bool,
}

impl FlagsByKey {
    pub fn new(flags: &Table<FlagData>) -> Self {
        let hasher = foldhash::fast::RandomState::default();
        let hashes = flags.entries().map(|entry| hasher.hash_one(entry.data.flag.key()));
        let mut places: Box<[_]> = hashes.zip(flags.all_positions()).collect();
        places.sort_unstable_by_key(|(hash, _)| *hash);
        let all_insights = flags.entries().all(|entry| entry.data.flag.insights_enabled());
        Self { hasher, places, all_insights }
    }

    /// The flag of `flags`, of which this is the index, that SDKs get under this key.
    pub fn find<'f>(&self, flags: &'f Table<FlagData>, key: &str) -> Option<&'f Flag> {
        let hash = self.hasher.hash_one(key);
        let first = self.places.partition_point(|(other, _)| *other < hash);
        let same = self.places.iter().skip(first).take_while(|(other, _)| *other == hash);
        let mut found = same
            .filter_map(|(_, at)| flags.get(*at))
            .filter(|entry| entry.is_served() && entry.data.flag.key() == key);
        found.next().map(|entry| &entry.data.flag)
    }
}
