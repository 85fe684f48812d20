//! WebSocket connections: the upgrade, messages in, answers to them, closing.

use crate::fanout::secrets::Entrance;
use crate::model::secret::SecretKind;
use crate::net::service::Link;
use crate::payload::Payload;
use crate::protocol::from_relay;
use crate::protocol::from_sdk::{FromSdk, SdkRequest};
use crate::protocol::relay_path::PATH_FIELD;
use crate::protocol::sdk::Sdk;
use crate::protocol::secret::Secret;
use crate::protocol::to_sdk::PONG_FRAME;
use crate::protocol::token;
use crate::store::{EnvironmentSlot, PatchForm};
use crate::telemetry::metrics::Connection;
use crate::telemetry::once::RateLimit;
use crate::wire::http1::head::Head;
use crate::wire::http1::target::query_param;
use crate::wire::ws::frame;
use crate::wire::ws::handshake;
use crate::wire::ws::reader::{Event, Reader, Step};

use crate::serve::http::routes::Route;
use crate::serve::metrics::{Limit, Refusal};
use crate::serve::server::Server;
use crate::serve::session::{Session, State, Stream, audience};
use crate::serve::streaming::close::close_by_peer;

/// Bytes of an echoed message: conformance suites send 16 MiB.
const ECHO_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One line a minute for the whole process.
static TOO_LARGE: RateLimit = RateLimit::new(60_000);

impl Server {
    /// Takes a connection over to WebSocket. On `/streaming` whatever is wrong with it is said by a close code:
    /// an HTTP error would make every SDK try again for ever.
    pub(crate) fn upgrade(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        head: &Head<'_>,
        route: Route,
    ) {
        let Some(upgrade) = head.websocket else { return };
        let mut response = Vec::with_capacity(160);
        let kind = query_param(head.query, "type");
        let relay = match kind.as_deref() {
            Some(from_relay::STREAM_TYPE) if route == Route::Streaming => {
                query_param(head.query, "token").and_then(|token| self.relay_key(&token))
            }
            _ => None,
        };
        let path = relay.as_ref().map(|_| (PATH_FIELD, self.relay_path()));
        let field = path.as_ref().map(|(name, value)| (*name, value.as_str()));
        handshake::accept_response(upgrade.key, field, &mut response);
        link.send(Payload::private(response));
        self.meter.answered(route, 101);
        if route == Route::Echo {
            self.meter.turned(session, Connection::Other);
            session.state = State::Echo(Reader::new());
            return self.stay_alive(link);
        }
        self.meter.turned(session, Connection::Other);
        if let Some(key) = relay {
            return self.let_relay_in(link, session, key);
        }
        let kind = match kind.as_deref() {
            Some("server") => SecretKind::Server,
            Some("client") => SecretKind::Client,
            Some(from_relay::STREAM_TYPE) => return self.refuse_bare(link, session, Refusal::RelayKey),
            _ => return self.refuse_malformed(link, session),
        };
        if !matches!(query_param(head.query, "version").as_deref(), None | Some("" | "1" | "2")) {
            return self.refuse_malformed(link, session);
        }
        let token = query_param(head.query, "token").unwrap_or_default();
        let Ok(token) = token::decode(&token) else {
            return match self.knows_all_forms() || token.is_empty() {
                true => self.refuse_malformed(link, session),
                false => self.hold_unknown_form(link, session, Sdk::of(head.user_agents)),
            };
        };
        let ahead_ms = token.issued_at_ms.saturating_sub((self.shared.wall_ms)());
        if u128::from(ahead_ms.unsigned_abs()) > self.shared.options.token_expiry.as_millis() {
            return self.hold_out_of_time(link, session, ahead_ms, Sdk::of(head.user_agents));
        }
        self.decide_stream(link, session, token.secret, kind, Sdk::of(head.user_agents));
    }

    fn refuse_malformed(&mut self, link: &mut Link<'_>, session: &mut Session) {
        self.refuse_bare(link, session, Refusal::Malformed);
    }

    /// Refuses who showed no secret that could be told of.
    fn refuse_bare(&mut self, link: &mut Link<'_>, session: &mut Session, why: Refusal) {
        self.note_refused(why, None);
        self.close_refused(link, session);
    }

    /// The connection's secret is good: from now on it can ask, and once it has asked it is told of every change.
    pub(crate) fn let_in(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        secret: Secret,
        slot: EnvironmentSlot,
        kind: SecretKind,
        sdk: Sdk,
    ) {
        let place = self.index.add(slot, kind, link.key());
        let secret = self.secrets.enter(Entrance { secret, slot, kind });
        let counted_as = match kind {
            SecretKind::Server => Connection::Server,
            SecretKind::Client => Connection::Client,
        };
        self.meter.turned(session, counted_as);
        session.state = State::Stream(Stream {
            reader: Reader::new(),
            place,
            secret,
            sdk,
            asked: None,
            starving: false,
            user: None,
        });
        self.stay_alive(link);
    }

    pub(crate) fn stay_alive(&self, link: &mut Link<'_>) {
        let idle = self.shared.options.stream_idle;
        link.set_deadline(if idle.is_zero() {
            crate::net::ticks::Tick::NEVER
        } else {
            link.now().after(idle)
        });
    }

