//! What the worker tells this agent.

use crate::model::stamp::Edition;

use super::record::{Record, Register};
use super::status::RedisStatus;

/// What the worker tells this agent.
#[derive(Debug)]
pub enum Event {
    /// The state of the connection has changed.
    Status(Box<RedisStatus>),
    /// Data of the cluster.
    Data(Data),
    /// The worker wants everything that this agent has, as [`Command::FullState`](super::Command::FullState): to write what
    /// Redis lacks.
    NeedFullState,
    /// Everything that Redis had when the check of this number was asked for was told before this.
    Checked(u64),
}

/// Data of the cluster. A higher edition than the agent's comes completely, and replaces what the agent has; the same one is
/// merged; a lower one, which was on its way while the agent began a new one, is ignored.
#[derive(Debug)]
pub struct Data {
    /// The edition that it belongs to.
    pub edition: Edition,
    /// Whether this is, with the events from the `first` to the `last`, all that Redis has. A new `first` before a `last`
    /// begins anew: the edition has changed in between, or the connection was lost.
    pub is_complete: bool,
    /// Whether it is the first of its events.
    pub first: bool,
    /// Whether it is the last of its events.
    pub last: bool,
    /// In the last event, if it may have changed.
    pub register: Option<Register>,
    /// In the last event: all digests of data files, if they may have changed.
    pub digests: Vec<String>,
    /// Items and removals. The order has no meaning.
    pub records: Vec<Record>,
}
