//! The settings as the agent uses them: types that cannot be wrong.
//!
//! Must not parse or check anything: that is done in `validate`, the only place that makes them.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use super::fault::Origin;
use super::listen::Listen;
use super::origins::Origins;
use super::uri::AbsoluteUri;

/// Everything the agent was told, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where flags come from.
    pub mode: Mode,
    /// The key of the management calls; without it they answer 401.
    pub api_key: Option<Secret>,
    /// The keys by which other agents may follow this one.
    pub relay_keys: Vec<RelayKey>,
    /// The files that these keys came from.
    pub key_files: KeyFiles,
    /// The dump to serve and to watch.
    pub data_file: Option<DataFile>,
    /// What becomes of usage events.
    pub events: Events,
    /// How connections to servers are opened.
    pub dial: Dial,
    /// Where to listen; never empty.
    pub listen: Vec<Listen>,
    /// TLS of those addresses that ask for it; `None` if none does.
    pub tls: Option<Tls>,
    /// How many connections may wait to be accepted, for each listener.
    pub backlog: u32,
    /// How many threads serve connections; `None` is one per core.
    pub reactors: Option<NonZeroUsize>,
    /// The path of the plain WebSocket echo.
    pub echo_path: Option<String>,
    /// How long connections stay after their secret is gone.
    pub revocation_grace: Duration,
    /// The streaming endpoint.
    pub streaming: Streaming,
    /// The polling endpoints.
    pub polling: Polling,
    /// Calls from browsers.
    pub cors: Cors,
    /// Bounds of time and memory.
    pub limits: Limits,
    /// How long everything goes on before the shutdown begins.
    pub shutdown_delay: Duration,
    /// Over how long WebSockets are closed at shutdown.
    pub shutdown_drain: Duration,
    /// Where `/metrics` is served; `None` is the data port.
    pub metrics: Option<Vec<Listen>>,
    /// Logs.
    pub log: Log,
    /// Every setting as text, for [`Settings::describe`].
    pub effective: Vec<Effective>,
}

/// The column of values in [`Settings::describe`]: room for every default. What is longer moves its source on.
const VALUE_CHARS: usize = 48;

impl Settings {
    /// How the server that is followed is reached; `None` if there is none, or no key for it.
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

    /// One line for each setting: its name, its value (secrets masked) and where that came from.
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
    /// Its value, with what a default means; `****` if it is a secret.
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

    /// The server to follow, if there is one.
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
    /// The longest pause between attempts to connect.
    pub retry: Duration,
    /// Between pings.
    pub ping: Duration,
    /// How long nothing may be heard.
    pub silence: Duration,
    /// How long an answer, or its next part, may take.
    pub sync: Duration,
    /// What has to arrive of a message that has begun, on average over `sync`; 0 asks for nothing.
    pub read_min_bytes_per_second: u64,
    /// Between full syncs; `None` is never.
    pub resync: Option<Duration>,
    /// At least between full syncs for secrets that are not known.
    pub unknown_secret_resync: Duration,
    /// Between status reports.
    pub status: Duration,
}

/// How a FeatBit server is reached and asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Where it is.
    pub streaming_uri: AbsoluteUri,
    /// The relay proxy's key.
    pub api_key: Secret,
    /// How connections are opened.
    pub dial: Dial,
    /// The longest message that is taken.
    pub message_bytes_max: u64,
    /// How long an answer, or its next part, may take.
    pub sync: Duration,
}

/// How connections to servers are opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// Certificates that are trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// The certificate by which the agent shows who it is, and its key.
    pub client_certificate: Option<KeyPairFiles>,
    /// Which proxy is used.
    pub proxy: ProxyChoice,
    /// How long opening a connection may take.
    pub connect: Duration,
}

/// A certificate and its private key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPairFiles {
    /// The certificate and its intermediate ones.
    pub certificate: PathBuf,
    /// The private key, not encrypted.
    pub key: PathBuf,
}

/// TLS on the addresses that SDKs and operators connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificates; an address names its own by its place here.
    pub certificates: Vec<CertificateFiles>,
    /// The authorities whose certificates clients may show.
    pub client_ca: Option<PathBuf>,
    /// Whether clients have to show one.
    pub client_certificate: ClientCertificate,
    /// Handshakes that are worked on before all other connections get their turn.
    pub handshakes_per_turn: usize,
    /// How often the files are looked at.
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

