//! Health checks, for people, load balancers and container runtimes.

use crate::store::Snapshot;

use super::exchange::Answer;
use super::request::text;
use super::server::Server;

const TEXT: &str = "text/plain; charset=utf-8";

/// The process is alive, since it answers.
pub(super) fn liveness() -> Answer {
    Answer::new(200, TEXT, text("Healthy")).with("Cache-Control", "no-store")
}

/// Whether there is data to serve.
pub(super) fn readiness(view: &Snapshot) -> Answer {
    let (status, word) = if view.loaded() { (200, "Healthy") } else { (503, "Unhealthy") };
    Answer::new(status, TEXT, text(word)).with("Cache-Control", "no-store")
}

impl Server {
    /// The metrics of the whole agent.
    pub(super) fn metrics(&mut self) -> Answer {
        Answer::new(200, crate::telemetry::metrics::CONTENT_TYPE, text(self.shared.metrics.render()))
    }
}
