//! `GET /api/public/proxy/status`: the fields of FeatBit's agent, and more that an operator needs.

use crate::config;
use crate::insights::Handle;
use crate::payload::Payload;
use crate::protocol::details::{
    Child, Connections, Details, Environment, Events, EventsOverride, LastError, Moment, PausedEvents,
    Upstream, with_details,
};
use crate::serve::context::{Context, Parts};
use crate::serve::http::exchange::{Answer, Exchange};
use crate::serve::http::upload;
use crate::serve::persistence::Persistence;
use crate::serve::session::State;
use crate::store::Snapshot;
use crate::wire::http1::head::Head;

use super::api_key;

/// Answers with the status.
pub(crate) fn begin(cx: &mut Context<'_, '_>, exchange: Exchange, head: &Head<'_>) -> State {
    let answer = api_key::check(cx, head).map_or_else(|refusal| refusal, |()| status(cx.parts, 200));
    upload::answer_without_body(cx, exchange, head, answer)
}

/// The present status, as an answer with this HTTP status code.
pub(crate) fn status(parts: &Parts, code: u16) -> Answer {
    let (shared, view) = (&parts.shared, &parts.view);
    let now_ms = (shared.wall_ms)();
    let status = shared.ingest.status(now_ms, view);
    let upstream = shared.ingest.following().status();
    let connections = shared.metrics.environment_connections();
    let environments = view.environments().map(|environment| Environment {
        name: environment.label(),
        id: environment.id().to_string(),
        flags: environment.flag_count(),
        segments: environment.segment_count(),
        data_version: environment.highest_updated_at_ms().unwrap_or(0),
        connections: connections
            .get(environment.label())
            .map_or_else(Connections::default, |&(server, client)| Connections { server, client }),
    });
    let downstream = shared.downstream.all().into_iter().map(|agent| {
        let (agent_id, reported_at, status) = match agent.reported {
            Some(report) => (Some(report.agent_id), Some(Moment(report.at_ms)), Some(report.status)),
            None => (None, None, None),
        };
        Child { connected_since: Moment(agent.since_ms), agent_id, reported_at, status }
    });
    let details = Details {
        version: env!("CARGO_PKG_VERSION"),
        instance: &shared.options.instance,
        mode: shared.options.mode,
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
        backup: shared.persistence().and_then(Persistence::backup),
        redis: shared.persistence().and_then(Persistence::redis),
        events: events(&shared.events, view),
        path: parts.relays.path(),
        environments: environments.collect(),
        children: downstream.collect(),
    };
    Answer::json(code, Payload::private(with_details(status, &details).into_bytes()))
}

fn mode_of(one: &config::EventsOverride) -> EventsOverride {
    EventsOverride { environment: one.environment.clone(), mode: one.mode.as_str() }
}

fn events(handle: &Handle, view: &Snapshot) -> Events {
    let board = handle.board();
    let noted = board.noted();
    let paused = noted.pauses.into_iter().map(|pause| PausedEvents {
        environment: view.label_of(pause.stream.environment),
        secret: pause.stream.kind.as_str(),
        reason: pause.reason,
    });
    Events {
        summary: board.summary.clone(),
        mode: board.mode.as_str(),
        overrides: board.overrides.iter().map(mode_of).collect(),
        pseudonym_key_id: board.key_id.clone(),
        waiting: noted.queue.events,
        oldest: noted.queue.oldest_ms.map(Moment),
        spool_bytes: noted.queue.file_bytes,
        local_bytes: noted.local_bytes,
        unreachable: noted.unreachable,
        paused: paused.collect(),
    }
}
