//! How connections end: what is sent, what is waited for, and for how long.

use std::time::Duration;

use serde_json::json;

use crate::fanout::mailbox::Mail;
use crate::model::secret::SecretKind;
use crate::net::reactor::Driver;
use crate::net::service::Origin;
use crate::net::slab::Key;

use crate::serve::session::State;
use crate::serve::tests::{Bench, Fake, PRIVATE_BYTES_MAX, ask};

/// The peer's part of a closing handshake: 1000, under a mask of zeros.
const CLOSE: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8];

/// A binary frame of so many bytes.
fn binary(length: u16) -> Vec<u8> {
    let mut frame = vec![0x82, 0x80 | 126, (length >> 8) as u8, length as u8, 0, 0, 0, 0];
    frame.resize(8 + usize::from(length), 0x88);
    frame
}

impl Fake {
    /// Whether TCP's end was sent.
    fn is_shut_down(&self) -> bool {
        self.0.borrow().shut_down
    }
}

impl Bench {
    fn loaded() -> Self {
        let mut bench = Bench::new(|options| options.echo_path = Some("/echo".into()));
        bench.load(&[("flag", 1)], "v");
        bench
    }

    /// A connection that has sent this.
    fn with_request(&mut self, request: &str) -> (Key, Fake) {
        let wire = Fake::default();
        wire.give_room(usize::MAX);
        let key = self.io.insert(wire.clone(), Origin(0), &mut self.server);
        if !request.is_empty() {
            self.receive(key, &wire, request.as_bytes());
        }
        (key, wire)
    }

