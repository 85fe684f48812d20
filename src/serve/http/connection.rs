//! An HTTP connection: receives heads and bodies, and enforces their time limits.

use crate::net::service::Close;
use crate::serve::api;
use crate::serve::context::Context;
use crate::serve::refusals;
use crate::serve::session::State;
use crate::serve::verdict;
use crate::telemetry::metrics::Limit;
use crate::wire::http1::Refusal;
use crate::wire::http1::foreign::Foreign;
use crate::wire::http1::head::{self, HeadLimits};
use crate::wire::http1::response::Connection;

use super::answer::{answer, answer_and_close, answer_parked};
use super::body::Body;
use super::cors::Allowed;
use super::exchange::{Answer, Exchange};
use super::parked::{Parked, Wait};
use super::routes::Route;
use super::{foreign, request};

/// Takes a request's head from `bytes` if it is complete, and handles the request. Returns the number of bytes consumed.
pub(crate) fn receive_head(cx: &mut Context<'_, '_>, state: &mut State, bytes: &mut [u8]) -> usize {
    let State::Head { begun } = state else { return 0 };
    let limits = &cx.options().limits;
    let head_time = limits.head;
    let head_limits = HeadLimits { max_bytes: limits.header_bytes, max_headers: limits.headers };
    match head::parse(bytes, &head_limits) {
        Ok(Some(head)) => {
            cx.info.has_sent_request = true;
            *state = request::begin(cx, &head);
            let consumed = head.len;
            if matches!(state, State::Body(_)) {
                // A body of length 0 is complete at once.
                receive_body(cx, state, &mut []);
            }
            consumed
        }
        Ok(None) => {
            let is_first = !std::mem::replace(begun, true);
            if is_first {
                let deadline = cx.link.now().after(head_time);
                cx.link.set_deadline(deadline);
            }
            0
        }
        Err(refusal) => {
            *state = match Foreign::of(bytes) {
                Some(foreign) => foreign::refuse(cx, foreign).unwrap_or_else(|| {
                    refuse(cx, Refusal::new(400, "the PROXY protocol is not supported here"))
                }),
                None => refuse(cx, refusal),
            };
            bytes.len()
        }
    }
}

/// Answers a request that cannot be parsed, and closes the connection.
fn refuse(cx: &mut Context<'_, '_>, refusal: Refusal) -> State {
    let exchange = Exchange {
        route: Route::Unknown,
        connection: Connection::Close,
        without_body: false,
        allowed: Allowed::for_unparsed(&cx.options().cors.origins),
        accepts_gzip: false,
    };
    if refusal == head::TOO_MANY_FIELDS {
        cx.parts.meter.limit_hit(Limit::Headers);
    } else if refusal.status == 431 {
        cx.parts.meter.limit_hit(Limit::HeaderBytes);
    }
    answer(cx, &exchange, Answer::error(refusal.status, refusal.reason))
}

/// Takes a portion of a body, and handles the request if it is the last one. Returns the number of bytes consumed.
pub(crate) fn receive_body(cx: &mut Context<'_, '_>, state: &mut State, bytes: &mut [u8]) -> usize {
    let State::Body(body) = state else { return 0 };
    match body.receive(bytes) {
        Ok((consumed, false)) if !body.fits() => {
            cx.parts.meter.limit_hit(Limit::PendingBytes);
            let refusal = Answer::later("too many large bodies are being received");
            finish_body(state, |body| answer_and_close(cx, body.exchange, refusal));
            consumed
        }
        Ok((consumed, false)) => {
            if let Some(deadline) = body.deadline(cx.link.now(), cx.options().limits.body) {
                cx.link.set_deadline(deadline);
            }
            consumed
        }
        Ok((consumed, true)) => {
            finish_body(state, |body| api::finish(cx, body));
            consumed
        }
        Err(refusal) => {
            let refusal = Answer::error(refusal.status, refusal.reason);
            finish_body(state, |body| answer_and_close(cx, body.exchange, refusal));
            bytes.len()
        }
    }
}

fn finish_body(state: &mut State, finish: impl FnOnce(Body) -> State) {
    state.change(|state| match state {
        State::Body(body) => finish(*body),
        other => other,
    });
}

/// The next request, or the first one of a new connection, has not begun in time.
pub(crate) fn idle_timed_out(cx: &mut Context<'_, '_>) -> State {
    // A drain closes idle connections earlier: no limit of the settings was reached.
    if !cx.parts.drain.is_on() {
        cx.parts.meter.limit_hit(if cx.info.has_sent_request {
            Limit::KeepAliveSeconds
        } else {
            Limit::HeadSeconds
        });
    }
    cx.link.close(Close::Linger);
    State::Over
}

/// The rest of a head has not come in time.
pub(crate) fn head_timed_out(cx: &mut Context<'_, '_>) -> State {
    cx.parts.meter.limit_hit(Limit::HeadSeconds);
    refuse(cx, Refusal::new(408, "the request did not arrive in time"))
}

/// The next portion of a body has not come in time.
pub(crate) fn body_timed_out(cx: &mut Context<'_, '_>, body: Body) -> State {
    cx.parts.meter.limit_hit(Limit::BodySeconds);
    answer_and_close(cx, body.exchange, Answer::error(408, "the body did not arrive in time"))
}

/// A parked request was not answered in time: its secret could not be judged, or a disk hangs.
pub(crate) fn parked_timed_out(cx: &mut Context<'_, '_>, parked: Parked) -> State {
    if matches!(parked.wait, Wait::Events) {
        // The reply may still come: it must not meet the next request of this connection.
        let exchange = Exchange { connection: Connection::Close, ..parked.exchange };
        return answer_parked(cx, &exchange, Answer::later("the disk for usage events does not answer"));
    }
    cx.parts.meter.limit_hit(Limit::VerdictWait);
    let (why, text) = verdict::undecided(&cx.parts.view);
    refusals::count_and_log(cx.parts, why, parked.wait.secret());
    answer_parked(cx, &parked.exchange, Answer::later(text))
}
