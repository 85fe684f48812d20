//! What a handler works with: its connection, and the parts of its reactor's server.

use std::sync::Arc;

use crate::fanout::mailbox::Mailbox;
use crate::net::service::Link;
use crate::net::ticks::Tick;
use crate::store::Snapshot;
use crate::telemetry::metrics::Connection;

use super::drain::Drain;
use super::metrics::Meter;
use super::options::Options;
use super::pressure::MemoryWaiters;
use super::relay::relays::Relays;
use super::scratch::Scratch;
use super::session::Info;
use super::shared::Shared;
use super::streaming::broadcast::Broadcast;
use super::verdict::pending::PendingVerdicts;

/// The parts of one reactor's server. No part knows another one.
#[derive(Debug)]
pub(crate) struct Parts {
    pub shared: Arc<Shared>,
    /// This reactor's mailbox: changes and replies from other threads arrive here.
    pub mailbox: Mailbox,
    /// The data this reactor serves. Only a change from the mailbox replaces it.
    pub view: Arc<Snapshot>,
    pub meter: Meter,
    pub broadcast: Broadcast,
    pub pending: PendingVerdicts,
    pub memory: MemoryWaiters,
    pub relays: Relays,
    pub drain: Drain,
    pub scratch: Scratch,
}

impl Parts {
    /// Parts without connections and data.
    pub fn new(shared: Arc<Shared>, mailbox: Mailbox) -> Self {
        Self {
            mailbox,
            view: Snapshot::empty(),
            meter: Meter::new(&shared),
            broadcast: Broadcast::default(),
            pending: PendingVerdicts::default(),
            memory: MemoryWaiters::default(),
            relays: Relays::new(shared.options.instance.clone()),
            drain: Drain::default(),
            scratch: Scratch::default(),
            shared,
        }
    }
}

/// The connection that a handler works on, and the parts of its reactor's server.
pub(crate) struct Context<'a, 'l> {
    pub link: &'a mut Link<'l>,
    pub info: &'a mut Info,
    pub parts: &'a mut Parts,
}

impl Context<'_, '_> {
    /// The settings.
    pub fn options(&self) -> &Options {
        &self.parts.shared.options
    }

    /// Changes as which kind of connection the metrics count this one.
    pub fn count_as(&mut self, kind: Connection) {
        let before = std::mem::replace(&mut self.info.counted_as, kind);
        self.parts.meter.reclassified(before, kind);
    }

    /// Restarts the time after which a silent WebSocket is closed. A setting of zero means never.
    pub fn restart_idle_time(&mut self) {
        let idle = self.parts.shared.options.limits.stream_idle;
        self.link.set_deadline(idle.map_or(Tick::NEVER, |idle| self.link.now().after(idle)));
    }
}
