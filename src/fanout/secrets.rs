//! The secrets with which a reactor's connections were accepted. Each is stored once; a connection stores only its small
//! number.

use std::collections::HashMap;

use crate::model::secret::SecretKind;
use crate::protocol::secret::Secret;
use crate::store::EnvironmentSlot;

/// The number of a secret in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SecretId(u32);

/// A secret with which connections were accepted, and what it gave them access to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    /// The secret.
    pub secret: Secret,
    /// The environment.
    pub slot: EnvironmentSlot,
    /// The kind of SDK.
    pub kind: SecretKind,
}

#[derive(Debug)]
struct InUse {
    grant: Grant,
    connections: usize,
}

/// The secrets in use on one reactor.
#[derive(Debug, Default)]
pub struct SecretTable {
    ids: HashMap<Grant, u32, foldhash::fast::RandomState>,
    in_use: Vec<Option<InUse>>,
    vacant: Vec<u32>,
}

impl SecretTable {
    /// Counts one more connection that was accepted by `grant`.
    pub fn add(&mut self, grant: Grant) -> SecretId {
        let Self { ids, in_use, vacant } = self;
        let id = *ids.entry(grant).or_insert_with(|| {
            vacant.pop().unwrap_or_else(|| {
                in_use.push(None);
                (in_use.len() - 1) as u32
            })
        });
        in_use[id as usize].get_or_insert(InUse { grant, connections: 0 }).connections += 1;
        SecretId(id)
    }

    /// Counts one connection less.
    pub fn remove(&mut self, id: SecretId) {
        let Some(entry) = self.in_use.get_mut(id.0 as usize) else { return };
        let Some(in_use) = entry else { return };
        in_use.connections -= 1;
        if in_use.connections == 0 {
            self.ids.remove(&in_use.grant);
            *entry = None;
            self.vacant.push(id.0);
        }
    }

    /// The grant of a number.
    pub fn get(&self, id: SecretId) -> Option<&Grant> {
        self.in_use.get(id.0 as usize)?.as_ref().map(|in_use| &in_use.grant)
    }

    /// All that are in use.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.in_use.iter().flatten().map(|in_use| &in_use.grant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::environment_id::EnvironmentId;

    fn grant(number: u8) -> Grant {
        let secret = Secret::build([number; 16], EnvironmentId::from_bytes([7; 16]));
        Grant { secret, slot: EnvironmentSlot(0), kind: SecretKind::Server }
    }

    #[test]
    fn a_secret_is_kept_once_and_only_while_it_is_in_use() {
        let mut table = SecretTable::default();
        let first = table.add(grant(1));
        assert_eq!(table.add(grant(1)), first);
        let second = table.add(grant(2));
        assert_ne!(first, second);
        table.remove(first);
        assert_eq!(table.iter().count(), 2);
        table.remove(first);
        assert_eq!(table.iter().collect::<Vec<_>>(), [&grant(2)]);
        assert_eq!(table.get(first), None);
        assert_eq!(table.add(grant(3)), first, "its number is free again");
    }

    #[test]
    fn one_secret_with_two_environments_or_kinds_has_two_numbers() {
        let mut table = SecretTable::default();
        let server = table.add(grant(1));
        let client = table.add(Grant { kind: SecretKind::Client, ..grant(1) });
        assert_ne!(server, client);
    }
}
