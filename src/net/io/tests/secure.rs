//! TLS on the connections of a reactor over stand-in sockets.

use std::io::{Read, Write};
use std::time::Duration;

use proptest::prelude::*;
use rustls::ClientConnection;

use super::super::super::channel::tests::endpoints::{VERSIONS, client, connect, server};
use super::super::super::channel::{Established, Failure};
use super::super::super::service::Close;
use super::super::secure::Secure;
use super::super::*;
use super::{Fake, LIMITS, Lines, large};
use crate::payload::Payload;

const REFUSAL: &[u8] = b"speak TLS";
/// Encrypted bytes that a connection may hold in addition to its payloads: the rest of one record.
const RECORD_MAX: usize = 16_384 + 64;

struct Peer {
    client: ClientConnection,
    wire: Fake,
    key: Key,
    heard: Vec<u8>,
    closed: bool,
}

struct Bench {
    io: Io<Fake, ()>,
    service: Lines,
    peers: Vec<Peer>,
    clock: Tick,
    /// Bytes of a client that arrive at once.
    piece: usize,
    buffer: Vec<u8>,
}

impl Bench {
    fn new() -> Self {
        let clock = Tick::NEVER.after(Duration::from_secs(1));
        Self {
            io: Io::new(LIMITS, clock),
            service: Lines::default(),
            peers: Vec::new(),
            clock,
            piece: usize::MAX,
            buffer: vec![0; 2048],
        }
    }

    fn join(&mut self, room: usize) -> usize {
        self.join_with(room, 1)
    }

    fn join_with(&mut self, room: usize, version: usize) -> usize {
        let wire = Fake::default();
        wire.0.borrow_mut().room = room;
        let secure = Secure::new(server(false), REFUSAL).unwrap();
        let key = self.io.insert_secure(wire.clone(), secure, Origin(0), &mut self.service);
        let client = connect(&client(VERSIONS[version]));
        self.peers.push(Peer { client, wire, key, heard: Vec::new(), closed: false });
        self.peers.len() - 1
    }

    /// What the client has to say arrives in the kernel.
    fn arrive(&mut self, peer: usize) {
        let Peer { client, wire, .. } = &mut self.peers[peer];
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        wire.0.borrow_mut().incoming.extend(bytes.chunks(self.piece).map(<[u8]>::to_vec));
    }

    fn event(&mut self, peer: usize) {
        let key = self.peers[peer].key;
        self.io.readable(key, false, &mut self.buffer, &mut self.service);
        self.io.reap(&mut self.service);
    }

    /// A turn of the loop after its events.
    fn turn(&mut self, budget: usize) {
        let mut keys = Vec::new();
        self.io.take_runnable(&mut keys);
        for key in keys {
            self.io.readable(key, false, &mut self.buffer, &mut self.service);
        }
        self.io.process_handshakes(budget, &mut self.buffer, &mut self.service);
        self.io.reap(&mut self.service);
    }

    /// The client reads what was sent to it. Returns how many bytes that were.
    fn hear(&mut self, peer: usize) -> Result<usize, rustls::Error> {
        let Peer { client, wire, heard, closed, .. } = &mut self.peers[peer];
        let written = std::mem::take(&mut wire.0.borrow_mut().written);
        let mut bytes = written.as_slice();
        while !bytes.is_empty() {
            client.read_tls(&mut bytes).unwrap();
            let state = client.process_new_packets()?;
            let start = heard.len();
            heard.resize(start + state.plaintext_bytes_to_read(), 0);
            client.reader().read_exact(&mut heard[start..]).unwrap();
            *closed |= state.peer_has_closed();
        }
        Ok(written.len())
    }

