//! Refusals, told so that an operator finds who was refused: one line a minute for each reason and environment.
//!
//! Must not tell a secret or key, not even a part. A secret's second half is its environment's id, which is none.

use std::sync::LazyLock;

use crate::model::environment_id::EnvironmentId;
use crate::protocol::secret::Secret;
use crate::telemetry::once::{RateLimit, RateLimits};
use crate::wire::http1::foreign::Foreign;
use crate::wire::http1::head::WebSocketFault;

use crate::serve::metrics::Refusal;
use crate::serve::server::Server;

/// Lines a minute at most, whatever ids are made up.
const LINES: usize = 64;

/// For the whole process, whatever the number of reactors.
static REFUSED: LazyLock<RateLimits> = LazyLock::new(|| RateLimits::new(60_000, LINES));
static LOST_UPGRADE: RateLimit = RateLimit::new(60_000);
static HTTP_2: RateLimit = RateLimit::new(60_000);
static PROXY: RateLimit = RateLimit::new(60_000);
static TLS: RateLimit = RateLimit::new(60_000);

/// Told where the PROXY protocol comes in, with TLS or without.
pub(super) const NO_PROXY_PROTOCOL: &str = "a proxy sends the PROXY protocol, which is not taken here, and its connection \
     was ended. Turn it off in the proxy (HAProxy: no send-proxy; nginx: proxy_protocol off; a cloud's load balancer: the \
     attribute of that name)";

impl Server {
    /// Counts a refusal, and tells of it.
    pub(super) fn note_refused(&self, why: Refusal, secret: Option<&Secret>) {
        self.meter.refused(why);
        let keyless = self.shared.keys.current.load().api_key.is_none();
        let Some(what) = told(why, keyless) else { return };
        let id = secret.map(Secret::environment_id);
        let Some(held_back) = REFUSED.allow((why as usize, id), self.now_ms()) else { return };
        let name = id.and_then(|id| self.environment_name(id));
        tracing::warn!(
            others_like_it = held_back,
            reason = why.as_str(),
            environment_id = id.map(|id| id.to_string()),
            environment = name,
            "{what}"
        );
    }

    /// Says that a proxy in front of the agent keeps SDKs from streaming.
    pub(super) fn note_lost_upgrade(&self, fault: WebSocketFault) {
        let Some(held_back) = LOST_UPGRADE.allow(self.now_ms()) else { return };
        tracing::warn!(
            others_like_it = held_back,
            "an SDK cannot stream, and tries again for ever: {}. nginx: proxy_http_version 1.1; proxy_set_header Upgrade \
             $http_upgrade; proxy_set_header Connection \"upgrade\"",
            fault.reason()
        );
    }

    /// Says that something else than HTTP/1 is spoken to a port without TLS.
    pub(super) fn note_foreign(&self, foreign: Foreign) {
        let (limit, what) = match foreign {
            Foreign::Http2 => (
                &HTTP_2,
                "a client or proxy speaks HTTP/2, which is not spoken here, and its connection was ended. Let it use \
                 HTTP/1.1 towards the agent",
            ),
            Foreign::Proxy => (&PROXY, NO_PROXY_PROTOCOL),
            Foreign::Tls => (
                &TLS,
                "a client speaks TLS where it is not spoken, and was refused. Let it use http:// or ws://, or add an \
                 https:// address to Urls",
            ),
        };
        if let Some(held_back) = limit.allow(self.now_ms()) {
            tracing::warn!(others_like_it = held_back, "{what}");
        }
    }

    fn environment_name(&self, id: EnvironmentId) -> Option<String> {
        self.view.environments().find(|environment| environment.id() == id).map(|one| one.label().to_string())
    }

    fn now_ms(&self) -> u64 {
        u64::try_from((self.shared.wall_ms)()).unwrap_or(0)
    }
}

/// What a refusal means and what to do, `keyless` where the agent has no ApiKey; `None` where that is told elsewhere.
fn told(why: Refusal, keyless: bool) -> Option<&'static str> {
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
        Refusal::ApiKey if keyless => {
            "a management call was refused, since the agent has no ApiKey. Set ApiKey or ApiKey__File if such calls are \
             needed"
        }
        Refusal::ApiKey => {
            "a management call was refused, since it did not show the agent's ApiKey. Send the key in Authorization, without \
             Bearer before it"
        }
        // No data yet, and clocks that differ, have lines of their own.
        Refusal::NotLoaded | Refusal::Expired => return None,
    })
}
