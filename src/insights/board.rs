//! What the thread of usage events last noted about itself, for the status, the metrics and the start-up summary.
//!
//! Must not wait for that thread.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::config::{Events, EventsMode, EventsOverride};
use crate::model::environment_id::EnvironmentId;
use crate::telemetry::metrics::{EnvironmentEvents, EventNumbers};

use super::counts::{Counts, EventResult};
use super::queue::{QueueStatus, StreamKey, StreamStatus};

/// How the sending of one stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Whose events wait.
    pub stream: StreamKey,
    /// Why, such as `status 503`.
    pub reason: String,
}

/// What was last noted.
#[derive(Clone, Debug, Default)]
pub struct Noted {
    /// The queue.
    pub queue: QueueStatus,
    /// What waits in each stream.
    pub streams: Vec<StreamStatus>,
    /// The streams whose events the server does not take at present.
    pub pauses: Vec<Pause>,
    /// Why the server cannot be reached; `None` if it can, or was not needed yet.
    pub unreachable: Option<String>,
    /// Bytes of local files.
    pub local_bytes: u64,
    /// Events of local files that were removed because of age or size.
    pub local_removed: u64,
}

/// Numbers of requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests {
    pub by_outcome: BTreeMap<&'static str, u64>,
    pub bytes: u64,
}

/// Shared by the thread of usage events and those that show it.
#[derive(Debug)]
pub struct Board {
    /// What leaves the machine, in words.
    pub summary: String,
    /// The default mode.
    pub mode: EventsMode,
    /// The environments with another one.
    pub overrides: Vec<EventsOverride>,
    /// What the key of pseudonyms can be told by, if there is one.
    pub key_id: Option<String>,
    noted: Mutex<Noted>,
    pub(super) requests: Mutex<Requests>,
    /// Calls that a full disk or a lack of memory has refused.
    pub(super) refused: Mutex<BTreeMap<&'static str, u64>>,
}

impl Board {
    /// What the settings say; nothing is noted yet.
    pub(super) fn new(events: &Events, key_id: Option<String>) -> Self {
        Self { overrides: events.overrides.clone(), key_id, ..Self::dropping(summary(events), events.mode) }
    }

    /// Without overrides and keys.
    pub(super) fn dropping(summary: String, mode: EventsMode) -> Self {
        Self {
            summary,
            mode,
            overrides: Vec::new(),
            key_id: None,
            noted: Mutex::default(),
            requests: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    /// What was last noted.
    pub fn noted(&self) -> Noted {
        self.noted.lock().clone()
    }

    pub(super) fn note(&self, noted: Noted) {
        *self.noted.lock() = noted;
    }

    pub(super) fn refuse(&self, why: &'static str) {
        *self.refused.lock().entry(why).or_default() += 1;
    }

    /// The numbers for the metrics. `name` is how an environment is called.
    pub(super) fn numbers(
        &self,
        counts: &Counts,
        now_ms: i64,
        name: impl Fn(EnvironmentId) -> String,
    ) -> EventNumbers {
        let noted = self.noted();
        let requests = self.requests.lock().clone();
        let oldest_ms = noted.queue.oldest_ms.map_or(0, |oldest_ms| now_ms.saturating_sub(oldest_ms).max(0));
        EventNumbers {
            environments: environments(counts, &noted, name),
            calls_refused: self.refused.lock().iter().map(|(why, calls)| (*why, *calls)).collect(),
            requests: requests.by_outcome.into_iter().collect(),
            request_bytes: requests.bytes,
            queue_bytes: in_memory(&noted.queue),
            spool_bytes: noted.queue.file_bytes,
            local_bytes: noted.local_bytes,
            local_removed: noted.local_removed,
            oldest_s: oldest_ms as f64 / 1000.0,
        }
    }
}

/// The bytes of events of a queue that is only in memory.
fn in_memory(queue: &QueueStatus) -> u64 {
    if queue.segments > 0 { 0 } else { queue.bytes }
}

fn environments(
    counts: &Counts,
    noted: &Noted,
    name: impl Fn(EnvironmentId) -> String,
) -> Vec<EnvironmentEvents> {
    let mut all: BTreeMap<EnvironmentId, EnvironmentEvents> = BTreeMap::new();
    let new = |id| EnvironmentEvents { name: name(id), ..EnvironmentEvents::default() };
    for (id, counts) in counts.all() {
        let one = all.entry(id).or_insert_with(|| new(id));
        one.results = EventResult::ALL.map(|result| (result.as_str(), counts.of(result))).into();
        one.evaluations_left_out = counts.evaluations_left_out();
    }
    for stream in &noted.streams {
        all.entry(stream.key.environment).or_insert_with(|| new(stream.key.environment)).waiting +=
            stream.events;
    }
    for pause in &noted.pauses {
        all.entry(pause.stream.environment).or_insert_with(|| new(pause.stream.environment)).is_paused = true;
    }
    all.into_values().collect()
}

/// What leaves the machine, in words.
pub(super) fn summary(events: &Events) -> String {
    let overrides = match events.overrides.len() {
        0 => String::new(),
        1 => "; 1 environment has another mode".to_owned(),
        more => format!("; {more} environments have another mode"),
    };
    let to = events.uri.as_ref().map_or(String::new(), |uri| format!(" to {uri}"));
    let what = match events.mode {
        EventsMode::Forward => format!("usage events are sent{to} as they are"),
        EventsMode::Pseudonymize => format!("usage events are sent{to} without what identifies a user"),
        EventsMode::Local => "usage events stay on this machine, in files".to_owned(),
        EventsMode::Drop => "usage events are counted and dropped".to_owned(),
    };
    format!("{what}{overrides}")
}
