//! How long secrets stay known that the dataset no longer lists.
//!
//! Must not read a clock. One mistaken dump must not stop a fleet of SDKs for ever (they take 4003 as final),
//! so that a secret, or an environment, that is gone stays in service until its grace ends, and nobody
//! notices if it is put right before. Where a server is followed, the clock alone ends nothing: what is due is held
//! until a full sync that was asked for after that has been answered for certain, and still lacks it.

use std::collections::HashMap;

use super::environment::EnvironmentSlot;
use super::snapshot::Secrets;
use crate::protocol::secret::Secret;

/// What is still in service and no longer listed, each with what ends that.
#[derive(Default)]
pub(super) struct Grace {
    secrets: HashMap<Secret, Ends>,
    environments: HashMap<EnvironmentSlot, Ends>,
}

/// What ends a grace.
#[derive(Clone, Copy)]
struct Ends {
    until_ms: i64,
    /// How many full syncs had been asked for when that time was over, if a server is followed and it is.
    asked: Option<u64>,
}

/// What graces are judged by.
#[derive(Clone, Copy)]
pub(super) struct Now {
    pub now_ms: i64,
    /// The full sync that the data answers for certain, if a server is followed.
    pub answered: Option<u64>,
}

impl Ends {
    fn at(until_ms: i64) -> Self {
        Self { until_ms, asked: None }
    }

    fn is_over(&self, now: Now) -> bool {
        match now.answered {
            None => self.until_ms <= now.now_ms,
            // What such a full sync lists has no grace any more.
            Some(answered) => self.asked.is_some_and(|asked| answered > asked),
        }
    }
}

/// What is due and waits for a full sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldOn {
    /// How many secrets and environments do.
    pub all: usize,
    /// How many of them have become due since this was last asked.
    pub new: usize,
}

impl Grace {
    /// Adds to the secrets of a new dataset those of `old` that it lacks.
    pub fn carry(&mut self, listed: &mut Secrets, old: &Secrets, until_ms: i64) {
        self.secrets.retain(|secret, _| !listed.contains_key(secret));
        for (secret, entry) in old {
            if !listed.contains_key(secret) {
                self.secrets.entry(*secret).or_insert(Ends::at(until_ms));
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
        self.environments.entry(slot).or_insert(Ends::at(until_ms));
    }

    /// Takes the secrets out whose grace is over; says whether there were any.
    pub fn expire_secrets(&mut self, secrets: &mut Secrets, now: Now) -> bool {
        let before = self.secrets.len();
        self.secrets.retain(|secret, ends| {
            let stays = !ends.is_over(now);
            if !stays {
                secrets.remove(secret);
            }
            stays
        });
        self.secrets.len() < before
    }

    /// Takes out and returns the environments whose grace is over.
    pub fn expire_environments(&mut self, now: Now) -> Vec<EnvironmentSlot> {
        self.environments.extract_if(|_, ends| ends.is_over(now)).map(|(slot, _)| slot).collect()
    }

    /// Notes what is due and is to be held on to until a full sync of a number above `asked` is answered.
    pub fn hold_on(&mut self, now_ms: i64, asked: u64) -> HeldOn {
        let mut held = HeldOn::default();
        for ends in self.secrets.values_mut().chain(self.environments.values_mut()) {
            if ends.asked.is_none() && ends.until_ms <= now_ms {
                ends.asked = Some(asked);
                held.new += 1;
            }
            held.all += usize::from(ends.asked.is_some());
        }
        held
    }

    /// Whether any grace is over.
    pub fn is_over(&self, now: Now) -> bool {
        self.all().any(|ends| ends.is_over(now))
    }

    /// When the next one is due that is not held on to yet.
    pub fn next_ms(&self) -> Option<i64> {
        self.all().filter(|ends| ends.asked.is_none()).map(|ends| ends.until_ms).min()
    }

    fn all(&self) -> impl Iterator<Item = &Ends> {
        self.secrets.values().chain(self.environments.values())
    }
}
