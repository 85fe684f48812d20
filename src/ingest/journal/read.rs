//! A state from the records of a backup file.
//!
//! Must not panic, whatever the records are: a file may come from another version of the agent, or from a disk that lies. It
//! stops at the first group that it cannot use; all before that is the state.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;

use super::records::{self, Contents, kind};
use crate::model::environment_id::EnvironmentId;
use crate::model::secret::SecretKind;
use crate::model::stamp::{Edition, ListStamp};
use crate::protocol::secret::Secret;
use crate::store::{
    Access, Contents as AllContents, ContentsDelta, ContentsPatch, Delta, EnvironmentDelta, FormerUse, Head,
    ItemJson, ItemKind, ItemState, ListedSecret, Removals, Replay, SecretState, State, TombstoneState,
    Versions,
};

/// Why a group of records cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// A record of this kind is not known.
    UnknownKind(u8),
    /// A record of this kind cannot be decoded, or holds an impossible value.
    Invalid(u8),
    /// A record is where it cannot be, such as items without an environment.
    Misplaced(u8),
    /// The first group is not a whole state.
    NoStart,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKind(kind) => write!(f, "a record of the unknown kind {kind}"),
            Self::Invalid(kind) => write!(f, "a record of the kind {kind} cannot be decoded"),
            Self::Misplaced(kind) => write!(f, "a record of the kind {kind} is in a wrong place"),
            Self::NoStart => f.write_str("it does not begin with a whole state"),
        }
    }
}

impl std::error::Error for ReadError {}

/// A state under construction, from the groups of a file.
#[derive(Default)]
pub struct Recovery {
    replay: Replay,
    started: bool,
    /// When the list of secrets was written, in Unix milliseconds: what was left of grace periods then.
    access_at_ms: i64,
    groups: u64,
}

impl Recovery {
    /// Applies a group of records, or nothing of it. Items refer to their records, which are not copied.
    ///
    /// # Errors
    /// If a record cannot be used. The state is that of the groups before.
    pub fn apply(&mut self, group: impl Iterator<Item = (u8, impl Into<Bytes>)>) -> Result<(), ReadError> {
        let mut reading = Reading::default();
        for (kind, body) in group {
            reading.record(kind, &body.into())?;
        }
        let (delta, access_at_ms) = reading.finish()?;
        if !self.started && !delta.is_full_state {
            return Err(ReadError::NoStart);
        }
        self.started = true;
        self.access_at_ms = access_at_ms.unwrap_or(self.access_at_ms);
        self.groups += 1;
        self.replay.apply(delta);
        Ok(())
    }

    /// How many groups were applied.
    pub fn groups(&self) -> u64 {
        self.groups
    }

    /// The state. Grace periods have what is left of them at `now_ms`; never more than was left when they were written,
    /// whatever the clock says.
    pub fn finish(self, now_ms: i64) -> State {
        let mut state = self.replay.finish();
        let passed_ms = now_ms.saturating_sub(self.access_at_ms).max(0);
        let left = |left_ms: i64| left_ms.saturating_sub(passed_ms).max(0);
        for secret in &mut state.access.secrets {
            secret.grace_ms = secret.grace_ms.map(left);
            secret.former.iter_mut().for_each(|former| former.grace_ms = left(former.grace_ms));
        }
        state.access.leaving.iter_mut().for_each(|(_, left_ms)| *left_ms = left(*left_ms));
        state
    }
}

/// One group while it is read.
#[derive(Default)]
struct Reading {
    head: Option<(bool, Head)>,
    environments: Vec<EnvironmentDelta>,
    access: Option<(i64, Access)>,
}

impl Reading {
    fn record(&mut self, kind: u8, body: &Bytes) -> Result<(), ReadError> {
        let invalid = ReadError::Invalid(kind);
        match kind {
            kind::HEAD if self.head.is_some() => return Err(ReadError::Misplaced(kind)),
            kind::HEAD => self.head = Some(head(&decode(kind, body)?)),
            kind::ENVIRONMENT => {
                let environment: records::Environment<'_> = decode(kind, body)?;
                self.environments.push(environment_of(environment).ok_or(invalid)?);
            }
            kind::ITEMS => {
                let items: records::Items<'_> = decode(kind, body)?;
                let (flags, segments) = self.lists().ok_or(ReadError::Misplaced(kind))?;
                let list = if items.are_flags { flags } else { segments };
                list.extend(items.items.into_iter().map(|record| item(record, body)));
            }
            kind::REMOVED => {
                let removed: records::Removed<'_> = decode(kind, body)?;
                let list = self.tombstones().ok_or(ReadError::Misplaced(kind))?;
                list.extend(removed.items.into_iter().map(tombstone));
            }
            kind::ACCESS => self.access = Some(access(decode(kind, body)?).ok_or(invalid)?),
            unknown => return Err(ReadError::UnknownKind(unknown)),
        }
        Ok(())
    }

