//! What client SDKs get: the flags evaluated for their user.
//!
//! Must not know connections or HTTP. Messages are appended as JSON without a frame header; the caller adds it where it
//! needs one.

use super::environment::Environment;
use super::item::FlagData;
use super::server_sdk::SyncKind;
use super::table::{Chunk, Entry};
use crate::eval::{Audience, Segments};
use crate::protocol::to_sdk::{CLIENT_END, append_client_start};

/// What was appended for a client SDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncOutcome {
    /// Whether the message replaces the SDK's data or is added to it.
    pub kind: SyncKind,
    /// How many flags the message has. A poll gets an empty body instead of a patch with none.
    pub flags: usize,
}

impl Environment {
    /// Answers a `data-sync` or poll of a client SDK that has everything up to `timestamp_ms`. 0 requests a full, a negative
    /// number a patch with all flags. A flag's version also rises when a segment that it uses changes. `segments` must be
    /// from the same snapshot as the environment.
    pub fn client_sync<'u>(
        &self,
        segments: &Segments,
        audience: impl Into<Audience<'u>>,
        timestamp_ms: i64,
        out: &mut Vec<u8>,
    ) -> SyncOutcome {
        let audience = audience.into();
        if self.client.needs_full(timestamp_ms) {
            let flags = self.evaluate(SyncKind::Full, segments, audience, out, |_| true, |_| true);
            return SyncOutcome { kind: SyncKind::Full, flags };
        }
        let flags = self.evaluate(
            SyncKind::Patch,
            segments,
            audience,
            out,
            |chunk| chunk.newest.client_version_ms > timestamp_ms,
            |entry| entry.client_version_ms > timestamp_ms,
        );
        SyncOutcome { kind: SyncKind::Patch, flags }
    }

    /// Brings a client SDK up to date from `from_sequence`; `None`, with nothing appended, if no flag can have changed for it.
    /// `segments` must be from the same snapshot as the environment.
    pub fn client_since<'u>(
        &self,
        segments: &Segments,
        audience: impl Into<Audience<'u>>,
        from_sequence: u64,
        out: &mut Vec<u8>,
    ) -> Option<SyncKind> {
        let audience = audience.into();
        if from_sequence >= self.client.changed {
            return None;
        }
        if self.client.removed > from_sequence {
            self.evaluate(SyncKind::Full, segments, audience, out, |_| true, |_| true);
            return Some(SyncKind::Full);
        }
        self.evaluate(
            SyncKind::Patch,
            segments,
            audience,
            out,
            |chunk| chunk.newest.client_sequence > from_sequence,
            |entry| entry.client_sequence > from_sequence,
        );
        Some(SyncKind::Patch)
    }

    /// Appends the message with the flags that `found` accepts, out of the chunks that `within` accepts.
    fn evaluate(
        &self,
        kind: SyncKind,
        segments: &Segments,
        audience: Audience<'_>,
        out: &mut Vec<u8>,
        within: impl Fn(&Chunk<FlagData>) -> bool,
        found: impl Fn(&Entry<FlagData>) -> bool,
    ) -> usize {
        append_client_start(kind == SyncKind::Full, audience.user.key_id(), out);
        let mut flags = 0;
        for chunk in self.flags.chunks().iter().filter(|chunk| within(chunk)) {
            for entry in chunk.entries().iter().filter(|entry| entry.is_served() && found(entry)) {
                if flags > 0 {
                    out.push(b',');
                }
                entry.data.flag.append_client_json_as(audience, segments, entry.client_version_ms, out);
                flags += 1;
            }
        }
        out.extend_from_slice(CLIENT_END.as_bytes());
        flags
    }
}
