//! Management calls show the agent's `ApiKey`.

use crate::serve::context::Context;
use crate::serve::http::exchange::Answer;
use crate::serve::refusals;
use crate::telemetry::metrics::Refusal;
use crate::wire::http1::head::Head;

/// Whether a call shows the agent's key. A refusal is counted and comes back as the answer.
pub(crate) fn check(cx: &Context<'_, '_>, head: &Head<'_>) -> Result<(), Answer> {
    let why = match &cx.parts.shared.keys.load().api_key {
        Some(key) if key.matches(head.authorization.unwrap_or("").as_bytes()) => return Ok(()),
        Some(_) => "Authorization must be the agent's ApiKey",
        None => "management calls are off, since the agent has no ApiKey",
    };
    refusals::note(cx.parts, Refusal::ApiKey, None);
    Err(Answer::error(401, why))
}
