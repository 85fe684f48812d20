//! The interface between a reactor and the code that interprets its bytes: [`Service`] gets input and events, [`Link`]
//! acts on a connection.

use super::outbox::Outbox;
use super::slab::Key;
use super::ticks::Tick;
use crate::payload::Payload;

/// The index of the listener that accepted a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin(pub usize);

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The service closed it.
    Closed,
    /// The peer went away first.
    Peer,
    /// A read or write failed.
    Error,
    /// The peer accepted no output for too long.
    Stalled,
    /// The peer accepted output too slowly.
    Slow,
    /// Memory was short, and this connection held more of it, or for longer, than others.
    Shed,
    /// The service ended it at once.
    Aborted,
}

impl Ended {
    /// Every reason, in the order of [`Ended::index`].
    pub const ALL: [Ended; 7] =
        [Ended::Closed, Ended::Peer, Ended::Error, Ended::Stalled, Ended::Slow, Ended::Shed, Ended::Aborted];

    /// Position in [`Ended::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Ended::Closed => "closed",
            Ended::Peer => "peer",
            Ended::Error => "error",
            Ended::Stalled => "stalled",
            Ended::Slow => "slow",
            Ended::Shed => "shed",
            Ended::Aborted => "aborted",
        }
    }
}

/// How to end a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Send pending output, shut down writing, and discard input until the peer closes too. So the peer gets all output:
    /// a `close` with unread input would make the kernel reset the connection.
    Linger,
    /// The same, but wait only briefly for the peer: the service knows that the peer has received all output, or that it
    /// does not matter.
    LingerBriefly,
    /// Send pending output and close: for a peer that has already shut down its sending side.
    Flush,
    /// Close now; pending output is lost.
    Abort,
}

/// The phases of a connection, in this order only: Open → Flushing → Lingering → Dead → Gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    Flushing(Close),
    Lingering {
        brief: bool,
    },
    /// Ended by the service, but not yet on the list of ended connections.
    Dead,
    /// On the list of ended connections.
    Gone,
}

/// The part of a connection that `net` and a [`Link`] share. It must stay small: ten thousands of idle connections have
/// one.
#[derive(Debug)]
pub(super) struct Core {
    /// Incomplete input.
    #[expect(clippy::box_collection, reason = "8 bytes while there is none, which is nearly always")]
    pub input: Option<Box<Vec<u8>>>,
    /// Output that the socket did not accept; `Some` means blocked.
    pub outbox: Option<Box<Outbox>>,
    pub deadline: Tick,
    /// When blocked output last made progress; without output, since when input or memory of the service is held.
    pub progress: Tick,
    pub phase: Phase,
    pub paused: bool,
    /// The service has begun to close, and little is left to send.
    pub closing: bool,
    /// Input may be waiting, and no further event will report it.
    pub unread: bool,
    /// The kept input must be passed to the service again.
    pub offer_again: bool,
    /// On the list of runnable connections.
    pub queued: bool,
    /// On the list of connections with handshake input.
    pub handshake_queued: bool,
    /// The poller has reported that the peer has shut down its sending side; earlier input may still be unread.
    pub peer_hung_up: bool,
    /// All input has been read.
    pub end_of_input: bool,
    pub writable_registered: bool,
    /// The index of the listener that accepted the connection.
    pub origin: u8,
    /// Memory that the service holds for the connection, in bytes.
    pub held_bytes: u32,
    /// The part of the reactor's count of memory that belongs to this connection, in bytes.
    pub counted_private_bytes: usize,
}

/// A connection during a call of the service. Output is sent when the call returns.
#[derive(Debug)]
pub struct Link<'a> {
    pub(super) key: Key,
    pub(super) now: Tick,
    pub(super) core: &'a mut Core,
    pub(super) fresh: &'a mut Outbox,
    pub(super) memory_is_short: bool,
}

