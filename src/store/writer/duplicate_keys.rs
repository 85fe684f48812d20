//! Several flags with the same key in one environment.
//!
//! Must not drop any of them: which one is served may change. A flag that was deleted and created again exists twice until
//! the next full sync. SDKs get one of the two: the Android SDK loses a message with both, and the Java SDK never becomes
//! ready.

use std::collections::HashMap;
use std::sync::Arc;

use super::edit::{Edit, raised};
use super::records::{Duplicates, Record};
use crate::model::dataset::Finding;
use crate::store::cache::Cache;
use crate::store::change::Report;
use crate::store::environment::Environment;
use crate::store::item::{FlagData, Served};
use crate::store::table::{Entry, Table};

/// Finds the flags that share a key, and flags that are still not served although they no longer share one.
pub(super) fn find_duplicates(flags: &Table<FlagData>) -> Duplicates {
    let mut by_key: HashMap<&str, (bool, Vec<&Entry<FlagData>>), foldhash::fast::RandomState> =
        HashMap::default();
    by_key.reserve(flags.len());
    for entry in flags.entries() {
        let (look, entries) = by_key.entry(entry.data.flag.key()).or_default();
        *look |= !entries.is_empty() || !entry.is_served();
        entries.push(entry);
    }
    let mut groups: Duplicates = by_key
        .into_values()
        .filter(|(look, _)| *look)
        .map(|(_, entries)| entries.iter().map(|entry| Arc::clone(&entry.source().id)).collect())
        .collect();
    groups.sort_unstable();
    groups
}

/// Serves one flag of each key: the newest that is not archived; of equally new ones, the one with the greater id. So all
/// agents choose the same flag, whatever the order of their items.
pub(super) fn serve_one_flag_per_key(
    environment: &mut Environment,
    record: &Record,
    edit: &mut Edit,
    sequence: u64,
    report: &mut Report,
) {
    let mut replaced = Vec::new();
    for ids in &record.duplicates {
        let places = ids.iter().filter_map(|id| record.flags.get(id).copied());
        let group: Vec<_> = places.filter_map(|at| Some((at, environment.flags.get(at)?))).collect();
        let rank = |entry: &Entry<FlagData>| {
            (!entry.data.flag.is_archived(), entry.source().updated_at_ms, Arc::clone(&entry.source().id))
        };
        let Some(to_serve) = group.iter().max_by_key(|(_, entry)| rank(entry)).map(|(at, _)| *at) else {
            continue;
        };
        for (at, entry) in group {
            if at == to_serve && !entry.is_served() {
                replaced.push((at, raised(entry, edit.versions.next_version(), sequence)));
            } else if at != to_serve && entry.is_served() {
                replaced.push((at, Entry { served: Served::Nothing, ..entry.clone() }));
                let path = format!("{}/{}", environment.label(), entry.data.flag.key());
                let message = format!(
                    "another flag of the environment has this key and is newer, or not archived: SDKs do not get the one \
                     with the id {}, since the Java SDK would never become ready, and the Android SDK lose the message",
                    entry.source().id
                );
                report.findings.push(Finding { path, message });
            }
        }
    }
    if !replaced.is_empty() {
        environment.flags = environment.flags.with(replaced, Vec::new());
        environment.cache = Cache::default();
    }
}
