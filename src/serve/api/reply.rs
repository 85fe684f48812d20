//! Answers that other threads prepare: the request is parked until the reply arrives in the reactor's mailbox.

use crate::fanout::mailbox::Reply;
use crate::serve::context::Context;
use crate::serve::http::answer::{answer, answer_parked, park};
use crate::serve::http::exchange::{Answer, Exchange};
use crate::serve::http::parked::Wait;
use crate::serve::session::State;

/// Parks a request until its reply arrives. If the other thread has not `accepted` the work, answers 503 instead.
pub(crate) fn park_for_reply(cx: &mut Context<'_, '_>, exchange: Exchange, accepted: bool) -> State {
    if accepted {
        park(cx, exchange, Wait::Reply)
    } else {
        answer(cx, &exchange, Answer::later("the agent is busy or about to stop"))
    }
}

/// The reply has arrived: answers the request that is parked for it.
pub(crate) fn received(cx: &mut Context<'_, '_>, state: State, reply: Reply) -> State {
    match state {
        State::Parked(parked) if matches!(parked.wait, Wait::Reply | Wait::Events) => {
            let late = match reply {
                Reply::Done(body) => Answer::json(200, body),
                Reply::Invalid(reason) => Answer::error(400, &reason),
                Reply::TooLarge(reason) => Answer::error(413, &reason),
                Reply::Accepted => Answer::empty(200),
                Reply::Busy(reason) => Answer::later(reason),
                // RFC 4918, section 11.5: the server cannot store what it needs to.
                Reply::NotSaved(reason) => Answer::error(507, &reason),
            };
            answer_parked(cx, &parked.exchange, late)
        }
        other => other,
    }
}
