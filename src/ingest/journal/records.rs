//! The records of a change.
//!
//! A change is one group of records: `Head`, then for each environment `Environment`, `Items` and `Removed`, and last
//! `Access`. Their bodies are postcard's encoding of the types below; fields are only ever added by a new kind of record or a
//! new version of the file's format. Remaining times are written with the time of day, so that a restart knows how much of
//! them is left.

use serde::{Deserialize, Serialize};

use crate::model::environment_id::EnvironmentId;
use crate::model::secret::SecretKind;
use crate::store::{
    Access, ContentsDelta, Delta, EnvironmentDelta, ItemKind, ItemState, ListedSecret, Removals,
    TombstoneState,
};

/// The kinds of records.
pub(super) mod kind {
    pub const HEAD: u8 = 1;
    pub const ENVIRONMENT: u8 = 2;
    pub const ITEMS: u8 = 3;
    pub const REMOVED: u8 = 4;
    pub const ACCESS: u8 = 5;
}

/// Items are cut into records of about this many bytes, so that no record is as large as a dataset.
const ITEMS_BYTES: usize = 256 * 1024;

#[derive(Serialize, Deserialize)]
pub(super) struct Head<'a> {
    pub is_full_state: bool,
    pub edition_ms: i64,
    pub edition_instance: &'a str,
    pub highest_edition_ms: i64,
    pub list_ms: i64,
    pub list_instance: &'a str,
    pub data_file: Option<&'a str>,
    pub loaded: bool,
    pub data_version: i64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Environment<'a> {
    pub id: [u8; 16],
    pub highest_ms: i64,
    pub requested_ms: i64,
    pub highest_updated_at_ms: i64,
    #[serde(borrow)]
    pub contents: Contents<'a>,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Contents<'a> {
    Gone,
    All {
        #[serde(borrow)]
        secrets: Vec<Secret<'a>>,
        removals: [i64; 3],
    },
    Some {
        #[serde(borrow)]
        secrets: Option<Vec<Secret<'a>>>,
        removals: [i64; 3],
    },
}

#[derive(Serialize, Deserialize)]
pub(super) struct Secret<'a> {
    pub is_server: bool,
    pub project_key: &'a str,
    pub env_key: &'a str,
    pub value: &'a str,
}

/// Items of the environment whose record came last.
#[derive(Serialize, Deserialize)]
pub(super) struct Items<'a> {
    pub are_flags: bool,
    #[serde(borrow)]
    pub items: Vec<Item<'a>>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Item<'a> {
    pub id: &'a str,
    pub json: &'a str,
    pub version_ms: i64,
    pub client_version_ms: i64,
    pub is_served: bool,
}

/// Removed items of the environment whose record came last.
#[derive(Serialize, Deserialize)]
pub(super) struct Removed<'a> {
    #[serde(borrow)]
    pub items: Vec<Tombstone<'a>>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Tombstone<'a> {
    pub is_flag: bool,
    pub id: &'a str,
    pub updated_at_ms: i64,
    pub removed_at_ms: i64,
}

#[derive(Serialize, Deserialize)]
pub(super) struct AccessList<'a> {
    /// When this was written, in Unix milliseconds.
    pub at_ms: i64,
    pub order: Vec<[u8; 16]>,
    #[serde(borrow)]
    pub secrets: Vec<ValidSecret<'a>>,
    pub leaving: Vec<([u8; 16], i64)>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ValidSecret<'a> {
    pub value: &'a str,
    pub is_server: bool,
    pub environment: [u8; 16],
    pub grace_ms: Option<i64>,
    pub former: Option<(bool, [u8; 16], i64)>,
}

/// Hands the records of a change to `out`, one after the other. `at_ms`: when the change was made, in Unix milliseconds.
pub fn write(delta: &Delta, at_ms: i64, out: &mut dyn FnMut(u8, &[u8])) {
    let head = &delta.head;
    put(
        out,
        kind::HEAD,
        &Head {
            is_full_state: delta.is_full_state,
            edition_ms: head.edition.opened_at_ms,
            edition_instance: &head.edition.instance,
            highest_edition_ms: head.highest_edition_ms,
            list_ms: head.list.changed_at_ms,
            list_instance: &head.list.instance,
            data_file: head.data_file.as_deref(),
            loaded: head.loaded,
            data_version: head.data_version,
        },
    );
    delta.environments.iter().for_each(|environment| write_environment(environment, out));
    if let Some(access) = &delta.access {
        put(out, kind::ACCESS, &access_list(access, at_ms));
    }
}

