//! What every source of data can do. There may be several at once, or none.

use std::time::Duration;

use mio::Token;

use crate::config::Secret;
use crate::ingest::{Ingest, ResyncReason};

/// Where data comes from by itself. All calls come from the sync thread, and none may block.
///
/// Each turn of the thread: the jobs that wait, [`Source::receive`] of every source, the end of graces that are due, and
/// [`Source::act`] of every source. Then it waits for the shortest [`Source::wait`], or until something happens.
pub trait Source: Send {
    /// Takes in what is there at the start. Nobody has submitted anything yet: a call that comes as soon as the ports are
    /// open is newer than what is read here.
    fn start(&mut self, _ingest: &mut Ingest) {}

    /// Takes in what has come since the last turn.
    fn receive(&mut self, ingest: &mut Ingest);

    /// Does what is due. `grace_due`: the grace of a secret or environment is over, and only a full sync that is asked
    /// for from now on can show that it is gone.
    fn act(&mut self, _ingest: &mut Ingest, _grace_due: bool) {}

    /// How long nothing is due, if nothing happens.
    fn wait(&self) -> Duration;

    /// Something happened on a socket; of another source perhaps, which its token tells.
    fn ready(&mut self, _token: Token) {}

    /// Somebody asks for all of the data anew.
    fn refresh(&mut self, ingest: &Ingest, why: ResyncReason);

    /// Data came in by a management call: what is in service is not only of this source.
    fn submitted(&mut self) {}

    /// There is another key for the server.
    fn set_key(&mut self, _key: &Secret) {}

    /// Ends its connections in order, without waiting for anybody. Nothing else is called afterwards.
    fn stop(&mut self) {}
}