    /// Everything goes on until nothing moves; each round the socket takes `room` bytes more.
    fn settle(&mut self, peer: usize, room: usize) {
        // Enough for 700 KB through the smallest room that it is called with for so much.
        for _ in 0..20_000 {
            self.arrive(peer);
            for _ in 0..100 {
                self.event(peer);
                self.turn(4);
            }
            let mut moved = self.hear(peer).unwrap();
            let key = self.peers[peer].key;
            self.peers[peer].wire.0.borrow_mut().room = room;
            self.io.writable(key, &mut self.service);
            self.io.reap(&mut self.service);
            moved += self.hear(peer).unwrap();
            let at_rest = self.peers[peer].wire.0.borrow().incoming.is_empty();
            if at_rest && moved == 0 && !self.io.has_runnable() && !self.peers[peer].client.wants_write() {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    fn say(&mut self, peer: usize, text: &str) {
        self.peers[peer].client.writer().write_all(text.as_bytes()).unwrap();
    }

    fn heard(&mut self, peer: usize) -> String {
        String::from_utf8(std::mem::take(&mut self.peers[peer].heard)).unwrap()
    }

    fn later(&mut self, by: Duration) {
        self.clock = self.clock.after(by);
        self.io.set_now(self.clock);
        while self.io.sweep(&mut self.service) {}
        self.io.reap(&mut self.service);
    }
}

const PLENTY: usize = 1 << 30;

#[test]
fn a_conversation_goes_on_as_without_tls() {
    for version in [0, 1] {
        let mut bench = Bench::new();
        let peer = bench.join_with(PLENTY, version);
        bench.settle(peer, PLENTY);
        bench.say(peer, "one\ntwo\nth");
        bench.settle(peer, PLENTY);
        bench.say(peer, "ree\nlarge\nparts\n");
        bench.settle(peer, PLENTY);
        assert_eq!(bench.service.seen, ["one", "two", "three", "large", "parts"]);
        let large = String::from_utf8(large()).unwrap();
        assert_eq!(bench.heard(peer), format!("okokok{large}{large}"));
        assert_eq!(bench.io.counters.handshakes.done[Established::Anew as usize], 1);
        let expected = bench.peers[peer].client.wants_read();
        assert!(expected && bench.io.counters.bytes_out > 200_000);
    }
}

#[test]
fn nothing_is_sent_in_the_clear() {
    let mut bench = Bench::new();
    let peer = bench.join(PLENTY);
    // Before the handshake, and in the middle of it.
    for _ in 0..2 {
        let key = bench.peers[peer].key;
        bench.io.visit(key, |link, ()| link.send(Payload::Static(b"a secret")));
        bench.arrive(peer);
        bench.event(peer);
        bench.turn(1);
    }
    let written = bench.peers[peer].wire.0.borrow().written.clone();
    assert!(!written.is_empty() && memchr::memmem::find(&written, b"a secret").is_none());
    bench.settle(peer, PLENTY);
    bench.say(peer, "one\n");
    bench.settle(peer, PLENTY);
    assert_eq!(bench.heard(peer), "ok");
}

#[test]
fn handshakes_have_a_budget_and_do_not_hold_up_open_connections() {
    let mut bench = Bench::new();
    let open = bench.join(PLENTY);
    bench.settle(open, PLENTY);
    let crowd: Vec<usize> = (0..10).map(|_| bench.join(PLENTY)).collect();
    for peer in &crowd {
        bench.arrive(*peer);
        bench.event(*peer);
        // Another event for it changes nothing.
        bench.event(*peer);
    }
    bench.say(open, "one\n");
    bench.arrive(open);
    bench.event(open);
    bench.hear(open).unwrap();
    assert_eq!(bench.heard(open), "ok");
    let answered = |bench: &Bench| {
        let has = |peer: &&usize| !bench.peers[**peer].wire.0.borrow().written.is_empty();
        crowd.iter().filter(has).count()
    };
    assert_eq!(answered(&bench), 0);
    for turn in 1..=4 {
        bench.turn(3);
        assert_eq!(answered(&bench), (3 * turn).min(10));
        assert_eq!(bench.io.has_runnable(), turn < 4);
    }
    assert_eq!(bench.io.counters.handshakes.deferred, 3);
    for peer in crowd {
        bench.settle(peer, PLENTY);
    }
    assert_eq!(bench.io.counters.handshakes.done[Established::Anew as usize], 11);
}

#[test]
fn a_socket_that_is_full_holds_the_rest_of_one_record_and_references() {
    let mut bench = Bench::new();
    let peer = bench.join(PLENTY);
    bench.settle(peer, PLENTY);
    bench.peers[peer].wire.0.borrow_mut().room = 20_000;
    bench.say(peer, "large\n");
    bench.arrive(peer);
    bench.event(peer);
    let key = bench.peers[peer].key;
    assert_eq!(bench.io.visit(key, |link, ()| link.is_blocked()), Some(true));
    let pending = bench.io.pending_private_bytes();
    assert!(pending > 0 && pending < RECORD_MAX, "{pending}");
    bench.settle(peer, 3000);
    assert_eq!(bench.heard(peer).into_bytes(), large());
    assert_eq!((bench.io.pending_private_bytes(), bench.service.drained), (0, 1));
}

#[test]
fn closing_says_goodbye_after_the_last_bytes_even_if_the_socket_is_full() {
    for room in [PLENTY, 1, 10, 100] {
        for how in ["linger\n", "flush\n"] {
            let mut bench = Bench::new();
            let peer = bench.join(PLENTY);
            bench.settle(peer, PLENTY);
            bench.peers[peer].wire.0.borrow_mut().room = room;
            bench.say(peer, how);
            bench.settle(peer, room);
            assert_eq!(bench.heard(peer), "bye");
            assert!(bench.peers[peer].closed, "room {room}");
            let lingers = how == "linger\n";
            assert_eq!(bench.peers[peer].wire.0.borrow().shut_down, lingers);
            if lingers {
                bench.peers[peer].wire.0.borrow_mut().incoming.push_back(Vec::new());
                bench.event(peer);
            }
            assert_eq!(bench.service.ended, [Ended::Closed]);
        }
    }
}

#[test]
fn the_end_that_tls_announces_is_the_end_of_input() {
    let mut bench = Bench::new();
    let peer = bench.join(PLENTY);
    bench.settle(peer, PLENTY);
    bench.say(peer, "one\ntwo\n");
    bench.peers[peer].client.send_close_notify();
    bench.settle(peer, PLENTY);
    assert_eq!(bench.service.seen, ["one", "two"]);
    assert_eq!((bench.heard(peer).as_str(), bench.service.ended.as_slice()), ("okok", &[Ended::Closed][..]));
}

#[test]
fn the_end_during_a_pause_is_told_when_the_link_is_resumed() {
    let mut bench = Bench::new();
    let peer = bench.join(PLENTY);
    bench.settle(peer, PLENTY);
    bench.say(peer, "pause\nlast\n");
    bench.peers[peer].client.send_close_notify();
    bench.settle(peer, PLENTY);
    assert_eq!(bench.service.seen, ["pause"]);
    assert!(bench.service.ended.is_empty());
    let key = bench.peers[peer].key;
    bench.io.visit(key, |link, ()| link.resume());
    // No event will come: everything has been read.
    for _ in 0..10 {
        bench.turn(1);
    }
    assert_eq!(bench.service.seen, ["pause", "last"]);
    assert_eq!(bench.service.ended, [Ended::Closed]);
}

#[test]
fn a_peer_that_speaks_no_tls_gets_an_answer_without() {
    let mut bench = Bench::new();
    let peer = bench.join(PLENTY);
    bench.peers[peer].wire.0.borrow_mut().incoming.push_back(b"GET / HTTP/1.1\r\n\r\n".to_vec());
    bench.event(peer);
    bench.turn(1);
    let wire = bench.peers[peer].wire.clone();
    assert_eq!(wire.0.borrow().written, REFUSAL);
    assert!(wire.0.borrow().shut_down);
    assert_eq!(bench.io.counters.handshakes.failed[Failure::PlainHttp as usize], 1);
    wire.0.borrow_mut().incoming.extend([b"more".to_vec(), Vec::new()]);
    bench.event(peer);
    assert_eq!(bench.service.ended, [Ended::Error]);
    assert!(bench.service.seen.is_empty());
}

#[test]
fn what_is_no_tls_is_told_so_and_ends() {
    // In the handshake, and after it.
    for established in [false, true] {
        let mut bench = Bench::new();
        let peer = bench.join(PLENTY);
        if established {
            bench.settle(peer, PLENTY);
        }
        let garbage = [0x17, 3, 3, 0, 20].into_iter().chain([7; 20]).collect();
        bench.peers[peer].wire.0.borrow_mut().incoming.push_back(garbage);
        bench.event(peer);
        bench.turn(1);
        assert!(!bench.peers[peer].wire.0.borrow().written.is_empty(), "an alert");
        assert!(bench.peers[peer].wire.0.borrow().shut_down);
        bench.peers[peer].wire.0.borrow_mut().incoming.push_back(Vec::new());
        bench.event(peer);
        assert_eq!(bench.service.ended, [Ended::Error]);
        let failed: u64 = bench.io.counters.handshakes.failed.iter().sum();
        assert_eq!(failed, u64::from(!established));
        if established {
            assert_eq!(
                bench.hear(peer),
                Err(rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac))
            );
        }
    }
}

#[test]
fn handshakes_that_are_broken_off_are_counted_by_who_did_it() {
    let mut bench = Bench::new();
    let (gone, slow) = (bench.join(PLENTY), bench.join(PLENTY));
    bench.peers[gone].wire.0.borrow_mut().incoming.extend([vec![0x16], Vec::new()]);
    for _ in 0..2 {
        bench.event(gone);
        bench.turn(1);
    }
    assert_eq!(bench.io.counters.handshakes.failed[Failure::Gone as usize], 1);
    // As a service does when its time is up.
    let key = bench.peers[slow].key;
    bench.io.visit(key, |link, ()| {
        link.send(Payload::Static(b"late"));
        link.close(Close::Linger);
    });
    assert!(bench.peers[slow].wire.0.borrow().written.is_empty());
    bench.later(Duration::from_secs(6));
    assert_eq!(bench.io.counters.handshakes.failed[Failure::Timeout as usize], 1);
    assert_eq!(bench.service.ended, [Ended::Closed, Ended::Closed]);
}

/// What went wrong: what could not be written to a peer that was gone stayed in the memory that all connections share,
/// and went out to the next one.
#[test]
fn what_could_not_be_written_to_one_peer_never_reaches_another() {
    for line in ["linger\n", "one\n", "large\n", "parts\n"] {
        let mut bench = Bench::new();
        let gone = bench.join(PLENTY);
        bench.settle(gone, PLENTY);
        bench.say(gone, line);
        bench.arrive(gone);
        bench.peers[gone].wire.0.borrow_mut().broken = true;
        bench.event(gone);
        assert_eq!(bench.service.ended, [Ended::Peer], "{line:?}");
        // In its handshake too.
        let early = bench.join(PLENTY);
        bench.peers[early].wire.0.borrow_mut().broken = true;
        bench.arrive(early);
        bench.event(early);
        bench.turn(1);
        assert_eq!(bench.service.ended.len(), 2);
        let next = bench.join(PLENTY);
        bench.settle(next, PLENTY);
        bench.say(next, "one\n");
        bench.settle(next, PLENTY);
        assert_eq!(bench.heard(next), "ok");
    }
}

#[test]
fn a_peer_that_does_not_read_its_handshake_stalls_and_ends() {
    let mut bench = Bench::new();
    let peer = bench.join(10);
    bench.arrive(peer);
    bench.event(peer);
    bench.turn(1);
    let mut blocked = Vec::new();
    bench.io.take_blocked(&mut blocked);
    assert_eq!(blocked, [bench.peers[peer].key]);
    bench.later(Duration::from_secs(31));
    assert_eq!(bench.service.ended, [Ended::Stalled]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn whatever_the_cuts_and_the_room_everything_arrives_once_and_in_order(
        piece in 1usize..3000,
        room in 1usize..30_000,
        words in prop::collection::vec(0usize..4, 1..8),
        tls13: bool,
    ) {
        let mut bench = Bench::new();
        bench.piece = piece;
        let peer = bench.join_with(room, usize::from(tls13));
        bench.settle(peer, room.max(100));
        let large = String::from_utf8(large()).unwrap();
        let mut expected = String::new();
        let names = ["large", "parts", "x", "yy"];
        for word in &words {
            bench.say(peer, &format!("{}\n", names[*word]));
            expected += if *word < 2 { &large } else { "ok" };
        }
        bench.settle(peer, room.max(100));
        prop_assert_eq!(&bench.service.seen, &words.iter().map(|word| names[*word]).collect::<Vec<_>>());
        prop_assert!(bench.heard(peer) == expected);
        prop_assert_eq!(bench.io.pending_private_bytes(), 0);
    }
}

#[test]
fn tls_adds_one_allocation_of_known_size_and_what_rustls_needs() {
    assert!(size_of::<Secure>() <= 1200, "{}", size_of::<Secure>());
}
