//! The records of a spool: bytes ↔ values.
//!
//! Must not panic whatever the bytes are, nor read a file.
//!
//! All numbers are little endian. Kind 1, the events of one call (*batch*):
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 20 | stream: environment (16), kind of secret (1 server, 2 client), form of the events (1 raw, 2 pseudonymized), zeros |
//! | 20 | 4 | how many events of this stream come before these in this segment |
//! | 24 | 8 | when the call came, in Unix milliseconds |
//! | 32 | 44 | the secret's text |
//! | 76 | 4 | how many events there are, at least 1 |
//! | 80 | 4 each | where each event ends in the text |
//! | … | rest | the texts of the events, joined by commas |
//!
//! Kind 2, what is finished (*note*): stream (20 bytes, without a form); 4 bytes and 8 bytes: so many events of the stream
//! are finished in the segment with this number, and all in the segments before it.
//!
//! Kind 3, the *summary* of a segment that was closed in order: for each stream its 20 bytes (without a form), and 4 bytes
//! for how many events the segment has. It tells how much is lost when records are damaged.

use bytes::Bytes;

use super::super::events::{Batch, Events, Form};
use super::super::queue::StreamKey;
use crate::model::environment_id::EnvironmentId;
use crate::model::secret::SecretKind;
use crate::persist::log::Record;
use crate::protocol::secret::{SECRET_BYTES, Secret};

/// The kind of a record with the events of one call.
pub(super) const BATCH: u8 = 1;
/// The kind of a record that tells what is finished.
pub(super) const NOTE: u8 = 2;
/// The kind of a record that tells what a segment has.
pub(super) const SUMMARY: u8 = 3;

const STREAM_BYTES: usize = 20;
const SUMMARY_ENTRY: usize = STREAM_BYTES + 4;
/// The length of the body of a note.
pub(super) const NOTE_BYTES: usize = STREAM_BYTES + 12;
const BATCH_HEADER: usize = STREAM_BYTES + 4 + 8 + SECRET_BYTES + 4;

const _: () = assert!(BATCH_HEADER == 80);

/// A place in a stream: this many events of it are finished in this segment, and all in the segments before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The number of the segment, from 1; 0 if nothing is finished.
    pub segment: u64,
    /// Events of the stream in this segment.
    pub events: u32,
}

/// What a batch record tells without its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHead {
    /// Its stream.
    pub stream: StreamKey,
    /// How many events of the stream come before in this segment.
    pub first: u32,
    /// How many events it has.
    pub events: u32,
    /// The bytes of their texts.
    pub bytes: u64,
    /// When the call came, in Unix milliseconds.
    pub received_ms: i64,
}

impl BatchHead {
    /// How many events of the stream there are up to the end of this batch.
    pub fn end(&self) -> u32 {
        self.first.saturating_add(self.events)
    }
}

/// A record, as far as it has to be known to count what a segment has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Events.
    Batch(BatchHead),
    /// What is finished.
    Note(StreamKey, Position),
    /// How many events of which stream the segment has.
    Summary(Vec<(StreamKey, u32)>),
}

impl Item {
    /// Reads a record. `None` if it is none of a spool.
    pub fn read(record: &Record<'_>) -> Option<Self> {
        match record.kind {
            BATCH => read_batch_head(record.body).map(|(head, _)| Item::Batch(head)),
            NOTE => read_note(record.body),
            SUMMARY => {
                let (entries, rest) = record.body.as_chunks::<SUMMARY_ENTRY>();
                let entries =
                    entries.iter().map(|entry| Some((read_stream(entry)?.0, u32_at(entry, STREAM_BYTES)?)));
                entries.collect::<Option<_>>().filter(|_| rest.is_empty()).map(Item::Summary)
            }
            _ => None,
        }
    }
}

/// Writes the body of a batch record to `out`, whose content is replaced. `first`: how many events of the stream come before.
pub fn write_batch(batch: &Batch, first: u32, out: &mut Vec<u8>) {
    out.clear();
    out.reserve(BATCH_HEADER + size_of_val(batch.events.ends()) + batch.events.text().len());
    write_stream(&StreamKey::of(batch), form_code(batch.form), out);
    out.extend(first.to_le_bytes());
    out.extend(batch.received_ms.to_le_bytes());
    out.extend(batch.secret.as_str().as_bytes());
    out.extend((batch.events.len() as u32).to_le_bytes());
    batch.events.ends().iter().for_each(|end| out.extend(end.to_le_bytes()));
    out.extend_from_slice(batch.events.text());
}

/// The length of the body that [`write_batch`] makes.
pub(super) fn batch_bytes(batch: &Batch) -> usize {
    BATCH_HEADER + size_of_val(batch.events.ends()) + batch.events.text().len()
}

