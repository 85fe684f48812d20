//! `POST /api/public/proxy/resync`: an operator requests an immediate full sync.

use crate::ingest::ResyncReason;
use crate::serve::context::Context;
use crate::serve::http::exchange::Exchange;
use crate::serve::http::upload;
use crate::serve::session::State;
use crate::wire::http1::head::Head;

use super::{api_key, status};

/// Requests a full sync, and answers with the status.
pub(crate) fn begin(cx: &mut Context<'_, '_>, exchange: Exchange, head: &Head<'_>) -> State {
    let answer = api_key::check(cx, head).map(|()| {
        cx.parts.shared.ingest.request_resync(ResyncReason::Operator);
        status::status(cx.parts, 202)
    });
    let answer = answer.unwrap_or_else(|refusal| refusal);
    upload::answer_without_body(cx, exchange, head, answer)
}
