//! How long secrets stay known that the dataset no longer lists.
//!
//! Must not read a clock. One mistaken dump must not stop a fleet of SDKs for ever (they take 4003 as final),
//! so that a secret, or an environment, that is gone stays in service until its grace ends, and nobody
//! notices if it is put right before.

use std::collections::HashMap;

use super::environment::EnvironmentSlot;
use super::snapshot::Secrets;
use crate::protocol::secret::Secret;

/// What is still in service and no longer listed, each with the time at which that ends.
#[derive(Default)]
pub(super) struct Grace {
    secrets: HashMap<Secret, i64>,
    environments: HashMap<EnvironmentSlot, i64>,
}

impl Grace {
    /// Adds to the secrets of a new dataset those of `old` that it lacks.
    pub fn carry(&mut self, listed: &mut Secrets, old: &Secrets, until_ms: i64) {
        self.secrets.retain(|secret, _| !listed.contains_key(secret));
        for (secret, entry) in old {
            if !listed.contains_key(secret) {
                self.secrets.entry(*secret).or_insert(until_ms);
                listed.insert(*secret, *entry);
            }
        }
    }

    /// The dataset holds the environment.
    pub fn listed(&mut self, slot: EnvironmentSlot) {
        self.environments.remove(&slot);
    }

    /// The dataset does not hold the environment.
    pub fn gone(&mut self, slot: EnvironmentSlot, until_ms: i64) {
        self.environments.entry(slot).or_insert(until_ms);
    }

    /// Takes the secrets out whose time has come; says whether there were any.
    pub fn expire_secrets(&mut self, secrets: &mut Secrets, now_ms: i64) -> bool {
        let before = self.secrets.len();
        self.secrets.retain(|secret, until_ms| {
            let stays = *until_ms > now_ms;
            if !stays {
                secrets.remove(secret);
            }
            stays
        });
        self.secrets.len() < before
    }

    /// Takes out and returns the environments whose time has come.
    pub fn expire_environments(&mut self, now_ms: i64) -> Vec<EnvironmentSlot> {
        self.environments.extract_if(|_, until_ms| *until_ms <= now_ms).map(|(slot, _)| slot).collect()
    }

    /// Whether anything's time has come.
    pub fn due(&self, now_ms: i64) -> bool {
        self.next_ms().is_some_and(|until_ms| until_ms <= now_ms)
    }

    /// When the next grace ends.
    pub fn next_ms(&self) -> Option<i64> {
        self.secrets.values().chain(self.environments.values()).copied().min()
    }
}
