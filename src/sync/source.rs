//! The trait of all sources of data. There may be several at once, or none.

use std::time::Duration;

use mio::Token;

use crate::config::Secret;
use crate::ingest::{Ingest, ResyncReason};

/// A source of data. Only the sync thread calls it, and no call may block.
///
/// In each turn the thread handles the waiting jobs, calls [`Source::receive`] of every source, ends grace periods that are
/// over, and calls [`Source::act`] of every source. Then it waits for an event, at most for the shortest [`Source::wait`].
pub trait Source: Send {
    /// Loads the data that is there at the start. This comes before all submitted datasets, which are newer.
    fn start(&mut self, _ingest: &mut Ingest) {}

    /// Loads what has come since the last turn.
    fn receive(&mut self, ingest: &mut Ingest);

    /// Does what is due. `grace_due`: the grace period of a secret or environment is over, and only a full sync requested
    /// from now on can prove that it was removed.
    fn act(&mut self, _ingest: &mut Ingest, _grace_due: bool) {}

    /// The time until this source has something to do, if no event comes before.
    fn wait(&self) -> Duration;

    /// A socket is ready. The token tells whether it belongs to this source.
    fn ready(&mut self, _token: Token) {}

    /// An operator or an SDK's unknown secret requests a full sync.
    fn refresh(&mut self, ingest: &Ingest, why: ResyncReason);

    /// A management call or another agent of the cluster has brought data, so the data in service is not only from this source.
    fn submitted(&mut self) {}

    /// The key for the server was replaced.
    fn set_key(&mut self, _key: &Secret) {}

    /// Closes its connections with a close frame, without waiting for the answer. It is the last call.
    fn stop(&mut self) {}
}
