//! `POST /api/public/agent/register`: a downstream agent registers, as it would with a FeatBit server.

use crate::protocol::from_relay::parse_registration;
use crate::serve::context::Context;
use crate::serve::http::answer::answer;
use crate::serve::http::body::{Body, Purpose};
use crate::serve::http::exchange::{Answer, Exchange};
use crate::serve::http::upload;
use crate::serve::refusals;
use crate::serve::session::State;
use crate::telemetry::metrics::Refusal;
use crate::wire::http1::head::Head;

/// The most bytes that the body, a name, may have.
const BYTES_MAX: u64 = 4096;

/// Checks the caller's key, then starts to receive the downstream agent's name.
pub(crate) fn begin(cx: &mut Context<'_, '_>, exchange: Exchange, head: &Head<'_>) -> State {
    let keys = cx.parts.shared.keys.load();
    let is_known = head.authorization.is_some_and(|key| keys.relay(key).is_some());
    drop(keys);
    if !is_known {
        refusals::count_and_log(cx.parts, Refusal::RelayKey, None);
        let refusal = Answer::error(401, "Authorization must be one of the agent's RelayKeys");
        return upload::answer_without_body(cx, exchange, head, refusal);
    }
    match upload::accept_json(head) {
        Ok(gzip) => {
            let body = Body::begin(exchange, Purpose::Register, head.body, gzip, BYTES_MAX, None);
            upload::begin(cx, body, head.expect_continue)
        }
        Err(refusal) => upload::answer_without_body(cx, exchange, head, refusal),
    }
}

/// The name is complete: sends it back, as a FeatBit server does.
pub(crate) fn finish(cx: &mut Context<'_, '_>, exchange: &Exchange, bytes: Vec<u8>, gzip: bool) -> State {
    let name = upload::decompress(bytes, gzip, BYTES_MAX).and_then(|bytes| {
        parse_registration(&bytes)
            .ok_or_else(|| Answer::error(400, "the body must be the agent's id as a JSON string"))
    });
    let reply = name.map_or_else(|refusal| refusal, |name| Answer::text(200, name));
    answer(cx, exchange, reply)
}
