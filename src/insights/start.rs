//! Opens what usage events need, and starts their threads.
//!
//! Must not open, make or resolve anything that no mode asks for.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam::channel::{Sender as Channel, bounded, unbounded};

use crate::client::Dialer;
use crate::config::{Events, EventsMode, PseudonymKeySource};
use crate::persist::log::RealDisk;
use crate::store::Snapshot;
use crate::telemetry::once::RateLimit;

use super::board::Board;
use super::counts::Counts;
use super::dead_letters::DeadLetters;
use super::dispatch::Dispatch;
use super::handle::{Handle, Shared};
use super::intake::Intake;
use super::local::{LocalFiles, LocalOptions};
use super::memory_queue::{MemoryQueue, MemoryQueueOptions};
use super::policy::Policy;
use super::pseudonym::{LoadedKey, PseudonymKey, Pseudonymizer, load_or_create};
use super::queue::{PeekLimits, Queue};
use super::sender::{self, Deliveries, SendLog, Sender};
use super::spool::{Spool, SpoolOptions};
use super::worker::{self, Left, Worker};

/// How many requests may be under way.
const REQUESTS: usize = 2;
/// Between two log lines about the same trouble of the disk, in milliseconds.
const DISK_AGAIN_MS: u64 = 600_000;
/// How long the thread has to end after its deadline.
const END_GRACE: Duration = Duration::from_secs(5);

/// What the threads of usage events need to start.
pub struct Needs<'a> {
    /// The settings.
    pub events: &'a Events,
    /// Opens connections; only where a mode sends.
    pub dialer: Option<Dialer>,
    /// The data in service.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// The name of this process.
    pub instance: String,
    /// The wall clock in Unix milliseconds.
    pub wall_ms: fn() -> i64,
}

/// Why usage events cannot be dealt with as the settings say: the agent must not start.
#[derive(Debug)]
pub struct EventsError {
    /// The setting to look at.
    pub setting: &'static str,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl std::fmt::Display for EventsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.setting, self.problem)
    }
}

impl std::error::Error for EventsError {}

impl EventsError {
    pub(super) fn new(setting: &'static str, problem: String) -> Self {
        Self { setting, problem }
    }
}

/// The running threads.
#[derive(Debug)]
pub struct Running {
    /// How calls are handed over.
    pub handle: Handle,
    thread: Option<Thread>,
}

#[derive(Debug)]
struct Thread {
    stop: Channel<Instant>,
    /// When it ends although events are left, if that was said.
    deadline: Option<Instant>,
    thread: JoinHandle<Left>,
}

/// Opens the files and starts the threads. Where all events are dropped, and none wait on the disk, there is nothing to start.
///
/// # Errors
/// If a folder, a key or a thread cannot be had.
pub fn start(needs: Needs<'_>) -> Result<Running, EventsError> {
    let events = needs.events;
    let policy = Arc::new(Policy::new(events));
    let counts: Arc<Counts> = Arc::default();
    // What waited on the disk under another mode is dropped, too, not left there.
    let spooled = || events.directory.as_ref().is_some_and(|directory| directory.join("spool").is_dir());
    if events.modes().all(|mode| mode == EventsMode::Drop) && !spooled() {
        let board = Arc::new(Board::new(events, None));
        return Ok(Running { handle: Handle::dropping(Shared { policy, counts, board }), thread: None });
    }
    if let Some(directory) = &events.directory {
        make_folder(directory).map_err(|error| in_directory(directory, &error))?;
    }
    let key = pseudonym_key(events)?;
    let board = Arc::new(Board::new(events, key.as_ref().map(PseudonymKey::id)));
    let pseudonymizer = key.map(|key| Arc::new(Pseudonymizer::new(key, events.properties.clone())));
    let now_ms = (needs.wall_ms)();
    let queue = queue(events, now_ms)?;
    let local = local(events, now_ms)?;
    let dead_letters = match &events.directory {
        Some(directory) if events.sends() => {
            let opened = DeadLetters::open(directory, events.dead_letter_bytes);
            Some(opened.map_err(|error| in_directory(directory, &error))?)
        }
        _ => None,
    };
    let (report, done) = unbounded();
    let no_thread = |error: io::Error| EventsError {
        setting: "Events__Mode",
        problem: format!("a thread cannot be started: {error}"),
    };
    let sender = match (&events.uri, &needs.dialer) {
        (Some(uri), Some(dialer)) if events.sends() => {
            let options = sender::Options { threads: REQUESTS, timeout: events.timeout, gzip: events.gzip };
            let report = move |done| {
                // If the thread has ended, nobody needs it.
                let _ = report.send(done);
            };
            let started = Sender::start(dialer, uri.clone(), options, needs.instance, report);
            Some(started.map_err(no_thread)?)
        }
        _ => None,
    };
    let max = PeekLimits {
        events: events.request_events,
        // A body has two brackets around its events.
        bytes: usize::try_from(events.request_bytes).unwrap_or(usize::MAX).saturating_sub(2),
    };
    let retry_ms = u64::try_from(events.retry.as_millis()).unwrap_or(u64::MAX);
    let dispatch = Dispatch {
        queue,
        deliveries: Deliveries::new(max, retry_ms),
        log: SendLog::new(sender.as_ref().map_or_else(String::new, |sender| sender.host().to_owned())),
        sender,
        local,
        dead_letters,
        counts: Arc::clone(&counts),
        board: Arc::clone(&board),
        flush: events.flush,
        max,
        under_way: std::collections::HashMap::new(),
        blocked: std::collections::HashMap::new(),
        disk_log: RateLimit::new(DISK_AGAIN_MS),
        local_removed: 0,
    };
    let (calls, messages) = unbounded();
    let (stop, stops) = bounded(1);
    let worker = Worker {
        intake: Intake { policy: Arc::clone(&policy), pseudonymizer },
        dispatch,
        snapshot: needs.snapshot,
        wall_ms: needs.wall_ms,
        messages,
        done,
        stop: stops,
        began: Instant::now(),
        random: worker::random(),
        unused: Vec::new(),
        looked_at: None,
        refused_log: worker::refused_log(),
    };
    let thread =
        thread::Builder::new().name("events".into()).spawn(move || worker.run()).map_err(no_thread)?;
    let queue_bytes = usize::try_from(events.queue_bytes).unwrap_or(usize::MAX);
    let handle = Handle::new(Shared { policy, counts, board }, calls, call_bytes(events, queue_bytes));
    Ok(Running { handle, thread: Some(Thread { stop, deadline: None, thread }) })
}

