//! Follows a FeatBit server: its streams, and what they bring.
//!
//! Must not block: whatever may wait (a name to be looked up, a handshake) happens on a thread of its own. What to do
//! is decided in [`follow`]; here it is done.
//!
//! | Where | What |
//! |---|---|
//! | `follow` | what to do when: pure |
//! | `dial`, `register`, `endpoint`, `reply` | how a stream is opened, and what it means if it is not |
//! | `dials` | the threads on which that happens |
//! | `connection`, `wire` | an open stream |
//! | `request` | what the data in service says about the next request |
//! | `take`, `overlay`, `keep` | what becomes of what the server says |
//! | `pull` | everything once, for a dump |
//! | `tell` | what others are told of where the agent stands |
//! | `grumble` | what is logged, and how often |

mod connection;
mod dial;
mod dials;
mod endpoint;
mod follow;
mod grumble;
mod keep;
mod overlay;
mod pull;
mod register;
mod reply;
mod request;
mod take;
mod tell;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::client::random;
use crate::config;
use crate::ingest::{Ingest, ResyncReason};
use crate::protocol::close::CloseCode;
use crate::protocol::from_relay;
use crate::telemetry::metrics::{DialFault, Metrics, StreamEnd, UpstreamMetrics};

use super::{TOKENS, Waiting};
use connection::{Connection, Ended, Next};
use dial::Failure;
use dials::{Dials, Outcome};
use follow::{Action, Fault, Follow, Options, Why};
use grumble::Grumble;
use overlay::Overlay;
use request::Held;
use tell::Told;

pub use dial::Caller;
pub use pull::{PullError, pull};

/// Messages of one stream that are taken before somebody else has a turn.
const MESSAGES_A_TURN: usize = 64;
/// What is wrong with a ring.
const FOLLOWS_ITSELF: &str = "it follows this agent, directly or over others, so this agent would follow itself; set StreamingUri to another one";
/// How long a stream that was closed is still read.
const CLOSING: Duration = Duration::from_secs(5);

/// Everything that has to do with the server.
pub struct Upstream {
    caller: Arc<Caller>,
    follow: Follow,
    registry: Registry,
    lines: BTreeMap<u64, Line>,
    /// Those on which there may be something to read.
    ready: BTreeSet<u64>,
    dials: Dials,
    overlay: Overlay,
    agent_id: String,
    started: Instant,
    wall_ms: fn() -> i64,
    metrics: Arc<UpstreamMetrics>,
    grumble: Grumble,
    /// The random name of this process, by which a ring is found.
    own: String,
    /// The processes above it, as they were last told to the reactors.
    path: Vec<String>,
    /// The process that the last full came from, if it is an agent of our make.
    source: String,
    /// The stream on which a ring was found, until it is let go of.
    ring: Option<u64>,
    told: Option<Told>,
    /// How many full syncs had been asked for when somebody asked for one, until that is in service.
    resync: Option<u64>,
    /// When something was last heard on a stream that had brought all there was (Unix milliseconds).
    heard_wall_ms: i64,
}

/// An open stream.
struct Line {
    connection: Connection,
    opened_wall_ms: i64,
    /// When it is let go of, if it was closed.
    closing_ms: Option<u64>,
}

impl Upstream {
    /// One that has not begun, for the thread that waits on `waiting`.
    ///
    /// # Errors
    /// If the system has no more descriptors.
    pub fn new(
        caller: Caller,
        settings: &config::Upstream,
        waiting: &Waiting,
        metrics: &Metrics,
        own: String,
        wall_ms: fn() -> i64,
    ) -> io::Result<Self> {
        let options = Options {
            ping_ms: millis(settings.ping),
            silence_ms: millis(settings.silence),
            sync_ms: millis(settings.sync),
            sync_bytes: settings.read_min_bytes_per_second.saturating_mul(millis(settings.sync)) / 1000,
            resync_ms: settings.resync.map_or(0, millis),
            unknown_secret_ms: millis(settings.unknown_secret_resync),
            retry_ms: millis(settings.retry),
            status_ms: millis(settings.status),
            dial_ms: millis(caller.longest()),
        };
        Ok(Self {
            agent_id: settings.agent_id.clone(),
            grumble: Grumble::new(caller.endpoint.to_string()),
            follow: Follow::new(options, random::seed()),
            registry: waiting.registry()?,
            lines: BTreeMap::new(),
            ready: BTreeSet::new(),
            dials: Dials::new(waiting.waker()),
            overlay: Overlay::new(caller.message_bytes_max),
            caller: Arc::new(caller),
            started: Instant::now(),
            wall_ms,
            metrics: metrics.upstream(),
            own,
            path: Vec::new(),
            source: String::new(),
            ring: None,
            told: None,
            resync: None,
            heard_wall_ms: 0,
        })
    }

