//! `POST /api/public/insight/track`: usage events.
//!
//! Must not look at the events, unless they are dropped: the thread of usage events does.

use std::sync::Arc;

use crate::insights::{Busy, Call};
use crate::protocol::insight;
use crate::protocol::secret::Secret;
use crate::serve::budgets::BodyMemory;
use crate::serve::context::Context;
use crate::serve::http::body::{Body, Purpose};
use crate::serve::http::exchange::{Answer, Exchange};
use crate::serve::http::upload;
use crate::serve::session::State;
use crate::serve::verdict::{AcceptedKind, JudgedSecret};
use crate::store::Environment;
use crate::telemetry::metrics::Limit;
use crate::wire::http1::head::Head;

use super::question::{Answered, Question, Source};
use super::sdk_call::{answer_or_park_after_body, authorize};

/// The most bytes that a body may have after decompression.
const DECOMPRESSED_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Judges the secret of a call, then starts to receive its events.
pub(crate) fn begin(cx: &mut Context<'_, '_>, exchange: Exchange, head: &Head<'_>) -> State {
    if head.user_agents.iter().flatten().any(|agent| insight::is_sent_by(agent, &cx.options().instance)) {
        let itself = Answer::error(508, "EventUri leads back to this agent");
        return upload::answer_without_body(cx, exchange, head, itself);
    }
    let begun = authorize(cx.parts, head, AcceptedKind::Any, cx.link.now())
        .and_then(|judged| Ok((Purpose::Track { judged }, upload::accept_json_or_text(head)?)));
    match begun {
        Ok((purpose, gzip)) => {
            let max = cx.options().limits.body_bytes;
            let memory = cx.parts.shared.bodies.body();
            let body = Body::begin(exchange, purpose, head.body, gzip, max, Some(memory));
            upload::begin(cx, body, head.expect_continue)
        }
        Err(refusal) => upload::answer_without_body(cx, exchange, head, refusal),
    }
}

/// A body that is complete.
#[derive(Debug)]
pub(crate) struct Received {
    pub bytes: Vec<u8>,
    pub gzip: bool,
    /// Given back when the events are handed over.
    pub memory: Option<BodyMemory>,
}

/// The events are complete: hands them over.
pub(crate) fn finish(
    cx: &mut Context<'_, '_>,
    exchange: Exchange,
    judged: JudgedSecret,
    received: Received,
) -> State {
    let secret = judged.secret;
    let bytes_max = cx.options().limits.body_bytes.min(DECOMPRESSED_BYTES_MAX);
    let track = Track { secret, bytes_max, received: Some(received) };
    answer_or_park_after_body(cx, exchange, judged, track)
}

#[derive(Debug)]
struct Track {
    secret: Secret,
    bytes_max: u64,
    /// `None` once they are handed over.
    received: Option<Received>,
}

impl Question for Track {
    fn answer(&mut self, _: &Exchange, environment: &Arc<Environment>, from: &Source<'_>) -> Answered {
        let (Some(Received { bytes, gzip, memory }), Some(entry)) =
            (self.received.take(), from.view.secret(&self.secret))
        else {
            return Answered::Now(Answer::later("the agent is busy"), None);
        };
        let events = &from.shared.events;
        if events.drops(environment.id(), environment.label()) {
            return Answered::Now(dropped(environment, from, bytes, gzip, self.bytes_max), None);
        }
        let call = Call {
            environment: environment.id(),
            secret: self.secret,
            kind: entry.kind,
            received_ms: (from.shared.wall_ms)(),
            body: bytes,
            gzip,
            bytes_max: self.bytes_max,
            mailbox: from.mailbox.clone(),
            key: from.key,
        };
        let submitted = events.submit(call);
        drop(memory);
        match submitted {
            Ok(()) => Answered::ByEvents,
            Err(Busy::Full) => {
                from.meter.limit_hit(Limit::EventsQueueBytes);
                Answered::Now(Answer::later("too many usage events wait"), None)
            }
            Err(Busy::Stopping) => Answered::Now(Answer::later("the agent is about to stop"), None),
        }
    }
}

/// Checks and counts events that are dropped.
fn dropped(
    environment: &Environment,
    from: &Source<'_>,
    bytes: Vec<u8>,
    gzip: bool,
    bytes_max: u64,
) -> Answer {
    let counted = upload::decompress(bytes, gzip, bytes_max).and_then(|bytes| {
        insight::check(&bytes).map_err(|_| Answer::error(400, "the body is not a JSON text of usage events"))
    });
    match counted {
        Ok(counts) => {
            from.shared.events.dropped(environment.id(), counts.events as u64);
            Answer::empty(200)
        }
        Err(refusal) => refusal,
    }
}
