//! `POST /api/public/proxy/bootstrap`: FeatBit's UI or an operator pushes a dataset.

use crate::ingest::Submission;
use crate::serve::budgets::BootstrapPermit;
use crate::serve::context::Context;
use crate::serve::http::body::{Body, Purpose};
use crate::serve::http::exchange::{Answer, Exchange};
use crate::serve::http::upload;
use crate::serve::session::State;
use crate::telemetry::metrics::Limit;
use crate::wire::http1::head::Head;

use super::api_key;
use super::reply::park_for_reply;

/// Checks the caller's key, then starts to receive the dataset.
pub(crate) fn begin(cx: &mut Context<'_, '_>, exchange: Exchange, head: &Head<'_>) -> State {
    let begun = api_key::check(cx, head).and_then(|()| upload::accept_json(head)).and_then(|gzip| {
        let permit = cx.parts.shared.bootstraps.permit().ok_or_else(|| {
            cx.parts.meter.limit_hit(Limit::Bootstraps);
            Answer::later("another dataset is being received")
        })?;
        Ok((permit, gzip))
    });
    match begun {
        Ok((permit, gzip)) => {
            let max = cx.options().limits.bootstrap_bytes;
            let body = Body::begin(exchange, Purpose::Bootstrap(permit), head.body, gzip, max, None);
            upload::begin(cx, body, head.expect_continue)
        }
        Err(refusal) => upload::answer_without_body(cx, exchange, head, refusal),
    }
}

/// The dataset is complete: submits it to the writer, and parks the request until the writer replies.
pub(crate) fn finish(
    cx: &mut Context<'_, '_>,
    exchange: Exchange,
    permit: BootstrapPermit,
    bytes: Vec<u8>,
    gzip: bool,
) -> State {
    let accepted = cx.parts.shared.ingest.submit(Submission {
        bytes,
        gzip,
        bytes_max: cx.options().limits.bootstrap_bytes,
        mailbox: cx.parts.mailbox.clone(),
        key: cx.link.key(),
        permit: Box::new(permit),
    });
    park_for_reply(cx, exchange, accepted)
}
