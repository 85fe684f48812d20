//! Relays that follow this agent as they would follow a FeatBit server.
//!
//! A relay is remembered by the publish it was brought to, as SDKs are, but for the whole data instead of one
//! environment. There are few of them, so that a change visits each; a whole dataset is put together off the reactor,
//! and until it is there nothing else is sent, so that a relay takes everything in order.

use crate::fanout::mailbox::RelayFull;
use crate::net::io::{Io, Socket};
use crate::net::service::Link;
use crate::net::slab::Key;
use crate::payload::Payload;
use crate::protocol::close::CloseCode;
use crate::protocol::from_relay::{FromRelay, RelayRequest, parse_registration};
use crate::protocol::relay_path::{PATH_MAX, write_path};
use crate::protocol::to_relay;
use crate::protocol::to_sdk::PONG_FRAME;
use crate::store::Scope;
use crate::telemetry::metrics::{Connection, Limit};
use crate::telemetry::once::RateLimit;
use crate::wire::ws::frame;
use crate::wire::ws::reader::{Event, Reader, Step};

use crate::serve::http::exchange::{Answer, Exchange};
use crate::serve::http::request::{decompress, text};
use crate::serve::keys::RelayAccess;
use crate::serve::relay::registry::ChildId;
use crate::serve::server::Server;
use crate::serve::session::{Session, State};
use crate::serve::streaming::close::close_by_peer;

/// Relays looked at between two looks at the sockets.
const RELAY_SLICE: usize = 64;

static TOO_LONG: RateLimit = RateLimit::new(60_000);
/// Whoever has a key could fill the log with comings and goings.
static CAME: RateLimit = RateLimit::new(100);
static LEFT: RateLimit = RateLimit::new(100);

/// Bytes of the body of a registration at most: a name.
pub const REGISTER_BYTES_MAX: u64 = 4096;

/// A relay's connection.
#[derive(Debug)]
pub(crate) struct Relay {
    reader: Reader,
    /// What its key opens.
    pub access: RelayAccess,
    child: ChildId,
    /// The publish it was brought to; `None` until it has been sent data.
    sequence: Option<u64>,
    /// A whole dataset is being put together for it.
    awaits_full: bool,
    /// It is to get another one after that.
    owed_full: bool,
    /// It has asked for data and there was none.
    waits_for_data: bool,
    /// It wants to be told, with this number, when the data answers a full sync of a higher number than that.
    verify: Option<(u64, u64)>,
}

impl Relay {
    /// Bytes of a message that are being passed over.
    pub fn left_to_pass(&self) -> u64 {
        self.reader.left_to_pass()
    }

    /// Whether it was sent data, or is about to be.
    pub fn has_data(&self) -> bool {
        self.sequence.is_some() || self.awaits_full
    }
}

impl Server {
    /// What this relay key opens, if it is one.
    pub(crate) fn relay_key(&self, token: &str) -> Option<RelayAccess> {
        self.shared.keys.current.load().relay(token).cloned()
    }

    /// The path of this agent and those above it, as a relay's upgrade is answered.
    pub(crate) fn relay_path(&self) -> String {
        write_path(&self.path)
    }

    /// The body of a registration has come: the name is answered, as FeatBit's server does.
    pub(crate) fn register(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        exchange: Exchange,
        bytes: Vec<u8>,
        gzip: bool,
    ) {
        let name = decompress(bytes, gzip, REGISTER_BYTES_MAX).and_then(|bytes| {
            parse_registration(&bytes)
                .ok_or_else(|| Answer::error(400, "the body must be the agent's id as a JSON string"))
        });
        let answer = match name {
            Ok(name) => Answer::new(200, "text/plain; charset=utf-8", text(name)),
            Err(answer) => answer,
        };
        self.answer(link, session, &exchange, answer);
    }

    /// The connection is a relay's from now on.
    pub(crate) fn let_relay_in(&mut self, link: &mut Link<'_>, session: &mut Session, access: RelayAccess) {
        let child = self.shared.children.enter((self.shared.wall_ms)());
        if let Some(held_back) = CAME.allow(u64::try_from((self.shared.wall_ms)()).unwrap_or(0)) {
            tracing::info!(
                others_like_it = held_back,
                relays = self.shared.children.count(),
                "an agent that follows this one is connected"
            );
        }
        self.meter.turned(session, Connection::Relay);
        self.relays.push(link.key());
        session.state = State::Relay(Box::new(Relay {
            reader: Reader::new(),
            access,
            child,
            sequence: None,
            awaits_full: false,
            owed_full: false,
            waits_for_data: false,
            verify: None,
        }));
        self.stay_alive(link);
        let state = self.shared.ingest.following().state();
        // Until it is told otherwise, a relay takes it that there is nothing to tell.
        if !state.is_current() {
            link.send(Payload::private(frame::text_frame(to_relay::state(state).as_bytes())));
        }
    }

