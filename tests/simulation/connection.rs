//! One connection of an SDK, from its first byte to its last, and whether it may be closed.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use featbit_agent::model::secret::SecretKind;
use featbit_agent::protocol::token;

use crate::rng::Rng;
use crate::sdk::{DataSync, Frame, Received, Seen, Store, frame, message, user_json};
use crate::wire::Wire;
use crate::{CLOSE_MS, HEAD_MS, IDLE_MS, STALL_MS, TOKEN_HOLD_MS, VERDICT_MS, WALL_MS, world};

/// What an SDK comes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    Good,
    /// Its secret is unknown or of the other kind, or the token is none: to be refused.
    Bad,
    /// Its clock is wrong.
    OutOfTime,
}

/// An SDK: what outlives its connections.
#[derive(Debug)]
pub struct Sdk {
    pub kind: SecretKind,
    pub environment: u8,
    pub secret: u8,
    pub user: usize,
    pub store: Store,
    pub entrance: Entrance,
    pub slow: bool,
}

#[derive(Debug)]
pub struct Connection {
    pub sdk: Sdk,
    pub server: usize,
    pub wire: Rc<RefCell<Wire>>,
    /// On its way to the server.
    flight: VecDeque<u8>,
    fin: bool,
    received: Received,
    seen: Seen,
    opened_at_ms: u64,
    pub asked: bool,
    pub asked_since_rest: bool,
    /// Has asked more than once since the last rest, so that it may get things twice.
    repeats: bool,
    pings: usize,
    pongs: usize,
    /// Data messages since the last rest.
    pub messages: usize,
    /// The SDK has begun to close, or has vanished.
    pub leaving: bool,
    pub broke_protocol: bool,
    /// A view of its server did not know its secret while it was open.
    pub may_be_refused: bool,
    /// The code by which the server closed.
    pub closed: Option<Option<u16>>,
    pub over: bool,
    pub seen_undecided: bool,
    pub draining: bool,
    /// Memory is so scarce that the server may give the connection up.
    pub may_be_shed: bool,
    /// The server may find that it reads too slowly.
    pub may_be_slow: bool,
}

impl Connection {
    pub fn open(
        rng: &mut Rng,
        sdk: Sdk,
        server: usize,
        clock_ms: &Rc<Cell<u64>>,
        accept: impl FnOnce(&Rc<RefCell<Wire>>),
    ) -> Self {
        let capacity = *rng.pick(&[100, 1500, 6000, 200_000]);
        let now_ms = clock_ms.get();
        let wire = Wire {
            capacity,
            clock_ms: clock_ms.clone(),
            read_at_ms: now_ms,
            written_at_ms: now_ms,
            ..Wire::default()
        };
        let wire = Rc::new(RefCell::new(wire));
        accept(&wire);
        let mut connection = Self {
            sdk,
            server,
            wire,
            flight: VecDeque::new(),
            fin: false,
            received: Received::default(),
            seen: Seen::default(),
            opened_at_ms: now_ms,
            asked: false,
            asked_since_rest: false,
            repeats: false,
            pings: 0,
            pongs: 0,
            messages: 0,
            leaving: false,
            broke_protocol: false,
            may_be_refused: false,
            closed: None,
            over: false,
            seen_undecided: false,
            draining: false,
            may_be_shed: false,
            may_be_slow: false,
        };
        let head = connection.head(rng);
        connection.flight.extend(head.into_bytes());
        if rng.percent(30) {
            connection.ask(rng);
        }
        connection
    }

    fn head(&self, rng: &mut Rng) -> String {
        let Sdk { kind, environment, secret, entrance, .. } = self.sdk;
        let number = if entrance == Entrance::Bad && rng.percent(50) { 77 } else { secret };
        let issued_ms = if entrance == Entrance::OutOfTime { WALL_MS - 3_600_000 } else { WALL_MS + 5 };
        let mut token = token::encode(&world::secret(number, environment), issued_ms, 2 + rng.below(40));
        if entrance == Entrance::Bad && number != 77 {
            token.truncate(30);
        }
        let agent = rng.pick(&["", "User-Agent: fb-python-server-sdk\r\n", "User-Agent: featbit-rust/1\r\n"]);
        format!(
            "GET /streaming?type={}&token={token} HTTP/1.1\r\nHost: agent\r\n{agent}Upgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            kind.as_str()
        )
    }

