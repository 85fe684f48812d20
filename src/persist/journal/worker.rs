//! The thread of a journal: writes, syncs, compacts, and goes on after errors.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::back_off::BackOff;
use super::group::NeedsFullState;
use super::options::Options;
use super::queue::{FullState, Item, Shared, Timing, Work, fail_all};
use crate::persist::log::{OpenLog, Written};
use crate::telemetry::once::RateLimit;

/// A disk that is slow is reported at most this often.
const SLOW_REPORT_MS: u64 = 60_000;

/// The thread's own state.
pub(super) struct Worker {
    log: OpenLog,
    options: Options,
    needs_full_state: NeedsFullState,
    shared: Arc<Shared>,
    back_off: BackOff,
    timing: Timing,
    /// The whole state was asked for because the file has grown.
    asked_to_compact: bool,
    started: Instant,
    slow: RateLimit,
}

impl Worker {
    pub(super) fn new(
        log: OpenLog,
        options: Options,
        needs_full_state: NeedsFullState,
        shared: Arc<Shared>,
    ) -> Self {
        let now = Instant::now();
        let mut worker = Self {
            back_off: BackOff::new(options.retry_min, options.retry_max),
            timing: Timing { is_trusted: true, retry_at: now, ask_at: now },
            asked_to_compact: false,
            started: now,
            slow: RateLimit::new(SLOW_REPORT_MS),
            log,
            options,
            needs_full_state,
            shared,
        };
        if !worker.log.is_trusted() {
            let error =
                worker.log.trouble().map_or_else(|| "the file is not ready".to_owned(), ToString::to_string);
            let kind = worker.log.trouble().map_or(io::ErrorKind::Other, io::Error::kind);
            worker.complain(&error, kind);
            worker.shared.failed_at_start(error, now);
            worker.delay(now);
        }
        worker.publish_sizes();
        worker
    }

    pub(super) fn run(mut self) {
        // However the thread ends, nobody shall wait for it.
        let shared = self.shared.clone();
        let _end = End(&shared);
        loop {
            match self.shared.next(self.timing) {
                Work::Append(items) => self.append(items),
                Work::Replace(whole) => self.replace(whole),
                Work::Ask => self.ask(),
                Work::Expire(dones) => fail_all(dones, "the disk did not take it in time"),
                Work::Stop(dones) => {
                    return fail_all(dones, "the disk did not take it before the agent stopped");
                }
            }
        }
    }

    fn append(&mut self, items: Vec<Item>) {
        let begun = Instant::now();
        let mut total = Written::default();
        let result = items.iter().try_for_each(|item| {
            let written = self.log.append(&mut |out| item.group.write(out))?;
            total.records += written.records;
            total.bytes += written.bytes;
            Ok(())
        });
        match result.and_then(|()| self.log.sync()) {
            Ok(()) => {
                self.succeeded(total, begun);
                items.into_iter().filter_map(|item| item.done).for_each(|done| done(Ok(())));
                self.compact();
            }
            Err(error) => self.failed(&error, items, None),
        }
    }

    fn replace(&mut self, whole: FullState) {
        let begun = Instant::now();
        self.asked_to_compact = false;
        if let Some(fingerprint) = self.shared.take_fingerprint() {
            self.log.set_fingerprint(fingerprint);
        }
        match self.log.replace(&mut |out| whole.group.write(out)) {
            Ok(written) => {
                self.shared.counters.compactions.fetch_add(1, Relaxed);
                self.succeeded(written, begun);
                whole.into_dones().for_each(|done| done(Ok(())));
            }
            Err(error) => self.failed(&error, Vec::new(), Some(whole)),
        }
    }

    /// Asks for the whole state if the file has grown enough.
    fn compact(&mut self) {
        let limit = self.log.first_group_bytes().saturating_mul(self.options.compact_factor);
        if !self.asked_to_compact && self.log.bytes() > limit.max(self.options.compact_bytes_min) {
            self.asked_to_compact = true;
            (self.needs_full_state)();
        }
    }

    /// Asks for the whole state because groups were dropped.
    fn ask(&mut self) {
        self.timing.ask_at = Instant::now() + self.options.retry_max;
        if self.timing.is_trusted {
            tracing::warn!(
                file = self.file(),
                "the disk is too slow for the {}: changes that did not fit in the queue are written with all other data. \
                 Check the disk",
                self.what()
            );
        }
        (self.needs_full_state)();
    }

    fn succeeded(&mut self, written: Written, begun: Instant) {
        let counters = &self.shared.counters;
        counters.records.fetch_add(written.records, Relaxed);
        counters.bytes.fetch_add(written.bytes, Relaxed);
        counters.syncs.fetch_add(1, Relaxed);
        self.publish_sizes();
        self.back_off.reset();
        let now = Instant::now();
        self.timing = Timing { is_trusted: true, ask_at: now, ..self.timing };
        if let Some(since) = self.shared.succeeded() {
            let seconds = now.saturating_duration_since(since).as_secs();
            tracing::info!(file = self.file(), seconds, "the {} can be written again", self.what());
        }
        self.report_slowness(now.saturating_duration_since(begun));
    }

    fn failed(&mut self, error: &io::Error, items: Vec<Item>, whole: Option<FullState>) {
        let now = Instant::now();
        self.shared.counters.failures.fetch_add(1, Relaxed);
        if self.timing.is_trusted {
            self.complain(&error.to_string(), error.kind());
        }
        self.delay(now);
        self.publish_sizes();
        self.shared.failed(items, whole, error.to_string(), now);
    }

    /// Nothing is written before a delay is over.
    fn delay(&mut self, now: Instant) {
        let at = now + self.back_off.failed();
        self.timing = Timing { is_trusted: false, retry_at: at, ask_at: at };
    }

    fn publish_sizes(&self) {
        self.shared.counters.file_bytes.store(self.log.bytes(), Relaxed);
        self.shared.counters.full_state_bytes.store(self.log.first_group_bytes(), Relaxed);
    }

    fn complain(&self, error: &str, kind: io::ErrorKind) {
        tracing::error!(
            file = self.file(),
            "the {} cannot be written ({error}). The agent works on from memory, but a restart would find older data. \
             {}; it is tried again until it works",
            self.what(),
            remedy(kind)
        );
    }

    fn report_slowness(&self, took: Duration) {
        if took < self.options.stale_after {
            return;
        }
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Some(others) = self.slow.allow(now_ms) {
            let seconds = took.as_secs();
            let others = others.map(std::num::NonZeroU64::get);
            tracing::warn!(
                file = self.file(),
                seconds,
                others,
                "a write to the {} took long. Check the disk",
                self.what()
            );
        }
    }

    fn file(&self) -> String {
        self.log.path().display().to_string()
    }

    fn what(&self) -> &'static str {
        self.log.identity().kind.as_str()
    }
}

/// What an operator can do about an error.
fn remedy(kind: io::ErrorKind) -> &'static str {
    use io::ErrorKind;
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "Free space on its disk",
        ErrorKind::FileTooLarge => "Raise the limit of the size of files (ulimit -f)",
        ErrorKind::ReadOnlyFilesystem => "Make its file system writable",
        ErrorKind::NotFound => "Create its folder again if that was removed",
        ErrorKind::PermissionDenied => "Let the agent's user write to its folder",
        ErrorKind::WouldBlock => "Stop the other process that uses the file",
        _ => "Check its disk",
    }
}

/// Tells the journal when the thread ends.
struct End<'a>(&'a Shared);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
