//! A call that shows an environment secret: the secret is judged, then the call is answered, or parked until it can be.

use crate::net::service::Link;
use crate::net::ticks::Tick;
use crate::protocol::secret::Secret;
use crate::serve::context::{Context, Parts};
use crate::serve::http::answer::{answer, answer_parked, park};
use crate::serve::http::exchange::{Answer, Exchange};
use crate::serve::http::parked::{Asked, Parked, Wait};
use crate::serve::refusals;
use crate::serve::session::State;
use crate::serve::verdict::{self, UNKNOWN_FORM, Verdict, Wanted};
use crate::store::{EnvironmentSlot, SyncKind};
use crate::telemetry::metrics::{Limit, Refusal};
use crate::wire::http1::head::Head;

use super::judged::Judged;
use super::question::{Question, Source};

/// Judges the secret in `Authorization`. A refusal is counted and comes back as the answer.
pub(crate) fn authorize(parts: &Parts, head: &Head<'_>, wanted: Wanted, now: Tick) -> Result<Judged, Answer> {
    let Some(secret) = head.authorization.and_then(Secret::parse) else {
        let is_shown = head.authorization.is_some_and(|shown| !shown.is_empty());
        if is_shown && !verdict::knows_all_forms(&parts.shared) {
            refusals::note(parts, Refusal::UnknownForm, None);
            return Err(Answer::later(UNKNOWN_FORM));
        }
        refusals::note(parts, Refusal::Malformed, None);
        return Err(Answer::error(401, "Authorization must be an environment secret"));
    };
    judge(parts, secret, wanted, now)
}

/// Judges a secret by the data of now.
pub(crate) fn judge(parts: &Parts, secret: Secret, wanted: Wanted, now: Tick) -> Result<Judged, Answer> {
    let sequence = parts.view.sequence();
    match verdict::judge(&parts.shared, &parts.view, &secret, wanted, now) {
        Verdict::Accepted { slot } => Ok(Judged { secret, wanted, slot: Some(slot), sequence }),
        Verdict::Undecided => Ok(Judged { secret, wanted, slot: None, sequence }),
        Verdict::Refused(refused) => {
            refusals::note(parts, refused.into(), Some(&secret));
            Err(Answer::error(401, "the secret does not open this"))
        }
    }
}

/// Answers a question if its secret has been judged, else parks it until it is.
pub(crate) fn ask(
    cx: &mut Context<'_, '_>,
    exchange: Exchange,
    judged: Judged,
    question: impl Question + 'static,
) -> State {
    match try_to_answer(cx.parts, cx.link, &exchange, judged.slot, &question) {
        Ok((reply, synced)) => {
            count(cx.parts, synced);
            answer(cx, &exchange, reply)
        }
        Err(missing) => {
            let Judged { secret, wanted, .. } = judged;
            park(cx, exchange, missing.wait(Asked { secret, wanted, question: Box::new(question) }))
        }
    }
}

/// The same for a request whose body has come. Its secret was judged by its head; it is judged again if the data has
/// changed since.
pub(crate) fn ask_after_body(
    cx: &mut Context<'_, '_>,
    exchange: Exchange,
    judged: Judged,
    question: impl Question + 'static,
) -> State {
    if judged.slot.is_some() && judged.sequence == cx.parts.view.sequence() {
        return ask(cx, exchange, judged, question);
    }
    match judge(cx.parts, judged.secret, judged.wanted, cx.link.now()) {
        Ok(judged) => ask(cx, exchange, judged, question),
        Err(refusal) => answer(cx, &exchange, refusal),
    }
}

/// What a parked question waits for may be there now: answers it, or has it wait on.
pub(crate) fn ask_again(cx: &mut Context<'_, '_>, parked: Parked) -> State {
    let Parked { exchange, wait } = parked;
    let (asked, waited_for_verdict) = match wait {
        Wait::Verdict(asked) => (asked, true),
        Wait::Memory(asked) => (asked, false),
        Wait::Reply => return State::Parked(Box::new(Parked { exchange, wait })),
    };
    let judged = match judge(cx.parts, asked.secret, asked.wanted, cx.link.now()) {
        Ok(judged) => judged,
        Err(refusal) => return answer_parked(cx, &exchange, refusal),
    };
    match try_to_answer(cx.parts, cx.link, &exchange, judged.slot, &*asked.question) {
        Ok((reply, synced)) => {
            count(cx.parts, synced);
            answer_parked(cx, &exchange, reply)
        }
        // The time limit of the wait for a verdict goes on.
        Err(Missing::Verdict) if waited_for_verdict => {
            State::Parked(Box::new(Parked { exchange, wait: Wait::Verdict(asked) }))
        }
        Err(missing) => park(cx, exchange, missing.wait(asked)),
    }
}

/// What a question cannot be answered without.
#[derive(Clone, Copy, Debug)]
enum Missing {
    Verdict,
    Memory,
}

impl Missing {
    fn wait(self, asked: Asked) -> Wait {
        match self {
            Missing::Verdict => Wait::Verdict(asked),
            Missing::Memory => Wait::Memory(asked),
        }
    }
}

/// The answer to a question, and what it counts as. If something is missing, the connection is on the list of those that
/// wait for it.
fn try_to_answer(
    parts: &mut Parts,
    link: &Link<'_>,
    exchange: &Exchange,
    slot: Option<EnvironmentSlot>,
    question: &dyn Question,
) -> Result<(Answer, Option<SyncKind>), Missing> {
    let Some(slot) = slot else {
        parts.pending.add(link.key());
        return Err(Missing::Verdict);
    };
    let Some(environment) = parts.view.environment(slot) else {
        return Ok((Answer::later("the environment is being replaced"), None));
    };
    let source = Source { view: &parts.view, shared: &parts.shared, meter: &parts.meter };
    let (answer, synced) = question.answer(exchange, environment, &source);
    if !parts.memory.fits(link, answer.body.private_bytes()) {
        parts.meter.limit_hit(Limit::PendingBytes);
        parts.memory.add(link);
        return Err(Missing::Memory);
    }
    Ok((answer, synced))
}

fn count(parts: &Parts, synced: Option<SyncKind>) {
    if let Some(kind) = synced {
        parts.meter.synced(kind);
    }
}
