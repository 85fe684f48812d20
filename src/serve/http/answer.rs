//! Sends an answer, or has the request wait for it. Returns the state that the connection is in afterwards.

use crate::net::service::Close;
use crate::net::ticks::Tick;
use crate::serve::context::Context;
use crate::serve::session::State;
use crate::wire::http1::response::Connection;

use super::exchange::{Answer, Exchange};
use super::parked::{Parked, Wait};

/// Sends an answer and gets ready for the next request, or for the end.
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

/// Sends an answer after which the connection ends, whatever the request wanted.
pub(crate) fn answer_and_close(cx: &mut Context<'_, '_>, exchange: Exchange, last: Answer) -> State {
    answer(cx, &Exchange { connection: Connection::Close, ..exchange }, last)
}

/// Answers a request that was parked, and takes input again.
pub(crate) fn answer_parked(cx: &mut Context<'_, '_>, exchange: &Exchange, late: Answer) -> State {
    let state = answer(cx, exchange, late);
    cx.link.resume();
    state
}

/// Has a request wait for its answer. Input is held back until then.
pub(crate) fn park(cx: &mut Context<'_, '_>, exchange: Exchange, wait: Wait) -> State {
    let deadline = match wait {
        Wait::Verdict(_) => cx.link.now().after(cx.options().limits.verdict_wait),
        // The writer answers every submission, and the wait for memory is short.
        Wait::Reply | Wait::Memory(_) => Tick::NEVER,
    };
    cx.link.set_deadline(deadline);
    cx.link.pause();
    State::Parked(Box::new(Parked { exchange, wait }))
}
