//! The threads that keep this agent and Redis alike: one for commands, one for announcements.
//!
//! Must not make anybody wait: commands are put into a mailbox, events come by a channel, and a stop abandons a thread
//! that Redis keeps busy.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use redis::ConnectionLike;

use super::backoff::Backoff;
use super::calls::{Calls, Problem};
use super::dial::{Dial, Failure};
use super::event::Event;
use super::mailbox::{Command, Mailbox, Next};
use super::scripts::{Keys, Scripts};
use super::session::{Known, Session};
use super::shared::{Options, Shared};
use super::status::{RedisStatus, SharedStatus, State};
use super::subscriber;

/// The share of the time for a stop in which waiting changes are still written.
const FLUSH_SHARE: u32 = 2;

/// The threads, as seen by the agent.
pub struct Worker {
    shared: Arc<Shared>,
    events: Receiver<Event>,
    /// Is closed when both threads have ended.
    ended: Receiver<()>,
}

impl Worker {
    /// Starts the threads. `wake` is called after each event that was put into the channel.
    ///
    /// # Errors
    /// If the system has no threads left.
    pub fn start(
        dial: Arc<dyn Dial>,
        options: Options,
        wake: Box<dyn Fn() + Send + Sync>,
    ) -> io::Result<Self> {
        let (sender, events) = bounded(options.events_max.max(1));
        let shared = Arc::new(Shared {
            keys: Keys::new(&options.key_prefix),
            scripts: Scripts::new(),
            mailbox: Mailbox::new(options.commands_max, options.bytes_max),
            status: SharedStatus::new(dial.address()),
            events: sender,
            wake,
            options,
        });
        let (alive, ended) = bounded(0);
        let worker = Self { shared, events, ended };
        worker.start_thread("redis", &alive, &dial, |shared, dial| Commands::new(shared, dial).run())?;
        worker.start_thread("redis-listen", &alive, &dial, |shared, dial| {
            subscriber::run(shared, dial, random);
        })?;
        Ok(worker)
    }

    /// A thread that ends with `alive`.
    fn start_thread(
        &self,
        name: &str,
        alive: &Sender<()>,
        dial: &Arc<dyn Dial>,
        run: fn(&Shared, &dyn Dial),
    ) -> io::Result<()> {
        let (shared, alive, dial) = (Arc::clone(&self.shared), alive.clone(), Arc::clone(dial));
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            run(&shared, &*dial);
            drop(alive);
        })?;
        Ok(())
    }

    /// Puts a command into the mailbox. Never waits. Without a connection own data is dropped: after each connect the
    /// worker asks for everything.
    pub fn send(&self, command: Command) {
        if self.shared.mailbox.send(command) {
            self.shared.status.counting.overflows.fetch_add(1, Relaxed);
        }
    }

    /// What the worker tells. To be emptied soon after each wake: the worker waits for it.
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// The status now.
    pub fn status(&self) -> RedisStatus {
        self.shared.status.get()
    }

    /// Ends the threads: changes that wait are still written for half of the time. Returns `false` if a thread did not end
    /// in time, since Redis keeps it busy: it is left behind.
    pub fn stop(&self, within: Duration) -> bool {
        let now = Instant::now();
        self.shared.mailbox.stop(now + within / FLUSH_SHARE);
        matches!(self.ended.recv_timeout(within), Err(crossbeam::channel::RecvTimeoutError::Disconnected))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.mailbox.stop(Instant::now());
    }
}

/// A random number for pauses.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(Instant::now())
}

/// The thread for commands.
struct Commands<'a> {
    shared: &'a Shared,
    dial: &'a dyn Dial,
    known: Known,
    backoff: Backoff,
    /// When the connection was lost, or the first attempt failed.
    away_since: Option<Instant>,
    /// The kinds of errors that were logged since it works no more.
    logged: Vec<&'static str>,
    connections: u64,
    unannounced_logged: bool,
}

