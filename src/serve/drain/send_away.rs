//! What draining means for a connection, by the state it is in.

use std::time::Duration;

use crate::serve::context::Context;
use crate::serve::http::answer::answer_parked;
use crate::serve::http::exchange::Answer;
use crate::serve::http::parked::Wait;
use crate::serve::session::State;
use crate::serve::streaming::close;
use crate::serve::streaming::close_reason::CloseReason;

/// How long a request may still be on its way on a connection where nothing is asked.
const LAST_REQUEST: Duration = Duration::from_secs(2);

/// Closes a connection, or has it closed as soon as what is under way on it is finished.
pub(crate) fn send_away(cx: &mut Context<'_, '_>, state: State) -> State {
    match state {
        State::Stream(_) | State::Pending(_) | State::Relay(_) | State::Echo(_) => {
            close::begin(cx, state, CloseReason::Shutdown)
        }
        // A request may be on its way: its answer says that it was the last one.
        State::Head { begun: false } => {
            cx.link.deadline_at_latest(cx.link.now().after(LAST_REQUEST));
            state
        }
        State::Closing(_) => {
            let wait = cx.parts.drain.close_wait(cx.options().limits.close);
            cx.link.deadline_at_latest(cx.link.now().after(wait));
            state
        }
        // Data will not come any more: the next agent may have some.
        State::Parked(parked) if matches!(parked.wait, Wait::Verdict(_)) => {
            answer_parked(cx, &parked.exchange, Answer::later("the agent is shutting down"))
        }
        // A request that is under way is answered, and its connection closed with the answer.
        State::Head { begun: true } | State::Body(_) | State::Parked(_) | State::Over => state,
    }
}
