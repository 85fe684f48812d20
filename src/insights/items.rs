//! Takes the body of a call apart into its events.
//!
//! Must not change an event, but for cutting out evaluations that FeatBit does not want. Must not build a tree: one pass over
//! the text. Names of members are read as FeatBit's server reads them: in any letter case, the last one of a double wins.

use super::events::{Events, EventsBuilder};
use super::known_flags::KnownFlags;
use crate::protocol::json::{Cursor, Kind, NotJson};

/// The body is not JSON: the call is answered with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotEvents;

impl From<NotJson> for NotEvents {
    fn from(_: NotJson) -> Self {
        NotEvents
    }
}

/// The events of a body that are kept, and how many were not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The events that are kept.
    pub events: Events,
    /// What was kept and what was not.
    pub counts: SplitCounts,
}

/// What a body had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SplitCounts {
    /// Events that are kept.
    pub events: u64,
    /// Elements that are no events: no object, or without a user with a key. A body that is no array is one.
    pub invalid: u64,
    /// Evaluations in the events that are kept.
    pub evaluations: u64,
    /// Metrics in the events that are kept.
    pub metrics: u64,
    /// Evaluations that were cut out, because the flag has `insightsEnabled: false`.
    pub evaluations_disabled: u64,
    /// Events that were dropped whole, because all they had were such evaluations.
    pub events_disabled: u64,
}

/// Takes `body` apart. Events without a user key are left out; so are evaluations of flags whose insights are disabled.
/// Everything else is kept byte for byte.
///
/// # Errors
/// The body is not JSON.
pub fn split(body: &[u8], flags: &dyn KnownFlags) -> Result<Split, NotEvents> {
    let text = simdutf8::basic::from_utf8(body).map_err(|_| NotEvents)?;
    let mut splitter = Splitter {
        text,
        flags,
        events: Events::builder(body.len()),
        counts: SplitCounts::default(),
        gaps: Vec::new(),
    };
    let mut cursor = Cursor::new(text);
    if cursor.kind()? == Kind::Array {
        cursor.array(|cursor| splitter.element(cursor))?;
    } else {
        cursor.skip()?;
        splitter.counts.invalid += 1;
    }
    cursor.end()?;
    Ok(Split { events: splitter.events.build(), counts: splitter.counts })
}

struct Splitter<'t> {
    text: &'t str,
    flags: &'t dyn KnownFlags,
    events: EventsBuilder,
    counts: SplitCounts,
    /// The parts of the present event that are cut out, in order.
    gaps: Vec<(usize, usize)>,
}

/// What an event has. Each new array of a name replaces what the one before said.
#[derive(Default)]
struct Found {
    has_user: bool,
    evaluations: u64,
    evaluations_disabled: u64,
    metrics: u64,
}

