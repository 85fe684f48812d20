//! Talks to the sources of truth and hands what they say to the one writer, on one thread: the server that is followed,
//! or the data file, and what management calls submit.
//!
//! Must not merge data itself, and serves nobody.

pub mod file;
pub mod upstream;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, TryRecvError};
use mio::{Events, Poll, Registry, Token, Waker};

use crate::ingest::{Ingest, Job};
use crate::telemetry::memory::GiveBack;

use file::DataFile;
use upstream::Upstream;

/// How often memory that nobody uses is looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// Says that there is a job, or something else to look at.
const WAKE: Token = Token(0);
/// How many tokens the loop has for itself.
const TOKENS: usize = 1;

/// What the sync thread waits on.
#[derive(Debug)]
pub struct Waiting {
    poll: Poll,
    waker: Arc<Waker>,
}

impl Waiting {
    /// Nothing to wait for yet.
    ///
    /// # Errors
    /// If the system has no more pollers.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        Ok(Self { poll, waker })
    }

    /// Wakes the thread that waits.
    pub fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Where sockets are registered that shall wake it.
    ///
    /// # Errors
    /// If the system has no more descriptors.
    pub fn registry(&self) -> io::Result<Registry> {
        self.poll.registry().try_clone()
    }
}

/// Where data comes from by itself.
pub enum Source {
    /// From nowhere.
    Nothing,
    /// From a file that is watched.
    File(Box<DataFile>),
    /// From a server that is followed.
    Upstream(Box<Upstream>),
}

/// The sync thread: runs until it is told to stop, or nobody is left who could submit. Calls `looked` once the source
/// of data has been looked at for the first time; a server may answer later.
///
/// # Errors
/// If it cannot wait for what comes next.
pub fn run(
    mut ingest: Ingest,
    mut source: Source,
    mut waiting: Waiting,
    jobs: &Receiver<Job>,
    looked: impl FnOnce(),
) -> io::Result<()> {
    let mut looked = Some(looked);
    let mut memory = GiveBack::default();
    let mut next_sweep = Instant::now() + SWEEP_EVERY;
    let mut events = Events::with_capacity(64);
    loop {
        if !work_off(jobs, &mut ingest, &mut source) {
            if let Source::Upstream(upstream) = &mut source {
                upstream.stop();
            }
            return Ok(());
        }
        match &mut source {
            Source::Nothing => {}
            Source::File(file) => {
                if let Some(bytes) = file.poll() {
                    // Why a dataset was refused has been logged; the data in service stays.
                    let _ = ingest.load_file(bytes, file.path());
                }
            }
            Source::Upstream(upstream) => upstream.turn(&mut ingest),
        }
        if let Some(looked) = looked.take() {
            looked();
        }
        ingest.expire();
        if Instant::now() >= next_sweep {
            ingest.sweep();
            memory.look();
            next_sweep = Instant::now() + SWEEP_EVERY;
        }
        let mut wait = next_sweep.saturating_duration_since(Instant::now());
        wait = match &source {
            Source::Nothing => wait,
            Source::File(file) => wait.min(file.poll_every()),
            Source::Upstream(upstream) => wait.min(upstream.wait()),
        };
        if let Some(expiry_ms) = ingest.next_expiry_ms() {
            let left_ms = u64::try_from(expiry_ms - ingest.now_ms()).unwrap_or(0);
            wait = wait.min(Duration::from_millis(left_ms + 1));
        }
        match waiting.poll.poll(&mut events, Some(wait)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if let Source::Upstream(upstream) = &mut source {
            for event in events.iter().filter(|event| event.token() != WAKE) {
                upstream.ready(event.token());
            }
        }
    }
}

/// Does the jobs that wait; false if there will be no more.
fn work_off(jobs: &Receiver<Job>, ingest: &mut Ingest, source: &mut Source) -> bool {
    loop {
        match jobs.try_recv() {
            Ok(Job::Submission(submission)) => {
                ingest.take(submission);
                if let Source::Upstream(upstream) = source {
                    upstream.disturbed();
                }
            }
            Ok(Job::Wish) => match source {
                // Without a server to follow, the file is the source of truth.
                Source::File(file) => {
                    ingest.following().take_wishes();
                    file.read_again();
                }
                Source::Nothing => drop(ingest.following().take_wishes()),
                // It looks by itself.
                Source::Upstream(_) => {}
            },
            Ok(Job::Stop) | Err(TryRecvError::Disconnected) => return false,
            Err(TryRecvError::Empty) => return true,
        }
    }
}
