//! Writes what this agent has: its changes, or whatever Redis lacks of everything.
//!
//! Must not write more than a chunk by one call, so that Redis never stands still for long.

use std::sync::atomic::Ordering::Relaxed;

use crate::model::stamp::Edition;

use super::calls::{Outcome, Problem, Staged};
use super::event::Event;
use super::mailbox::Command;
use super::reading::{CHUNK_BYTES, CHUNK_RECORDS};
use super::record::{HEAD_BYTES, Head, Record, Register};
use super::reply::{Forgotten, Written};
use super::session::{Position, Session};

/// How often an edition is opened anew after others came in between, or after Redis has dropped it.
const TRIES: usize = 3;

/// A number that no other process has, as hex digits.
fn unique() -> String {
    use std::hash::{BuildHasher, RandomState};
    let draw = || RandomState::new().hash_one(std::time::Instant::now());
    format!("{:016x}{:016x}", draw(), draw())
}

/// What the outcome of a write asks for.
enum Then {
    Next,
    /// Redis has no data, or lower one.
    Open,
    /// The rest of the data is not wanted any more.
    Drop,
}

impl Session<'_> {
    /// Carries a command out.
    pub fn execute(&mut self, command: Command) -> Result<(), Problem> {
        match command {
            Command::Write { edition, register, records, digest } => {
                if !self.is_current(&edition) {
                    return Ok(());
                }
                let digests: Vec<_> = digest.into_iter().collect();
                // Most of what another agent's change caused here is in Redis already.
                let records = self.lacking(&edition, records);
                if records.is_empty() && register.is_none() && digests.is_empty() {
                    return Ok(());
                }
                match self.write(&edition, register.as_ref(), &records, &digests)? {
                    Then::Open => self.ask_full_state(),
                    Then::Next | Then::Drop => Ok(()),
                }
            }
            Command::FullState { edition, register, records, digests } => {
                self.asked = false;
                self.write_full_state(&edition, &register, records, &digests)?;
                if std::mem::take(&mut self.ask_again) { self.ask_full_state() } else { Ok(()) }
            }
            Command::Check(number) => {
                self.catch_up(false)?;
                self.shared.emit(Event::Checked(number))
            }
            Command::Nothing => {
                self.asked = false;
                Ok(())
            }
            Command::Forget { edition, tombstones } => self.forget(&edition, &tombstones),
            Command::RemoveEnvironment { edition, environment } => {
                self.remove_environment(&edition, &environment)
            }
        }
    }

    fn has_read(&self, edition: &Edition) -> bool {
        self.known.position.as_ref().is_some_and(|position| position.edition == *edition)
    }

    /// The records that Redis lacks or has older, as far as is known.
    fn lacking(&self, edition: &Edition, mut records: Vec<Record>) -> Vec<Record> {
        if self.has_read(edition) {
            records.retain(|record| {
                let known = self.known.mirror.get(&record.field);
                !known.is_some_and(|known| known.covers(&Head::of(record)))
            });
        }
        records
    }

    /// Whether data of this edition is wanted: Redis has no higher one. If so, the agent has this one now.
    fn is_current(&mut self, edition: &Edition) -> bool {
        let is_current = self.known.position.as_ref().is_none_or(|position| position.edition <= *edition);
        if is_current {
            self.known.own.clone_from(edition);
        }
        is_current
    }

    /// Merges into the current edition. The register comes last, so that an environment is complete when it is listed.
    fn write(
        &mut self,
        edition: &Edition,
        register: Option<&Register>,
        records: &[Record],
        digests: &[String],
    ) -> Result<Then, Problem> {
        let mut behind = false;
        let mut rest = records;
        loop {
            let chunk = chunk(&mut rest);
            let (register, digests) = if rest.is_empty() { (register, digests) } else { (None, &[][..]) };
            let instance = &self.shared.options.instance;
            match self.calls.write(edition, instance, chunk, register, digests)? {
                Outcome::Done(written) => behind |= !self.has_written(edition, chunk, &written),
                Outcome::Empty | Outcome::Lower => return Ok(Then::Open),
                _ => {
                    self.catch_up(true)?;
                    return Ok(Then::Drop);
                }
            }
            if rest.is_empty() {
                break;
            }
        }
        if behind {
            self.catch_up(false)?;
        } else {
            self.show_position();
        }
        Ok(Then::Next)
    }

    /// Takes the outcome of a write into the mirror. Returns `false` if others have written as well.
    fn has_written(&mut self, edition: &Edition, records: &[Record], written: &Written) -> bool {
        self.note_announced(written.announced);
        let position =
            self.known.position.as_mut().filter(|position| position.is_in(&written.epoch, edition));
        let Some(position) = position else { return false };
        let mut stored = 0;
        for (record, mark) in records.iter().zip(&written.marks) {
            match mark {
                b'1' => self.known.mirror.insert(&record.field, Head::of(record)),
                b'2' => self.known.mirror.raise(&record.field, &Head::of(record)),
                b'3' => {
                    // It need not be read when it is announced.
                    self.known.mirror.insert(&record.field, Head::of(record));
                    continue;
                }
                _ => continue,
            }
            stored += 1;
        }
        self.shared.status.counting.records_written.fetch_add(stored, Relaxed);
        if position.sequence != written.before {
            return false;
        }
        position.sequence = written.last;
        position.register_sequence = written.register_sequence;
        position.files_sequence = written.files_sequence;
        true
    }

    fn note_announced(&mut self, announced: bool) {
        if !announced && !std::mem::replace(&mut self.unannounced_logged, true) {
            tracing::warn!(
                redis = self.shared.status.get().address,
                channel = self.shared.keys.changes,
                "changes cannot be announced to the other agents, since this user may not publish: they find them by polling; allow PUBLISH and the channel (docs/redis.md)"
            );
        }
    }

    /// Writes what Redis lacks of everything, or opens the edition.
    fn write_full_state(
        &mut self,
        edition: &Edition,
        register: &Register,
        records: Vec<Record>,
        digests: &[String],
    ) -> Result<(), Problem> {
        for _ in 0..TRIES {
            if !self.is_current(edition) {
                return Ok(());
            }
            if self.has_read(edition) {
                let lacking = self.lacking(edition, records.clone());
                match self.write(edition, Some(register), &lacking, digests)? {
                    Then::Next | Then::Drop => return Ok(()),
                    Then::Open => {
                        // Redis was emptied after the agent had said what it has, and it may have got more since.
                        self.ask_again = true;
                        self.forget_all();
                    }
                }
            } else if self.open(edition, register, &records, digests)? {
                return Ok(());
            }
        }
        // The next poll asks again.
        Ok(())
    }

    /// Opens an edition. Returns `false` if another agent was faster, or Redis has dropped a part.
    fn open(
        &mut self,
        edition: &Edition,
        register: &Register,
        records: &[Record],
        digests: &[String],
    ) -> Result<bool, Problem> {
        let keys = self.shared.keys.staged(&unique());
        let mut staged = Staged { keys, fields: 0, last: 0 };
        let mut rest = records;
        while !rest.is_empty() {
            let chunk = chunk(&mut rest);
            match self.calls.stage(edition, &staged.keys, staged.last, chunk)? {
                Outcome::Done((fields, last)) => {
                    staged.fields += fields;
                    staged.last = last;
                }
                _ => return self.was_not_opened(),
            }
        }
        let instance = &self.shared.options.instance;
        match self.calls.open(edition, instance, &unique(), &staged, register, digests)? {
            Outcome::Done((epoch, sequence, announced)) => {
                self.note_announced(announced);
                self.has_opened(edition, epoch, sequence, records);
                Ok(true)
            }
            Outcome::Lost => Ok(false),
            _ => self.was_not_opened(),
        }
    }

    fn was_not_opened(&mut self) -> Result<bool, Problem> {
        self.catch_up(true)?;
        Ok(false)
    }

    fn has_opened(&mut self, edition: &Edition, epoch: String, sequence: u64, records: &[Record]) {
        self.forget_all();
        for record in records {
            self.known.mirror.insert(&record.field, Head::of(record));
        }
        self.known.position = Some(Position {
            epoch,
            edition: edition.clone(),
            sequence,
            register_sequence: sequence,
            // Digests of earlier editions may be there.
            files_sequence: 0,
            forgotten: 0,
            surplus: 0,
        });
        self.shared.status.counting.records_written.fetch_add(records.len() as u64, Relaxed);
        self.show_position();
        tracing::info!(
            redis = self.shared.status.get().address,
            records = records.len(),
            "wrote this agent's data to Redis as the data of the cluster"
        );
    }

    fn forget(&mut self, edition: &Edition, tombstones: &[(Box<str>, i64)]) -> Result<(), Problem> {
        if !self.is_current(edition) {
            return Ok(());
        }
        for chunk in tombstones.chunks(CHUNK_RECORDS) {
            let Outcome::Done(forgotten) = self.calls.forget(edition, chunk)? else { return Ok(()) };
            let fields = chunk.iter().map(|(field, _)| field);
            self.has_forgotten(edition, fields, &forgotten);
        }
        self.show_position();
        Ok(())
    }

    fn remove_environment(&mut self, edition: &Edition, environment: &str) -> Result<(), Problem> {
        if !self.is_current(edition) {
            return Ok(());
        }
        let mut cursor = 0;
        loop {
            let (next, fields) = self.calls.search(environment, cursor)?;
            for chunk in fields.chunks(CHUNK_RECORDS) {
                let removed = self.calls.remove_environment(edition, environment, chunk)?;
                let Outcome::Done(removed) = removed else { return Ok(()) };
                self.has_forgotten(edition, chunk.iter(), &removed);
            }
            if next == 0 {
                break;
            }
            cursor = next;
        }
        self.show_position();
        Ok(())
    }

    /// Takes a removal of records into the mirror.
    fn has_forgotten<'f>(
        &mut self,
        edition: &Edition,
        fields: impl Iterator<Item = &'f Box<str>>,
        forgotten: &Forgotten,
    ) {
        let position = self.known.position.as_mut();
        let Some(position) = position.filter(|position| position.is_in(&forgotten.epoch, edition)) else {
            return;
        };
        for (field, _) in fields.zip(&forgotten.marks).filter(|(_, mark)| **mark == b'1') {
            self.known.mirror.remove(field);
        }
        if position.forgotten == forgotten.before {
            position.forgotten = forgotten.after;
        }
    }
}

