//! Counts what happens in one reactor's server for the process's metrics: one method for each event.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::fanout::index::Index;
use crate::model::secret::SecretKind;
use crate::net::io::Counters;
use crate::net::service::Ended;
use crate::store::{EnvironmentSlot, Snapshot, SyncKind};
use crate::telemetry::metrics::{
    Closed, Connection, EnvironmentConnections, Handshake, HandshakeFailure, Limit, ReactorMetrics, Refusal,
    Sync,
};

use super::http::routes::Route;
use super::shared::Shared;

/// How often the numbers of connections per environment are published.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);

/// The counters of one reactor.
#[derive(Debug)]
pub(crate) struct Meter {
    shared: Arc<Shared>,
    own: Arc<ReactorMetrics>,
    /// The smaller of the two limits that a client SDK's poll can exceed.
    poll_limit: Limit,
    /// The counters of `net` at the end of the last turn.
    seen: Counters,
    published: Option<Instant>,
}

impl Meter {
    /// Counters at zero.
    pub fn new(shared: &Arc<Shared>) -> Self {
        let limits = &shared.options.limits;
        let by_user = limits.user_bytes <= limits.body_bytes;
        let poll_limit = if by_user { Limit::UserBytes } else { Limit::BodyBytes };
        let (own, seen) = (shared.metrics.reactor(), Counters::default());
        Self { shared: shared.clone(), own, poll_limit, seen, published: None }
    }

    /// A connection was accepted.
    pub fn accepted(&self) {
        self.own.accepted();
    }

    /// A connection counts as another kind from now on.
    pub fn reclassified(&self, from: Connection, to: Connection) {
        self.own.turned(from, to);
    }

    /// A connection has ended. `closed`: why the agent closed it, if it did.
    pub fn closed(&self, counted_as: Connection, closed: Option<Closed>, ended: Ended) {
        let why = closed.unwrap_or(match ended {
            Ended::Closed if counted_as == Connection::Http => Closed::Done,
            Ended::Closed | Ended::Peer => Closed::Peer,
            Ended::Stalled | Ended::Slow => Closed::Limit,
            Ended::Shed => Closed::Memory,
            Ended::Error | Ended::Aborted => Closed::Broken,
        });
        match ended {
            Ended::Stalled => self.own.limit_hit(Limit::WriteStallSeconds),
            Ended::Slow => self.own.limit_hit(Limit::WriteMinBytesPerSecond),
            Ended::Shed => self.own.limit_hit(Limit::PendingBytes),
            _ => {}
        }
        self.own.closed(counted_as, why);
    }

    /// A WebSocket message was received.
    pub fn message(&self) {
        self.own.message();
    }

    /// A request for data was answered.
    pub fn synced(&self, kind: SyncKind) {
        self.own.synced(sync(kind));
    }

    /// A change was sent to one connection.
    pub fn delivered(&self, kind: SyncKind) {
        self.own.synced(sync(kind));
        self.own.delivered(1);
    }

    /// A connection has not taken earlier output yet, so it gets this change later, in one patch with others.
    pub fn behind(&self) {
        self.own.synced(Sync::Behind);
    }

    /// A limit was reached.
    pub fn limit_hit(&self, limit: Limit) {
        self.own.limit_hit(limit);
    }

    /// A connection or request was refused. [`refusals`](super::refusals) also logs it.
    pub fn refused(&self, why: Refusal) {
        self.own.refused(why);
    }

    /// A request was answered.
    pub fn answered(&self, route: Route, status: u16) {
        self.own.responded(route.label(), status);
        if status == 413 {
            self.own.limit_hit(match route {
                Route::Bootstrap => Limit::BootstrapBytes,
                Route::ClientPoll => self.poll_limit,
                Route::Streaming
                | Route::Echo
                | Route::ServerPoll
                | Route::Track
                | Route::Backup
                | Route::Status
                | Route::Resync
                | Route::Register
                | Route::Liveness
                | Route::Readiness
                | Route::Metrics
                | Route::Unknown => Limit::BodyBytes,
            });
        }
    }

    /// A change has reached this reactor's last connection.
    pub fn change_delivered(&self, after: Duration) {
        let after_us = micros(after);
        self.own.change_delivered(after_us);
        self.shared.metrics.change_complete(after_us);
    }