    /// Something happened on the stream behind `token`.
    pub fn ready(&mut self, token: Token) {
        if let Some(number) = number_of(token) {
            self.ready.insert(number);
        }
    }

    /// Data came in by another way.
    pub fn disturbed(&mut self) {
        self.follow.disturbed();
    }

    /// The server is to be asked by this key, on a connection that takes the place of the present one as soon as it has
    /// brought everything.
    pub fn set_key(&mut self, key: config::Secret) {
        self.caller = Arc::new(self.caller.with_key(key));
        self.follow.rekeyed(self.now_ms());
    }

    /// Says goodbye. Waits for nobody: a server that does not hear it sees the end of the connection.
    pub fn stop(&mut self) {
        self.lines.values_mut().for_each(|line| line.connection.close());
    }

    /// Deals with what has come in, and does what is due.
    pub fn turn(&mut self, ingest: &mut Ingest) {
        // One time for the whole turn: taking in a large dataset must not make the server look silent.
        let now_ms = self.now_ms();
        while let Some(outcome) = self.dials.outcome() {
            match outcome {
                Outcome::Dialled(number, stream) => self.dialled(ingest, now_ms, number, *stream),
                Outcome::Registered { registered, told } => {
                    self.registered(ingest, now_ms, registered, told);
                }
            }
        }
        for number in std::mem::take(&mut self.ready) {
            self.read(ingest, now_ms, number);
        }
        self.follow.doubt(now_ms, ingest.expire());
        let following = ingest.following();
        if following.take_resync_reason(ResyncReason::Operator) {
            self.follow.resync();
            self.resync = Some(following.asked());
        }
        if following.take_resync_reason(ResyncReason::UnknownSecret) {
            self.follow.wish();
        }
        let heard_ms = self.heard_wall_ms;
        self.follow
            .tick(now_ms, &mut Held { ingest, metrics: &self.metrics, source: &self.source, heard_ms });
        while let Some(action) = self.follow.next_action() {
            self.act(ingest, now_ms, action);
        }
        self.let_go(now_ms);
        self.tell(ingest);
    }

    /// How long nothing is due, if nothing happens.
    pub fn wait(&self) -> Duration {
        if !self.ready.is_empty() {
            return Duration::ZERO;
        }
        let closing = self.lines.values().filter_map(|line| line.closing_ms);
        let next_ms = closing.chain([self.follow.deadline_ms()]).min().unwrap_or(u64::MAX);
        Duration::from_millis(next_ms.saturating_sub(self.now_ms()))
    }

    fn now_ms(&self) -> u64 {
        millis(self.started.elapsed())
    }

    // Dials.

