//! Management calls: status, backup, resync, bootstrap. All need the agent's `ApiKey`.

use crate::fanout::mailbox::Reply;
use crate::ingest::{ResyncReason, Submission};
use crate::net::service::Link;
use crate::payload::Payload;
use crate::wire::http1::head::Head;

use crate::serve::http::exchange::{Answer, Exchange};
use crate::serve::http::request::close_unless_empty;
use crate::serve::server::Server;
use crate::serve::session::{Session, State, Wait};
use crate::serve::shared::BootstrapPermit;

/// What a management call without a body asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Managed {
    Status,
    Resync,
    Backup,
}

impl Server {
    /// Whether a call carries the agent's key. A refusal is counted and comes back as the answer.
    pub(crate) fn check_api_key(&self, head: &Head<'_>) -> Result<(), Answer> {
        let why = match &self.shared.keys.current.load().api_key {
            Some(key) if key.matches(head.authorization.unwrap_or("").as_bytes()) => return Ok(()),
            Some(_) => "Authorization must be the agent's ApiKey",
            None => "management calls are off, since the agent has no ApiKey",
        };
        self.note_refused(crate::serve::metrics::Refusal::ApiKey, None);
        Err(Answer::error(401, why))
    }

    /// Status, backup and resync.
    pub(crate) fn manage(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        mut exchange: Exchange,
        head: &Head<'_>,
        call: Managed,
    ) {
        // None of these reads one.
        close_unless_empty(&mut exchange, head);
        if let Err(answer) = self.check_api_key(head) {
            return self.answer(link, session, &exchange, answer);
        }
        let code = match call {
            Managed::Status => 200,
            Managed::Resync => {
                self.shared.ingest.request_resync(ResyncReason::Operator);
                202
            }
            Managed::Backup => {
                let accepted = self.shared.ingest.backup(self.view.clone(), self.mailbox.clone(), link.key());
                return self.park_for_reply(link, session, exchange, accepted);
            }
        };
        let status = Payload::private(self.status().into_bytes());
        self.answer(link, session, &exchange, Answer::json(code, status));
    }

    /// The body of a bootstrap call has come.
    pub(crate) fn bootstrap(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        exchange: Exchange,
        bytes: Vec<u8>,
        gzip: bool,
        permit: BootstrapPermit,
    ) {
        let accepted = self.shared.ingest.submit(Submission {
            bytes,
            gzip,
            bytes_max: self.shared.options.bootstrap_bytes_max,
            mailbox: self.mailbox.clone(),
            key: link.key(),
            permit: Box::new(permit),
        });
        self.park_for_reply(link, session, exchange, accepted);
    }

    fn park_for_reply(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        exchange: Exchange,
        accepted: bool,
    ) {
        if accepted {
            self.park(link, session, exchange, Wait::Reply);
        } else {
            self.answer(link, session, &exchange, Answer::later("the agent is busy or about to stop"));
        }
    }

    /// An answer came from elsewhere.
    pub(crate) fn answer_parked(&mut self, link: &mut Link<'_>, session: &mut Session, reply: Reply) {
        match std::mem::replace(&mut session.state, State::Over) {
            State::Parked(parked) if matches!(parked.wait, Wait::Reply) => {
                let answer = match reply {
                    Reply::Done(body) => Answer::json(200, body),
                    Reply::Invalid(reason) => Answer::error(400, &reason),
                    Reply::TooLarge(reason) => Answer::error(413, &reason),
                };
                self.answer_after_wait(link, session, &parked.exchange, answer);
            }
            other => session.state = other,
        }
    }
}
