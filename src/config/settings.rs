//! The settings as the agent uses them, in types that allow only valid values.
//!
//! Must not parse or check anything: `validate` does that, and nothing else creates them.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use super::error::Origin;
use super::events::Events;
use super::limits::Limits;
use super::listen::Listen;
use super::origins::Origins;
use super::redis::Redis;
use super::secret::{KeyPairFiles, Secret};
use super::uri::AbsoluteUri;

/// All settings, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where flags come from.
    pub mode: Mode,
    /// The key of the management calls; without it they answer 401.
    pub api_key: Option<Secret>,
    /// The keys with which downstream agents may connect.
    pub relay_keys: Vec<RelayKey>,
    /// The files of these keys.
    pub key_files: KeyFiles,
    /// The dump to serve and to watch.
    pub data_file: Option<DataFile>,
    /// What outlives the process.
    pub backup: Backup,
    /// What happens to usage events, and within which bounds.
    pub events: Events,
    /// How connections to servers are opened.
    pub dial: Dial,
    /// The Redis that agents share; `None` means that there is none.
    pub redis: Option<Redis>,
    /// Where to listen; never empty.
    pub listen: Vec<Listen>,
    /// TLS of the `https` addresses; `None` if there is none.
    pub tls: Option<Tls>,
    /// How many connections may wait to be accepted, for each listener.
    pub backlog: u32,
    /// How many threads serve connections; `None` is one per core.
    pub reactors: Option<NonZeroUsize>,
    /// The path of the plain WebSocket echo.
    pub echo_path: Option<String>,
    /// How long connections stay open after their secret was removed.
    pub revocation_grace: Duration,
    /// The streaming endpoint.
    pub streaming: Streaming,
    /// The polling endpoints.
    pub polling: Polling,
    /// Calls from browsers.
    pub cors: Cors,
    /// Bounds of time and memory.
    pub limits: Limits,
    /// How long the agent works on after a signal before the shutdown begins.
    pub shutdown_delay: Duration,
    /// How long closing all WebSockets takes at shutdown.
    pub shutdown_drain: Duration,
    /// Where `/metrics` is served; `None` means the data port.
    pub metrics: Option<Vec<Listen>>,
    /// Logs.
    pub log: Log,
    /// Every setting as text, for [`Settings::describe`].
    pub effective: Vec<Effective>,
}

/// The width of the column of values in [`Settings::describe`]: enough for every default. A longer value shifts the
/// rest of its line.
const VALUE_CHARS: usize = 48;

impl Settings {
    /// How the upstream is reached; `None` without an upstream or without a key for it.
    pub fn access(&self) -> Option<Access> {
        let upstream = self.mode.upstream()?;
        Some(Access {
            streaming_uri: upstream.streaming_uri.clone(),
            api_key: self.api_key.clone()?,
            dial: self.dial.clone(),
            message_bytes_max: self.limits.bootstrap_bytes,
            sync: upstream.sync,
        })
    }

    /// One line for each setting: its name, its value (secrets masked) and its source.
    pub fn describe(&self) -> Vec<String> {
        let names = self.effective.iter().map(|line| line.name.len()).max().unwrap_or(0);
        let values =
            self.effective.iter().map(|line| line.value.chars().count()).max().unwrap_or(0).min(VALUE_CHARS);
        let line =
            |line: &Effective| format!("{:names$}  {:values$}  ({})", line.name, line.value, line.origin);
        self.effective.iter().map(line).collect()
    }
}

/// One setting as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The setting's name.
    pub name: &'static str,
    /// Its value, with the note on a default; `****` if it is a secret.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Where flags come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// From a data file and from bootstrap calls; no server.
    Offline,
    /// From a FeatBit server.
    Agent(Box<Upstream>),
}

impl Mode {
    /// Its name in logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Mode::Offline => "offline",
            Mode::Agent(_) => "agent",
        }
    }

    /// The upstream, if there is one.
    pub fn upstream(&self) -> Option<&Upstream> {
        match self {
            Mode::Offline => None,
            Mode::Agent(upstream) => Some(upstream),
        }
    }
}