    fn echo(&mut self) -> (Key, Fake) {
        let (key, wire) = self.with_request(
            "GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
        wire.0.borrow_mut().written.clear();
        (key, wire)
    }

    /// A stream that is refused: its secret is of the other kind, or gone by the time the data comes.
    fn refused(&mut self) -> (Key, Fake) {
        self.load_with_secrets(&[SecretKind::Server], &[("flag", 1)], "v");
        let (key, wire) = self.connect(SecretKind::Client);
        assert_eq!(wire.close_code(), Some(4003));
        (key, wire)
    }
}

/// What went wrong: TCP's end came right behind the close frame. A proxy in front closed both ways, the SDK's first
/// message met a reset, and the SDK came back for ever instead of stopping.
#[test]
fn tcp_stays_open_behind_a_close_frame_until_the_peer_has_answered_it() {
    let mut bench = Bench::loaded();
    let (key, wire) = bench.refused();
    assert!(!wire.is_shut_down());
    // What it had sent before the close frame reached it.
    bench.message(key, &wire, &ask("anna"));
    bench.later(Duration::from_secs(4));
    assert!(!wire.is_shut_down() && wire.frames().is_empty(), "nothing is answered any more");
    bench.receive(key, &wire, &CLOSE[..3]);
    assert!(!wire.is_shut_down());
    bench.receive(key, &wire, &CLOSE[3..]);
    assert!(wire.is_shut_down());
    // The rest of the peer is waited for only briefly.
    bench.later(Duration::from_millis(500));
    assert!(!bench.io.is_empty());
    bench.later(Duration::from_secs(1));
    assert!(bench.io.is_empty());
    assert_eq!(bench.io.counters.linger_timeouts, 0);
}

#[test]
fn a_peer_that_does_not_answer_a_close_frame_is_waited_for_as_long_as_the_setting_says() {
    let mut bench = Bench::loaded();
    let (_, silent) = bench.refused();
    let (gone_key, gone) = bench.refused();
    bench.io.hung_up(gone_key);
    bench.io.reap(&mut bench.server);
    assert_eq!((bench.io.len(), gone.is_shut_down()), (1, false));
    bench.later(Duration::from_millis(4900));
    assert!(!silent.is_shut_down());
    bench.later(Duration::from_millis(200));
    assert!(silent.is_shut_down());
    bench.later(Duration::from_millis(1100));
    assert!(bench.io.is_empty());
}

/// The end of a frame is known even if the frame is refused, so that the peer's close frame is found.
#[test]
fn after_a_violation_the_peers_close_frame_is_found_and_the_end_held_back_until_then() {
    let unmasked = [0x81, 5, b'h', b'e', b'l', b'l', b'o'];
    let not_utf8 = [0x81, 0x82, 0, 0, 0, 0, 0xC3, 0x28];
    for (code, bytes) in [
        (1002, &unmasked[..]),
        (1002, &[0xC1, 0x81, 0, 0, 0, 0, b'x']),
        (1002, &[0x80, 0x81, 0, 0, 0, 0, b'x']),
        (1007, &not_utf8),
        (1009, &binary(1500)),
        // The header alone tells; the rest is still to come.
        (1009, &binary(1500)[..100]),
    ] {
        let mut bench = Bench::new(|options| options.limits.message_bytes = 1000);
        bench.load(&[("flag", 1)], "v");
        let (key, wire) = bench.connect(SecretKind::Server);
        bench.receive(key, &wire, bytes);
        assert_eq!(wire.close_code(), Some(code));
        if bytes.len() == 100 {
            bench.receive(key, &wire, &binary(1500)[100..]);
        }
        bench.message(key, &wire, &ask("anna"));
        assert!(!wire.is_shut_down(), "{code} {bytes:x?}");
        bench.receive(key, &wire, CLOSE);
        assert!(wire.is_shut_down(), "{code} {bytes:x?}");
    }
    // Where there are no frames at all, the time limit ends it.
    let mut bench = Bench::loaded();
    let (key, wire) = bench.connect(SecretKind::Server);
    bench.receive(key, &wire, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(wire.close_code(), Some(1002));
    bench.later(Duration::from_millis(4900));
    assert!(!wire.is_shut_down());
    bench.later(Duration::from_millis(200));
    assert!(wire.is_shut_down());
}

#[test]
fn a_flood_after_a_close_frame_takes_no_memory_and_no_more_time_than_silence() {
    let mut bench = Bench::loaded();
    let (key, wire) = bench.refused();
    for _ in 0..100 {
        bench.receive(key, &wire, &binary(4000));
        bench.receive(key, &wire, &binary(4000)[..17]);
        bench.receive(key, &wire, &binary(4000)[17..]);
    }
    assert_eq!(bench.io.pending_private_bytes(), 0);
    assert!(!wire.is_shut_down());
    bench.later(Duration::from_millis(5100));
    bench.receive(key, &wire, &binary(4000));
    assert!(wire.is_shut_down());
    bench.later(Duration::from_millis(1100));
    assert!(bench.io.is_empty());
}

/// The close frame waits behind output that nobody takes: that it has not gone yet is no reason to end TCP.
#[test]
fn a_peer_that_takes_its_output_late_gets_the_close_frame_and_as_long_to_answer_as_others() {
    let mut bench = Bench::loaded();
    let (key, wire) = bench.connect(SecretKind::Server);
    bench.message(key, &wire, &ask("anna"));
    wire.frames();
    wire.give_room(0);
    bench.message(key, &wire, &json!({ "messageType": "ping", "data": null }));
    bench.load_with_secrets(&[SecretKind::Client], &[("flag", 1)], "v");
    bench.later(Duration::from_secs(10));
    assert!(!wire.is_shut_down() && wire.frames().is_empty());
    // It is read from all the same: a peer that has to write first does not wait for us for ever.
    bench.receive(key, &wire, &binary(4000));
    bench.writable(key, &wire, usize::MAX);
    assert_eq!(wire.close_code(), Some(4003));
    bench.later(Duration::from_millis(4900));
    assert!(!wire.is_shut_down());
    bench.receive(key, &wire, CLOSE);
    assert!(wire.is_shut_down());
}

/// What went wrong: until the peer had gone, a connection that was closed still stood in the index and held its user.
#[test]
fn a_stream_that_is_closed_gives_back_at_once_what_it_holds() {
    let mut bench = Bench::loaded();
    let (key, wire) = bench.connect(SecretKind::Client);
    bench.message(key, &wire, &ask("anna"));
    let slot = bench.server.view().secret(&crate::serve::tests::secret(SecretKind::Client)).unwrap().slot;
    assert_eq!(bench.server.parts.broadcast.index.count(slot, SecretKind::Client), 1);
    wire.frames();
    bench.receive(key, &wire, &[0x81, 0]);
    assert_eq!(wire.close_code(), Some(1002));
    assert_eq!(bench.server.parts.broadcast.index.count(slot, SecretKind::Client), 0);
    assert_eq!(bench.server.parts.broadcast.secrets.iter().count(), 0);
    bench.load(&[("flag", 2)], "w");
    assert!(wire.frames().is_empty());
    bench.receive(key, &wire, CLOSE);
    bench.later(Duration::from_secs(2));
    assert!(bench.io.is_empty());
}

/// What went wrong: of a stream that is given up for want of memory the beginning of a frame is forgotten, so that its
/// close frame would not be found.
#[test]
fn a_stream_that_gives_up_its_memory_is_still_heard_when_it_closes() {
    let mut bench = Bench::new(|options| options.limits.message_bytes = 2 * PRIVATE_BYTES_MAX);
    bench.load(&[("flag", 1)], "v");
    let begun = |bench: &mut Bench| {
        let (key, wire) = bench.connect(SecretKind::Server);
        let mut frame = vec![0x82, 0x80 | 127, 0, 0, 0, 0];
        frame.extend((PRIVATE_BYTES_MAX as u32).to_be_bytes());
        frame.extend([0; 4]);
        bench.receive(key, &wire, &frame);
        for _ in 0..PRIVATE_BYTES_MAX / 4096 / 2 {
            bench.receive(key, &wire, &[0x88; 4096]);
        }
        (key, wire)
    };
    let streams: Vec<_> = (0..4).map(|_| begun(&mut bench)).collect();
    let closed: Vec<_> = streams
        .into_iter()
        .filter_map(|(key, wire)| wire.close_code().map(|code| (key, wire, code)))
        .collect();
    assert!(!closed.is_empty());
    for (key, wire, code) in closed {
        assert_eq!(code, 1013);
        for _ in 0..PRIVATE_BYTES_MAX / 4096 - PRIVATE_BYTES_MAX / 4096 / 2 {
            bench.receive(key, &wire, &[0x88; 4096]);
        }
        assert!(!wire.is_shut_down());
        bench.receive(key, &wire, CLOSE);
        assert!(wire.is_shut_down());
    }
}

/// A close frame that waits for a slow peer is little, and lost it would bring the SDK back for ever.
#[test]
fn a_close_frame_that_waits_is_not_given_up_when_memory_is_short() {
    let mut bench = Bench::loaded();
    let (key, wire) = bench.connect(SecretKind::Client);
    wire.give_room(0);
    bench.load_with_secrets(&[SecretKind::Server], &[("flag", 1)], "v");
    bench.later(Duration::from_secs(30));
    let echo = json!({ "messageType": "echo", "data": "x".repeat(3000) });
    for _ in 0..PRIVATE_BYTES_MAX / 3000 * 2 {
        let (key, wire) = bench.connect(SecretKind::Server);
        wire.give_room(0);
        bench.message(key, &wire, &echo);
    }
    assert!(bench.io.pending_private_bytes() <= PRIVATE_BYTES_MAX);
    bench.writable(key, &wire, usize::MAX);
    assert_eq!(wire.close_code(), Some(4003));
    bench.receive(key, &wire, CLOSE);
    assert!(wire.is_shut_down());
}

#[test]
fn an_echo_and_a_held_stream_end_as_streams_do() {
    let mut bench = Bench::new(|options| options.echo_path = Some("/echo".into()));
    let (echo_key, echo) = bench.echo();
    let (held_key, held) = bench.connect(SecretKind::Server);
    // PublishedChange unread as long as it is held.
    bench.receive(held_key, &held, &[&binary(500)[..], &CLOSE[..4]].concat());
    bench.later(Duration::from_secs(11));
    assert_eq!(held.close_code(), Some(1011));
    assert!(!held.is_shut_down());
    bench.receive(held_key, &held, &CLOSE[4..]);
    assert!(held.is_shut_down());
    bench.mailbox.post(Mail::Drain(Duration::ZERO));
    bench.turns();
    assert_eq!(echo.close_code(), Some(1001));
    assert!(!echo.is_shut_down());
    bench.receive(echo_key, &echo, CLOSE);
    assert!(echo.is_shut_down());
}

/// What went wrong: the Java SDK takes no notice of a close frame, and came back only when its next ping failed.
#[test]
fn java_is_sent_the_end_of_tcp_instead_of_a_close_frame_unless_it_has_to_stop() {
    const JAVA: &str = "User-Agent: fb-java-server-sdk\r\n";
    let mut bench = Bench::new(|_| {});
    // Held, without data.
    let (_, held) = bench.connect_as(SecretKind::Server, JAVA);
    bench.later(Duration::from_secs(11));
    assert!(held.is_shut_down() && held.frames().is_empty());
    bench.load(&[("flag", 1)], "v");
    let (key, wire) = bench.connect_as(SecretKind::Server, JAVA);
    bench.receive(key, &wire, &[0xFF, 0xFF]);
    assert!(wire.is_shut_down() && wire.frames().is_empty());
    let (_, revoked) = bench.connect_as(SecretKind::Client, JAVA);
    let (_, drained) = bench.connect_as(SecretKind::Server, JAVA);
    bench.load_with_secrets(&[SecretKind::Server], &[("flag", 1)], "v");
    assert_eq!((revoked.close_code(), revoked.is_shut_down()), (Some(4003), false));
    bench.mailbox.post(Mail::Drain(Duration::ZERO));
    bench.turns();
    assert!(drained.is_shut_down() && drained.frames().is_empty());
}

/// What went wrong: the Java SDK closes its own end only when it comes back, which may take a minute, and the end of the
/// agent waited for that as long as for a closing handshake.
#[test]
fn a_drain_does_not_wait_until_java_comes_back() {
    let mut bench = Bench::loaded();
    let (_, java) = bench.connect_as(SecretKind::Server, "User-Agent: fb-java-server-sdk\r\n");
    bench.mailbox.post(Mail::Drain(Duration::ZERO));
    bench.turns();
    assert!(java.is_shut_down() && !bench.io.is_empty());
    bench.later(Duration::from_millis(1100));
    assert!(bench.io.is_empty());
    assert_eq!(bench.io.counters.linger_timeouts, 0);
}

/// What went wrong: an SDK that came back without delay got in by a reactor that had not stopped accepting yet, and was
/// sent away twice.
#[test]
fn nobody_is_sent_away_while_another_reactor_still_accepts() {
    let mut bench = Bench::loaded();
    let (_, stream) = bench.connect(SecretKind::Server);
    bench.server.parts.shared.reactor_started_accepting();
    bench.mailbox.post(Mail::Drain(Duration::ZERO));
    bench.server.mail(&mut bench.io);
    assert!(bench.server.work(&mut bench.io), "the next turn is due at once");
    assert!(stream.frames().is_empty() && !stream.is_shut_down());
    bench.server.parts.shared.reactor_stopped_accepting();
    bench.turns();
    assert_eq!(stream.close_code(), Some(1001));
}

/// The last closing handshakes leave time for the end of TCP before the process ends, 5 s after the drain.
#[test]
fn closing_handshakes_of_a_drain_end_within_its_5_seconds() {
    let mut bench = Bench::loaded();
    let (_, early) = bench.refused();
    let (_, stream) = bench.connect(SecretKind::Server);
    bench.mailbox.post(Mail::Drain(Duration::ZERO));
    bench.turns();
    assert_eq!(stream.close_code(), Some(1001));
    bench.later(Duration::from_millis(2400));
    assert!(!early.is_shut_down() && !stream.is_shut_down());
    bench.later(Duration::from_millis(300));
    assert!(early.is_shut_down() && stream.is_shut_down());
    bench.later(Duration::from_millis(1100));
    assert!(bench.io.is_empty());
}

/// What went wrong: when a drain began, connections on which nothing was asked yet were closed under the feet of
/// requests that were on their way, and a proxy in front answered those with 502.
#[test]
fn a_request_that_is_on_its_way_when_a_drain_begins_is_answered() {
    const REQUEST: &str = "GET /health/liveness HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut bench = Bench::loaded();
    let (fresh_key, fresh) = bench.with_request("");
    let (used_key, used) = bench.with_request(REQUEST);
    assert!(used.0.borrow().written.starts_with(b"HTTP/1.1 200 "));
    used.0.borrow_mut().written.clear();
    let (_, silent) = bench.with_request("");
    bench.mailbox.post(Mail::Drain(Duration::ZERO));
    bench.turns();
    // Taken in while the listener was being closed.
    let (late_key, late) = bench.with_request("");
    for _ in 0..3 {
        bench.later(Duration::from_millis(500));
        crate::net::reactor::Driver::<Fake>::tick(&mut bench.server, &mut bench.io);
        bench.turns();
    }
    for (key, wire) in [(fresh_key, fresh), (used_key, used), (late_key, late)] {
        assert!(!wire.is_shut_down());
        bench.receive(key, &wire, REQUEST.as_bytes());
        let written = String::from_utf8(wire.0.borrow().written.clone()).unwrap();
        assert!(
            written.starts_with("HTTP/1.1 200 ") && written.contains("\r\nConnection: close\r\n"),
            "{written}"
        );
        assert!(wire.is_shut_down());
    }
    assert!(!silent.is_shut_down());
    bench.later(Duration::from_millis(600));
    assert!(silent.is_shut_down() && silent.0.borrow().written.is_empty());
}

#[test]
fn what_is_kept_of_a_closed_stream_is_small() {
    let mut bench = Bench::loaded();
    let (key, _) = bench.refused();
    assert!(bench.io.visit(key, |_, session| matches!(session.state, State::Closing(_))).unwrap());
    assert_eq!(bench.io.pending_private_bytes(), 0);
}
