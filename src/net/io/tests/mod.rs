//! The connections of a reactor over stand-in sockets.

mod secure;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use super::super::service::Close;
use super::*;
use crate::payload::{Parts, Payload};

/// The behaviour of a stand-in socket and what it has received.
#[derive(Debug, Default)]
pub(in super::super) struct Wire {
    /// What reads bring, in turn; an empty one is the end of input. Nothing left: would block.
    pub(in super::super) incoming: VecDeque<Vec<u8>>,
    /// Bytes that may be written before it would block.
    pub(in super::super) room: usize,
    pub(in super::super) written: Vec<u8>,
    pub(in super::super) shut_down: bool,
    /// Writes fail: the peer is gone.
    pub(in super::super) broken: bool,
}

#[derive(Clone, Debug, Default)]
pub(in super::super) struct Fake(pub(in super::super) Rc<RefCell<Wire>>);

impl Read for Fake {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        let Some(mut bytes) = wire.incoming.pop_front() else { return Err(io::ErrorKind::WouldBlock.into()) };
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        if count < bytes.len() {
            wire.incoming.push_front(bytes.split_off(count));
        }
        Ok(count)
    }
}

impl Write for Fake {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        if wire.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if wire.room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = bytes.len().min(wire.room);
        wire.room -= count;
        wire.written.extend_from_slice(&bytes[..count]);
        Ok(count)
    }
    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let joined: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.write(&joined)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for Fake {
    fn shutdown_write(&mut self) -> io::Result<()> {
        self.0.borrow_mut().shut_down = true;
        Ok(())
    }
}

/// A payload of many records.
pub(in super::super) fn large() -> Vec<u8> {
    (0..100_000u32).map(|number| b'a' + (number % 23) as u8).collect()
}

/// The same in runs of many lengths.
pub(in super::super) fn parts() -> Parts {
    let large = large();
    let mut rest = large.as_slice();
    let mut runs: Vec<std::sync::Arc<[u8]>> = Vec::new();
    for length in [1, 0, 16_384, 5, 16_380, 16_000, 384, 40_000].into_iter().chain([usize::MAX]) {
        let (run, after) = rest.split_at(length.min(rest.len()));
        runs.push(run.into());
        rest = after;
    }
    Parts::new(runs)
}

/// Takes input line by line, and does what each says.
#[derive(Default)]
pub(in super::super) struct Lines {
    pub(in super::super) seen: Vec<String>,
    pub(in super::super) drained: usize,
    pub(in super::super) ended: Vec<Ended>,
}

impl Service for Lines {
    type Session = ();

    fn open(&mut self, _: &mut Link<'_>, _: Origin) {}

    fn input(&mut self, link: &mut Link<'_>, _: &mut (), bytes: &mut [u8]) -> usize {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return 0 };
        let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
        match line.as_str() {
            "pause" => link.pause(),
            "linger" => {
                link.send(Payload::Static(b"bye"));
                link.close(Close::Linger);
            }
            "flush" => {
                link.send(Payload::Static(b"bye"));
                link.close(Close::Flush);
            }
            "abort" => link.close(Close::Abort),
            "large" => link.send(Payload::Shared(std::sync::Arc::from(large()))),
            "parts" => link.send(Payload::Parts(std::sync::Arc::new(parts()))),
            "private" => link.send(Payload::private(vec![b'p'; 5000])),
            "deadline" => link.set_deadline(link.now().after(Duration::from_secs(1))),
            _ => link.send(Payload::Static(b"ok")),
        }
        self.seen.push(line);
        if bytes.len() > end + 1 {
            link.yield_input();
        }
        end + 1
    }

    fn end_of_input(&mut self, link: &mut Link<'_>, _: &mut ()) {
        if !link.is_paused() {
            link.close(Close::Flush);
        }
    }

    fn drained(&mut self, _: &mut Link<'_>, _: &mut ()) {
        self.drained += 1;
    }

    fn deadline(&mut self, link: &mut Link<'_>, _: &mut ()) {
        link.send(Payload::Static(b"late"));
    }

    fn shed(&mut self, link: &mut Link<'_>, _: &mut (), _: &[u8]) {
        link.send(Payload::Static(b"sorry"));
        link.close(Close::Linger);
    }

    fn closed(&mut self, _: Key, _: (), ended: Ended) {
        self.ended.push(ended);
    }
}

pub(in super::super) const LIMITS: Limits = Limits {
    write_stall: Duration::from_secs(30),
    write_min_bytes_per_second: 10,
    close: Duration::from_secs(5),
    private_bytes_max: 100_000,
};

pub(in super::super) struct Bench {
    pub(in super::super) io: Io<Fake, ()>,
    pub(in super::super) service: Lines,
    pub(in super::super) wire: Fake,
    pub(in super::super) key: Key,
    pub(in super::super) clock: Tick,
}

impl Bench {
    pub(in super::super) fn new(room: usize) -> Self {
        let clock = Tick::NEVER.after(Duration::from_secs(1));
        let mut io = Io::new(LIMITS, clock);
        let mut service = Lines::default();
        let wire = Fake::default();
        wire.0.borrow_mut().room = room;
        let key = io.insert(wire.clone(), Origin(0), &mut service);
        Self { io, service, wire, key, clock }
    }