    /// Takes one frame off `bytes`, if it is all there.
    pub(crate) fn take_message(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        bytes: &mut [u8],
    ) -> usize {
        let State::Stream(stream) = &mut session.state else { return 0 };
        let length = bytes.len();
        let step = stream.reader.step(bytes, self.shared.options.message_bytes_max);
        self.stay_alive(link);
        let consumed = match step {
            Ok(Step::Incomplete { .. }) => 0,
            Ok(Step::Consumed(consumed)) => consumed,
            Ok(Step::Event { event, consumed }) => {
                self.meter.message();
                match event {
                    Event::Text(text) | Event::Binary(text) => {
                        match FromSdk::parse(text, self.shared.options.user_properties_max) {
                            // To the Ruby SDK it is an invalid message, which ends the connection.
                            FromSdk::Ping if stream.sdk == Sdk::Ruby => {}
                            FromSdk::Ping => link.send(Payload::Static(PONG_FRAME)),
                            FromSdk::Echo => link.send(Payload::private(frame::text_frame(text))),
                            FromSdk::DataSync(asked) => self.asked(link, stream, asked),
                            FromSdk::RelayStatus | FromSdk::Ignored(_) => {}
                        }
                    }
                    Event::Ping(payload) => link.send(Payload::private(frame::pong_frame(payload))),
                    Event::Pong => {}
                    Event::Close { code } => close_by_peer(link, code, consumed == length),
                }
                consumed
            }
            Err(violation) => {
                self.close_violated(link, session, violation);
                // From the start of the frame that broke the protocol.
                self.drop_rest(link, session, bytes);
                return length;
            }
        };
        link.hold_memory(stream.reader.settle());
        consumed
    }

    /// An SDK asks for data: all of it, or what is newer than it has.
    fn asked(&mut self, link: &mut Link<'_>, stream: &mut Stream, asked: SdkRequest) {
        if stream.place.kind == SecretKind::Client {
            // Without a valid user there is nobody to evaluate for, and FeatBit's server does not answer.
            let Some(user) = asked.user else { return self.note_no_user(asked.user_is_too_large) };
            stream.user = Some(user);
        }
        self.answer_sync(link, stream, asked.timestamp_ms);
    }

    /// Says, at most once a minute, why an SDK waits in vain, if that is not its own doing alone.
    fn note_no_user(&self, is_too_large: bool) {
        if !is_too_large {
            return;
        }
        self.meter.limit_hit(Limit::UserProperties);
        let now_ms = (self.shared.wall_ms)();
        if let Some(held_back) = TOO_LARGE.allow(u64::try_from(now_ms).unwrap_or(0)) {
            tracing::warn!(
                others_like_it = held_back,
                allowed = self.shared.options.user_properties_max,
                "a client SDK asked for a user with more custom properties than allowed, and is not answered. Send \
                 fewer, or raise Limits__UserProperties"
            );
        }
    }

    /// Sends what was asked for, or notes it until there is memory for it.
    pub(crate) fn answer_sync(&mut self, link: &mut Link<'_>, stream: &mut Stream, timestamp_ms: i64) {
        let Some(environment) = self.view.environment(stream.place.slot) else { return };
        environment.note_asked(timestamp_ms, self.shared.wall_ms);
        match &stream.user {
            None if stream.place.kind == SecretKind::Client => return,
            None => {
                self.frames.clear();
                let kind = environment.server_sync(timestamp_ms, PatchForm::of(stream.sdk), &mut self.frames);
                self.meter.synced(kind);
                for payload in self.frames.drain(..) {
                    link.send(payload);
                }
            }
            Some(user) => {
                self.text.clear();
                let audience = audience(user, stream.sdk);
                let outcome =
                    environment.client_sync(self.view.segments(), audience, timestamp_ms, &mut self.text);
                if !self.fits(link, self.text.len()) {
                    stream.asked = Some(timestamp_ms);
                    return self.starve(link, stream);
                }
                self.meter.synced(outcome.kind);
                link.send(Payload::private(frame::text_frame(&self.text)));
            }
        }
        self.index.bring(stream.place, environment.sequence());
    }

    /// Echoes a message of a conformance suite.
    pub(crate) fn take_echo(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        bytes: &mut [u8],
    ) -> usize {
        let State::Echo(reader) = &mut session.state else { return 0 };
        let length = bytes.len();
        let step = reader.step(bytes, ECHO_BYTES_MAX);
        self.stay_alive(link);
        let consumed = match step {
            Ok(Step::Incomplete { .. }) => 0,
            Ok(Step::Consumed(consumed)) => consumed,
            Ok(Step::Event { event, consumed }) => {
                match event {
                    Event::Text(text) => link.send(Payload::private(frame::text_frame(text))),
                    Event::Binary(bytes) => link.send(Payload::private(frame::binary_frame(bytes))),
                    Event::Ping(payload) => link.send(Payload::private(frame::pong_frame(payload))),
                    Event::Pong => {}
                    Event::Close { code } => close_by_peer(link, code, consumed == length),
                }
                consumed
            }
            Err(violation) => {
                self.close_violated(link, session, violation);
                // From the start of the frame that broke the protocol.
                self.drop_rest(link, session, bytes);
                return length;
            }
        };
        link.hold_memory(reader.settle());
        consumed
    }
}
