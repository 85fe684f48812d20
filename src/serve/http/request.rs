//! Handles a request when its head is complete: upgrades, answers that do not depend on the route, and everything else
//! by `api`.

use crate::serve::api;
use crate::serve::context::Context;
use crate::serve::session::State;
use crate::serve::shared::Shared;
use crate::serve::streaming::upgrade::upgrade;
use crate::wire::http1::head::{BodyLength, Head, Method, WebSocketFault};
use crate::wire::http1::response::Connection;

use super::answer::answer;
use super::cors::{self, Allowed};
use super::exchange::{Answer, Exchange};
use super::routes::Route;

/// Handles the request with this head.
pub(crate) fn begin(cx: &mut Context<'_, '_>, head: &Head<'_>) -> State {
    let options = cx.options();
    let route = Route::of(head.path, cx.info.role, options.echo_path.as_deref(), options.metrics_elsewhere);
    if matches!(route, Route::Streaming | Route::Echo)
        && let Some(websocket) = &head.websocket
    {
        return upgrade(cx, websocket, head, route);
    }
    // A body that is not read would be parsed as the next request.
    let has_body = !matches!(head.body, BodyLength::None | BodyLength::Length(0));
    let reads_body = head.method == Method::Post && route.takes(Method::Post);
    let keeps = !cx.parts.drain.is_on() && (!has_body || reads_body);
    let exchange = Exchange {
        route,
        connection: Connection::answer_to(head, keeps),
        without_body: head.method == Method::Head,
        allowed: Allowed::for_origin(head.origin, &options.cors.origins),
        accepts_gzip: head.accepts_gzip,
    };
    match general_answer(&cx.parts.shared, head, &exchange) {
        Some(general) => answer(cx, &exchange, general),
        None => api::begin(cx, exchange, head),
    }
}

/// The answer, if it does not depend on the route's own code: to preflights, OPTIONS, wrong methods, incomplete upgrades.
fn general_answer(shared: &Shared, head: &Head<'_>, exchange: &Exchange) -> Option<Answer> {
    let max_age = shared.options.cors.max_age.as_secs();
    if let Some(fields) = cors::preflight(head, &exchange.allowed, max_age) {
        return Some(Answer { fields, ..Answer::empty(204) });
    }
    let route = exchange.route;
    // `OPTIONS *` asks about the server as a whole (RFC 9110 section 9.3.7).
    if head.method == Method::Options && head.path == "*" {
        return Some(Answer::empty(204).with("Allow", "GET, HEAD, POST, OPTIONS"));
    }
    if matches!(route, Route::Streaming | Route::Echo)
        && let Some(fault) = head.websocket_fault
    {
        let answer = Answer::error(fault.status(), fault.reason());
        let upgrade = |answer: Answer| answer.with("Upgrade", "websocket").with("Connection", "Upgrade");
        return Some(match fault {
            WebSocketFault::NoUpgrade | WebSocketFault::Http10 => {
                log_lost_upgrade(shared, fault);
                upgrade(answer)
            }
            WebSocketFault::Version => upgrade(answer.with("Sec-WebSocket-Version", "13")),
            WebSocketFault::Key | WebSocketFault::Body => answer,
        });
    }
    if matches!(route, Route::Unknown | Route::Streaming | Route::Echo) || route.takes(head.method) {
        return None;
    }
    if head.method == Method::Options {
        return Some(Answer::empty(204).with("Allow", route.allow()));
    }
    Some(Answer::error(405, "this path does not support this method").with("Allow", route.allow()))
}

/// Logs that a proxy in front of the agent has removed the upgrade, so that SDKs cannot stream.
fn log_lost_upgrade(shared: &Shared, fault: WebSocketFault) {
    let Some(suppressed) = shared.log_limits.lost_upgrade.allow(shared.now_ms()) else { return };
    tracing::warn!(
        others_like_it = suppressed,
        "an SDK cannot stream, and retries for ever: {}. Configure the proxy in front of the agent to forward WebSocket \
         upgrades (nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \
         \"upgrade\")",
        fault.reason()
    );
}
