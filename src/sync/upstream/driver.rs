//! Executes what `follow` decides: opens and reads connections, sends requests, and publishes the status.
//!
//! Must not decide when to do what.

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
use crate::protocol::status::SyncState;
use crate::telemetry::metrics::{DialFault, Metrics, StreamEnd, UpstreamMetrics};

use crate::sync::poller::{Poller, Tokens};
use crate::sync::source::Source;

use super::connection::{Connection, ConnectionEnd, Next};
use super::data_request::ServedData;
use super::dial_threads::{DialThreads, Outcome};
use super::follow::{Action, DropReason, FailureKind, Follower, Timing};
use super::log::{FOLLOWS_ITSELF, UpstreamLog};
use super::opener::{ConnectError, Opener};
use super::remembered_pushes::RememberedPushes;

/// How many messages of one connection are handled before the next connection's turn.
const MESSAGES_A_TURN: usize = 64;
/// How long a connection is still read after the agent's close frame.
const CLOSING: Duration = Duration::from_secs(5);

/// The source that follows an upstream server.
pub struct Upstream {
    pub(super) opener: Arc<Opener>,
    pub(super) follow: Follower,
    pub(super) registry: Registry,
    pub(super) tokens: Tokens,
    pub(super) connections: BTreeMap<u64, OpenConnection>,
    /// The numbers of the connections that may have input.
    pub(super) ready: BTreeSet<u64>,
    pub(super) dial_threads: DialThreads,
    pub(super) remembered_pushes: RememberedPushes,
    pub(super) agent_id: String,
    pub(super) started: Instant,
    /// The time of the present turn, in milliseconds since `started`.
    pub(super) turn_ms: u64,
    pub(super) wall_ms: fn() -> i64,
    pub(super) metrics: Arc<UpstreamMetrics>,
    pub(super) log: UpstreamLog,
    /// The random name of this process, by which a ring of agents is detected.
    pub(super) instance: String,
    /// The agents between this one and the server, as last announced to the reactors.
    pub(super) path: Vec<String>,
    /// The name of the process that sent the last full sync, if that is a featbit-agent; otherwise empty.
    pub(super) source: String,
    /// The connection on which a ring was detected, until it is dropped.
    pub(super) ring: Option<u64>,
    pub(super) published: Option<Published>,
    /// Set when an operator requests a full sync, until one is in service: how many had been requested before.
    pub(super) requested_before_resync: Option<u64>,
    /// When something was last received on an up-to-date connection, in Unix milliseconds.
    pub(super) heard_wall_ms: i64,
}

/// A connection that is open, or is being closed.
pub(super) struct OpenConnection {
    pub(super) connection: Connection,
    pub(super) opened_wall_ms: i64,
    /// If a close frame was sent: when the connection is dropped.
    pub(super) closing_ms: Option<u64>,
}

/// The status that was last published.
#[derive(PartialEq, Eq)]
pub(super) struct Published {
    pub(super) state: SyncState,
    pub(super) connected_since_ms: Option<i64>,
    pub(super) failed_attempts: u64,
    pub(super) opened: u64,
}

impl Upstream {
    /// A source that has not started yet, for the thread that waits on `poller`. `instance`: the random name of this
    /// process.
    ///
    /// # Errors
    /// If the system has no more descriptors.
    pub fn new(
        opener: Opener,
        settings: &config::Upstream,
        poller: &mut Poller,
        metrics: &Metrics,
        instance: String,
        wall_ms: fn() -> i64,
    ) -> io::Result<Self> {
        let timing = Timing {
            ping_ms: millis(settings.ping),
            silence_ms: millis(settings.silence),
            sync_ms: millis(settings.sync),
            sync_bytes: settings.read_min_bytes_per_second.saturating_mul(millis(settings.sync)) / 1000,
            resync_ms: settings.resync.map_or(0, millis),
            unknown_secret_ms: millis(settings.unknown_secret_resync),
            retry_ms: millis(settings.retry),
            status_ms: millis(settings.status),
            dial_ms: millis(opener.longest()),
        };
        Ok(Self {
            agent_id: settings.agent_id.clone(),
            log: UpstreamLog::new(opener.endpoint.to_string()),
            follow: Follower::new(timing, random::seed()),
            registry: poller.registry()?,
            tokens: poller.tokens(),
            connections: BTreeMap::new(),
            ready: BTreeSet::new(),
            dial_threads: DialThreads::new(poller.waker()),
            remembered_pushes: RememberedPushes::new(opener.message_bytes_max),
            opener: Arc::new(opener),
            started: Instant::now(),
            turn_ms: 0,
            wall_ms,
            metrics: metrics.upstream(),
            instance,
            path: Vec::new(),
            source: String::new(),
            ring: None,
            published: None,
            requested_before_resync: None,
            heard_wall_ms: 0,
        })
    }

