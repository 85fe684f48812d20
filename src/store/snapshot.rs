//! All data in service at one moment, as reactors read it.
//!
//! Must not change once published; reading it takes no lock. The writer builds the next snapshot, which shares everything
//! that did not change, and frees old ones.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::environment::{Environment, EnvironmentSlot};
use super::item::{Item, ItemKind};
use super::table::Table;
use crate::eval::Segments;
use crate::model::environment_id::EnvironmentId;
use crate::model::secret::{SecretDef, SecretKind};
use crate::payload::{Parts, Payload};
use crate::protocol::secret::Secret;
use crate::protocol::to_relay;

/// What a secret gives access to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretEntry {
    /// Which SDKs it is for.
    pub kind: SecretKind,
    /// The environment that it gives access to.
    pub slot: EnvironmentSlot,
    /// If its type was changed: the former type and environment, until their grace period ends.
    pub former: Option<(SecretKind, EnvironmentSlot)>,
}

impl SecretEntry {
    /// The environment that it gives SDKs of this kind access to.
    pub fn opens_to(&self, kind: SecretKind) -> Option<EnvironmentSlot> {
        let former = self.former.filter(|former| former.0 == kind).map(|former| former.1);
        if self.kind == kind { Some(self.slot) } else { former }
    }

    /// Whether it gives any SDKs access to this environment.
    pub(super) fn opens(&self, slot: EnvironmentSlot) -> bool {
        self.slot == slot || self.former.is_some_and(|former| former.1 == slot)
    }
}

pub(super) type Secrets = HashMap<Secret, SecretEntry, foldhash::fast::RandomState>;

/// Everything in service after one publish.
#[derive(Clone)]
pub struct Snapshot {
    pub(super) sequence: u64,
    pub(super) data_version: i64,
    pub(super) loaded: bool,
    pub(super) answered: u64,
    pub(super) membership: u64,
    pub(super) secrets: Arc<Secrets>,
    /// By slot. Environments that are no longer in the dataset stay until their grace period ends.
    pub(super) environments: Box<[Option<Arc<Environment>>]>,
    /// The environments of the dataset, in its order.
    pub(super) order: Arc<[EnvironmentSlot]>,
    /// The same environments by id.
    pub(super) listed: Arc<HashMap<EnvironmentId, EnvironmentSlot, foldhash::fast::RandomState>>,
    pub(super) segments: Segments,
}

impl Snapshot {
    /// The snapshot before any data has been loaded.
    pub fn empty() -> Arc<Self> {
        Arc::new(Self {
            sequence: 0,
            data_version: 0,
            loaded: false,
            answered: 0,
            membership: 0,
            secrets: Arc::default(),
            environments: Box::default(),
            order: Arc::from([]),
            listed: Arc::default(),
            segments: Segments::default(),
        })
    }

    /// The publish sequence: grows with every publish.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The highest `updatedAt` ever seen, in Unix milliseconds; never goes down. 0 before there is one.
    pub fn data_version(&self) -> i64 {
        self.data_version
    }

    /// Whether a dataset has been loaded.
    pub fn loaded(&self) -> bool {
        self.loaded
    }

    /// The number of the last full sync that this data answers. A secret that the data lacks is certainly invalid if an SDK
    /// first sent it before that full sync was requested. `u64::MAX` outside agent mode, where loaded data is always
    /// complete.
    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// What a secret gives access to; `None` if it is unknown. A secret that the dataset no longer lists is known until its
    /// grace period has ended.
    pub fn secret(&self, secret: &Secret) -> Option<SecretEntry> {
        self.secrets.get(secret).copied()
    }

    /// The environment at `slot`. One that the dataset no longer has stays until its grace period has ended.
    pub fn environment(&self, slot: EnvironmentSlot) -> Option<&Arc<Environment>> {
        self.environments.get(slot.0 as usize)?.as_ref()
    }

    /// The environments of the dataset, in its order.
    pub fn environments(&self) -> impl Iterator<Item = &Arc<Environment>> {
        self.order.iter().filter_map(|slot| self.environment(*slot))
    }