/// The FeatBit server to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The name under which this agent registers.
    pub agent_id: String,
    /// The evaluation server.
    pub streaming_uri: AbsoluteUri,
    /// The longest pause between two attempts to connect.
    pub retry: Duration,
    /// The time between two pings.
    pub ping: Duration,
    /// How long the server may send nothing.
    pub silence: Duration,
    /// How long the server may take for an answer, or for the next part of one.
    pub sync: Duration,
    /// Bytes of a begun message that must arrive each second, on average over `sync`; 0 means no minimum.
    pub read_min_bytes_per_second: u64,
    /// The time between two full syncs; `None` means never.
    pub resync: Option<Duration>,
    /// The shortest time between two full syncs that unknown secrets cause.
    pub unknown_secret_resync: Duration,
    /// The time between two status reports.
    pub status: Duration,
}

/// How a FeatBit server is reached and queried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Where it is.
    pub streaming_uri: AbsoluteUri,
    /// The relay proxy's key.
    pub api_key: Secret,
    /// How connections are opened.
    pub dial: Dial,
    /// The longest message that is accepted, in bytes.
    pub message_bytes_max: u64,
    /// How long the server may take for an answer, or for the next part of one.
    pub sync: Duration,
}

/// How connections to servers are opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// Certificates that are trusted in addition to those of the system.
    pub ca_file: Option<PathBuf>,
    /// The agent's client certificate and its key.
    pub client_certificate: Option<KeyPairFiles>,
    /// Which proxy is used.
    pub proxy: ProxyChoice,
    /// How long opening a connection may take.
    pub connect: Duration,
}

/// TLS on the addresses that SDKs and operators connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificates; an address refers to its own by index.
    pub certificates: Vec<CertificateFiles>,
    /// The authorities that issue client certificates.
    pub client_ca: Option<PathBuf>,
    /// Whether clients must present a certificate.
    pub client_certificate: ClientCertificate,
    /// Handshake steps that a reactor processes before it serves its other connections.
    pub handshakes_per_turn: usize,
    /// How often the files are checked for changes.
    pub poll: Duration,
}

/// A certificate and its key, and the settings that name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The files.
    pub files: KeyPairFiles,
    /// The setting of the certificate.
    pub certificate_setting: String,
    /// The setting of the key.
    pub key_setting: String,
}

/// Whether clients must present a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// Clients are not asked for one.
    None,
    /// A certificate that is presented is verified.
    Optional,
    /// Clients without one are refused.
    Required,
}

/// Which proxy is used to reach servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyChoice {
    /// The one that the environment names (`HTTPS_PROXY` and so on).
    Environment,
    /// None.
    Never,
    /// This one, regardless of the environment.
    Always(AbsoluteUri),
}

/// A data file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFile {
    /// Where it is.
    pub path: PathBuf,
    /// How often it is checked for changes.
    pub poll: Duration,
}

/// The backup file, and what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Where the file is; `None` means that there is none.
    pub file: Option<PathBuf>,
    /// The file is written anew when it is this many times as large as its data.
    pub compact_factor: u64,
    /// How many days removals are remembered.
    pub tombstone_days: u64,
    /// How long a bootstrap call waits for the disk.
    pub wait: Duration,
}

/// Files of keys, which the agent reads again when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFiles {
    /// The file of `ApiKey`.
    pub api_key: Option<PathBuf>,
    /// The file of `RelayKeys`.
    pub relay_keys: Option<PathBuf>,
}

/// A key with which downstream agents may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayKey {
    /// The key.
    pub key: Secret,
    /// The environments that it gives access to, by `projectKey:envKey` or id; `None` means all.
    pub environments: Option<Vec<String>>,
}

/// The streaming endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streaming {
    /// How far a token's time may differ from the agent's clock.
    pub token_expiry: Duration,
    /// How long a connection with an expired token stays open.
    pub token_hold: Duration,
}

/// The polling endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Polling {
    /// Whether a client secret gives access to the server payload.
    pub allow_client_secret_for_server: bool,
}

/// Calls from browsers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// Which origins may call.
    pub origins: Origins,
    /// How long browsers may cache the response to a preflight request.
    pub max_age: Duration,
}

/// Logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// How much is logged.
    pub level: LevelFilter,
    /// The form of log lines.
    pub format: LogFormat,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}
