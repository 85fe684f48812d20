//! The paths and their routes: which methods a route accepts, and how metrics count it.

use crate::telemetry::metrics::Route as Label;
use crate::wire::http1::head::Method;
use crate::wire::http1::target::{path_is, path_under};

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerRole {
    /// SDKs, operators and downstream agents.
    Data,
    /// The listener of `Metrics__Url`: metrics and health checks only.
    Metrics,
}

/// What a path leads to. Every `match` on it names every route: a new route that fell into a catch-all arm could expose
/// data without the check that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/streaming`: the WebSocket of SDKs.
    Streaming,
    /// The WebSocket echo of conformance suites.
    Echo,
    /// Polling of server SDKs.
    ServerPoll,
    /// Polling of client SDKs.
    ClientPoll,
    /// Usage events.
    Track,
    /// FeatBit's UI or an operator pushes a dataset.
    Bootstrap,
    /// An operator downloads the dataset.
    Backup,
    /// The agent's status.
    Status,
    /// An operator requests a full sync.
    Resync,
    /// A downstream agent registers.
    Register,
    /// Whether the process is alive.
    Liveness,
    /// Whether it has data to serve.
    Readiness,
    /// Metrics for Prometheus.
    Metrics,
    /// No known path.
    Unknown,
}

/// Every fixed path. Management paths also exist without `public`, as in FeatBit's documentation.
pub const PATHS: [(&str, Route); 16] = [
    ("/api/public/sdk/server/latest-all", Route::ServerPoll),
    ("/api/public/sdk/client/latest-all", Route::ClientPoll),
    ("/api/public/insight/track", Route::Track),
    ("/health/liveness", Route::Liveness),
    ("/health/readiness", Route::Readiness),
    ("/metrics", Route::Metrics),
    ("/api/public/proxy/status", Route::Status),
    ("/api/public/proxy/bootstrap", Route::Bootstrap),
    ("/api/public/proxy/backup", Route::Backup),
    ("/api/public/proxy/resync", Route::Resync),
    ("/api/public/agent/register", Route::Register),
    ("/api/proxy/resync", Route::Resync),
    ("/api/proxy/status", Route::Status),
    ("/api/proxy/bootstrap", Route::Bootstrap),
    ("/api/proxy/backup", Route::Backup),
    ("/streaming", Route::Streaming),
];

impl Route {
    /// The route of a path on a listener of this role. `metrics_elsewhere`: only the metrics listener serves metrics.
    pub fn of(path: &str, role: ListenerRole, echo_path: Option<&str>, metrics_elsewhere: bool) -> Route {
        let route = if path_under(path, "/streaming") {
            Route::Streaming
        } else if echo_path.is_some_and(|echo| path_is(path, echo)) {
            Route::Echo
        } else {
            PATHS.iter().find(|(known, _)| path_is(path, known)).map_or(Route::Unknown, |(_, route)| *route)
        };
        match (role, route) {
            (ListenerRole::Metrics, Route::Metrics | Route::Liveness | Route::Readiness) => route,
            (ListenerRole::Metrics, _) => Route::Unknown,
            (ListenerRole::Data, Route::Metrics) if metrics_elsewhere => Route::Unknown,
            (ListenerRole::Data, _) => route,
        }
    }

    /// The value of the `Allow` header field.
    pub fn allow(self) -> &'static str {
        if self.takes(Method::Post) { "POST, OPTIONS" } else { "GET, HEAD, OPTIONS" }
    }

    /// Whether the route supports the method.
    pub fn takes(self, method: Method) -> bool {
        match self {
            Route::ClientPoll | Route::Track | Route::Bootstrap | Route::Resync | Route::Register => {
                method == Method::Post
            }
            Route::Streaming | Route::Echo => method == Method::Get,
            Route::ServerPoll
            | Route::Backup
            | Route::Status
            | Route::Liveness
            | Route::Readiness
            | Route::Metrics
            | Route::Unknown => matches!(method, Method::Get | Method::Head),
        }
    }

    /// Its label in metrics.
    pub fn label(self) -> Label {
        match self {
            Route::Streaming => Label::Streaming,
            Route::Echo => Label::Echo,
            Route::ServerPoll => Label::PollServer,
            Route::ClientPoll => Label::PollClient,
            Route::Track => Label::Track,
            Route::Bootstrap | Route::Backup | Route::Status | Route::Resync | Route::Register => {
                Label::Admin
            }
            Route::Liveness | Route::Readiness => Label::Health,
            Route::Metrics => Label::Metrics,
            Route::Unknown => Label::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_match_in_any_case_and_with_a_trailing_slash() {
        let route = |path| Route::of(path, ListenerRole::Data, Some("/echo"), false);
        assert_eq!(route("/API/Public/SDK/server/latest-all/"), Route::ServerPoll);
        assert_eq!(route("/api/proxy/backup"), Route::Backup);
        assert_eq!(route("/streaming/x"), Route::Streaming);
        assert_eq!(route("/streamingx"), Route::Unknown);
        assert_eq!(route("/Echo"), Route::Echo);
        assert_eq!(route("/"), Route::Unknown);
    }

    #[test]
    fn the_metrics_port_serves_no_data_and_the_data_port_then_serves_no_metrics() {
        assert_eq!(Route::of("/metrics", ListenerRole::Metrics, None, true), Route::Metrics);
        assert_eq!(Route::of("/metrics", ListenerRole::Data, None, true), Route::Unknown);
        assert_eq!(Route::of("/streaming", ListenerRole::Metrics, None, true), Route::Unknown);
        assert_eq!(Route::of("/api/public/proxy/backup", ListenerRole::Metrics, None, true), Route::Unknown);
    }
}
