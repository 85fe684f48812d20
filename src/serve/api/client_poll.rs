//! `POST /api/public/sdk/client/latest-all`: client SDKs poll the flags for their user.

use std::sync::Arc;

use crate::config::Limits;
use crate::model::secret::SecretKind;
use crate::model::user::User;
use crate::payload::Payload;
use crate::protocol::http::timestamp_ms;
use crate::protocol::sdk::Sdk;
use crate::protocol::user::{UserFault, parse_http};
use crate::serve::context::Context;
use crate::serve::http::answer::answer;
use crate::serve::http::body::{Body, Purpose};
use crate::serve::http::exchange::{Answer, Exchange};
use crate::serve::http::upload;
use crate::serve::session::State;
use crate::serve::streaming::stream::audience;
use crate::serve::verdict::{AcceptedKind, JudgedSecret};
use crate::store::{Environment, SyncKind};
use crate::telemetry::metrics::Limit;
use crate::wire::http1::head::Head;

use super::question::{Answered, Question, Source};
use super::sdk_call::{answer_or_park_after_body, authorize};

/// Judges the secret of a poll, then starts to receive its user.
pub(crate) fn begin(cx: &mut Context<'_, '_>, exchange: Exchange, head: &Head<'_>) -> State {
    let accepts =
        AcceptedKind::of_poll(SecretKind::Client, cx.options().polling.allow_client_secret_for_server);
    let begun = authorize(cx.parts, head, accepts, cx.link.now()).and_then(|judged| {
        let gzip = upload::accept_json(head)?;
        let timestamp_ms = timestamp_ms(head.query).map_err(|_| Answer::bad_timestamp())?;
        let sdk = Sdk::of(head.user_agents);
        Ok((Purpose::ClientPoll { judged, timestamp_ms, sdk }, gzip))
    });
    match begun {
        Ok((purpose, gzip)) => {
            let max = user_bytes_max(&cx.options().limits);
            let memory = cx.parts.shared.bodies.body();
            let body = Body::begin(exchange, purpose, head.body, gzip, max, Some(memory));
            upload::begin(cx, body, head.expect_continue)
        }
        Err(refusal) => upload::answer_without_body(cx, exchange, head, refusal),
    }
}

/// The user is complete: parses it and answers the poll.
pub(crate) fn finish(
    cx: &mut Context<'_, '_>,
    exchange: Exchange,
    poll: (JudgedSecret, i64, Sdk),
    bytes: Vec<u8>,
    gzip: bool,
) -> State {
    let (judged, timestamp_ms, sdk) = poll;
    match user(cx, bytes, gzip) {
        Ok(user) => answer_or_park_after_body(cx, exchange, judged, ClientPoll { timestamp_ms, user, sdk }),
        Err(refusal) => answer(cx, &exchange, refusal),
    }
}

fn user(cx: &Context<'_, '_>, bytes: Vec<u8>, gzip: bool) -> Result<User, Answer> {
    let limits = &cx.options().limits;
    let bytes = upload::decompress(bytes, gzip, user_bytes_max(limits))?;
    parse_http(&bytes, limits.user_properties).map_err(|fault| match fault {
        UserFault::Blank => Answer::text(400, fault.reason()),
        UserFault::Malformed => Answer::error(400, fault.reason()),
        UserFault::TooManyProperties => {
            cx.parts.meter.limit_hit(Limit::UserProperties);
            Answer::error(400, fault.reason())
        }
    })
}

/// The most bytes that a user may have, compressed or not.
fn user_bytes_max(limits: &Limits) -> u64 {
    limits.user_bytes.min(limits.body_bytes)
}

#[derive(Debug)]
struct ClientPoll {
    timestamp_ms: i64,
    user: User,
    sdk: Sdk,
}

impl Question for ClientPoll {
    fn answer(&mut self, _: &Exchange, environment: &Arc<Environment>, from: &Source<'_>) -> Answered {
        environment.record_requested_version(self.timestamp_ms, from.shared.wall_ms);
        let mut body = Vec::new();
        let audience = audience(&self.user, self.sdk);
        let outcome = environment.client_sync(from.view.segments(), audience, self.timestamp_ms, &mut body);
        if outcome.kind == SyncKind::Patch && outcome.flags == 0 {
            // Not 200: some SDKs fail on an empty body, and others take 200 as a reason to advance their timestamp.
            return Answered::Now(Answer::empty(304), None);
        }
        Answered::Now(Answer::json(200, Payload::private(body)), Some(outcome.kind))
    }
}