fn write_environment(environment: &EnvironmentDelta, out: &mut dyn FnMut(u8, &[u8])) {
    let (contents, flags, segments, removed): (_, &[ItemState], &[ItemState], &[TombstoneState]) =
        match &environment.contents {
            ContentsDelta::Gone => (Contents::Gone, &[], &[], &[]),
            ContentsDelta::All(all) => (
                Contents::All { secrets: secrets(&all.secrets), removals: removals(all.removals) },
                &all.flags,
                &all.segments,
                &all.tombstones,
            ),
            ContentsDelta::Some(some) => (
                Contents::Some {
                    secrets: some.secrets.as_ref().map(|listed| secrets(listed)),
                    removals: removals(some.removals),
                },
                &some.flags,
                &some.segments,
                &some.removed,
            ),
        };
    let versions = environment.versions;
    put(
        out,
        kind::ENVIRONMENT,
        &Environment {
            id: *environment.id.as_bytes(),
            highest_ms: versions.highest_ms,
            requested_ms: versions.requested_ms,
            highest_updated_at_ms: versions.highest_updated_at_ms,
            contents,
        },
    );
    write_items(true, flags, out);
    write_items(false, segments, out);
    for removed in removed.chunks(1024) {
        let items = removed.iter().map(|one| Tombstone {
            is_flag: one.kind == ItemKind::Flag,
            id: &one.id,
            updated_at_ms: one.updated_at_ms,
            removed_at_ms: one.removed_at_ms,
        });
        put(out, kind::REMOVED, &Removed { items: items.collect() });
    }
}

fn write_items(are_flags: bool, states: &[ItemState], out: &mut dyn FnMut(u8, &[u8])) {
    let mut items = Vec::new();
    let mut bytes = 0;
    for state in states {
        bytes += state.id.len() + state.json.len();
        items.push(Item {
            id: &state.id,
            json: &state.json,
            version_ms: state.version_ms,
            client_version_ms: state.client_version_ms,
            is_served: state.is_served,
        });
        if bytes >= ITEMS_BYTES {
            put(out, kind::ITEMS, &Items { are_flags, items: std::mem::take(&mut items) });
            bytes = 0;
        }
    }
    if !items.is_empty() {
        put(out, kind::ITEMS, &Items { are_flags, items });
    }
}

fn secrets(listed: &[ListedSecret]) -> Vec<Secret<'_>> {
    let secrets = listed.iter().map(|secret| Secret {
        is_server: secret.kind == SecretKind::Server,
        project_key: &secret.project_key,
        env_key: &secret.env_key,
        value: secret.value.as_str(),
    });
    secrets.collect()
}

fn removals(removals: Removals) -> [i64; 3] {
    [removals.server_version_ms, removals.client_version_ms, removals.relay_watermark_ms]
}

fn access_list(access: &Access, at_ms: i64) -> AccessList<'_> {
    let bytes = |id: &EnvironmentId| *id.as_bytes();
    let secrets = access.secrets.iter().map(|state| ValidSecret {
        value: state.value.as_str(),
        is_server: state.kind == SecretKind::Server,
        environment: bytes(&state.environment),
        grace_ms: state.grace_ms,
        former: state
            .former
            .as_ref()
            .map(|former| (former.kind == SecretKind::Server, bytes(&former.environment), former.grace_ms)),
    });
    AccessList {
        at_ms,
        order: access.order.iter().map(bytes).collect(),
        secrets: secrets.collect(),
        leaving: access.leaving.iter().map(|(id, left_ms)| (bytes(id), *left_ms)).collect(),
    }
}

fn put(out: &mut dyn FnMut(u8, &[u8]), kind: u8, record: &impl Serialize) {
    // Fails only if memory is short: then the process ends anyway.
    if let Ok(body) = postcard::to_allocvec(record) {
        out(kind, &body);
    }
}
