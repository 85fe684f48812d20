//! What all reactors share: settings, keys, the handle to the ingest thread, and limits for the whole process.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::ingest::Handle;
use crate::insights;
use crate::telemetry::metrics::Metrics;

use super::budgets::{BodyBudget, Bootstraps};
use super::keys::KeySwap;
use super::log_limits::LogLimits;
use super::options::Options;
use super::persistence::Persistence;
use super::relay::registry::Registry;
use super::verdict::unknown_secrets::UnknownSecrets;

/// Shared by all reactors.
#[derive(Debug)]
pub struct Shared {
    /// Settings.
    pub options: Options,
    /// The handle to the one writer, and the upstream status.
    pub ingest: Handle,
    /// The handle to the thread of usage events.
    pub events: insights::Handle,
    /// Counters of the whole agent.
    pub metrics: Arc<Metrics>,
    /// The wall clock in Unix milliseconds. A field, so that simulations can replace it.
    pub wall_ms: fn() -> i64,
    /// The current keys of operators and downstream agents.
    pub keys: KeySwap,
    /// Set before the first connection is accepted, where there is any.
    persistence: OnceLock<Persistence>,
    pub(crate) downstream: Registry,
    /// Locked only for a secret that the data lacks, while a server is followed.
    pub(crate) unknown_secrets: Mutex<UnknownSecrets>,
    pub(crate) log_limits: LogLimits,
    pub(crate) bootstraps: Bootstraps,
    pub(crate) bodies: BodyBudget,
    /// Whether the agent shuts down, so that load balancers should send new connections elsewhere.
    shutting_down: AtomicBool,
    /// The number of reactors that accept new connections.
    accepting: AtomicUsize,
}

impl Shared {
    /// Puts together what reactors share.
    pub fn new(
        mut options: Options,
        ingest: Handle,
        events: insights::Handle,
        metrics: Arc<Metrics>,
        wall_ms: fn() -> i64,
    ) -> Arc<Self> {
        // Moved out of the options, so that the keys are in one place only.
        let keys = KeySwap::new(std::mem::take(&mut options.keys));
        Arc::new(Self {
            bootstraps: Bootstraps::new(options.limits.bootstraps),
            bodies: BodyBudget::new(options.limits.pending_bytes),
            options,
            ingest,
            events,
            metrics,
            wall_ms,
            keys,
            persistence: OnceLock::new(),
            downstream: Registry::default(),
            unknown_secrets: Mutex::default(),
            log_limits: LogLimits::default(),
            shutting_down: AtomicBool::new(false),
            accepting: AtomicUsize::new(0),
        })
    }

    /// Sets what keeps the data beyond this process. The first call counts.
    pub fn set_persistence(&self, persistence: Persistence) {
        let _ = self.persistence.set(persistence);
    }

    pub(crate) fn persistence(&self) -> Option<&Persistence> {
        self.persistence.get()
    }

    /// Makes the readiness check fail from now on. New connections are still served.
    pub fn announce_shutdown(&self) {
        self.shutting_down.store(true, Ordering::Relaxed);
    }

    /// The wall clock in Unix milliseconds, for the rate limits of log lines.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from((self.wall_ms)()).unwrap_or(0)
    }

    pub(crate) fn is_shutting_down(&self) -> bool {
        self.shutting_down.load(Ordering::Relaxed)
    }

    pub(crate) fn reactor_started_accepting(&self) {
        self.accepting.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn reactor_stopped_accepting(&self) {
        self.accepting.fetch_sub(1, Ordering::AcqRel);
    }

    pub(crate) fn is_any_reactor_accepting(&self) -> bool {
        self.accepting.load(Ordering::Acquire) > 0
    }
}
