//! Grace periods: how long secrets and environments stay in service after the dataset no longer lists them.
//!
//! Must not read a clock. SDKs never reconnect after a 4003, so one mistaken dump must not disconnect all of them. A secret
//! or environment that disappears from the dataset stays in service until its grace period ends; if it is listed again
//! before, no SDK notices. In agent mode, time alone ends no grace period: when it is due, a full sync must be requested
//! after that, be confirmed as complete, and still lack the secret or environment. In a cluster one agent's full sync
//! confirms it for all.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::protocol::secret::Secret;
use crate::store::environment::EnvironmentSlot;
use crate::store::snapshot::Secrets;

/// Secrets and environments in their grace period: in service, but no longer listed.
#[derive(Default)]
pub(super) struct Grace {
    secrets: HashMap<Secret, GraceEnd>,
    /// Secrets whose type changed: until when they are also valid for SDKs of the former type.
    kinds: HashMap<Secret, GraceEnd>,
    environments: HashMap<EnvironmentSlot, GraceEnd>,
}

/// When a grace period ends.
#[derive(Clone, Copy)]
struct GraceEnd {
    until_ms: i64,
    /// The number of full syncs requested by the time `until_ms` had passed; `None` before that, and outside agent mode.
    asked: Option<u64>,
    /// Whether another agent of the cluster has seen the removal confirmed: it needs no full sync of this agent, which may
    /// not reach its server.
    confirmed: bool,
}

/// What decides whether a grace period is over.
#[derive(Clone, Copy)]
pub(super) struct Now {
    pub now_ms: i64,
    /// In agent mode, the number of the full sync that the data certainly answers.
    pub answered: Option<u64>,
}

impl GraceEnd {
    fn at(until_ms: i64) -> Self {
        Self { until_ms, asked: None, confirmed: false }
    }

    fn left_ms(&self, now_ms: i64) -> i64 {
        self.until_ms.saturating_sub(now_ms).max(0)
    }

    fn is_over(&self, now: Now) -> bool {
        match now.answered {
            None => self.until_ms <= now.now_ms,
            Some(_) if self.confirmed => self.until_ms <= now.now_ms,
            // Anything that this full sync lists is no longer in a grace period.
            Some(answered) => self.asked.is_some_and(|asked| answered > asked),
        }
    }
}

/// Grace periods that are due and wait for a full sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AwaitingSync {
    /// How many secrets and environments wait.
    pub all: usize,
    /// How many of them have become due since the last call.
    pub new: usize,
}

/// Secrets whose grace period begins with the new dataset: for each, the environment that it gave access to.
#[derive(Debug, Default)]
pub(super) struct BegunGraces {
    /// Secrets that are no longer listed.
    pub unlisted: Vec<EnvironmentSlot>,
    /// Secrets that are listed with another type.
    pub retyped: Vec<EnvironmentSlot>,
}

impl Grace {
    /// Adds to the secrets of a new dataset (`listed`) the access that `old` gave and the dataset does not. Returns the
    /// secrets whose grace period begins by that.
    pub fn carry_over(&mut self, listed: &mut Secrets, old: &Secrets, until_ms: i64) -> BegunGraces {
        let mut begun = BegunGraces::default();
        for (secret, before) in old {
            let Some(now) = listed.get_mut(secret) else {
                self.secrets.entry(*secret).or_insert_with(|| {
                    begun.unlisted.push(before.slot);
                    GraceEnd::at(until_ms)
                });
                listed.insert(*secret, *before);
                continue;
            };
            // A secret that is listed again with another type has used up a part of its grace period.
            let ends = self.secrets.remove(secret).unwrap_or(GraceEnd::at(until_ms));
            if now.kind == before.kind {
                now.former = before.former;
            } else {
                now.former = Some((before.kind, before.slot));
                self.kinds.insert(*secret, ends);
                begun.retyped.push(before.slot);
            }
        }
        begun
    }

    /// GraceEnd the grace period of an environment, because the dataset lists it.
    pub fn listed(&mut self, slot: EnvironmentSlot) {
        self.environments.remove(&slot);
    }

