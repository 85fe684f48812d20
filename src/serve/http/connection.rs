//! The HTTP conversation up to a whole request: heads, bodies, time limits, answers.

use crate::net::service::{Close, Link};
use crate::payload::Payload;
use crate::protocol::close::CloseCode;
use crate::telemetry::metrics::Closed;
use crate::wire::http1::Refusal;
use crate::wire::http1::foreign::Foreign;
use crate::wire::http1::head::{self, HeadLimits};
use crate::wire::http1::response::Connection;

use crate::serve::http::body::{Body, Purpose};
use crate::serve::http::exchange::{Answer, Exchange};
use crate::serve::http::routes::Route;
use crate::serve::metrics::Limit;
use crate::serve::server::Server;
use crate::serve::session::{Parked, Session, State, Wait};

/// What is answered, without TLS, to a request without TLS where TLS is spoken.
pub const PLAIN_REFUSAL: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 46\r\nCache-Control: no-store\r\n\
    Connection: close\r\n\r\n\
    This port speaks TLS: use https:// or wss://.\n";

impl Server {
    /// Takes a request's head off `bytes`, if it is all there, and deals with the request.
    pub(crate) fn take_head(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        bytes: &mut [u8],
    ) -> usize {
        let options = &self.shared.options;
        let limits = HeadLimits { max_bytes: options.head_bytes_max, max_headers: options.headers_max };
        match head::parse(bytes, &limits) {
            Ok(Some(head)) => {
                let consumed = head.len;
                session.state = State::Head { begun: false };
                session.has_asked = true;
                self.take_request(link, session, &head);
                consumed
            }
            Ok(None) => {
                if let State::Head { begun } = &mut session.state
                    && !std::mem::replace(begun, true)
                {
                    link.set_deadline(link.now().after(options.head_time));
                }
                0
            }
            Err(refusal) => {
                match Foreign::of(bytes) {
                    Some(foreign) => self.refuse_foreign(link, session, foreign),
                    None => self.refuse(link, session, refusal),
                }
                bytes.len()
            }
        }
    }

    /// Answers who does not speak HTTP/1, and ends the connection.
    fn refuse_foreign(&mut self, link: &mut Link<'_>, session: &mut Session, foreign: Foreign) {
        self.note_foreign(foreign);
        let Some(answer) = foreign.answer() else {
            return self.refuse(link, session, Refusal::new(400, "the PROXY protocol is not taken here"));
        };
        self.meter.answered(Route::Unknown, 505);
        link.send(Payload::Static(answer));
        session.state = State::Over;
        link.close(Close::Linger);
    }

    /// Answers a request that cannot be understood, and ends the connection.
    fn refuse(&mut self, link: &mut Link<'_>, session: &mut Session, refusal: Refusal) {
        let exchange = Exchange {
            route: Route::Unknown,
            connection: Connection::Close,
            without_body: false,
            allowed: self.shared.origins.allow_unread(),
            accepts_gzip: false,
        };
        if refusal == head::TOO_MANY_FIELDS {
            self.meter.limit_hit(crate::serve::metrics::Limit::Headers);
        } else if refusal.status == 431 {
            self.meter.limit_hit(crate::serve::metrics::Limit::HeaderBytes);
        }
        self.answer(link, session, &exchange, Answer::error(refusal.status, refusal.reason));
    }

    /// Begins to receive a request's body.
    pub(crate) fn begin_body(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        body: Result<Body, (Exchange, Refusal)>,
        expects_continue: bool,
    ) {
        match body {
            Ok(body) => {
                if expects_continue {
                    link.send(Payload::Static(crate::wire::http1::response::CONTINUE));
                }
                link.set_deadline(link.now().after(self.shared.options.body_time));
                session.state = State::Body(Box::new(body));
                // A body of length 0 is complete before a byte of it comes.
                self.take_body(link, session, &mut []);
            }
            Err((mut exchange, refusal)) => {
                exchange.connection = Connection::Close;
                self.answer(link, session, &exchange, Answer::error(refusal.status, refusal.reason));
            }
        }
    }

    /// Takes in a portion of a body.
    pub(crate) fn take_body(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        bytes: &mut [u8],
    ) -> usize {
        let State::Body(body) = &mut session.state else { return 0 };
        match body.take(bytes) {
            Ok((consumed, false)) if !body.fits() => {
                self.meter.limit_hit(Limit::PendingBytes);
                if let State::Body(body) = std::mem::replace(&mut session.state, State::Over) {
                    let exchange = Exchange { connection: Connection::Close, ..body.exchange };
                    self.answer(
                        link,
                        session,
                        &exchange,
                        Answer::later("too many large bodies are on their way in"),
                    );
                }
                consumed
            }
            Ok((consumed, false)) => {
                if let Some(deadline) = body.deadline(link.now(), self.shared.options.body_time) {
                    link.set_deadline(deadline);
                }
                consumed
            }
            Ok((consumed, true)) => {
                if let State::Body(body) = std::mem::replace(&mut session.state, State::Head { begun: false })
                {
                    self.take_whole_body(link, session, *body);
                }
                consumed
            }
            Err(refusal) => {
                if let State::Body(body) = std::mem::replace(&mut session.state, State::Over) {
                    let exchange = Exchange { connection: Connection::Close, ..body.exchange };
                    self.answer(link, session, &exchange, Answer::error(refusal.status, refusal.reason));
                }
                bytes.len()
            }
        }
    }

