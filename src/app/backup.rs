//! The backup file: opened at the start, restored on the sync thread, written by a thread of its own.
//!
//! Must not let a broken file keep the agent from starting: it is set aside, and the agent starts without it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, after, bounded, never};
use mio::Waker;

use crate::config::{Backup, Settings};
use crate::ingest::Ingest;
use crate::ingest::journal::{JournalSink, Recovery, WantsFullState, fingerprint};
use crate::persist::journal::{Journal, Options};
use crate::persist::log::{self, Identity, LogKind, LogLimits, Opened, RealDisk, Recovered};
use crate::store::WriterOptions;
use crate::telemetry::metrics::{BackupNumbers, Metrics, Reader};

use super::clock::wall_ms;
use super::error::StartError;

/// A disk that has not answered at the start for this long is reported.
const SLOW: Duration = Duration::from_secs(5);

/// The opened backup file. Its thread runs already; nothing was restored yet.
pub(super) struct BackupFile {
    /// The file itself, behind links to it.
    path: PathBuf,
    recovered: Recovered,
    journal: Arc<Journal>,
    wants_full_state: WantsFullState,
    /// Whether new changes can be appended to the file.
    continues: bool,
    settings: Backup,
}

/// How opening the backup file has ended.
pub(super) enum Opening {
    /// It is open; `None` if the settings name no file.
    Done(Option<Box<Opened>>),
    /// This signal came before.
    Signal(i32),
}

/// Opens the backup file, if the settings name one, unless a signal comes while the disk hangs.
///
/// # Errors
/// If another agent uses the file, if a newer version has written it, or if the path cannot be used.
pub(super) fn open(settings: &Settings, signals: &Receiver<i32>) -> Result<Opening, StartError> {
    let Some(path) = settings.backup.file.clone() else { return Ok(Opening::Done(None)) };
    let file = path.display().to_string();
    let api_key = settings.api_key.as_ref().map_or("", |key| key.expose());
    let identity = Identity { kind: LogKind::Journal, fingerprint: fingerprint(api_key) };
    let (done, opened) = bounded(1);
    let open = move || {
        // If nobody waits for it any more, the process ends.
        let _ = done.send(log::open(Arc::new(RealDisk::new()), &path, identity, LogLimits::default()));
    };
    let started = thread::Builder::new().name("backup".into()).spawn(open);
    started.map_err(|error| StartError::new("a thread cannot be started", error))?;
    let mut slow = after(SLOW);
    loop {
        crossbeam::select! {
            recv(opened) -> opened => {
                let ended = |_| StartError::new("the backup file was not opened", io::ErrorKind::Other.into());
                return opened.map_err(ended)?.map(|opened| Opening::Done(Some(Box::new(opened)))).map_err(StartError::BackupFile);
            }
            recv(signals) -> signal => return Ok(Opening::Signal(signal.unwrap_or_default())),
            recv(slow) -> _ => {
                slow = never();
                tracing::warn!(file, "the disk does not answer; the agent starts when it has read its backup file. Check the disk");
            }
        }
    }
}

impl BackupFile {
    /// Starts the thread that writes the file, which wakes the sync thread by `waker`.
    ///
    /// # Errors
    /// If there can be no more threads.
    pub fn start(opened: Opened, settings: &Backup, waker: Arc<Waker>) -> Result<Self, StartError> {
        let wants_full_state = WantsFullState::default();
        let asks = Arc::clone(&wants_full_state);
        let needs_full_state = move || ask(&asks, &waker);
        let options = Options {
            compact_factor: settings.compact_factor,
            done_within: settings.wait,
            ..Options::default()
        };
        let path = opened.log.path().to_owned();
        let continues = opened.recovered.end.is_usable() && opened.log.is_trusted();
        let journal = Journal::start(opened.log, options, Box::new(needs_full_state))
            .map_err(|error| StartError::new("a thread cannot be started", error))?;
        Ok(Self {
            path,
            recovered: opened.recovered,
            journal: Arc::new(journal),
            wants_full_state,
            continues,
            settings: settings.clone(),
        })
    }
}

fn ask(wants_full_state: &AtomicBool, waker: &Waker) {
    wants_full_state.store(true, Ordering::Release);
    // If this fails, the sync thread looks within seconds.
    let _ = waker.wake();
}

impl BackupFile {
    /// Shows the file in the metrics. Returns its journal, for the status.
    pub fn show(&self, metrics: &Metrics) -> Arc<Journal> {
        let journal = Arc::clone(&self.journal);
        metrics.show_backup(Reader::new(move || {
            let status = journal.status();
            BackupNumbers {
                file_bytes: status.file_bytes,
                records: status.records_written,
                written_bytes: status.bytes_written,
                syncs: status.syncs,
                compactions: status.compactions,
                failures: status.failures,
                stale: status.stale_since_ms.is_some(),
            }
        }));
        Arc::clone(&self.journal)
    }

    /// Restores the data of the file, and has every further change written to it. To be called before there is other data.
    pub fn restore(self, options: WriterOptions, ingest: &mut Ingest) {
        let began = Instant::now();
        let mut recovery = Recovery::default();
        let mut error = None;
        for group in self.recovered.groups() {
            if let Err(unreadable) =
                recovery.apply(group.map(|record| (record.kind, self.recovered.share(record.body))))
            {
                error = Some(unreadable.to_string());
                break;
            }
        }
        let groups = recovery.groups();
        let state = recovery.finish(wall_ms());
        if groups > 0
            && let Err(unreadable) = ingest.restore(options, state)
        {
            error = Some(unreadable.to_string());
        }
        if let Some(error) = &error
            && self.recovered.end.is_usable()
        {
            set_aside(&self.path, error);
        }
        let is_restored = ingest.snapshot().loaded();
        if is_restored {
            tracing::info!(
                file = self.path.display().to_string(),
                serves = ingest.snapshot().serves(),
                data_version = ingest.snapshot().data_version(),
                changes = groups.saturating_sub(1),
                bytes = self.recovered.bytes,
                took_ms = began.elapsed().as_millis() as u64,
                "data restored from the backup file"
            );
        }
        let has_begun = groups > 0 && self.continues && error.is_none();
        if is_restored && !has_begun {
            // The data must outlive this process even if nothing changes any more.
            self.wants_full_state.store(true, Ordering::Release);
        }
        let sink = JournalSink::new(self.journal, self.wants_full_state, has_begun);
        ingest.add_sink(Box::new(sink), self.settings.wait);
    }
}

/// Keeps the file under a second name, since a new one will replace it although it was not read to its end.
fn set_aside(path: &Path, error: &str) {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".unreadable-{}", wall_ms()));
    // Not every file system has links.
    let kept = fs::hard_link(path, &name).or_else(|_| fs::copy(path, &name).map(drop));
    tracing::error!(
        file = path.display().to_string(),
        kept_as = kept.is_ok().then(|| Path::new(&name).display().to_string()),
        "the backup file was not read to its end ({error}), although it is not damaged: a newer version may have written \
         it. What comes before that is used; a new file replaces this one"
    );
}