    fn lists(&mut self) -> Option<(&mut Vec<ItemState>, &mut Vec<ItemState>)> {
        match &mut self.environments.last_mut()?.contents {
            ContentsDelta::Gone => None,
            ContentsDelta::All(all) => Some((&mut all.flags, &mut all.segments)),
            ContentsDelta::Some(some) => Some((&mut some.flags, &mut some.segments)),
        }
    }

    fn tombstones(&mut self) -> Option<&mut Vec<TombstoneState>> {
        match &mut self.environments.last_mut()?.contents {
            ContentsDelta::Gone => None,
            ContentsDelta::All(all) => Some(&mut all.tombstones),
            ContentsDelta::Some(some) => Some(&mut some.removed),
        }
    }

    fn finish(self) -> Result<(Delta, Option<i64>), ReadError> {
        let (is_full_state, head) = self.head.ok_or(ReadError::Misplaced(kind::HEAD))?;
        let (at_ms, access) = self.access.unzip();
        Ok((Delta { is_full_state, head, environments: self.environments, access }, at_ms))
    }
}

fn decode<'a, T: Deserialize<'a>>(kind: u8, body: &'a [u8]) -> Result<T, ReadError> {
    postcard::from_bytes(body).map_err(|_| ReadError::Invalid(kind))
}

fn head(record: &records::Head<'_>) -> (bool, Head) {
    let head = Head {
        edition: Edition { opened_at_ms: record.edition_ms, instance: record.edition_instance.to_owned() },
        highest_edition_ms: record.highest_edition_ms,
        list: ListStamp { changed_at_ms: record.list_ms, instance: record.list_instance.to_owned() },
        data_file: record.data_file.map(Into::into),
        loaded: record.loaded,
        data_version: record.data_version,
    };
    (record.is_full_state, head)
}

fn environment_of(record: records::Environment<'_>) -> Option<EnvironmentDelta> {
    let contents = match record.contents {
        Contents::Gone => ContentsDelta::Gone,
        Contents::All { secrets, removals } => ContentsDelta::All(AllContents {
            secrets: listed(secrets)?,
            flags: Vec::new(),
            segments: Vec::new(),
            removals: removals_of(removals),
            tombstones: Vec::new(),
        }),
        Contents::Some { secrets, removals } => ContentsDelta::Some(ContentsPatch {
            secrets: match secrets {
                Some(secrets) => Some(listed(secrets)?),
                None => None,
            },
            flags: Vec::new(),
            segments: Vec::new(),
            removals: removals_of(removals),
            removed: Vec::new(),
        }),
    };
    let versions = Versions {
        highest_ms: record.highest_ms,
        requested_ms: record.requested_ms,
        highest_updated_at_ms: record.highest_updated_at_ms,
    };
    Some(EnvironmentDelta { id: EnvironmentId::from_bytes(record.id), versions, contents })
}

fn listed(secrets: Vec<records::Secret<'_>>) -> Option<Arc<[ListedSecret]>> {
    let listed = secrets.into_iter().map(|secret| {
        Some(ListedSecret {
            kind: secret_kind(secret.is_server),
            project_key: secret.project_key.into(),
            env_key: secret.env_key.into(),
            value: Secret::parse(secret.value)?,
        })
    });
    listed.collect()
}

fn removals_of([server_version_ms, client_version_ms, relay_watermark_ms]: [i64; 3]) -> Removals {
    Removals { server_version_ms, client_version_ms, relay_watermark_ms }
}

fn item(record: records::Item<'_>, body: &Bytes) -> ItemState {
    ItemState {
        id: record.id.into(),
        json: ItemJson::Read(body.slice_ref(record.json.as_bytes())),
        version_ms: record.version_ms,
        client_version_ms: record.client_version_ms,
        is_served: record.is_served,
    }
}

fn tombstone(record: records::Tombstone<'_>) -> TombstoneState {
    TombstoneState {
        kind: if record.is_flag { ItemKind::Flag } else { ItemKind::Segment },
        id: record.id.into(),
        updated_at_ms: record.updated_at_ms,
        removed_at_ms: record.removed_at_ms,
    }
}

fn access(record: records::AccessList<'_>) -> Option<(i64, Access)> {
    let secrets = record.secrets.into_iter().map(|secret| {
        let former = secret.former.map(|(is_server, environment, grace_ms)| FormerUse {
            kind: secret_kind(is_server),
            environment: EnvironmentId::from_bytes(environment),
            grace_ms,
        });
        Some(SecretState {
            value: Secret::parse(secret.value)?,
            kind: secret_kind(secret.is_server),
            environment: EnvironmentId::from_bytes(secret.environment),
            grace_ms: secret.grace_ms,
            former,
        })
    });
    let id = EnvironmentId::from_bytes;
    let access = Access {
        order: record.order.into_iter().map(id).collect(),
        secrets: secrets.collect::<Option<_>>()?,
        leaving: record.leaving.into_iter().map(|(bytes, left_ms)| (id(bytes), left_ms)).collect(),
    };
    Some((record.at_ms, access))
}

fn secret_kind(is_server: bool) -> SecretKind {
    if is_server { SecretKind::Server } else { SecretKind::Client }
}
