//! Starts and connects the threads: start-up order, signals, shutdown.
//!
//! Must not parse arguments (`cli`), nor know what a message means.
//!
//! Threads: one per reactor, `sync` (the single writer and its sources), `dial` (temporary: opens connections to the
//! server, which may block), `encode` (heavy encoding for reactors), `certificates` (with TLS), `keys` (with key files),
//! `events` (keeps usage events), `events-send-N` (send them), `backup` (temporary: opens the backup file), `journal` (writes it), `log`, `signals`, and the main thread, which waits for the others.

mod backup;
mod certificates;
mod clock;
mod cluster;
mod error;
mod events;
mod keys;
pub mod limits;
mod listeners;
mod signals;
mod source;

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam::channel::{Receiver, bounded};

use crate::client::random;
use crate::config::{self, Mode, Settings};
use crate::eval::RegexLimits;
use crate::fanout::mailbox::{Mail, Mailbox};
use crate::ingest::{Following, Handle, Ingest, Job, Jobs, Offload, ResyncReason};
use crate::insights::Running;
use crate::net::io::Limits;
use crate::net::reactor::{Allowance, Reactor, ReactorOptions};
use crate::persist::log::Opened;
use crate::serve::{ListenerRole, Options, PLAIN_REFUSAL, Persistence, Server, Shared};
use crate::store::{Snapshot, WriterOptions};
use crate::sync::redis::{RedisSink, RedisSource};
use crate::sync::{self, Poller};
use crate::telemetry::log;
use crate::telemetry::metrics::Metrics;

use backup::{BackupFile, Opening};
pub(crate) use clock::wall_ms;
pub use error::StartError;
use listeners::{ListenerUse, Listening};
use signals::{OnHangup, name_of};

/// Jobs that may wait for the writer.
const JOBS: usize = 8;
/// Descriptors reserved for everything but SDK connections: pollers, wakers, logs, files, operators.
const SPARE_DESCRIPTORS: usize = 64;
/// The agent warns at start if the descriptor limit allows fewer connections than this and no setting asks for so few.
const FEW_CONNECTIONS: usize = 500;
/// Connections on the metrics port. They do not count as SDK connections, so that metrics stay available under full load.
const METRICS_CONNECTIONS_MAX: usize = 32;

/// Even without a drain, usage events in memory have this long to be sent.
const EVENTS_DRAIN_MIN: Duration = Duration::from_secs(1);

/// The exit code when an event loop fails: `EX_OSERR` of sysexits.h.
const EVENT_LOOP_FAILED: i32 = 71;

/// The limits of regular expressions.
pub(crate) fn regex_limits(limits: &config::Limits) -> RegexLimits {
    RegexLimits {
        program_bytes: limits.regex_program_bytes,
        total_bytes: limits.regex_total_bytes,
        backtracks: limits.regex_steps,
        ..RegexLimits::default()
    }
}

/// Runs the agent until a signal ends it.
///
/// # Errors
/// When the agent cannot start: a socket cannot be opened, a thread not started, or a file not used.
pub fn run(settings: Settings) -> Result<(), StartError> {
    let on_hangup = OnHangup::default();
    let signals = signals::catch(on_hangup.clone())?;
    let backup = match backup::open(&settings, &signals)? {
        Opening::Done(opened) => opened,
        Opening::Signal(signal) => {
            tracing::info!(signal = name_of(signal), "stopped while the backup file was being opened");
            return Ok(());
        }
    };
    let mut agent = Agent::start(&settings, &on_hangup, backup)?;
    // Loading the data file may take long, or hang with its file system: a signal must not wait for it.
    let asked = crossbeam::select! {
        recv(agent.first_load) -> _ => {
            agent.announce(&settings);
            signals.recv()
        }
        recv(signals) -> signal => signal,
    };
    let signal = asked.map_or("", name_of);
    agent.shared.announce_shutdown();
    if !settings.shutdown_delay.is_zero() {
        tracing::info!(
            signal,
            seconds = settings.shutdown_delay.as_secs_f64(),
            "shutdown begins after Shutdown__DelaySeconds: until then readiness answers 503 and everything else works as \
             before; a second signal ends the agent at once"
        );
        thread::sleep(settings.shutdown_delay);
    }
    tracing::info!(
        signal,
        seconds = settings.shutdown_drain.as_secs_f64(),
        "shutting down: responses are finished and connections closed; a second signal ends the agent at once"
    );
    agent.drain(settings.shutdown_drain);
    agent.join();
    tracing::info!("stopped");
    Ok(())
}

