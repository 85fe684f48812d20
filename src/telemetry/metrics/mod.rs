//! Metrics in Prometheus' format.
//!
//! Must not cause contention on the hot path: each reactor has its own [`ReactorMetrics`] that only it writes, and the writer
//! its own [`WriterMetrics`]; a scrape adds them up. Label values come from closed lists ([`labels`]), except for
//! environments, of which at most [`ENVIRONMENTS_MAX`] are named.

mod cell;
mod events;
pub mod labels;
mod numbers;
mod page;
mod persistence;
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
pub use events::{EnvironmentEvents, EventNumbers};
pub use labels::{
    Closed, Connection, DialFault, ENVIRONMENTS_MAX, Handshake, HandshakeFailure, LeftOutKind, Limit,
    Refusal, Reload, Route, Source, Status, StreamEnd, Sync, Unused, UpstreamSync,
};
use numbers::Numbers;
pub use numbers::{KeyMetrics, WriterMetrics};
pub use persistence::{BackupNumbers, Reader, RedisNumbers};
pub use reactor::{EnvironmentConnections, ReactorMetrics};
pub use tls::TlsMetrics;
pub use upstream::UpstreamMetrics;

/// The content type of [`Metrics::render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    numbers: Arc<Numbers>,
    registry: Registry,
}

impl Metrics {
    /// New metrics, all zero. The start time of the process is now.
    pub fn new() -> Arc<Self> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let numbers = Arc::new(Numbers {
            reactors: Mutex::default(),
            writer: Arc::default(),
            tls: Arc::default(),
            keys: OnceLock::new(),
            upstream: OnceLock::new(),
            backup: OnceLock::new(),
            redis: OnceLock::new(),
            events: OnceLock::new(),
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

    /// The backup file is shown from now on, with the numbers that `reader` gives at each scrape.
    pub fn show_backup(&self, reader: Reader<BackupNumbers>) {
        // There is one backup file: a second call changes nothing.
        let _ = self.numbers.backup.set(reader);
    }

    /// Redis is shown from now on, with the numbers that `reader` gives at each scrape.
    pub fn show_redis(&self, reader: Reader<RedisNumbers>) {
        // There is one Redis: a second call changes nothing.
        let _ = self.numbers.redis.set(reader);
    }

    /// Usage events are shown from now on, with the numbers that `reader` gives at each scrape.
    pub fn show_events(&self, reader: Reader<EventNumbers>) {
        // There is one reader: a second call changes nothing.
        let _ = self.numbers.events.set(reader);
    }

    /// A change reached the last connection of the last reactor, this long after its arrival. Any thread may call it.
    pub fn change_complete(&self, after_us: u64) {
        self.numbers.last_change_us.store(after_us, Relaxed);
    }

    /// Streaming connections of server SDKs and of client SDKs by environment (`projectKey:envKey`), about a second old.
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
