//! Metrics of one reactor.
//!
//! Must be written by that reactor's thread only: the values use plain loads and stores.

use std::sync::Arc;

use parking_lot::Mutex;

use super::cell::{Counter, Gauge, Histogram};
use super::labels::{Closed, Connection, Handshake, HandshakeFailure, Limit, Refusal, Route, Status, Sync};

/// The connections of one environment on one reactor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentConnections {
    /// `projectKey:envKey`.
    pub environment: Arc<str>,
    /// Streaming connections of server SDKs.
    pub server: u64,
    /// Streaming connections of client SDKs.
    pub client: u64,
}

/// Metrics of one reactor, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ReactorMetrics {
    pub(super) connections: [Gauge; Connection::COUNT],
    pub(super) accepted: Counter,
    pub(super) closed: [Counter; Closed::COUNT],
    pub(super) syncs: [Counter; Sync::COUNT],
    pub(super) messages: Counter,
    pub(super) received_bytes: Counter,
    pub(super) sent_bytes: Counter,
    pub(super) deliveries: Counter,
    pub(super) pending_bytes: Gauge,
    pub(super) handshakes: [Counter; Handshake::COUNT],
    pub(super) handshake_failures: [Counter; HandshakeFailure::COUNT],
    pub(super) limits: [Counter; Limit::COUNT],
    pub(super) refusals: [Counter; Refusal::COUNT],
    pub(super) responses: [[Counter; Status::COUNT]; Route::COUNT],
    pub(super) turns: Histogram,
    pub(super) changes: Histogram,
    pub(super) environments: Mutex<Vec<EnvironmentConnections>>,
}

impl ReactorMetrics {
    /// A connection was accepted; it counts as [`Connection::Http`].
    pub fn accepted(&self) {
        self.accepted.add(1);
        self.connections[Connection::Http as usize].increase();
    }

    /// A connection turned from one kind into another.
    pub fn turned(&self, from: Connection, to: Connection) {
        self.connections[from as usize].decrease();
        self.connections[to as usize].increase();
    }

    /// A connection of this kind ended.
    pub fn closed(&self, kind: Connection, why: Closed) {
        self.connections[kind as usize].decrease();
        self.closed[why as usize].add(1);
    }

    /// A data-sync message was sent, asked for or pushed.
    pub fn synced(&self, kind: Sync) {
        self.syncs[kind as usize].add(1);
    }

    /// An SDK's message was taken.
    pub fn message(&self) {
        self.messages.add(1);
    }

    /// Bytes were read from sockets.
    pub fn received(&self, bytes: usize) {
        self.received_bytes.add(bytes as u64);
    }

    /// Bytes were written to sockets.
    pub fn sent(&self, bytes: usize) {
        self.sent_bytes.add(bytes as u64);
    }

    /// A change was handed to the sockets of this many connections.
    pub fn delivered(&self, connections: u64) {
        self.deliveries.add(connections);
    }

    /// This reactor has handed a change to its last connection, this long after the change arrived.
    pub fn change_delivered(&self, after_us: u64) {
        self.changes.observe_us(after_us);
    }

    /// Sets the memory for data that belongs to single connections, in bytes.
    pub fn pending(&self, bytes: usize) {
        self.pending_bytes.set(bytes as u64);
    }

    /// Handshakes of TLS ended well.
    pub fn handshakes_done(&self, how: Handshake, count: u64) {
        self.handshakes[how as usize].add(count);
    }

    /// Handshakes of TLS failed.
    pub fn handshakes_failed(&self, why: HandshakeFailure, count: u64) {
        self.handshake_failures[why as usize].add(count);
    }

    /// A limit was hit.
    pub fn limit_hit(&self, limit: Limit) {
        self.limits[limit as usize].add(1);
    }

    /// An SDK or an operator was refused.
    pub fn refused(&self, why: Refusal) {
        self.refusals[why as usize].add(1);
    }

    /// An HTTP request was answered.
    pub fn responded(&self, route: Route, status: u16) {
        self.responses[route as usize][Status::of(status) as usize].add(1);
    }

    /// A turn of the loop was busy for this long, not counting the wait for events.
    pub fn turn(&self, busy_us: u64) {
        self.turns.observe_us(busy_us);
    }

    /// Replaces this reactor's connections by environment. To be called about once a second: it takes a lock that
    /// a scrape holds for a moment.
    pub fn publish_environments(&self, environments: Vec<EnvironmentConnections>) {
        *self.environments.lock() = environments;
    }
}