struct Agent {
    shared: Arc<Shared>,
    mailboxes: Vec<Mailbox>,
    reactors: Vec<JoinHandle<()>>,
    sync: JoinHandle<()>,
    events: Running,
    jobs: Jobs,
    current: Arc<ArcSwap<Snapshot>>,
    /// Disconnected when the first load of the data file has ended, successfully or not. SDKs may connect before that, and
    /// wait for data.
    first_load: Receiver<()>,
    listening: Listening,
    connections_max: usize,
    descriptors: limits::DescriptorLimits,
}

impl Agent {
    fn start(
        settings: &Settings,
        on_hangup: &OnHangup,
        backup: Option<Box<Opened>>,
    ) -> Result<Self, StartError> {
        let metrics = Metrics::new();
        let certificates = certificates::load(settings, &metrics)?;
        let descriptors = limits::raise_descriptor_limit();
        let count = settings
            .reactors
            .map_or_else(|| thread::available_parallelism().map_or(1, Into::into), Into::into);
        let mut listening = Listening::open(settings, count)?;
        let connections_max = connections_max(settings, &descriptors, count);
        let offload =
            Offload::start().map_err(|error| StartError::new("a thread cannot be started", error))?;
        let current = Arc::new(ArcSwap::from(Snapshot::empty()));
        let following = Following::new();
        let mut poller =
            Poller::new().map_err(|error| StartError::new("a poller cannot be opened", error))?;
        let instance = random_name();
        let backup =
            backup.map(|opened| BackupFile::start(*opened, &settings.backup, poller.waker())).transpose()?;
        let redis = cluster::start(settings, &instance, poller.waker(), &metrics)?;
        let mut sources = source::of(settings, &mut poller, &following, &metrics, &instance)?;
        if let Some(redis) = &redis {
            sources.push(Box::new(RedisSource::new(Arc::clone(redis), wall_ms)));
        }
        let (sender, queue) = bounded(JOBS);
        let jobs = Jobs::new(sender, Some(poller.waker()));
        let handle = Handle::new(jobs.clone(), offload, current.clone(), following.clone());
        let requester = handle.clone();
        let source_again = match settings.mode {
            Mode::Agent(_) => Some("a full sync is requested from the server"),
            Mode::Offline => settings.data_file.as_ref().map(|_| "the data file is read again"),
        };
        if let Some(what) = source_again {
            on_hangup.add(what, move || requester.request_resync(ResyncReason::Operator));
        }
        let keys = keys::of(settings.api_key.clone(), &settings.relay_keys);
        let options = Options::new(settings, keys, instance.clone());
        let events = events::start(settings, &current, &instance, &metrics)?;
        let shared = Shared::new(options, handle.clone(), events.handle.clone(), metrics.clone(), wall_ms);
        let journal = backup.as_ref().map(|backup| backup.show(&metrics));
        shared.set_persistence(Persistence { backup: journal, redis: redis.clone() });
        let sdks = Allowance::new(connections_max);
        let operators = Allowance::new(METRICS_CONNECTIONS_MAX);
        let mut mailboxes = Vec::new();
        let mut threads = Vec::new();
        for index in 0..count {
            let (sockets, places) = listening.take(index);
            let allowance = |place: &ListenerUse| match place.role {
                ListenerRole::Data => sdks.clone(),
                ListenerRole::Metrics => operators.clone(),
            };
            let secure = |place: &ListenerUse| certificates.as_ref()?.configuration(place.certificate?);
            let options = ReactorOptions {
                limits: Limits {
                    write_stall: settings.limits.write_stall,
                    write_min_bytes_per_second: settings.limits.write_min_bytes_per_second,
                    close: settings.limits.close,
                    private_bytes_max: (settings.limits.pending_bytes / count).max(1),
                },
                allowances: places.iter().map(allowance).collect(),
                secure: places.iter().map(secure).collect(),
                handshakes_per_turn: settings.tls.as_ref().map_or(1, |tls| tls.handshakes_per_turn),
                plain_refusal: PLAIN_REFUSAL,
            };
            let mut mailbox = None;
            let reactor = Reactor::new(sockets, &options, |waker| {
                let own = Mailbox::new(waker);
                mailbox = Some(own.clone());
                Server::new(shared.clone(), own, places.iter().map(|place| place.role).collect())
            })
            .map_err(|error| StartError::new("an event loop cannot be started", error))?;
            mailboxes.extend(mailbox);
            let thread = thread::Builder::new()
                .name(format!("reactor-{index}"))
                .spawn(move || {
                    // Its connections would hang silently. A supervisor starts the agent again.
                    if let Err(error) = reactor.run() {
                        tracing::error!("an event loop failed, so the agent exits: {error}");
                        log::flush();
                        std::process::exit(EVENT_LOOP_FAILED);
                    }
                })
                .map_err(|error| StartError::new("a thread cannot be started", error))?;
            threads.push(thread);
        }
        if let Some(certificates) = certificates {
            certificates::watch(certificates, settings, on_hangup)?;
        }
        let receivers =
            keys::Receivers { swap: shared.keys.clone(), reactors: mailboxes.clone(), jobs: jobs.clone() };
        keys::watch(settings, &metrics, receivers, on_hangup)?;
        let writer_options = WriterOptions {
            revocation_grace_ms: i64::try_from(settings.revocation_grace.as_millis()).unwrap_or(i64::MAX),
            follows: matches!(settings.mode, Mode::Agent(_)),
            in_cluster: settings.redis.is_some(),
            regex_limits: regex_limits(&settings.limits),
        };
        let mut ingest =
            Ingest::new(writer_options, mailboxes.clone(), current.clone(), following, &metrics, wall_ms);
        ingest.set_instance(&instance);
        let days = i64::try_from(settings.backup.tombstone_days).unwrap_or(i64::MAX);
        ingest.set_removal_age(days.saturating_mul(24 * 60 * 60 * 1000));
        let wait = settings.backup.wait;
        let (loaded, first_load) = bounded(1);
        let sync = thread::Builder::new()
            .name("sync".into())
            .spawn(move || {
                if let Some(backup) = backup {
                    backup.restore(writer_options, &mut ingest);
                }
                if let Some(redis) = redis {
                    ingest.join_cluster(Box::new(RedisSink::new(redis)), wait);
                }
                // The data would never be updated again. A supervisor starts the agent again.
                if let Err(error) = sync::run(ingest, sources, poller, &queue, || drop(loaded)) {
                    tracing::error!("the sync thread failed, so the agent exits: {error}");
                    log::flush();
                    std::process::exit(EVENT_LOOP_FAILED);
                }
            })
            .map_err(|error| StartError::new("a thread cannot be started", error))?;
        Ok(Self {
            shared,
            mailboxes,
            reactors: threads,
            sync,
            events,
            jobs,
            current,
            first_load,
            listening,
            connections_max,
            descriptors,
        })
    }

