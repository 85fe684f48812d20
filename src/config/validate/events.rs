//! Settings of usage events.
//!
//! Must not read or make a file, nor show the key of pseudonyms.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::check::Check;
use crate::config::definition::Key;
use crate::config::error::SettingError;
use crate::config::event_properties::{self, PropertyRule};
use crate::config::events::{
    Events, EventsMode, EventsOverride, PseudonymKeySource, parse_mode, parse_overrides,
};
use crate::config::pseudonym_key::{self, KEY_CHARS_MIN, WeakKey};
use crate::config::raw::{Given, override_part};
use crate::config::secret::Secret;
use crate::config::uri::AbsoluteUri;
use crate::config::value::{flag, invalid};

/// The file of the key in `Events__Directory`.
const KEY_FILE: &str = "pseudonym.key";

impl Check<'_> {
    /// What happens to usage events. `in_cluster`: whether agents share a Redis.
    pub(super) fn events(&mut self, in_cluster: bool) -> Events {
        let uri = self.uri(Key::EventUri);
        let overrides = self.overrides();
        let mode = self.events_mode(uri.as_ref(), &overrides);
        let directory = self.text(Key::EventsDirectory).map(PathBuf::from);
        let uses = |wanted: EventsMode| mode == wanted || overrides.iter().any(|one| one.mode == wanted);
        let (needs_directory, needs_key) = (uses(EventsMode::Local), uses(EventsMode::Pseudonymize));
        let sends = needs_key || uses(EventsMode::Forward);
        if sends && uri.is_none() && !self.is_given(Key::EventUri) {
            self.require_uri();
        }
        if needs_directory && directory.is_none() {
            self.raw.push_missing(SettingError::missing(
                Key::EventsDirectory.definition().name,
                "is needed by the mode local of usage events",
                "Set it to a folder for their files",
            ));
        }
        let pseudonym_key = self.pseudonym_key(directory.as_ref(), needs_key);
        if in_cluster && needs_key && matches!(pseudonym_key, Some(PseudonymKeySource::File(_))) {
            self.raw.warnings.push(SettingError::missing(
                Key::EventsPseudonymKey.definition().name,
                "comes from a file, and agents share a Redis: if their files differ, a user counts once for each agent",
                "Give all agents the same key, by the setting or by the same content of the file; the status shows its id",
            ));
        }
        Events {
            mode,
            overrides,
            uri,
            directory,
            pseudonym_key,
            properties: self.properties(),
            queue_bytes: self.bytes(Key::EventsQueueBytes),
            spool_bytes: self.bytes(Key::EventsSpoolBytes),
            spool_age: days(self.count(Key::EventsSpoolDays)),
            request_bytes: self.bytes(Key::EventsRequestBytes),
            request_events: self.count(Key::EventsRequestEvents),
            flush: self.duration(Key::EventsFlushSeconds),
            gzip: self.flag(Key::EventsGzip),
            timeout: self.duration(Key::EventsTimeoutSeconds),
            retry: self.duration(Key::EventsRetrySeconds),
            local_file_bytes: self.bytes(Key::EventsLocalFileBytes),
            local_bytes: self.bytes(Key::EventsLocalBytes),
            local_days: self.count(Key::EventsLocalDays) as u64,
            dead_letter_bytes: self.bytes(Key::EventsDeadLetterBytes),
        }
    }

    /// The mode where no override says otherwise: `Events__Mode`, or else what FeatBit's own settings mean.
    fn events_mode(&mut self, uri: Option<&AbsoluteUri>, overrides: &[EventsOverride]) -> EventsMode {
        let forwards = self.flag(Key::ForwardEvents);
        let is_valid = self.text(Key::ForwardEvents).is_none_or(|text| flag(&text).is_ok());
        if self.is_given(Key::EventsMode) {
            let Some(mode) = self.parsed(Key::EventsMode, parse_mode) else { return EventsMode::Drop };
            if self.is_given(Key::ForwardEvents) && is_valid && forwards != mode.sends() {
                let problem = format!("{:?} contradicts ForwardEvents={forwards}", mode.as_str());
                self.accepted::<()>(Key::EventsMode, Err(invalid(problem, "Remove ForwardEvents")));
            }
            return mode;
        }
        if !forwards {
            return EventsMode::Drop;
        }
        if uri.is_some() {
            return EventsMode::Forward;
        }
        if self.is_given(Key::EventUri) {
            // It is wrong, which has been reported.
        } else if self.is_given(Key::ForwardEvents) {
            self.raw.push_missing(SettingError::missing(
                "EventUri",
                "is needed by ForwardEvents=true",
                "Set it, or set ForwardEvents=false",
            ));
        } else if overrides.is_empty() {
            self.raw.warn_missing(SettingError::missing(
                "EventUri",
                "is not set, so usage events are counted and dropped",
                "Set it, or set Events__Mode=drop to turn this warning off",
            ));
        }
        EventsMode::Drop
    }

    fn require_uri(&mut self) {
        self.raw.push_missing(SettingError::missing(
            "EventUri",
            "is needed by the modes forward and pseudonymize of usage events",
            "Set it to the server that gets the events, such as http://evaluation-server:5100",
        ));
    }

    /// The overrides, as one text or as pairs `Events__Overrides__0__Environment` and `…__Mode`.
    fn overrides(&mut self) -> Vec<EventsOverride> {
        let mut pairs: BTreeMap<u32, BTreeMap<String, (String, Given)>> = BTreeMap::new();
        for (name, value) in &self.raw.nested {
            if let Some((index, part)) = override_part(name).filter(|_| !value.1.value.is_empty()) {
                pairs.entry(index).or_default().insert(part.to_owned(), value.clone());
            }
        }
        if let Some((name, given)) = pairs.values().flat_map(BTreeMap::values).next() {
            if self.is_given(Key::EventsOverrides) {
                let problem = "is given together with Events__Overrides";
                self.raw.errors.push(SettingError::at(
                    name.clone(),
                    given.origin.clone(),
                    problem,
                    "Keep one of the two",
                ));
                return Vec::new();
            }
            let origin = given.origin.clone();
            let joined = self.joined(pairs);
            // As one text, so that errors and the list of settings show them all.
            self.raw.set(Key::EventsOverrides, &joined, origin);
        }
        match self.is_given(Key::EventsOverrides) {
            true => self.parsed(Key::EventsOverrides, parse_overrides).unwrap_or_default(),
            false => Vec::new(),
        }
    }

    fn joined(&mut self, pairs: BTreeMap<u32, BTreeMap<String, (String, Given)>>) -> String {
        let mut entries = Vec::new();
        for (index, parts) in pairs {
            let value = |part: &str| parts.get(part).map(|(_, given)| given.value.as_str());
            match (value("environment"), value("mode")) {
                (Some(environment), Some(mode)) => entries.push(format!("{environment}={mode}")),
                (environment, _) => {
                    let missing = if environment.is_none() { "Environment" } else { "Mode" };
                    self.raw.push_missing(SettingError::missing(
                        format!("Events__Overrides__{index}__{missing}"),
                        "is not set, although the other half of its pair is",
                        "Set both",
                    ));
                }
            }
        }
        entries.join(";")
    }

    /// Only the key of pseudonyms, as far as it is given, and the properties that leave.
    pub(super) fn pseudonyms(&mut self) -> (Option<PseudonymKeySource>, Vec<PropertyRule>) {
        let directory = self.text(Key::EventsDirectory).map(PathBuf::from);
        let key = self.pseudonym_key(directory.as_ref(), directory.is_some());
        (key, self.properties())
    }

    fn properties(&mut self) -> Vec<PropertyRule> {
        let text = self.text(Key::EventsProperties).unwrap_or_default();
        event_properties::parse(&text).unwrap_or_else(|errors| {
            for invalid in errors {
                self.accepted::<()>(Key::EventsProperties, Err(invalid));
            }
            Vec::new()
        })
    }

    fn pseudonym_key(&mut self, directory: Option<&PathBuf>, is_needed: bool) -> Option<PseudonymKeySource> {
        let text = self.text(Key::EventsPseudonymKey);
        let file = self.text(Key::EventsPseudonymKeyFile).map(PathBuf::from);
        match (text, file) {
            (Some(_), Some(_)) => {
                let problem = "is given together with Events__PseudonymKey";
                self.accepted::<()>(
                    Key::EventsPseudonymKeyFile,
                    Err(invalid(problem, "Keep one of the two")),
                );
                None
            }
            (Some(text), None) => match pseudonym_key::strong(&text) {
                Ok(_) => Some(PseudonymKeySource::Text(Secret::new(text))),
                Err(weak) => {
                    let problem = match weak {
                        WeakKey::Short => format!("is shorter than {KEY_CHARS_MIN} characters"),
                        WeakKey::Uniform => "repeats a few characters".to_owned(),
                    };
                    let problem = format!("{problem}, so that it could be guessed");
                    let remedy = "Use a random one, as by `openssl rand -base64 32`";
                    self.accepted::<()>(Key::EventsPseudonymKey, Err(invalid(problem, remedy)));
                    None
                }
            },
            (None, Some(file)) => Some(PseudonymKeySource::File(file)),
            (None, None) if !is_needed => None,
            (None, None) => {
                if directory.is_none() {
                    self.raw.push_missing(SettingError::missing(
                        Key::EventsPseudonymKey.definition().name,
                        "is needed by the mode pseudonymize of usage events",
                        "Set it, or Events__PseudonymKey__File or Events__Directory, where the agent makes one",
                    ));
                }
                directory.map(|directory| PseudonymKeySource::File(directory.join(KEY_FILE)))
            }
        }
    }
}

fn days(days: usize) -> Duration {
    Duration::from_secs(days as u64 * 24 * 60 * 60)
}
