//! Wires the threads together: start-up order, signals, shutdown.
//!
//! Must not parse arguments (`cli`), nor know what a message means.
//!
//! Threads: one a reactor, `sync` (the single writer and its sources), `dial` (for a while, whatever may block in
//! reaching the server), `encode` (heavy encoding for reactors), `certificates` (if TLS is spoken), `keys` (if some come
//! from files), `log`,
//! `signals`, and the main one, which waits for their end.

mod certificates;
mod keys;
pub mod limits;
mod listeners;
mod signals;
mod source;

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use crossbeam::channel::{Receiver, bounded};

use crate::config::{self, Mode, Origins, RejectedSettings, SettingError, Settings};
use crate::eval::RegexLimits;
use crate::fanout::mailbox::{Mail, Mailbox};
use crate::ingest::{Following, Handle, Ingest, Job, Jobs, Offload, ResyncReason};
use crate::net::io::Limits;
use crate::net::reactor::{Allowance, Reactor, ReactorOptions};
use crate::serve::{Door, Options, PLAIN_REFUSAL, Server, Shared};
use crate::store::{Snapshot, WriterOptions};
use crate::sync::{self, Waiting};
use crate::telemetry::log;
use crate::telemetry::metrics::Metrics;

use listeners::{Listening, Place};
use signals::{OnHangup, name_of};

/// Submissions that may wait for the writer.
const JOBS: usize = 8;
/// Descriptors that are left to everything but connections of SDKs: pollers, wakers, logs, files, operators.
const SPARE_DESCRIPTORS: usize = 64;
/// If the limit of descriptors allows fewer connections than this, and nobody asked for so few, that is told at start.
const FEW_CONNECTIONS: usize = 500;
/// Connections on the metrics port, beside those of SDKs: an agent that is full can still be looked at.
const METRICS_CONNECTIONS_MAX: usize = 32;

/// The exit code when an event loop fails: `EX_OSERR` of sysexits.h.
const EVENT_LOOP_FAILED: i32 = 71;

/// Why the agent could not start.
#[derive(Debug)]
pub enum StartError {
    /// The system did not give what was asked of it.
    System {
        /// What was asked.
        what: String,
        /// What it said.
        source: io::Error,
    },
    /// Files that settings name cannot be used.
    Settings(Vec<SettingError>),
}

impl StartError {
    fn new(what: impl Into<String>, source: io::Error) -> Self {
        StartError::System { what: what.into(), source }
    }

    /// The exit code: `EX_OSERR` or `EX_CONFIG` of sysexits.h.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::System { .. } => 71,
            StartError::Settings(_) => 78,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::System { what, source } => write!(f, "{what}: {source}"),
            StartError::Settings(errors) => {
                RejectedSettings { errors: errors.clone(), warnings: Vec::new() }.fmt(f)
            }
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::System { source, .. } => Some(source),
            StartError::Settings(_) => None,
        }
    }
}

