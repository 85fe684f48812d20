//! `GET /health/liveness` and `/health/readiness`, for people, load balancers and container runtimes.

use crate::protocol::status::SyncState;
use crate::serve::context::Context;
use crate::serve::http::answer::answer;
use crate::serve::http::exchange::{Answer, Exchange};
use crate::serve::session::State;
use crate::store::Snapshot;

/// The process is alive, since it answers.
pub(crate) fn liveness(cx: &mut Context<'_, '_>, exchange: &Exchange) -> State {
    answer(cx, exchange, Answer::text(200, "Healthy"))
}

/// Whether there is data to serve, and whether it is kept up to date.
pub(crate) fn readiness(cx: &mut Context<'_, '_>, exchange: &Exchange) -> State {
    let shared = &cx.parts.shared;
    let ready = readiness_of(shared.is_ending(), &cx.parts.view, shared.ingest.following().state());
    answer(cx, exchange, ready)
}

/// In FeatBit's words. An agent that is about to end wants no new connections, whatever it has.
fn readiness_of(is_ending: bool, view: &Snapshot, state: SyncState) -> Answer {
    let (status, word) = match state {
        _ if is_ending => (503, "Draining"),
        _ if !view.loaded() => (503, "Unhealthy"),
        state if state.is_current() => (200, "Healthy"),
        _ => (200, "Degraded"),
    };
    Answer::text(status, word)
}
