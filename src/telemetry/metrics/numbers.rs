//! All metrics that a scrape reads, and those of the writer and of the key files.

use std::fmt::Error;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::cell::{Counter, Gauge, Histogram};
use super::events::EventNumbers;
use super::labels::{Reload, Source};
use super::page::Page;
use super::persistence::{BackupNumbers, Reader, RedisNumbers};
use super::reactor::ReactorMetrics;
use super::tls::TlsMetrics;
use super::upstream::UpstreamMetrics;

/// The values that a scrape reads.
#[derive(Debug)]
pub(super) struct Numbers {
    pub reactors: Mutex<Vec<Arc<ReactorMetrics>>>,
    pub writer: Arc<WriterMetrics>,
    pub tls: Arc<TlsMetrics>,
    /// Only where keys come from files.
    pub keys: OnceLock<Arc<KeyMetrics>>,
    /// Only where a server is followed.
    pub upstream: OnceLock<Arc<UpstreamMetrics>>,
    /// Only where there is a backup file.
    pub backup: OnceLock<Reader<BackupNumbers>>,
    /// Only where there is a Redis.
    pub redis: OnceLock<Reader<RedisNumbers>>,
    /// Set at the start of the agent.
    pub events: OnceLock<Reader<EventNumbers>>,
    /// How long the last change took to reach its last connection.
    pub last_change_us: AtomicU64,
    pub started_unix_s: f64,
}

/// Metrics of the writer thread, which alone may write them.
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
    /// How long datasets took from their text until their snapshot was in service.
    pub loads: Histogram,
    /// How long the last dataset took, in microseconds.
    pub last_load_us: Gauge,
    pub(super) rejected: [Counter; Source::COUNT],
    /// Memory of compiled regular expressions.
    pub regex_bytes: Gauge,
    /// Regular expressions that were refused because each alone would take too much memory. Only increases.
    pub regex_too_large: Gauge,
    /// Regular expressions that were refused because all together would take too much memory. Only increases.
    pub regex_too_many: Gauge,
    /// Searches that were stopped after too many backtracking steps. Only increases.
    pub regex_given_up: Gauge,
}

impl WriterMetrics {
    /// A dataset was loaded and is in service; it took this long.
    pub fn loaded(&self, took_us: u64) {
        self.loads.observe_us(took_us);
        self.last_load_us.set(took_us);
    }

    /// A dataset was refused.
    pub fn rejected(&self, source: Source) {
        self.rejected[source as usize].add(1);
    }
}

/// Metrics of the key files. Only the thread that watches the files may write them.
#[derive(Debug, Default)]
pub struct KeyMetrics {
    reloads: [Counter; Reload::COUNT],
}

impl KeyMetrics {
    /// A changed key file was processed.
    pub fn reloaded(&self, outcome: Reload) {
        self.reloads[outcome as usize].add(1);
    }

    pub(super) fn encode(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let reloads = Reload::ALL
            .iter()
            .map(|outcome| ([("outcome", outcome.as_str())], self.reloads[*outcome as usize].get()));
        page.counters("key_reloads", "Changed files of keys, by what came of them.", reloads)
    }
}
