//! Sends an answer, or parks the request until there is one. Each function returns the new state of the connection.

use std::time::Duration;

use crate::net::service::Close;
use crate::net::ticks::Tick;
use crate::serve::context::Context;
use crate::serve::session::State;
use crate::wire::http1::response::Connection;

use super::exchange::{Answer, Exchange};
use super::parked::{Parked, Wait};

/// How long a call with usage events waits for a disk that hangs.
const EVENTS_WAIT: Duration = Duration::from_secs(10);

/// Sends an answer. Then waits for the next request, or closes the connection.
pub(crate) fn answer(cx: &mut Context<'_, '_>, exchange: &Exchange, answer: Answer) -> State {
    cx.parts.meter.answered(exchange.route, answer.status);
    let stays = exchange.connection.stays() && !cx.parts.drain.is_on() && !cx.link.input_ended();
    exchange.send(cx.link, answer, if stays { exchange.connection } else { Connection::Close });
    if stays {
        let keep_alive = cx.options().limits.keep_alive;
        cx.link.set_deadline(cx.link.now().after(keep_alive));
        State::Head { begun: false }
    } else {
        cx.link.close(Close::Linger);
        State::Over
    }
}

/// Sends an answer and closes the connection, whatever the request asked for.
pub(crate) fn answer_and_close(cx: &mut Context<'_, '_>, exchange: Exchange, last: Answer) -> State {
    answer(cx, &Exchange { connection: Connection::Close, ..exchange }, last)
}

/// Answers a parked request, and reads input again.
pub(crate) fn answer_parked(cx: &mut Context<'_, '_>, exchange: &Exchange, reply: Answer) -> State {
    let state = answer(cx, exchange, reply);
    cx.link.resume();
    state
}

/// Parks a request until it can be answered. No input is read until then.
pub(crate) fn park(cx: &mut Context<'_, '_>, exchange: Exchange, wait: Wait) -> State {
    let deadline = match wait {
        Wait::Verdict(_) => cx.link.now().after(cx.options().limits.verdict_wait),
        Wait::Events => cx.link.now().after(EVENTS_WAIT),
        // The writer answers every submission, and the wait for memory is short.
        Wait::Reply | Wait::Memory(_) => Tick::NEVER,
    };
    cx.link.set_deadline(deadline);
    cx.link.pause();
    State::Parked(Box::new(Parked { exchange, wait }))
}
