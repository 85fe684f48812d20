//! Polling SDKs, and every other question that an environment secret answers for.

use crate::net::service::Link;
use crate::payload::Payload;
use crate::protocol::secret::Secret;
use crate::protocol::user::{UserFault, parse_http};
use crate::store::{Environment, Poll, SyncKind};

use crate::serve::http::body::ClientPoll;
use crate::serve::http::exchange::{Answer, Exchange};
use crate::serve::http::request::{decompress, text, unauthorized};
use crate::serve::metrics::Limit;
use crate::serve::server::Server;
use crate::serve::session::{Asked, Parked, Question, Session, State, Wait, audience};
use crate::serve::verdict::{Verdict, Wanted};

/// Bytes that a compressed body from an SDK may unfold to: it is unfolded on the reactor.
const UNFOLDED_BYTES_MAX: u64 = 4 * 1024 * 1024;

impl Server {
    /// Answers a question if its secret can be judged, else parks it until it can.
    pub(crate) fn ask(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        exchange: Exchange,
        secret: Secret,
        wanted: Wanted,
        question: Question,
    ) {
        let asked = Asked { secret, wanted, question };
        if let Err(wait) = self.try_to_answer(link, session, &exchange, asked, false) {
            self.park(link, session, exchange, wait);
        }
    }

    /// What a question waited for may be there now: answers it, or has it wait on.
    pub(crate) fn ask_again(&mut self, link: &mut Link<'_>, session: &mut Session, parked: Parked) {
        let Parked { exchange, wait } = parked;
        let (asked, has_time) = match wait {
            Wait::Verdict(asked) => (asked, true),
            Wait::Memory(asked) => (asked, false),
            wait => {
                session.state = State::Parked(Box::new(Parked { exchange, wait }));
                return;
            }
        };
        match self.try_to_answer(link, session, &exchange, asked, true) {
            Ok(()) => {}
            // The time limit of the wait for data goes on.
            Err(wait @ Wait::Verdict(_)) if has_time => {
                session.state = State::Parked(Box::new(Parked { exchange, wait }));
            }
            Err(wait) => self.park(link, session, exchange, wait),
        }
    }

    /// Answers a question if its secret can be judged and there is memory for the answer; else it is on the list of
    /// those who wait, and what it waits for comes back.
    fn try_to_answer(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        exchange: &Exchange,
        asked: Asked,
        has_waited: bool,
    ) -> Result<(), Wait> {
        let verdict = self.judge(&asked.secret, asked.wanted, link.now());
        if verdict == Verdict::Undecided {
            self.hold(link.key());
            return Err(Wait::Verdict(asked));
        }
        let (answer, synced) = self.judged(verdict, exchange, &asked);
        if !self.fits(link, answer.body.private_bytes()) {
            self.join_hungry(link);
            return Err(Wait::Memory(asked));
        }
        if let Some(kind) = synced {
            self.meter.synced(kind);
        }
        if has_waited {
            self.answer_after_wait(link, session, exchange, answer);
        } else {
            self.answer(link, session, exchange, answer);
        }
        Ok(())
    }

    /// What a compressed body from an SDK may unfold to.
    fn unfolded_bytes_max(&self) -> u64 {
        self.shared.options.body_bytes_max.min(UNFOLDED_BYTES_MAX)
    }

    /// The answer to a question, and what it counts as.
    fn judged(&mut self, verdict: Verdict, exchange: &Exchange, asked: &Asked) -> (Answer, Option<SyncKind>) {
        let slot = match verdict {
            Verdict::Accepted { slot, .. } => slot,
            Verdict::Refused(refused) => {
                self.note_refused(refused.into(), Some(&asked.secret));
                return (unauthorized(), None);
            }
            Verdict::Undecided => return (Answer::later(self.undecided().1), None),
        };
        let Some(environment) = self.view.environment(slot).cloned() else {
            return (Answer::later("the environment is being replaced"), None);
        };
        let question = &asked.question;
        if let Question::ServerPoll { timestamp_ms } | Question::ClientPoll { timestamp_ms, .. } = question {
            environment.note_asked(*timestamp_ms, self.shared.wall_ms);
        }
        match question {
            Question::ServerPoll { timestamp_ms } => {
                self.server_payload(exchange, &environment, *timestamp_ms)
            }
            Question::ClientPoll { timestamp_ms, user, sdk } => {
                let mut body = Vec::new();
                let audience = audience(user, *sdk);
                let outcome =
                    environment.client_sync(self.view.segments(), audience, *timestamp_ms, &mut body);
                if outcome.kind == SyncKind::Patch && outcome.flags == 0 {
                    // To some SDKs an empty body is an error, and 200 moves the time that others ask from.
                    return (Answer::empty(304), None);
                }
                (Answer::json(200, Payload::private(body)), Some(outcome.kind))
            }
            Question::Track { events } => {
                self.meter.events_dropped(events);
                (Answer::empty(200), None)
            }
        }
    }

    fn server_payload(
        &mut self,
        exchange: &Exchange,
        environment: &std::sync::Arc<Environment>,
        timestamp_ms: i64,
    ) -> (Answer, Option<SyncKind>) {
        let full = environment.polls_full(timestamp_ms);
        if full && exchange.accepts_gzip {
            if let Some(body) = environment.poll_full_gzip() {
                let answer = Answer::json(200, body.clone()).with("Content-Encoding", "gzip");
                return (answer.by_coding(), Some(SyncKind::Full));
            }
            self.shared.ingest.compress(environment);
        }
        match environment.server_poll(timestamp_ms) {
            Poll::Empty => (Answer::empty(200), None),
            Poll::Body(body) => {
                let kind = if full { SyncKind::Full } else { SyncKind::Patch };
                (Answer::json(200, body).by_coding(), Some(kind))
            }
        }
    }

    /// The body of a client's poll has come.
    pub(crate) fn client_poll(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        exchange: Exchange,
        poll: ClientPoll,
        bytes: Vec<u8>,
        gzip: bool,
    ) {
        let options = &self.shared.options;
        let bytes_max = options.user_bytes_max.min(options.body_bytes_max);
        let user = decompress(bytes, gzip, bytes_max).and_then(|bytes| {
            parse_http(&bytes, options.user_properties_max).map_err(|fault| match fault {
                UserFault::Blank => Answer::new(400, "text/plain; charset=utf-8", text(fault.reason())),
                UserFault::Malformed => Answer::error(400, fault.reason()),
                UserFault::TooManyProperties => {
                    self.meter.limit_hit(Limit::UserProperties);
                    Answer::error(400, fault.reason())
                }
            })
        });
        match user {
            Ok(user) => {
                let ClientPoll { secret, timestamp_ms, sdk } = poll;
                let wanted = self.wanted_for_poll(crate::model::secret::SecretKind::Client);
                let question = Question::ClientPoll { timestamp_ms, user, sdk };
                self.ask(link, session, exchange, secret, wanted, question);
            }
            Err(answer) => self.answer(link, session, &exchange, answer),
        }
    }

    /// The body of a usage-event call has come.
    pub(crate) fn track(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        exchange: Exchange,
        secret: Secret,
        bytes: Vec<u8>,
        gzip: bool,
    ) {
        let events = decompress(bytes, gzip, self.unfolded_bytes_max()).and_then(|bytes| {
            crate::protocol::insight::check(&bytes)
                .map_err(|_| Answer::error(400, "the body is not a JSON text of usage events"))
        });
        match events {
            Ok(events) => self.ask(link, session, exchange, secret, Wanted::Any, Question::Track { events }),
            Err(answer) => self.answer(link, session, &exchange, answer),
        }
    }
}