    fn now_ms(&self) -> u64 {
        millis(self.started.elapsed())
    }

    // Dials.

    fn execute(&mut self, ingest: &mut Ingest, now_ms: u64, action: Action) {
        match action {
            Action::Dial { number, register } => self.dial_threads.dial(&self.opener, number, register),
            Action::Register => drop(self.dial_threads.register(&self.opener)),
            Action::Request { number, request } => {
                if request.is_full() {
                    self.remembered_pushes.clear();
                    ingest.full_sync_requested();
                }
                self.send(ingest, now_ms, number, request.write());
            }
            Action::Ping { number } => self.send(ingest, now_ms, number, from_relay::PING.to_owned()),
            Action::ReportStatus { number } => {
                if let Some(text) = self.report(ingest) {
                    self.send(ingest, now_ms, number, text);
                }
            }
            Action::Close { number } => {
                self.metrics.ended(StreamEnd::Replaced);
                if let Some(open) = self.connections.get_mut(&number) {
                    open.closing_ms = Some(now_ms + millis(CLOSING));
                    open.connection.close();
                }
                self.ready.insert(number);
            }
            Action::Drop { number, why } => {
                let (how, text) = match why {
                    DropReason::Silent => (StreamEnd::Silent, "the server has sent nothing for too long"),
                    DropReason::Unanswered => {
                        (StreamEnd::Unanswered, "the server did not answer a request for data")
                    }
                    DropReason::Slow => (
                        StreamEnd::Slow,
                        "a message of the server arrived more slowly than Upstream__ReadMinBytesPerSecond",
                    ),
                    DropReason::Unreadable => (StreamEnd::Unreadable, "the server's answer cannot be parsed"),
                    DropReason::Late => (StreamEnd::Replaced, "the connection was opened too late"),
                };
                self.forget(number);
                self.metrics.ended(how);
                self.log.dropped(ingest, text, (self.wall_ms)());
            }
        }
    }

    fn dialled(
        &mut self,
        ingest: &mut Ingest,
        now_ms: u64,
        number: u64,
        stream: Result<Connection, ConnectError>,
    ) {
        let stream = stream.and_then(|connection| match self.is_ring(&connection.path) {
            true => Err(ConnectError {
                kind: FailureKind::Refused,
                reason: DialFault::Ring,
                text: format!("{}: {FOLLOWS_ITSELF}", self.opener.endpoint),
            }),
            false => Ok(connection),
        });
        let stream = stream.and_then(|mut connection| match self.watch(number, &mut connection) {
            Ok(()) => Ok(connection),
            Err(error) => Err(ConnectError {
                kind: FailureKind::Failed,
                reason: DialFault::Connect,
                text: format!("{}: its socket cannot be waited for ({error})", self.opener.endpoint),
            }),
        });
        let result = match stream {
            Ok(connection) => {
                self.metrics.opened.add(1);
                self.announce_path(ingest, connection.path.clone());
                let open = OpenConnection { connection, opened_wall_ms: (self.wall_ms)(), closing_ms: None };
                self.connections.insert(number, open);
                // The server may have sent messages together with the handshake.
                self.ready.insert(number);
                self.log.connected();
                Ok(())
            }
            Err(failure) => {
                self.metrics.dial_failed(failure.reason);
                self.log.not_connected(ingest, &failure, (self.wall_ms)());
                Err(failure.kind)
            }
        };
        let heard_ms = self.heard_wall_ms;
        let data = &mut ServedData { ingest, metrics: &self.metrics, source: &self.source, heard_ms };
        self.follow.dialled(now_ms, number, result, data);
    }

