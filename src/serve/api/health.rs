//! Health checks, for people, load balancers and container runtimes.

use crate::protocol::status::SyncState;
use crate::store::Snapshot;

use crate::serve::http::exchange::Answer;
use crate::serve::http::request::text;
use crate::serve::server::Server;

const TEXT: &str = "text/plain; charset=utf-8";

/// The process is alive, since it answers.
pub(crate) fn liveness() -> Answer {
    Answer::new(200, TEXT, text("Healthy"))
}

/// Whether there is data to serve, and whether it is kept up to date: in FeatBit's words. An agent that is about to end
/// wants no new connections, whatever it has.
pub(crate) fn readiness(is_ending: bool, view: &Snapshot, state: SyncState) -> Answer {
    let (status, word) = match state {
        _ if is_ending => (503, "Draining"),
        _ if !view.loaded() => (503, "Unhealthy"),
        state if state.is_current() => (200, "Healthy"),
        _ => (200, "Degraded"),
    };
    Answer::new(status, TEXT, text(word))
}

impl Server {
    /// The metrics of the whole agent.
    pub(crate) fn metrics(&mut self) -> Answer {
        Answer::new(200, crate::telemetry::metrics::CONTENT_TYPE, text(self.shared.metrics.render()))
    }
}
