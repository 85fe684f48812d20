//! Rate limits for log lines that a peer can cause. Each line is written at most once per interval in the whole process:
//! all reactors share one [`LogLimits`].

use crate::telemetry::once::{RateLimit, RateLimits};

const MINUTE_MS: u64 = 60_000;

/// Refusals are limited by reason and environment. Peers can invent environment ids, so there are at most this many lines
/// a minute.
const REFUSED_LINES: usize = 64;

/// The log line when the PROXY protocol arrives, on a port with TLS or without.
pub(crate) const NO_PROXY_PROTOCOL: &str = "a proxy sends the PROXY protocol, which the agent does not support: its \
     connection was closed. Turn it off in the proxy (HAProxy: no send-proxy; nginx: proxy_protocol off; a cloud's load \
     balancer: the attribute of that name)";

/// One rate limit for each such log line.
#[derive(Debug)]
pub(crate) struct LogLimits {
    pub refused: RateLimits,
    pub clock_mismatch: RateLimit,
    pub user_too_large: RateLimit,
    pub relay_message_too_long: RateLimit,
    /// Shorter than the others, but limited: an agent that reconnects in a loop must not fill the log.
    pub relay_connected: RateLimit,
    pub relay_disconnected: RateLimit,
    pub lost_upgrade: RateLimit,
    pub http_2: RateLimit,
    pub proxy_protocol: RateLimit,
    pub proxy_protocol_to_tls: RateLimit,
    pub tls_to_plain: RateLimit,
    pub plain_to_tls: RateLimit,
    pub client_certificate: RateLimit,
    pub too_many_connections: RateLimit,
    pub no_descriptors: RateLimit,
}

impl Default for LogLimits {
    fn default() -> Self {
        let minute = || RateLimit::new(MINUTE_MS);
        Self {
            refused: RateLimits::new(MINUTE_MS, REFUSED_LINES),
            clock_mismatch: minute(),
            user_too_large: minute(),
            relay_message_too_long: minute(),
            relay_connected: RateLimit::new(100),
            relay_disconnected: RateLimit::new(100),
            lost_upgrade: minute(),
            http_2: minute(),
            proxy_protocol: minute(),
            proxy_protocol_to_tls: minute(),
            tls_to_plain: minute(),
            plain_to_tls: minute(),
            client_certificate: minute(),
            too_many_connections: minute(),
            no_descriptors: minute(),
        }
    }
}
