//! What happens to the events of each environment.
//!
//! Must not guess: where an environment's names decide and are not known, there is no answer yet.

use std::collections::HashMap;

use crate::config::{Events, EventsMode, EventsOverride};
use crate::model::environment_id::EnvironmentId;
use crate::store::Snapshot;

/// The mode of each environment.
#[derive(Clone, Debug)]
pub struct Policy {
    default: EventsMode,
    by_id: HashMap<EnvironmentId, EventsMode>,
    /// By `projectkey:envkey` in lower case.
    by_name: HashMap<String, EventsMode>,
    /// As the settings write them.
    names: Vec<String>,
}

impl Policy {
    /// The policy of these settings.
    pub fn new(events: &Events) -> Self {
        let mut policy = Self::always(events.mode);
        policy.names = events.overrides.iter().map(|one| one.environment.clone()).collect();
        for EventsOverride { environment, mode } in &events.overrides {
            match EnvironmentId::parse(environment) {
                Some(id) => drop(policy.by_id.insert(id, *mode)),
                None => drop(policy.by_name.insert(environment.to_lowercase(), *mode)),
            }
        }
        policy
    }

    /// One mode for all environments.
    pub fn always(mode: EventsMode) -> Self {
        Self { default: mode, by_id: HashMap::new(), by_name: HashMap::new(), names: Vec::new() }
    }

    /// The mode of an environment whose label is `projectKey:envKey`, or its id if its keys are unknown. `None` if its keys
    /// must be known first: it may be one whose events must not leave the machine.
    pub fn mode(&self, id: EnvironmentId, label: &str) -> Option<EventsMode> {
        if let Some(mode) = self.by_id.get(&id) {
            return Some(*mode);
        }
        if self.by_name.is_empty() {
            return Some(self.default);
        }
        // An id has no colon, keys have one between them.
        let is_known = label.contains(':');
        is_known.then(|| self.by_name.get(&label.to_lowercase()).copied().unwrap_or(self.default))
    }

    /// As [`Policy::mode`], by the names that the data has.
    pub fn mode_in(&self, snapshot: &Snapshot, id: EnvironmentId) -> Option<EventsMode> {
        if self.by_id.is_empty() && self.by_name.is_empty() {
            return Some(self.default);
        }
        self.mode(id, &snapshot.label_of(id))
    }

    /// The overrides that name no environment of the data, as the settings write them.
    pub fn unused(&self, snapshot: &Snapshot) -> Vec<&str> {
        let is_used = |name: &&String| match EnvironmentId::parse(name) {
            Some(id) => snapshot.holds(id),
            None => snapshot.environments().any(|one| one.label().to_lowercase() == name.to_lowercase()),
        };
        self.names.iter().filter(|name| !is_used(name)).map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn an_override_is_found_by_names_in_any_case_and_by_id() {
        let text = "Shop:Prod=local;ad99d259-1f50-4ed9-a002-7c65e25487df=drop";
        let settings = Settings::from_pairs(&[
            ("Mode", "offline"),
            ("ApiKey", "k"),
            ("EventUri", "http://els"),
            ("Events__Directory", "/tmp/x"),
            ("Events__Overrides", text),
        ])
        .unwrap();
        let policy = Policy::new(&settings.events);
        let (one, other) = (EnvironmentId::from_bytes([1; 16]), "ad99d259-1f50-4ed9-a002-7c65e25487df");
        let other = EnvironmentId::parse(other).unwrap();
        assert_eq!(policy.mode(one, "shop:PROD"), Some(EventsMode::Local));
        assert_eq!(policy.mode(one, "shop:dev"), Some(EventsMode::Forward));
        assert_eq!(policy.mode(other, "shop:PROD"), Some(EventsMode::Drop));
        // What could go wrong: after a restart without data the events of `Shop:Prod` left the machine.
        assert_eq!(policy.mode(one, &one.to_string()), None);
    }
}
