//! The downstream agents of all reactors, for the status.
//!
//! Behind a lock, so not for the data path: each downstream agent uses it a few times a minute.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::Value;

/// The most bytes that are kept of an agent's name, and of its status as JSON text.
const NAME_BYTES_MAX: usize = 128;
const STATUS_BYTES_MAX: usize = 8 * 1024;

/// One downstream agent.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    /// When it connected, in Unix milliseconds.
    pub since_ms: i64,
    /// The last status that it reported.
    pub reported: Option<Report>,
}

/// A status that an agent reported.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub agent_id: String,
    pub status: Value,
    pub at_ms: i64,
}

/// The number of a downstream agent while it is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AgentId(u64);

/// All downstream agents.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    next: AtomicU64,
    list: Mutex<BTreeMap<AgentId, Agent>>,
}

impl Registry {
    /// Adds an agent that has connected.
    pub fn add(&self, since_ms: i64) -> AgentId {
        let id = AgentId(self.next.fetch_add(1, Ordering::Relaxed));
        self.list.lock().insert(id, Agent { since_ms, reported: None });
        id
    }

    /// Removes an agent that has disconnected, and returns its entry.
    pub fn remove(&self, id: AgentId) -> Option<Agent> {
        self.list.lock().remove(&id)
    }

    /// How many are connected.
    pub fn count(&self) -> usize {
        self.list.lock().len()
    }

    /// Stores the status that an agent reports. One that is too long is ignored.
    pub fn report(&self, id: AgentId, mut agent_id: String, status: Value, at_ms: i64) {
        if status.to_string().len() > STATUS_BYTES_MAX {
            return;
        }
        if agent_id.len() > NAME_BYTES_MAX {
            agent_id.truncate(agent_id.floor_char_boundary(NAME_BYTES_MAX));
        }
        if let Some(agent) = self.list.lock().get_mut(&id) {
            agent.reported = Some(Report { agent_id, status, at_ms });
        }
    }

    /// All connected agents, the longest connected first.
    pub fn all(&self) -> Vec<Agent> {
        self.list.lock().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keeps_the_last_report_of_each_while_it_is_connected() {
        let registry = Registry::default();
        let (first, second) = (registry.add(1), registry.add(2));
        registry.report(second, "edge".into(), json!({ "serves": "a" }), 3);
        registry.report(second, "edge".into(), json!({ "serves": "b" }), 4);
        registry.report(first, "ü".repeat(NAME_BYTES_MAX), json!({}), 5);
        registry.remove(AgentId(77));
        let all = registry.all();
        assert_eq!(
            all[1].reported.as_ref().map(|report| report.status.clone()),
            Some(json!({ "serves": "b" }))
        );
        assert_eq!(all[0].reported.as_ref().map(|report| report.agent_id.len()), Some(NAME_BYTES_MAX));
        registry.remove(second);
        registry.report(second, "late".into(), json!({}), 6);
        assert_eq!(registry.all().len(), 1);
        let long = json!({ "serves": "x".repeat(STATUS_BYTES_MAX) });
        registry.report(first, "again".into(), long, 7);
        assert_ne!(registry.all()[0].reported.as_ref().map(|report| report.at_ms), Some(7));
    }
}
