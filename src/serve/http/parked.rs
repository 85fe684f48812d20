//! A request that waits for its answer.

use crate::protocol::secret::Secret;
use crate::serve::api::question::Question;
use crate::serve::verdict::Wanted;

use super::exchange::Exchange;

/// A request that waits for an answer from another thread, for the verdict on its secret, or for memory.
#[derive(Debug)]
pub(crate) struct Parked {
    pub exchange: Exchange,
    pub wait: Wait,
}

/// What a parked request waits for.
#[derive(Debug)]
pub(crate) enum Wait {
    /// An answer in the mailbox.
    Reply,
    /// Data, by which the secret can be judged.
    Verdict(Asked),
    /// Memory for the answer.
    Memory(Asked),
}

impl Wait {
    /// The secret that the request showed.
    pub fn secret(&self) -> Option<&Secret> {
        match self {
            Wait::Reply => None,
            Wait::Verdict(asked) | Wait::Memory(asked) => Some(&asked.secret),
        }
    }
}

/// A question that cannot be answered yet.
#[derive(Debug)]
pub(crate) struct Asked {
    pub secret: Secret,
    pub wanted: Wanted,
    pub question: Box<dyn Question>,
}
