//! Refusals: each is counted, and written to the log so that an operator finds who was refused, one line a minute for each
//! reason and environment.
//!
//! Must not write a secret or key, not even a part. A secret's second half is its environment's id, which is none.

use crate::protocol::secret::Secret;
use crate::telemetry::metrics::Refusal;

use super::context::Parts;

/// Counts a refusal, and says so in the log.
pub(crate) fn note(parts: &Parts, why: Refusal, secret: Option<&Secret>) {
    let shared = &parts.shared;
    parts.meter.refused(why);
    let has_no_key = shared.keys.load().api_key.is_none();
    let Some(what) = explained(why, has_no_key) else { return };
    let id = secret.map(Secret::environment_id);
    let Some(held_back) = shared.log_limits.refused.allow((why as usize, id), shared.now_ms()) else {
        return;
    };
    let environment = id.and_then(|id| parts.view.environments().find(|environment| environment.id() == id));
    tracing::warn!(
        others_like_it = held_back,
        reason = why.as_str(),
        environment_id = id.map(|id| id.to_string()),
        environment = environment.map(|environment| environment.label().to_string()),
        "{what}"
    );
}

/// What a refusal means and what to do; `None` where another log line says so. `has_no_key`: the agent has no ApiKey.
fn explained(why: Refusal, has_no_key: bool) -> Option<&'static str> {
    Some(match why {
        Refusal::Malformed => {
            "a request was refused that had no environment secret, or none that is well formed. Give the SDK the secret of \
             its environment, and restart it"
        }
        Refusal::UnknownForm => {
            "an SDK shows a secret or token of a form that this agent does not know: it gets no data, and comes back. Look \
             whether its secret was copied whole; if it was, look for a newer version of this agent"
        }
        Refusal::WrongType => {
            "an SDK was refused, since its secret is of the other type. Give server SDKs a server secret, client SDKs a \
             client secret, and restart it"
        }
        Refusal::Unknown => {
            "an SDK was refused, since the data does not have its secret. Give it one that its environment has, or add it \
             to the data, and restart the SDK"
        }
        Refusal::Revoked => {
            "an SDK was sent away, since the data no longer has its secret. Give it one that its environment has, and \
             restart it"
        }
        Refusal::Unverified => {
            "an SDK was put off, since the data does not have its secret and the server could not be asked. It comes back \
             by itself"
        }
        Refusal::RelayKey => {
            "another agent was refused, since it did not show one of RelayKeys. Set its ApiKey to one of them"
        }
        Refusal::ApiKey if has_no_key => {
            "a management call was refused, since the agent has no ApiKey. Set ApiKey or ApiKey__File if such calls are \
             needed"
        }
        Refusal::ApiKey => {
            "a management call was refused, since it did not show the agent's ApiKey. Send the key in Authorization, without \
             Bearer before it"
        }
        // No data yet, and clocks that differ, have log lines of their own.
        Refusal::NotLoaded | Refusal::Expired => return None,
    })
}
