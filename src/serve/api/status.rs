//! The status call: FeatBit's own form, and beside it what an operator needs.

use crate::protocol::details::{
    Child, Connections, Details, Environment, LastError, Moment, Upstream, with_details,
};

use crate::serve::server::Server;

impl Server {
    /// The status as of now.
    pub(crate) fn status(&self) -> String {
        let now_ms = (self.shared.wall_ms)();
        let status = self.shared.ingest.status(now_ms, &self.view);
        let upstream = self.shared.ingest.following().status();
        let connections = self.shared.metrics.environment_connections();
        let environments = self.view.environments().map(|environment| Environment {
            name: environment.label(),
            id: environment.id().to_string(),
            flags: environment.flag_count(),
            segments: environment.segment_count(),
            data_version: environment.highest_updated_at_ms().unwrap_or(0),
            connections: connections
                .get(environment.label())
                .map_or_else(Connections::default, |&(server, client)| Connections { server, client }),
        });
        let children = self.shared.children.all().into_iter().map(|child| {
            let (agent_id, reported_at, status) = match child.said {
                Some(said) => (Some(said.agent_id), Some(Moment(said.at_ms)), Some(said.status)),
                None => (None, None, None),
            };
            Child { connected_since: Moment(child.since_ms), agent_id, reported_at, status }
        });
        let details = Details {
            version: env!("CARGO_PKG_VERSION"),
            instance: &self.shared.options.instance,
            mode: self.shared.options.mode,
            upstream: upstream.upstream.as_deref().map(|address| Upstream {
                address,
                connected_since: upstream.connected_since_ms.map(Moment),
                failed_attempts: upstream.failed_attempts,
                reconnects: upstream.reconnects,
                last_error: upstream
                    .last_error
                    .as_ref()
                    .map(|(at, message)| LastError { at: Moment(*at), message }),
            }),
            path: &self.path,
            environments: environments.collect(),
            children: children.collect(),
        };
        with_details(status, &details)
    }
}