    /// The peer sends; the event is dealt with, and all turns that follow from it.
    pub(in super::super) fn receive(&mut self, bytes: &[u8]) {
        self.wire.0.borrow_mut().incoming.push_back(bytes.to_vec());
        self.event(false);
    }

    fn blocked(&mut self) -> Vec<Key> {
        let mut keys = Vec::new();
        self.io.take_blocked(&mut keys);
        keys
    }

    fn event(&mut self, hung_up: bool) {
        let mut buffer = [0; 16];
        self.io.readable(self.key, hung_up, &mut buffer, &mut self.service);
        for _ in 0..100 {
            let mut keys = Vec::new();
            self.io.take_runnable(&mut keys);
            for key in keys {
                self.io.readable(key, false, &mut buffer, &mut self.service);
            }
        }
        assert!(!self.io.has_runnable(), "it comes to rest");
        self.io.reap(&mut self.service);
    }

    pub(in super::super) fn writable(&mut self, room: usize) {
        self.wire.0.borrow_mut().room = room;
        self.io.writable(self.key, &mut self.service);
        self.io.reap(&mut self.service);
    }

    pub(in super::super) fn later(&mut self, by: Duration) {
        self.clock = self.clock.after(by);
        self.io.set_now(self.clock);
        while self.io.sweep(&mut self.service) {}
        self.io.reap(&mut self.service);
    }