impl Link<'_> {
    /// The connection's key.
    pub fn key(&self) -> Key {
        self.key
    }

    /// The time of this turn of the loop.
    pub fn now(&self) -> Tick {
        self.now
    }

    /// Sends a payload after everything sent before.
    pub fn send(&mut self, payload: Payload) {
        match &mut self.core.outbox {
            Some(outbox) => outbox.push(payload),
            None => self.fresh.push(payload),
        }
    }

    /// Whether output of an earlier call is still pending. Then a service should wait for [`Service::drained`] before it
    /// sends more.
    pub fn is_blocked(&self) -> bool {
        self.core.outbox.is_some()
    }

    /// Bytes of pending output, that of this call included.
    pub fn pending_bytes(&self) -> usize {
        self.core.outbox.as_ref().map_or(0, |outbox| outbox.bytes()) + self.fresh.bytes()
    }

    /// Asks for another call with the remaining input after other connections were served, even if no more input arrives.
    pub fn yield_input(&mut self) {
        self.core.offer_again = true;
        self.core.unread = true;
    }

    /// Whether the connections of this reactor use so much memory that large output should wait.
    pub fn memory_is_short(&self) -> bool {
        self.memory_is_short
    }

    /// Reports how much memory the service holds for this connection, such as fragments of a message, in bytes. Replaces
    /// the previous value.
    pub fn hold_memory(&mut self, bytes: usize) {
        self.core.held_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    }

    /// Calls [`Service::deadline`] at that time; replaces the deadline set before.
    pub fn set_deadline(&mut self, deadline: Tick) {
        self.core.deadline = deadline;
    }

    /// Calls [`Service::deadline`] at that time at the latest: an earlier deadline is kept.
    pub fn deadline_at_latest(&mut self, deadline: Tick) {
        if self.core.deadline.is_never() || self.core.deadline > deadline {
            self.core.deadline = deadline;
        }
    }

    /// Reads no more input until [`Link::resume`], so that TCP slows the peer down.
    pub fn pause(&mut self) {
        self.core.paused = true;
    }

    /// Reads input again, beginning with what was left when the link was paused.
    pub fn resume(&mut self) {
        if self.core.paused {
            self.core.paused = false;
            self.core.offer_again = true;
            self.core.unread = true;
        }
    }

    /// Whether reading is paused.
    pub fn is_paused(&self) -> bool {
        self.core.paused
    }

    /// Whether the peer has shut down its sending side.
    pub fn input_ended(&self) -> bool {
        self.core.end_of_input
    }

    /// Reports that the service sends nothing more and waits for the peer's part of the close. The connection is then not
    /// ended to free memory, as long as it holds little.
    pub fn begin_close(&mut self) {
        self.core.closing = true;
    }

    /// Closes the connection. Only [`Service::closed`] is called after that.
    pub fn close(&mut self, how: Close) {
        let phase = match how {
            Close::Abort => Phase::Dead,
            how => Phase::Flushing(how),
        };
        if self.core.phase == Phase::Open || phase == Phase::Dead {
            self.core.phase = phase;
        }
    }

    /// Whether [`Link::close`] has been called.
    pub fn is_closing(&self) -> bool {
        self.core.phase != Phase::Open
    }
}

/// Interprets the bytes of one reactor's connections. All calls come from the reactor's thread.
pub trait Service {
    /// The service's state of a connection.
    type Session;

    /// A connection was accepted.
    fn open(&mut self, link: &mut Link<'_>, origin: Origin) -> Self::Session;

    /// Input arrived: `bytes` is all input that was not consumed yet. Returns how many bytes were consumed; the rest is
    /// passed again together with the next input. May change the consumed part of `bytes` in place.
    fn input(&mut self, link: &mut Link<'_>, session: &mut Self::Session, bytes: &mut [u8]) -> usize;

    /// The peer has shut down its sending side. The service closes unless an answer is still to be sent. For a paused link
    /// this may be called more than once, and earlier input may still be unread.
    fn end_of_input(&mut self, link: &mut Link<'_>, session: &mut Self::Session);

    /// All blocked output was sent.
    fn drained(&mut self, link: &mut Link<'_>, session: &mut Self::Session);

    /// The deadline was reached. It is cleared before the call.
    fn deadline(&mut self, link: &mut Link<'_>, session: &mut Self::Session);

    /// Memory is short, and this connection must free its own: output of which nothing was sent is dropped, and the kept
    /// `input` will be. The service may send a few bytes, and closes or [begins to](Link::begin_close).
    fn shed(&mut self, link: &mut Link<'_>, session: &mut Self::Session, input: &[u8]);

    /// The connection has ended.
    fn closed(&mut self, key: Key, session: Self::Session, ended: Ended);
}
