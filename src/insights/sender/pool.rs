//! The threads that make the requests.
//!
//! Must not decide what is sent or when: it takes jobs and reports what became of them. Nothing here waits beyond the
//! time-out of a request, or beyond the deadline of a stop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam::channel::{Receiver, RecvTimeoutError, bounded, unbounded};

use crate::client::Dialer;
use crate::config::AbsoluteUri;
use crate::insights::queue::{Portion, StreamKey};
use crate::protocol::secret::Secret;

use super::compression::Compression;
use super::connection::{IDLE_MAX, Reply};
use super::outcome::{Answer, Fault, Outcome};
use super::peer::{Peer, Switch};
use super::request::{Body, Target};

/// How long a stop waits for requests that it has broken off; longer in tests, on a busy machine.
const STOP_GRACE: Duration = Duration::from_millis(if cfg!(test) { 30_000 } else { 500 });

/// How requests are made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many requests may be under way; at least one.
    pub threads: usize,
    /// How long a request may take, from opening the connection to the answer.
    pub timeout: Duration,
    /// Whether bodies are compressed.
    pub gzip: bool,
}

/// Events to be sent.
#[derive(Clone, Debug)]
pub struct Job {
    /// Whose they are.
    pub stream: StreamKey,
    /// The secret to send them with.
    pub secret: Secret,
    /// The events.
    pub portion: Portion,
}

/// What became of a job.
#[derive(Clone, Debug)]
pub struct JobDone {
    /// Whose events they are.
    pub stream: StreamKey,
    /// How many events.
    pub events: usize,
    /// Their bytes by the queue's count.
    pub bytes: usize,
    /// What became of them.
    pub outcome: Outcome,
    /// How many requests were sent: 0 if there was no connection.
    pub requests: u32,
    /// The bytes of these requests, heads included.
    pub bytes_sent: u64,
    /// The bytes of the body before compression.
    pub body_bytes: u64,
    /// Whether the server has just turned out not to take compressed bodies. They are sent uncompressed from now on.
    pub gzip_refused: bool,
    /// How long it took.
    pub took: Duration,
}

/// The threads.
#[derive(Debug)]
pub struct Sender {
    jobs: crossbeam::channel::Sender<Job>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    switches: Vec<Arc<Switch>>,
    /// Ends when all threads have.
    ended: Receiver<()>,
}

#[derive(Debug)]
struct Shared {
    target: Arc<Target>,
    gzip: bool,
    compression: Compression,
    /// Jobs whose end was not reported yet.
    under_way: AtomicUsize,
}

impl Sender {
    /// Starts the threads, called `events-send-1` and so on. `instance` is the name of this process. `done` is called on
    /// these threads, once for each job.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(
        dialer: &Dialer,
        uri: AbsoluteUri,
        options: Options,
        instance: String,
        done: impl Fn(JobDone) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let target = Arc::new(Target::new(uri, &instance));
        let shared = Arc::new(Shared {
            target: Arc::clone(&target),
            gzip: options.gzip,
            compression: Compression::default(),
            under_way: AtomicUsize::new(0),
        });
        let (jobs, receive) = unbounded();
        let (alive, ended) = bounded::<()>(0);
        let done = Arc::new(done);
        let (mut threads, mut switches) = (Vec::new(), Vec::new());
        for number in 1..=options.threads.max(1) {
            let switch = Arc::new(Switch::default());
            let peer = Peer::new(dialer.clone(), Arc::clone(&target), options.timeout, Arc::clone(&switch));
            let worker = Worker { peer, shared: Arc::clone(&shared), switch: Arc::clone(&switch) };
            let (receive, done, alive) = (receive.clone(), Arc::clone(&done), alive.clone());
            let run = move || {
                worker.run(&receive, &*done);
                drop(alive);
            };
            threads.push(thread::Builder::new().name(format!("events-send-{number}")).spawn(run)?);
            switches.push(switch);
        }
        Ok(Self { jobs, shared, threads, switches, ended })
    }

    /// Takes a job. Never waits; what all threads are too busy for waits in memory, so ask [`Sender::free`] before.
    pub fn submit(&self, job: Job) {
        self.shared.under_way.fetch_add(1, Ordering::Relaxed);
        // The threads end only after this sender.
        let _ = self.jobs.send(job);
    }

    /// How many jobs would begin at once.
    pub fn free(&self) -> usize {
        self.threads.len().saturating_sub(self.shared.under_way.load(Ordering::Acquire))
    }

    /// The server's host and port, for log lines.
    pub fn host(&self) -> &str {
        self.shared.target.host()
    }

    /// Lets all jobs end, and breaks off those that have not ended at the deadline; their outcome is `Abandoned`. Returns
    /// how many jobs did not report their end at all: a connection that is just being opened is not waited for.
    pub fn stop(self, deadline: Instant) -> usize {
        let Self { jobs, shared, threads, switches, ended } = self;
        drop(jobs);
        let mut has_ended = ended.recv_deadline(deadline) == Err(RecvTimeoutError::Disconnected);
        if !has_ended {
            switches.iter().for_each(|switch| switch.turn_off());
            has_ended = ended.recv_timeout(STOP_GRACE) == Err(RecvTimeoutError::Disconnected);
        }
        if has_ended {
            // They have nothing left to do; a panic was reported by the thread itself.
            threads.into_iter().for_each(|thread| _ = thread.join());
        }
        shared.under_way.load(Ordering::Acquire)
    }
}

