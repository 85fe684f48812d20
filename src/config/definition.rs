//! What a setting's definition consists of, and the names that follow from it.
//!
//! Must not define any setting: [`super::table`] does that.

/// Every setting, in the order of the [table](super::table).
#[allow(missing_docs, reason = "each is documented by its definition in the table")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Key {
    Mode,
    ApiKey,
    ApiKeyFile,
    RelayKeys,
    RelayKeysFile,
    DataFile,
    DataFileStamp,
    DataFilePollMilliseconds,
    BackupFile,
    BackupCompactFactor,
    BackupTombstoneDays,
    BackupWaitSeconds,
    AgentId,
    StreamingUri,
    Urls,
    TlsCertificateFile,
    TlsKeyFile,
    TlsClientCaFile,
    TlsClientCertificate,
    TlsHandshakesPerTurn,
    TlsPollSeconds,
    ListenBacklog,
    Reactors,
    StreamingTokenExpirySeconds,
    StreamingTokenHoldSeconds,
    StreamingTrackClientHostName,
    RevocationGraceSeconds,
    PollingAllowClientSecretForServer,
    CorsOrigins,
    CorsMaxAgeSeconds,
    EchoPath,
    ForwardEvents,
    EventUri,
    EventsMode,
    EventsOverrides,
    EventsDirectory,
    EventsPseudonymKey,
    EventsPseudonymKeyFile,
    EventsProperties,
    EventsQueueBytes,
    EventsSpoolBytes,
    EventsSpoolDays,
    EventsRequestBytes,
    EventsRequestEvents,
    EventsFlushSeconds,
    EventsGzip,
    EventsTimeoutSeconds,
    EventsRetrySeconds,
    EventsLocalFileBytes,
    EventsLocalBytes,
    EventsLocalDays,
    EventsDeadLetterBytes,
    UpstreamCaFile,
    UpstreamClientCertificateFile,
    UpstreamClientKeyFile,
    UpstreamProxy,
    UpstreamConnectSeconds,
    UpstreamRetrySeconds,
    UpstreamPingSeconds,
    UpstreamSilenceSeconds,
    UpstreamSyncSeconds,
    UpstreamReadMinBytesPerSecond,
    UpstreamResyncSeconds,
    UpstreamUnknownSecretResyncSeconds,
    UpstreamStatusSeconds,
    RedisConnectionString,
    RedisPassword,
    RedisPasswordFile,
    RedisSentinelUser,
    RedisSentinelPassword,
    RedisSentinelPasswordFile,
    RedisSentinelTls,
    RedisCaFile,
    RedisClientCertificateFile,
    RedisClientKeyFile,
    RedisKeyPrefix,
    RedisTimeoutSeconds,
    RedisPollSeconds,
    LimitsConnections,
    LimitsVerdictWait,
    LimitsHeadSeconds,
    LimitsBodySeconds,
    LimitsKeepAliveSeconds,
    LimitsStreamIdleSeconds,
    LimitsWriteStallSeconds,
    LimitsWriteMinBytesPerSecond,
    LimitsCloseSeconds,
    LimitsHeaderBytes,
    LimitsHeaders,
    LimitsBodyBytes,
    LimitsUserBytes,
    LimitsUserProperties,
    LimitsMessageBytes,
    LimitsBootstrapBytes,
    LimitsBootstraps,
    LimitsPendingBytes,
    LimitsSendBufferBytes,
    LimitsRegexProgramBytes,
    LimitsRegexTotalBytes,
    LimitsRegexSteps,
    ShutdownDelaySeconds,
    ShutdownDrainSeconds,
    MetricsUrl,
    LoggingLevel,
    LoggingFormat,
}

/// One setting: its names, its values and its purpose.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// Which setting it is.
    pub key: Key,
    /// Its .NET style name, such as `Limits__VerdictWait`; `__` stands for a level of nesting.
    pub name: &'static str,
    /// Which values it takes.
    pub kind: Kind,
    /// Its default, written as a user would write it; empty means "none".
    pub default: &'static str,
    /// What the default means where the text alone does not say it.
    pub default_note: &'static str,
    /// Its heading in help and docs.
    pub section: Section,
    /// Whether `-h` shows it; `--help` shows all.
    pub common: bool,
    /// When it must be given; empty if never.
    pub needed: &'static str,
    /// Its other names, by precedence; all of them come after [`Definition::name`].
    pub aliases: &'static [Alias],
    /// One paragraph on what it does. Short help shows only the first sentence.
    pub help: &'static str,
}

/// Another name of a setting.
#[derive(Clone, Copy, Debug)]
pub struct Alias {
    /// The name, in .NET style.
    pub name: &'static str,
    /// Whether only environment variables have this name, as with `ASPNETCORE_URLS`.
    pub environment_only: bool,
    /// The scheme, if the value lists ports rather than URLs, as with `ASPNETCORE_HTTP_PORTS`.
    pub ports: Option<&'static str>,
}

