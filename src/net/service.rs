//! What a reactor asks of the code that gives its bytes a meaning, and what that code may do to a connection.

use super::outbox::Outbox;
use super::slab::Key;
use super::ticks::Tick;
use crate::payload::Payload;

/// Where a connection came in: the index of its listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin(pub usize);

/// Why a connection ended, as a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The service closed it, in an orderly way.
    Closed,
    /// The peer went away first.
    Peer,
    /// A read or write failed.
    Error,
    /// It took no output for too long.
    Stalled,
    /// It took output, but too slowly.
    Slow,
    /// Memory was short, and it held more of it, or for longer, than others.
    Shed,
    /// The service gave it up at once.
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
    /// Send what is pending, shut down writing, and discard input until the peer is done too: the peer is sure to
    /// get what was sent last (a `close` with unread input makes the kernel reset the connection).
    Linger,
    /// The same where the service has seen to it that the peer has what was sent last, or where the end alone matters:
    /// the peer's end is waited for only briefly.
    LingerBriefly,
    /// Send what is pending and close: right when the peer has said that it sends nothing more.
    Flush,
    /// Close now; pending output is lost.
    Abort,
}

/// Life of a connection as `net` sees it: Open → Flushing → Lingering → Dead → Gone, in that order only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    Flushing(Close),
    Lingering {
        brief: bool,
    },
    /// Given up by the service; not yet on the list of the dead.
    Dead,
    /// On the list of the dead.
    Gone,
}

/// The part of a connection that `net` and a [`Link`] share. Small: ten thousand idle ones are in memory.
#[derive(Debug)]
pub(super) struct Core {
    /// Input that is not complete yet.
    #[expect(clippy::box_collection, reason = "8 bytes while there is none, which is nearly always")]
    pub input: Option<Box<Vec<u8>>>,
    /// Output the socket did not take; `Some` means blocked.
    pub outbox: Option<Box<Outbox>>,
    pub deadline: Tick,
    /// When the blocked output last moved; without any, since when input or the service's own memory is kept.
    pub progress: Tick,
    pub phase: Phase,
    pub paused: bool,
    /// The service has begun to close: what it has left to send is short.
    pub closing: bool,
    /// Input may be waiting that no event will announce again.
    pub unread: bool,
    /// The kept input has to be offered again.
    pub offer_again: bool,
    /// On the list of the runnable.
    pub queued: bool,
    /// On the list of those whose handshake has input.
    pub shaking_hands: bool,
    /// The poller has said that the peer sends nothing more; what it sent before may still be unread.
    pub peer_hung_up: bool,
    /// All input has been read.
    pub end_of_input: bool,
    pub writable_registered: bool,
    /// Index of the listener it came in by.
    pub origin: u8,
    /// Memory that the service says it holds for the connection.
    pub held_bytes: u32,
    /// Memory that only this connection takes, as it stands in the reactor's sum: output, input, the service's.
    pub counted_private_bytes: usize,
}

/// A connection in the hands of the service. Output is sent when the call that received the link returns.
#[derive(Debug)]
pub struct Link<'a> {
    pub(super) key: Key,
    pub(super) now: Tick,
    pub(super) core: &'a mut Core,
    pub(super) fresh: &'a mut Outbox,
    pub(super) memory_is_short: bool,
}

impl Link<'_> {
    /// The connection's name.
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

    /// Whether output sent in an earlier call still waits for the peer: better send no more, and wait for
    /// [`Service::drained`].
    pub fn is_blocked(&self) -> bool {
        self.core.outbox.is_some()
    }

    /// Bytes of output that wait: left from earlier calls, or sent in this one.
    pub fn pending_bytes(&self) -> usize {
        self.core.outbox.as_ref().map_or(0, |outbox| outbox.bytes()) + self.fresh.bytes()
    }

    /// Has the input that is left offered again after the others had their turn, even if no more of it comes.
    pub fn yield_input(&mut self) {
        self.core.offer_again = true;
        self.core.unread = true;
    }

    /// Whether the connections of this reactor hold so much memory that what is large should wait.
    pub fn memory_is_short(&self) -> bool {
        self.memory_is_short
    }

    /// Says how much memory the service holds for what this connection has not brought to its end, such as the
    /// fragments of a message; replaces what was said before.
    pub fn hold_memory(&mut self, bytes: usize) {
        self.core.held_bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    }

    /// Calls [`Service::deadline`] at that time; replaces the deadline set before.
    pub fn set_deadline(&mut self, deadline: Tick) {
        self.core.deadline = deadline;
    }

    /// Calls it at that time at the latest: a deadline that comes earlier stays.
    pub fn deadline_at_latest(&mut self, deadline: Tick) {
        if self.core.deadline.is_never() || self.core.deadline > deadline {
            self.core.deadline = deadline;
        }
    }

    /// Takes no more input until [`Link::resume`]: the peer is held back by its own socket.
    pub fn pause(&mut self) {
        self.core.paused = true;
    }

    /// Takes input again, first what was left when the link was paused.
    pub fn resume(&mut self) {
        if self.core.paused {
            self.core.paused = false;
            self.core.offer_again = true;
            self.core.unread = true;
        }
    }

    /// Whether input is held back.
    pub fn is_paused(&self) -> bool {
        self.core.paused
    }

    /// Whether the peer has said that it sends nothing more.
    pub fn input_ended(&self) -> bool {
        self.core.end_of_input
    }

    /// Says that nothing but what is pending is still sent, and that the service waits for the peer's part: the
    /// connection is not asked for its memory any more, as long as that is little.
    pub fn begin_close(&mut self) {
        self.core.closing = true;
    }

    /// Ends the connection. No callback but [`Service::closed`] follows.
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

/// Gives meaning to the bytes of one reactor's connections. All calls come on the reactor's thread.
pub trait Service {
    /// What the service keeps for a connection.
    type Session;

    /// A connection came in.
    fn open(&mut self, link: &mut Link<'_>, origin: Origin) -> Self::Session;

    /// Input arrived: `bytes` is all that was not consumed yet. Returns how many bytes were consumed; the rest is
    /// offered again with what comes next. May change `bytes` in place, but not the part that it leaves.
    fn input(&mut self, link: &mut Link<'_>, session: &mut Self::Session, bytes: &mut [u8]) -> usize;

    /// The peer has shut down its sending side. Unless the service still owes an answer, it closes. For a paused
    /// link this is a hint that may come again: input sent before may still be unread.
    fn end_of_input(&mut self, link: &mut Link<'_>, session: &mut Self::Session);

    /// Output that was blocked is all sent.
    fn drained(&mut self, link: &mut Link<'_>, session: &mut Self::Session);

    /// The deadline has come; it is cleared before the call.
    fn deadline(&mut self, link: &mut Link<'_>, session: &mut Self::Session);

    /// Memory is short, and this connection is to give up its own: what was not yet begun to be sent is gone, and so
    /// will be `input`, which was kept. The service sends a few bytes at most, and closes or [begins
    /// to](Link::begin_close).
    fn shed(&mut self, link: &mut Link<'_>, session: &mut Self::Session, input: &[u8]);

    /// The connection is gone.
    fn closed(&mut self, key: Key, session: Self::Session, ended: Ended);
}
