//! The relays that follow this agent, over all its reactors, for the status.
//!
//! Must not be on the way of an SDK's bytes: it is locked, and touched a few times a minute for each relay.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::Value;

/// Bytes of a relay's name, and of its status as text, that are kept at most.
const NAME_BYTES_MAX: usize = 128;
const STATUS_BYTES_MAX: usize = 8 * 1024;

/// One relay.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    /// Since when it is connected, in Unix milliseconds.
    pub since_ms: i64,
    /// What it last said of itself.
    pub said: Option<Said>,
}

/// What a relay said of itself.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub agent_id: String,
    pub status: Value,
    pub at_ms: i64,
}

/// One relay's number, for as long as it is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChildId(u64);

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Children {
    next: AtomicU64,
    list: Mutex<BTreeMap<ChildId, Child>>,
}

impl Children {
    /// One more is connected.
    pub fn enter(&self, since_ms: i64) -> ChildId {
        let id = ChildId(self.next.fetch_add(1, Ordering::Relaxed));
        self.list.lock().insert(id, Child { since_ms, said: None });
        id
    }

    /// It is gone; returns what was known of it.
    pub fn leave(&self, id: ChildId) -> Option<Child> {
        self.list.lock().remove(&id)
    }

    /// How many are connected.
    pub fn count(&self) -> usize {
        self.list.lock().len()
    }

    /// It says something of itself; what is too long is not kept.
    pub fn say(&self, id: ChildId, mut agent_id: String, status: Value, at_ms: i64) {
        if status.to_string().len() > STATUS_BYTES_MAX {
            return;
        }
        if agent_id.len() > NAME_BYTES_MAX {
            agent_id.truncate(agent_id.floor_char_boundary(NAME_BYTES_MAX));
        }
        if let Some(child) = self.list.lock().get_mut(&id) {
            child.said = Some(Said { agent_id, status, at_ms });
        }
    }

    /// Those that are connected, the longest first.
    pub fn all(&self) -> Vec<Child> {
        self.list.lock().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keeps_what_each_said_last_while_it_is_connected() {
        let children = Children::default();
        let (first, second) = (children.enter(1), children.enter(2));
        children.say(second, "edge".into(), json!({ "serves": "a" }), 3);
        children.say(second, "edge".into(), json!({ "serves": "b" }), 4);
        children.say(first, "ü".repeat(NAME_BYTES_MAX), json!({}), 5);
        children.leave(ChildId(77));
        let all = children.all();
        assert_eq!(all[1].said.as_ref().map(|said| said.status.clone()), Some(json!({ "serves": "b" })));
        assert_eq!(all[0].said.as_ref().map(|said| said.agent_id.len()), Some(NAME_BYTES_MAX));
        children.leave(second);
        children.say(second, "late".into(), json!({}), 6);
        assert_eq!(children.all().len(), 1);
        let long = json!({ "serves": "x".repeat(STATUS_BYTES_MAX) });
        children.say(first, "again".into(), long, 7);
        assert_ne!(children.all()[0].said.as_ref().map(|said| said.at_ms), Some(7));
    }
}