    fn act(&mut self, ingest: &mut Ingest, now_ms: u64, action: Action) {
        match action {
            Action::Dial { number, register } => self.dials.dial(&self.caller, number, register),
            Action::Register => drop(self.dials.register(&self.caller)),
            Action::Ask { line, request } => {
                if request.is_full() {
                    self.overlay.clear();
                }
                self.send(ingest, now_ms, line, request.write());
            }
            Action::Ping { line } => self.send(ingest, now_ms, line, from_relay::PING.to_owned()),
            Action::Report { line } => {
                if let Some(text) = self.report(ingest) {
                    self.send(ingest, now_ms, line, text);
                }
            }
            Action::Close { line } => {
                self.metrics.ended(StreamEnd::Replaced);
                if let Some(line) = self.lines.get_mut(&line) {
                    line.closing_ms = Some(now_ms + millis(CLOSING));
                    line.connection.close();
                }
                self.ready.insert(line);
            }
            Action::Drop { line, why } => {
                let (how, told) = match why {
                    Why::Silent => (StreamEnd::Silent, "nothing was heard of the server for too long"),
                    Why::Unanswered => {
                        (StreamEnd::Unanswered, "the server did not answer a request for data")
                    }
                    Why::Slow => (
                        StreamEnd::Slow,
                        "a message of the server came more slowly than Upstream__ReadMinBytesPerSecond",
                    ),
                    Why::Unreadable => (StreamEnd::Unreadable, "the server's answer cannot be read"),
                    Why::Late => (StreamEnd::Replaced, "the connection was opened too late"),
                };
                self.forget(line);
                self.metrics.ended(how);
                self.grumble.lost(ingest, told, (self.wall_ms)());
            }
        }
    }

    fn dialled(
        &mut self,
        ingest: &mut Ingest,
        now_ms: u64,
        number: u64,
        stream: Result<Connection, Failure>,
    ) {
        let stream = stream.and_then(|connection| match self.is_ring(&connection.path) {
            true => Err(Failure {
                fault: Fault::Refused,
                reason: DialFault::Ring,
                told: format!("{}: {FOLLOWS_ITSELF}", self.caller.endpoint),
            }),
            false => Ok(connection),
        });
        let stream = stream.and_then(|mut connection| match self.admit(number, &mut connection) {
            Ok(()) => Ok(connection),
            Err(error) => Err(Failure {
                fault: Fault::Failed,
                reason: DialFault::Connect,
                told: format!("{}: its socket cannot be waited for ({error})", self.caller.endpoint),
            }),
        });
        let result = match stream {
            Ok(connection) => {
                self.metrics.opened.add(1);
                self.follow_path(ingest, connection.path.clone());
                let line = Line { connection, opened_wall_ms: (self.wall_ms)(), closing_ms: None };
                self.lines.insert(number, line);
                // The server may have said something together with the handshake.
                self.ready.insert(number);
                self.grumble.connected();
                Ok(())
            }
            Err(failure) => {
                self.metrics.dial_failed(failure.reason);
                self.grumble.not_connected(ingest, &failure, (self.wall_ms)());
                Err(failure.fault)
            }
        };
        let heard_ms = self.heard_wall_ms;
        let data = &mut Held { ingest, metrics: &self.metrics, source: &self.source, heard_ms };
        self.follow.dialled(now_ms, number, result, data);
    }

    fn registered(&mut self, ingest: &Ingest, now_ms: u64, registered: Result<String, Failure>, told: bool) {
        match registered {
            Ok(id) => {
                self.follow.registered();
                self.agent_id = id;
            }
            Err(failure) => {
                if !told {
                    self.metrics.dial_failed(failure.reason);
                    let follows = self.lines.values().any(|line| line.closing_ms.is_none());
                    self.grumble.not_registered(ingest, &failure, follows, (self.wall_ms)());
                }
                self.follow.not_registered(now_ms, failure.fault);
            }
        }
    }

    /// Whether following an agent of this path would be following oneself.
    fn is_ring(&self, path: &[String]) -> bool {
        path.contains(&self.own)
    }

    /// The path above is another one, perhaps.
    fn follow_path(&mut self, ingest: &Ingest, path: Vec<String>) {
        if self.path != path {
            ingest.announce_path(&path);
            self.path = path;
        }
    }

    /// The path above a stream is another one from now on.
    pub(super) fn path_changed(&mut self, ingest: &Ingest, number: u64, path: Vec<String>) {
        if self.is_ring(&path) {
            self.ring = Some(number);
        } else {
            self.follow_path(ingest, path);
        }
    }

    /// Lets go of a stream on which a ring was found.
    fn leave_ring(&mut self, now_ms: u64, number: u64) {
        self.forget(number);
        self.metrics.ended(StreamEnd::Ring);
        self.grumble.ring((self.wall_ms)());
        self.follow.ended(now_ms, number, Fault::Refused);
    }

