//! How a drain ends a connection, by the state that it is in.

use std::time::Duration;

use crate::serve::context::Context;
use crate::serve::http::answer::answer_parked;
use crate::serve::http::exchange::Answer;
use crate::serve::http::parked::Wait;
use crate::serve::session::State;
use crate::serve::streaming::close;
use crate::serve::streaming::close_reason::CloseReason;

/// How long an idle HTTP connection stays open for a request that the client may have sent already.
const LAST_REQUEST: Duration = Duration::from_secs(2);

/// Closes a connection, or lets the request under way finish and close it.
pub(crate) fn close_for_shutdown(cx: &mut Context<'_, '_>, state: State) -> State {
    match state {
        State::Stream(_) | State::Pending(_) | State::Relay(_) | State::Echo(_) => {
            close::begin(cx, state, CloseReason::Shutdown)
        }
        // A request may be on its way. Its answer will say `Connection: close`.
        State::Head { begun: false } => {
            cx.link.deadline_at_latest(cx.link.now().after(LAST_REQUEST));
            state
        }
        State::Closing(_) => {
            let wait = cx.parts.drain.close_wait(cx.options().limits.close);
            cx.link.deadline_at_latest(cx.link.now().after(wait));
            state
        }
        // This agent will get no data by which to judge the secret. Another agent may have it.
        State::Parked(parked) if matches!(parked.wait, Wait::Verdict(_)) => {
            answer_parked(cx, &parked.exchange, Answer::later("the agent is shutting down"))
        }
        // The request under way is answered, and the answer closes the connection.
        State::Head { begun: true } | State::Body(_) | State::Parked(_) | State::Over => state,
    }
}
