//! A request's head has come: who answers it, and whether it is allowed to ask.

use std::borrow::Cow;

use crate::model::secret::SecretKind;
use crate::net::service::Link;
use crate::net::ticks::Tick;
use crate::payload::Payload;
use crate::protocol::http::{is_json_content_type, timestamp_ms};
use crate::protocol::sdk::Sdk;
use crate::protocol::secret::Secret;
use crate::wire::gzip::{self, GzipError};
use crate::wire::http1::head::{BodyLength, ContentEncoding, Head, Method, WebSocketFault};
use crate::wire::http1::response::Connection;

use super::cors;
use crate::serve::api::management::Managed;
use crate::serve::http::body::{Body, ClientPoll, Purpose};
use crate::serve::http::exchange::{Answer, Exchange};
use crate::serve::http::routes::Route;
use crate::serve::metrics::Refusal as Reason;
use crate::serve::server::Server;
use crate::serve::session::{Question, Session};
use crate::serve::verdict::pending::UNKNOWN_FORM_TOLD;
use crate::serve::verdict::{Verdict, Wanted};

/// A call of an SDK that has a body.
#[derive(Clone, Copy, Debug)]
enum SdkCall {
    Poll,
    Track,
}

impl Server {
    /// Deals with a request whose head is `head`.
    pub(crate) fn take_request(&mut self, link: &mut Link<'_>, session: &mut Session, head: &Head<'_>) {
        let options = &self.shared.options;
        let route =
            Route::of(head.path, session.door, options.echo_path.as_deref(), options.metrics_elsewhere);
        if matches!(route, Route::Streaming | Route::Echo) && head.websocket.is_some() {
            return self.upgrade(link, session, head, route);
        }
        // A body that nobody reads would be taken for the next request.
        let has_body = !matches!(head.body, BodyLength::None | BodyLength::Length(0));
        let reads_body = head.method == Method::Post && route.takes(Method::Post);
        let keeps = self.draining.is_none() && (!has_body || reads_body);
        let exchange = Exchange {
            route,
            connection: Connection::answer_to(head, keeps),
            without_body: head.method == Method::Head,
            allowed: self.shared.origins.allow(head.origin),
            accepts_gzip: head.accepts_gzip,
        };
        if let Some(answer) = self.general_answer(head, &exchange) {
            return self.answer(link, session, &exchange, answer);
        }
        match route {
            Route::Liveness => self.answer(link, session, &exchange, crate::serve::api::health::liveness()),
            Route::Readiness => {
                let answer = crate::serve::api::health::readiness(
                    self.shared.is_ending(),
                    &self.view,
                    self.shared.ingest.following().state(),
                );
                self.answer(link, session, &exchange, answer);
            }
            Route::Metrics => {
                let answer = self.metrics();
                self.answer(link, session, &exchange, answer);
            }
            Route::ServerPoll => self.ask_server_poll(link, session, exchange, head),
            Route::ClientPoll => self.begin_sdk_body(link, session, exchange, head, SdkCall::Poll),
            Route::Track => self.begin_sdk_body(link, session, exchange, head, SdkCall::Track),
            Route::Status => self.manage(link, session, exchange, head, Managed::Status),
            Route::Backup => self.manage(link, session, exchange, head, Managed::Backup),
            Route::Resync => self.manage(link, session, exchange, head, Managed::Resync),
            Route::Register => self.begin_register(link, session, exchange, head),
            Route::Bootstrap => self.begin_bootstrap(link, session, exchange, head),
            // Somebody tries by hand whether a proxy passes the path on.
            Route::Streaming | Route::Echo => {
                self.answer(
                    link,
                    session,
                    &exchange,
                    Answer::error(404, "only WebSocket connections are taken here"),
                );
            }
            Route::Unknown => {
                self.answer(link, session, &exchange, Answer::error(404, "there is nothing at this path"));
            }
        }
    }

