//! Polling SDKs, and every other question that an environment secret answers for.

use crate::net::service::Link;
use crate::payload::Payload;
use crate::protocol::secret::Secret;
use crate::protocol::user::{UserFault, parse_http};
use crate::store::{Environment, Poll, SyncKind};

use super::exchange::{Answer, Exchange};
use super::request::{inflate, text, unauthorized};
use super::server::Server;
use super::session::{Parked, Question, Session, State, Wait};
use super::verdict::{Verdict, Wanted};

/// Why there is no answer yet.
pub(super) const UNDECIDED: &str = "there is no data yet by which the secret could be judged";

/// Bytes that a compressed user may unfold to: parsing many small properties costs far more than their bytes.
const UNFOLDED_USER_BYTES_MAX: u64 = 256 * 1024;

/// Bytes that a compressed body from an SDK may unfold to: it is unfolded on the reactor.
const UNFOLDED_BYTES_MAX: u64 = 4 * 1024 * 1024;

impl Server {
    /// Answers a question if its secret can be judged, else parks it until it can.
    pub(super) fn ask(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        exchange: Exchange,
        secret: Secret,
        wanted: Wanted,
        question: Question,
    ) {
        match self.judge(&secret, wanted, link.now()) {
            Verdict::Undecided => {
                self.hold(link.key());
                self.park(link, session, exchange, Wait::Verdict { secret, wanted, question });
            }
            verdict => {
                let answer = self.judged(verdict, &exchange, question);
                self.answer(link, session, &exchange, answer);
            }
        }
    }

    /// There is data now: answers a question that waited for it.
    pub(super) fn ask_again(&mut self, link: &mut Link<'_>, session: &mut Session, parked: Parked) {
        let Parked { exchange, wait } = parked;
        match wait {
            Wait::Verdict { secret, wanted, question } => match self.judge(&secret, wanted, link.now()) {
                Verdict::Undecided => {
                    let wait = Wait::Verdict { secret, wanted, question };
                    session.state = State::Parked(Box::new(Parked { exchange, wait }));
                    self.held.push(link.key());
                }
                verdict => {
                    let answer = self.judged(verdict, &exchange, question);
                    self.answer_after_wait(link, session, &exchange, answer);
                }
            },
            wait => session.state = State::Parked(Box::new(Parked { exchange, wait })),
        }
    }

    /// What a compressed body from an SDK may unfold to.
    fn unfolded_bytes_max(&self) -> u64 {
        self.shared.options.body_bytes_max.min(UNFOLDED_BYTES_MAX)
    }

    fn judged(&mut self, verdict: Verdict, exchange: &Exchange, question: Question) -> Answer {
        let slot = match verdict {
            Verdict::Accepted { slot, .. } => slot,
            Verdict::Refused(refused) => {
                self.meter.refused(refused.into());
                return unauthorized();
            }
            Verdict::Undecided => return Answer::later(UNDECIDED),
        };
        let Some(environment) = self.view.environment(slot).cloned() else {
            return Answer::later("the environment is being replaced");
        };
        match question {
            Question::ServerPoll { timestamp_ms } => {
                self.server_payload(exchange, &environment, timestamp_ms)
            }
            Question::ClientPoll { timestamp_ms, user } => {
                let mut body = Vec::new();
                let outcome = environment.client_sync(self.view.segments(), &user, timestamp_ms, &mut body);
                if outcome.kind == SyncKind::Patch && outcome.flags == 0 {
                    return Answer::empty(200);
                }
                self.meter.synced(outcome.kind);
                Answer::json(200, Payload::private(body))
            }
            Question::Track { events } => {
                self.meter.events_dropped(&events);
                Answer::empty(200)
            }
        }
    }

    fn server_payload(
        &mut self,
        exchange: &Exchange,
        environment: &std::sync::Arc<Environment>,
        timestamp_ms: i64,
    ) -> Answer {
        let full = environment.polls_full(timestamp_ms);
        if full && exchange.accepts_gzip {
            self.meter.synced(SyncKind::Full);
            if let Some(body) = environment.poll_full_gzip() {
                return Answer::json(200, body.clone())
                    .with("Content-Encoding", "gzip")
                    .with("Vary", "Accept-Encoding");
            }
            self.shared.ingest.compress(environment);
        }
        match environment.server_poll(timestamp_ms) {
            Poll::Empty => Answer::empty(200),
            Poll::Body(body) => {
                if !(full && exchange.accepts_gzip) {
                    self.meter.synced(if full { SyncKind::Full } else { SyncKind::Patch });
                }
                Answer::json(200, body).with("Vary", "Accept-Encoding")
            }
        }
    }

    /// The body of a client's poll has come.
    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    pub(super) fn client_poll(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        exchange: Exchange,
        secret: Secret,
        timestamp_ms: i64,
        bytes: Vec<u8>,
        gzip: bool,
    ) {
        let user =
            inflate(bytes, gzip, self.unfolded_bytes_max().min(UNFOLDED_USER_BYTES_MAX)).and_then(|bytes| {
                parse_http(&bytes).map_err(|fault| match fault {
                    UserFault::Blank => {
                        Answer::new(400, "text/plain; charset=utf-8", text("invalid end user"))
                    }
                    UserFault::Malformed => Answer::error(400, "the body is not a user"),
                })
            });
        match user {
            Ok(user) => {
                let wanted = self.wanted_for_poll(crate::model::secret::SecretKind::Client);
                self.ask(
                    link,
                    session,
                    exchange,
                    secret,
                    wanted,
                    Question::ClientPoll { timestamp_ms, user },
                );
            }
            Err(answer) => self.answer(link, session, &exchange, answer),
        }
    }

    /// The body of a usage-event call has come.
    pub(super) fn track(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        exchange: Exchange,
        secret: Secret,
        bytes: Vec<u8>,
        gzip: bool,
    ) {
        let events = inflate(bytes, gzip, self.unfolded_bytes_max()).and_then(|bytes| {
            crate::protocol::insight::check(&bytes)
                .map_err(|_| Answer::error(400, "the body is not a JSON text of usage events"))
        });
        match events {
            Ok(events) => self.ask(link, session, exchange, secret, Wanted::Any, Question::Track { events }),
            Err(answer) => self.answer(link, session, &exchange, answer),
        }
    }
}
