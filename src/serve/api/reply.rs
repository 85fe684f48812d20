//! Answers that other threads work out: the request is parked until the mail with it comes.

use crate::fanout::mailbox::Reply;
use crate::serve::context::Context;
use crate::serve::http::answer::{answer, answer_parked, park};
use crate::serve::http::exchange::{Answer, Exchange};
use crate::serve::http::parked::Wait;
use crate::serve::session::State;

/// Parks a request until its answer comes, or says that the agent is too busy if it was not `accepted`.
pub(crate) fn park_for_reply(cx: &mut Context<'_, '_>, exchange: Exchange, accepted: bool) -> State {
    if accepted {
        park(cx, exchange, Wait::Reply)
    } else {
        answer(cx, &exchange, Answer::later("the agent is busy or about to stop"))
    }
}

/// The answer has come.
pub(crate) fn received(cx: &mut Context<'_, '_>, state: State, reply: Reply) -> State {
    match state {
        State::Parked(parked) if matches!(parked.wait, Wait::Reply) => {
            let late = match reply {
                Reply::Done(body) => Answer::json(200, body),
                Reply::Invalid(reason) => Answer::error(400, &reason),
                Reply::TooLarge(reason) => Answer::error(413, &reason),
            };
            answer_parked(cx, &parked.exchange, late)
        }
        other => other,
    }
}
