//! The downstream agents of one reactor: which of them need an update, and the path of agents that is sent to them.
//!
//! Must not send anything.

use std::collections::VecDeque;

use crate::net::slab::Key;
use crate::protocol::relay_path::PATH_MAX;
use crate::serve::keys::RelayAccess;
use crate::serve::shared::Shared;

use super::downstream::Downstream;
use super::registry::AgentId;

/// The downstream agents of one reactor.
#[derive(Debug)]
pub(crate) struct Relays {
    connections: Vec<Key>,
    to_update: VecDeque<Key>,
    /// This process and the agents upstream of it, the nearest first.
    path: Vec<String>,
}

impl Relays {
    /// No connections; the path is this process alone.
    pub fn new(instance: String) -> Self {
        Self { connections: Vec::new(), to_update: VecDeque::new(), path: vec![instance] }
    }

    /// Adds a downstream agent that has connected.
    pub fn join(&mut self, shared: &Shared, key: Key, access: RelayAccess) -> Downstream {
        let id = shared.downstream.add((shared.wall_ms)());
        if let Some(suppressed) = shared.log_limits.relay_connected.allow(shared.now_ms()) {
            tracing::info!(
                others_like_it = suppressed,
                relays = shared.downstream.count(),
                "an agent that follows this one has connected"
            );
        }
        self.connections.push(key);
        Downstream::new(access, id)
    }

    /// Removes a downstream agent whose connection has ended.
    pub fn leave(&mut self, shared: &Shared, key: Key, id: AgentId) {
        let left = shared.downstream.remove(id);
        let now_ms = (shared.wall_ms)();
        if let Some(suppressed) = shared.log_limits.relay_disconnected.allow(shared.now_ms()) {
            tracing::info!(
                others_like_it = suppressed,
                relays = shared.downstream.count(),
                agent_id = left.as_ref().and_then(|left| Some(&*left.reported.as_ref()?.agent_id)),
                connected_seconds = left.as_ref().map(|left| now_ms.saturating_sub(left.since_ms) / 1000),
                "an agent that followed this one has disconnected"
            );
        }
        self.connections.retain(|other| *other != key);
    }

    /// All connections.
    pub fn connections(&self) -> Vec<Key> {
        self.connections.clone()
    }

    /// There is new data: all of them need an update.
    pub fn data_changed(&mut self) {
        self.to_update.clear();
        self.to_update.extend(&self.connections);
    }

    /// Takes the next one that needs an update.
    pub fn take_to_update(&mut self) -> Option<Key> {
        self.to_update.pop_front()
    }

    /// Whether one of them needs an update.
    pub fn has_to_update(&self) -> bool {
        !self.to_update.is_empty()
    }

    /// This process and the agents upstream of it, the nearest first.
    pub fn path(&self) -> &[String] {
        &self.path
    }

    /// Replaces the agents upstream of this one.
    pub fn set_upstream_path(&mut self, upstream: &[String]) {
        self.path.truncate(1);
        self.path.extend(upstream.iter().take(PATH_MAX - 1).cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_begins_with_this_process_and_has_a_maximum_length() {
        let mut relays = Relays::new("me".into());
        relays.set_upstream_path(&["a".into(), "b".into()]);
        assert_eq!(relays.path(), ["me", "a", "b"]);
        relays.set_upstream_path(&vec!["x".to_owned(); PATH_MAX + 5]);
        assert_eq!((relays.path()[0].as_str(), relays.path().len()), ("me", PATH_MAX));
    }

    #[test]
    fn each_is_brought_up_to_date_once_for_any_number_of_changes() {
        let mut relays = Relays::new("me".into());
        relays.connections = vec![Key::from_u64(1), Key::from_u64(2)];
        relays.data_changed();
        relays.data_changed();
        assert_eq!(
            (relays.take_to_update(), relays.take_to_update()),
            (Some(Key::from_u64(1)), Some(Key::from_u64(2)))
        );
        assert!(!relays.has_to_update());
    }
}