/// Which values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One of the modes.
    Mode,
    /// `true` or `false`.
    Flag,
    /// Any text.
    Text,
    /// Any text, never shown.
    Secret,
    /// A path of a file.
    Path,
    /// An absolute URI with one of these schemes.
    Uri(&'static [&'static str]),
    /// The URL of a proxy, or `none`.
    Proxy,
    /// Addresses of Redis servers, with options.
    Redis,
    /// Addresses to listen on, separated by `;`.
    Urls,
    /// The path of a URL.
    UrlPath,
    /// `*`, or origins separated by commas.
    Origins,
    /// A whole number.
    Count {
        /// The smallest one allowed.
        min: u64,
        /// The largest one allowed.
        max: u64,
    },
    /// A duration.
    Duration {
        /// What a number without a unit counts.
        unit: Unit,
        /// The shortest one allowed, in milliseconds.
        min_ms: u64,
        /// Whether 0 is allowed although it is below the shortest.
        zero: bool,
    },
    /// A number of bytes.
    Bytes {
        /// The smallest one allowed.
        min: u64,
        /// The largest one allowed.
        max: u64,
    },
    /// Whether clients must present a certificate.
    ClientCertificate,
    /// What happens to usage events.
    EventsMode,
    /// What happens to those of single environments, separated by `;`.
    EventsOverrides,
    /// Custom properties of users and what happens to them, separated by `;`.
    EventProperties,
    /// How much is logged.
    Level,
    /// How a log line is written.
    Format,
}

/// The unit of a duration that is given as a bare number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

impl Unit {
    /// The unit's name in the plural, such as `seconds`.
    pub fn as_str(self) -> &'static str {
        match self {
            Unit::Seconds => "seconds",
            Unit::Milliseconds => "milliseconds",
        }
    }

    /// The unit's symbol, such as `s`.
    pub fn short(self) -> &'static str {
        match self {
            Unit::Seconds => "s",
            Unit::Milliseconds => "ms",
        }
    }

    /// `ms` milliseconds as a user would write them.
    pub(super) fn written(self, ms: u64) -> String {
        match self {
            Unit::Milliseconds => format!("{ms}"),
            Unit::Seconds if ms < 1000 => format!("{ms}ms"),
            Unit::Seconds => format!("{}", ms as f64 / 1000.0),
        }
    }
}

impl Kind {
    /// Its values in a few words, for help and docs.
    pub fn describe(self) -> String {
        match self {
            Kind::Mode => "`auto` (or `agent`), `manual` (or `offline`)".into(),
            Kind::Flag => "`true` or `false`".into(),
            Kind::Text => "text".into(),
            Kind::Secret => "secret text".into(),
            Kind::Path => "path of a file".into(),
            Kind::Uri(schemes) => format!("absolute URI ({})", schemes.join(", ")),
            Kind::Proxy => "URL of a proxy (http), or `none`".into(),
            Kind::Redis => "connection string (`host:port,option=value`), or URL (redis, rediss)".into(),
            Kind::Urls => "URLs, separated by `;`".into(),
            Kind::UrlPath => "path of a URL".into(),
            Kind::Origins => "`*`, or origins separated by commas".into(),
            Kind::Count { min, max } => format!("number from {min} to {max}"),
            Kind::Duration { unit, min_ms, zero } => {
                let least = match (min_ms, zero) {
                    (0, _) => String::new(),
                    (_, true) => format!(", 0 or at least {}", unit.written(min_ms)),
                    (_, false) => format!(", at least {}", unit.written(min_ms)),
                };
                format!("duration ({} if without unit){least}", unit.as_str())
            }
            Kind::Bytes { min, max } => format!("size from {min} to {max} (bytes if without unit)"),
            Kind::ClientCertificate => "`none`, `optional`, `required`".into(),
            Kind::EventsMode => "`forward`, `pseudonymize`, `local`, `drop`".into(),
            Kind::EventsOverrides => "`environment=mode`, separated by `;`".into(),
            Kind::EventProperties => "`property=action`, separated by `;`".into(),
            Kind::Level => "`error`, `warn`, `info`, `debug`, `trace`, `off`, or .NET's names".into(),
            Kind::Format => "`auto`, `text`, `json`".into(),
        }
    }

    /// The placeholder for its value in help.
    pub fn placeholder(self) -> &'static str {
        match self {
            Kind::Mode => "MODE",
            Kind::Flag => "true|false",
            Kind::Text => "TEXT",
            Kind::Secret => "SECRET",
            Kind::Path => "FILE",
            Kind::Uri(_) => "URI",
            Kind::Proxy => "URL",
            Kind::Redis => "ADDRESSES",
            Kind::Urls => "URLS",
            Kind::UrlPath => "PATH",
            Kind::Origins => "ORIGINS",
            Kind::Count { .. } => "NUMBER",
            Kind::Duration { .. } => "DURATION",
            Kind::Bytes { .. } => "SIZE",
            Kind::ClientCertificate => "none|optional|required",
            Kind::EventsMode => "forward|pseudonymize|local|drop",
            Kind::EventsOverrides => "MODES",
            Kind::EventProperties => "PROPERTIES",
            Kind::Level => "LEVEL",
            Kind::Format => "FORMAT",
        }
    }

    /// The separator of its elements, if it is a list: then a file may give an array, and environment variables single
    /// elements by index (`Cors__Origins__0`).
    pub fn list_separator(self) -> Option<char> {
        match self {
            Kind::Origins => Some(','),
            Kind::Urls | Kind::EventsOverrides | Kind::EventProperties => Some(';'),
            _ => None,
        }
    }
}