    /// The places of these items among all of their kind in an environment, as far as they are in service. Looks at every
    /// item.
    pub fn places_of<'i>(
        &self,
        environment: EnvironmentId,
        kind: ItemKind,
        ids: impl Iterator<Item = &'i str>,
    ) -> HashMap<&'i str, usize> {
        fn places<'i, T: Item>(table: &Table<T>, wanted: &HashSet<&'i str>) -> HashMap<&'i str, usize> {
            let entries = table.entries().enumerate();
            let found = entries.filter_map(|(place, entry)| Some((*wanted.get(&*entry.source().id)?, place)));
            found.collect()
        }
        let wanted: HashSet<&str> = ids.collect();
        let slot = self.listed.get(&environment);
        match (slot.and_then(|slot| self.environment(*slot)), kind) {
            (Some(environment), ItemKind::Flag) => places(&environment.flags, &wanted),
            (Some(environment), ItemKind::Segment) => places(&environment.segments, &wanted),
            (None, _) => HashMap::new(),
        }
    }

    /// Whether the dataset has this environment.
    pub fn holds(&self, id: EnvironmentId) -> bool {
        self.listed.contains_key(&id)
    }

    /// The environment of the dataset with this id.
    pub fn listed_environment(&self, id: EnvironmentId) -> Option<&Arc<Environment>> {
        self.listed.get(&id).and_then(|slot| self.environment(*slot))
    }

    /// The label of an environment of the dataset; the id of any other.
    pub fn label_of(&self, id: EnvironmentId) -> String {
        let found = self.listed_environment(id);
        found.map_or_else(|| id.to_string(), |environment| environment.label().to_string())
    }

    pub(super) fn environment_mut(&mut self, slot: EnvironmentSlot) -> Option<&mut Arc<Environment>> {
        self.environments.get_mut(slot.0 as usize)?.as_mut()
    }

    /// Puts an environment in its slot.
    pub(super) fn put(&mut self, environment: Arc<Environment>) {
        let at = environment.slot.0 as usize;
        if self.environments.len() <= at {
            let mut longer = std::mem::take(&mut self.environments).into_vec();
            longer.resize(at + 1, None);
            self.environments = longer.into_boxed_slice();
        }
        self.environments[at] = Some(environment);
    }

    /// Removes an environment from its slot and returns it.
    pub(super) fn take(&mut self, slot: EnvironmentSlot) -> Option<Arc<Environment>> {
        self.environments.get_mut(slot.0 as usize)?.take()
    }

    /// Sets which environments the dataset has, in its order. They must be in their slots already.
    pub(super) fn set_order(&mut self, order: &[EnvironmentSlot]) {
        self.order = Arc::from(order);
        self.listed = Arc::new(self.environments().map(|one| (one.id, one.slot)).collect());
    }

    /// The environments of the dataset, in its order, then those in their grace period.
    pub(super) fn in_order(&self) -> Vec<&Arc<Environment>> {
        let mut listed = vec![false; self.environments.len()];
        for slot in self.order.iter() {
            listed[slot.0 as usize] = true;
        }
        let others = self.environments.iter().zip(listed).filter(|(_, listed)| !listed);
        self.environments().chain(others.filter_map(|(environment, _)| environment.as_ref())).collect()
    }

    /// The segments for evaluation.
    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// How many secrets are valid, including those in their grace period.
    pub fn secret_count(&self) -> usize {
        self.secrets.len()
    }

    /// `projectKey:envKey` of the first secret of each environment, joined by commas.
    pub fn serves(&self) -> String {
        let mut serves = String::new();
        for environment in self.served() {
            if !serves.is_empty() {
                serves.push(',');
            }
            serves.push_str(environment.label());
        }
        serves
    }

    /// The environments of the dataset that have secrets.
    pub(super) fn served(&self) -> impl Iterator<Item = &Arc<Environment>> {
        self.environments().filter(|environment| !environment.secrets.is_empty())
    }

    /// A dump that the bootstrap call accepts: the environments that have secrets, with the source's JSON of flags and
    /// segments. Shares its bytes with the full payloads of large environments.
    pub fn backup(&self) -> Payload {
        self.backup_of(|_| true)
    }

    /// The same for the environments that `wanted` accepts.
    pub fn backup_of(&self, wanted: impl Fn(EnvironmentId) -> bool) -> Payload {
        let mut runs = Vec::new();
        let mut text = to_relay::DUMP_START.as_bytes().to_vec();
        for (index, environment) in self.served().filter(|one| wanted(one.id)).enumerate() {
            if index > 0 {
                text.push(b',');
            }
            environment.append_backup(&mut text, &mut runs);
        }
        text.extend_from_slice(to_relay::DUMP_END.as_bytes());
        runs.push(Arc::from(text));
        Payload::Parts(Arc::new(Parts::new(runs)))
    }

    /// Appends the dump of [`Self::backup`].
    pub fn append_backup(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.backup().to_vec());
    }
}

impl Environment {
    /// Appends the environment's part of a dump. `text` collects what comes before the next of `runs`.
    pub(super) fn append_backup(&self, text: &mut Vec<u8>, runs: &mut Vec<Arc<[u8]>>) {
        let secrets = self.secrets.iter().map(|secret| SecretDef {
            kind: secret.kind,
            project_key: &secret.project_key,
            env_id: self.id,
            env_key: &secret.env_key,
            value: secret.value.as_str(),
        });
        to_relay::append_environment_start(self.id, secrets, text);
        runs.push(Arc::from(std::mem::take(text)));
        self.flags.append_source_json(runs);
        runs.push(Arc::from(to_relay::SEGMENTS.as_bytes()));
        self.segments.append_source_json(runs);
        text.extend_from_slice(to_relay::ENVIRONMENT_END.as_bytes());
    }
}

/// Prints counts only: secrets and items must not get into logs.
impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Snapshot(sequence {}, {} environments)", self.sequence, self.order.len())
    }
}
