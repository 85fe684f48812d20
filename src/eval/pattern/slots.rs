//! Which slot each group of a .NET pattern captures into.

use std::collections::{BTreeSet, HashMap};

/// How a capturing group names itself.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Group {
    /// The n-th group without a name, from 1.
    Unnamed(u32),
    Number(u32),
    Name(String),
}

/// Which slot each group captures into.
#[derive(Default)]
pub(super) struct Slots {
    pub(super) numbers: BTreeSet<u32>,
    pub(super) names: HashMap<String, u32>,
}

impl Slots {
    /// Unnamed groups come first, from 1; then names get the numbers that are left.
    pub(super) fn assign(groups: &[Group]) -> Self {
        let mut slots = Self::default();
        let mut next = 1;
        for group in groups {
            match group {
                Group::Unnamed(number) => {
                    slots.numbers.insert(*number);
                    next = next.max(number + 1);
                }
                Group::Number(number) => drop(slots.numbers.insert(*number)),
                Group::Name(_) => {}
            }
        }
        for group in groups {
            let Group::Name(name) = group else { continue };
            if slots.names.contains_key(name) {
                continue;
            }
            while slots.numbers.contains(&next) {
                next += 1;
            }
            slots.numbers.insert(next);
            slots.names.insert(name.clone(), next);
        }
        slots
    }

    /// The slot that `group` captures into.
    pub(super) fn of(&self, group: &Group) -> u32 {
        match group {
            Group::Unnamed(number) | Group::Number(number) => *number,
            Group::Name(name) => self.names.get(name).copied().unwrap_or(0),
        }
    }
}
