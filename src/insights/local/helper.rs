//! The thread `events-gzip`, which works on closed files.
//!
//! Must not decide anything: it does one task after the other, and reports.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use crossbeam::channel::{Receiver, Sender, bounded};

use super::jobs::{self, Done, Job};
use super::lock::FolderLock;
use crate::persist::log::Disk;

/// How many tasks may wait or be under way.
const JOBS_MAX: usize = 8;

/// Hands tasks to the thread.
#[derive(Debug)]
pub struct Helper {
    kind: Kind,
    waiting: usize,
}

#[derive(Debug)]
enum Kind {
    Thread {
        jobs: Sender<Job>,
        done: Receiver<Done>,
        stop: Arc<AtomicBool>,
    },
    /// For tests: each task is done when it is handed in.
    #[cfg(test)]
    Inline {
        disk: Arc<dyn Disk>,
        directory: std::path::PathBuf,
        done: std::collections::VecDeque<Done>,
    },
}

impl Helper {
    /// Starts the thread. It shares the lock of the directory, which is free only once both are gone.
    pub fn start(disk: Arc<dyn Disk>, directory: &Path, lock: FolderLock) -> io::Result<Self> {
        let (jobs, todo) = bounded::<Job>(JOBS_MAX);
        let (report, done) = bounded(JOBS_MAX);
        let stop = Arc::new(AtomicBool::new(false));
        let (directory, stopped) = (directory.to_owned(), stop.clone());
        thread::Builder::new().name("events-gzip".into()).spawn(move || {
            let _lock = lock;
            for job in todo {
                if stopped.load(Relaxed) || report.send(jobs::run(&*disk, &directory, job, &stopped)).is_err()
                {
                    return;
                }
            }
        })?;
        Ok(Self { kind: Kind::Thread { jobs, done, stop }, waiting: 0 })
    }

    /// Without a thread.
    #[cfg(test)]
    pub fn inline(disk: Arc<dyn Disk>, directory: &Path) -> Self {
        let directory = directory.to_owned();
        Self { kind: Kind::Inline { disk, directory, done: Default::default() }, waiting: 0 }
    }

    /// Whether another task can be handed in.
    pub fn has_room(&self) -> bool {
        self.waiting < JOBS_MAX
    }

    /// Whether a task was handed in whose end was not taken yet.
    pub fn is_busy(&self) -> bool {
        self.waiting > 0
    }

    /// Hands in a task. Returns whether it was taken: not if there is no room, or if the thread has ended.
    pub fn submit(&mut self, job: Job) -> bool {
        let taken = self.has_room()
            && match &mut self.kind {
                Kind::Thread { jobs, .. } => jobs.try_send(job).is_ok(),
                #[cfg(test)]
                Kind::Inline { disk, directory, done } => {
                    done.push_back(jobs::run(&**disk, directory, job, &AtomicBool::new(false)));
                    true
                }
            };
        self.waiting += usize::from(taken);
        taken
    }

    /// A task that has ended.
    pub fn take_done(&mut self) -> Option<Done> {
        let done = match &mut self.kind {
            Kind::Thread { done, .. } => done.try_recv().ok(),
            #[cfg(test)]
            Kind::Inline { done, .. } => done.pop_front(),
        }?;
        self.waiting = self.waiting.saturating_sub(1);
        Some(done)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        match &self.kind {
            Kind::Thread { stop, .. } => stop.store(true, Relaxed),
            #[cfg(test)]
            Kind::Inline { .. } => {}
        }
    }
}
