//! The numbers of the thread that watches files of keys.

use std::fmt::Error;

use super::cell::Counter;
use super::labels::Reload;
use super::page::Page;

/// See the module. No other thread may write them.
#[derive(Debug, Default)]
pub struct KeyMetrics {
    reloads: [Counter; Reload::COUNT],
}

impl KeyMetrics {
    /// A changed file was looked at.
    pub fn reloaded(&self, outcome: Reload) {
        self.reloads[outcome as usize].add(1);
    }

    pub(super) fn encode(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let reloads = Reload::ALL
            .iter()
            .map(|outcome| ([("outcome", outcome.as_str())], self.reloads[*outcome as usize].get()));
        page.counters("key_reloads", "Changed files of keys, by what came of them.", reloads)
    }
}
