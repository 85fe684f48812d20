//! What the records in Redis are, as far as this agent has seen them: their heads, so that only bodies that differ are
//! read, and only records that Redis lacks are written.
//!
//! Must not hold bodies: 10,000 records take about 0.7 MB here.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use foldhash::fast::FixedState;

use super::record::Head;

/// Heads by the hash of their field.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    /// Keyed, so that nobody can choose fields that share a hash.
    hash: RandomState,
    heads: HashMap<u64, Head, FixedState>,
}

impl Mirror {
    /// An empty one with the same hashes.
    pub fn emptied(&self) -> Self {
        Self { hash: self.hash.clone(), heads: HashMap::default() }
    }

    pub fn clear(&mut self) {
        self.heads = HashMap::default();
    }

    pub fn len(&self) -> usize {
        self.heads.len()
    }

    pub fn get(&self, field: &str) -> Option<&Head> {
        self.heads.get(&self.hash.hash_one(field))
    }

    pub fn insert(&mut self, field: &str, head: Head) {
        self.heads.insert(self.hash.hash_one(field), head);
    }

    /// Raises the versions of a record that is there.
    pub fn raise(&mut self, field: &str, head: &Head) {
        if let Some(known) = self.heads.get_mut(&self.hash.hash_one(field)) {
            *known = known.raised(head);
        }
    }

    pub fn remove(&mut self, field: &str) {
        self.heads.remove(&self.hash.hash_one(field));
    }

    /// How many fields of this one `other` lacks.
    pub fn missing_in(&self, other: &Self) -> u64 {
        self.heads.keys().map(|field| u64::from(!other.heads.contains_key(field))).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::Mirror;
    use crate::persist::redis::record::Head;

    const HEAD: Head =
        Head { stamp_ms: 1, version_ms: 2, client_version_ms: 3, body_hash: 4, place: 5, removed: false };

    #[test]
    fn a_raised_record_keeps_the_greater_versions() {
        let mut mirror = Mirror::default();
        mirror.raise("a", &HEAD);
        assert_eq!(mirror.get("a"), None);
        mirror.insert("a", HEAD);
        mirror.raise("a", &Head { version_ms: 9, client_version_ms: 0, ..HEAD });
        assert_eq!(mirror.get("a"), Some(&Head { version_ms: 9, ..HEAD }));
    }

    #[test]
    fn missing_fields_are_counted() {
        let mut mirror = Mirror::default();
        mirror.insert("a", HEAD);
        let mut other = mirror.emptied();
        assert_eq!(mirror.missing_in(&other), 1);
        other.insert("a", HEAD);
        other.insert("b", HEAD);
        assert_eq!(mirror.missing_in(&other), 0);
        other.remove("a");
        assert_eq!(mirror.missing_in(&other), 1);
    }
}
