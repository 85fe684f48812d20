//! A reactor's server on fake sockets: tests of what depends on time, memory, or the order of events.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde_json::{Value, json};

use crate::config::{self, Settings, Streaming};
use crate::fanout::mailbox::{Mail, Mailbox, Wake};
use crate::ingest::{Following, Handle, Offload};
use crate::model::environment_id::EnvironmentId;
use crate::model::parse::DatasetText;
use crate::model::secret::SecretKind;
use crate::net::io::{Io, Limits, Socket};
use crate::net::reactor::Driver;
use crate::net::service::Origin;
use crate::net::slab::Key;
use crate::net::ticks::Tick;
use crate::protocol::secret::Secret;
use crate::protocol::token;
use crate::store::{Snapshot, Writer, WriterOptions};
use crate::telemetry::metrics::Metrics;

use super::*;
use crate::serve::session::State;

mod access;
mod straddle;

pub(super) const NOW_MS: i64 = 1_706_745_600_000;
pub(super) const PRIVATE_BYTES_MAX: usize = 1 << 20;
const IDLE: Duration = Duration::from_secs(120);

#[derive(Debug, Default)]
pub(super) struct Wire {
    incoming: VecDeque<Vec<u8>>,
    room: usize,
    pub(super) written: Vec<u8>,
    pub(super) shut_down: bool,
}

/// One end of a connection whose other end is the test.
#[derive(Clone, Debug, Default)]
pub(super) struct Fake(pub(super) Rc<RefCell<Wire>>);

impl Read for Fake {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.borrow_mut().incoming.pop_front() {
            Some(bytes) => {
                buffer[..bytes.len()].copy_from_slice(&bytes);
                Ok(bytes.len())
            }
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Fake {
    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write(&slices.iter().flat_map(|slice| slice.iter().copied()).collect::<Vec<u8>>())
    }
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut wire = self.0.borrow_mut();
        let count = bytes.len().min(wire.room);
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        wire.room -= count;
        wire.written.extend_from_slice(&bytes[..count]);
        Ok(count)
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

impl Fake {
    /// Takes out what was written: the payloads of its frames.
    pub(super) fn frames(&self) -> Vec<Vec<u8>> {
        let written = std::mem::take(&mut self.0.borrow_mut().written);
        let (mut rest, mut frames) = (&written[..], Vec::new());
        while let [_, short, after @ ..] = rest {
            let (length, after) = match short {
                126 => (usize::from(u16::from_be_bytes([after[0], after[1]])), &after[2..]),
                127 => (u64::from_be_bytes(after[..8].try_into().unwrap()) as usize, &after[8..]),
                short => (usize::from(*short), after),
            };
            frames.push(after[..length].to_vec());
            rest = &after[length..];
        }
        frames
    }

    /// The `data` of the only frame that was written.
    pub(super) fn only_data(&self) -> Value {
        let frames = self.frames();
        assert_eq!(frames.len(), 1, "{} frames", frames.len());
        serde_json::from_slice::<Value>(&frames[0]).unwrap()["data"].take()
    }

    /// The code of the close frame that was written last.
    pub(super) fn close_code(&self) -> Option<u16> {
        let frame = self.frames().pop()?;
        Some(u16::from_be_bytes([*frame.first()?, *frame.get(1)?]))
    }

