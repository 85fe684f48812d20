//! `POST /api/public/insight/track`: usage events. They are counted, and dropped for now.

use std::sync::Arc;

use crate::protocol::insight::{self, Counts};
use crate::serve::context::Context;
use crate::serve::http::answer::answer;
use crate::serve::http::body::{Body, Purpose};
use crate::serve::http::exchange::{Answer, Exchange};
use crate::serve::http::upload;
use crate::serve::session::State;
use crate::serve::verdict::Wanted;
use crate::store::{Environment, SyncKind};
use crate::wire::http1::head::Head;

use super::judged::Judged;
use super::question::{Question, Source};
use super::sdk_call::{ask_after_body, authorize};

/// Bytes of a compressed body once it is decompressed: that is done on the reactor.
const DECOMPRESSED_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Judges the secret of a call, and begins to receive its events.
pub(crate) fn begin(cx: &mut Context<'_, '_>, exchange: Exchange, head: &Head<'_>) -> State {
    let begun = authorize(cx.parts, head, Wanted::Any, cx.link.now())
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

/// The events have come.
pub(crate) fn finish(
    cx: &mut Context<'_, '_>,
    exchange: Exchange,
    judged: Judged,
    bytes: Vec<u8>,
    gzip: bool,
) -> State {
    let bytes_max = cx.options().limits.body_bytes.min(DECOMPRESSED_BYTES_MAX);
    let events = upload::decompress(bytes, gzip, bytes_max).and_then(|bytes| {
        insight::check(&bytes).map_err(|_| Answer::error(400, "the body is not a JSON text of usage events"))
    });
    match events {
        Ok(events) => ask_after_body(cx, exchange, judged, Track { events }),
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