    /// A relay's connection is gone.
    pub(crate) fn relay_left(&mut self, key: Key, relay: &Relay) {
        let left = self.shared.children.leave(relay.child);
        let now_ms = (self.shared.wall_ms)();
        if let Some(held_back) = LEFT.allow(u64::try_from(now_ms).unwrap_or(0)) {
            tracing::info!(
                others_like_it = held_back,
                relays = self.shared.children.count(),
                agent_id = left.as_ref().and_then(|left| Some(&*left.said.as_ref()?.agent_id)),
                connected_seconds = left.as_ref().map(|left| now_ms.saturating_sub(left.since_ms) / 1000),
                "an agent that followed this one is gone"
            );
        }
        self.relays.retain(|other| *other != key);
    }

    /// Takes one frame of a relay off `bytes`, if it is all there.
    pub(crate) fn take_relay_message(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        bytes: &mut [u8],
    ) -> usize {
        let State::Relay(relay) = &mut session.state else { return 0 };
        let length = bytes.len();
        let step = relay.reader.step(bytes, self.shared.options.message_bytes_max);
        self.stay_alive(link);
        let consumed = match step {
            Ok(Step::Incomplete { .. }) => 0,
            Ok(Step::Consumed(consumed)) => consumed,
            Ok(Step::Event { event, consumed }) => {
                self.meter.message();
                match event {
                    Event::Text(text) | Event::Binary(text) => match FromRelay::parse(text) {
                        FromRelay::Ping => link.send(Payload::Static(PONG_FRAME)),
                        FromRelay::Echo => link.send(Payload::private(frame::text_frame(text))),
                        FromRelay::DataSync(sync) => self.relay_asks(link, session, &sync),
                        FromRelay::Status { agent_id, status } => {
                            let now_ms = (self.shared.wall_ms)();
                            self.shared.children.say(relay.child, agent_id, status, now_ms);
                        }
                        FromRelay::Ignored => {}
                    },
                    Event::Ping(payload) => link.send(Payload::private(frame::pong_frame(payload))),
                    Event::Pong => {}
                    Event::Close { code } => close_by_peer(link, code, consumed == length),
                }
                consumed
            }
            // As FeatBit's server does: closed, it would come back and say the same.
            Err(violation) if violation.code == CloseCode::TOO_BIG => {
                let consumed = relay.reader.pass_over(bytes);
                let lacks_data = relay.sequence.is_none() && !relay.awaits_full && !relay.waits_for_data;
                self.note_too_long();
                if lacks_data {
                    // Perhaps it asked for what is newer than what it holds.
                    self.relay_asks(link, session, &RelayRequest::full());
                }
                consumed
            }
            Err(violation) => {
                self.close_violated(link, session, violation);
                self.drop_rest(link, session, bytes);
                length
            }
        };
        if let State::Relay(relay) = &mut session.state {
            link.hold_memory(relay.reader.settle());
        }
        consumed
    }

    fn note_too_long(&self) {
        self.meter.limit_hit(Limit::MessageBytes);
        if let Some(held_back) = TOO_LONG.allow(u64::try_from((self.shared.wall_ms)()).unwrap_or(0)) {
            tracing::warn!(
                others_like_it = held_back,
                allowed = self.shared.options.message_bytes_max,
                "an agent that follows this one sent a longer message than allowed, which was passed over. If it is not \
                 shown in the status, or gets everything whenever it comes back, raise Limits__MessageBytes"
            );
        }
    }

    fn relay_asks(&mut self, link: &mut Link<'_>, session: &mut Session, sync: &RelayRequest) {
        let State::Relay(relay) = &mut session.state else { return };
        if let Some(number) = sync.verify {
            relay.verify = Some((number, self.shared.ingest.following().asked()));
            if self.view.answered() != u64::MAX {
                self.shared.ingest.request_resync(crate::ingest::ResyncReason::UnknownSecret);
            }
        }
        if !self.view.loaded() {
            relay.waits_for_data = true;
            return;
        }
        if !sync.is_full()
            && !relay.awaits_full
            && let Ok(patch) = self.view.relay_patch(&relay.access.scope, sync, &self.shared.options.instance)
        {
            self.meter.synced(crate::store::SyncKind::Patch);
            link.send(patch);
            relay.sequence = Some(self.view.sequence());
            return self.verify(link, session);
        }
        self.order_full(link, session);
    }

