//! Counts different users: exactly as long as memory allows it, then as an estimate.
//!
//! Must not keep a user's key: only hashes of them.

use std::collections::HashSet;

use hyperloglockless::HyperLogLog;
use sha2::{Digest, Sha256};

/// How many hashes are remembered over all counters together: about 150 MB.
const HASHES_MAX: i64 = 4_000_000;

/// A counter with fewer users stays exact: an estimate would take as much memory.
const EXACT_MIN: usize = 1_000;

/// 16 KiB a counter, and a standard error of 0.8 %.
const PRECISION: u8 = 14;

/// A hash of a user's key.
pub type UserHash = u128;

/// The hash of a user's key.
pub fn hash(key: &str) -> UserHash {
    let digest = Sha256::digest(key.as_bytes());
    let (first, _) = digest.as_slice().split_first_chunk().unwrap_or((&[0; 16], &[]));
    u128::from_be_bytes(*first)
}

/// How many more hashes may be remembered. Negative if counters of few users together remember too many.
#[derive(Debug)]
pub struct Budget(i64);

impl Default for Budget {
    fn default() -> Self {
        Self(HASHES_MAX)
    }
}

/// How many users there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserCount {
    /// The number.
    pub users: u64,
    /// Whether it is an estimate.
    pub is_estimate: bool,
}

/// The users that one counter has seen.
#[derive(Debug)]
pub enum Users {
    /// All of them.
    Exact(HashSet<UserHash, foldhash::quality::FixedState>),
    /// A sketch of them.
    Estimate(Box<HyperLogLog<foldhash::quality::FixedState>>),
}

impl Default for Users {
    fn default() -> Self {
        Self::Exact(HashSet::default())
    }
}

impl Users {
    /// Counts a user.
    pub fn add(&mut self, user: UserHash, budget: &mut Budget) {
        match self {
            Users::Estimate(sketch) => sketch.insert(&user),
            Users::Exact(hashes) => {
                if !hashes.insert(user) {
                    return;
                }
                budget.0 -= 1;
                if budget.0 < 0 && hashes.len() > EXACT_MIN {
                    let mut sketch =
                        HyperLogLog::with_hasher(PRECISION, foldhash::quality::FixedState::default());
                    hashes.iter().for_each(|hash| sketch.insert(hash));
                    budget.0 += hashes.len() as i64;
                    *self = Users::Estimate(Box::new(sketch));
                }
            }
        }
    }

    /// How many different users there were.
    pub fn count(&self) -> UserCount {
        match self {
            Users::Exact(hashes) => UserCount { users: hashes.len() as u64, is_estimate: false },
            Users::Estimate(sketch) => UserCount { users: sketch.count() as u64, is_estimate: true },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(users: u64, budget: i64) -> UserCount {
        let mut counter = Users::default();
        let mut budget = Budget(budget);
        for round in 0..2 {
            for user in 0..users {
                counter.add(hash(&format!("user-{}", user + round % 2)), &mut budget);
            }
        }
        counter.count()
    }

    #[test]
    fn users_are_counted_exactly_while_there_is_room() {
        assert_eq!(count(5_000, 10_000), UserCount { users: 5_001, is_estimate: false });
        assert_eq!(count(900, 0), UserCount { users: 901, is_estimate: false }, "few users cost little");
    }

    #[test]
    fn an_estimate_is_close_and_says_that_it_is_one() {
        for users in [1_500, 20_000, 60_000] {
            let count = count(users, 1_000);
            assert!(count.is_estimate);
            assert!(count.users.abs_diff(users) * 100 < users * 4, "{} of {users}", count.users);
        }
    }

    #[test]
    fn an_estimate_gives_back_what_it_remembered() {
        let mut budget = Budget(2_000);
        let mut counters: Vec<Users> = (0..4).map(|_| Users::default()).collect();
        for user in 0..10_000 {
            for counter in &mut counters {
                counter.add(hash(&user.to_string()), &mut budget);
            }
        }
        assert!(counters.iter().all(|counter| counter.count().is_estimate));
        assert_eq!(budget.0, 2_000);
    }
}