    /// Begins the grace period of an environment that the dataset does not list. False if it has begun before.
    pub fn unlisted(&mut self, slot: EnvironmentSlot, until_ms: i64) -> bool {
        match self.environments.entry(slot) {
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                entry.insert(GraceEnd::at(until_ms));
                true
            }
        }
    }

    /// Removes secrets whose grace period is over, and the former type of secrets for which that is over. Returns whether
    /// there were any.
    pub fn expire_secrets(&mut self, secrets: &mut Secrets, now: Now) -> bool {
        let before = self.secrets.len() + self.kinds.len();
        self.secrets.retain(|secret, ends| {
            let stays = !ends.is_over(now);
            if !stays {
                secrets.remove(secret);
            }
            stays
        });
        self.kinds.retain(|secret, ends| {
            let stays = !ends.is_over(now);
            if !stays && let Some(entry) = secrets.get_mut(secret) {
                entry.former = None;
            }
            stays
        });
        self.secrets.len() + self.kinds.len() < before
    }

    /// Removes and returns the environments whose grace period is over.
    pub fn expire_environments(&mut self, now: Now) -> Vec<EnvironmentSlot> {
        self.environments.extract_if(|_, ends| ends.is_over(now)).map(|(slot, _)| slot).collect()
    }

    /// Makes grace periods that are due wait until a full sync with a number higher than `asked` is answered.
    pub fn await_full_sync(&mut self, now_ms: i64, asked: u64) -> AwaitingSync {
        let mut awaiting = AwaitingSync::default();
        let Self { secrets, kinds, environments } = self;
        let all = secrets.values_mut().chain(kinds.values_mut()).chain(environments.values_mut());
        for ends in all {
            if ends.confirmed {
                continue;
            }
            if ends.asked.is_none() && ends.until_ms <= now_ms {
                ends.asked = Some(asked);
                awaiting.new += 1;
            }
            awaiting.all += usize::from(ends.asked.is_some());
        }
        awaiting
    }

    /// The list of another agent of the cluster is taken over. What it neither lists nor has in a grace period of its own is
    /// confirmed to be removed, and so is every former type.
    pub fn confirm_but(
        &mut self,
        secrets: impl Fn(&Secret) -> bool,
        environments: impl Fn(EnvironmentSlot) -> bool,
    ) {
        self.secrets.iter_mut().for_each(|(secret, ends)| ends.confirmed = !secrets(secret));
        self.kinds.values_mut().for_each(|ends| ends.confirmed = true);
        self.environments.iter_mut().for_each(|(slot, ends)| ends.confirmed = !environments(*slot));
    }

    /// Whether any grace period is over.
    pub fn is_over(&self, now: Now) -> bool {
        self.all().any(|ends| ends.is_over(now))
    }

    /// When the next grace period is due, of those that do not wait for a full sync yet.
    pub fn next_ms(&self) -> Option<i64> {
        self.all().filter(|ends| ends.confirmed || ends.asked.is_none()).map(|ends| ends.until_ms).min()
    }

    /// The rest of a secret's grace period at `now_ms`, if it is in one.
    pub fn left_of_secret_ms(&self, secret: &Secret, now_ms: i64) -> Option<i64> {
        Some(self.secrets.get(secret)?.left_ms(now_ms))
    }

    /// How much longer a secret is valid for SDKs of its former type, if its type was changed.
    pub fn left_of_type_ms(&self, secret: &Secret, now_ms: i64) -> Option<i64> {
        Some(self.kinds.get(secret)?.left_ms(now_ms))
    }

    /// The rest of the grace period of each environment that is in one, in no particular order.
    pub fn left_of_environments_ms(&self, now_ms: i64) -> Vec<(EnvironmentSlot, i64)> {
        self.environments.iter().map(|(slot, ends)| (*slot, ends.left_ms(now_ms))).collect()
    }

    /// Whether no grace period runs.
    pub fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }

    /// Restores the grace period of a secret that is not listed.
    pub fn restore_secret(&mut self, secret: Secret, until_ms: i64) {
        self.secrets.insert(secret, GraceEnd::at(until_ms));
    }

    /// Restores until when a secret is valid for SDKs of its former type.
    pub fn restore_type(&mut self, secret: Secret, until_ms: i64) {
        self.kinds.insert(secret, GraceEnd::at(until_ms));
    }

    fn all(&self) -> impl Iterator<Item = &GraceEnd> {
        self.secrets.values().chain(self.kinds.values()).chain(self.environments.values())
    }
}
