//! `GET /health/liveness` and `/health/readiness`, for operators, load balancers and container runtimes.

use crate::protocol::status::SyncState;
use crate::serve::context::Context;
use crate::serve::http::answer::answer;
use crate::serve::http::exchange::{Answer, Exchange};
use crate::serve::persistence::Persistence;
use crate::serve::session::State;
use crate::store::Snapshot;

/// Always healthy: a process that answers is alive.
pub(crate) fn liveness(cx: &mut Context<'_, '_>, exchange: &Exchange) -> State {
    answer(cx, exchange, Answer::text(200, "Healthy"))
}

/// Answers whether there is data to serve, and whether it is kept up to date.
pub(crate) fn readiness(cx: &mut Context<'_, '_>, exchange: &Exchange) -> State {
    let shared = &cx.parts.shared;
    let troubles = shared.persistence().map_or(Vec::new(), Persistence::troubles);
    let state = shared.ingest.following().state();
    let ready = readiness_of(shared.is_shutting_down(), &cx.parts.view, state, &troubles);
    answer(cx, exchange, ready)
}

/// The answer, with the words that FeatBit uses. An agent that shuts down is not ready, whatever data it has: load
/// balancers must send new connections elsewhere. `troubles`: what does not work although SDKs are served, a line for each.
fn readiness_of(is_shutting_down: bool, view: &Snapshot, state: SyncState, troubles: &[String]) -> Answer {
    let (status, word) = match state {
        _ if is_shutting_down => (503, "Draining"),
        _ if !view.loaded() => (503, "Unhealthy"),
        state if state.is_current() && troubles.is_empty() => (200, "Healthy"),
        _ => (200, "Degraded"),
    };
    match troubles {
        [] => Answer::text(status, word),
        troubles => Answer::text(status, format!("{word}\n{}\n", troubles.join("\n"))),
    }
}
