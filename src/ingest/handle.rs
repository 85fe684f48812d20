//! The reactors' way to the writer, and what it last said of itself.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use crossbeam::channel::Sender;
use mio::Waker;

use crate::config::Secret;
use crate::fanout::mailbox::Mailbox;
use crate::net::slab::Key;
use crate::protocol::status;
use crate::store::{Environment, Scope, Snapshot};

use super::following::{Following, ResyncReason};
use super::offload::{Offload, Task};

/// A dataset that came by a management call.
pub struct Submission {
    /// The body.
    pub bytes: Vec<u8>,
    /// Whether the body is compressed with gzip.
    pub gzip: bool,
    /// How many bytes it may have when it is decompressed.
    pub bytes_max: u64,
    /// The mailbox of the reactor that waits for the answer.
    pub mailbox: Mailbox,
    /// The connection that waits for the answer.
    pub key: Key,
    /// Dropped when the submission is dealt with: lets the next one in.
    pub permit: Box<dyn Any + Send>,
}

impl fmt::Debug for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Submission({} bytes)", self.bytes.len())
    }
}

/// What the writer is asked to do.
#[derive(Debug)]
pub enum Job {
    /// Take in a dataset that came by a management call.
    Submission(Submission),
    /// Somebody asks for a full sync: [`Following`] says why.
    Resync,
    /// Ask the server by this key from now on.
    Key(Secret),
    /// End.
    Stop,
}

/// The way to the writer's thread, which waits for sockets as well.
#[derive(Clone, Debug)]
pub struct Jobs {
    sender: Sender<Job>,
    waker: Option<Arc<Waker>>,
}

impl Jobs {
    /// Jobs for whoever receives from `sender`, and is woken by `waker` if it waits for something else.
    pub fn new(sender: Sender<Job>, waker: Option<Arc<Waker>>) -> Self {
        Self { sender, waker }
    }

    /// Hands a job over, once there is room for it. False if nobody takes any more.
    pub fn send(&self, job: Job) -> bool {
        self.wake_after(self.sender.send(job).is_ok())
    }

    /// Hands a job over; false if there is no room, or nobody takes any more.
    pub fn try_send(&self, job: Job) -> bool {
        self.wake_after(self.sender.try_send(job).is_ok())
    }

    fn wake_after(&self, sent: bool) -> bool {
        if sent && let Some(waker) = &self.waker {
            // Should that fail, the job is found when the thread next looks around, within seconds.
            let _ = waker.wake();
        }
        sent
    }
}

impl From<Sender<Job>> for Jobs {
    fn from(sender: Sender<Job>) -> Self {
        Self::new(sender, None)
    }
}

/// What reactors and signals ask of the writer, and read of it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) jobs: Jobs,
    pub(super) offload: Offload,
    pub(super) current: Arc<ArcSwap<Snapshot>>,
    pub(super) following: Arc<Following>,
}

impl Handle {
    /// A handle to the writer behind `jobs`, which publishes in `current`.
    pub fn new(
        jobs: impl Into<Jobs>,
        offload: Offload,
        current: Arc<ArcSwap<Snapshot>>,
        following: Arc<Following>,
    ) -> Self {
        Self { jobs: jobs.into(), offload, current, following }
    }

    /// Submits a dataset; its answer comes by mail. False if the writer has too much to do, or has ended.
    pub fn submit(&self, submission: Submission) -> bool {
        self.jobs.try_send(Job::Submission(submission))
    }

    /// The state of the server that is followed.
    pub fn following(&self) -> &Following {
        &self.following
    }

    /// Asks for a full sync; offline, for another look at the data file.
    pub fn request_resync(&self, reason: ResyncReason) {
        if self.following.request_resync(reason) {
            // If the queue is full, the reason is found when the next job has been dealt with.
            self.jobs.try_send(Job::Resync);
        }
    }

    /// Has a dump of `snapshot` made, which comes by mail. False if that cannot be done now.
    pub fn backup(&self, snapshot: Arc<Snapshot>, mailbox: Mailbox, key: Key) -> bool {
        self.offload.give(Task::Backup { snapshot, mailbox, key })
    }

    /// Has a whole dataset put together for a relay, which comes by mail. False if that cannot be done now.
    pub fn relay_full(
        &self,
        snapshot: Arc<Snapshot>,
        scope: Scope,
        certain: bool,
        mailbox: Mailbox,
        key: Key,
    ) -> bool {
        self.offload.give(Task::Relay { snapshot, scope, certain, mailbox, key })
    }

    /// Has the environment's full payload compressed, unless that is under way.
    pub fn compress(&self, environment: &Arc<Environment>) {
        // If the queue is full the next poll asks again; until then the plain payload serves.
        let _ = self.offload.give(Task::Compress(environment.clone()));
    }

    /// The newest snapshot, for threads that are no reactors.
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The status as FeatBit's UI reads it, of the data in `view`.
    pub fn status(&self, now_ms: i64, view: &Snapshot) -> String {
        let upstream = self.following.status();
        status::Status {
            serves: &view.serves(),
            data_version: view.data_version(),
            sync_state: upstream.state,
            last_synced_at_ms: upstream.last_synced_ms,
            reported_at_ms: now_ms,
        }
        .to_json()
    }
}
