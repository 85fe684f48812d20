//! Metrics of the upstream. Only the sync thread writes them.

use std::fmt::Error;

use super::cell::{Counter, Gauge};
use super::labels::{DialFault, LeftOutKind, StreamEnd, Unused, UpstreamSync};
use super::page::Page;

/// Metrics of the upstream.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct UpstreamMetrics {
    /// Streams that are open.
    pub streams: Gauge,
    /// Whether the data is kept up to date: 1 or 0.
    pub stable: Gauge,
    /// Streams that were opened.
    pub opened: Counter,
    /// Full syncs asked for.
    pub full_requests: Counter,
    /// Messages taken.
    pub messages: Counter,
    /// Bytes read, as WebSocket frames.
    pub received_bytes: Counter,
    /// When the upstream last sent something, in Unix seconds.
    pub heard_unix_s: Gauge,
    /// When the data was last brought up to date, in Unix seconds.
    pub synced_unix_s: Gauge,
    /// Attempts that failed since the last one that did not.
    pub failed_attempts: Gauge,
    /// Items of the last full sync that could not be read.
    full_left_out: Gauge,
    left_out: [Counter; LeftOutKind::COUNT],
    dial_faults: [Counter; DialFault::COUNT],
    ends: [Counter; StreamEnd::COUNT],
    syncs: [Counter; UpstreamSync::COUNT],
    unused: [Counter; Unused::COUNT],
}

impl UpstreamMetrics {
    /// A stream could not be opened.
    pub fn dial_failed(&self, why: DialFault) {
        self.dial_faults[why as usize].add(1);
    }

    /// A stream ended.
    pub fn ended(&self, how: StreamEnd) {
        self.ends[how as usize].add(1);
    }

    /// Data came in.
    pub fn synced(&self, kind: UpstreamSync) {
        self.syncs[kind as usize].add(1);
    }

    /// A message was not used.
    pub fn unused(&self, why: Unused) {
        self.unused[why as usize].add(1);
    }

    /// Items of a message could not be read.
    pub fn left_out(&self, kind: LeftOutKind, count: usize) {
        self.left_out[kind as usize].add(count as u64);
    }

    /// Sets how many items of the last full sync could not be read.
    pub fn full_left_out(&self, count: usize) {
        self.full_left_out.set(count as u64);
    }

    pub(super) fn encode(&self, page: &mut Page<'_>) -> Result<(), Error> {
        page.gauge("upstream_streams", "Streams of the server that are open.", self.streams.get() as f64)?;
        let help = "Whether the data is kept up to date by the server: 1 or 0.";
        page.gauge("upstream_stable", help, self.stable.get() as f64)?;
        page.counter(
            "upstream_streams_opened",
            "Streams of the server that were opened.",
            self.opened.get(),
        )?;
        let ends =
            StreamEnd::ALL.iter().map(|how| ([("reason", how.as_str())], self.ends[*how as usize].get()));
        page.counters("upstream_streams_ended", "Streams of the server that ended.", ends)?;
        let faults = DialFault::ALL
            .iter()
            .map(|why| ([("reason", why.as_str())], self.dial_faults[*why as usize].get()));
        page.counters("upstream_dial_failures", "Attempts to reach the server that failed.", faults)?;
        let help = "Attempts that failed since the last one that did not.";
        page.gauge("upstream_failed_attempts", help, self.failed_attempts.get() as f64)?;
        let help = "Full syncs asked of the server.";
        page.counter("upstream_full_requests", help, self.full_requests.get())?;
        let syncs = UpstreamSync::ALL
            .iter()
            .map(|kind| ([("kind", kind.as_str())], self.syncs[*kind as usize].get()));
        page.counters("upstream_syncs", "Messages of the server with data that was taken in.", syncs)?;
        let unused =
            Unused::ALL.iter().map(|why| ([("reason", why.as_str())], self.unused[*why as usize].get()));
        page.counters("upstream_messages_unused", "Messages of the server that were not used.", unused)?;
        let left_out = LeftOutKind::ALL
            .iter()
            .map(|kind| ([("kind", kind.as_str())], self.left_out[*kind as usize].get()));
        let help = "Flags, segments and secrets of the server that could not be read and were left out.";
        page.counters("upstream_items_left_out", help, left_out)?;
        let help = "Flags, segments and secrets of the last full sync that could not be read.";
        page.gauge("upstream_full_left_out", help, self.full_left_out.get() as f64)?;
        page.counter("upstream_messages", "Messages of the server.", self.messages.get())?;
        page.counter("upstream_received_bytes", "Bytes read from the server.", self.received_bytes.get())?;
        let name = "upstream_last_heard_timestamp_seconds";
        page.gauge(name, "When the server was last heard of.", self.heard_unix_s.get() as f64)?;
        let name = "upstream_last_synced_timestamp_seconds";
        page.gauge(name, "When the server last brought the data up to date.", self.synced_unix_s.get() as f64)
    }
}
