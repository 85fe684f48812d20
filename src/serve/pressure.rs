//! Memory for answers that are made for one connection: who waits when it is short, and who gives up its own.
//!
//! What a socket takes at once costs nothing, so nobody waits for that; only large answers do, for a short time.

use std::time::Duration;

use crate::net::io::{Io, Socket};
use crate::net::service::Link;
use crate::net::slab::Key;
use crate::net::ticks::Tick;

use crate::serve::metrics::Limit;
use crate::serve::server::Server;
use crate::serve::session::{Session, State, Stream, Wait};

/// An answer of up to so many bytes is sent however short memory is: the kernel takes it from a peer that reads.
const AT_ONCE_BYTES: usize = 64 * 1024;

/// How long an answer waits for memory. Then it is sent, and who holds most gives up its own.
const WAIT: Duration = Duration::from_secs(5);

/// Connections fed, once memory is free again, between two looks at the sockets.
const FEED_SLICE: usize = 64;

/// A connection whose answer waits for memory, and since when.
#[derive(Debug)]
pub(super) struct Hungry {
    key: Key,
    since: Tick,
}

impl Server {
    /// Whether an answer that takes so many bytes for this connection alone may be sent now.
    pub(super) fn fits(&self, link: &Link<'_>, private_bytes: usize) -> bool {
        self.feeding || private_bytes <= AT_ONCE_BYTES || !link.memory_is_short()
    }

    /// Remembers, once, that a stream waits for memory.
    pub(super) fn starve(&mut self, link: &mut Link<'_>, stream: &mut Stream) {
        if !std::mem::replace(&mut stream.starving, true) {
            self.join_hungry(link);
        }
    }

    /// Remembers that a connection waits for memory.
    pub(super) fn join_hungry(&mut self, link: &mut Link<'_>) {
        self.meter.limit_hit(Limit::PendingBytes);
        self.hungry.push_back(Hungry { key: link.key(), since: link.now() });
    }

    /// Serves those that had to wait for memory, in their order.
    pub(super) fn feed_some<T: Socket>(&mut self, io: &mut Io<T, Session>) {
        for _ in 0..FEED_SLICE {
            let Some(first) = self.hungry.front() else { return };
            if io.memory_is_short() && !first.since.after(WAIT).has_come(io.now()) {
                io.make_room(self);
                if io.memory_is_short() {
                    return;
                }
            }
            let Some(first) = self.hungry.pop_front() else { return };
            self.feeding = true;
            io.visit(first.key, |link, session| self.feed(link, session));
            self.feeding = false;
            io.relieve(self);
        }
    }

    /// Whether somebody who waits for memory can be served at once.
    pub(super) fn can_feed<T: Socket>(&self, io: &Io<T, Session>) -> bool {
        self.hungry
            .front()
            .is_some_and(|first| !io.memory_is_short() || first.since.after(WAIT).has_come(io.now()))
    }

    fn feed(&mut self, link: &mut Link<'_>, session: &mut Session) {
        match &mut session.state {
            State::Stream(stream) => {
                stream.starving = false;
                if !link.is_blocked() {
                    self.catch_up(link, session);
                }
            }
            State::Parked(parked) if matches!(parked.wait, Wait::Memory(_)) => {
                if let State::Parked(parked) = std::mem::replace(&mut session.state, State::Over) {
                    self.ask_again(link, session, *parked);
                }
            }
            State::Head { .. }
            | State::Body(_)
            | State::Parked(_)
            | State::Held(_)
            | State::Relay(_)
            | State::Echo(_)
            | State::Closing(_)
            | State::Over => {}
        }
    }
}

#[cfg(test)]
mod tests;
