//! The HTTP endpoints, one file each. All are listed here: [`begin`] dispatches a request by its head, [`finish`] a request
//! whose body is complete.

mod api_key;
mod backup;
mod bootstrap;
mod client_poll;
mod health;
mod metrics;
pub mod question;
mod register;
pub mod reply;
mod resync;
pub mod sdk_call;
mod server_poll;
mod status;
mod track;

use crate::wire::http1::head::Head;

use super::context::Context;
use super::http::answer::answer;
use super::http::body::{Body, Purpose};
use super::http::exchange::{Answer, Exchange};
use super::http::routes::Route;
use super::session::State;

/// Answers a request, or begins to receive its body.
pub(crate) fn begin(cx: &mut Context<'_, '_>, exchange: Exchange, head: &Head<'_>) -> State {
    match exchange.route {
        Route::ServerPoll => server_poll::begin(cx, exchange, head),
        Route::ClientPoll => client_poll::begin(cx, exchange, head),
        Route::Track => track::begin(cx, exchange, head),
        Route::Bootstrap => bootstrap::begin(cx, exchange, head),
        Route::Backup => backup::begin(cx, exchange, head),
        Route::Status => status::begin(cx, exchange, head),
        Route::Resync => resync::begin(cx, exchange, head),
        Route::Register => register::begin(cx, exchange, head),
        Route::Liveness => health::liveness(cx, &exchange),
        Route::Readiness => health::readiness(cx, &exchange),
        Route::Metrics => metrics::begin(cx, &exchange),
        // A plain GET, such as an operator sends to test whether a proxy forwards the path.
        Route::Streaming | Route::Echo => {
            answer(cx, &exchange, Answer::error(404, "this path accepts only WebSocket connections"))
        }
        Route::Unknown => answer(cx, &exchange, Answer::error(404, "there is nothing at this path")),
    }
}

/// Answers a request whose body is complete.
pub(crate) fn finish(cx: &mut Context<'_, '_>, body: Body) -> State {
    let Body { exchange, purpose, gzip, bytes, memory, .. } = body;
    match purpose {
        Purpose::Bootstrap(permit) => bootstrap::finish(cx, exchange, permit, bytes, gzip),
        Purpose::ClientPoll { judged, timestamp_ms, sdk } => {
            client_poll::finish(cx, exchange, (judged, timestamp_ms, sdk), bytes, gzip)
        }
        Purpose::Register => register::finish(cx, &exchange, bytes, gzip),
        Purpose::Track { judged } => {
            track::finish(cx, exchange, judged, track::Received { bytes, gzip, memory })
        }
    }
}