    pub fn is_client(&self) -> bool {
        self.sdk.kind == SecretKind::Client
    }

    /// Still wanted by the SDK, and by the server as far as the SDK knows.
    pub fn is_open(&self) -> bool {
        !self.leaving && self.closed.is_none() && !self.over
    }

    /// Asks with the timestamp of the SDK's data.
    pub fn ask(&mut self, rng: &mut Rng) {
        let timestamp = self.sdk.store.version_ms();
        let text = if self.is_client() {
            format!(
                r#"{{"messageType":"data-sync","data":{{"timestamp":{timestamp},"user":{}}}}}"#,
                user_json(self.sdk.user)
            )
        } else {
            format!(r#"{{"messageType":"data-sync","data":{{"timestamp":{timestamp}}}}}"#)
        };
        self.repeats |= self.asked;
        self.asked = true;
        self.asked_since_rest = true;
        self.send(rng, &text);
    }

    /// Another user logs in: the data of the user before does not count.
    pub fn identify(&mut self, rng: &mut Rng, user: usize) {
        if user != self.sdk.user {
            self.sdk.user = user;
            self.sdk.store = Store::default();
            self.seen.clear();
            self.ask(rng);
        }
    }

    pub fn ping(&mut self, rng: &mut Rng) {
        self.pings += 1;
        let text = rng.pick(&[
            r#"{"messageType":"ping","data":null}"#,
            r#"{"messageType":"ping","data":{}}"#,
            "protocol",
        ]);
        match *text {
            "protocol" => self.flight.extend(frame(rng, 0x89, b"hello")),
            text => self.send(rng, text),
        }
    }

    pub fn send(&mut self, rng: &mut Rng, text: &str) {
        let bytes = message(rng, text);
        self.flight.extend(bytes);
    }

    pub fn garbage(&mut self) {
        self.broke_protocol = true;
        self.flight.extend([0x81, 5, 1, 2, 3, 4, 5]);
    }

    pub fn close(&mut self, rng: &mut Rng, how: usize) {
        if self.leaving {
            return;
        }
        self.leaving = true;
        match how {
            0 => self.flight.extend(frame(rng, 0x88, &1000u16.to_be_bytes())),
            1 => {
                self.flight.extend(frame(rng, 0x88, &4003u16.to_be_bytes()));
                self.fin = true;
            }
            2 => self.fin = true,
            _ => {
                self.flight.clear();
                let mut wire = self.wire.borrow_mut();
                wire.inbound.clear();
                (wire.reset, wire.readable) = (true, true);
            }
        }
    }

    /// Something that was sent arrives.
    pub fn arrive(&mut self, count: usize) -> bool {
        let mut wire = self.wire.borrow_mut();
        let count = count.min(self.flight.len());
        let bytes: Vec<u8> = self.flight.drain(..count).collect();
        wire.arrive(&bytes);
        let ends = self.fin && self.flight.is_empty() && !wire.in_closed;
        if ends {
            wire.end();
        }
        count > 0 || ends
    }

    /// The SDK reads what came.
    pub fn read(&mut self, rng: &mut Rng, count: usize, now_ms: u64) -> bool {
        let taken = self.wire.borrow_mut().take(count);
        self.received.extend(&taken);
        while let Some(next) = self.received.next() {
            self.take(rng, next, now_ms);
        }
        if let Some(head) = self.received.http_error.take() {
            assert!(now_ms + 200 >= self.opened_at_ms + HEAD_MS, "no upgrade: {head}");
            self.leaving = true;
        }
        let (empty, ended) = {
            let wire = self.wire.borrow();
            (wire.outbound.is_empty(), wire.shut_down || wire.dropped)
        };
        let over = empty && ended && !self.over;
        if over {
            self.over = true;
            self.fin = true;
            self.check_end(now_ms);
        }
        !taken.is_empty() || over
    }

    fn take(&mut self, rng: &mut Rng, frame_: Frame, now_ms: u64) {
        assert!(self.closed.is_none(), "something came after the close");
        match frame_ {
            Frame::Pong => self.pongs += 1,
            Frame::Text(text) if text == r#"{"messageType":"pong","data":{}}"# => self.pongs += 1,
            Frame::Text(text) => self.take_data(&text),
            Frame::Close(code) => {
                self.check_close(code, now_ms);
                self.closed = Some(code);
                if !self.leaving {
                    let reply = code.unwrap_or(1000).to_be_bytes();
                    self.flight.extend(frame(rng, 0x88, &reply));
                }
                self.fin = true;
            }
        }
    }

    fn take_data(&mut self, text: &str) {
        assert!(self.asked, "data though nobody asked");
        let message = DataSync::parse(text);
        assert_eq!(message.user_key.is_some(), self.is_client());
        if message.user_key.as_deref().is_some_and(|key| key != world::USERS[self.sdk.user]) {
            // On its way when the user changed; browsers drop it.
            return;
        }
        self.messages += 1;
        self.seen.take(&message, self.repeats);
        self.sdk.store.apply(&message, self.is_client());
    }

    fn check_close(&self, code: Option<u16>, now_ms: u64) {
        let open_ms = now_ms - self.opened_at_ms + 200;
        let silent_ms = now_ms - self.wire.borrow().read_at_ms + 200;
        let expected = match code {
            Some(4003) => self.may_be_refused || self.leaving,
            Some(1001) => self.draining || silent_ms >= IDLE_MS,
            Some(1008) => self.sdk.entrance == Entrance::OutOfTime && open_ms >= TOKEN_HOLD_MS,
            Some(1011) => self.seen_undecided && open_ms >= VERDICT_MS,
            Some(1013) => self.may_be_shed,
            Some(1000) => self.leaving,
            Some(1002) => self.broke_protocol,
            _ => false,
        };
        assert!(expected, "closed with {code:?} after {open_ms} ms, silent for {silent_ms} ms");
    }

    /// The server's end of sending came.
    fn check_end(&self, now_ms: u64) {
        let wire = self.wire.borrow();
        let stalled = now_ms - wire.written_at_ms + 200 >= STALL_MS;
        let slow = self.may_be_slow && now_ms - self.opened_at_ms + 200 >= STALL_MS;
        let given_up = wire.shut_down && now_ms - wire.shut_down_at_ms + 200 >= CLOSE_MS;
        let silent = !self.received.upgraded && now_ms - self.opened_at_ms + 200 >= HEAD_MS;
        assert!(
            self.closed.is_some()
                || self.leaving
                || self.may_be_shed
                || stalled
                || slow
                || given_up
                || silent,
            "ended without a close frame: {:?}",
            self.sdk
        );
        // The answer to a close frame is on its way still: TCP's end does not come before its time.
        let early = wire.shut_down && wire.shut_down_at_ms + 200 < wire.written_at_ms + CLOSE_MS;
        let unanswered = self.closed.is_some() && !self.leaving && !self.flight.is_empty();
        assert!(
            !(early && unanswered) || self.draining || self.may_be_shed || wire.in_closed,
            "TCP's end did not wait for the answer to the close frame {:?}: {:?}",
            self.closed,
            self.sdk
        );
    }

    /// At rest: everything that was asked was answered.
    pub fn check_rest(&mut self, decided: bool) {
        assert!(self.received.is_empty(), "half a frame");
        if decided && !self.broke_protocol {
            assert!(self.received.upgraded);
            assert_eq!(self.pongs, self.pings, "pings that were not answered");
        }
        self.asked_since_rest = false;
        self.repeats = false;
        self.messages = 0;
    }
}
