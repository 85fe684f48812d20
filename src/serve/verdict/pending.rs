//! Connections that are kept waiting instead of being refused, since a refusal would stop an SDK for good.

use crate::model::secret::SecretKind;
use crate::net::io::{Io, Socket};
use crate::net::service::Link;
use crate::net::slab::Key;
use crate::protocol::close::CloseCode;
use crate::protocol::sdk::Sdk;
use crate::protocol::secret::Secret;
use crate::protocol::status::SyncState;
use crate::telemetry::once::RateLimit;

use crate::serve::metrics::{Limit, Refusal};
use crate::serve::server::Server;
use crate::serve::session::{Session, State};
use crate::serve::verdict::{Verdict, Wanted};

/// One line a minute for the whole process, whatever the number of reactors.
static OUT_OF_TIME: RateLimit = RateLimit::new(60_000);

/// What who shows a secret or token of an unknown form is told.
pub const UNKNOWN_FORM_TOLD: &str = "this agent does not know secrets or tokens of this form; try again";

/// Connections judged between two looks at the sockets.
const JUDGE_SLICE: usize = 256;

/// A streaming connection that waits.
#[derive(Debug)]
pub(crate) enum HeldStream {
    /// For data by which its secret can be judged.
    Verdict { secret: Secret, kind: SecretKind, sdk: Sdk },
    /// For its end: the token is too old or too young, and what the SDK tries next may be neither.
    OutOfTime { sdk: Sdk },
    /// For its end: the server that is followed may know a token of this form, and a newer agent as well.
    UnknownForm { sdk: Sdk },
}

impl Server {
    /// Remembers that a connection waits for a verdict.
    pub(crate) fn hold(&mut self, key: Key) {
        self.held.push(key);
    }

    /// There is new data to judge by: all that wait for a verdict may have it.
    pub(crate) fn judge_all(&mut self) {
        self.to_judge.extend(self.held.drain(..));
    }

    pub(crate) fn judge_some<T: Socket>(&mut self, io: &mut Io<T, Session>) {
        for _ in 0..JUDGE_SLICE {
            let Some(key) = self.to_judge.pop_front() else { return };
            io.visit(key, |link, session| self.judge_again(link, session));
        }
    }

    /// Forgets those that went away while they waited, when they have become many.
    pub(crate) fn tidy_held<T: Socket>(&mut self, io: &mut Io<T, Session>) {
        if self.held.len() > 1024 && self.held.len() > 2 * io.len() {
            self.held.retain(|key| io.socket_mut(*key).is_some());
        }
    }

    fn judge_again(&mut self, link: &mut Link<'_>, session: &mut Session) {
        match std::mem::replace(&mut session.state, State::Over) {
            State::Parked(parked) => self.ask_again(link, session, *parked),
            State::Held(held) => match *held {
                HeldStream::Verdict { secret, kind, sdk } => {
                    self.decide_held(link, session, secret, kind, sdk);
                }
                // No data makes a difference.
                HeldStream::OutOfTime { .. } | HeldStream::UnknownForm { .. } => {
                    session.state = State::Held(held);
                }
            },
            other => session.state = other,
        }
    }

    /// Lets a new streaming connection in, keeps it waiting, or closes it.
    pub(crate) fn decide_stream(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        secret: Secret,
        kind: SecretKind,
        sdk: Sdk,
    ) {
        if !self.decided(link, session, secret, kind, sdk) {
            link.set_deadline(link.now().after(self.shared.options.verdict_wait));
            link.pause();
        }
    }

    /// The same for one that has been waiting; its deadline stays.
    fn decide_held(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        secret: Secret,
        kind: SecretKind,
        sdk: Sdk,
    ) {
        if self.decided(link, session, secret, kind, sdk) {
            link.resume();
        }
    }

    /// Whether there is a verdict; if not, the connection is held.
    fn decided(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        secret: Secret,
        kind: SecretKind,
        sdk: Sdk,
    ) -> bool {
        match self.judge(&secret, Wanted::Only(kind), link.now()) {
            Verdict::Accepted { slot, .. } => {
                self.let_in(link, session, secret, slot, kind, sdk);
            }
            Verdict::Refused(refused) => {
                self.note_refused(refused.into(), Some(&secret));
                self.close_refused(link, session);
            }
            Verdict::Undecided => {
                let held = HeldStream::Verdict { secret, kind, sdk };
                session.state = State::Held(Box::new(held));
                self.hold(link.key());
                return false;
            }
        }
        true
    }

    /// Keeps a connection with a token out of time, and says, at most once a minute, how far the clocks differ.
    pub(crate) fn hold_out_of_time(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        ahead_ms: i64,
        sdk: Sdk,
    ) {
        self.meter.refused(Refusal::Expired);
        let now_ms = (self.shared.wall_ms)();
        if let Some(held_back) = OUT_OF_TIME.allow(u64::try_from(now_ms).unwrap_or(0)) {
            tracing::warn!(
                others_like_it = held_back,
                difference_seconds = ahead_ms as f64 / 1000.0,
                allowed_seconds = self.shared.options.token_expiry.as_secs_f64(),
                "an SDK's token is out of time: its clock and this machine's differ (positive: the SDK's is ahead); \
                 it gets no data until they agree. Check the time synchronisation of both"
            );
        }
        session.state = State::Held(Box::new(HeldStream::OutOfTime { sdk }));
        link.set_deadline(link.now().after(self.shared.options.token_hold));
        link.pause();
    }

    /// Keeps a connection whose token is of no form that is known here.
    pub(crate) fn hold_unknown_form(&mut self, link: &mut Link<'_>, session: &mut Session, sdk: Sdk) {
        self.note_refused(Refusal::UnknownForm, None);
        session.state = State::Held(Box::new(HeldStream::UnknownForm { sdk }));
        link.set_deadline(link.now().after(self.shared.options.verdict_wait));
        link.pause();
    }

    /// Whether a secret or token of a form that is not known here is none for certain: so it is offline. A server that is
    /// followed may be newer than this agent, and know more forms.
    pub(crate) fn knows_all_forms(&self) -> bool {
        self.shared.ingest.following().state() == SyncState::None
    }

    /// The wait of a held connection is over.
    pub(crate) fn held_too_long(
        &mut self,
        link: &mut Link<'_>,
        session: &mut Session,
        held: Box<HeldStream>,
    ) {
        let (code, why) = match &*held {
            HeldStream::OutOfTime { .. } => (CloseCode::POLICY, "the token is out of time: check the clock"),
            HeldStream::UnknownForm { .. } => (CloseCode::INTERNAL_ERROR, UNKNOWN_FORM_TOLD),
            HeldStream::Verdict { secret, .. } => {
                self.meter.limit_hit(Limit::VerdictWait);
                let (reason, why) = self.undecided();
                self.note_refused(reason, Some(secret));
                (CloseCode::INTERNAL_ERROR, why)
            }
        };
        session.state = State::Held(held);
        self.close_stream(link, session, code, why);
    }
}
