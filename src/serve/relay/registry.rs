//! The downstream agents of all reactors, for the status.
//!
//! Must not be used for an SDK's bytes: it is locked, and used a few times a minute for each downstream agent.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::Value;

/// Bytes of an agent's name, and of its status as text, that are kept at most.
const NAME_BYTES_MAX: usize = 128;
const STATUS_BYTES_MAX: usize = 8 * 1024;

/// One downstream agent.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    /// Since when it is connected, in Unix milliseconds.
    pub since_ms: i64,
    /// What it last reported of itself.
    pub reported: Option<Report>,
}

/// What an agent reported of itself.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub agent_id: String,
    pub status: Value,
    pub at_ms: i64,
}

/// The number of a downstream agent, for as long as it is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AgentId(u64);

/// All downstream agents.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    next: AtomicU64,
    list: Mutex<BTreeMap<AgentId, Agent>>,
}

impl Registry {
    /// One more is connected.
    pub fn add(&self, since_ms: i64) -> AgentId {
        let id = AgentId(self.next.fetch_add(1, Ordering::Relaxed));
        self.list.lock().insert(id, Agent { since_ms, reported: None });
        id
    }

    /// One is gone; returns what was known of it.
    pub fn remove(&self, id: AgentId) -> Option<Agent> {
        self.list.lock().remove(&id)
    }

    /// How many are connected.
    pub fn count(&self) -> usize {
        self.list.lock().len()
    }

    /// It reports its status; what is too long is not kept.
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

    /// Those that are connected, the longest first.
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