    fn written(&self) -> String {
        String::from_utf8(self.wire.0.borrow().written.clone()).unwrap()
    }
}

#[test]
fn input_that_is_not_complete_is_kept_and_given_back_when_it_is() {
    let mut bench = Bench::new(100);
    bench.receive(b"on");
    bench.receive(b"e\ntw");
    bench.receive(b"o\n");
    assert_eq!(bench.service.seen, ["one", "two"]);
    assert_eq!(bench.written(), "okok");
}

#[test]
fn input_left_by_choice_is_offered_again_without_an_event() {
    let mut bench = Bench::new(100);
    bench.receive(b"a\nb\nc\nd\n");
    assert_eq!(bench.service.seen, ["a", "b", "c", "d"]);
}

#[test]
fn more_than_the_shared_buffer_holds_arrives_in_portions() {
    let mut bench = Bench::new(100);
    let long = "x".repeat(1000);
    bench.receive(format!("{long}\nafter\n").as_bytes());
    assert_eq!(bench.service.seen, [long.as_str(), "after"]);
}

#[test]
fn a_paused_link_reads_nothing_until_it_is_resumed() {
    let mut bench = Bench::new(100);
    bench.receive(b"pause\n");
    bench.receive(b"one\n");
    assert_eq!(bench.service.seen, ["pause"]);
    bench.io.visit(bench.key, |link, ()| link.resume());
    bench.event(false);
    assert_eq!(bench.service.seen, ["pause", "one"]);
}

#[test]
fn a_hang_up_during_a_pause_is_not_forgotten_when_the_link_is_resumed() {
    let mut bench = Bench::new(100);
    bench.receive(b"pause\n");
    bench.wire.0.borrow_mut().incoming.extend([b"last\n".to_vec(), Vec::new()]);
    bench.event(true);
    assert_eq!(bench.service.seen, ["pause"]);
    bench.io.visit(bench.key, |link, ()| link.resume());
    bench.event(false);
    assert_eq!(bench.service.seen, ["pause", "last"]);
    assert_eq!(bench.service.ended, [Ended::Closed], "the end of input came after what was sent before it");
}

#[test]
fn output_the_socket_does_not_take_waits_and_is_announced_when_it_is_gone() {
    let mut bench = Bench::new(3);
    bench.receive(b"a\nb\nc\n");
    assert_eq!(bench.written(), "oko");
    assert_eq!(bench.blocked(), [bench.key]);
    assert_eq!(bench.io.visit(bench.key, |link, ()| link.is_blocked()), Some(true));
    bench.writable(2);
    assert_eq!((bench.service.drained, bench.written().as_str()), (0, "okoko"));
    bench.writable(100);
    assert_eq!((bench.service.drained, bench.written().as_str()), (1, "okokok"));
    assert!(bench.blocked().is_empty(), "it is watched once and for all");
}

/// What went wrong: the visit sent blocked output, the event that followed found nothing to do, and the service was never
/// told that its output was sent.
#[test]
fn blocked_output_that_a_visit_could_have_sent_still_ends_in_a_call_of_drained() {
    let mut bench = Bench::new(1);
    bench.receive(b"a\n");
    assert_eq!(bench.written(), "o");
    // The peer reads; before the event is dealt with, a change is pushed.
    bench.wire.0.borrow_mut().room = 100;
    bench.io.visit(bench.key, |link, ()| {
        assert!(link.is_blocked());
        link.send(Payload::Static(b"more"));
    });
    assert_eq!((bench.service.drained, bench.written().as_str()), (0, "o"));
    bench.writable(100);
    assert_eq!((bench.service.drained, bench.written().as_str()), (1, "okmore"));
}

/// What went wrong: after a part of the input the connection yields, the end of input was read at once, and the
/// service closed although it had not seen the rest.
#[test]
fn the_end_of_input_comes_after_input_that_was_left_by_choice() {
    let mut bench = Bench::new(100);
    bench.wire.0.borrow_mut().incoming.extend([b"one\na\nb\n".to_vec(), Vec::new()]);
    bench.event(true);
    assert_eq!(bench.service.seen, ["one", "a", "b"]);
    assert_eq!(bench.service.ended, [Ended::Closed]);
}

/// What went wrong: reading went on while what had been read was left, so that it grew.
#[test]
fn a_link_that_leaves_input_by_choice_reads_no_more_meanwhile() {
    let mut bench = Bench::new(1000);
    bench.wire.0.borrow_mut().incoming.extend([b"one\ntwo\nthree\n1".to_vec(), b"2345678\n".to_vec()]);
    let mut buffer = [0; 16];
    bench.io.readable(bench.key, false, &mut buffer, &mut bench.service);
    assert_eq!(bench.service.seen, ["one"]);
    assert_eq!(bench.wire.0.borrow().incoming.len(), 1, "the second portion waits in the kernel");
    bench.event(false);
    assert_eq!(bench.service.seen, ["one", "two", "three", "12345678"]);
}

/// What went wrong: input that came during a pause was not thrown away after the close, so that the kernel reset
/// the connection and the peer lost the last bytes.
#[test]
fn a_paused_link_that_is_closed_discards_what_came_during_the_pause() {
    let mut bench = Bench::new(100);
    bench.receive(b"pause\n");
    bench.receive(b"never seen\n");
    bench.io.visit(bench.key, |link, ()| {
        link.send(Payload::Static(b"bye"));
        link.close(Close::Linger);
    });
    assert!(bench.wire.0.borrow().shut_down);
    let mut buffer = [0; 16];
    let mut keys = Vec::new();
    bench.io.take_runnable(&mut keys);
    for key in keys {
        bench.io.readable(key, false, &mut buffer, &mut bench.service);
    }
    assert!(bench.wire.0.borrow().incoming.is_empty());
    assert_eq!((bench.service.seen.as_slice(), bench.written().as_str()), (&["pause".to_owned()][..], "bye"));
}

#[test]
fn private_output_that_waits_is_counted_until_it_is_gone() {
    let mut bench = Bench::new(0);
    bench.receive(b"private\nprivate\n");
    assert_eq!(bench.io.pending_private_bytes(), 10_000);
    bench.writable(7500);
    assert_eq!(bench.io.pending_private_bytes(), 5000);
    bench.io.hung_up(bench.key);
    bench.io.reap(&mut bench.service);
    assert_eq!(bench.io.pending_private_bytes(), 0);
    assert_eq!(bench.service.ended, [Ended::Peer]);
}

#[test]
fn a_lingering_close_sends_the_last_bytes_and_discards_input_until_the_peer_is_done() {
    let mut bench = Bench::new(2);
    bench.receive(b"linger\nnever seen\n");
    assert_eq!(bench.written(), "by");
    assert!(!bench.wire.0.borrow().shut_down, "not before everything is sent");
    bench.writable(100);
    assert_eq!(bench.written(), "bye");
    assert!(bench.wire.0.borrow().shut_down);
    bench.receive(b"still talking");
    assert!(bench.service.ended.is_empty());
    bench.receive(b"");
    assert_eq!(bench.service.ended, [Ended::Closed]);
    assert_eq!(bench.service.seen, ["linger"]);
}

#[test]
fn a_peer_that_never_ends_is_given_up_after_a_while() {
    let mut bench = Bench::new(100);
    bench.receive(b"linger\n");
    bench.later(Duration::from_secs(4));
    assert!(bench.service.ended.is_empty());
    bench.later(Duration::from_secs(2));
    assert_eq!(bench.service.ended, [Ended::Closed]);
    assert_eq!(bench.io.counters.linger_timeouts, 1);
}

#[test]
fn closing_at_once_waits_for_nothing() {
    let mut bench = Bench::new(100);
    bench.receive(b"flush\n");
    assert_eq!((bench.written().as_str(), bench.service.ended.as_slice()), ("bye", &[Ended::Closed][..]));
    let mut bench = Bench::new(100);
    bench.receive(b"abort\n");
    assert_eq!((bench.written().as_str(), bench.service.ended.as_slice()), ("", &[Ended::Aborted][..]));
    assert!(bench.io.is_empty());
}

#[test]
fn output_that_stands_still_for_too_long_ends_the_connection() {
    let mut bench = Bench::new(1);
    bench.receive(b"a\n");
    bench.later(Duration::from_secs(29));
    bench.writable(0);
    assert!(bench.service.ended.is_empty());
    bench.later(Duration::from_secs(2));
    assert_eq!(bench.service.ended, [Ended::Stalled]);
}

#[test]
fn a_deadline_comes_once() {
    let mut bench = Bench::new(100);
    bench.receive(b"deadline\n");
    bench.later(Duration::from_millis(500));
    assert_eq!(bench.written(), "");
    bench.later(Duration::from_secs(1));
    bench.later(Duration::from_secs(1));
    assert_eq!(bench.written(), "late");
}

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Core>() <= 64, "{}", size_of::<Core>());
    assert!(size_of::<Option<Connection<mio::net::TcpStream, ()>>>() <= 72);
}
