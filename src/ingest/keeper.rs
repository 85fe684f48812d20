//! What keeps every change beyond this process: the backup file, the cluster's Redis.
//!
//! Must not make flags wait: a change is given to the keepers after it was announced to the reactors, and no call blocks.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::fanout::mailbox::Reply;
use crate::model::stamp::Edition;
use crate::store::{Access, Change, Delta, Snapshot, TombstoneState};

use super::writer::Ingest;

/// Something that keeps every change. Only the sync thread calls it, and no call may block.
pub trait Keeper: Send {
    /// Keeps a change.
    fn keep(&mut self, change: &Kept<'_>);

    /// Whether it lost changes, or starts anew, and needs the whole state. It is asked once in each turn.
    fn wants_whole(&mut self) -> bool {
        false
    }

    /// Begins anew with the whole state, which replaces everything that it was given before.
    fn keep_whole(&mut self, whole: &Arc<Delta>, at_ms: i64);

    /// Removals that no agent or SDK needs any more.
    fn forget(&mut self, _edition: &Edition, _removals: &[(String, TombstoneState)]) {}

    /// Writes what it still has, within this time.
    fn stop(&mut self, _within: Duration) {}
}

/// A change, for a keeper.
#[derive(Debug)]
pub struct Kept<'a> {
    /// What changed in the state.
    pub delta: &'a Arc<Delta>,
    /// Where it comes from.
    pub origin: Origin,
    /// When it was published, in Unix milliseconds.
    pub at_ms: i64,
    /// The answer that waits until the change is durable. Each keeper that is not sure of that at once holds a reference
    /// until it is.
    pub answer: Option<&'a Arc<Answer>>,
}

/// Where a change comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From this agent's own sources, or from the passing of time.
    Own,
    /// From another agent of the cluster.
    Cluster,
}

type SendReply = Box<dyn FnOnce(Reply) + Send>;

/// An answer that is sent when nobody waits any more for the data to be in service and durable, or when that has failed.
pub struct Answer(Mutex<Option<(SendReply, Reply)>>);

impl Answer {
    /// The answer `done`, to be given to `send` when the last reference is dropped.
    pub fn new(done: Reply, send: impl FnOnce(Reply) + Send + 'static) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some((Box::new(send), done)))))
    }

    /// Sends at once that the data is in service, but not saved, for this reason.
    pub fn fail(&self, reason: &str) {
        if let Some((send, _)) = self.0.lock().take() {
            send(Reply::NotSaved(format!(
                "the data is in service, but it is not saved in the backup file yet, so a restart may lose it: {reason}"
            )));
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some((send, done)) = self.0.get_mut().take() {
            send(done);
        }
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answer")
    }
}

/// The keepers, and what they were given last.
#[derive(Default)]
pub(super) struct Keepers {
    all: Vec<Box<dyn Keeper>>,
    edition: Edition,
    /// A hash of the list of environments and secrets.
    list: u64,
    /// Answers that wait until a change is durable, and until when.
    waiting: Vec<(Instant, Weak<Answer>)>,
    wait: Duration,
}

impl Keepers {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// When the next answer has waited long enough.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.waiting.iter().map(|(until, _)| *until).min()
    }
}

impl Ingest {
    /// Adds a keeper. Answers wait for it at most `wait`.
    pub fn add_keeper(&mut self, keeper: Box<dyn Keeper>, wait: Duration) {
        self.keepers.wait = wait;
        self.keepers.all.push(keeper);
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
        let kept = Kept { delta: &delta, origin, at_ms: now.wall_ms, answer };
        self.keepers.all.iter_mut().for_each(|keeper| keeper.keep(&kept));
    }

    /// Gives the whole state to the keepers that want it, and fails answers that have waited too long.
    pub fn tend_keepers(&mut self) {
        let (now, at) = (self.now(), Instant::now());
        let mut whole = None;
        for keeper in &mut self.keepers.all {
            if keeper.wants_whole() {
                let whole = whole.get_or_insert_with(|| Arc::new(self.writer.whole(now)));
                keeper.keep_whole(whole, now.wall_ms);
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

    /// Has the keepers write what they still have, within this time for each.
    pub fn stop_keepers(&mut self, within: Duration) {
        self.keepers.all.iter_mut().for_each(|keeper| keeper.stop(within));
    }

    /// When to call [`Self::tend_keepers`] next, if no keeper wakes the thread.
    pub fn next_keeper_timeout(&self) -> Option<Instant> {
        self.keepers.next_timeout()
    }
}

/// What decides whether the list of environments and secrets is another one. What is left of grace periods is not in it.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Payload;

    fn answer() -> (Arc<Answer>, Arc<Mutex<Vec<bool>>>) {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let log = sent.clone();
        let done = Reply::Done(Payload::private(Vec::new()));
        (Answer::new(done, move |reply| log.lock().push(matches!(reply, Reply::Done(_)))), sent)
    }

    #[test]
    fn an_answer_is_sent_when_nobody_waits_any_more() {
        let (answer, sent) = answer();
        let other = Arc::clone(&answer);
        drop(answer);
        assert!(sent.lock().is_empty());
        drop(other);
        assert_eq!(*sent.lock(), [true]);
    }

    #[test]
    fn a_failure_is_answered_at_once_and_only_once() {
        let (answer, sent) = answer();
        answer.fail("the disk is full");
        answer.fail("again");
        assert_eq!(*sent.lock(), [false]);
        drop(answer);
        assert_eq!(*sent.lock(), [false]);
    }
}