    /// Has a whole dataset put together for a relay.
    pub(crate) fn order_full(&mut self, link: &mut Link<'_>, session: &mut Session) {
        let State::Relay(relay) = &mut session.state else { return };
        if relay.awaits_full {
            relay.owed_full = true;
            return;
        }
        let (view, scope) = (self.view.clone(), Scope::clone(&relay.access.scope));
        let certain = view.answered() == u64::MAX;
        if self.shared.ingest.relay_full(view, scope, certain, self.mailbox.clone(), link.key()) {
            relay.awaits_full = true;
        } else {
            self.close_stream(link, session, CloseCode::INTERNAL_ERROR, "too much to do, try again");
        }
    }

    /// A whole dataset for a relay is there.
    pub(crate) fn send_relay_full(&mut self, link: &mut Link<'_>, session: &mut Session, full: RelayFull) {
        let State::Relay(relay) = &mut session.state else { return };
        if link.is_closing() {
            return;
        }
        relay.awaits_full = false;
        relay.sequence = Some(full.sequence);
        self.meter.synced(crate::store::SyncKind::Full);
        link.send(full.payload);
        if std::mem::take(&mut relay.owed_full) {
            return self.order_full(link, session);
        }
        self.bring_relay(link, session);
    }

    /// A publish: every relay is looked at.
    pub(crate) fn relays_to_bring(&mut self) {
        self.to_bring.clear();
        self.to_bring.extend(&self.relays);
    }

    pub(crate) fn bring_some_relays<T: Socket>(&mut self, io: &mut Io<T, Session>) {
        for _ in 0..RELAY_SLICE {
            let Some(key) = self.to_bring.pop_front() else { return };
            io.visit(key, |link, session| self.bring_relay(link, session));
            io.relieve(self);
        }
    }

    /// Sends a relay what it lacks, once it has taken what it was sent before.
    pub(crate) fn bring_relay(&mut self, link: &mut Link<'_>, session: &mut Session) {
        let State::Relay(relay) = &mut session.state else { return };
        if link.is_closing() || link.is_blocked() || relay.awaits_full {
            return;
        }
        if relay.waits_for_data && self.view.loaded() {
            relay.waits_for_data = false;
            return self.order_full(link, session);
        }
        let Some(from) = relay.sequence else { return };
        if from < self.view.sequence() {
            let mut frames = std::mem::take(&mut self.frames);
            let told = self.view.relay_since(&relay.access.scope, from, &mut frames);
            if !frames.is_empty() {
                self.meter.delivered(crate::store::SyncKind::Patch);
            }
            frames.drain(..).for_each(|frame| link.send(frame));
            self.frames = frames;
            if told.is_err() {
                return self.order_full(link, session);
            }
            relay.sequence = Some(self.view.sequence());
        }
        self.verify(link, session);
    }

    /// Tells a relay that what it was sent is certain, if it wants to know and it is.
    fn verify(&mut self, link: &mut Link<'_>, session: &mut Session) {
        let State::Relay(relay) = &mut session.state else { return };
        if let Some((number, asked)) = relay.verify
            && self.view.answered() > asked
        {
            relay.verify = None;
            link.send(Payload::private(frame::text_frame(to_relay::verified(number).as_bytes())));
        }
    }

    /// The path above this agent is another one: its relays are told, so that a ring is found wherever it closes.
    pub(crate) fn take_path<T: Socket>(&mut self, above: &[String], io: &mut Io<T, Session>) {
        self.path.truncate(1);
        self.path.extend(above.iter().take(PATH_MAX - 1).cloned());
        self.tell_relays(&to_relay::path(&self.path), io);
    }

    /// Where this agent stands is another: its relays stand no better.
    pub(crate) fn take_upstream_status<T: Socket>(&mut self, io: &mut Io<T, Session>) {
        self.tell_relays(&to_relay::state(self.shared.ingest.following().state()), io);
    }

    fn tell_relays<T: Socket>(&mut self, message: &str, io: &mut Io<T, Session>) {
        let told = Payload::Shared(frame::text_frame(message.as_bytes()).into());
        for key in self.relays.clone() {
            io.visit(key, |link, _| {
                if !link.is_closing() {
                    link.send(told.clone());
                }
            });
        }
    }
}
