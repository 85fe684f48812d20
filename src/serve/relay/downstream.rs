//! What is kept for the WebSocket of a downstream agent.

use crate::serve::keys::RelayAccess;
use crate::wire::ws::reader::Reader;

use super::registry::AgentId;

/// The connection of a downstream agent.
#[derive(Debug)]
pub(crate) struct Downstream {
    pub reader: Reader,
    /// What its key opens.
    pub access: RelayAccess,
    pub id: AgentId,
    /// The publish it was brought to; `None` until it has been sent data.
    pub sequence: Option<u64>,
    /// A full sync is being put together for it.
    pub awaits_full: bool,
    /// It is to get another one after that.
    pub owed_full: bool,
    /// It has asked for data and there was none.
    pub waits_for_data: bool,
    /// It wants to know when the data is certain.
    pub verify: Option<Verify>,
}

/// A request of a downstream agent to be told when the data answers a full sync that was requested after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verify {
    /// Its number, which the answer repeats.
    pub number: u64,
    /// Full syncs that had been requested when it came.
    pub requested: u64,
}

impl Downstream {
    /// A connection that has not asked for anything yet.
    pub fn new(access: RelayAccess, id: AgentId) -> Self {
        Self {
            reader: Reader::new(),
            access,
            id,
            sequence: None,
            awaits_full: false,
            owed_full: false,
            waits_for_data: false,
            verify: None,
        }
    }

    /// Bytes of a message that are being skipped.
    pub fn left_to_skip(&self) -> u64 {
        self.reader.left_to_pass()
    }

    /// Whether it was sent data, or is about to be.
    pub fn has_data(&self) -> bool {
        self.sequence.is_some() || self.awaits_full
    }

    /// Whether it has no data, and will get none unless it asks.
    pub fn lacks_data(&self) -> bool {
        !self.has_data() && !self.waits_for_data
    }
}