impl Running {
    /// Sends what is in memory until the deadline. Calls are still taken.
    pub fn begin_to_stop(&mut self, deadline: Instant) {
        if let Some(thread) = &mut self.thread {
            thread.deadline = Some(deadline);
            // If it has ended, it needs no deadline.
            let _ = thread.stop.try_send(deadline);
        }
    }

    /// No call follows: waits for the thread, which ends at the deadline at the latest, or soon after if a disk hangs.
    pub fn join(self) {
        let Some(Thread { stop, deadline, thread }) = self.thread else { return };
        self.handle.end();
        // Without a deadline there is nothing to wait for.
        let now = Instant::now();
        let _ = stop.try_send(now);
        let until = deadline.unwrap_or(now).max(now) + END_GRACE;
        while !thread.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        if !thread.is_finished() {
            tracing::error!(
                "the thread of usage events does not end, as if a disk hung: the agent ends without it"
            );
            return;
        }
        match thread.join() {
            Ok(Left { on_disk: 0, .. }) => {}
            Ok(Left { on_disk, .. }) => {
                tracing::info!(events = on_disk, "usage events wait on the disk for the next start");
            }
            Err(_) => tracing::error!(
                "the thread of usage events ended because of a bug; the log lines before show it"
            ),
        }
    }
}

/// Memory for calls until they are dealt with: the rest belongs to the queue, if that is in memory.
fn call_bytes(events: &Events, queue_bytes: usize) -> usize {
    if events.directory.is_some() { queue_bytes } else { queue_bytes / 4 }
}

fn queue(events: &Events, now_ms: i64) -> Result<Box<dyn Queue>, EventsError> {
    let queue_bytes = usize::try_from(events.queue_bytes).unwrap_or(usize::MAX);
    let age_max_ms = i64::try_from(events.spool_age.as_millis()).unwrap_or(i64::MAX);
    let Some(directory) = &events.directory else {
        let bytes_max = (queue_bytes - call_bytes(events, queue_bytes)) as u64;
        return Ok(Box::new(MemoryQueue::new(MemoryQueueOptions { bytes_max, age_max_ms })));
    };
    let options = SpoolOptions::new(events.spool_bytes, age_max_ms);
    Spool::open(Arc::new(RealDisk::new()), directory, options, now_ms)
        .map(|spool| -> Box<dyn Queue> { Box::new(spool) })
        .map_err(|error| EventsError { setting: "Events__Directory", problem: error.to_string() })
}

fn local(events: &Events, now_ms: i64) -> Result<Option<LocalFiles>, EventsError> {
    let (Some(directory), true) = (&events.directory, events.uses(EventsMode::Local)) else {
        return Ok(None);
    };
    let options = LocalOptions {
        file_bytes: events.local_file_bytes,
        days: events.local_days,
        total_bytes: events.local_bytes,
        ..LocalOptions::default()
    };
    LocalFiles::open(directory, options, now_ms).map(Some).map_err(|error| in_directory(directory, &error))
}

fn pseudonym_key(events: &Events) -> Result<Option<PseudonymKey>, EventsError> {
    if !events.uses(EventsMode::Pseudonymize) {
        return Ok(None);
    }
    match &events.pseudonym_key {
        None => Ok(None),
        Some(PseudonymKeySource::Text(text)) => PseudonymKey::from_text(text.expose())
            .map(Some)
            .map_err(|error| EventsError { setting: "Events__PseudonymKey", problem: error.to_string() }),
        Some(PseudonymKeySource::File(path)) => {
            let LoadedKey { key, is_new, warning } = load_or_create(path)
                .map_err(|problem| EventsError { setting: "Events__PseudonymKey__File", problem })?;
            let file = path.display().to_string();
            if is_new {
                tracing::info!(
                    file,
                    key_id = key.id(),
                    "a key of pseudonyms was made. Back it up: with another key all users are new ones"
                );
            }
            if let Some(warning) = warning {
                tracing::warn!(file, "{warning}");
            }
            Ok(Some(key))
        }
    }
}

fn make_folder(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

pub(super) fn in_directory(directory: &Path, error: &io::Error) -> EventsError {
    let shown: PathBuf = directory.to_owned();
    let remedy = match error.kind() {
        io::ErrorKind::WouldBlock => "Give each agent a folder of its own",
        _ => "Name a folder that the agent's user may write to",
    };
    EventsError {
        setting: "Events__Directory",
        problem: format!("{} cannot be used: {error}. {remedy}", shown.display()),
    }
}

#[cfg(test)]
mod tests;
