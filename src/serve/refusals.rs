//! Counts and logs refusals, so that an operator finds which SDK or agent was refused and why. At most one line a minute
//! for each reason and environment.
//!
//! Must not log a secret or key, nor a part of one. A secret's second half is its environment's id, which may be logged.

use crate::protocol::secret::Secret;
use crate::telemetry::metrics::Refusal;

use super::context::Parts;

/// Counts a refusal, and logs it unless another log line explains it.
pub(crate) fn count_and_log(parts: &Parts, why: Refusal, secret: Option<&Secret>) {
    let shared = &parts.shared;
    parts.meter.refused(why);
    let has_no_key = shared.keys.load().api_key.is_none();
    let Some(what) = explained(why, has_no_key) else { return };
    let id = secret.map(Secret::environment_id);
    let Some(suppressed) = shared.log_limits.refused.allow((why as usize, id), shared.now_ms()) else {
        return;
    };
    let environment = id.and_then(|id| parts.view.environments().find(|environment| environment.id() == id));
    tracing::warn!(
        others_like_it = suppressed,
        reason = why.as_str(),
        environment_id = id.map(|id| id.to_string()),
        environment = environment.map(|environment| environment.label().to_string()),
        "{what}"
    );
}

/// What a refusal means and what to do; `None` if another log line says so. `has_no_key`: the agent has no ApiKey.
fn explained(why: Refusal, has_no_key: bool) -> Option<&'static str> {
    Some(match why {
        Refusal::Malformed => {
            "a request was refused: it has no environment secret, or a malformed one. Give the SDK the secret of its \
             environment, and restart it"
        }
        Refusal::UnknownForm => {
            "an SDK gets no data and keeps retrying: this agent does not know the format of its secret or token. Check that \
             the whole secret was copied; if it was, upgrade this agent"
        }
        Refusal::WrongType => {
            "an SDK was refused: its secret is of the other type. Give server SDKs a server secret and client SDKs a client \
             secret, and restart it"
        }
        Refusal::Unknown => {
            "an SDK was refused: the data does not contain its secret. Give it a secret that its environment has, or add \
             this one to the data, and restart the SDK"
        }
        Refusal::Revoked => {
            "an SDK was disconnected: the data no longer contains its secret. Give it a secret that its environment has, \
             and restart it"
        }
        Refusal::Unverified => {
            "an SDK has to retry: the data does not contain its secret, and the server did not answer in time whether the \
             secret is new. The SDK reconnects by itself; if this goes on, check the connection to the server"
        }
        Refusal::RelayKey => {
            "another agent was refused: it did not send one of RelayKeys. Set its ApiKey to one of them"
        }
        Refusal::ApiKey if has_no_key => {
            "a management call was refused: the agent has no ApiKey. Set ApiKey or ApiKey__File if you need such calls"
        }
        Refusal::ApiKey => {
            "a management call was refused: it did not send the agent's ApiKey. Send the key in the Authorization header, \
             without Bearer before it"
        }
        // Missing data and differing clocks have their own log lines.
        Refusal::NotLoaded | Refusal::Expired => return None,
    })
}
