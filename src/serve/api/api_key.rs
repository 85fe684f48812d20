//! Checks the agent's `ApiKey`, which every management call must send.

use crate::serve::context::Context;
use crate::serve::http::exchange::Answer;
use crate::serve::refusals;
use crate::telemetry::metrics::Refusal;
use crate::wire::http1::head::Head;

/// Checks the key that a call sends. A call without it is counted and logged; the error is its answer.
pub(crate) fn check(cx: &Context<'_, '_>, head: &Head<'_>) -> Result<(), Answer> {
    let why = match &cx.parts.shared.keys.load().api_key {
        Some(key) if key.matches(head.authorization.unwrap_or("").as_bytes()) => return Ok(()),
        Some(_) => "Authorization must be the agent's ApiKey",
        None => "management calls are off, since the agent has no ApiKey",
    };
    refusals::count_and_log(cx.parts, Refusal::ApiKey, None);
    Err(Answer::error(401, why))
}
