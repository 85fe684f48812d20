//! Metrics in Prometheus' format.
//!
//! Must not contend on the hot path: each reactor has its own [`ReactorMetrics`] that nobody else writes, and the
//! writer its own [`WriterMetrics`]; a scrape adds them up. Labels come from closed lists ([`labels`]), but for the
//! environment, of which at most [`ENVIRONMENTS_MAX`] are named.

mod cell;
mod keys;
pub mod labels;
mod page;
mod reactor;
mod scrape;
mod tls;
mod upstream;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use prometheus_client::registry::Registry;

pub use cell::{Counter, Gauge, Histogram};
pub use keys::KeyMetrics;
pub use labels::{
    Closed, Connection, DialFault, Handshake, HandshakeFailure, LeftOutKind, Limit, Refusal, Reload, Route,
    Source, Status, StreamEnd, Sync, Unused, UpstreamSync,
};
pub use reactor::{EnvironmentConnections, ReactorMetrics};
pub use tls::TlsMetrics;
pub use upstream::UpstreamMetrics;

/// The content type of [`Metrics::render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How many environments have a label of their own; the rest share `other`.
pub const ENVIRONMENTS_MAX: usize = 200;

/// All numbers of the process.
#[derive(Debug)]
pub struct Metrics {
    numbers: Arc<Numbers>,
    registry: Registry,
}

/// What a scrape reads.
#[derive(Debug)]
struct Numbers {
    reactors: Mutex<Vec<Arc<ReactorMetrics>>>,
    writer: Arc<WriterMetrics>,
    tls: Arc<TlsMetrics>,
    /// Only where keys come from files.
    keys: OnceLock<Arc<KeyMetrics>>,
    /// Only where a server is followed.
    upstream: OnceLock<Arc<UpstreamMetrics>>,
    /// The last change's time to its last connection.
    last_change_us: AtomicU64,
    started_unix_s: f64,
}

/// The numbers of the writer thread. No other thread may write them.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WriterMetrics {
    /// The highest `updatedAt` ever in service, in milliseconds.
    pub data_version: Gauge,
    /// Environments in service.
    pub environments: Gauge,
    /// Flags in service.
    pub flags: Gauge,
    /// Segments in service.
    pub segments: Gauge,
    /// Secrets in service.
    pub secrets: Gauge,
    /// Snapshots put in service.
    pub published: Counter,
    /// How long datasets took from their text to their snapshot being in service.
    pub loads: Histogram,
    /// The same of the last one, in microseconds.
    pub last_load_us: Gauge,
    rejected: [Counter; Source::COUNT],
    /// Memory of compiled regular expressions.
    pub regex_bytes: Gauge,
    /// Regular expressions refused since one, or all of them, would take too much; searches given up. Ever increasing.
    pub regex_too_large: Gauge,
    /// See [`WriterMetrics::regex_too_large`].
    pub regex_too_many: Gauge,
    /// See [`WriterMetrics::regex_too_large`].
    pub regex_given_up: Gauge,
}

impl WriterMetrics {
    /// A dataset was taken in after so long.
    pub fn loaded(&self, took_us: u64) {
        self.loads.observe_us(took_us);
        self.last_load_us.set(took_us);
    }

    /// A dataset was refused.
    pub fn rejected(&self, source: Source) {
        self.rejected[source as usize].add(1);
    }
}

impl Metrics {
    /// New numbers, all zero; the process counts as started now.
    pub fn new() -> Arc<Self> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let numbers = Arc::new(Numbers {
            reactors: Mutex::default(),
            writer: Arc::default(),
            tls: Arc::default(),
            keys: OnceLock::new(),
            upstream: OnceLock::new(),
            last_change_us: AtomicU64::new(0),
            started_unix_s: since_epoch.as_secs_f64(),
        });
        let mut registry = Registry::default();
        let own = registry.sub_registry_with_prefix("featbit_agent");
        own.register_collector(Box::new(scrape::Own(numbers.clone())));
        registry.register_collector(Box::new(scrape::Process(numbers.clone())));
        Arc::new(Self { numbers, registry })
    }

    /// The numbers of one more reactor, labelled by its place: 0 for the first.
    pub fn reactor(&self) -> Arc<ReactorMetrics> {
        let reactor = Arc::new(ReactorMetrics::default());
        self.numbers.reactors.lock().push(reactor.clone());
        reactor
    }

    /// The numbers of the one thread that watches certificates.
    pub fn tls(&self) -> Arc<TlsMetrics> {
        self.numbers.tls.clone()
    }

    /// The numbers of the thread that watches files of keys. Shown from the first call on.
    pub fn keys(&self) -> Arc<KeyMetrics> {
        self.numbers.keys.get_or_init(Arc::default).clone()
    }

    /// The numbers of the one writer.
    pub fn writer(&self) -> Arc<WriterMetrics> {
        self.numbers.writer.clone()
    }

    /// The numbers of the server that is followed. Shown from the first call on.
    pub fn upstream(&self) -> Arc<UpstreamMetrics> {
        self.numbers.upstream.get_or_init(Arc::default).clone()
    }

    /// A change reached the last connection of the last reactor, so long after it arrived. Any thread may say so.
    pub fn change_complete(&self, after_us: u64) {
        self.numbers.last_change_us.store(after_us, Relaxed);
    }

    /// Streaming connections by environment (`projectKey:envKey`), of server and of client SDKs, as of a second ago.
    pub fn environment_connections(&self) -> HashMap<Arc<str>, (u64, u64)> {
        scrape::sum_environments(&self.numbers.reactors.lock())
    }

    /// Everything, as OpenMetrics text of type [`CONTENT_TYPE`].
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        // Writing to a `String` cannot fail, and the collectors add no failures of their own.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}