    fn admit(&self, number: u64, connection: &mut Connection) -> io::Result<()> {
        connection.set_nonblocking()?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.registry.register(&mut SourceFd(&connection.descriptor()), token_of(number), interest)
    }

    // Streams.

    fn send(&mut self, ingest: &Ingest, now_ms: u64, number: u64, text: String) {
        let Some(line) = self.lines.get_mut(&number) else { return };
        if let Err(ended) = line.connection.send(text) {
            self.ended(ingest, now_ms, number, &ended);
        }
    }

    fn read(&mut self, ingest: &mut Ingest, now_ms: u64, number: u64) {
        // Out of the map while its messages are dealt with.
        let Some(mut line) = self.lines.remove(&number) else { return };
        if let Err(ended) = line.connection.flush() {
            self.lines.insert(number, line);
            return self.ended(ingest, now_ms, number, &ended);
        }
        let read_wall_ms = (self.wall_ms)();
        let (mut messages, mut heard) = (0, false);
        let end = loop {
            if messages == MESSAGES_A_TURN {
                self.ready.insert(number);
                break None;
            }
            let before = line.connection.read_bytes();
            let next = line.connection.next();
            let read_bytes = line.connection.read_bytes() - before;
            if read_bytes > 0 {
                heard = true;
                self.metrics.received_bytes.add(read_bytes);
                self.metrics.heard_unix_s.set(u64::try_from((self.wall_ms)() / 1000).unwrap_or(0));
                self.follow.heard(now_ms, number, read_bytes, line.connection.is_unfinished());
            }
            match next {
                Next::Message(message) => {
                    messages += 1;
                    self.take(ingest, now_ms, number, message);
                }
                Next::Blocked => break None,
                Next::Ended(ended) => break Some(ended),
            }
        };
        self.lines.insert(number, line);
        if heard && self.follow.is_up_to_date(number) {
            self.heard_wall_ms = read_wall_ms;
        }
        match end {
            Some(ended) => self.ended(ingest, now_ms, number, &ended),
            None if self.ring.take() == Some(number) => self.leave_ring(now_ms, number),
            None => {}
        }
    }

    fn ended(&mut self, ingest: &Ingest, now_ms: u64, number: u64, ended: &Ended) {
        let closing = self.lines.get(&number).is_some_and(|line| line.closing_ms.is_some());
        self.forget(number);
        if closing {
            return;
        }
        let (how, fault) = match ended {
            Ended::Closed(CloseCode::REFUSED) => (StreamEnd::Refused, Fault::Refused),
            Ended::Closed(_) => (StreamEnd::Closed, Fault::Failed),
            Ended::TooLarge(_) => (StreamEnd::TooLarge, Fault::Failed),
            Ended::Broken(_) => (StreamEnd::Broken, Fault::Failed),
        };
        self.metrics.ended(how);
        self.grumble.ended(ingest, ended, self.caller.message_bytes_max, (self.wall_ms)());
        self.follow.ended(now_ms, number, fault);
    }

    /// Lets go of a stream.
    fn forget(&mut self, number: u64) {
        if let Some(line) = self.lines.remove(&number) {
            // Its end takes it out anyway.
            let _ = self.registry.deregister(&mut SourceFd(&line.connection.descriptor()));
        }
        self.ready.remove(&number);
    }

    /// Lets go of streams that were closed long enough ago.
    fn let_go(&mut self, now_ms: u64) {
        let due = |line: &Line| line.closing_ms.is_some_and(|closing_ms| now_ms >= closing_ms);
        let over: Vec<_> =
            self.lines.iter().filter(|(_, line)| due(line)).map(|(number, _)| *number).collect();
        for number in over {
            self.forget(number);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Tokens of streams begin above those of the loop itself.
fn token_of(number: u64) -> Token {
    Token(usize::try_from(number).unwrap_or(usize::MAX).saturating_add(TOKENS))
}

fn number_of(token: Token) -> Option<u64> {
    token.0.checked_sub(TOKENS).and_then(|number| u64::try_from(number).ok())
}
