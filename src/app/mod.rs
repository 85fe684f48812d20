//! Wires the threads together: start-up order, signals, shutdown.
//!
//! Must not parse arguments (`cli`), nor know what a message means.
//!
//! Threads: one a reactor, `sync` (the single writer and its sources), `encode` (heavy encoding for reactors), and
//! the main one, which waits for signals.

pub mod limits;
mod listeners;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use crossbeam::channel::{Sender, bounded};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::config::{Origins, Settings};
use crate::fanout::mailbox::{Mail, Mailbox};
use crate::ingest::{Handle, Ingest, Job, LastLoad, Offload};
use crate::net::io::Timeouts;
use crate::net::reactor::{self, Reactor};
use crate::serve::{Options, Server, Shared};
use crate::store::{Snapshot, WriterOptions};
use crate::sync;
use crate::sync::file::DataFile;
use crate::telemetry::metrics::Metrics;

use listeners::Listening;

/// Submissions that may wait for the writer.
const JOBS: usize = 8;
/// Descriptors that are left to everything but connections: pollers, wakers, logs, files.
const SPARE_DESCRIPTORS: usize = 64;

/// Why the agent could not start, or had to end.
#[derive(Debug)]
pub struct StartError {
    what: String,
    source: io::Error,
}

impl StartError {
    fn new(what: impl Into<String>, source: io::Error) -> Self {
        Self { what: what.into(), source }
    }

    /// The exit code: `EX_OSERR` of sysexits.h.
    pub fn exit_code(&self) -> u8 {
        71
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.source)
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// The wall clock in Unix milliseconds.
fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Runs the agent until a signal ends it.
///
/// # Errors
/// When a socket cannot be opened or a thread not be started. Nothing is left running then.
pub fn run(settings: Settings) -> Result<(), StartError> {
    // Before any thread: the signals of a shutdown must not be lost while the agent starts.
    let mut signals = Signals::new([SIGTERM, SIGINT])
        .map_err(|error| StartError::new("signals cannot be handled", error))?;
    let agent = Agent::start(&settings)?;
    agent.wait_for_first_load();
    agent.announce(&settings);
    let mut asked = 0;
    for signal in signals.forever() {
        asked += 1;
        if asked == 1 {
            tracing::info!(
                signal = if signal == SIGTERM { "SIGTERM" } else { "SIGINT" },
                seconds = settings.shutdown_drain.as_secs_f64(),
                "shutting down: connections are finished and closed; a second signal ends at once"
            );
            agent.drain(settings.shutdown_drain);
            // The reactors end by themselves; a second signal ends them at once.
            let handle = signals.handle();
            let reactors = agent.mailboxes.clone();
            thread::Builder::new()
                .name("signals".into())
                .spawn(move || {
                    if signals.forever().next().is_some() {
                        reactors.iter().for_each(|reactor| reactor.post(Mail::Stop));
                    }
                })
                .map_err(|error| StartError::new("a thread cannot be started", error))?;
            agent.join();
            handle.close();
            break;
        }
    }
    tracing::info!("stopped");
    Ok(())
}

struct Agent {
    mailboxes: Vec<Mailbox>,
    reactors: Vec<JoinHandle<io::Result<()>>>,
    sync: JoinHandle<()>,
    jobs: Sender<Job>,
    current: Arc<ArcSwap<Snapshot>>,
    first_load: crossbeam::channel::Receiver<()>,
    listening: Listening,
    connections_max: usize,
    descriptors: limits::Limits,
}

impl Agent {
    fn start(settings: &Settings) -> Result<Self, StartError> {
        let descriptors = limits::raise_descriptor_limit();
        let count = settings
            .reactors
            .map_or_else(|| thread::available_parallelism().map_or(1, Into::into), Into::into);
        let mut listening = Listening::open(settings, count)?;
        let connections_max = connections_max(settings, &descriptors, count);
        let metrics = Metrics::new();
        let offload =
            Offload::start().map_err(|error| StartError::new("a thread cannot be started", error))?;
        let current = Arc::new(ArcSwap::from(Snapshot::empty()));
        let last_load = Arc::new(LastLoad::default());
        let (jobs, queue) = bounded(JOBS);
        let handle = Handle::new(jobs.clone(), offload, current.clone(), last_load.clone());
        let shared = Shared::new(serve_options(settings, count), handle, metrics.clone(), wall_ms);
        let mut mailboxes = Vec::new();
        let mut threads = Vec::new();
        for index in 0..count {
            let (sockets, doors) = listening.take(index);
            let options = reactor_options(settings, connections_max.div_ceil(count));
            let mut mailbox = None;
            let reactor = Reactor::new(sockets, &options, |waker| {
                let own = Mailbox::new(waker);
                mailbox = Some(own.clone());
                Server::new(shared.clone(), own, doors)
            })
            .map_err(|error| StartError::new("an event loop cannot be started", error))?;
            mailboxes.extend(mailbox);
            let thread = thread::Builder::new()
                .name(format!("reactor-{index}"))
                .spawn(move || reactor.run())
                .map_err(|error| StartError::new("a thread cannot be started", error))?;
            threads.push(thread);
        }
        let ingest = Ingest::new(
            WriterOptions {
                revocation_grace_ms: i64::try_from(settings.revocation_grace.as_millis()).unwrap_or(i64::MAX),
                ..WriterOptions::default()
            },
            settings.data_file.as_ref().is_some_and(|file| file.stamp),
            mailboxes.clone(),
            current.clone(),
            last_load,
            &metrics,
            wall_ms,
        );
        let file = settings
            .data_file
            .as_ref()
            .map(|file| DataFile::new(file.path.clone(), file.poll, settings.limits.bootstrap_bytes));
        let (loaded, first_load) = bounded(1);
        let sync = thread::Builder::new()
            .name("sync".into())
            .spawn(move || sync::run(ingest, file, &queue, || drop(loaded)))
            .map_err(|error| StartError::new("a thread cannot be started", error))?;
        Ok(Self {
            mailboxes,
            reactors: threads,
            sync,
            jobs,
            current,
            first_load,
            listening,
            connections_max,
            descriptors,
        })
    }