/// The headings of help and docs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Where data comes from.
    Data,
    /// Addresses and threads.
    Listening,
    /// TLS on those addresses.
    Tls,
    /// Connections of SDKs.
    Sdks,
    /// Usage events.
    Events,
    /// Connections that the agent opens.
    Upstream,
    /// Redis, which agents share.
    Redis,
    /// Bounds of time and memory.
    Limits,
    /// Logs, metrics, shutdown.
    Operation,
}

impl Section {
    /// All of them in the order of the docs.
    pub const ALL: [Section; 9] = [
        Section::Data,
        Section::Listening,
        Section::Tls,
        Section::Sdks,
        Section::Events,
        Section::Upstream,
        Section::Redis,
        Section::Limits,
        Section::Operation,
    ];

    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Section::Data => "Mode and source of data",
            Section::Listening => "Listening and threads",
            Section::Tls => "TLS",
            Section::Sdks => "SDK connections",
            Section::Events => "Usage events",
            Section::Upstream => "Connections to servers",
            Section::Redis => "Redis",
            Section::Limits => "Limits",
            Section::Operation => "Operation",
        }
    }
}

impl Definition {
    /// Whether its value must never be shown.
    pub fn secret(&self) -> bool {
        self.kind == Kind::Secret
    }

    /// The long option without the dashes, such as `limits-verdict-wait`.
    pub fn flag(&self) -> String {
        let mut flag = String::with_capacity(self.name.len() + 8);
        for character in self.name.chars() {
            if character == '_' {
                continue;
            }
            if character.is_ascii_uppercase() && !flag.is_empty() {
                flag.push('-');
            }
            flag.push(character.to_ascii_lowercase());
        }
        flag
    }

    /// The first sentence of its help.
    pub fn summary(&self) -> &'static str {
        match self.help.find(". ") {
            Some(end) => &self.help[..end],
            None => self.help.trim_end_matches('.'),
        }
    }

    /// Its default and what that means, for help and docs.
    pub fn default_text(&self) -> String {
        match (self.default, self.default_note) {
            ("", "") => "none".into(),
            ("", note) => note.into(),
            (value, "") => value.into(),
            (value, note) => format!("{value} ({note})"),
        }
    }
}

/// A definition with the properties that every setting has; methods add the others.
pub(super) const fn define(
    key: Key,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    section: Section,
) -> Definition {
    Definition {
        key,
        name,
        kind,
        default,
        default_note: "",
        section,
        common: false,
        needed: "",
        aliases: &[],
        help: "",
    }
}

impl Definition {
    /// Shows it in short help.
    pub(super) const fn common(mut self) -> Self {
        self.common = true;
        self
    }

    /// Sets when it must be given.
    pub(super) const fn needed(mut self, when: &'static str) -> Self {
        self.needed = when;
        self
    }

    /// Explains the default.
    pub(super) const fn default_note(mut self, note: &'static str) -> Self {
        self.default_note = note;
        self
    }

    /// Sets its other names.
    pub(super) const fn aliases(mut self, aliases: &'static [Alias]) -> Self {
        self.aliases = aliases;
        self
    }

    /// Sets its help.
    pub(super) const fn help(mut self, help: &'static str) -> Self {
        self.help = help;
        self
    }
}

/// Another name for environment variables only.
pub(super) const fn environment(name: &'static str) -> Alias {
    Alias { name, environment_only: true, ports: None }
}

/// Another name for environment variables and files.
pub(super) const fn anywhere(name: &'static str) -> Alias {
    Alias { name, environment_only: false, ports: None }
}

/// Another name that lists ports.
pub(super) const fn ports(name: &'static str, scheme: &'static str, environment_only: bool) -> Alias {
    Alias { name, environment_only, ports: Some(scheme) }
}

/// A whole number from `min` to `max`.
pub(super) const fn count(min: u64, max: u64) -> Kind {
    Kind::Count { min, max }
}

/// A number of bytes from `min` to `max`.
pub(super) const fn bytes(min: u64, max: u64) -> Kind {
    Kind::Bytes { min, max }
}

/// A duration of at least `min_ms`, or 0 if `zero`; a bare number counts seconds.
pub(super) const fn seconds(min_ms: u64, zero: bool) -> Kind {
    Kind::Duration { unit: Unit::Seconds, min_ms, zero }
}
