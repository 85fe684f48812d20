//! How long secrets stay known that the dataset no longer lists.
//!
//! Must not read a clock. One mistaken dump must not stop a fleet of SDKs for ever (they take 4003 as final),
//! so that a secret, or an environment, that is gone stays in service until its grace ends, and nobody
//! notices if it is put right before. Where a server is followed, the clock alone ends nothing: what is due stays
//! until a full sync that was asked for after that has been answered for certain, and still lacks it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::protocol::secret::Secret;
use crate::store::environment::EnvironmentSlot;
use crate::store::snapshot::Secrets;

/// What is still in service and no longer listed, each with what ends that.
#[derive(Default)]
pub(super) struct Grace {
    secrets: HashMap<Secret, Ends>,
    /// Secrets of which the type changed: how long they serve SDKs of the former one too.
    kinds: HashMap<Secret, Ends>,
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

    fn left_ms(&self, now_ms: i64) -> i64 {
        self.until_ms.saturating_sub(now_ms).max(0)
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
pub struct AwaitingSync {
    /// How many secrets and environments do.
    pub all: usize,
    /// How many of them have become due since this was last asked.
    pub new: usize,
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
                    Ends::at(until_ms)
                });
                listed.insert(*secret, *before);
                continue;
            };
            // One that comes back as something else than it was has had a part of its grace.
            let ends = self.secrets.remove(secret).unwrap_or(Ends::at(until_ms));
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

    /// The dataset holds the environment.
    pub fn listed(&mut self, slot: EnvironmentSlot) {
        self.environments.remove(&slot);
    }

    /// The dataset does not hold the environment. Says whether that is news.
    pub fn gone(&mut self, slot: EnvironmentSlot, until_ms: i64) -> bool {
        match self.environments.entry(slot) {
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                entry.insert(Ends::at(until_ms));
                true
            }
        }
    }

    /// Takes the secrets out whose grace is over, and from others what they no longer open; says whether there were
    /// any.
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

    /// Takes out and returns the environments whose grace is over.
    pub fn expire_environments(&mut self, now: Now) -> Vec<EnvironmentSlot> {
        self.environments.extract_if(|_, ends| ends.is_over(now)).map(|(slot, _)| slot).collect()
    }

    /// Notes what is due and stays until a full sync of a number above `asked` is answered.
    pub fn await_full_sync(&mut self, now_ms: i64, asked: u64) -> AwaitingSync {
        let mut awaiting = AwaitingSync::default();
        let Self { secrets, kinds, environments } = self;
        let all = secrets.values_mut().chain(kinds.values_mut()).chain(environments.values_mut());
        for ends in all {
            if ends.asked.is_none() && ends.until_ms <= now_ms {
                ends.asked = Some(asked);
                awaiting.new += 1;
            }
            awaiting.all += usize::from(ends.asked.is_some());
        }
        awaiting
    }

    /// Whether any grace is over.
    pub fn is_over(&self, now: Now) -> bool {
        self.all().any(|ends| ends.is_over(now))
    }

    /// When the next one is due that does not wait for a full sync yet.
    pub fn next_ms(&self) -> Option<i64> {
        self.all().filter(|ends| ends.asked.is_none()).map(|ends| ends.until_ms).min()
    }

    /// What is left of the grace of a secret, by the clock of `now_ms`, if it has one.
    pub fn left_of_secret_ms(&self, secret: &Secret, now_ms: i64) -> Option<i64> {
        Some(self.secrets.get(secret)?.left_ms(now_ms))
    }

    /// How much longer a secret serves SDKs of its former type, if its type was changed.
    pub fn left_of_type_ms(&self, secret: &Secret, now_ms: i64) -> Option<i64> {
        Some(self.kinds.get(secret)?.left_ms(now_ms))
    }

    /// What is left of the grace of an environment, if it has one.
    pub fn left_of_environment_ms(&self, slot: EnvironmentSlot, now_ms: i64) -> Option<i64> {
        Some(self.environments.get(&slot)?.left_ms(now_ms))
    }

    /// A secret is not listed, and has a grace until then.
    pub fn restore_secret(&mut self, secret: Secret, until_ms: i64) {
        self.secrets.insert(secret, Ends::at(until_ms));
    }

    /// A secret serves SDKs of its former type until then.
    pub fn restore_type(&mut self, secret: Secret, until_ms: i64) {
        self.kinds.insert(secret, Ends::at(until_ms));
    }

    fn all(&self) -> impl Iterator<Item = &Ends> {
        self.secrets.values().chain(self.kinds.values()).chain(self.environments.values())
    }
}