impl Splitter<'_> {
    fn element(&mut self, cursor: &mut Cursor<'_>) -> Result<(), NotJson> {
        if cursor.kind()? != Kind::Object {
            self.counts.invalid += 1;
            return cursor.skip().map(drop);
        }
        let start = cursor.position();
        let mut found = Found::default();
        self.gaps.clear();
        cursor.object(|cursor, name| {
            if name.is_in_any_case("user") {
                found.has_user = has_key(cursor)?;
            } else if name.is_in_any_case("variations") {
                (found.evaluations, found.evaluations_disabled) = self.evaluations(cursor)?;
            } else if name.is_in_any_case("metrics") {
                found.metrics = elements(cursor)?;
            } else {
                cursor.skip()?;
            }
            Ok::<(), NotJson>(())
        })?;
        self.take(&found, start, cursor.position());
        Ok(())
    }

    /// Keeps the event at this place of the text, or counts why it is not kept.
    fn take(&mut self, found: &Found, start: usize, end: usize) {
        if !found.has_user {
            self.counts.invalid += 1;
            return;
        }
        self.counts.evaluations_disabled += found.evaluations_disabled;
        if found.evaluations_disabled > 0 && found.evaluations == 0 && found.metrics == 0 {
            self.counts.events_disabled += 1;
            return;
        }
        self.counts.events += 1;
        self.counts.evaluations += found.evaluations;
        self.counts.metrics += found.metrics;
        let part = |start, end| self.text.get(start..end).unwrap_or_default();
        if self.gaps.is_empty() {
            return self.events.add(part(start, end).as_bytes());
        }
        let mut kept = String::with_capacity(end - start);
        let mut from = start;
        for &(gap, after) in &self.gaps {
            kept.push_str(part(from, gap));
            from = after;
        }
        kept.push_str(part(from, end));
        self.events.add(kept.as_bytes());
    }

    /// Reads the evaluations. Returns how many are kept and how many are cut out.
    fn evaluations(&mut self, cursor: &mut Cursor<'_>) -> Result<(u64, u64), NotJson> {
        let (mut kept, mut cut) = (0, 0);
        if cursor.kind()? != Kind::Array {
            cursor.skip()?;
            return Ok((0, 0));
        }
        // Behind the last element that is kept, else behind the bracket.
        let mut kept_end = cursor.position() + 1;
        // Where a gap began that reaches to the next element that is kept.
        let mut gap = None;
        let mut last_end = kept_end;
        cursor.array(|cursor| {
            cursor.kind()?;
            let start = cursor.position();
            let is_wanted = self.is_wanted(cursor)?;
            last_end = cursor.position();
            if is_wanted {
                if let Some(from) = gap.take() {
                    self.gaps.push((from, start));
                }
                kept += 1;
                kept_end = last_end;
            } else {
                cut += 1;
                gap.get_or_insert(start);
            }
            Ok::<(), NotJson>(())
        })?;
        if let Some(from) = gap {
            // Nothing follows: the comma before it goes, too.
            self.gaps.push((if kept > 0 { kept_end } else { from }, last_end));
        }
        Ok((kept, cut))
    }

    /// Reads an evaluation. Returns whether FeatBit wants it.
    fn is_wanted(&self, cursor: &mut Cursor<'_>) -> Result<bool, NotJson> {
        if cursor.kind()? != Kind::Object {
            cursor.skip()?;
            return Ok(true);
        }
        let mut is_wanted = true;
        cursor.object(|cursor, name| {
            if !name.is_in_any_case("featureFlagKey") {
                return cursor.skip().map(drop);
            }
            is_wanted = true;
            if cursor.kind()? != Kind::Text {
                return cursor.skip().map(drop);
            }
            if let Some(key) = cursor.string()?.decode() {
                is_wanted = self.flags.insights_enabled(&key);
            }
            Ok(())
        })?;
        Ok(is_wanted)
    }
}

/// Reads a user. Returns whether it has a key that is not blank.
fn has_key(cursor: &mut Cursor<'_>) -> Result<bool, NotJson> {
    let mut has_key = false;
    if cursor.kind()? != Kind::Object {
        cursor.skip()?;
        return Ok(false);
    }
    cursor.object(|cursor, name| {
        if !name.is_in_any_case("keyId") {
            return cursor.skip().map(drop);
        }
        has_key = if cursor.kind()? == Kind::Text {
            // White space by Unicode, as .NET's `IsNullOrWhiteSpace`.
            cursor.string()?.decode().is_some_and(|key| !key.trim().is_empty())
        } else {
            cursor.skip()?;
            false
        };
        Ok(())
    })?;
    Ok(has_key)
}

/// Reads a value. Returns how many elements it has, if it is an array.
fn elements(cursor: &mut Cursor<'_>) -> Result<u64, NotJson> {
    let mut count = 0;
    if cursor.kind()? != Kind::Array {
        cursor.skip()?;
        return Ok(0);
    }
    cursor.array(|cursor| {
        count += 1;
        cursor.skip().map(drop)
    })?;
    Ok(count)
}

#[cfg(test)]
mod tests;
