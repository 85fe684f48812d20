//! A request body while it is received.

use std::time::Duration;

use crate::net::ticks::Tick;
use crate::protocol::sdk::Sdk;
use crate::wire::http1::Refusal;
use crate::wire::http1::chunked::Chunked;
use crate::wire::http1::head::BodyLength;

use crate::serve::budgets::{BodyMemory, BootstrapPermit};
use crate::serve::verdict::JudgedSecret;

use super::exchange::Exchange;

/// Each time this many bytes have come, the time limit for the body starts again.
const MILESTONE_BYTES: usize = 64 * 1024;

/// Up to this size a body counts as small, and the memory budget for it is doubled. Polls and usually event batches are
/// smaller.
const SMALL_BYTES: usize = 64 * 1024;

/// The most memory reserved at once for a body whose head gives its length.
const RESERVED_BYTES_MAX: u64 = SMALL_BYTES as u64;

/// What a body is for, and what the request's head has set for it.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// A dataset. The permit limits how many are received at a time.
    Bootstrap(BootstrapPermit),
    /// The user of a polling client SDK.
    ClientPoll { judged: JudgedSecret, timestamp_ms: i64, sdk: Sdk },
    /// The name of a downstream agent that registers.
    Register,
    /// Usage events.
    Track { judged: JudgedSecret },
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
    /// Its share of the memory budget. `None` for datasets, whose number is limited instead.
    pub memory: Option<BodyMemory>,
}

impl Body {
    /// A body of at most `bytes_max`. The refusal is 413 if its length exceeds that, or 411 if the request has no body.
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

    /// Takes the bytes that belong to the body. Returns how many, and whether the body is complete.
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

    /// Updates the body's share of the memory budget. False if all bodies together exceed the budget.
    pub fn fits(&mut self) -> bool {
        let is_small = self.bytes.capacity() <= SMALL_BYTES;
        // Reserved memory that was never written to is not resident yet.
        let bytes = if is_small { self.bytes.len() } else { self.bytes.capacity() };
        self.memory.as_mut().is_none_or(|memory| memory.grow_to(bytes, is_small))
    }

    /// The new deadline, if the body has reached its next milestone; otherwise the old one stays.
    pub fn deadline(&mut self, now: Tick, limit: Duration) -> Option<Tick> {
        if self.bytes.len() < self.milestone {
            return None;
        }
        self.milestone = self.bytes.len() + MILESTONE_BYTES;
        Some(now.after(limit))
    }
}
