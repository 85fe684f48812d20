//! `GET /metrics`: the metrics of the whole agent, for Prometheus.

use crate::payload::Payload;
use crate::serve::context::Context;
use crate::serve::http::answer::answer;
use crate::serve::http::exchange::{Answer, Exchange};
use crate::serve::session::State;
use crate::telemetry::metrics::CONTENT_TYPE;

/// Answers with all metrics.
pub(crate) fn begin(cx: &mut Context<'_, '_>, exchange: &Exchange) -> State {
    let page = Payload::private(cx.parts.shared.metrics.render().into_bytes());
    answer(cx, exchange, Answer::new(200, CONTENT_TYPE, page))
}