    /// What can be answered without the route: preflights, OPTIONS, wrong methods, half-made upgrades.
    fn general_answer(&self, head: &Head<'_>, exchange: &Exchange) -> Option<Answer> {
        let max_age = self.shared.options.cors_max_age.as_secs();
        if let Some(fields) = cors::preflight(head, &exchange.allowed, max_age) {
            return Some(Answer { fields, ..Answer::empty(204) });
        }
        let route = exchange.route;
        // The server as a whole (RFC 9110 section 9.3.7).
        if head.method == Method::Options && head.path == "*" {
            return Some(Answer::empty(204).with("Allow", "GET, HEAD, POST, OPTIONS"));
        }
        if matches!(route, Route::Streaming | Route::Echo)
            && let Some(fault) = head.websocket_fault
        {
            let answer = Answer::error(fault.status(), fault.reason());
            let told = |answer: Answer| answer.with("Upgrade", "websocket").with("Connection", "Upgrade");
            return Some(match fault {
                WebSocketFault::NoUpgrade | WebSocketFault::Http10 => {
                    self.note_lost_upgrade(fault);
                    told(answer)
                }
                WebSocketFault::Version => told(answer.with("Sec-WebSocket-Version", "13")),
                WebSocketFault::Key | WebSocketFault::Body => answer,
            });
        }
        if matches!(route, Route::Unknown | Route::Streaming | Route::Echo) || route.takes(head.method) {
            return None;
        }
        if head.method == Method::Options {
            return Some(Answer::empty(204).with("Allow", route.allow()));
        }
        Some(Answer::error(405, "this path does not take this method").with("Allow", route.allow()))
    }

    /// The secret in `Authorization`, judged. A refusal is counted and comes back as the answer.
    fn judge_authorization(
        &mut self,
        head: &Head<'_>,
        wanted: Wanted,
        now: Tick,
    ) -> Result<(Secret, Verdict), Answer> {
        let Some(secret) = head.authorization.and_then(Secret::parse) else {
            if head.authorization.is_some_and(|shown| !shown.is_empty()) && !self.knows_all_forms() {
                self.note_refused(Reason::UnknownForm, None);
                return Err(Answer::later(UNKNOWN_FORM_TOLD));
            }
            self.note_refused(Reason::Malformed, None);
            return Err(Answer::error(401, "Authorization must be an environment secret"));
        };
        match self.judge(&secret, wanted, now) {
            Verdict::Refused(refused) => {
                self.note_refused(refused.into(), Some(&secret));
                Err(unauthorized())
            }
            verdict @ (Verdict::Accepted { .. } | Verdict::Undecided) => Ok((secret, verdict)),
        }
    }

    /// Which secrets a polling endpoint takes.
    pub(crate) fn wanted_for_poll(&self, kind: SecretKind) -> Wanted {
        if self.shared.options.lax_polling { Wanted::Any } else { Wanted::Only(kind) }
    }

    fn ask_server_poll(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        exchange: Exchange,
        head: &Head<'_>,
    ) {
        let wanted = self.wanted_for_poll(SecretKind::Server);
        let (secret, _) = match self.judge_authorization(head, wanted, link.now()) {
            Ok(judged) => judged,
            Err(answer) => return self.answer(link, session, &exchange, answer),
        };
        let Ok(timestamp_ms) = timestamp_ms(head.query) else {
            return self.answer(link, session, &exchange, bad_timestamp());
        };
        self.ask(link, session, exchange, secret, wanted, Question::ServerPoll { timestamp_ms });
    }

    /// Client polls and usage events: the secret is looked at before the body is received.
    fn begin_sdk_body(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        mut exchange: Exchange,
        head: &Head<'_>,
        call: SdkCall,
    ) {
        let wanted = match call {
            SdkCall::Poll => self.wanted_for_poll(SecretKind::Client),
            SdkCall::Track => Wanted::Any,
        };
        let judged = self.judge_authorization(head, wanted, link.now()).and_then(|(secret, _)| {
            let gzip = accept_json(head)?;
            let purpose = match call {
                SdkCall::Poll => {
                    let timestamp_ms = timestamp_ms(head.query).map_err(|_| bad_timestamp())?;
                    let sdk = Sdk::of(head.user_agents);
                    Purpose::ClientPoll(ClientPoll { secret, timestamp_ms, sdk })
                }
                SdkCall::Track => Purpose::Track { secret },
            };
            Ok((purpose, gzip))
        });
        match judged {
            Ok((purpose, gzip)) => {
                let options = &self.shared.options;
                let max = match call {
                    SdkCall::Poll => options.body_bytes_max.min(options.user_bytes_max),
                    SdkCall::Track => options.body_bytes_max,
                };
                let body =
                    Body::begin(exchange, purpose, head.body, gzip, max, Some(self.shared.body_memory()));
                self.begin_body(link, session, body, head.expect_continue);
            }
            Err(answer) => {
                close_unless_empty(&mut exchange, head);
                self.answer(link, session, &exchange, answer);
            }
        }
    }