    /// Logs the start-up summary and warnings.
    fn announce(&self, settings: &Settings) {
        let snapshot = self.current.load();
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            mode = settings.mode.as_str(),
            addresses = self.listening.to_string(),
            follows = settings.mode.upstream().map(|upstream| upstream.streaming_uri.to_string()),
            serves = snapshot.serves(),
            usage_events = self.events.handle.board().summary,
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
        if let Some(warning) = few_connections(settings, &self.descriptors, self.mailboxes.len()) {
            tracing::warn!("{warning}");
        }
        if let Some(somaxconn) = limits::somaxconn()
            && u64::from(settings.backlog) > u64::from(somaxconn)
        {
            tracing::warn!(
                "net.core.somaxconn ({somaxconn}) is smaller than Listen__Backlog ({}): if more SDKs than that reconnect at \
                 the same moment, some wait a second or longer. Raise it with sysctl",
                settings.backlog
            );
        }
        if !snapshot.loaded() && settings.mode == Mode::Offline {
            tracing::warn!(
                "no data is loaded yet: SDKs wait, and are then asked to reconnect later, until there is some. Provide a data \
                 file, or POST /api/public/proxy/bootstrap"
            );
        }
    }

    fn drain(&mut self, over: Duration) {
        self.events.begin_to_stop(Instant::now() + over.max(EVENTS_DRAIN_MIN));
        for mailbox in &self.mailboxes {
            mailbox.post(Mail::Drain(over));
        }
    }

