//! Turns the given values into [`Settings`]: checks every value and collects every error.
//!
//! Must not stop at the first error, nor show the value of a secret. `check` parses the common kinds of values; `keys`,
//! `dial`, `events`, `listen`, `redis` and `upstream` check the settings of one subject each.

mod check;
mod dial;
mod events;
mod keys;
mod listen;
mod redis;
mod upstream;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Component, Path, PathBuf};

use tracing::level_filters::LevelFilter;

use super::definition::{Definition, Key, Kind};
use super::error::{RejectedSettings, SettingError};
use super::event_properties::PropertyRule;
use super::events::PseudonymKeySource;
use super::files;
use super::limits::Limits;
use super::listen::Listen;
use super::origins::{Origins, parse_origins};
use super::raw::Raw;
use super::settings::{
    Access, Backup, Cors, DataFile, Effective, KeyFiles, Log, LogFormat, Mode, Polling, Settings, Streaming,
};
use super::source::{self, Inputs};
use super::table::DEFINITIONS;
use super::value::{self, invalid};
use check::{Check, shown};
use listen::Wanted;

/// Valid settings, and warnings.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Warnings: the settings can be used all the same.
    pub warnings: Vec<SettingError>,
}

/// Reads, merges and checks all settings.
///
/// # Errors
/// All errors of all sources together.
pub fn load(inputs: &Inputs<'_>) -> Result<Loaded, RejectedSettings> {
    let mut check = Check { raw: source::collect(inputs), read: inputs.read };
    let mut settings = check.settings();
    settings.effective = check.effective();
    let Raw { errors, warnings, .. } = check.raw;
    if errors.is_empty() {
        Ok(Loaded { settings, warnings })
    } else {
        Err(RejectedSettings { errors, warnings })
    }
}

/// Only the addresses to listen on, even if other settings are wrong: for a caller that looks for a running agent.
///
/// # Errors
/// The errors of `Urls`.
pub fn listening(inputs: &Inputs<'_>) -> Result<Vec<Listen>, RejectedSettings> {
    let mut check = Check { raw: source::collect(inputs), read: inputs.read };
    check.raw.errors.clear();
    match check.listen() {
        Some(wanted) => Ok(wanted.into_iter().map(|(listen, _)| listen).collect()),
        None => Err(RejectedSettings { errors: check.raw.errors, warnings: check.raw.warnings }),
    }
}

/// Only the folder of usage events, even if other settings are wrong: for a caller that reads its files. `None` if it is not set.
///
/// # Errors
/// It is not set, and not all sources can be read.
pub fn events_directory(inputs: &Inputs<'_>) -> Result<Option<PathBuf>, RejectedSettings> {
    let check = Check { raw: source::collect(inputs), read: inputs.read };
    match check.text(Key::EventsDirectory) {
        None if !check.raw.errors.is_empty() => {
            Err(RejectedSettings { errors: check.raw.errors, warnings: check.raw.warnings })
        }
        directory => Ok(directory.map(PathBuf::from)),
    }
}

/// Only the settings that are needed to query a server, in any mode, and warnings.
///
/// # Errors
/// The errors of these settings and of the sources themselves.
pub fn access(inputs: &Inputs<'_>) -> Result<(Access, Vec<SettingError>), RejectedSettings> {
    let mut check = Check { raw: source::collect(inputs), read: inputs.read };
    let access = check.access();
    let Raw { errors, warnings, .. } = check.raw;
    match access {
        Some(access) if errors.is_empty() => Ok((access, warnings)),
        _ => Err(RejectedSettings { errors, warnings }),
    }
}

/// Only the key of pseudonyms, if one is given, and the properties of users that are sent, in any mode: for a preview.
///
/// # Errors
/// The errors of these settings and of the sources themselves.
pub fn pseudonyms(
    inputs: &Inputs<'_>,
) -> Result<(Option<PseudonymKeySource>, Vec<PropertyRule>), RejectedSettings> {
    let mut check = Check { raw: source::collect(inputs), read: inputs.read };
    let pseudonyms = check.pseudonyms();
    let Raw { errors, warnings, .. } = check.raw;
    if errors.is_empty() { Ok(pseudonyms) } else { Err(RejectedSettings { errors, warnings }) }
}

impl Settings {
    /// Settings from names and values like those of environment variables, for tests and for programs that embed the
    /// agent.
    ///
    /// # Errors
    /// As [`load`].
    pub fn from_pairs(pairs: &[(&str, &str)]) -> Result<Settings, RejectedSettings> {
        let environment = pairs.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let inputs =
            Inputs { command_line: Vec::new(), config_file: None, environment, read: &files::read_small };
        load(&inputs).map(|loaded| loaded.settings)
    }
}