    /// A turn of the event loop has ended: adds what `net` has counted since the last one.
    pub fn turn_ended(&mut self, counters: &Counters, pending_private_bytes: usize, busy: Duration) {
        let own = &self.own;
        own.turn(micros(busy));
        own.received((counters.bytes_in - self.seen.bytes_in) as usize);
        own.sent((counters.bytes_out - self.seen.bytes_out) as usize);
        own.pending(pending_private_bytes);
        for _ in self.seen.linger_timeouts..counters.linger_timeouts {
            own.limit_hit(Limit::CloseSeconds);
        }
        for _ in self.seen.over_limit..counters.over_limit {
            own.limit_hit(Limit::Connections);
        }
        for _ in self.seen.accept_errors..counters.accept_errors {
            own.limit_hit(Limit::Descriptors);
        }
        self.warn_of_limits(counters);
        self.handshakes(counters);
        self.seen = counters.clone();
    }

    fn warn_of_limits(&self, counters: &Counters) {
        let closed = counters.over_limit - self.seen.over_limit;
        if closed > 0
            && let Some(connections) =
                self.shared.log_limits.too_many_connections.count(closed, self.shared.now_ms())
        {
            tracing::warn!(
                connections,
                "connections were closed at once: the limit of open connections is reached (connections_max in the log \
                 line `limits`). Raise Limits__Connections if it is set, otherwise the limit of descriptors \
                 (LimitNOFILE=, ulimit -Hn), or run more agents. limits_hit{{limit=\"connections\"}} counts them"
            );
        }
        let starved = counters.out_of_resources - self.seen.out_of_resources;
        if starved > 0
            && let Some(attempts) = self.shared.log_limits.no_descriptors.count(starved, self.shared.now_ms())
        {
            tracing::warn!(
                attempts,
                "connections wait since the system gives no descriptor or memory for them. Raise the limit of \
                 descriptors (LimitNOFILE=, ulimit -Hn; fs.file-max), or run more agents. \
                 limits_hit{{limit=\"descriptors\"}} counts the attempts"
            );
        }
    }

    fn handshakes(&self, counters: &Counters) {
        let (now, seen) = (&counters.handshakes, &self.seen.handshakes);
        if now == seen {
            return;
        }
        for how in Handshake::ALL {
            self.own.handshakes_done(*how, now.done[*how as usize] - seen.done[*how as usize]);
        }
        for why in HandshakeFailure::ALL {
            self.own.handshakes_failed(*why, now.failed[*why as usize] - seen.failed[*why as usize]);
        }
        for _ in seen.deferred..now.deferred {
            self.own.limit_hit(Limit::HandshakesPerTurn);
        }
        let (logs, now_ms) = (&self.shared.log_limits, self.shared.now_ms());
        let failed = |why: HandshakeFailure| now.failed[why as usize] > seen.failed[why as usize];
        if failed(HandshakeFailure::ClientCertificate)
            && let Some(suppressed) = logs.client_certificate.allow(now_ms)
        {
            tracing::warn!(
                others_like_it = suppressed,
                "a client was refused for its certificate: {}. Give it a certificate from an authority in \
                 Tls__ClientCaFile",
                now.certificate_error.unwrap_or("it cannot be used")
            );
        }
        if failed(HandshakeFailure::ProxyProtocol)
            && let Some(suppressed) = logs.proxy_protocol_to_tls.allow(now_ms)
        {
            tracing::warn!(others_like_it = suppressed, "{}", super::log_limits::NO_PROXY_PROTOCOL);
        }
        if failed(HandshakeFailure::PlainHttp)
            && let Some(suppressed) = logs.plain_to_tls.allow(now_ms)
        {
            tracing::warn!(
                others_like_it = suppressed,
                "a client was refused: it speaks plain HTTP on a port with TLS. Use https:// or wss:// in the client, or \
                 add an http:// address to Urls"
            );
        }
    }

    /// Publishes the number of connections of each environment: once a second, and at once when there is `none` left,
    /// since this may be the last call before the process ends.
    pub fn publish_environments(&mut self, view: &Snapshot, index: &Index, none: bool) {
        if !none && self.published.is_some_and(|at| at.elapsed() < PUBLISH_EVERY) {
            return;
        }
        self.published = Some(Instant::now());
        let each = (0..index.slots()).filter_map(|row| {
            let slot = EnvironmentSlot(row as u32);
            let server = index.count(slot, SecretKind::Server) as u64;
            let client = index.count(slot, SecretKind::Client) as u64;
            let environment = view.environment(slot)?.label().clone();
            (server + client > 0).then_some(EnvironmentConnections { environment, server, client })
        });
        self.own.publish_environments(each.collect());
    }
}

fn sync(kind: SyncKind) -> Sync {
    match kind {
        SyncKind::Full => Sync::Full,
        SyncKind::Patch => Sync::Patch,
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
