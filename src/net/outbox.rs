//! Output that a socket has not accepted yet.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::sync::Arc;
use std::time::Duration;

use super::ticks::Tick;
use crate::payload::Payload;

/// Slices of one `writev`: enough for the 80 chunks of a payload of 10,000 flags.
const SLICES_MAX: usize = 96;

/// Private payloads of up to this size are joined into one run, so that thousands of pongs cost no more memory and system
/// calls than their bytes.
const JOINED_BYTES: usize = 4096;

/// Payloads in order, and how much of the first one was sent. A connection has one only while its socket is full.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: VecDeque<Payload>,
    offset: usize,
    bytes: usize,
    private_bytes: usize,
    wait: Wait,
}

/// The pace at which the peer accepts pending output.
#[derive(Clone, Copy, Debug, Default)]
struct Wait {
    since: Tick,
    /// Bytes sent since then.
    written: u64,
    /// When the pace was last checked, and the bytes sent until then.
    mark: Tick,
    marked: u64,
}

/// The outcome of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Everything was sent.
    Done,
    /// The socket is full; the rest waits.
    Blocked,
}

impl Outbox {
    /// Appends a payload; an empty one is ignored.
    pub fn push(&mut self, payload: Payload) {
        if payload.is_empty() {
            return;
        }
        self.bytes += payload.len();
        if let Payload::Private(small) = &payload
            && small.len() <= JOINED_BYTES
            && let Some(Payload::Private(last)) = self.queue.back_mut()
            && last.len() < JOINED_BYTES
            && let Some(last) = Arc::get_mut(last)
        {
            let before = last.capacity();
            last.extend_from_slice(small);
            self.private_bytes += last.capacity() - before;
            return;
        }
        self.private_bytes += payload.private_bytes();
        self.queue.push_back(payload);
    }

    /// Whether nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Pending bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Memory of payloads that only this connection holds, in bytes.
    pub fn private_bytes(&self) -> usize {
        self.private_bytes
    }

    /// The socket is full: starts to measure the peer's pace.
    pub fn begin_wait(&mut self, now: Tick) {
        self.wait = Wait { since: now, mark: now, ..Wait::default() };
    }

    /// Since when output is pending, and how many bytes were sent since then.
    pub fn waiting(&self) -> (Tick, u64) {
        (self.wait.since, self.wait.written)
    }

    /// Whether less than `bytes_min` was sent within the last whole `period`.
    pub fn is_too_slow(&mut self, now: Tick, period: Duration, bytes_min: u64) -> bool {
        let Wait { mark, marked, written, .. } = self.wait;
        if !mark.after(period).has_come(now) {
            return false;
        }
        self.wait.mark = now;
        self.wait.marked = written;
        written - marked < bytes_min
    }

    /// Drops all payloads that are not partly sent.
    pub fn drop_unsent(&mut self) {
        let begun = if self.offset > 0 { self.queue.pop_front() } else { None };
        self.queue = begun.into_iter().collect();
        self.bytes = self.queue.iter().map(Payload::len).sum::<usize>() - self.offset;
        self.private_bytes = self.queue.iter().map(Payload::private_bytes).sum();
    }