    fn registered(
        &mut self,
        ingest: &Ingest,
        now_ms: u64,
        registered: Result<String, ConnectError>,
        reported: bool,
    ) {
        match registered {
            Ok(id) => {
                self.follow.registered();
                self.agent_id = id;
            }
            Err(failure) => {
                if !reported {
                    self.metrics.dial_failed(failure.reason);
                    let follows = self.connections.values().any(|open| open.closing_ms.is_none());
                    self.log.not_registered(ingest, &failure, follows, (self.wall_ms)());
                }
                self.follow.not_registered(now_ms, failure.kind);
            }
        }
    }

    /// Whether this path contains the agent itself, so that it would follow itself.
    fn is_ring(&self, path: &[String]) -> bool {
        path.contains(&self.instance)
    }

    /// Announces the agents between this one and the server, if they have changed.
    fn announce_path(&mut self, ingest: &Ingest, path: Vec<String>) {
        if self.path != path {
            ingest.announce_path(&path);
            self.path = path;
        }
    }

    /// The server reports other agents between this one and the FeatBit server.
    pub(super) fn path_changed(&mut self, ingest: &Ingest, number: u64, path: Vec<String>) {
        if self.is_ring(&path) {
            self.ring = Some(number);
        } else {
            self.announce_path(ingest, path);
        }
    }

    /// Drops a connection on which a ring was detected.
    fn leave_ring(&mut self, now_ms: u64, number: u64) {
        self.forget(number);
        self.metrics.ended(StreamEnd::Ring);
        self.log.ring((self.wall_ms)());
        self.follow.ended(now_ms, number, FailureKind::Refused);
    }

    /// Makes a connection non-blocking, and registers it with the poller.
    fn watch(&self, number: u64, connection: &mut Connection) -> io::Result<()> {
        connection.set_nonblocking()?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.registry.register(&mut SourceFd(&connection.descriptor()), self.tokens.of(number), interest)
    }

    // Connections.

    fn send(&mut self, ingest: &Ingest, now_ms: u64, number: u64, text: String) {
        let Some(open) = self.connections.get_mut(&number) else { return };
        if let Err(ended) = open.connection.send(text) {
            self.ended(ingest, now_ms, number, &ended);
        }
    }

    fn read(&mut self, ingest: &mut Ingest, now_ms: u64, number: u64) {
        // Taken out of the map, since handling its messages borrows `self`.
        let Some(mut open) = self.connections.remove(&number) else { return };
        if let Err(ended) = open.connection.flush() {
            self.connections.insert(number, open);
            return self.ended(ingest, now_ms, number, &ended);
        }
        let read_wall_ms = (self.wall_ms)();
        let (mut messages, mut heard) = (0, false);
        let end = loop {
            if messages == MESSAGES_A_TURN {
                self.ready.insert(number);
                break None;
            }
            let before = open.connection.read_bytes();
            let next = open.connection.next();
            let read_bytes = open.connection.read_bytes() - before;
            if read_bytes > 0 {
                heard = true;
                self.metrics.received_bytes.add(read_bytes);
                self.metrics.heard_unix_s.set(u64::try_from((self.wall_ms)() / 1000).unwrap_or(0));
                self.follow.bytes_received(
                    now_ms,
                    number,
                    read_bytes,
                    open.connection.has_incomplete_message(),
                );
            }
            match next {
                Next::Message(message) => {
                    messages += 1;
                    self.receive_message(ingest, now_ms, number, message);
                }
                Next::Blocked => break None,
                Next::Ended(ended) => break Some(ended),
            }
        };
        self.connections.insert(number, open);
        if heard && self.follow.is_up_to_date(number) {
            self.heard_wall_ms = read_wall_ms;
        }
        match end {
            Some(ended) => self.ended(ingest, now_ms, number, &ended),
            None if self.ring.take() == Some(number) => self.leave_ring(now_ms, number),
            None => {}
        }
    }

