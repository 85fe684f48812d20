//! What keeps every change beyond this process: the backup file, the cluster's Redis.
//!
//! Must not make flags wait: a change is given to the sinks after it was announced to the reactors, and no call blocks.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::Secret;
use crate::fanout::mailbox::Reply;
use crate::model::environment_id::EnvironmentId;
use crate::model::stamp::Edition;
use crate::store::{Delta, Snapshot, TombstoneState};

/// Something that keeps every change. Only the sync thread calls it, and no call may block.
pub trait ChangeSink: Send {
    /// Keeps a change.
    fn accept(&mut self, change: &PublishedChange<'_>);

    /// Whether it lost changes, or starts anew, and needs the whole state. It is asked once in each turn.
    fn wants_full_state(&mut self) -> bool {
        false
    }

    /// Begins anew with the whole state, which replaces everything that it was given before.
    fn keep_full_state(&mut self, whole: &Arc<Delta>, snapshot: &Snapshot, at_ms: i64);

    /// Removals that no agent or SDK needs any more.
    fn forget(&mut self, _edition: &Edition, _removals: &[(EnvironmentId, TombstoneState)]) {}

    /// The `ApiKey` was replaced.
    fn set_key(&mut self, _key: &Secret) {}

    /// Writes what it still has, within this time.
    fn stop(&mut self, _within: Duration) {}
}

/// A change, for a sink.
#[derive(Debug)]
pub struct PublishedChange<'a> {
    /// What changed in the state.
    pub delta: &'a Arc<Delta>,
    /// What is in service since then.
    pub snapshot: &'a Snapshot,
    /// Whether its list of environments and secrets, if it has one, certainly has everything.
    pub list_is_complete: bool,
    /// Where it comes from.
    pub origin: Origin,
    /// When it was published, in Unix milliseconds.
    pub at_ms: i64,
    /// The answer that waits until the change is durable. Each sink that is not sure of that at once holds a reference
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

/// The sinks, and what they were given last.
#[derive(Default)]
pub(super) struct ChangeSinks {
    pub all: Vec<Box<dyn ChangeSink>>,
    pub edition: Edition,
    /// A hash of the list of environments and secrets.
    pub list: u64,
    /// Answers that wait until a change is durable, and until when.
    pub waiting: Vec<(Instant, Weak<Answer>)>,
    /// How long they wait.
    pub wait: Duration,
    /// Removals are forgotten at this age; `None` means never.
    pub removal_age_ms: Option<i64>,
    /// When to look for old removals next, in Unix milliseconds.
    pub next_forgetting_ms: i64,
}

impl ChangeSinks {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// When the next answer has waited long enough.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.waiting.iter().map(|(until, _)| *until).min()
    }
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