impl<'a> Commands<'a> {
    fn new(shared: &'a Shared, dial: &'a dyn Dial) -> Self {
        let backoff = Backoff::new(shared.options.retry_first, shared.options.retry_last);
        Self {
            shared,
            dial,
            known: Known::default(),
            backoff,
            away_since: None,
            logged: Vec::new(),
            connections: 0,
            unannounced_logged: false,
        }
    }

    fn run(mut self) {
        loop {
            let failure = match self.dial.connect() {
                Ok(connection) => match self.serve(connection) {
                    Ok(()) | Err(Problem::Stopped) => return,
                    Err(Problem::Redis(error)) => self.dial.explain(&error),
                    Err(Problem::Format(format)) => self.newer_format(&format),
                },
                Err(failure) => failure,
            };
            self.shared.mailbox.set_connected(false);
            let pause = self.backoff.failed(failure.refused, random());
            if self.failed(&failure, pause).is_err() || self.shared.mailbox.pause(Instant::now() + pause) {
                return;
            }
        }
    }

    /// Serves one connection until it fails or the worker stops.
    fn serve(&mut self, connection: Box<dyn ConnectionLike + Send>) -> Result<(), Problem> {
        let shared = self.shared;
        if shared.mailbox.is_stopping() {
            return Ok(());
        }
        let commands = Arc::clone(&shared.status.counting.commands);
        let calls = Calls { connection, keys: &shared.keys, scripts: &shared.scripts, commands };
        let unannounced_logged = self.unannounced_logged;
        let mut known = std::mem::take(&mut self.known);
        let mut session = Session { calls, shared, known: &mut known, asked: false, unannounced_logged };
        let result = self.drive(&mut session);
        self.unannounced_logged = session.unannounced_logged;
        self.known = known;
        result
    }

    fn drive(&mut self, session: &mut Session) -> Result<(), Problem> {
        let shared = self.shared;
        // What was sent before is part of the answer to the question that follows.
        session.shared.mailbox.set_connected(true);
        session.catch_up(true)?;
        self.works()?;
        session.ask_whole()?;
        let mut poll_at = Instant::now() + shared.options.poll;
        loop {
            match shared.mailbox.next(poll_at, !session.asked) {
                Next::Command(command) => session.execute(command)?,
                Next::Announced(announcement) => session.announced(announcement.as_ref())?,
                Next::Compare => session.ask_whole()?,
                Next::Poll => {
                    session.catch_up(false)?;
                    poll_at = Instant::now() + shared.options.poll;
                }
                Next::Stop => return Ok(()),
            }
        }
    }

    /// Everything in Redis was read.
    fn works(&mut self) -> Result<(), Problem> {
        let address = self.shared.status.get().address;
        match self.away_since.take() {
            Some(since) => {
                let away_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(redis = address, away_ms, "connected to Redis again");
            }
            None => tracing::info!(redis = address, "connected to Redis"),
        }
        self.backoff.reset();
        self.logged.clear();
        if self.connections > 0 {
            self.shared.status.counting.reconnects.fetch_add(1, Relaxed);
        }
        self.connections += 1;
        self.shared.status.change(|status| status.state = State::Connected);
        self.shared.emit_status()
    }

    fn failed(&mut self, failure: &Failure, pause: Duration) -> Result<(), Problem> {
        let changed = self.shared.status.failed(failure);
        self.away_since.get_or_insert_with(Instant::now);
        if self.shared.mailbox.is_stopping() {
            return Err(Problem::Stopped);
        }
        if !self.logged.contains(&failure.kind) {
            self.logged.push(failure.kind);
            tracing::error!(
                redis = self.shared.status.get().address,
                retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                "Redis cannot be used; this agent goes on with what it has: {failure}"
            );
        }
        if changed { self.shared.emit_status() } else { Ok(()) }
    }

    fn newer_format(&self, format: &str) -> Failure {
        let shown: String = format.chars().filter(char::is_ascii_graphic).take(20).collect();
        let text = format!(
            "the data at {} has format {shown}, written by a newer agent, and this agent knows format 1: update it, or give it another Redis__KeyPrefix; nothing was written",
            self.shared.keys.meta
        );
        Failure { kind: "format", refused: true, text }
    }
}
