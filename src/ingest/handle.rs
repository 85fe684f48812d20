//! How reactors and signals send jobs to the writer and read its state.

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

/// The dataset of a bootstrap call.
pub struct Submission {
    /// The body.
    pub bytes: Vec<u8>,
    /// Whether the body is compressed with gzip.
    pub gzip: bool,
    /// The most bytes that it may have when decompressed.
    pub bytes_max: u64,
    /// The mailbox of the reactor that waits for the answer.
    pub mailbox: Mailbox,
    /// The connection that waits for the answer.
    pub key: Key,
    /// Dropped when the submission is done, so that the next one is accepted.
    pub permit: Box<dyn Any + Send>,
}

impl fmt::Debug for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Submission({} bytes)", self.bytes.len())
    }
}

/// A job for the writer.
#[derive(Debug)]
pub enum Job {
    /// Load the dataset of a bootstrap call.
    Submission(Submission),
    /// A full sync is requested: [`Following`] has the reasons.
    Resync,
    /// Use this key for the server from now on.
    Key(Secret),
    /// End the thread.
    Stop,
}

/// Sends jobs to the writer's thread, which also waits for sockets and may have to be woken.
#[derive(Clone, Debug)]
pub struct Jobs {
    sender: Sender<Job>,
    waker: Option<Arc<Waker>>,
}

impl Jobs {
    /// Jobs for the receiver of `sender`; `waker` wakes it if it waits for something else.
    pub fn new(sender: Sender<Job>, waker: Option<Arc<Waker>>) -> Self {
        Self { sender, waker }
    }

    /// Sends a job, and waits for room in the queue. False if the writer has ended.
    pub fn send(&self, job: Job) -> bool {
        self.wake_after(self.sender.send(job).is_ok())
    }

    /// Sends a job; false if the queue is full or the writer has ended.
    pub fn try_send(&self, job: Job) -> bool {
        self.wake_after(self.sender.try_send(job).is_ok())
    }

    fn wake_after(&self, sent: bool) -> bool {
        if sent && let Some(waker) = &self.waker {
            // If this fails, the thread finds the job when it next checks the queue, within seconds.
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

/// A handle to the writer for reactors and signals. Cheap to clone.
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

    /// Submits a dataset; the answer comes by mail. False if the writer's queue is full, or it has ended.
    pub fn submit(&self, submission: Submission) -> bool {
        self.jobs.try_send(Job::Submission(submission))
    }

    /// The upstream status and requests for a full sync.
    pub fn following(&self) -> &Following {
        &self.following
    }

    /// Requests a full sync; in offline mode, that the data file is read again.
    pub fn request_resync(&self, reason: ResyncReason) {
        if self.following.request_resync(reason) {
            // If the queue is full, the writer finds the reason after its next job.
            self.jobs.try_send(Job::Resync);
        }
    }

    /// Has a dump of `snapshot` built by another thread, in its canonical form or not; it comes by mail. False if too many
    /// tasks wait.
    pub fn backup(&self, snapshot: Arc<Snapshot>, canonical: bool, mailbox: Mailbox, key: Key) -> bool {
        self.offload.queue(Task::Backup { snapshot, canonical, mailbox, key })
    }

    /// Has a full sync for a relay agent built by another thread; it comes by mail. False if too many tasks wait.
    pub fn relay_full(
        &self,
        snapshot: Arc<Snapshot>,
        scope: Scope,
        certain: bool,
        mailbox: Mailbox,
        key: Key,
    ) -> bool {
        self.offload.queue(Task::Relay { snapshot, scope, certain, mailbox, key })
    }

    /// Has the environment's full payload compressed by another thread, unless that is under way.
    pub fn compress(&self, environment: &Arc<Environment>) {
        // If the queue is full, the next poll tries again; until then polls get the uncompressed payload.
        let _ = self.offload.queue(Task::Compress(environment.clone()));
    }

    /// The newest snapshot, for threads other than reactors and the tasks that they are given.
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