struct Worker {
    peer: Peer,
    shared: Arc<Shared>,
    switch: Arc<Switch>,
}

impl Worker {
    fn run(mut self, jobs: &Receiver<Job>, done: &impl Fn(JobDone)) {
        while let Some(job) = self.next(jobs) {
            let begun = Instant::now();
            let mut report = JobDone {
                stream: job.stream,
                events: job.portion.events,
                bytes: job.portion.bytes,
                outcome: Outcome::Again(Fault::Abandoned),
                requests: 0,
                bytes_sent: 0,
                body_bytes: 0,
                gzip_refused: false,
                took: Duration::ZERO,
            };
            if !self.switch.is_off() {
                self.send(&job, &mut report);
            }
            report.took = begun.elapsed();
            // Before the report: who reads it may submit the next job.
            self.shared.under_way.fetch_sub(1, Ordering::Release);
            done(report);
        }
    }

    /// The next job; `None` if there will be none. A connection that has become too old meanwhile is closed, or the server
    /// would close it and this side would never notice.
    fn next(&mut self, jobs: &Receiver<Job>) -> Option<Job> {
        if self.peer.is_connected() {
            match jobs.recv_timeout(IDLE_MAX) {
                Err(RecvTimeoutError::Timeout) => self.peer.disconnect(),
                other => return other.ok(),
            }
        }
        jobs.recv().ok()
    }

    fn send(&mut self, job: &Job, report: &mut JobDone) {
        let shared = Arc::clone(&self.shared);
        let compression = &shared.compression;
        let gzip = shared.gzip && compression.is_used();
        report.outcome = self.ask(job, gzip, report);
        match report.outcome {
            Outcome::Taken if gzip => compression.taken(),
            Outcome::Rejected { .. } if gzip && compression.is_in_doubt() => {
                report.outcome = self.ask(job, false, report);
                report.gzip_refused = report.outcome == Outcome::Taken && compression.refused();
            }
            _ => {}
        }
    }

    fn ask(&mut self, job: &Job, gzip: bool, report: &mut JobDone) -> Outcome {
        let body = Body::of(&job.portion.batches, gzip);
        report.body_bytes = body.plain_bytes() as u64;
        let request = self.shared.target.request(&job.secret, &body);
        let asked = self.peer.ask(&request);
        report.requests += asked.sent;
        report.bytes_sent += u64::from(asked.sent) * request.len() as u64;
        match asked.answer {
            Ok(reply) => outcome(&reply, self.peer.is_encrypted()),
            Err(fault) => Outcome::Again(fault),
        }
    }
}

fn outcome(reply: &Reply, encrypted: bool) -> Outcome {
    let answer = Answer {
        status: reply.status,
        retry_after: reply.retry_after.as_deref(),
        date: reply.date.as_deref(),
        location: reply.location.as_deref(),
        encrypted,
        body: &reply.body,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Outcome::of(&answer, u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
impl Sender {
    /// A sender of so many threads that do nothing: the jobs come out of the channel, and whoever takes one calls
    /// [`Sender::pretend_done`].
    pub(in crate::insights) fn pretend(threads: usize) -> (Self, Receiver<Job>) {
        let uri = AbsoluteUri::parse("http://els", &["http"]).unwrap();
        let shared = Arc::new(Shared {
            target: Arc::new(Target::new(uri, "agent7")),
            gzip: false,
            compression: Compression::default(),
            under_way: AtomicUsize::new(0),
        });
        let (jobs, receive) = unbounded();
        let (_, ended) = bounded(0);
        let threads = (0..threads).map(|_| thread::spawn(|| {})).collect();
        (Self { jobs, shared, threads, switches: Vec::new(), ended }, receive)
    }

    /// A job has ended.
    pub(in crate::insights) fn pretend_done(&self) {
        self.shared.under_way.fetch_sub(1, Ordering::Release);
    }
}
