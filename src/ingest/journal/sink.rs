//! Gives every change to the thread that writes the backup file.
//!
//! Must not block. The file begins with a whole state: until it has one, changes are not written, since that will
//! contain them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::records;
use crate::config::Secret;
use crate::ingest::sink::{Answer, ChangeSink, PublishedChange};
use crate::persist::journal::{Done, Journal, Records};
use crate::store::{Delta, Snapshot};

/// A change on its way to the file.
struct Group {
    delta: Arc<Delta>,
    at_ms: i64,
}

impl Records for Group {
    fn write(&self, out: &mut dyn FnMut(u8, &[u8])) {
        records::write(&self.delta, self.at_ms, out);
    }
}

/// Whether the journal asks for a whole state. Set on its thread, taken on the sync thread.
pub type WantsFullState = Arc<AtomicBool>;

/// Keeps every change in the backup file.
pub struct JournalSink {
    /// `None` after the end.
    journal: Option<Arc<Journal>>,
    wants_full_state: WantsFullState,
    /// Whether the file begins with a whole state.
    has_begun: bool,
    /// Answers that wait for it.
    waiting: Vec<Arc<Answer>>,
}

impl JournalSink {
    /// A sink that gives changes to `journal`, which sets `wants_full_state`. `has_begun`: the file begins with the state that
    /// was restored from it.
    pub fn new(journal: Arc<Journal>, wants_full_state: WantsFullState, has_begun: bool) -> Self {
        Self { journal: Some(journal), wants_full_state, has_begun, waiting: Vec::new() }
    }
}

impl ChangeSink for JournalSink {
    fn accept(&mut self, change: &PublishedChange<'_>) {
        if !self.has_begun {
            self.waiting.extend(change.answer.cloned());
            self.wants_full_state.store(true, Ordering::Release);
            return;
        }
        let group = Group { delta: Arc::clone(change.delta), at_ms: change.at_ms };
        if let Some(journal) = &self.journal {
            journal.append(Box::new(group), done(change.answer.cloned().into_iter().collect()));
        }
    }

    fn wants_full_state(&mut self) -> bool {
        self.wants_full_state.swap(false, Ordering::AcqRel)
    }

    fn keep_full_state(&mut self, whole: &Arc<Delta>, _snapshot: &Snapshot, at_ms: i64) {
        self.has_begun = true;
        let group = Group { delta: Arc::clone(whole), at_ms };
        if let Some(journal) = &self.journal {
            journal.replace(Box::new(group), done(std::mem::take(&mut self.waiting)));
        }
    }

    /// A restart with the new key must find its own file, not that of another key.
    fn set_key(&mut self, key: &Secret) {
        if let Some(journal) = &self.journal {
            journal.set_fingerprint(fingerprint(key.expose()));
            self.wants_full_state.store(true, Ordering::Release);
        }
    }

    fn stop(&mut self, within: Duration) {
        if let Some(journal) = self.journal.take() {
            journal.stop(within);
        }
    }
}

/// What tells the files of different keys apart.
pub fn fingerprint(api_key: &str) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(b"featbit-agent backup file of ");
    hasher.update(api_key.as_bytes());
    hasher.finalize().into()
}

/// Lets go of the answers when the group is durable, and fails them if it will not be.
fn done(answers: Vec<Arc<Answer>>) -> Option<Done> {
    if answers.is_empty() {
        return None;
    }
    Some(Box::new(move |result| {
        if let Err(reason) = result {
            answers.iter().for_each(|answer| answer.fail(&reason));
        }
    }))
}