/// Whether clients have to show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// They are not asked for one.
    None,
    /// One that is shown is checked.
    Optional,
    /// Nobody gets in without.
    Required,
}

/// Which proxy is used to reach servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyChoice {
    /// What the environment says (`HTTPS_PROXY` and so on).
    Environment,
    /// None.
    Never,
    /// This one, whatever the environment says.
    Always(AbsoluteUri),
}

/// A data file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFile {
    /// Where it is.
    pub path: PathBuf,
    /// How often it is looked at where the system reports no changes.
    pub poll: Duration,
}

/// Files of keys, which are read again when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFiles {
    /// Of `ApiKey`.
    pub api_key: Option<PathBuf>,
    /// Of `RelayKeys`.
    pub relay_keys: Option<PathBuf>,
}

/// A key by which other agents may follow this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayKey {
    /// The key.
    pub key: Secret,
    /// The environments it opens, by `projectKey:envKey` or id; `None` is every one.
    pub environments: Option<Vec<String>>,
}

/// What becomes of usage events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Events {
    /// They are counted and dropped.
    Drop,
    /// They go to this server.
    Forward(AbsoluteUri),
}

/// The streaming endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streaming {
    /// How far a token's time may be from the agent's clock.
    pub token_expiry: Duration,
    /// How long a connection with an expired token is held.
    pub token_hold: Duration,
}

/// The polling endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Polling {
    /// Whether a client secret opens the server payload.
    pub allow_client_secret_for_server: bool,
}

/// Calls from browsers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// Which origins may call.
    pub origins: Origins,
    /// How long the answer to a preflight request may be remembered.
    pub max_age: Duration,
}

/// Bounds of time and memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at a time; `None` is what the descriptor limit allows.
    pub connections: Option<NonZeroUsize>,
    /// How long an SDK is held while there is no data.
    pub verdict_wait: Duration,
    /// Time to send the head of a request.
    pub head: Duration,
    /// The longest pause within a body.
    pub body: Duration,
    /// How long an HTTP connection may be idle between requests.
    pub keep_alive: Duration,
    /// How long a streaming connection may be silent; `None` is for ever.
    pub stream_idle: Option<Duration>,
    /// How long output may make no progress.
    pub write_stall: Duration,
    /// Bytes of waiting output that a peer has to take each second; 0 is none.
    pub write_min_bytes_per_second: u64,
    /// How long to wait for the peer's close.
    pub close: Duration,
    /// The longest head of a request.
    pub header_bytes: usize,
    /// Header lines of a request.
    pub headers: usize,
    /// The longest body of a request other than a bootstrap call.
    pub body_bytes: usize,
    /// The longest user that a client SDK polls with.
    pub user_bytes: usize,
    /// Custom properties of a user.
    pub user_properties: usize,
    /// The longest message from an SDK.
    pub message_bytes: usize,
    /// The longest dump.
    pub bootstrap_bytes: u64,
    /// Bootstrap calls under way at a time.
    pub bootstraps: usize,
    /// Memory that single connections hold for themselves, over all of them.
    pub pending_bytes: usize,
    /// The kernel's send buffer of a connection.
    pub send_buffer_bytes: usize,
    /// Memory of one compiled regular expression.
    pub regex_program_bytes: usize,
    /// Memory of all compiled regular expressions.
    pub regex_total_bytes: usize,
    /// Steps back of a search with a regular expression.
    pub regex_steps: usize,
}

/// Logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// How much is logged.
    pub level: LevelFilter,
    /// How a line is written.
    pub format: LogFormat,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes `text` out of sight.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Whether `given` is this secret. Takes the same time wherever they differ.
    pub fn matches(&self, given: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let differences = own.iter().zip(given).fold(0, |differences, (a, b)| differences | (a ^ b));
        own.len() == given.len() && std::hint::black_box(differences) == 0
    }

    /// The secret itself, to be sent to the server that it is for.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown_and_matches_itself_only() {
        let secret = Secret::new("rp-0123".into());
        assert_eq!(format!("{secret:?}"), "****");
        assert!(secret.matches(b"rp-0123"));
        for other in [&b"rp-0124"[..], b"rp-012", b"rp-01234", b""] {
            assert!(!secret.matches(other));
        }
    }
}
