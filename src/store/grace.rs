//! How long secrets stay known that the dataset no longer lists.
//!
//! Must not read a clock. One mistaken dump must not stop a fleet of SDKs for ever (they take 4003 as final),
//! so that a secret, or an environment, that is gone stays in service until its grace ends, and nobody
//! notices if it is put right before.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::environment::EnvironmentSlot;
use super::snapshot::Secrets;
use crate::protocol::secret::Secret;

/// What is still in service and no longer listed, each with the time at which that ends.
#[derive(Default)]
pub(super) struct Grace {
    secrets: HashMap<Secret, i64>,
    /// Secrets of which the type changed: how long they serve SDKs of the former one too.
    kinds: HashMap<Secret, i64>,
    environments: HashMap<EnvironmentSlot, i64>,
}

/// The secrets of which a grace has begun, by the environment that they opened.
#[derive(Debug, Default)]
pub(super) struct Begun {
    /// They are no longer listed.
    pub gone: Vec<EnvironmentSlot>,
    /// They are listed with another type.
    pub retyped: Vec<EnvironmentSlot>,
}

impl Grace {
    /// Adds to the secrets of a new dataset what they opened by `old` and do not by it. Returns what is new of that.
    pub fn carry(&mut self, listed: &mut Secrets, old: &Secrets, until_ms: i64) -> Begun {
        let mut begun = Begun::default();
        for (secret, before) in old {
            let Some(now) = listed.get_mut(secret) else {
                self.secrets.entry(*secret).or_insert_with(|| {
                    begun.gone.push(before.slot);
                    until_ms
                });
                listed.insert(*secret, *before);
                continue;
            };
            // One that comes back as something else than it was has had a part of its grace.
            let until_ms = self.secrets.remove(secret).unwrap_or(until_ms);
            if now.kind == before.kind {
                now.former = before.former;
            } else {
                now.former = Some((before.kind, before.slot));
                self.kinds.insert(*secret, until_ms);
                begun.retyped.push(before.slot);
            }
        }
        begun
    }

    /// The dataset holds the environment.
    pub fn listed(&mut self, slot: EnvironmentSlot) {
        self.environments.remove(&slot);
    }

    /// The dataset does not hold the environment. Says whether that is news.
    pub fn gone(&mut self, slot: EnvironmentSlot, until_ms: i64) -> bool {
        match self.environments.entry(slot) {
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                entry.insert(until_ms);
                true
            }
        }
    }

    /// Takes the secrets out whose time has come, and from others what they no longer open; says whether there were
    /// any.
    pub fn expire_secrets(&mut self, secrets: &mut Secrets, now_ms: i64) -> bool {
        let before = self.secrets.len() + self.kinds.len();
        self.secrets.retain(|secret, until_ms| {
            let stays = *until_ms > now_ms;
            if !stays {
                secrets.remove(secret);
            }
            stays
        });
        self.kinds.retain(|secret, until_ms| {
            let stays = *until_ms > now_ms;
            if !stays && let Some(entry) = secrets.get_mut(secret) {
                entry.former = None;
            }
            stays
        });
        self.secrets.len() + self.kinds.len() < before
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
        self.secrets.values().chain(self.kinds.values()).chain(self.environments.values()).copied().min()
    }
}
