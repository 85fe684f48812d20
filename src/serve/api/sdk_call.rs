//! Calls that send an environment secret: judges the secret, then answers the call or parks it until that is possible.

use crate::net::service::Link;
use crate::net::ticks::Tick;
use crate::protocol::secret::Secret;
use crate::serve::context::{Context, Parts};
use crate::serve::http::answer::{answer, answer_parked, park};
use crate::serve::http::exchange::{Answer, Exchange};
use crate::serve::http::parked::{Parked, PendingQuestion, Wait};
use crate::serve::refusals;
use crate::serve::session::State;
use crate::serve::verdict::{self, AcceptedKind, JudgedSecret, UNKNOWN_FORM, Verdict};
use crate::store::{EnvironmentSlot, SyncKind};
use crate::telemetry::metrics::{Limit, Refusal};
use crate::wire::http1::head::Head;

use super::question::{Answered, Question, Source};

/// Judges the secret in `Authorization`. A refusal is counted and logged; the error is the answer.
pub(crate) fn authorize(
    parts: &Parts,
    head: &Head<'_>,
    accepts: AcceptedKind,
    now: Tick,
) -> Result<JudgedSecret, Answer> {
    let Some(secret) = head.authorization.and_then(Secret::parse) else {
        let is_present = head.authorization.is_some_and(|value| !value.is_empty());
        if is_present && !verdict::knows_all_forms(&parts.shared) {
            refusals::count_and_log(parts, Refusal::UnknownForm, None);
            return Err(Answer::later(UNKNOWN_FORM));
        }
        refusals::count_and_log(parts, Refusal::Malformed, None);
        return Err(Answer::error(401, "Authorization must be an environment secret"));
    };
    judge(parts, secret, accepts, now)
}

/// Judges a secret by the current data. A refusal is counted and logged; the error is the answer.
pub(crate) fn judge(
    parts: &Parts,
    secret: Secret,
    accepts: AcceptedKind,
    now: Tick,
) -> Result<JudgedSecret, Answer> {
    let sequence = parts.view.sequence();
    match verdict::judge(&parts.shared, &parts.view, &secret, accepts, now) {
        Verdict::Accepted { slot } => Ok(JudgedSecret { secret, accepts, slot: Some(slot), sequence }),
        Verdict::Undecided => Ok(JudgedSecret { secret, accepts, slot: None, sequence }),
        Verdict::Refused(refused) => {
            refusals::count_and_log(parts, refused.into(), Some(&secret));
            Err(Answer::error(401, "the secret does not open this"))
        }
    }
}

/// Answers a question. If its secret has no verdict yet, or memory is short, parks the request instead.
pub(crate) fn answer_or_park(
    cx: &mut Context<'_, '_>,
    exchange: Exchange,
    judged: JudgedSecret,
    mut question: impl Question + 'static,
) -> State {
    match try_to_answer(cx.parts, cx.link, &exchange, judged.slot, &mut question) {
        Ok(Answered::Now(reply, synced)) => {
            count(cx.parts, synced);
            answer(cx, &exchange, reply)
        }
        Ok(Answered::ByEvents) => park(cx, exchange, Wait::Events),
        Err(missing) => {
            let JudgedSecret { secret, accepts, .. } = judged;
            park(
                cx,
                exchange,
                missing.wait(PendingQuestion { secret, accepts, question: Box::new(question) }),
            )
        }
    }
}

/// As [`answer_or_park`], for a request whose body is complete. Its secret was judged when its head came, and is judged
/// again if the data has changed since.
pub(crate) fn answer_or_park_after_body(
    cx: &mut Context<'_, '_>,
    exchange: Exchange,
    judged: JudgedSecret,
    question: impl Question + 'static,
) -> State {
    if judged.slot.is_some() && judged.sequence == cx.parts.view.sequence() {
        return answer_or_park(cx, exchange, judged, question);
    }
    match judge(cx.parts, judged.secret, judged.accepts, cx.link.now()) {
        Ok(judged) => answer_or_park(cx, exchange, judged, question),
        Err(refusal) => answer(cx, &exchange, refusal),
    }
}

/// Tries again to answer a parked request, since there is new data or memory. It stays parked if something still lacks.
pub(crate) fn retry_parked(cx: &mut Context<'_, '_>, parked: Parked) -> State {
    let Parked { exchange, wait } = parked;
    let (mut pending, waited_for_verdict) = match wait {
        Wait::Verdict(pending) => (pending, true),
        Wait::Memory(pending) => (pending, false),
        Wait::Reply | Wait::Events => return State::Parked(Box::new(Parked { exchange, wait })),
    };
    let judged = match judge(cx.parts, pending.secret, pending.accepts, cx.link.now()) {
        Ok(judged) => judged,
        Err(refusal) => return answer_parked(cx, &exchange, refusal),
    };
    match try_to_answer(cx.parts, cx.link, &exchange, judged.slot, &mut *pending.question) {
        Ok(Answered::Now(reply, synced)) => {
            count(cx.parts, synced);
            answer_parked(cx, &exchange, reply)
        }
        Ok(Answered::ByEvents) => park(cx, exchange, Wait::Events),
        // Not by `park`, which would start the time limit for the verdict again.
        Err(Missing::Verdict) if waited_for_verdict => {
            State::Parked(Box::new(Parked { exchange, wait: Wait::Verdict(pending) }))
        }
        Err(missing) => park(cx, exchange, missing.wait(pending)),
    }
}

/// What is still needed to answer a question.
#[derive(Clone, Copy, Debug)]
enum Missing {
    Verdict,
    Memory,
}

impl Missing {
    fn wait(self, pending: PendingQuestion) -> Wait {
        match self {
            Missing::Verdict => Wait::Verdict(pending),
            Missing::Memory => Wait::Memory(pending),
        }
    }
}

/// Answers a question. If something is missing, the connection is added to the list of those that wait for it.
fn try_to_answer(
    parts: &mut Parts,
    link: &Link<'_>,
    exchange: &Exchange,
    slot: Option<EnvironmentSlot>,
    question: &mut dyn Question,
) -> Result<Answered, Missing> {
    let Some(slot) = slot else {
        parts.pending.add(link.key());
        return Err(Missing::Verdict);
    };
    let Some(environment) = parts.view.environment(slot) else {
        return Ok(Answered::Now(Answer::later("the environment is being replaced"), None));
    };
    let source = Source {
        view: &parts.view,
        mailbox: &parts.mailbox,
        key: link.key(),
        shared: &parts.shared,
        meter: &parts.meter,
    };
    let answered = question.answer(exchange, environment, &source);
    if let Answered::Now(answer, _) = &answered
        && !parts.memory.fits(link, answer.body.private_bytes())
    {
        parts.meter.limit_hit(Limit::PendingBytes);
        parts.memory.add(link);
        return Err(Missing::Memory);
    }
    Ok(answered)
}

fn count(parts: &Parts, synced: Option<SyncKind>) {
    if let Some(kind) = synced {
        parts.meter.synced(kind);
    }
}