impl Check<'_> {
    fn settings(&mut self) -> Settings {
        let api_key = self.api_key();
        let relay_keys = self.relay_keys(api_key.as_ref());
        let data_file = self.data_file();
        let backup = self.backup(data_file.as_ref());
        let streaming_uri = self.uri(Key::StreamingUri);
        let dial = self.dial();
        let redis = self.redis(api_key.as_ref());
        let mut listen = self.listen().unwrap_or_default();
        let mut metrics = self.metrics(&listen);
        let tls = self.tls([&mut listen, metrics.as_deref_mut().unwrap_or_default()]);
        let addresses = |wanted: Vec<Wanted>| wanted.into_iter().map(|(listen, _)| listen).collect();
        let offline = self.offline();
        let events = self.events(redis.is_some());
        // If the mode itself is wrong, errors that depend on it would only confuse.
        let mode = match offline {
            Some(true) => self.offline_mode(data_file.is_some()),
            Some(false) => self.agent_mode(streaming_uri, api_key.as_ref(), data_file.is_some()),
            None => Mode::Offline,
        };
        let settings = Settings {
            mode,
            api_key,
            relay_keys,
            key_files: KeyFiles {
                api_key: self.text(Key::ApiKeyFile).map(PathBuf::from),
                relay_keys: self.text(Key::RelayKeysFile).map(PathBuf::from),
            },
            data_file,
            backup,
            events,
            dial,
            redis,
            listen: addresses(listen),
            tls,
            backlog: self.count(Key::ListenBacklog) as u32,
            reactors: NonZeroUsize::new(self.count(Key::Reactors)),
            echo_path: self.echo_path(),
            revocation_grace: self.duration(Key::RevocationGraceSeconds),
            streaming: Streaming {
                token_expiry: self.duration(Key::StreamingTokenExpirySeconds),
                token_hold: self.duration(Key::StreamingTokenHoldSeconds),
            },
            polling: Polling {
                allow_client_secret_for_server: self.flag(Key::PollingAllowClientSecretForServer),
            },
            cors: Cors { origins: self.origins(), max_age: self.duration(Key::CorsMaxAgeSeconds) },
            limits: self.limits(),
            shutdown_delay: self.duration(Key::ShutdownDelaySeconds),
            shutdown_drain: self.duration(Key::ShutdownDrainSeconds),
            metrics: metrics.map(addresses),
            log: Log { level: self.level(), format: self.format() },
            effective: Vec::new(),
        };
        // Ignored, but a wrong value is still an error.
        self.flag(Key::StreamingTrackClientHostName);
        settings
    }

    fn limits(&mut self) -> Limits {
        let stream_idle = self.duration(Key::LimitsStreamIdleSeconds);
        Limits {
            connections: NonZeroUsize::new(self.count(Key::LimitsConnections)),
            verdict_wait: self.duration(Key::LimitsVerdictWait),
            head: self.duration(Key::LimitsHeadSeconds),
            body: self.duration(Key::LimitsBodySeconds),
            keep_alive: self.duration(Key::LimitsKeepAliveSeconds),
            stream_idle: if stream_idle.is_zero() { None } else { Some(stream_idle) },
            write_stall: self.duration(Key::LimitsWriteStallSeconds),
            write_min_bytes_per_second: self.bytes(Key::LimitsWriteMinBytesPerSecond),
            close: self.duration(Key::LimitsCloseSeconds),
            header_bytes: self.bytes(Key::LimitsHeaderBytes) as usize,
            headers: self.count(Key::LimitsHeaders),
            body_bytes: self.bytes(Key::LimitsBodyBytes),
            user_bytes: self.bytes(Key::LimitsUserBytes),
            user_properties: self.count(Key::LimitsUserProperties),
            message_bytes: self.bytes(Key::LimitsMessageBytes) as usize,
            bootstrap_bytes: self.bytes(Key::LimitsBootstrapBytes),
            bootstraps: self.count(Key::LimitsBootstraps),
            pending_bytes: self.bytes(Key::LimitsPendingBytes) as usize,
            send_buffer_bytes: self.bytes(Key::LimitsSendBufferBytes) as usize,
            regex_program_bytes: self.bytes(Key::LimitsRegexProgramBytes) as usize,
            regex_total_bytes: self.bytes(Key::LimitsRegexTotalBytes) as usize,
            regex_steps: self.count(Key::LimitsRegexSteps),
        }
    }

    // Settings that a mode requires.

    fn offline(&mut self) -> Option<bool> {
        self.parsed(Key::Mode, value::mode)
    }

    fn offline_mode(&mut self, data_file: bool) -> Mode {
        let api_key = self.is_given(Key::ApiKey) || self.is_given(Key::ApiKeyFile);
        if !data_file && !api_key {
            self.raw.push_missing(SettingError::missing(
                "DataFile, ApiKey",
                "offline mode needs one of them, or the agent could never get data",
                "Set DataFile to a dump, or ApiKey to the key with which FeatBit sends one",
            ));
        } else if !api_key {
            self.raw.warn_missing(SettingError::missing(
                "ApiKey",
                "is not set, so the management calls (bootstrap, backup, status) answer 401",
                "Set it if you need them",
            ));
        }
        Mode::Offline
    }

    // Settings with a format of their own.

    fn data_file(&mut self) -> Option<DataFile> {
        self.stamp();
        let poll = self.duration(Key::DataFilePollMilliseconds);
        let path = PathBuf::from(self.text(Key::DataFile)?);
        Some(DataFile { path, poll })
    }

    fn backup(&mut self, data_file: Option<&DataFile>) -> Backup {
        let file = self.text(Key::BackupFile).map(PathBuf::from);
        let is_data_file = |file: &Path| {
            data_file.is_some_and(|data| same_path(file, &data.path) || files::is_same(file, &data.path))
        };
        if file.as_deref().is_some_and(is_data_file) {
            let origin = self.raw.origin(Key::BackupFile);
            let problem = "is the same file as DataFile, which the agent only reads";
            self.raw.errors.push(SettingError::at("BackupFile", origin, problem, "Choose another path"));
        }
        Backup {
            file,
            compact_factor: self.count(Key::BackupCompactFactor) as u64,
            tombstone_days: self.count(Key::BackupTombstoneDays) as u64,
            wait: self.duration(Key::BackupWaitSeconds),
        }
    }

    /// Warns that `DataFileStamp` has no effect any more.
    fn stamp(&mut self) {
        let is_on = self.flag(Key::DataFileStamp);
        if self.is_given(Key::DataFileStamp) {
            let origin = self.raw.origin(Key::DataFileStamp);
            let problem = match is_on {
                true => {
                    "is no longer needed: an item that changes without a newer updatedAt is always sent with a newer one"
                }
                false => {
                    "has no effect: an item that changes without a newer updatedAt is always sent with a newer one"
                }
            };
            self.raw.warnings.push(SettingError::at("DataFileStamp", origin, problem, "Remove it"));
        }
    }

    fn echo_path(&mut self) -> Option<String> {
        self.raw.given(Key::EchoPath)?;
        self.parsed(Key::EchoPath, |text| {
            let lower = text.to_ascii_lowercase();
            let served = ["/streaming", "/api", "/health", "/metrics"];
            let taken = |root: &str| {
                lower.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
            if !text.starts_with('/') || text.len() > 256 || !text.bytes().all(plain) {
                return Err(invalid("is not a plain path", "Write one such as /echo"));
            }
            if text == "/" || served.into_iter().any(taken) {
                return Err(invalid("is a path that the agent serves", "Choose another one, such as /echo"));
            }
            Ok(text.to_string())
        })
    }

    fn origins(&mut self) -> Origins {
        self.parsed(Key::CorsOrigins, parse_origins).unwrap_or(Origins::Any)
    }

    fn level(&mut self) -> LevelFilter {
        let remedy = "Write error, warn, info, debug, trace or off";
        self.parsed(Key::LoggingLevel, |text| match text.to_ascii_lowercase().as_str() {
            "off" | "none" => Ok(LevelFilter::OFF),
            "error" | "critical" => Ok(LevelFilter::ERROR),
            "warn" | "warning" => Ok(LevelFilter::WARN),
            "info" | "information" => Ok(LevelFilter::INFO),
            "debug" => Ok(LevelFilter::DEBUG),
            "trace" => Ok(LevelFilter::TRACE),
            _ => Err(invalid("is not a log level", remedy)),
        })
        .unwrap_or(LevelFilter::INFO)
    }

    fn format(&mut self) -> LogFormat {
        self.parsed(Key::LoggingFormat, |text| match text.to_ascii_lowercase().as_str() {
            "auto" | "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(invalid("is not a log format", "Write auto, text or json")),
        })
        .unwrap_or(LogFormat::Text)
    }

    fn effective(&self) -> Vec<Effective> {
        let line = |definition: &Definition| {
            let given = self.raw.given(definition.key).map(|given| given.value.as_str());
            let value = match given {
                None => with_unit(definition.kind, &definition.default_text().replace('`', "")),
                Some(_) if definition.secret() => "****".to_string(),
                Some(text) => with_unit(definition.kind, &shown(definition.kind, text)),
            };
            Effective { name: definition.name, value, origin: self.raw.origin(definition.key) }
        };
        DEFINITIONS.iter().map(line).collect()
    }
}

/// Whether two paths are the same as written. The files need not exist.
fn same_path(one: &Path, other: &Path) -> bool {
    let parts = |path: &Path| -> Vec<OsString> {
        let parts = path.components().filter(|part| *part != Component::CurDir);
        parts.map(|part| part.as_os_str().to_owned()).collect()
    };
    parts(one) == parts(other)
}

/// `text` with the unit of the number at its start, if it has none: `10 (more words)` is `10 s (more words)`.
fn with_unit(kind: Kind, text: &str) -> String {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let is_bare = !number.is_empty() && (rest.is_empty() || rest.starts_with(" ("));
    match kind {
        Kind::Duration { unit, .. } if is_bare => format!("{number} {}{rest}", unit.short()),
        Kind::Bytes { .. } if is_bare => match number.parse() {
            Ok(bytes) => format!("{}{rest}", value::written_bytes(bytes)),
            Err(_) => text.to_string(),
        },
        _ => text.to_string(),
    }
}