    fn take_whole_body(&mut self, link: &mut Link<'_>, session: &mut Session, body: Body) {
        let Body { exchange, purpose, gzip, bytes, .. } = body;
        match purpose {
            Purpose::Bootstrap(permit) => self.bootstrap(link, session, exchange, bytes, gzip, permit),
            Purpose::ClientPoll(poll) => self.client_poll(link, session, exchange, poll, bytes, gzip),
            Purpose::Register => self.register(link, session, exchange, bytes, gzip),
            Purpose::Track { secret } => self.track(link, session, exchange, secret, bytes, gzip),
        }
    }

    /// Sends an answer and gets ready for the next request, or for the end.
    pub(crate) fn answer(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        exchange: &Exchange,
        answer: Answer,
    ) {
        self.meter.answered(exchange.route, answer.status);
        let stays = exchange.connection.stays() && self.draining.is_none() && !link.input_ended();
        exchange.send(link, answer, if stays { exchange.connection } else { Connection::Close });
        if stays {
            session.state = State::Head { begun: false };
            link.set_deadline(link.now().after(self.shared.options.keep_alive));
        } else {
            session.state = State::Over;
            link.close(Close::Linger);
        }
    }

    /// Holds the connection until an answer comes from elsewhere.
    pub(crate) fn park(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        exchange: Exchange,
        wait: Wait,
    ) {
        link.set_deadline(match wait {
            Wait::Verdict(_) => link.now().after(self.shared.options.verdict_wait),
            // The writer answers every submission, and the wait for memory is short.
            Wait::Reply | Wait::Memory(_) => crate::net::ticks::Tick::NEVER,
        });
        session.state = State::Parked(Box::new(Parked { exchange, wait }));
        link.pause();
    }

    /// A deadline has come: what it means depends on what the connection is waiting for.
    pub(crate) fn out_of_time(&mut self, link: &mut Link<'_>, session: &mut Session) {
        match std::mem::replace(&mut session.state, State::Over) {
            // Nothing was asked: nothing is owed.
            State::Head { begun: false } if self.draining.is_some() => link.close(Close::Linger),
            State::Head { begun: false } => {
                self.meter.limit_hit(if session.has_asked {
                    Limit::KeepAliveSeconds
                } else {
                    Limit::HeadSeconds
                });
                link.close(Close::Linger);
            }
            State::Head { begun: true } => {
                self.meter.limit_hit(Limit::HeadSeconds);
                self.refuse(link, session, Refusal::new(408, "the request did not arrive in time"));
            }
            State::Body(body) => {
                self.meter.limit_hit(Limit::BodySeconds);
                let exchange = Exchange { connection: Connection::Close, ..body.exchange };
                self.answer(link, session, &exchange, Answer::error(408, "the body did not arrive in time"));
            }
            State::Parked(parked) => {
                self.meter.limit_hit(Limit::VerdictWait);
                let (reason, why) = self.undecided();
                let secret = match &parked.wait {
                    Wait::Verdict(asked) | Wait::Memory(asked) => Some(&asked.secret),
                    Wait::Reply => None,
                };
                self.note_refused(reason, secret);
                self.answer_after_wait(link, session, &parked.exchange, Answer::later(why));
            }
            State::Held(held) => self.held_too_long(link, session, held),
            State::Stream(stream) => {
                self.meter.limit_hit(Limit::StreamIdleSeconds);
                session.state = State::Stream(stream);
                self.close_silent(link, session);
            }
            State::Relay(relay) => {
                self.meter.limit_hit(Limit::StreamIdleSeconds);
                session.state = State::Relay(relay);
                self.close_silent(link, session);
            }
            State::Echo(reader) => {
                session.state = State::Echo(reader);
                self.close_silent(link, session);
            }
            State::Closing(rest) => {
                session.state = State::Closing(rest);
                self.end_of_close(link);
            }
            State::Over => link.close(Close::Linger),
        }
    }

    /// Sends a WebSocket away that has been silent for too long; its SDK, if it still lives, comes back.
    fn close_silent(&mut self, link: &mut Link<'_>, session: &mut Session) {
        self.close_stream(link, session, CloseCode::GOING_AWAY, "silent for too long");
        session.why = Some(Closed::Limit);
    }

    /// Answers a parked request, and takes input again.
    pub(crate) fn answer_after_wait(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        exchange: &Exchange,
        answer: Answer,
    ) {
        self.answer(link, session, exchange, answer);
        link.resume();
    }
}
