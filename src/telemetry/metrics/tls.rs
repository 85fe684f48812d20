//! TLS metrics that do not belong to a reactor, and the TLS part of a scrape.

use std::fmt::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use super::cell::Counter;
use super::labels::{Handshake, HandshakeFailure, Reload};
use super::page::Page;
use super::reactor::ReactorMetrics;

/// Metrics of the certificates. Only the thread that watches the files may write them.
#[derive(Debug)]
pub struct TlsMetrics {
    reloads: [Counter; Reload::COUNT],
    /// When the first certificate expires, in Unix seconds; `i64::MAX` without certificates.
    not_after_s: AtomicI64,
}

impl Default for TlsMetrics {
    fn default() -> Self {
        Self { reloads: Default::default(), not_after_s: AtomicI64::new(i64::MAX) }
    }
}

impl TlsMetrics {
    /// A changed certificate or key was processed.
    pub fn reloaded(&self, outcome: Reload) {
        self.reloads[outcome as usize].add(1);
    }

    /// Sets when the first certificate expires, in Unix seconds.
    pub fn not_after_s(&self, not_after_s: i64) {
        self.not_after_s.store(not_after_s, Relaxed);
    }
}

/// Writes the TLS part of a scrape; nothing without certificates.
pub(super) fn encode(
    page: &mut Page<'_>,
    reactors: &[Arc<ReactorMetrics>],
    tls: &TlsMetrics,
) -> Result<(), Error> {
    let not_after_s = tls.not_after_s.load(Relaxed);
    if not_after_s == i64::MAX {
        return Ok(());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let left_s = not_after_s as f64 - now.as_secs_f64();
    let help = "Seconds until the certificate that ends first has expired; negative after that.";
    page.gauge("tls_certificate_expires_in_seconds", help, left_s)?;
    let reloads = Reload::ALL
        .iter()
        .map(|outcome| ([("outcome", outcome.as_str())], tls.reloads[*outcome as usize].get()));
    page.counters(
        "tls_certificate_reloads",
        "Changed certificates and keys, by what came of them.",
        reloads,
    )?;
    let sum = |counter: &dyn Fn(&ReactorMetrics) -> &Counter| {
        reactors.iter().map(|reactor| counter(reactor).get()).sum::<u64>()
    };
    let done = Handshake::ALL
        .iter()
        .map(|kind| ([("kind", kind.as_str())], sum(&|reactor| &reactor.handshakes[*kind as usize])));
    page.counters("tls_handshakes", "Handshakes of TLS that ended well.", done)?;
    let failed = HandshakeFailure::ALL
        .iter()
        .map(|why| ([("reason", why.as_str())], sum(&|reactor| &reactor.handshake_failures[*why as usize])));
    page.counters("tls_handshake_failures", "Handshakes of TLS that failed.", failed)
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    fn line<'a>(page: &'a str, start: &str) -> Option<&'a str> {
        page.lines().find_map(|line| line.strip_prefix(start))
    }

    #[test]
    fn tls_is_shown_only_where_it_is_spoken() {
        let metrics = Metrics::new();
        let (one, two) = (metrics.reactor(), metrics.reactor());
        one.handshakes_done(Handshake::Anew, 2);
        two.handshakes_done(Handshake::Anew, 1);
        two.handshakes_failed(HandshakeFailure::Timeout, 4);
        assert!(!metrics.render().contains("tls_"));
        let tls = metrics.tls();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        tls.not_after_s(now - 1000);
        tls.reloaded(Reload::Failed);
        let page = metrics.render();
        let value = |start: &str| line(&page, start).unwrap_or_else(|| panic!("no {start} in {page}"));
        assert_eq!(value("featbit_agent_tls_handshakes_total{kind=\"full\"} "), "3");
        assert_eq!(value("featbit_agent_tls_handshakes_total{kind=\"resumed\"} "), "0");
        assert_eq!(value("featbit_agent_tls_handshake_failures_total{reason=\"timeout\"} "), "4");
        assert_eq!(value("featbit_agent_tls_certificate_reloads_total{outcome=\"failed\"} "), "1");
        let left: f64 = value("featbit_agent_tls_certificate_expires_in_seconds ").parse().unwrap();
        assert!((-1100.0..=-1000.0).contains(&left), "{left}");
    }
}
