//! What a publish changed, by name, for the log.
//!
//! Must not name items that SDKs do not get, nor a thousand items: the first are named, the others counted.

use std::fmt;
use std::sync::Arc;

use super::change::{Change, ItemChange};
use super::item::ItemKind;

/// How many environments are named; the others are counted.
const ENVIRONMENTS_MAX: usize = 5;
/// How many flags and segments of an environment are named; the others are counted.
const NAMES_MAX: usize = 5;
/// The most characters of a name.
const NAME_CHARS_MAX: usize = 60;

/// The names of flags and segments that a publish changed: `shop:dev: search, cart (new), old (removed), and 3 more`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangedNames {
    environments: Vec<(Arc<str>, Vec<String>, usize)>,
    more: usize,
}

impl ChangedNames {
    /// The names of what `change` changes for SDKs.
    pub fn of(change: &Change) -> Self {
        let mut names = Self::default();
        for slot in &change.environments {
            let Some(environment) = change.snapshot.environment(*slot) else { continue };
            let mut changed = change.items_of(*slot).filter_map(name_of).peekable();
            if changed.peek().is_none() {
                continue;
            }
            if names.environments.len() == ENVIRONMENTS_MAX {
                names.more += 1;
                continue;
            }
            let list: Vec<_> = changed.by_ref().take(NAMES_MAX).collect();
            names.environments.push((environment.label().clone(), list, changed.count()));
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

/// The name of a changed item for the log; `None` if the change is not logged.
fn name_of(change: &ItemChange) -> Option<String> {
    let (item, what) = match change {
        ItemChange::Added(item) => (item, " (new)"),
        ItemChange::Changed(item) => (item, ""),
        ItemChange::Removed(removed) => (removed.item.as_ref()?, " (removed)"),
        ItemChange::Reformatted(_) => return None,
    };
    let kind = match item.kind() {
        ItemKind::Flag => "",
        ItemKind::Segment => "segment ",
    };
    let name = format!("{kind}{}", item.name());
    let end = name.char_indices().nth(NAME_CHARS_MAX).map(|(end, _)| end);
    let (name, cut) = end.map_or((&*name, ""), |end| (&name[..end], "…"));
    Some(format!("{name}{cut}{what}"))
}