/// Takes the next records that one call may write.
fn chunk<'r>(rest: &mut &'r [Record]) -> &'r [Record] {
    let mut bytes = 0;
    let fits = |record: &&Record| {
        bytes += HEAD_BYTES + record.field.len() + record.body.len();
        bytes <= CHUNK_BYTES
    };
    let count = rest.iter().take(CHUNK_RECORDS).take_while(fits).count().max(1).min(rest.len());
    let (chunk, after) = rest.split_at(count);
    *rest = after;
    chunk
}

#[cfg(test)]
mod tests {
    use super::{CHUNK_BYTES, CHUNK_RECORDS, Record, chunk};

    fn sizes(bodies: &[usize]) -> Vec<usize> {
        let record = |&bytes: &usize| Record {
            field: "e:f:1".into(),
            stamp_ms: 0,
            removed: false,
            place: 0,
            version_ms: 0,
            client_version_ms: 0,
            body: vec![0; bytes].into(),
        };
        let records: Vec<_> = bodies.iter().map(record).collect();
        let mut rest = &records[..];
        let mut sizes = Vec::new();
        while !rest.is_empty() {
            sizes.push(chunk(&mut rest).len());
        }
        sizes
    }

    #[test]
    fn chunks_are_bounded_by_records_and_bytes() {
        assert_eq!(sizes(&[1; CHUNK_RECORDS + 1]), [CHUNK_RECORDS, 1]);
        assert_eq!(sizes(&[CHUNK_BYTES / 2; 3]), [1, 1, 1]);
        assert_eq!(sizes(&[CHUNK_BYTES / 3; 3]), [2, 1]);
        assert_eq!(sizes(&[1, 2 * CHUNK_BYTES, 1]), [1, 1, 1]);
        assert_eq!(sizes(&[]), [0_usize; 0]);
    }
}
