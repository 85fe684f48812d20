//! What a publish changed, by name, for the log.
//!
//! Must not look at what two snapshots share: a load that changes one flag of ten thousand costs next to nothing here.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use super::change::Change;
use super::item::Item;
use super::snapshot::Snapshot;
use super::table::{Chunk, Entry, Table};

/// Environments that are named; further ones are counted.
const ENVIRONMENTS_MAX: usize = 5;
/// Flags and segments of an environment that are named; further ones are counted.
const NAMES_MAX: usize = 5;
/// The longest name.
const NAME_CHARS_MAX: usize = 60;

/// What became of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Changed,
    New,
    Gone,
}

/// The names of flags and segments that a publish changed: `shop:dev: search, cart (new), old (gone), and 3 more`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangedNames {
    environments: Vec<(Arc<str>, Vec<String>, usize)>,
    more: usize,
}

impl ChangedNames {
    /// Of `change`, which came after `before`.
    pub fn of(before: &Snapshot, change: &Change) -> Self {
        let mut names = Self::default();
        for slot in &change.environments {
            let Some(environment) = change.snapshot.environment(*slot) else { continue };
            let old = before.environment(*slot);
            let mut list = Vec::new();
            let key = |entry: &Entry<super::item::FlagData>| entry.data.flag.key().to_owned();
            compare(old.map(|old| &old.flags), &environment.flags, key, &mut list);
            let id = |entry: &Entry<super::item::SegmentData>| format!("segment {}", entry.data.text.id);
            compare(old.map(|old| &old.segments), &environment.segments, id, &mut list);
            if list.is_empty() {
                continue;
            }
            if names.environments.len() == ENVIRONMENTS_MAX {
                names.more += 1;
                continue;
            }
            let more = list.len().saturating_sub(NAMES_MAX);
            list.truncate(NAMES_MAX);
            let list = list.into_iter().map(|(name, what)| written(&name, what)).collect();
            names.environments.push((environment.label().clone(), list, more));
        }
        names
    }
}

impl fmt::Display for ChangedNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (label, names, more)) in self.environments.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{label}: {}", names.join(", "))?;
            if *more > 0 {
                write!(f, ", and {more} more")?;
            }
        }
        if self.more > 0 {
            write!(f, "; and {} more environments", self.more)?;
        }
        Ok(())
    }
}

fn written(name: &str, what: What) -> String {
    let end = name.char_indices().nth(NAME_CHARS_MAX).map(|(end, _)| end);
    let (name, cut) = end.map_or((name, ""), |end| (&name[..end], "…"));
    let what = match what {
        What::Changed => "",
        What::New => " (new)",
        What::Gone => " (gone)",
    };
    format!("{name}{cut}{what}")
}

/// Adds to `names` what differs: changed and new items in their order, then those that are gone.
fn compare<T: Item>(
    before: Option<&Table<T>>,
    after: &Table<T>,
    name: impl Fn(&Entry<T>) -> String,
    names: &mut Vec<(String, What)>,
) {
    let chunks =
        |table: &Table<T>| -> HashSet<*const Chunk<T>> { table.chunks().iter().map(Arc::as_ptr).collect() };
    let (olds, news) = (before.map(chunks).unwrap_or_default(), chunks(after));
    let own = |table: &'_ Table<T>, others: &HashSet<*const Chunk<T>>| -> Vec<Arc<Chunk<T>>> {
        table.chunks().iter().filter(|chunk| !others.contains(&Arc::as_ptr(chunk))).cloned().collect()
    };
    let old_chunks = before.map(|before| own(before, &news)).unwrap_or_default();
    let mut old: HashMap<&str, &Entry<T>> = HashMap::new();
    for entry in old_chunks.iter().flat_map(|chunk| chunk.entries()) {
        old.insert(&entry.data.text().id, entry);
    }
    let new_chunks = own(after, &olds);
    for entry in new_chunks.iter().flat_map(|chunk| chunk.entries()) {
        match old.remove(&*entry.data.text().id) {
            Some(old) if Arc::ptr_eq(&old.data, &entry.data) => {}
            Some(_) => names.push((name(entry), What::Changed)),
            None => names.push((name(entry), What::New)),
        }
    }
    for entry in old_chunks.iter().flat_map(|chunk| chunk.entries()) {
        if old.remove(&*entry.data.text().id).is_some() {
            names.push((name(entry), What::Gone));
        }
    }
}
