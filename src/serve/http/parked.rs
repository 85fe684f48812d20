//! A request that cannot be answered yet.

use crate::protocol::secret::Secret;
use crate::serve::api::question::Question;
use crate::serve::verdict::AcceptedKind;

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
    /// For a reply from another thread, in the mailbox.
    Reply,
    /// For the reply of the thread of usage events.
    Events,
    /// For data by which the secret can be judged.
    Verdict(PendingQuestion),
    /// For memory for the answer.
    Memory(PendingQuestion),
}

impl Wait {
    /// The secret that the request sent, if it needs one.
    pub fn secret(&self) -> Option<&Secret> {
        match self {
            Wait::Reply | Wait::Events => None,
            Wait::Verdict(pending) | Wait::Memory(pending) => Some(&pending.secret),
        }
    }
}

/// A question that cannot be answered yet.
#[derive(Debug)]
pub(crate) struct PendingQuestion {
    pub secret: Secret,
    pub accepts: AcceptedKind,
    pub question: Box<dyn Question>,
}
