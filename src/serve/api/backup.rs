//! `GET /api/public/proxy/backup`: an operator fetches the dataset; with `?canonical=true` in the form by which two agents
//! are compared.

use crate::serve::context::Context;
use crate::serve::http::exchange::{Answer, Exchange};
use crate::serve::http::upload;
use crate::serve::session::State;
use crate::wire::http1::head::Head;
use crate::wire::http1::target::query_param;

use super::api_key;
use super::reply::park_for_reply;

/// Orders the dataset from the ingest thread, and parks the request until it arrives in the mailbox.
pub(crate) fn begin(cx: &mut Context<'_, '_>, exchange: Exchange, head: &Head<'_>) -> State {
    if let Err(refusal) = api_key::check(cx, head) {
        return upload::answer_without_body(cx, exchange, head, refusal);
    }
    let canonical = query_param(head.query, "canonical");
    let canonical = match canonical.as_deref() {
        None | Some("false") => false,
        Some("true" | "") => true,
        Some(_) => {
            let refusal = Answer::error(400, "`canonical` must be `true` or `false`");
            return upload::answer_without_body(cx, exchange, head, refusal);
        }
    };
    let mut exchange = exchange;
    upload::close_unless_empty(&mut exchange, head);
    let (shared, mailbox) = (&cx.parts.shared, cx.parts.mailbox.clone());
    // Not this reactor's view: right after a start it may be empty although another reactor has said that there is data.
    let accepted = shared.ingest.backup(shared.ingest.current(), canonical, mailbox, cx.link.key());
    park_for_reply(cx, exchange, accepted)
}
