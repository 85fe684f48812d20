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
    // Before the first job: what a call brings as soon as the ports are open is newer than the file.
    look_at_file(&mut source, &mut ingest);
    loop {
        if !work_off(jobs, &mut ingest, &mut source) {
            if let Source::Upstream(upstream) = &mut source {
                upstream.stop();
            }
            return Ok(());
        }
        match &mut source {
            // It may have to ask before a grace ends, so it ends them itself.
            Source::Upstream(upstream) => upstream.turn(&mut ingest),
            Source::Nothing | Source::File(_) => {
                look_at_file(&mut source, &mut ingest);
                ingest.expire();
            }
        }
        if let Some(looked) = looked.take() {
            looked();
        }
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

/// Takes in what is new in the data file, if there is one.
fn look_at_file(source: &mut Source, ingest: &mut Ingest) {
    if let Source::File(file) = source
        && let Some(bytes) = file.poll(ingest.snapshot().loaded())
    {
        // Why a dataset was refused has been logged.
        let _ = ingest.load_file(bytes, file.path());
    }
}

/// Does the jobs that wait; false if there will be no more.
fn work_off(jobs: &Receiver<Job>, ingest: &mut Ingest, source: &mut Source) -> bool {
    loop {
        match jobs.try_recv() {
            Ok(Job::Submission(submission)) => {
                ingest.load_submission(submission);
                if let Source::Upstream(upstream) = source {
                    upstream.disturbed();
                }
            }
            Ok(Job::Resync) => match source {
                // Without a server to follow, the file is the source of truth.
                Source::File(file) => {
                    ingest.following().take_resync_reasons();
                    file.read_again();
                }
                Source::Nothing => drop(ingest.following().take_resync_reasons()),
                // It looks by itself.
                Source::Upstream(_) => {}
            },
            Ok(Job::Key(key)) => {
                if let Source::Upstream(upstream) = source {
                    upstream.set_key(key);
                }
            }
            Ok(Job::Stop) | Err(TryRecvError::Disconnected) => return false,
            Err(TryRecvError::Empty) => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::mailbox::Mailbox;
    use crate::ingest::{Following, Jobs, Submission};
    use crate::net::slab::Key;
    use crate::store::{Snapshot, WriterOptions};
    use crate::telemetry::metrics::Metrics;
    use arc_swap::ArcSwap;

    /// A dump with one environment of the project, and nothing in it.
    fn dump(project: &str) -> Vec<u8> {
        let environment = "\"envId\": \"7c689106-35df-4d9f-b4d8-cb3d7342e4c3\"";
        format!(
            r#"{{"eventType": "rp_full", "items": [{{{environment}, "featureFlags": [], "segments": [], "secrets":
                [{{"type": "server", "projectKey": "{project}", {environment}, "envKey": "prod",
                "value": "v3faJy3RCUO8d-EJiVdN6waRfGjfNan02Ms9c0LiTD6w"}}]}}]}}"#
        )
        .into_bytes()
    }

    /// What went wrong: a call that was answered as soon as the ports were open was replaced by the file, which is older.
    #[test]
    fn the_file_of_the_start_does_not_replace_what_a_call_brought_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.json");
        std::fs::write(&path, dump("file")).unwrap();
        let source = Source::File(Box::new(DataFile::new(path, Duration::from_millis(10), 10_000)));
        let waiting = Waiting::new().unwrap();
        let (sender, queue) = crossbeam::channel::bounded(2);
        let jobs = Jobs::new(sender, Some(waiting.waker()));
        let mailbox = Mailbox::new(waiting.waker());
        assert!(jobs.send(Job::Submission(Submission {
            bytes: dump("call"),
            gzip: false,
            bytes_max: 10_000,
            mailbox: mailbox.clone(),
            key: Key::from_u64(0),
            permit: Box::new(()),
        })));
        let current = Arc::new(ArcSwap::from(Snapshot::empty()));
        let ingest = Ingest::new(
            WriterOptions::default(),
            Vec::new(),
            current.clone(),
            Following::new(),
            &Metrics::new(),
            || 0,
        );
        let (told, looked) = crossbeam::channel::bounded::<()>(1);
        let thread = std::thread::spawn(move || run(ingest, source, waiting, &queue, || drop(told)));
        // Both are over: the first look at the file, and the call.
        assert!(looked.recv().is_err());
        assert!(jobs.send(Job::Stop));
        thread.join().unwrap().unwrap();
        assert!(mailbox.take().is_some(), "the call was answered");
        assert_eq!(current.load().serves(), "call:prod");
    }
}