    fn join(self) {
        for reactor in self.reactors {
            if reactor.join().is_err() {
                tracing::error!("an event loop ended because of a bug; the log lines before show it");
            }
        }
        self.events.join();
        self.jobs.send(Job::Stop);
        let _ = self.sync.join();
    }
}

/// Descriptors that are not available for SDK connections.
fn spare_descriptors(settings: &Settings, reactors: usize) -> usize {
    SPARE_DESCRIPTORS + reactors * (settings.listen.len() + 4)
}

/// Connections that the descriptor limit allows.
fn possible_connections(
    settings: &Settings,
    descriptors: &limits::DescriptorLimits,
    reactors: usize,
) -> usize {
    let spare = spare_descriptors(settings, reactors);
    descriptors
        .soft
        .map_or(usize::MAX, |soft| usize::try_from(soft).unwrap_or(usize::MAX).saturating_sub(spare).max(1))
}

/// The warning if descriptors allow fewer connections than the setting, or fewer than [`FEW_CONNECTIONS`] without one.
fn few_connections(
    settings: &Settings,
    descriptors: &limits::DescriptorLimits,
    reactors: usize,
) -> Option<String> {
    let possible = possible_connections(settings, descriptors, reactors);
    let wanted = settings.limits.connections.map_or(FEW_CONNECTIONS, usize::from);
    (possible < wanted).then(|| {
        let needed = wanted.saturating_add(spare_descriptors(settings, reactors));
        let noun = if possible == 1 { "connection" } else { "connections" };
        format!(
            "the limit of open descriptors ({}) allows only {possible} {noun}. Raise it to at least {needed} \
             (LimitNOFILE=, ulimit -Hn): each connection needs one descriptor",
            descriptors.soft.unwrap_or(u64::MAX)
        )
    })
}

/// Connections that the settings and the descriptor limit allow together.
fn connections_max(settings: &Settings, descriptors: &limits::DescriptorLimits, reactors: usize) -> usize {
    let possible = possible_connections(settings, descriptors, reactors);
    settings.limits.connections.map_or(possible, |wanted| usize::from(wanted).min(possible))
}

/// 128 random bits.
fn random_name() -> String {
    format!("{:016x}{:016x}", random::seed(), random::seed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(soft: Option<u64>, connections: Option<&str>) -> Option<String> {
        let mut pairs = vec![("Mode", "offline"), ("ApiKey", "k"), ("Urls", "http://*:6100")];
        pairs.extend(connections.map(|count| ("Limits__Connections", count)));
        let settings = Settings::from_pairs(&pairs).unwrap();
        few_connections(&settings, &limits::DescriptorLimits { soft, hard: soft }, 2)
    }

    /// What went wrong: with 64 descriptors one connection was served, and nothing said that this is few.
    #[test]
    fn few_descriptors_cause_a_warning_with_the_number_that_is_needed() {
        let text = warning(Some(64), None).unwrap();
        assert!(
            text.contains("(64) allows only 1 connection.") && text.contains("to at least 574"),
            "{text}"
        );
        for (soft, connections, expected) in [
            (Some(573), None, true),
            (Some(574), None, false),
            (Some(1024), Some("5000"), true),
            (Some(5074), Some("5000"), false),
            // No warning if the setting asks for few.
            (Some(100), Some("20"), false),
            (None, Some("5000"), false),
        ] {
            assert_eq!(warning(soft, connections).is_some(), expected, "{soft:?} {connections:?}");
        }
    }
}