    /// Waits until the data file has been looked at, whatever came of it. SDKs are let in meanwhile, and held.
    fn wait_for_first_load(&self) {
        let _ = self.first_load.recv();
    }

    /// The start-up summary.
    fn announce(&self, settings: &Settings) {
        let snapshot = self.current.load();
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            mode = settings.mode.as_str(),
            addresses = %self.listening,
            serves = snapshot.serves(),
            data_version = snapshot.data_version(),
            reactors = self.mailboxes.len(),
            "featbit-agent is running"
        );
        tracing::info!(
            connections_max = self.connections_max,
            descriptors_soft = self.descriptors.soft,
            descriptors_hard = self.descriptors.hard,
            backlog = settings.backlog,
            somaxconn = limits::somaxconn(),
            "limits"
        );
        if let Some(somaxconn) = limits::somaxconn()
            && u64::from(settings.backlog) > u64::from(somaxconn)
        {
            tracing::warn!(
                "net.core.somaxconn ({somaxconn}) is smaller than Listen__Backlog ({}): when more SDKs than that come \
                 back in one moment, some wait a second or longer. Raise it with sysctl",
                settings.backlog
            );
        }
        if !snapshot.loaded() {
            tracing::warn!(
                "no data has been loaded yet: SDKs are held, and asked to come back, until there is some \
                 (data file, or POST /api/public/proxy/bootstrap)"
            );
        }
        if settings.api_key.is_none() {
            tracing::info!("management calls are refused, since no ApiKey is set");
        }
    }

    fn drain(&self, over: Duration) {
        for mailbox in &self.mailboxes {
            mailbox.post(Mail::Drain(over));
        }
    }

    fn join(self) {
        for reactor in self.reactors {
            match reactor.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!("an event loop ended: {error}"),
                Err(_) => tracing::error!("an event loop ended by a bug; see the lines before"),
            }
        }
        let _ = self.jobs.send(Job::Stop);
        let _ = self.sync.join();
    }
}

/// Connections that the settings and the descriptor limit allow together.
fn connections_max(settings: &Settings, descriptors: &limits::Limits, reactors: usize) -> usize {
    let spare = SPARE_DESCRIPTORS + reactors * (settings.listen.len() + 4);
    let possible = descriptors
        .soft
        .map_or(usize::MAX, |soft| usize::try_from(soft).unwrap_or(usize::MAX).saturating_sub(spare).max(1));
    settings.limits.connections.map_or(possible, |wanted| usize::from(wanted).min(possible))
}

fn reactor_options(settings: &Settings, connections_max: usize) -> reactor::Options {
    reactor::Options {
        timeouts: Timeouts { write_stall: settings.limits.write_stall, close: settings.limits.close },
        connections_max,
    }
}

fn serve_options(settings: &Settings, reactors: usize) -> Options {
    let limits = &settings.limits;
    Options {
        api_key: settings.api_key.clone(),
        token_expiry: settings.streaming.token_expiry,
        token_hold: settings.streaming.token_hold,
        verdict_wait: limits.verdict_wait,
        lax_polling: settings.polling.allow_client_secret_for_server,
        cors_origins: match &settings.cors.origins {
            Origins::Any => vec!["*".into()],
            Origins::List(list) => list.clone(),
        },
        cors_max_age: settings.cors.max_age,
        echo_path: settings.echo_path.clone(),
        metrics_elsewhere: settings.metrics.is_some(),
        head_bytes_max: limits.header_bytes,
        headers_max: limits.headers,
        body_bytes_max: limits.body_bytes as u64,
        bootstrap_bytes_max: limits.bootstrap_bytes,
        bootstraps_max: limits.bootstraps,
        message_bytes_max: limits.message_bytes,
        pending_bytes_max: (limits.pending_bytes / reactors).max(1),
        head_time: limits.head,
        body_time: limits.body,
        keep_alive: limits.keep_alive,
        stream_idle: limits.stream_idle.unwrap_or_default(),
    }
}
