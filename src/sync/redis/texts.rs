//! Records as one message of a server, so that the parser of such messages reads them: what it cannot read it leaves out and
//! reports.
//!
//! Must not put a body into the text that is no JSON by itself: it would make the whole text unreadable.

use std::collections::{BTreeMap, HashMap};

use serde::de::IgnoredAny;

use super::records::Field;
use super::register::Register;
use crate::model::dataset::Dataset;
use crate::model::environment_id::EnvironmentId;
use crate::model::secret::{SecretDef, SecretKind};
use crate::persist::redis::Record;
use crate::protocol::to_relay::{
    END, ENVIRONMENT_END, FULL_START, PATCH_START, SEGMENTS, append_environment_start, append_full_end,
};
use crate::store::{ItemKind, TombstoneState};

/// Records by environment and kind, in the order of their places.
#[derive(Debug, Default)]
pub struct Sorted<'r> {
    items: BTreeMap<EnvironmentId, [Vec<(u32, &'r Record)>; 2]>,
    /// Removed items.
    pub(super) removals: Vec<(EnvironmentId, TombstoneState)>,
    /// The versions with which items were sent to SDKs.
    sent: HashMap<(EnvironmentId, ItemKind, &'r str), (i64, i64)>,
    /// Records that no agent has written.
    pub(super) unreadable: usize,
}

impl<'r> Sorted<'r> {
    /// Sorts records.
    pub fn of(records: &'r [Record]) -> Self {
        let mut sorted = Self::default();
        for record in records {
            if sorted.add(record).is_none() {
                sorted.unreadable += 1;
            }
        }
        for lists in sorted.items.values_mut() {
            for list in lists {
                list.sort_by(|(place, one), (other_place, other)| {
                    (place, &one.field).cmp(&(other_place, &other.field))
                });
            }
        }
        sorted
    }

    fn add(&mut self, record: &'r Record) -> Option<()> {
        let Field { environment, kind, id } = Field::parse(&record.field)?;
        let body = std::str::from_utf8(&record.body).ok()?;
        if record.removed {
            let removed_at_ms = body.parse().ok()?;
            let removal =
                TombstoneState { kind, id: id.into(), updated_at_ms: record.stamp_ms, removed_at_ms };
            self.removals.push((environment, removal));
            return Some(());
        }
        serde_json::from_str::<IgnoredAny>(body).ok()?;
        let list = usize::from(kind == ItemKind::Segment);
        self.items.entry(environment).or_default()[list].push((record.place, record));
        self.sent.insert((environment, kind, id), (record.version_ms, record.client_version_ms));
        Some(())
    }

    /// A patch with all items.
    pub fn patch(&self) -> Vec<u8> {
        let mut out = PATCH_START.as_bytes().to_vec();
        for (index, environment) in self.items.keys().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            append_environment_start(*environment, [], &mut out);
            self.append_items(*environment, &mut out);
        }
        out.extend_from_slice(END.as_bytes());
        out
    }

    /// A full sync with the environments of the register, and their items.
    pub fn full(&self, register: &Register) -> Vec<u8> {
        let mut out = FULL_START.as_bytes().to_vec();
        append_environments(register, &mut out, |environment, out| self.append_items(environment, out));
        append_full_end(false, false, &mut out);
        out
    }

    fn append_items(&self, environment: EnvironmentId, out: &mut Vec<u8>) {
        let none = [Vec::new(), Vec::new()];
        let [flags, segments] = self.items.get(&environment).unwrap_or(&none);
        append_bodies(flags, out);
        out.extend_from_slice(SEGMENTS.as_bytes());
        append_bodies(segments, out);
        out.extend_from_slice(ENVIRONMENT_END.as_bytes());
    }

    /// Sets the versions with which other agents have sent the items.
    pub fn set_sent_versions(&self, dataset: &mut Dataset<'_>) {
        for environment in &mut dataset.environments {
            for flag in &mut environment.flags {
                (flag.sent_ms, flag.client_sent_ms) = self.sent(flag.env_id, ItemKind::Flag, flag.id);
            }
            for segment in &mut environment.segments {
                segment.sent_ms = self.sent(segment.env_id, ItemKind::Segment, segment.id).0;
            }
        }
    }

    fn sent(&self, environment: EnvironmentId, kind: ItemKind, id: &str) -> (i64, i64) {
        self.sent.get(&(environment, kind, id)).copied().unwrap_or((i64::MIN, i64::MIN))
    }
}

/// A full sync with the environments of the register, without items.
pub(super) fn list(register: &Register) -> Vec<u8> {
    let mut out = FULL_START.as_bytes().to_vec();
    append_environments(register, &mut out, |_, out| {
        out.extend_from_slice(SEGMENTS.as_bytes());
        out.extend_from_slice(ENVIRONMENT_END.as_bytes());
    });
    append_full_end(false, false, &mut out);
    out
}

fn append_environments(
    register: &Register,
    out: &mut Vec<u8>,
    mut append_items: impl FnMut(EnvironmentId, &mut Vec<u8>),
) {
    let mut is_first = true;
    for environment in &register.environments {
        let Some(id) = EnvironmentId::parse(&environment.env_id) else { continue };
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        let secrets = environment.secrets.iter().map(|secret| SecretDef {
            kind: if secret.r#type == "server" { SecretKind::Server } else { SecretKind::Client },
            project_key: &secret.project_key,
            env_id: id,
            env_key: &secret.env_key,
            value: &secret.value,
        });
        append_environment_start(id, secrets, out);
        append_items(id, out);
    }
}

fn append_bodies(records: &[(u32, &Record)], out: &mut Vec<u8>) {
    for (index, (_, record)) in records.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&record.body);
    }
}
