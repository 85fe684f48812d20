//! `GET /api/public/sdk/server/latest-all`: server SDKs poll an environment's flags and segments.

use std::sync::Arc;

use crate::model::secret::SecretKind;
use crate::protocol::http::timestamp_ms;
use crate::serve::context::Context;
use crate::serve::http::answer::answer;
use crate::serve::http::exchange::{Answer, Exchange};
use crate::serve::session::State;
use crate::serve::verdict::AcceptedKind;
use crate::store::{Environment, Poll, SyncKind};
use crate::wire::http1::head::Head;

use super::question::{Answered, Question, Source};
use super::sdk_call::{answer_or_park, authorize};

/// Answers a poll.
pub(crate) fn begin(cx: &mut Context<'_, '_>, exchange: Exchange, head: &Head<'_>) -> State {
    let accepts =
        AcceptedKind::of_poll(SecretKind::Server, cx.options().polling.allow_client_secret_for_server);
    let judged = match authorize(cx.parts, head, accepts, cx.link.now()) {
        Ok(judged) => judged,
        Err(refusal) => return answer(cx, &exchange, refusal),
    };
    let Ok(timestamp_ms) = timestamp_ms(head.query) else {
        return answer(cx, &exchange, Answer::bad_timestamp());
    };
    answer_or_park(cx, exchange, judged, ServerPoll { timestamp_ms })
}

#[derive(Debug)]
struct ServerPoll {
    timestamp_ms: i64,
}

impl Question for ServerPoll {
    fn answer(&mut self, exchange: &Exchange, environment: &Arc<Environment>, from: &Source<'_>) -> Answered {
        let Self { timestamp_ms } = *self;
        environment.record_requested_version(timestamp_ms, from.shared.wall_ms);
        let full = environment.polls_full(timestamp_ms);
        if full && exchange.accepts_gzip {
            if let Some(body) = environment.poll_full_gzip() {
                let answer = Answer::json(200, body.clone()).with("Content-Encoding", "gzip");
                return Answered::Now(answer.varying_by_coding(), Some(SyncKind::Full));
            }
            from.shared.ingest.compress(environment);
        }
        match environment.server_poll(timestamp_ms) {
            Poll::Empty => Answered::Now(Answer::empty(200), None),
            Poll::Body(body) => {
                let kind = if full { SyncKind::Full } else { SyncKind::Patch };
                Answered::Now(Answer::json(200, body).varying_by_coding(), Some(kind))
            }
        }
    }
}