/// The wall clock in Unix milliseconds.
pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// What regular expressions may cost.
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
/// When a socket cannot be opened or a thread not be started. Nothing is left running then.
pub fn run(settings: Settings) -> Result<(), StartError> {
    let on_hangup = OnHangup::default();
    let signals = signals::catch(on_hangup.clone())?;
    let agent = Agent::start(&settings, &on_hangup)?;
    // The data file may take its time, or hang with its file system: a signal does not wait for it.
    let asked = crossbeam::select! {
        recv(agent.first_load) -> _ => {
            agent.announce(&settings);
            signals.recv()
        }
        recv(signals) -> signal => signal,
    };
    let signal = asked.map_or("", name_of);
    agent.shared.announce_end();
    if !settings.shutdown_delay.is_zero() {
        tracing::info!(
            signal,
            seconds = settings.shutdown_delay.as_secs_f64(),
            "about to shut down: readiness answers 503, everything else goes on as before for Shutdown__DelaySeconds; a \
             second signal ends at once"
        );
        thread::sleep(settings.shutdown_delay);
    }
    tracing::info!(
        signal,
        seconds = settings.shutdown_drain.as_secs_f64(),
        "shutting down: connections are finished and closed; a second signal ends at once"
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
    jobs: Jobs,
    current: Arc<ArcSwap<Snapshot>>,
    /// Disconnected once the data file has been looked at, whatever came of it. SDKs are let in meanwhile, and held.
    first_load: Receiver<()>,
    listening: Listening,
    connections_max: usize,
    descriptors: limits::Limits,
}

impl Agent {
    fn start(settings: &Settings, on_hangup: &OnHangup) -> Result<Self, StartError> {
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
        let waiting = Waiting::new().map_err(|error| StartError::new("a poller cannot be opened", error))?;
        let instance = random_name();
        let source = source::of(settings, &waiting, &following, &metrics, &instance)?;
        let (sender, queue) = bounded(JOBS);
        let jobs = Jobs::new(sender, Some(waiting.waker()));
        let handle = Handle::new(jobs.clone(), offload, current.clone(), following.clone());
        let requester = handle.clone();
        let source_again = match settings.mode {
            Mode::Agent(_) => Some("the server is asked for everything again"),
            Mode::Offline => settings.data_file.as_ref().map(|_| "the data file is read again"),
        };
        if let Some(what) = source_again {
            on_hangup.add(what, move || requester.request_resync(ResyncReason::Operator));
        }
        let shared = Shared::new(serve_options(settings, instance), handle.clone(), metrics.clone(), wall_ms);
        let sdks = Allowance::new(connections_max);
        let operators = Allowance::new(METRICS_CONNECTIONS_MAX);
        let mut mailboxes = Vec::new();
        let mut threads = Vec::new();
        for index in 0..count {
            let (sockets, places) = listening.take(index);
            let allowance = |place: &Place| match place.door {
                Door::Data => sdks.clone(),
                Door::Metrics => operators.clone(),
            };
            let secure = |place: &Place| certificates.as_ref()?.configuration(place.certificate?);
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
                Server::new(shared.clone(), own, places.iter().map(|place| place.door).collect())
            })
            .map_err(|error| StartError::new("an event loop cannot be started", error))?;
            mailboxes.extend(mailbox);
            let thread = thread::Builder::new()
                .name(format!("reactor-{index}"))
                .spawn(move || {
                    // Without it its SDKs would be lost in silence; whoever starts the agent starts it again.
                    if let Err(error) = reactor.run() {
                        tracing::error!("an event loop failed, so the agent ends: {error}");
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
        let concerned =
            keys::Concerned { swap: shared.keys.clone(), reactors: mailboxes.clone(), jobs: jobs.clone() };
        keys::watch(settings, &metrics, concerned, on_hangup)?;
        let ingest = Ingest::new(
            WriterOptions {
                revocation_grace_ms: i64::try_from(settings.revocation_grace.as_millis()).unwrap_or(i64::MAX),
                follows: matches!(settings.mode, Mode::Agent(_)),
                regex_limits: regex_limits(&settings.limits),
            },
            mailboxes.clone(),
            current.clone(),
            following,
            &metrics,
            wall_ms,
        );
        let (loaded, first_load) = bounded(1);
        let sync = thread::Builder::new()
            .name("sync".into())
            .spawn(move || {
                // Without it nothing new would ever be served; whoever starts the agent starts it again.
                if let Err(error) = sync::run(ingest, source, waiting, &queue, || drop(loaded)) {
                    tracing::error!("the sync thread cannot wait, so the agent ends: {error}");
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
            jobs,
            current,
            first_load,
            listening,
            connections_max,
            descriptors,
        })
    }

    /// The start-up summary.
    fn announce(&self, settings: &Settings) {
        let snapshot = self.current.load();
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            mode = settings.mode.as_str(),
            addresses = self.listening.to_string(),
            follows = settings.mode.upstream().map(|upstream| upstream.streaming_uri.to_string()),
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
        if let Some(warning) = few_connections(settings, &self.descriptors, self.mailboxes.len()) {
            tracing::warn!("{warning}");
        }
        if let Some(somaxconn) = limits::somaxconn()
            && u64::from(settings.backlog) > u64::from(somaxconn)
        {
            tracing::warn!(
                "net.core.somaxconn ({somaxconn}) is smaller than Listen__Backlog ({}): when more SDKs than that come \
                 back in one moment, some wait a second or longer. Raise it with sysctl",
                settings.backlog
            );
        }
        if !snapshot.loaded() && settings.mode == Mode::Offline {
            tracing::warn!(
                "no data has been loaded yet: SDKs are held, and asked to come back, until there is some \
                 (data file, or POST /api/public/proxy/bootstrap)"
            );
        }
    }

    fn drain(&self, over: Duration) {
        for mailbox in &self.mailboxes {
            mailbox.post(Mail::Drain(over));
        }
    }

    fn join(self) {
        for reactor in self.reactors {
            if reactor.join().is_err() {
                tracing::error!("an event loop ended by a bug; see the lines before");
            }
        }
        self.jobs.send(Job::Stop);
        let _ = self.sync.join();
    }
}

/// Descriptors that are not for connections of SDKs.
fn spare_descriptors(settings: &Settings, reactors: usize) -> usize {
    SPARE_DESCRIPTORS + reactors * (settings.listen.len() + 4)
}

/// Connections that the descriptor limit allows.
fn possible_connections(settings: &Settings, descriptors: &limits::Limits, reactors: usize) -> usize {
    let spare = spare_descriptors(settings, reactors);
    descriptors
        .soft
        .map_or(usize::MAX, |soft| usize::try_from(soft).unwrap_or(usize::MAX).saturating_sub(spare).max(1))
}

/// What to say when descriptors allow fewer connections than are wanted, or than anybody would want.
fn few_connections(settings: &Settings, descriptors: &limits::Limits, reactors: usize) -> Option<String> {
    let possible = possible_connections(settings, descriptors, reactors);
    let wanted = settings.limits.connections.map_or(FEW_CONNECTIONS, usize::from);
    (possible < wanted).then(|| {
        let needed = wanted.saturating_add(spare_descriptors(settings, reactors));
        format!(
            "the limit of open descriptors ({}) leaves room for {possible} connections only. Raise it to {needed} at least \
             (LimitNOFILE=, ulimit -Hn): one connection is one descriptor",
            descriptors.soft.unwrap_or(u64::MAX)
        )
    })
}

/// Connections that the settings and the descriptor limit allow together.
fn connections_max(settings: &Settings, descriptors: &limits::Limits, reactors: usize) -> usize {
    let possible = possible_connections(settings, descriptors, reactors);
    settings.limits.connections.map_or(possible, |wanted| usize::from(wanted).min(possible))
}

/// 128 random bits, as the standard library gets them from the system for its hash maps.
fn random_name() -> String {
    let bits = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", bits(), bits())
}

fn serve_options(settings: &Settings, instance: String) -> Options {
    let limits = &settings.limits;
    Options {
        instance,
        mode: settings.mode.as_str(),
        keys: keys::of(settings.api_key.clone(), &settings.relay_keys),
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
        user_bytes_max: limits.user_bytes as u64,
        user_properties_max: limits.user_properties,
        bootstrap_bytes_max: limits.bootstrap_bytes,
        bootstraps_max: limits.bootstraps,
        message_bytes_max: limits.message_bytes,
        bodies_bytes_max: limits.pending_bytes,
        head_time: limits.head,
        body_time: limits.body,
        keep_alive: limits.keep_alive,
        close: limits.close,
        stream_idle: limits.stream_idle.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(soft: Option<u64>, connections: Option<&str>) -> Option<String> {
        let mut pairs = vec![("Mode", "offline"), ("ApiKey", "k"), ("Urls", "http://*:6100")];
        pairs.extend(connections.map(|count| ("Limits__Connections", count)));
        let settings = Settings::from_pairs(&pairs).unwrap();
        few_connections(&settings, &limits::Limits { soft, hard: soft }, 2)
    }

    /// What went wrong: with 64 descriptors one connection was served, and nothing said that this is few.
    #[test]
    fn few_descriptors_are_told_with_what_is_needed() {
        let text = warning(Some(64), None).unwrap();
        assert!(
            text.contains("(64) leaves room for 1 connections") && text.contains("to 574 at least"),
            "{text}"
        );
        for (soft, connections, expected) in [
            (Some(573), None, true),
            (Some(574), None, false),
            (Some(1024), Some("5000"), true),
            (Some(5074), Some("5000"), false),
            // Who wants few gets no lecture.
            (Some(100), Some("20"), false),
            (None, Some("5000"), false),
        ] {
            assert_eq!(warning(soft, connections).is_some(), expected, "{soft:?} {connections:?}");
        }
    }
}
