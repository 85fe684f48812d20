//! The thread that writes one log: groups of records that are durable together, compaction, and going on without a disk.
//!
//! Must not know what a record means, nor make a caller wait for the disk.
//!
//! # What a caller can rely on
//!
//! All calls of one journal come from one thread, in order; so a whole state ([`Journal::replace`]) contains everything that
//! was appended before it, and replaces that in the queue.
//!
//! - The thread takes everything that is queued, writes it, and makes it durable with one sync (*group commit*).
//! - After an error the file is not trusted any more. What was being written and what is queued is dropped, the journal asks
//!   for the whole state (`needs_full_state`) after a delay that grows, and writes that to a new file. The same happens without an error
//!   when the queue is full, because the disk hangs: then it asks as soon as the disk answers. Until the whole
//!   state comes, everything else is dropped, since that will contain it.
//! - A [`Done`] is called with `Ok` only when its group is durable. That of a dropped group waits for the next whole
//!   state that is written, at most [`Options::done_within`], and then fails. While the disk hangs, the thread cannot call any: whoever
//!   waits needs a bound of its own. Each is called at most once, and once unless the process ends before.

mod back_off;
mod group;
mod options;
mod queue;
mod status;
mod worker;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::log::OpenLog;
pub use group::{Done, NeedsFullState, Records};
pub use options::Options;
use queue::Shared;
pub use status::Status;
use worker::Worker;

/// The journal. Dropping it ends its thread when everything is written, without waiting for that.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// Starts the thread. It writes the whole state first to a log that is not trusted. One that holds nothing yet
    /// ([`OpenLog::first_group_bytes`] is 0) should begin with a whole state, too: the caller knows whether there is data.
    ///
    /// # Errors
    /// If there can be no more threads.
    pub fn start(log: OpenLog, options: Options, needs_full_state: NeedsFullState) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(options));
        let worker = Worker::new(log, options, needs_full_state, shared.clone());
        let thread = thread::Builder::new().name("journal".into()).spawn(move || worker.run())?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Queues a group. Never waits.
    pub fn append(&self, group: Box<dyn Records>, done: Option<Done>) {
        self.shared.append(group, done, Instant::now());
    }

    /// Queues a whole state: a new file that begins with this group replaces the present one. Never waits.
    pub fn replace(&self, whole: Box<dyn Records>, done: Option<Done>) {
        self.shared.replace(whole, done, Instant::now());
    }

    /// Every file that [`Self::replace`] begins from now on has this fingerprint. The present one keeps its own.
    pub fn set_fingerprint(&self, fingerprint: [u8; 32]) {
        self.shared.set_fingerprint(fingerprint);
    }

    /// What the journal has done, and how it is. Cheap; takes a short lock.
    pub fn status(&self) -> Status {
        self.shared.status(Instant::now())
    }

    /// Writes and syncs what is queued, and ends the thread. Waits at most `within`; then what is queued is given up, and
    /// a write that hangs is left to end with the process.
    pub fn stop(&self, within: Duration) {
        if self.shared.stop(Instant::now() + within)
            && let Some(thread) = self.thread.lock().take()
        {
            let _ = thread.join();
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.begin_stop();
    }
}