    fn begin_register(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        mut exchange: Exchange,
        head: &Head<'_>,
    ) {
        let known = head.authorization.and_then(|key| self.relay_key(key)).ok_or_else(|| {
            self.note_refused(Reason::RelayKey, None);
            Answer::error(401, "Authorization must be one of the agent's RelayKeys")
        });
        match known.and_then(|_| accept_json(head)) {
            Ok(gzip) => {
                let max = crate::serve::relay::connection::REGISTER_BYTES_MAX;
                let body = Body::begin(exchange, Purpose::Register, head.body, gzip, max, None);
                self.begin_body(link, session, body, head.expect_continue);
            }
            Err(answer) => {
                close_unless_empty(&mut exchange, head);
                self.answer(link, session, &exchange, answer);
            }
        }
    }

    fn begin_bootstrap(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        mut exchange: Exchange,
        head: &Head<'_>,
    ) {
        let begun = self.check_api_key(head).and_then(|()| accept_json(head)).and_then(|gzip| {
            let permit = self.shared.bootstrap_permit().ok_or_else(|| {
                self.meter.limit_hit(crate::serve::metrics::Limit::Bootstraps);
                Answer::later("another dataset is on its way in")
            })?;
            Ok((permit, gzip))
        });
        match begun {
            Ok((permit, gzip)) => {
                let max = self.shared.options.bootstrap_bytes_max;
                let body = Body::begin(exchange, Purpose::Bootstrap(permit), head.body, gzip, max, None);
                self.begin_body(link, session, body, head.expect_continue);
            }
            Err(answer) => {
                close_unless_empty(&mut exchange, head);
                self.answer(link, session, &exchange, answer);
            }
        }
    }
}

/// A body that was not received must not be taken for the next request.
pub(crate) fn close_unless_empty(exchange: &mut Exchange, head: &Head<'_>) {
    if !matches!(head.body, BodyLength::None | BodyLength::Length(0)) {
        exchange.connection = Connection::Close;
    }
}

/// Whether the announced body is JSON in a coding we read; whether it is gzip.
fn accept_json(head: &Head<'_>) -> Result<bool, Answer> {
    if !head.content_type.is_some_and(is_json_content_type) {
        return Err(Answer::error(415, "the body must be application/json"));
    }
    match head.content_encoding {
        ContentEncoding::Identity => Ok(false),
        ContentEncoding::Gzip => Ok(true),
        ContentEncoding::Other => {
            Err(Answer::error(415, "the only content coding taken is gzip").with("Accept-Encoding", "gzip"))
        }
    }
}

pub(crate) fn unauthorized() -> Answer {
    Answer::error(401, "the secret does not open this")
}

fn bad_timestamp() -> Answer {
    Answer::error(400, "timestamp must be an integer")
}

/// A gzip body in full; 413 if it grows beyond `bytes_max`, 400 if it is broken.
pub(crate) fn decompress(bytes: Vec<u8>, is_gzip: bool, bytes_max: u64) -> Result<Vec<u8>, Answer> {
    if !is_gzip {
        return Ok(bytes);
    }
    gzip::decompress(&bytes, bytes_max).map_err(|error| {
        let status = match error {
            GzipError::Broken => 400,
            GzipError::TooLarge => 413,
        };
        Answer::error(status, &error.to_string())
    })
}

/// The body of an answer made of text.
pub(crate) fn text(text: impl Into<Cow<'static, str>>) -> Payload {
    match text.into() {
        Cow::Borrowed(text) => Payload::Static(text.as_bytes()),
        Cow::Owned(text) => Payload::private(text.into_bytes()),
    }
}
