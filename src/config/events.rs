//! What happens to usage events.
//!
//! Must not read a file, nor show the key of pseudonyms.

use std::path::PathBuf;
use std::time::Duration;

use super::event_properties::PropertyRule;
use super::secret::Secret;
use super::uri::AbsoluteUri;
use super::value::{InvalidValue, invalid};

/// What happens to usage events, and within which bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// What happens to them where no override says otherwise.
    pub mode: EventsMode,
    /// Single environments with another mode.
    pub overrides: Vec<EventsOverride>,
    /// The server that they are sent to; always there if a mode sends.
    pub uri: Option<AbsoluteUri>,
    /// Where they are kept; `None` means in memory. Always there if a mode is local.
    pub directory: Option<PathBuf>,
    /// The key of pseudonyms; always there if a mode is pseudonymize.
    pub pseudonym_key: Option<PseudonymKeySource>,
    /// The custom properties of users that may leave.
    pub properties: Vec<PropertyRule>,
    /// Memory for events that wait, in bytes.
    pub queue_bytes: u64,
    /// Disk for events that wait to be sent, in bytes.
    pub spool_bytes: u64,
    /// How long events may wait to be sent.
    pub spool_age: Duration,
    /// The most bytes of a request.
    pub request_bytes: u64,
    /// The most events of a request.
    pub request_events: usize,
    /// How long events wait for others to be sent with them.
    pub flush: Duration,
    /// Whether requests are compressed.
    pub gzip: bool,
    /// How long a request may take.
    pub timeout: Duration,
    /// The longest pause between two attempts.
    pub retry: Duration,
    /// The size at which a local file is closed.
    pub local_file_bytes: u64,
    /// Disk for all local files.
    pub local_bytes: u64,
    /// How many days local files are kept.
    pub local_days: u64,
    /// The size of the file of rejected events.
    pub dead_letter_bytes: u64,
}

/// What happens to the usage events of an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventsMode {
    /// They are sent as they are.
    Forward,
    /// They are sent without what identifies a user.
    Pseudonymize,
    /// They are kept on this machine.
    Local,
    /// They are counted and dropped.
    Drop,
}

/// The mode of one environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsOverride {
    /// `projectKey:envKey`, or its id.
    pub environment: String,
    /// Its mode.
    pub mode: EventsMode,
}

/// Where the key of pseudonyms comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PseudonymKeySource {
    /// The key itself.
    Text(Secret),
    /// Its file, which is made if it does not exist.
    File(PathBuf),
}

impl EventsMode {
    /// Its name in settings, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            EventsMode::Forward => "forward",
            EventsMode::Pseudonymize => "pseudonymize",
            EventsMode::Local => "local",
            EventsMode::Drop => "drop",
        }
    }

    /// Whether something leaves the machine.
    pub const fn sends(self) -> bool {
        match self {
            EventsMode::Forward | EventsMode::Pseudonymize => true,
            EventsMode::Local | EventsMode::Drop => false,
        }
    }
}

impl Events {
    /// All modes that an environment may have.
    pub fn modes(&self) -> impl Iterator<Item = EventsMode> {
        std::iter::once(self.mode).chain(self.overrides.iter().map(|one| one.mode))
    }

    /// Whether events of any environment leave the machine.
    pub fn sends(&self) -> bool {
        self.modes().any(EventsMode::sends)
    }

    /// Whether an environment may have this mode.
    pub fn uses(&self, mode: EventsMode) -> bool {
        self.modes().any(|one| one == mode)
    }
}

/// Parses a mode.
pub(super) fn parse_mode(text: &str) -> Result<EventsMode, InvalidValue> {
    match text.to_ascii_lowercase().as_str() {
        "forward" => Ok(EventsMode::Forward),
        "pseudonymize" | "pseudonymise" => Ok(EventsMode::Pseudonymize),
        "local" => Ok(EventsMode::Local),
        "drop" => Ok(EventsMode::Drop),
        _ => Err(invalid("is not a mode of usage events", "Write forward, pseudonymize, local or drop")),
    }
}

/// Parses `shop:prod=local;shop:dev=drop`.
pub(super) fn parse_overrides(text: &str) -> Result<Vec<EventsOverride>, InvalidValue> {
    const FORM: &str = "Write project:environment=mode or id=mode, separated by `;`";
    let mut overrides: Vec<EventsOverride> = Vec::new();
    for entry in text.split(';').map(str::trim).filter(|entry| !entry.is_empty()) {
        let Some((environment, mode)) = entry.rsplit_once('=') else {
            return Err(invalid(format!("has the entry {entry:?} without a mode"), FORM));
        };
        let (environment, mode) = (environment.trim(), mode.trim());
        if environment.is_empty() {
            return Err(invalid("has an entry without an environment", FORM));
        }
        let is_same = |one: &EventsOverride| one.environment.eq_ignore_ascii_case(environment);
        if overrides.iter().any(is_same) {
            return Err(invalid(format!("names {environment} twice"), "Keep one of the two"));
        }
        let mode = parse_mode(mode).map_err(|wrong| {
            invalid(format!("has the mode {mode:?} for {environment}, which {}", wrong.problem), wrong.remedy)
        })?;
        overrides.push(EventsOverride { environment: environment.to_owned(), mode });
    }
    Ok(overrides)
}
