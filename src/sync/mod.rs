//! Talks to the sources of truth and hands what they say to the one writer, on one thread: the data file, and what
//! management calls submit.
//!
//! Must not parse or merge data itself, and serves nobody.

pub mod file;

use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError};

use crate::ingest::{Ingest, Job};

use file::DataFile;

/// How often memory of snapshots that nobody uses is looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// The sync thread: runs until it is told to stop, or nobody is left who could submit. Calls `looked` once the data
/// file has been looked at for the first time.
pub fn run(mut ingest: Ingest, mut file: Option<DataFile>, jobs: &Receiver<Job>, looked: impl FnOnce()) {
    let mut looked = Some(looked);
    let mut next_sweep = Instant::now() + SWEEP_EVERY;
    loop {
        if let Some(bytes) = file.as_mut().and_then(DataFile::poll) {
            // Why a dataset was refused has been logged; the data in service stays.
            let _ = ingest.load_file(bytes);
        }
        if let Some(looked) = looked.take() {
            looked();
        }
        let mut wait = next_sweep.saturating_duration_since(Instant::now());
        if let Some(file) = &file {
            wait = wait.min(file.poll_every());
        }
        if let Some(expiry_ms) = ingest.next_expiry_ms() {
            let left_ms = u64::try_from(expiry_ms - ingest.now_ms()).unwrap_or(0);
            wait = wait.min(Duration::from_millis(left_ms + 1));
        }
        match jobs.recv_timeout(wait) {
            Ok(Job::Submission(submission)) => ingest.take(submission),
            Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            // Without a server to follow, the file is the source of truth.
            Ok(Job::Wish) => {
                ingest.following().take_wishes();
                if let Some(file) = &mut file {
                    file.read_again();
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        ingest.expire();
        if Instant::now() >= next_sweep {
            ingest.sweep();
            next_sweep = Instant::now() + SWEEP_EVERY;
        }
    }
}
