//! What a reactor's connections were let in by and to: each secret kept once, with a small number that a connection
//! can remember.

use std::collections::HashMap;

use crate::model::secret::SecretKind;
use crate::protocol::secret::Secret;
use crate::store::EnvironmentSlot;

/// A secret in use, as a connection remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SecretId(u32);

/// What a connection was let in by, and to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entrance {
    /// The secret it showed.
    pub secret: Secret,
    /// The environment it was let in to.
    pub slot: EnvironmentSlot,
    /// The kind of SDK it is.
    pub kind: SecretKind,
}

#[derive(Debug)]
struct InUse {
    entrance: Entrance,
    connections: usize,
}

/// The secrets in use on one reactor.
#[derive(Debug, Default)]
pub struct SecretTable {
    ids: HashMap<Entrance, u32, foldhash::fast::RandomState>,
    in_use: Vec<Option<InUse>>,
    vacant: Vec<u32>,
}

impl SecretTable {
    /// Counts one more connection that came in by `entrance`.
    pub fn enter(&mut self, entrance: Entrance) -> SecretId {
        let Self { ids, in_use, vacant } = self;
        let id = *ids.entry(entrance).or_insert_with(|| {
            vacant.pop().unwrap_or_else(|| {
                in_use.push(None);
                (in_use.len() - 1) as u32
            })
        });
        in_use[id as usize].get_or_insert(InUse { entrance, connections: 0 }).connections += 1;
        SecretId(id)
    }

    /// Counts one connection less.
    pub fn leave(&mut self, id: SecretId) {
        let Some(place) = self.in_use.get_mut(id.0 as usize) else { return };
        let Some(in_use) = place else { return };
        in_use.connections -= 1;
        if in_use.connections == 0 {
            self.ids.remove(&in_use.entrance);
            *place = None;
            self.vacant.push(id.0);
        }
    }

    /// What is behind a number.
    pub fn get(&self, id: SecretId) -> Option<&Entrance> {
        self.in_use.get(id.0 as usize)?.as_ref().map(|in_use| &in_use.entrance)
    }

    /// All that are in use.
    pub fn iter(&self) -> impl Iterator<Item = &Entrance> {
        self.in_use.iter().flatten().map(|in_use| &in_use.entrance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::environment_id::EnvironmentId;

    fn entrance(number: u8) -> Entrance {
        let secret = Secret::build([number; 16], EnvironmentId::from_bytes([7; 16]));
        Entrance { secret, slot: EnvironmentSlot(0), kind: SecretKind::Server }
    }

    #[test]
    fn a_secret_is_kept_once_and_only_while_it_is_in_use() {
        let mut table = SecretTable::default();
        let first = table.enter(entrance(1));
        assert_eq!(table.enter(entrance(1)), first);
        let second = table.enter(entrance(2));
        assert_ne!(first, second);
        table.leave(first);
        assert_eq!(table.iter().count(), 2);
        table.leave(first);
        assert_eq!(table.iter().collect::<Vec<_>>(), [&entrance(2)]);
        assert_eq!(table.get(first), None);
        assert_eq!(table.enter(entrance(3)), first, "its number is free again");
    }

    #[test]
    fn one_secret_by_which_connections_came_in_to_different_things_counts_as_two() {
        let mut table = SecretTable::default();
        let server = table.enter(entrance(1));
        let client = table.enter(Entrance { kind: SecretKind::Client, ..entrance(1) });
        assert_ne!(server, client);
    }
}
