//! `POST /api/public/insight/track`: usage events. For now they are only counted, then dropped.

use std::sync::Arc;

use crate::protocol::insight::{self, Counts};
use crate::serve::context::Context;
use crate::serve::http::answer::answer;
use crate::serve::http::body::{Body, Purpose};
use crate::serve::http::exchange::{Answer, Exchange};
use crate::serve::http::upload;
use crate::serve::session::State;
use crate::serve::verdict::{AcceptedKind, JudgedSecret};
use crate::store::{Environment, SyncKind};
use crate::wire::http1::head::Head;

use super::question::{Question, Source};
use super::sdk_call::{answer_or_park_after_body, authorize};

/// The most bytes that a body may have after decompression, which runs on the reactor and must not take long.
const DECOMPRESSED_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Judges the secret of a call, then starts to receive its events.
pub(crate) fn begin(cx: &mut Context<'_, '_>, exchange: Exchange, head: &Head<'_>) -> State {
    let begun = authorize(cx.parts, head, AcceptedKind::Any, cx.link.now())
        .and_then(|judged| Ok((Purpose::Track { judged }, upload::accept_json(head)?)));
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

/// The events are complete: checks them and answers.
pub(crate) fn finish(
    cx: &mut Context<'_, '_>,
    exchange: Exchange,
    judged: JudgedSecret,
    bytes: Vec<u8>,
    gzip: bool,
) -> State {
    let bytes_max = cx.options().limits.body_bytes.min(DECOMPRESSED_BYTES_MAX);
    let events = upload::decompress(bytes, gzip, bytes_max).and_then(|bytes| {
        insight::check(&bytes).map_err(|_| Answer::error(400, "the body is not a JSON text of usage events"))
    });
    match events {
        Ok(events) => answer_or_park_after_body(cx, exchange, judged, Track { events }),
        Err(refusal) => answer(cx, &exchange, refusal),
    }
}

#[derive(Debug)]
struct Track {
    events: Counts,
}

impl Question for Track {
    fn answer(&self, _: &Exchange, _: &Arc<Environment>, from: &Source<'_>) -> (Answer, Option<SyncKind>) {
        from.meter.events_dropped(&self.events);
        (Answer::empty(200), None)
    }
}
