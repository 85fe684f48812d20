//! Which streaming connections a change concerns: those of the changed environments, and those whose secret was removed.
//!
//! Must not send anything: it returns the next connections in bounded slices. The index and the secrets are `fanout`'s.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::fanout::index::{Index, IndexPosition};
use crate::fanout::secrets::{Grant, SecretId, SecretTable};
use crate::model::secret::SecretKind;
use crate::net::slab::Key;
use crate::store::{EnvironmentSlot, Snapshot};

/// The streaming connections of one reactor.
#[derive(Debug, Default)]
pub(crate) struct Broadcast {
    pub index: Index,
    pub secrets: SecretTable,
    /// Connections whose secret may have been removed.
    revoked: VecDeque<Key>,
    /// By environment slot: when the oldest change arrived that has not reached all connections yet.
    arrivals: Vec<Option<Instant>>,
    slice: Vec<(Key, IndexPosition, u64)>,
}

/// The next connections to visit. Pass it to [`Broadcast::end_slice`] afterwards.
#[derive(Debug)]
pub(crate) struct Slice {
    connections: Vec<(Key, IndexPosition, u64)>,
    slot: EnvironmentSlot,
    finished: bool,
}

impl Slice {
    /// The connections to visit.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.connections.iter().map(|(key, _, _)| *key)
    }
}

impl Broadcast {
    /// Adds an accepted connection. It is sent changes after it has asked for data.
    pub fn join(&mut self, grant: Grant, key: Key) -> (IndexPosition, SecretId) {
        let position = self.index.add(grant.slot, grant.kind, key);
        (position, self.secrets.add(grant))
    }

    /// Removes a connection that has ended.
    pub fn leave(&mut self, position: IndexPosition, secret: SecretId) {
        self.index.remove(position);
        self.secrets.remove(secret);
    }

    /// An environment changed: its connections will be visited. `arrived`: when the change reached the agent.
    pub fn environment_changed(&mut self, slot: EnvironmentSlot, arrived: Instant) {
        self.index.environment_changed(slot);
        if !self.index.is_walking_through(slot) {
            return;
        }
        let row = slot.0 as usize;
        if self.arrivals.len() <= row {
            self.arrivals.resize(row + 1, None);
        }
        self.arrivals[row].get_or_insert(arrived);
    }

    /// Whether there are connections left to visit.
    pub fn is_walking(&self) -> bool {
        self.index.is_walking()
    }

    /// The next connections to bring up to date with `view`.
    pub fn next_slice(&mut self, view: &Snapshot) -> Option<Slice> {
        let sequence_of = |slot| view.environment(slot).map_or(0, |environment| environment.sequence());
        let mut connections = std::mem::take(&mut self.slice);
        match self.index.next_slice(sequence_of, &mut connections) {
            Some((slot, finished)) => Some(Slice { connections, slot, finished }),
            None => {
                self.slice = connections;
                None
            }
        }
    }

    /// Ends a slice whose connections were visited. If the change has now reached every connection of its environment,
    /// returns how long that took.
    pub fn end_slice(&mut self, slice: Slice) -> Option<Duration> {
        let Slice { mut connections, slot, finished } = slice;
        connections.clear();
        self.slice = connections;
        // Server and client SDKs of an environment are visited one after the other: the last walk counts.
        if !finished || self.index.is_walking_through(slot) {
            return None;
        }
        let arrived = self.arrivals.get_mut(slot.0 as usize).and_then(Option::take)?;
        Some(arrived.elapsed())
    }

    /// Secrets changed: finds the connections whose secret may no longer open their environment. The snapshot contains a
    /// removed secret until its grace period is over, so that has passed.
    pub fn find_revoked(&mut self, view: &Snapshot) {
        let Self { index, secrets, revoked, .. } = self;
        let mut touched: Vec<(EnvironmentSlot, SecretKind)> =
            secrets.iter().filter(|grant| !is_valid(view, grant)).map(|g| (g.slot, g.kind)).collect();
        touched.sort_by_key(|(slot, kind)| (slot.0, *kind));
        touched.dedup();
        for (slot, kind) in touched {
            revoked.extend(index.keys(slot, kind));
        }
    }

    /// Takes the next connection whose secret may have been removed.
    pub fn take_revoked(&mut self) -> Option<Key> {
        self.revoked.pop_front()
    }

    /// Whether there is such a connection.
    pub fn has_revoked(&self) -> bool {
        !self.revoked.is_empty()
    }

    /// Whether every change has reached all its connections.
    #[cfg(test)]
    pub fn is_done(&self) -> bool {
        self.arrivals.iter().all(Option::is_none)
    }
}

/// Whether a secret still gives access to what its connections were accepted for.
pub(crate) fn is_valid(view: &Snapshot, grant: &Grant) -> bool {
    view.secret(&grant.secret).is_some_and(|entry| entry.opens_to(grant.kind) == Some(grant.slot))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::environment_id::EnvironmentId;
    use crate::protocol::secret::Secret;

    fn grant(kind: SecretKind) -> Grant {
        let secret = Secret::build([kind as u8; 16], EnvironmentId::from_bytes([7; 16]));
        Grant { secret, slot: EnvironmentSlot(2), kind }
    }

    #[test]
    fn a_change_is_delivered_when_both_kinds_of_sdk_have_been_visited() {
        let mut broadcast = Broadcast::default();
        let view = Snapshot::empty();
        broadcast.environment_changed(EnvironmentSlot(2), Instant::now());
        assert!(broadcast.is_done() && !broadcast.is_walking(), "nobody is there");
        for (number, kind) in [SecretKind::Server, SecretKind::Client].into_iter().enumerate() {
            broadcast.join(grant(kind), Key::from_u64(number as u64));
        }
        broadcast.environment_changed(EnvironmentSlot(2), Instant::now());
        let slice = broadcast.next_slice(&view).unwrap();
        assert_eq!(broadcast.end_slice(slice), None);
        let slice = broadcast.next_slice(&view).unwrap();
        assert!(broadcast.end_slice(slice).is_some());
        assert!(broadcast.is_done() && broadcast.next_slice(&view).is_none());
    }

    #[test]
    fn connections_with_a_removed_secret_are_found() {
        let mut broadcast = Broadcast::default();
        let (position, secret) = broadcast.join(grant(SecretKind::Server), Key::from_u64(9));
        broadcast.find_revoked(&Snapshot::empty());
        assert_eq!(broadcast.take_revoked(), Some(Key::from_u64(9)));
        broadcast.leave(position, secret);
        broadcast.find_revoked(&Snapshot::empty());
        assert!(!broadcast.has_revoked());
    }
}