/// Reads the body of a batch record. `None` if it is not valid.
pub fn read_batch(body: &[u8]) -> Option<(BatchHead, Batch)> {
    let (head, form) = read_batch_head(body)?;
    let secret = Secret::parse(std::str::from_utf8(body.get(32..32 + SECRET_BYTES)?).ok()?)?;
    let (ends, text) = body.get(BATCH_HEADER..)?.split_at_checked(head.events as usize * 4)?;
    let ends = ends.as_chunks::<4>().0.iter().map(|end| u32::from_le_bytes(*end)).collect();
    let events = Events::from_parts(Bytes::copy_from_slice(text), ends)?;
    let StreamKey { environment, kind } = head.stream;
    Some((head, Batch { environment, secret, kind, form, received_ms: head.received_ms, events }))
}

fn read_batch_head(body: &[u8]) -> Option<(BatchHead, Form)> {
    let (stream, form) = read_stream(body)?;
    let form = match form {
        1 => Form::Raw,
        2 => Form::Pseudonymized,
        _ => return None,
    };
    let events = u32_at(body, 76).filter(|&events| events > 0)?;
    let bytes = (body.len() as u64).checked_sub(BATCH_HEADER as u64 + u64::from(events) * 4)?;
    let first = u32_at(body, STREAM_BYTES)?;
    let received_ms = u64_at(body, 24)?.cast_signed();
    first.checked_add(events)?;
    Some((BatchHead { stream, first, events, bytes, received_ms }, form))
}

/// Writes the body of a note to `out`, whose content is replaced.
pub fn write_note(stream: &StreamKey, position: Position, out: &mut Vec<u8>) {
    out.clear();
    write_stream(stream, 0, out);
    out.extend(position.events.to_le_bytes());
    out.extend(position.segment.to_le_bytes());
}

fn read_note(body: &[u8]) -> Option<Item> {
    let (stream, _) = read_stream(body)?;
    let position = Position { events: u32_at(body, STREAM_BYTES)?, segment: u64_at(body, STREAM_BYTES + 4)? };
    (body.len() == NOTE_BYTES).then_some(Item::Note(stream, position))
}

/// Writes the body of a summary to `out`, whose content is replaced.
pub fn write_summary(streams: impl Iterator<Item = (StreamKey, u32)>, out: &mut Vec<u8>) {
    out.clear();
    for (stream, events) in streams {
        write_stream(&stream, 0, out);
        out.extend(events.to_le_bytes());
    }
}

fn form_code(form: Form) -> u8 {
    match form {
        Form::Raw => 1,
        Form::Pseudonymized => 2,
    }
}

fn write_stream(stream: &StreamKey, form: u8, out: &mut Vec<u8>) {
    let kind = match stream.kind {
        SecretKind::Server => 1,
        SecretKind::Client => 2,
    };
    out.extend(stream.environment.as_bytes());
    out.extend([kind, form, 0, 0]);
}

/// The stream, and the form that stands with it.
fn read_stream(body: &[u8]) -> Option<(StreamKey, u8)> {
    let (environment, rest) = body.split_first_chunk::<16>()?;
    let (&[kind, form, 0, 0], _) = rest.split_first_chunk::<4>()? else { return None };
    let kind = match kind {
        1 => SecretKind::Server,
        2 => SecretKind::Client,
        _ => return None,
    };
    Some((StreamKey { environment: EnvironmentId::from_bytes(*environment), kind }, form))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|number| u32::from_le_bytes(*number))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|number| u64::from_le_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insights::queue_twin::{batch, key};
    use proptest::prelude::*;

    fn item(kind: u8, body: &[u8]) -> Option<Item> {
        Item::read(&Record { kind, sequence: 1, body })
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut body = Vec::new();
        for stream in 0..4 {
            let batch = batch(stream, -5, 1 + usize::from(stream));
            write_batch(&batch, 77, &mut body);
            assert_eq!(body.len(), batch_bytes(&batch));
            let (head, read) = read_batch(&body).unwrap();
            assert_eq!(read, batch);
            assert_eq!((head.first, head.stream), (77, key(stream)));
            assert_eq!(head.bytes, batch.events.text().len() as u64);
            assert_eq!(item(BATCH, &body), Some(Item::Batch(head)));
            let position = Position { segment: 1 << 40, events: 3 };
            write_note(&key(stream), position, &mut body);
            assert_eq!(item(NOTE, &body), Some(Item::Note(key(stream), position)));
        }
        let entries = vec![(key(0), 4), (key(1), u32::MAX)];
        write_summary(entries.iter().copied(), &mut body);
        assert_eq!(item(SUMMARY, &body), Some(Item::Summary(entries)));
    }

    #[test]
    fn a_record_that_was_cut_anywhere_is_refused() {
        let mut body = Vec::new();
        write_batch(&batch(0, 1, 2), 0, &mut body);
        for cut in 0..body.len() {
            assert_eq!(read_batch(&body[..cut]), None, "{cut}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(mut body in prop::collection::vec(0u8..4, 0..200), kind in 0u8..5) {
            let _ = item(kind, &body);
            if let Some((head, read)) = read_batch(&body) {
                let read_body = body.clone();
                write_batch(&read, head.first, &mut body);
                prop_assert_eq!(body, read_body);
            }
        }
    }
}
