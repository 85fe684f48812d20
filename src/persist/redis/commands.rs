//! The thread for commands: connects, reads what is new, carries commands out, and connects again.
//!
//! Must not make anybody wait but itself.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use redis::ConnectionLike;

use super::backoff::Backoff;
use super::calls::{Calls, Problem};
use super::dial::{Dial, Failure};
use super::mailbox::{Command, Next};
use super::session::{Known, Session};
use super::shared::Shared;
use super::status::State;

/// A connection that was in use for so long ends a series of failures: the next pause is a short one.
const STEADY: Duration = Duration::from_secs(3);

/// The thread for commands.
pub(super) struct Commands<'a> {
    shared: &'a Shared,
    dial: &'a dyn Dial,
    known: Known,
    backoff: Backoff,
    /// When the connection was lost, or the first attempt failed.
    away_since: Option<Instant>,
    /// The kinds of errors that were logged since everything worked.
    logged: Vec<&'static str>,
    connections: u64,
    /// When everything was read and compared over this connection; `None` before that.
    settled_since: Option<Instant>,
    unannounced_logged: bool,
    random: fn() -> u64,
}

impl<'a> Commands<'a> {
    pub fn new(shared: &'a Shared, dial: &'a dyn Dial) -> Self {
        let backoff = Backoff::new(shared.options.retry_first, shared.options.retry_last);
        Self {
            shared,
            dial,
            known: Known::default(),
            backoff,
            away_since: None,
            logged: Vec::new(),
            connections: 0,
            settled_since: None,
            unannounced_logged: false,
            random: || 0,
        }
    }

    /// Runs until the worker stops. `random` draws for the pauses.
    pub fn run(mut self, random: fn() -> u64) {
        self.random = random;
        loop {
            let failure = match self.dial.connect() {
                Ok(connection) => match self.serve(connection) {
                    Ok(()) | Err(Problem::Stopped) => return,
                    Err(Problem::Redis(what, error)) => self.dial.explain(&error, what),
                    Err(Problem::Format(format)) => self.newer_format(&format),
                },
                Err(failure) => failure,
            };
            self.shared.mailbox.set_connected(false);
            let lasted = self.settled_since.take().map(|since| since.elapsed());
            if lasted.is_some_and(|lasted| lasted >= STEADY.min(self.shared.options.retry_last)) {
                self.backoff.reset();
            }
            let pause = self.backoff.failed(failure.refused, random());
            self.away_since.get_or_insert_with(Instant::now);
            let note = "Redis cannot be used; this agent goes on with what it has";
            if self.failed(&failure, note, pause).is_err()
                || self.shared.mailbox.pause(Instant::now() + pause)
            {
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
        let mut session =
            Session { calls, shared, known: &mut known, asked: false, ask_again: false, unannounced_logged };
        let result = self.drive(&mut session);
        self.unannounced_logged = session.unannounced_logged;
        self.known = known;
        result
    }

    fn drive(&mut self, session: &mut Session) -> Result<(), Problem> {
        let shared = self.shared;
        // What was sent before is part of the answer to the question that follows.
        shared.mailbox.set_connected(true);
        session.catch_up(true)?;
        if self.connections > 0 {
            shared.status.counting.reconnects.fetch_add(1, Relaxed);
        }
        self.connections += 1;
        if !session.asked {
            session.ask_full_state()?;
        }
        let mut poll_at = Instant::now() + shared.options.poll;
        let mut refusal = None;
        loop {
            let retry_at = refusal.as_ref().filter(|_| !session.asked).map(Refusal::retry_at);
            let wake_at = retry_at.map_or(poll_at, |retry_at| poll_at.min(retry_at));
            match shared.mailbox.next(wake_at, !session.asked && refusal.is_none()) {
                // All data is compared when Redis is asked again.
                Next::Command(Command::Write { .. }) if refusal.is_some() => {}
                Next::Command(command) => self.execute(session, command, &mut refusal)?,
                Next::Announced(announcement) => session.announced(announcement.as_ref())?,
                Next::Compare => session.ask_full_state()?,
                Next::Poll if Instant::now() >= poll_at => {
                    session.catch_up(false)?;
                    if refusal.is_none() {
                        self.settle()?;
                    }
                    poll_at = Instant::now() + shared.options.poll;
                }
                Next::Poll => session.ask_full_state()?,
                Next::Stop => return Ok(()),
            }
        }
    }

    /// Carries a command out. What Redis refuses while the connection goes on is tried again later; others are read
    /// meanwhile.
    fn execute(
        &mut self,
        session: &mut Session,
        command: Command,
        refusal: &mut Option<Refusal>,
    ) -> Result<(), Problem> {
        let is_full_state = matches!(command, Command::FullState { .. } | Command::Nothing);
        match session.execute(command) {
            Err(Problem::Redis(what, error)) => {
                let failure = self.dial.explain(&error, what);
                if !failure.usable {
                    return Err(Problem::Redis(what, error));
                }
                session.asked = false;
                let refusal = refusal.get_or_insert_with(|| Refusal::new(&self.backoff));
                let pause = refusal.backoff.failed(true, (self.random)());
                refusal.retry_at = Instant::now() + pause;
                let note = "Redis refuses this agent's changes; those of other agents still come";
                self.failed(&failure, note, pause)
            }
            Ok(()) if is_full_state => {
                if refusal.take().is_some() {
                    tracing::info!(
                        redis = self.shared.status.get().address,
                        "Redis takes this agent's changes again"
                    );
                    self.connected()?;
                }
                self.settle()
            }
            other => other,
        }
    }

    /// Everything in Redis was read, and own data was compared with it: only now it is sure that all of that works.
    fn settle(&mut self) -> Result<(), Problem> {
        if self.settled_since.is_some() {
            return Ok(());
        }
        self.settled_since = Some(Instant::now());
        let address = self.shared.status.get().address;
        match self.away_since.take() {
            Some(since) => {
                let away_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(redis = address, away_ms, "connected to Redis again");
            }
            None => tracing::info!(redis = address, "connected to Redis"),
        }
        self.connected()
    }

    fn connected(&mut self) -> Result<(), Problem> {
        self.logged.clear();
        self.shared.status.change(|status| status.state = State::Connected);
        self.shared.emit_status()
    }

    /// Records and tells a failure. One log line a kind.
    fn failed(&mut self, failure: &Failure, note: &str, pause: Duration) -> Result<(), Problem> {
        let changed = self.shared.status.failed(failure);
        if self.shared.mailbox.is_stopping() {
            return Err(Problem::Stopped);
        }
        if !self.logged.contains(&failure.kind) {
            self.logged.push(failure.kind);
            tracing::error!(
                redis = self.shared.status.get().address,
                retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                "{note}: {failure}"
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
        Failure { kind: "format", refused: true, usable: false, text }
    }
}

/// Redis refuses to store something, and still answers.
struct Refusal {
    backoff: Backoff,
    /// When to ask again.
    retry_at: Instant,
}

impl Refusal {
    fn new(like: &Backoff) -> Self {
        let mut backoff = like.clone();
        backoff.reset();
        Self { backoff, retry_at: Instant::now() }
    }

    fn retry_at(&self) -> Instant {
        self.retry_at
    }
}
