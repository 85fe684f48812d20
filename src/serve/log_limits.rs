//! Log lines that a peer can cause. Each is written at most once in its interval, for the whole process: there is one
//! [`LogLimits`] for all reactors.

use crate::telemetry::once::{RateLimit, RateLimits};

const MINUTE_MS: u64 = 60_000;

/// Refusals are limited by reason and environment. Ids can be made up, so this many lines a minute is the maximum.
const REFUSED_LINES: usize = 64;

/// The log line where the PROXY protocol comes in, with TLS or without.
pub(crate) const NO_PROXY_PROTOCOL: &str = "a proxy sends the PROXY protocol, which is not taken here, and its connection \
     was ended. Turn it off in the proxy (HAProxy: no send-proxy; nginx: proxy_protocol off; a cloud's load balancer: the \
     attribute of that name)";

/// The rate limit of each log line that a peer can cause.
#[derive(Debug)]
pub(crate) struct LogLimits {
    pub refused: RateLimits,
    pub token_out_of_time: RateLimit,
    pub user_too_large: RateLimit,
    pub relay_message_too_long: RateLimit,
    /// Whoever has a key could fill the log by connecting again and again.
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
            token_out_of_time: minute(),
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