    fn ended(&mut self, ingest: &Ingest, now_ms: u64, number: u64, ended: &ConnectionEnd) {
        let closing = self.connections.get(&number).is_some_and(|open| open.closing_ms.is_some());
        self.forget(number);
        if closing {
            return;
        }
        let (how, fault) = match ended {
            ConnectionEnd::Closed(CloseCode::REFUSED) => (StreamEnd::Refused, FailureKind::Refused),
            ConnectionEnd::Closed(_) => (StreamEnd::Closed, FailureKind::Failed),
            ConnectionEnd::TooLarge(_) => (StreamEnd::TooLarge, FailureKind::Failed),
            ConnectionEnd::Broken(_) => (StreamEnd::Broken, FailureKind::Failed),
        };
        self.metrics.ended(how);
        self.log.ended(ingest, ended, self.opener.message_bytes_max, (self.wall_ms)());
        self.follow.ended(now_ms, number, fault);
    }

    /// Removes a connection; dropping it closes its socket.
    fn forget(&mut self, number: u64) {
        if let Some(open) = self.connections.remove(&number) {
            // An error does not matter: closing the descriptor removes it from the poller too.
            let _ = self.registry.deregister(&mut SourceFd(&open.connection.descriptor()));
        }
        self.ready.remove(&number);
    }

    /// Removes connections whose time for the closing handshake is over.
    fn remove_closed(&mut self, now_ms: u64) {
        let due = |open: &OpenConnection| open.closing_ms.is_some_and(|closing_ms| now_ms >= closing_ms);
        let over: Vec<_> =
            self.connections.iter().filter(|(_, open)| due(open)).map(|(number, _)| *number).collect();
        for number in over {
            self.forget(number);
        }
    }
}

impl Source for Upstream {
    fn receive(&mut self, ingest: &mut Ingest) {
        // One time for the whole turn: the server must not seem silent because loading a large dataset takes long.
        self.turn_ms = self.now_ms();
        let now_ms = self.turn_ms;
        while let Some(outcome) = self.dial_threads.outcome() {
            match outcome {
                Outcome::Dialled(number, stream) => self.dialled(ingest, now_ms, number, *stream),
                Outcome::Registered { registered, reported } => {
                    self.registered(ingest, now_ms, registered, reported);
                }
            }
        }
        for number in std::mem::take(&mut self.ready) {
            self.read(ingest, now_ms, number);
        }
    }

    fn act(&mut self, ingest: &mut Ingest, grace_due: bool) {
        let (now_ms, heard_ms) = (self.turn_ms, self.heard_wall_ms);
        let data = &mut ServedData { ingest, metrics: &self.metrics, source: &self.source, heard_ms };
        for action in self.follow.turn(now_ms, grace_due, data) {
            self.execute(ingest, now_ms, action);
        }
        self.remove_closed(now_ms);
        self.publish_status(ingest);
    }

    fn wait(&self) -> Duration {
        if !self.ready.is_empty() {
            return Duration::ZERO;
        }
        let closing = self.connections.values().filter_map(|open| open.closing_ms);
        let next_ms = closing.chain([self.follow.deadline_ms()]).min().unwrap_or(u64::MAX);
        Duration::from_millis(next_ms.saturating_sub(self.now_ms()))
    }

    fn ready(&mut self, token: Token) {
        self.ready.extend(self.tokens.number_of(token));
    }

    fn refresh(&mut self, ingest: &Ingest, why: ResyncReason) {
        match why {
            ResyncReason::Operator => {
                self.follow.full_sync_requested();
                self.requested_before_resync = Some(ingest.following().requested_full_syncs());
            }
            ResyncReason::UnknownSecret => self.follow.unknown_secret(),
        }
    }

    fn submitted(&mut self) {
        self.follow.foreign_data();
    }

    /// Opens another connection with the new key. It replaces the present one as soon as its full sync is in service.
    fn set_key(&mut self, key: &config::Secret) {
        self.opener = Arc::new(self.opener.with_key(key.clone()));
        self.follow.key_changed(self.now_ms());
    }

    fn stop(&mut self) {
        self.connections.values_mut().for_each(|open| open.connection.close());
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
