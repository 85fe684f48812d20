//! What the reactors' servers share: settings, and the way to those who do heavy work for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::ingest::Handle;
use crate::telemetry::metrics::Metrics;

use crate::serve::http::cors::Origins;
use crate::serve::keys::{KeySwap, Keys};
use crate::serve::relay::registry::Children;
use crate::serve::verdict::unknown_secrets::Sightings;

/// What the settings say about serving.
#[derive(Clone, Debug)]
pub struct Options {
    /// A random name of this process, other at each start.
    pub instance: String,
    /// `agent` or `offline`.
    pub mode: &'static str,
    /// The keys of operators and relays at the start.
    pub keys: Keys,
    /// Largest difference between a token's time and ours, either way.
    pub token_expiry: Duration,
    /// How long a connection with a token out of time is held before it is closed.
    pub token_hold: Duration,
    /// How long a question waits for data before it is put off.
    pub verdict_wait: Duration,
    /// Whether a secret of either kind opens both polling endpoints, as with FeatBit's agent.
    pub lax_polling: bool,
    /// Origins that browsers may call from; `*` for any.
    pub cors_origins: Vec<String>,
    /// How long a browser may remember a preflight.
    pub cors_max_age: Duration,
    /// Path of the WebSocket echo, if there is one.
    pub echo_path: Option<String>,
    /// Whether metrics are shown on a port of their own only.
    pub metrics_elsewhere: bool,
    /// Bytes of a request's head.
    pub head_bytes_max: usize,
    /// Header fields of a request.
    pub headers_max: usize,
    /// Bytes of a body from an SDK.
    pub body_bytes_max: u64,
    /// Bytes of the user that a client SDK polls with.
    pub user_bytes_max: u64,
    /// Custom properties of a user.
    pub user_properties_max: usize,
    /// Bytes of a dataset.
    pub bootstrap_bytes_max: u64,
    /// Datasets that may be on their way in at once.
    pub bootstraps_max: usize,
    /// Bytes of a WebSocket message from an SDK.
    pub message_bytes_max: usize,
    /// Bytes of larger bodies from SDKs that may be in memory, over all reactors.
    pub bodies_bytes_max: usize,
    /// Time to send a head.
    pub head_time: Duration,
    /// Time for each portion of a body.
    pub body_time: Duration,
    /// Time between two requests.
    pub keep_alive: Duration,
    /// Time that a peer may take to end a connection that is being closed.
    pub close: Duration,
    /// Time a streaming connection may be silent; zero for ever.
    pub stream_idle: Duration,
}

/// Shared by all reactors.
#[derive(Debug)]
pub struct Shared {
    /// Settings.
    pub options: Options,
    /// The way to the one writer, and to what it last said of itself.
    pub ingest: Handle,
    /// Counters of the whole agent.
    pub metrics: Arc<Metrics>,
    /// The wall clock in Unix milliseconds; an argument, so that simulations own it.
    pub wall_ms: fn() -> i64,
    /// The keys of operators and relays, as they are now.
    pub keys: KeySwap,
    pub(crate) origins: Origins,
    pub(crate) children: Children,
    /// Looked into only for a secret that the data lacks, while a server is followed.
    pub(crate) sightings: Mutex<Sightings>,
    /// The agent is about to end: no new connections are wanted.
    ending: AtomicBool,
    /// Reactors that take new connections.
    accepting: AtomicUsize,
    bootstraps: Arc<AtomicUsize>,
    body_bytes: Arc<AtomicUsize>,
}

impl Shared {
    /// Puts together what reactors share.
    pub fn new(
        mut options: Options,
        ingest: Handle,
        metrics: Arc<Metrics>,
        wall_ms: fn() -> i64,
    ) -> Arc<Self> {
        let origins = Origins::new(&options.cors_origins);
        // From now on they are to be found in one place.
        let keys = std::mem::take(&mut options.keys);
        let keys = KeySwap { current: Arc::new(ArcSwap::from_pointee(keys)) };
        Arc::new(Self {
            options,
            ingest,
            metrics,
            wall_ms,
            keys,
            origins,
            children: Children::default(),
            sightings: Mutex::default(),
            ending: AtomicBool::new(false),
            accepting: AtomicUsize::new(0),
            bootstraps: Arc::default(),
            body_bytes: Arc::default(),
        })
    }

    /// Readiness says from now on that no new connections are wanted; they are served all the same.
    pub fn announce_end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    pub(crate) fn reactor_accepts(&self) {
        self.accepting.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn reactor_accepts_no_more(&self) {
        self.accepting.fetch_sub(1, Ordering::AcqRel);
    }

    pub(crate) fn any_reactor_accepts(&self) -> bool {
        self.accepting.load(Ordering::Acquire) > 0
    }

    /// The count of one body's memory against that of all.
    pub(crate) fn body_memory(&self) -> BodyMemory {
        BodyMemory { all: self.body_bytes.clone(), all_max: self.options.bodies_bytes_max, own: 0 }
    }

    /// Leave to receive one more dataset; `None` if as many as allowed are under way.
    pub(crate) fn bootstrap_permit(&self) -> Option<BootstrapPermit> {
        let taken = self.bootstraps.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |under_way| {
            (under_way < self.options.bootstraps_max).then_some(under_way + 1)
        });
        taken.ok().map(|_| BootstrapPermit(self.bootstraps.clone()))
    }
}

/// One of the datasets that may be under way; given back when dropped.
#[derive(Debug)]
pub(crate) struct BootstrapPermit(Arc<AtomicUsize>);

impl Drop for BootstrapPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The memory of one body; given back when dropped.
#[derive(Debug)]
pub(crate) struct BodyMemory {
    all: Arc<AtomicUsize>,
    all_max: usize,
    own: usize,
}

impl BodyMemory {
    /// The body has grown to so many bytes. False if all bodies together are too large now; a small one has as much
    /// room again, so that a few large ones keep no small one out.
    pub fn grow_to(&mut self, bytes: usize, is_small: bool) -> bool {
        let more = bytes.saturating_sub(self.own);
        self.own += more;
        let all = self.all.fetch_add(more, Ordering::Relaxed) + more;
        all / (1 + usize::from(is_small)) <= self.all_max
    }
}

impl Drop for BodyMemory {
    fn drop(&mut self) {
        self.all.fetch_sub(self.own, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What went wrong: small bodies were not counted, however many there were.
    #[test]
    fn large_bodies_leave_room_for_small_ones_and_those_are_bounded_too() {
        let all: Arc<AtomicUsize> = Arc::default();
        let body = || BodyMemory { all: all.clone(), all_max: 100, own: 0 };
        let mut large = body();
        assert!(large.grow_to(60, false) && large.grow_to(100, false));
        assert!(!body().grow_to(1, false));
        let mut small: Vec<BodyMemory> = (0..10).map(|_| body()).collect();
        assert!(small.iter_mut().all(|body| body.grow_to(10, true)));
        assert!(!body().grow_to(2, true));
        drop(large);
        assert!(body().grow_to(50, true));
        drop(small);
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }
}