    pub(super) fn give_room(&self, room: usize) {
        self.0.borrow_mut().room = room;
    }
}

struct NoWaker;

impl Wake for NoWaker {
    fn wake(&self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) struct Bench {
    pub(super) io: Io<Fake, Session>,
    pub(super) server: Server,
    pub(super) mailbox: Mailbox,
    pub(super) writer: Writer,
    pub(super) clock: Tick,
    /// The newest snapshot, which this reactor learns of by mail.
    current: Arc<ArcSwap<Snapshot>>,
}

impl Bench {
    pub(super) fn new(change: impl FnOnce(&mut Options)) -> Self {
        let settings = Settings::from_pairs(&[("Mode", "offline"), ("ApiKey", "k")]).unwrap();
        let mut options = Options::new(&settings, Keys::default(), "test".into());
        options.streaming =
            Streaming { token_expiry: Duration::from_secs(30), token_hold: Duration::from_secs(30) };
        options.cors.max_age = Duration::ZERO;
        options.limits = config::Limits {
            verdict_wait: Duration::from_secs(10),
            head: Duration::from_secs(15),
            body: Duration::from_secs(30),
            keep_alive: Duration::from_secs(130),
            close: Duration::from_secs(5),
            stream_idle: Some(IDLE),
            header_bytes: 4096,
            headers: 32,
            body_bytes: 4096,
            user_bytes: 4096,
            user_properties: 10,
            message_bytes: 4096,
            bootstrap_bytes: 4096,
            bootstraps: 1,
            pending_bytes: 1 << 20,
            ..options.limits
        };
        change(&mut options);
        let (jobs, _) = crossbeam::channel::bounded(1);
        let current = Arc::new(ArcSwap::from(Snapshot::empty()));
        let ingest = Handle::new(jobs, Offload::start().unwrap(), current.clone(), Following::new());
        let shared = Shared::new(options, ingest, crate::insights::Handle::off(), Metrics::new(), || NOW_MS);
        let mailbox = Mailbox::new(NoWaker);
        let clock = Tick::NEVER.after(Duration::from_secs(1));
        let limits = Limits {
            write_stall: Duration::from_secs(3600),
            write_min_bytes_per_second: 0,
            close: Duration::from_secs(5),
            private_bytes_max: PRIVATE_BYTES_MAX,
        };
        Self {
            io: Io::new(limits, clock),
            server: Server::new(shared, mailbox.clone(), vec![ListenerRole::Data]),
            mailbox,
            writer: Writer::new(WriterOptions { revocation_grace_ms: 0, ..WriterOptions::default() }),
            clock,
            current,
        }
    }

    /// Runs turns of the event loop until there is nothing left to do.
    pub(super) fn turns(&mut self) {
        let mut buffer = vec![0; 4096];
        for _ in 0..1000 {
            self.server.mail(&mut self.io);
            let mut keys = Vec::new();
            self.io.take_runnable(&mut keys);
            for key in keys {
                self.io.readable(key, false, &mut buffer, &mut self.server);
            }
            self.io.reap(&mut self.server);
            let more = self.server.work(&mut self.io);
            self.io.reap(&mut self.server);
            if !more && !self.io.has_runnable() {
                return;
            }
        }
        panic!("the server still has work after 1,000 turns");
    }

    pub(super) fn later(&mut self, by: Duration) {
        self.clock = self.clock.after(by);
        self.io.set_now(self.clock);
        while self.io.sweep(&mut self.server) {}
        self.io.reap(&mut self.server);
        self.turns();
    }

    pub(super) fn receive(&mut self, key: Key, wire: &Fake, bytes: &[u8]) {
        wire.0.borrow_mut().incoming.push_back(bytes.to_vec());
        let mut buffer = vec![0; 4096];
        self.io.readable(key, false, &mut buffer, &mut self.server);
        self.turns();
    }

    pub(super) fn message(&mut self, key: Key, wire: &Fake, message: &Value) {
        let text = message.to_string();
        let mut frame = vec![0x81, 0x80 | 126, (text.len() >> 8) as u8, text.len() as u8, 0, 0, 0, 0];
        if text.len() < 126 {
            frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
        }
        frame.extend_from_slice(text.as_bytes());
        self.receive(key, wire, &frame);
    }

    pub(super) fn writable(&mut self, key: Key, wire: &Fake, room: usize) {
        wire.give_room(room);
        self.io.writable(key, &mut self.server);
        self.turns();
    }

    /// Opens a WebSocket whose peer reads everything.
    pub(super) fn connect(&mut self, kind: SecretKind) -> (Key, Fake) {
        self.connect_as(kind, "")
    }

