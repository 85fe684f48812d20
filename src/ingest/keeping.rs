//! Gives every change to the keepers.
//!
//! Must not make flags wait: a change is kept after it was announced to the reactors.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Secret;
use crate::store::{Access, Change, Snapshot};

use super::keeper::{Answer, Keeper, Kept, Origin};
use super::writer::Ingest;

/// How often old removals are looked for.
const FORGET_EVERY_MS: i64 = 60 * 60 * 1000;

impl Ingest {
    /// Adds a keeper. Answers wait for it at most `wait`.
    pub fn add_keeper(&mut self, keeper: Box<dyn Keeper>, wait: Duration) {
        self.keepers.wait = wait;
        self.keepers.all.push(keeper);
        self.keepers.edition = self.writer.edition().clone();
        self.keepers.list = hash_of(self.writer.current(), &self.writer.access(self.now()));
    }

    /// Removals are forgotten at this age, in milliseconds.
    pub fn set_removal_age(&mut self, age_ms: i64) {
        self.keepers.removal_age_ms = Some(age_ms);
    }

    /// Forgets removals that are old enough, about once an hour.
    pub(super) fn forget_old_removals(&mut self) {
        let now_ms = (self.wall_ms)();
        let Some(age_ms) = self.keepers.removal_age_ms else { return };
        if now_ms < self.keepers.next_forgetting_ms {
            return;
        }
        self.keepers.next_forgetting_ms = now_ms.saturating_add(FORGET_EVERY_MS);
        let forgotten = self.writer.forget_removals(now_ms.saturating_sub(age_ms));
        if !forgotten.is_empty() {
            let edition = self.writer.edition().clone();
            self.keepers.all.iter_mut().for_each(|keeper| keeper.forget(&edition, &forgotten));
        }
    }

    /// Gives the change that was published in place of `before` to all keepers; `None` if only the edition changed.
    pub(super) fn keep(
        &mut self,
        before: &Snapshot,
        change: Option<&Change>,
        origin: Origin,
        answer: Option<&Arc<Answer>>,
    ) {
        if self.keepers.is_empty() {
            return;
        }
        let now = self.now();
        let mut delta = match change {
            _ if self.keepers.edition != *self.writer.edition() => self.writer.whole(now),
            Some(change) => self.writer.delta(before, change, now),
            None => self.writer.head_delta(),
        };
        self.keepers.edition = self.writer.edition().clone();
        if let Some(access) = &delta.access {
            let list = hash_of(self.writer.current(), access);
            if list != self.keepers.list && origin == Origin::Own {
                let history = self.writer.history_mut();
                history.list = history.list.next(now.wall_ms, &self.instance);
                delta.head.list = history.list.clone();
            }
            self.keepers.list = list;
        }
        if let Some(answer) = answer {
            self.keepers.waiting.push((Instant::now() + self.keepers.wait, Arc::downgrade(answer)));
        }
        let delta = Arc::new(delta);
        let snapshot = self.writer.current();
        let list_is_complete = self.membership.list_is_complete;
        let at_ms = now.wall_ms;
        let kept = Kept { delta: &delta, snapshot, list_is_complete, origin, at_ms, answer };
        self.keepers.all.iter_mut().for_each(|keeper| keeper.keep(&kept));
    }

    /// Gives the whole state to the keepers that want it, and fails answers that have waited too long.
    pub fn tend_keepers(&mut self) {
        let (now, at) = (self.now(), Instant::now());
        let mut whole = None;
        for keeper in &mut self.keepers.all {
            if keeper.wants_whole() {
                let whole = whole.get_or_insert_with(|| Arc::new(self.writer.whole(now)));
                keeper.keep_whole(whole, self.writer.current(), now.wall_ms);
            }
        }
        let wait = self.keepers.wait;
        self.keepers.waiting.retain(|(until, answer)| match answer.upgrade() {
            Some(answer) if *until <= at => {
                answer.fail(&format!("the disk has not confirmed it within {} s", wait.as_secs()));
                false
            }
            Some(_) => true,
            None => false,
        });
    }

    /// The `ApiKey` was replaced.
    pub fn set_key(&mut self, key: &Secret) {
        self.keepers.all.iter_mut().for_each(|keeper| keeper.set_key(key));
    }

    /// Has the keepers write what they still have, within this time for each.
    pub fn stop_keepers(&mut self, within: Duration) {
        self.keepers.all.iter_mut().for_each(|keeper| keeper.stop(within));
    }

    /// When to call [`Self::tend_keepers`] next, if no keeper wakes the thread.
    pub fn next_keeper_timeout(&self) -> Option<Instant> {
        self.keepers.next_timeout()
    }
}

/// A hash by which a changed list of environments and secrets is noticed. What is left of grace periods is not in it.
fn hash_of(snapshot: &Snapshot, access: &Access) -> u64 {
    use std::hash::{BuildHasher, Hash, Hasher};
    let mut hasher = foldhash::quality::FixedState::default().build_hasher();
    access.order.hash(&mut hasher);
    for secret in &access.secrets {
        let former = secret.former.as_ref().map(|former| (former.kind, former.environment));
        (secret.value, secret.kind, secret.environment, secret.grace_ms.is_some(), former).hash(&mut hasher);
    }
    access.leaving.iter().for_each(|(environment, _)| environment.hash(&mut hasher));
    for environment in snapshot.environments() {
        for secret in environment.listed_secrets() {
            (&secret.project_key, &secret.env_key, secret.value, secret.kind).hash(&mut hasher);
        }
    }
    hasher.finish()
}
