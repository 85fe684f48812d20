//! The state of a downstream agent's WebSocket.

use crate::serve::keys::RelayAccess;
use crate::wire::ws::reader::Reader;

use super::registry::AgentId;

/// The connection of a downstream agent.
#[derive(Debug)]
pub(crate) struct Downstream {
    pub reader: Reader,
    /// Its key, and the environments to which the key gives access.
    pub access: RelayAccess,
    pub id: AgentId,
    /// The publish sequence up to which it was sent data; `None` if it was sent none.
    pub sequence: Option<u64>,
    /// Whether a full sync is being built for it.
    pub awaits_full: bool,
    /// Whether another full sync has to follow that one.
    pub needs_another_full: bool,
    /// Whether it has asked for data before there was any.
    pub waits_for_data: bool,
    /// Its request for a confirmation, until that is sent.
    pub verify: Option<PendingVerification>,
}

/// A downstream agent's request for a confirmation: that its data includes a full sync which was requested from the server
/// after this request came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PendingVerification {
    /// The number of the request, which the confirmation repeats.
    pub number: u64,
    /// How many full syncs had been requested from the server when it came.
    pub requested: u64,
}

impl Downstream {
    /// A new connection, which has not asked for data.
    pub fn new(access: RelayAccess, id: AgentId) -> Self {
        Self {
            reader: Reader::new(),
            access,
            id,
            sequence: None,
            awaits_full: false,
            needs_another_full: false,
            waits_for_data: false,
            verify: None,
        }
    }

    /// How many bytes of an overlong message are still to be skipped.
    pub fn left_to_skip(&self) -> u64 {
        self.reader.left_to_pass()
    }

    /// Whether it was sent data, or is about to be.
    pub fn has_data(&self) -> bool {
        self.sequence.is_some() || self.awaits_full
    }

    /// Whether it has no data, and will get none before it asks.
    pub fn lacks_data(&self) -> bool {
        !self.has_data() && !self.waits_for_data
    }
}
