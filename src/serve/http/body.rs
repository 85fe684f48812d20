//! A request body on its way in.

use std::time::Duration;

use crate::net::ticks::Tick;
use crate::protocol::sdk::Sdk;
use crate::wire::http1::Refusal;
use crate::wire::http1::chunked::Chunked;
use crate::wire::http1::head::BodyLength;

use crate::serve::api::judged::Judged;
use crate::serve::budgets::{BodyMemory, BootstrapPermit};

use super::exchange::Exchange;

/// A body has to bring so many bytes, or its end, within the time limit of bodies, again and again.
const MILESTONE_BYTES: usize = 64 * 1024;

/// A body of up to so many bytes has twice as much room for it: polls and batches of events are smaller.
const SMALL_BYTES: usize = 64 * 1024;

/// Memory that is set aside at once for a body that says how long it is.
const RESERVED_BYTES_MAX: u64 = SMALL_BYTES as u64;

/// What a body is for, with what the head said.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// A dataset. The permit counts against the number of those under way.
    Bootstrap(BootstrapPermit),
    /// The user of a polling client SDK.
    ClientPoll { judged: Judged, timestamp_ms: i64, sdk: Sdk },
    /// The name of a downstream agent that registers.
    Register,
    /// Usage events.
    Track { judged: Judged },
}

#[derive(Debug)]
enum Framing {
    Length(u64),
    Chunked(Chunked),
}

/// A body that is being received.
#[derive(Debug)]
pub(crate) struct Body {
    pub exchange: Exchange,
    pub purpose: Purpose,
    /// The body is compressed with gzip.
    pub gzip: bool,
    pub bytes: Vec<u8>,
    framing: Framing,
    bytes_max: u64,
    milestone: usize,
    /// What is counted of it. Datasets are not: their number is limited.
    memory: Option<BodyMemory>,
}

impl Body {
    /// A body of at most `bytes_max`; 413 if it says that it is longer, 411 if it is of no length at all.
    pub fn begin(
        exchange: Exchange,
        purpose: Purpose,
        length: BodyLength,
        gzip: bool,
        bytes_max: u64,
        memory: Option<BodyMemory>,
    ) -> Result<Self, (Exchange, Refusal)> {
        let (framing, reserved) = match length {
            BodyLength::None => {
                return Err((exchange, Refusal::new(411, "a body with its length is needed")));
            }
            BodyLength::Length(length) if length > bytes_max => {
                return Err((exchange, Refusal::new(413, "the body is larger than allowed")));
            }
            BodyLength::Length(length) => (Framing::Length(length), length.min(RESERVED_BYTES_MAX)),
            BodyLength::Chunked => (Framing::Chunked(Chunked::new()), 0),
        };
        let bytes = Vec::with_capacity(reserved as usize);
        Ok(Self { exchange, purpose, gzip, bytes, framing, bytes_max, milestone: MILESTONE_BYTES, memory })
    }

    /// Takes what belongs to the body. Returns the bytes consumed and whether it is complete.
    pub fn receive(&mut self, input: &[u8]) -> Result<(usize, bool), Refusal> {
        match &mut self.framing {
            Framing::Length(remaining) => {
                let count = input.len().min(usize::try_from(*remaining).unwrap_or(usize::MAX));
                self.bytes.extend_from_slice(&input[..count]);
                *remaining -= count as u64;
                Ok((count, *remaining == 0))
            }
            Framing::Chunked(chunked) => {
                let progress = chunked.decode(input, &mut self.bytes, self.bytes_max)?;
                Ok((progress.consumed, progress.done))
            }
        }
    }

    /// Whether all bodies together still fit the memory that is set aside for them.
    pub fn fits(&mut self) -> bool {
        let is_small = self.bytes.capacity() <= SMALL_BYTES;
        // What is set aside and was not written to takes no memory yet.
        let bytes = if is_small { self.bytes.len() } else { self.bytes.capacity() };
        self.memory.as_mut().is_none_or(|memory| memory.grow_to(bytes, is_small))
    }

    /// The deadline to set after a portion came in: unchanged unless the body has reached its next milestone.
    pub fn deadline(&mut self, now: Tick, limit: Duration) -> Option<Tick> {
        if self.bytes.len() < self.milestone {
            return None;
        }
        self.milestone = self.bytes.len() + MILESTONE_BYTES;
        Some(now.after(limit))
    }
}
