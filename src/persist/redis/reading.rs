//! Reads what others have written: heads in pages, then the bodies of those that differ from the mirror.
//!
//! Must not keep a body longer than until the agent has it. What is read twice is harmless: the agent merges it.

use std::sync::atomic::Ordering::Relaxed;

use crate::model::stamp::Edition;

use super::calls::{Outcome, PAGE, Problem};
use super::event::{Data, Event};
use super::mirror::Mirror;
use super::record::{HEAD_BYTES, Head, Record, Register};
use super::reply::{Found, Meta, Page};
use super::session::{Position, Session};
use super::text::Announcement;

/// At most this many records are read or written by one call…
pub(super) const CHUNK_RECORDS: usize = 256;
/// …and at most this many bytes, but for a single record that is larger.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

/// How a pass over the records ended.
enum Pass {
    /// Everything up to now was read.
    Complete,
    /// Redis now has other data, or something is missing: all heads must be read.
    Again,
}

/// The data of one pass, given out one event late so that the last one is known as such.
struct Parts {
    edition: Edition,
    is_complete: bool,
    first: bool,
    waiting: Option<Vec<Record>>,
    /// Whether Redis has gone back: a record there is not as new as it was.
    lost: bool,
}

impl Session<'_> {
    /// Reads everything that is new since the last time; with `all`, compares the heads of all records.
    pub fn catch_up(&mut self, mut all: bool) -> Result<(), Problem> {
        while !self.shared.mailbox.is_stopping()
            && let Pass::Again = self.pass(all)?
        {
            all = true;
        }
        self.show_position();
        Ok(())
    }

    /// Reads what was announced, unless it was read before.
    pub fn announced(&mut self, announcement: Option<&Announcement>) -> Result<(), Problem> {
        let position = self.known.position.as_ref();
        if let (Some(new), Some(position)) = (announcement, position)
            && position.is_in(&new.epoch, &new.edition)
        {
            let Some(lag) = new.last.checked_sub(position.sequence).filter(|lag| *lag > 0) else {
                return Ok(());
            };
            self.shared.status.change(|status| status.lag = lag);
        }
        self.catch_up(false)
    }

    fn pass(&mut self, all: bool) -> Result<Pass, Problem> {
        let position = self.known.position.clone();
        let from = position.as_ref().filter(|_| !all);
        let start = from.map_or(0, |position| position.sequence);
        // A comparison reads register and digests again: after a fail-over, one sequence may stand for two of them.
        let (register, files) = from.map_or((0, 0), |from| (from.register_sequence, from.files_sequence));
        let Outcome::Done(page) = self.calls.read(start, register, files)? else {
            self.forget_all();
            self.ask_full_state()?;
            return Ok(Pass::Complete);
        };
        let Some(edition) = page.meta.edition.clone().filter(|edition| *edition >= self.known.own) else {
            self.forget_all();
            self.ask_full_state()?;
            return Ok(Pass::Complete);
        };
        let same = position.as_ref().is_some_and(|position| {
            position.is_in(&page.meta.epoch, &edition) && page.meta.sequence >= position.sequence
        });
        if !same {
            self.forget_all();
            if position.is_some() {
                // Register and digests were asked for by the sequences of other data.
                return Ok(Pass::Again);
            }
        }
        let parts = Parts { edition, is_complete: !same, first: true, waiting: None, lost: false };
        self.read_pages(page, start, position, parts)
    }

    /// Reads the rest of the pages, and gives out what differs.
    fn read_pages(
        &mut self,
        mut page: Page,
        start: u64,
        position: Option<Position>,
        mut parts: Parts,
    ) -> Result<Pass, Problem> {
        let mut seen = (start == 0).then(|| self.known.mirror.emptied());
        let mut register = page.register.take();
        let mut digests = std::mem::take(&mut page.digests);
        loop {
            self.shared.status.counting.unreadable.fetch_add(page.unreadable, Relaxed);
            if !self.read_bodies(&page, &mut seen, &mut parts)? {
                self.forget_all();
                return Ok(Pass::Again);
            }
            let (true, Some(after)) = (page.rows >= PAGE, page.last) else { break };
            let meta = page.meta;
            let next = self.calls.read(after, meta.register_sequence, meta.files_sequence)?;
            let Outcome::Done(next) = next else { return Ok(Pass::Again) };
            page = next;
            if page.meta.epoch != meta.epoch || page.meta.edition != meta.edition {
                self.forget_all();
                return Ok(Pass::Again);
            }
            register = page.register.take().or(register);
            if !page.digests.is_empty() {
                digests = std::mem::take(&mut page.digests);
            }
        }
        self.finish_parts(&mut parts, register, digests)?;
        self.finish(page.meta, page.count, position, seen, parts)
    }

    /// Sets the new position, and finds out whether something is missing.
    fn finish(
        &mut self,
        meta: Meta,
        count: u64,
        before: Option<Position>,
        seen: Option<Mirror>,
        parts: Parts,
    ) -> Result<Pass, Problem> {
        let all = seen.is_some();
        // Other data of the edition that this agent has: some of the agent's may not be there.
        let mut lost = parts.lost || parts.is_complete && parts.edition == self.known.own;
        // Not before it has got everything: what it has must be written if Redis loses the rest.
        self.known.own.clone_from(&parts.edition);
        if let Some(seen) = seen {
            let forgotten =
                before.as_ref().map_or(0, |before| meta.forgotten.saturating_sub(before.forgotten));
            lost |= self.known.mirror.missing_in(&seen) > forgotten;
            self.known.mirror = seen;
        }
        if lost {
            self.ask_full_state()?;
        }
        let surplus = count.cast_signed().saturating_sub(self.known.mirror.len() as i64);
        let expected = before.as_ref().map_or(0, |before| before.surplus);
        // Without a comparison of all heads the mirror reflects no removal.
        let reflected = before.filter(|_| !all).map_or(meta.forgotten, |before| before.forgotten);
        let forgotten = meta.forgotten != reflected;
        self.known.position = Some(Position {
            epoch: meta.epoch,
            edition: parts.edition,
            sequence: meta.sequence,
            register_sequence: meta.register_sequence,
            files_sequence: meta.files_sequence,
            forgotten: reflected,
            surplus: if all { surplus } else { expected },
        });
        Ok(if !all && (forgotten || surplus != expected) { Pass::Again } else { Pass::Complete })
    }

    /// Reads and gives out the records of a page that differ. Returns `false` if Redis now has other data.
    fn read_bodies(
        &mut self,
        page: &Page,
        seen: &mut Option<Mirror>,
        parts: &mut Parts,
    ) -> Result<bool, Problem> {
        let mut wanted: Vec<&Found> = Vec::new();
        let mut bytes = 0;
        for found in &page.heads {
            let known = self.known.mirror.get(&found.field);
            parts.lost |= known.is_some_and(|known| !found.head.covers(known));
            if known == Some(&found.head) {
                if let Some(seen) = seen {
                    seen.insert(&found.field, found.head);
                }
                continue;
            }
            if !wanted.is_empty() && (wanted.len() == CHUNK_RECORDS || bytes + found.bytes > CHUNK_BYTES) {
                if !self.read_values(&page.meta.epoch, &wanted, seen, parts)? {
                    return Ok(false);
                }
                wanted.clear();
                bytes = 0;
            }
            wanted.push(found);
            bytes += found.bytes;
        }
        if wanted.is_empty() {
            return Ok(true);
        }
        self.read_values(&page.meta.epoch, &wanted, seen, parts)
    }

    fn read_values(
        &mut self,
        epoch: &str,
        wanted: &[&Found],
        seen: &mut Option<Mirror>,
        parts: &mut Parts,
    ) -> Result<bool, Problem> {
        let fields: Vec<&str> = wanted.iter().map(|found| &*found.field).collect();
        let Outcome::Done(values) = self.calls.values(epoch, &parts.edition, &fields)? else {
            return Ok(false);
        };
        let mut records = Vec::with_capacity(fields.len());
        for (field, value) in fields.iter().zip(values) {
            let Some(value) = value else { continue };
            let Some(record) = Record::parse(field, &value) else { continue };
            let Some(head) = value.get(..HEAD_BYTES).and_then(Head::parse) else { continue };
            self.known.mirror.insert(field, head);
            if let Some(seen) = seen {
                seen.insert(field, head);
            }
            records.push(record);
        }
        self.count_read(records.len());
        if let Some(waiting) = parts.waiting.replace(records) {
            self.give(parts, waiting, None)?;
        }
        Ok(true)
    }

    /// Gives out the last event, if there is anything to say.
    fn finish_parts(
        &mut self,
        parts: &mut Parts,
        register: Option<Register>,
        digests: Vec<String>,
    ) -> Result<(), Problem> {
        let records = parts.waiting.take();
        if records.is_none() && register.is_none() && digests.is_empty() && !parts.is_complete {
            return Ok(());
        }
        self.give(parts, records.unwrap_or_default(), Some((register, digests)))
    }

    fn give(
        &mut self,
        parts: &mut Parts,
        records: Vec<Record>,
        end: Option<(Option<Register>, Vec<String>)>,
    ) -> Result<(), Problem> {
        let last = end.is_some();
        let (register, digests) = end.unwrap_or_default();
        let first = std::mem::replace(&mut parts.first, false);
        let (edition, is_complete) = (parts.edition.clone(), parts.is_complete);
        self.shared.emit(Event::Data(Data { edition, is_complete, first, last, register, digests, records }))
    }
}
