//! Gives every change to the sinks.
//!
//! Must not make flags wait: a change is kept after it was announced to the reactors.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Secret;
use crate::store::{Access, Change, Snapshot};

use super::sink::{Answer, ChangeSink, Origin, PublishedChange};
use super::writer::Ingest;

/// How often old removals are looked for.
const FORGET_EVERY_MS: i64 = 60 * 60 * 1000;

impl Ingest {
    /// Adds a sink. Answers wait for it at most `wait`.
    pub fn add_sink(&mut self, sink: Box<dyn ChangeSink>, wait: Duration) {
        self.sinks.wait = wait;
        self.sinks.all.push(sink);
        self.sinks.edition = self.writer.edition().clone();
        self.sinks.list = hash_of(self.writer.current(), &self.writer.access(self.now()));
    }

    /// Removals are forgotten at this age, in milliseconds.
    pub fn set_removal_age(&mut self, age_ms: i64) {
        self.sinks.removal_age_ms = Some(age_ms);
    }

    /// Forgets removals that are old enough, about once an hour.
    pub(super) fn forget_old_removals(&mut self) {
        let now_ms = (self.wall_ms)();
        let Some(age_ms) = self.sinks.removal_age_ms else { return };
        if now_ms < self.sinks.next_forgetting_ms {
            return;
        }
        self.sinks.next_forgetting_ms = now_ms.saturating_add(FORGET_EVERY_MS);
        let forgotten = self.writer.forget_removals(now_ms.saturating_sub(age_ms));
        if !forgotten.is_empty() {
            let edition = self.writer.edition().clone();
            self.sinks.all.iter_mut().for_each(|sink| sink.forget(&edition, &forgotten));
        }
    }

    /// Gives the change that was published in place of `before` to all sinks; `None` if only the edition changed.
    pub(super) fn keep(
        &mut self,
        before: &Snapshot,
        change: Option<&Change>,
        origin: Origin,
        answer: Option<&Arc<Answer>>,
    ) {
        if self.sinks.is_empty() {
            return;
        }
        let now = self.now();
        let mut delta = match change {
            _ if self.sinks.edition != *self.writer.edition() => self.writer.full_state(now),
            Some(change) => self.writer.delta(before, change, now),
            None => self.writer.head_delta(),
        };
        self.sinks.edition = self.writer.edition().clone();
        if let Some(access) = &delta.access {
            let list = hash_of(self.writer.current(), access);
            if list != self.sinks.list && origin == Origin::Own {
                let history = self.writer.history_mut();
                history.list = history.list.next(now.wall_ms, &self.instance);
                delta.head.list = history.list.clone();
            }
            self.sinks.list = list;
        }
        if let Some(answer) = answer {
            self.sinks.waiting.push((Instant::now() + self.sinks.wait, Arc::downgrade(answer)));
        }
        let delta = Arc::new(delta);
        let snapshot = self.writer.current();
        let list_is_complete = self.membership.list_is_complete;
        let at_ms = now.wall_ms;
        let kept = PublishedChange { delta: &delta, snapshot, list_is_complete, origin, at_ms, answer };
        self.sinks.all.iter_mut().for_each(|sink| sink.accept(&kept));
    }

    /// Gives the whole state to the sinks that want it, and fails answers that have waited too long.
    pub fn tend_sinks(&mut self) {
        let (now, at) = (self.now(), Instant::now());
        let mut whole = None;
        for sink in &mut self.sinks.all {
            if sink.wants_full_state() {
                let whole = whole.get_or_insert_with(|| Arc::new(self.writer.full_state(now)));
                sink.keep_full_state(whole, self.writer.current(), now.wall_ms);
            }
        }
        let wait = self.sinks.wait;
        self.sinks.waiting.retain(|(until, answer)| match answer.upgrade() {
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
        self.sinks.all.iter_mut().for_each(|sink| sink.set_key(key));
    }

    /// Has the sinks write what they still have, within this time for each.
    pub fn stop_sinks(&mut self, within: Duration) {
        self.sinks.all.iter_mut().for_each(|sink| sink.stop(within));
    }

    /// When to call [`Self::tend_sinks`] next, if no sink wakes the thread.
    pub fn next_sink_timeout(&self) -> Option<Instant> {
        self.sinks.next_timeout()
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