    /// Writes until everything is sent or the socket is full. Returns the outcome and the bytes written.
    ///
    /// Uses one `write` for a single run, by far the most frequent case, and one `writev` for several. Writes again only if
    /// the kernel accepted everything.
    pub fn flush(&mut self, socket: &mut impl Write) -> io::Result<(Flush, usize)> {
        let mut written_total = 0;
        loop {
            let Some(first) = self.queue.front() else { return Ok((Flush::Done, written_total)) };
            let (offered, result) = match first.run(self.offset) {
                Some(run) if self.queue.len() == 1 => (run.len(), socket.write(run)),
                _ => self.write_many(socket),
            };
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.advance(written);
                    written_total += written;
                    if written < offered {
                        return Ok((Flush::Blocked, written_total));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok((Flush::Blocked, written_total));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes as many runs as one call can take. Returns their bytes and the result.
    #[inline(never)]
    fn write_many(&self, socket: &mut impl Write) -> (usize, io::Result<usize>) {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut filled = 0;
        let mut offset = self.offset;
        for payload in &self.queue {
            filled += payload.slices(offset, &mut slices[filled..]);
            offset = 0;
            if filled == SLICES_MAX {
                break;
            }
        }
        let slices = &slices[..filled];
        (slices.iter().map(|slice| slice.len()).sum(), socket.write_vectored(slices))
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        self.wait.written += written as u64;
        while let Some(first) = self.queue.front() {
            let rest = first.len() - self.offset;
            if written < rest {
                self.offset += written;
                return;
            }
            written -= rest;
            self.offset = 0;
            if let Some(gone) = self.queue.pop_front() {
                self.private_bytes -= gone.private_bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Parts;
    use proptest::prelude::*;

    /// Takes `room` bytes a call in turn, 0 standing for "would block".
    struct Narrow {
        rooms: Vec<usize>,
        at: usize,
        taken: Vec<u8>,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.write_vectored(&[IoSlice::new(bytes)])
        }
        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let room = self.rooms[self.at % self.rooms.len()];
            self.at += 1;
            if room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let mut left = room;
            for slice in slices {
                let take = left.min(slice.len());
                self.taken.extend_from_slice(&slice[..take]);
                left -= take;
            }
            Ok(room - left)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn whatever_the_socket_takes_the_bytes_arrive_once_and_in_order(
            texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..8),
            rooms in prop::collection::vec(0usize..40, 1..10),
        ) {
            let mut outbox = Outbox::default();
            let mut expected = Vec::new();
            for (index, text) in texts.iter().enumerate() {
                expected.extend_from_slice(text);
                outbox.push(match index % 5 {
                    0 => Payload::Shared(Arc::from(&text[..])),
                    1..=3 => Payload::private(text.clone()),
                    _ => {
                        let (a, b) = text.split_at(text.len() / 2);
                        Payload::Parts(Arc::new(Parts::new(vec![Arc::from(a), Arc::from(b)])))
                    }
                });
            }
            let mut socket = Narrow { rooms: rooms.iter().copied().chain([1]).collect(), at: 0, taken: Vec::new() };
            for _ in 0..2000 {
                if outbox.flush(&mut socket).unwrap().0 == Flush::Done {
                    break;
                }
            }
            prop_assert!(outbox.is_empty());
            prop_assert_eq!((outbox.bytes(), outbox.private_bytes()), (0, 0));
            prop_assert_eq!(socket.taken, expected);
        }
    }

    #[test]
    fn thousands_of_pongs_cost_little_more_than_their_bytes() {
        let mut outbox = Outbox::default();
        for _ in 0..20_000 {
            outbox.push(Payload::private(vec![0x8A, 0]));
        }
        assert_eq!(outbox.bytes(), 40_000);
        assert!(outbox.queue.len() <= 40_000 / JOINED_BYTES + 1, "{} runs", outbox.queue.len());
        assert!(outbox.private_bytes() <= 4 * 40_000, "{}", outbox.private_bytes());
        let mut socket = Narrow { rooms: vec![usize::MAX >> 1], at: 0, taken: Vec::new() };
        assert_eq!(outbox.flush(&mut socket).unwrap(), (Flush::Done, 40_000));
        assert_eq!((socket.at, outbox.private_bytes()), (1, 0));
    }

    #[test]
    fn a_payload_that_others_hold_is_not_written_into() {
        let mut outbox = Outbox::default();
        let held = Payload::private(b"held".to_vec());
        outbox.push(held.clone());
        outbox.push(Payload::private(b"next".to_vec()));
        assert_eq!(held.to_vec(), b"held");
        assert_eq!((outbox.bytes(), outbox.queue.len()), (8, 2));
    }
}
