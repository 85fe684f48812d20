//! Which environments and server secrets a dataset contains.
//!
//! Must not store a secret, only its hash.

use std::collections::HashSet;
use std::hash::BuildHasher;

use foldhash::quality::FixedState;

use crate::model::dataset::Dataset;
use crate::model::environment_id::EnvironmentId;
use crate::model::secret::SecretKind;

/// The environments and server secrets of a dataset. A server maps a connection to environments when it is opened, one
/// entry for each server secret. It pushes nothing of environments or secrets that were added later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    environments: HashSet<EnvironmentId>,
    server_secrets: HashSet<(EnvironmentId, u64)>,
}

impl Coverage {
    /// The coverage of a dataset.
    pub fn of(dataset: &Dataset<'_>) -> Self {
        let mut coverage = Self::default();
        for environment in &dataset.environments {
            coverage.environments.insert(environment.id);
            for secret in environment.secrets.iter().filter(|secret| secret.kind == SecretKind::Server) {
                coverage.add_secret(environment.id, secret.value);
            }
        }
        coverage
    }

    fn add_secret(&mut self, environment: EnvironmentId, value: &str) {
        self.server_secrets.insert((environment, FixedState::default().hash_one(value)));
    }

    /// Whether this one lacks an environment or a server secret of `other`.
    pub fn lacks(&self, other: &Coverage) -> bool {
        !other.environments.is_subset(&self.environments)
            || !other.server_secrets.is_subset(&self.server_secrets)
    }

    /// The environments that a server pushes: those with a server secret.
    pub fn pushed(&self) -> impl Iterator<Item = EnvironmentId> {
        self.server_secrets.iter().map(|(environment, _)| *environment)
    }

    /// Whether a server pushes the environment, since it has a server secret.
    pub fn is_pushed(&self, environment: EnvironmentId) -> bool {
        self.server_secrets.iter().any(|(other, _)| *other == environment)
    }
}

#[cfg(test)]
impl Coverage {
    /// The coverage of these environments with these server secrets, for tests.
    pub fn with(entries: &[(EnvironmentId, &[&str])]) -> Self {
        let mut coverage = Self::default();
        for (environment, secrets) in entries {
            coverage.environments.insert(*environment);
            secrets.iter().for_each(|secret| coverage.add_secret(*environment, secret));
        }
        coverage
    }
}
