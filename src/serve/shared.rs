//! What the reactors share: settings, keys, the way to those who do heavy work for them, and limits of the whole process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::ingest::Handle;
use crate::telemetry::metrics::Metrics;

use super::budgets::{BodyBudget, Bootstraps};
use super::keys::KeySwap;
use super::log_limits::LogLimits;
use super::options::Options;
use super::relay::registry::Registry;
use super::verdict::unknown_secrets::UnknownSecrets;

/// Shared by all reactors.
#[derive(Debug)]
pub struct Shared {
    /// Settings.
    pub options: Options,
    /// The way to the one writer, and its upstream status.
    pub ingest: Handle,
    /// Counters of the whole agent.
    pub metrics: Arc<Metrics>,
    /// The wall clock in Unix milliseconds; an argument, so that simulations own it.
    pub wall_ms: fn() -> i64,
    /// The keys of operators and downstream agents, as they are now.
    pub keys: KeySwap,
    pub(crate) downstream: Registry,
    /// Locked only for a secret that the data lacks, while a server is followed.
    pub(crate) unknown_secrets: Mutex<UnknownSecrets>,
    pub(crate) log_limits: LogLimits,
    pub(crate) bootstraps: Bootstraps,
    pub(crate) bodies: BodyBudget,
    /// The agent is about to end: no new connections are wanted.
    ending: AtomicBool,
    /// Reactors that accept new connections.
    accepting: AtomicUsize,
}

impl Shared {
    /// Puts together what reactors share.
    pub fn new(
        mut options: Options,
        ingest: Handle,
        metrics: Arc<Metrics>,
        wall_ms: fn() -> i64,
    ) -> Arc<Self> {
        // From now on they are in one place only.
        let keys = KeySwap::new(std::mem::take(&mut options.keys));
        Arc::new(Self {
            bootstraps: Bootstraps::new(options.limits.bootstraps),
            bodies: BodyBudget::new(options.limits.pending_bytes),
            options,
            ingest,
            metrics,
            wall_ms,
            keys,
            downstream: Registry::default(),
            unknown_secrets: Mutex::default(),
            log_limits: LogLimits::default(),
            ending: AtomicBool::new(false),
            accepting: AtomicUsize::new(0),
        })
    }

    /// From now on the readiness check says that no new connections are wanted. They are served all the same.
    pub fn announce_end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// The wall clock as rate limits of log lines take it, in Unix milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from((self.wall_ms)()).unwrap_or(0)
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
}
