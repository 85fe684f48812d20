//! What the handlers of one connection work with.

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
use super::session::Info;
use super::shared::Shared;
use super::streaming::broadcast::Broadcast;
use super::verdict::pending::PendingVerdicts;

/// The parts of one reactor's server. None of them knows another one.
#[derive(Debug)]
pub(crate) struct Parts {
    pub shared: Arc<Shared>,
    /// This reactor's own: where answers from other threads arrive.
    pub mailbox: Mailbox,
    /// The data this reactor serves from; advances only by mail.
    pub view: Arc<Snapshot>,
    pub meter: Meter,
    pub broadcast: Broadcast,
    pub pending: PendingVerdicts,
    pub memory: MemoryWaiters,
    pub relays: Relays,
    pub drain: Drain,
}

impl Parts {
    /// No connections, no data.
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
            shared,
        }
    }
}

/// One connection in the hands of a handler, and the parts of its reactor.
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

    /// From now on the connection counts as something else.
    pub fn count_as(&mut self, kind: Connection) {
        let before = std::mem::replace(&mut self.info.counted_as, kind);
        self.parts.meter.turned(before, kind);
    }

    /// A WebSocket may be silent for as long as the settings say, from now on.
    pub fn restart_idle_time(&mut self) {
        let idle = self.parts.shared.options.limits.stream_idle;
        self.link.set_deadline(idle.map_or(Tick::NEVER, |idle| self.link.now().after(idle)));
    }
}