    /// The same, with these header lines.
    pub(super) fn connect_as(&mut self, kind: SecretKind, headers: &str) -> (Key, Fake) {
        let wire = Fake::default();
        wire.give_room(usize::MAX);
        let key = self.io.insert(wire.clone(), Origin(0), &mut self.server);
        let token = token::encode(&secret(kind), NOW_MS, 5);
        let request = format!(
            "GET /streaming?type={}&token={token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n",
            name(kind)
        );
        self.receive(key, &wire, request.as_bytes());
        let mut answer = std::mem::take(&mut wire.0.borrow_mut().written);
        assert!(answer.starts_with(b"HTTP/1.1 101 "));
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        wire.0.borrow_mut().written = answer.split_off(end);
        (key, wire)
    }

    /// Loads an environment whose flags have these keys, times (seconds), and this value.
    pub(super) fn load(&mut self, flags: &[(&str, i64)], value: &str) {
        self.load_with_secrets(&[SecretKind::Server, SecretKind::Client], flags, value);
    }

    /// The same, with only the secrets of these kinds.
    pub(super) fn load_with_secrets(&mut self, kinds: &[SecretKind], flags: &[(&str, i64)], value: &str) {
        let secrets: Vec<Value> = kinds
            .iter()
            .map(|&kind| json!({ "type": name(kind), "projectKey": "p", "envKey": "e", "envId": id().to_string(), "value": secret(kind).as_str() }))
            .collect();
        let flags: Vec<Value> = flags
            .iter()
            .map(|(key, second)| {
                json!({
                    "id": key, "envId": id().to_string(), "key": key, "name": key, "variationType": "string",
                    "variations": [{ "id": "v", "value": value }], "targetUsers": [], "rules": [], "isEnabled": true,
                    "disabledVariationId": "v", "isArchived": false, "exptIncludeAllTargets": false,
                    "fallthrough": { "includedInExpt": false, "variations": [{ "id": "v", "rollout": [0, 1], "exptRollout": 1 }] },
                    "updatedAt": format!("2024-02-01T00:00:{second:02}Z"),
                })
            })
            .collect();
        let item =
            json!({ "envId": id().to_string(), "secrets": secrets, "featureFlags": flags, "segments": [] });
        let dump = json!({ "eventType": "rp_full", "items": [item] }).to_string();
        let mut text = DatasetText::new(dump.into_bytes());
        let published = self.writer.replace(&text.parse().unwrap(), crate::store::Moment::default());
        self.current.store(self.writer.current().clone());
        if let Some(change) = published.change {
            self.mailbox.post(Mail::Change { change, arrived: Instant::now(), in_service: None });
        }
        self.turns();
    }
}

pub(super) fn id() -> EnvironmentId {
    EnvironmentId::from_bytes([7; 16])
}

pub(super) fn secret(kind: SecretKind) -> Secret {
    Secret::build([kind as u8 + 1; 16], id())
}

pub(super) fn name(kind: SecretKind) -> &'static str {
    match kind {
        SecretKind::Server => "server",
        SecretKind::Client => "client",
    }
}

pub(super) fn ask(user: &str) -> Value {
    json!({ "messageType": "data-sync", "data": { "timestamp": 0, "user": { "keyId": user } } })
}

#[test]
fn a_silent_stream_is_closed_with_1001_and_any_message_is_a_sign_of_life() {
    let mut bench = Bench::new(|_| {});
    bench.load(&[("flag", 1)], "v");
    let (key, wire) = bench.connect(SecretKind::Server);
    bench.later(IDLE - Duration::from_secs(1));
    // A pong that nobody asked for, with an empty payload.
    bench.receive(key, &wire, &[0x8A, 0x80, 0, 0, 0, 0]);
    bench.later(IDLE - Duration::from_secs(1));
    assert_eq!(wire.close_code(), None);
    bench.later(Duration::from_secs(2));
    assert_eq!(wire.close_code(), Some(1001));
    bench.later(Duration::from_secs(6));
    assert!(wire.0.borrow().shut_down, "nobody answers the closing handshake");
    bench.later(Duration::from_secs(2));
    assert!(bench.io.is_empty());
    assert_eq!(
        bench
            .server
            .parts
            .broadcast
            .index
            .count(bench.server.view().secret(&secret(SecretKind::Server)).unwrap().slot, SecretKind::Server),
        0
    );
    assert_eq!(bench.server.parts.broadcast.secrets.iter().count(), 0);
}

#[test]
fn a_silent_stream_may_stay_for_ever_by_setting() {
    let mut bench = Bench::new(|options| options.limits.stream_idle = None);
    bench.load(&[("flag", 1)], "v");
    let (_, wire) = bench.connect(SecretKind::Client);
    bench.later(Duration::from_secs(100_000));
    assert_eq!((wire.close_code(), bench.io.len()), (None, 1));
}

/// What went wrong: the Ruby SDK treats a `pong` as an invalid message, and reconnected every ten seconds.
#[test]
fn the_ruby_sdk_is_sent_no_pong() {
    let mut bench = Bench::new(|_| {});
    bench.load(&[("flag", 1)], "v");
    for (headers, pongs) in [
        ("User-Agent: featbit-ruby-server-sdk/1.0\r\n", 0),
        ("X-FeatBit-User-Agent: featbit-ruby-server-sdk/1.0\r\n", 0),
        ("User-Agent: fb-python-server-sdk\r\n", 1),
    ] {
        let (key, wire) = bench.connect_as(SecretKind::Server, headers);
        bench.message(key, &wire, &json!({ "messageType": "ping", "data": null }));
        assert_eq!(wire.frames().len(), pongs, "{headers}");
        bench.message(key, &wire, &ask("anna"));
        assert_eq!(wire.only_data()["eventType"], "full");
    }
}

#[test]
fn a_connection_that_is_behind_gets_one_patch_with_all_it_lacks_when_it_reads_again() {
    let mut bench = Bench::new(|_| {});
    bench.load(&[("a", 1), ("b", 1)], "v");
    let (key, wire) = bench.connect(SecretKind::Client);
    wire.give_room(10);
    bench.message(key, &wire, &ask("anna"));
    bench.load(&[("a", 2), ("b", 2)], "w");
    bench.load(&[("a", 3), ("b", 4)], "x");
    bench.load(&[("a", 5), ("b", 6)], "y");
    bench.writable(key, &wire, usize::MAX);
    let frames = wire.frames();
    assert_eq!(frames.len(), 2, "the answer and one difference");
    let data: Value = serde_json::from_slice(&frames[1]).unwrap();
    assert_eq!(data["data"]["eventType"], "patch");
    let flags = data["data"]["featureFlags"].as_array().unwrap();
    let values: Vec<_> = flags.iter().map(|flag| (&flag["id"], &flag["variation"])).collect();
    assert_eq!(values, [(&json!("a"), &json!("y")), (&json!("b"), &json!("y"))]);
}

/// What went wrong: the socket was writable again, but its event was not handled yet. A change that came in between flushed
/// the blocked output; then the SDK got neither that change nor the answer to its next request.
#[test]
fn a_change_between_writability_and_its_event_is_not_lost() {
    let mut bench = Bench::new(|_| {});
    bench.load(&[("flag", 1)], "v");
    let (key, wire) = bench.connect(SecretKind::Server);
    wire.give_room(10);
    bench.message(key, &wire, &ask("anna"));
    bench.message(key, &wire, &json!({ "messageType": "ping", "data": null }));
    wire.give_room(usize::MAX);
    bench.load(&[("flag", 2)], "w");
    bench.io.writable(key, &mut bench.server);
    bench.turns();
    let messages: Vec<Value> =
        wire.frames().iter().map(|frame| serde_json::from_slice(frame).unwrap()).collect();
    let kinds: Vec<_> =
        messages.iter().map(|message| (&message["messageType"], &message["data"]["eventType"])).collect();
    assert_eq!(
        kinds,
        [
            (&json!("data-sync"), &json!("full")),
            (&json!("data-sync"), &json!("patch")),
            (&json!("pong"), &Value::Null),
        ]
    );
}

/// What went wrong: a change without connections was still counted as under way when the next one came, whose delivery
/// then seemed to have taken all the time in between.
#[test]
fn a_change_that_concerns_no_connection_is_not_under_way() {
    let mut bench = Bench::new(|_| {});
    bench.load(&[("flag", 1)], "v");
    assert!(bench.server.parts.broadcast.is_done());
    let (key, wire) = bench.connect(SecretKind::Server);
    bench.message(key, &wire, &ask("anna"));
    wire.frames();
    bench.load(&[("flag", 2)], "w");
    assert_eq!(wire.only_data()["eventType"], "patch");
    assert!(bench.server.parts.broadcast.is_done());
}

#[test]
fn connections_pending_for_a_verdict_get_it_with_the_data_or_are_closed() {
    let mut bench = Bench::new(|_| {});
    let (_, early) = bench.connect(SecretKind::Server);
    bench.later(Duration::from_secs(11));
    assert_eq!(early.close_code(), Some(1011));
    let (key, wire) = bench.connect(SecretKind::Server);
    bench.message(key, &wire, &ask("anna"));
    let (gone, _) = bench.connect(SecretKind::Client);
    bench.io.hung_up(gone);
    bench.turns();
    bench.load(&[("flag", 1)], "v");
    assert_eq!(wire.only_data()["eventType"], "full");
    assert!(bench.server.parts.pending.is_empty());
    bench.later(Duration::from_secs(60));
    assert_eq!(wire.close_code(), None, "an accepted connection has no time limit for a verdict");
}

/// What went wrong: a dump that was fetched right after readiness had said that there is data was empty, since another
/// reactor answered, which had not taken the data in yet.
#[test]
fn a_dump_was_empty_at_a_reactor_that_had_not_taken_in_the_data_yet() {
    let mut other = Bench::new(|_| {});
    other.load(&[("flag", 1)], "v");
    let api_key = config::Secret::new("k".into());
    let mut bench = Bench::new(|options| options.keys.api_key = Some(api_key));
    bench.current.store(other.writer.current().clone());
    let wire = Fake::default();
    wire.give_room(usize::MAX);
    let key = bench.io.insert(wire.clone(), Origin(0), &mut bench.server);
    let call = b"GET /api/public/proxy/backup HTTP/1.1\r\nHost: x\r\nAuthorization: k\r\n\r\n";
    bench.receive(key, &wire, call);
    let ends = Instant::now() + Duration::from_secs(60);
    while wire.0.borrow().written.is_empty() && Instant::now() < ends {
        // The dump comes from another thread.
        std::thread::yield_now();
        bench.turns();
    }
    let written = wire.0.borrow().written.clone();
    let answer = String::from_utf8_lossy(&written);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(&id().to_string()), "{answer}");
}

#[test]
fn a_drain_closes_all_connections_and_ends_with_the_last() {
    let mut bench = Bench::new(|_| {});
    bench.load(&[("flag", 1)], "v");
    let streams: Vec<_> = (0..600).map(|_| bench.connect(SecretKind::Server)).collect();
    bench.mailbox.post(Mail::Drain(Duration::ZERO));
    bench.turns();
    assert!(streams.iter().all(|(_, wire)| wire.close_code() == Some(1001)), "more than one slice of them");
    assert!(!Driver::<Fake>::is_done(&bench.server) && !Driver::<Fake>::is_accepting(&bench.server));
    for (key, _) in &streams {
        bench.io.hung_up(*key);
    }
    bench.io.reap(&mut bench.server);
    bench.turns();
    assert!(Driver::<Fake>::is_done(&bench.server));
}

#[test]
fn an_idle_stream_is_small() {
    assert!(size_of::<State>() <= 96, "{}", size_of::<State>());
    assert!(size_of::<Session>() <= 104, "{}", size_of::<Session>());
}
