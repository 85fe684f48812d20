//! Counts the memory of single connections and estimates when a peer will free it.

use super::super::service::{Core, Phase};
use super::super::ticks::Tick;
use super::connection::Connection;

/// What the kernel buffers of a peer's output before output is pending. A new peer is assumed to have accepted this much.
const TAKEN_AT_ONCE: u64 = 64 * 1024;

/// Memory for a close frame, in bytes.
const CLOSE_FRAME_BYTES: usize = 256;

/// A peer does not count as slow before this many ticks.
const TRIAL_TICKS: u64 = 10;

/// A peer counts as slow after `IDLE_TICKS` without progress, or if the rest of its output will take `PATIENCE_TICKS`.
const IDLE_TICKS: u64 = 20;
const PATIENCE_TICKS: u64 = 50;

/// Memory for data that belongs to single connections, over all of them.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) bytes: usize,
    /// The limit that applies now: it is raised when a single connection, which is spared, exceeds the configured one.
    pub(super) tolerated: usize,
    /// When slow peers were last searched for.
    pub(super) looked: Tick,
}

impl Memory {
    /// Updates the count with what a connection uses now.
    pub fn count<T, S>(&mut self, connection: &mut Connection<T, S>, now: Tick) {
        let Connection { core, secure, .. } = connection;
        let output = core.outbox.as_ref().map_or(0, |outbox| outbox.private_bytes())
            + secure.as_ref().map_or(0, |secure| secure.held_bytes());
        let input = core.input.as_ref().map_or(0, |input| input.capacity());
        let bytes = output + input + core.held_bytes as usize;
        let before = std::mem::replace(&mut core.counted_private_bytes, bytes);
        if before == 0 && core.outbox.is_none() {
            core.progress = now;
        }
        self.bytes = (self.bytes + bytes).saturating_sub(before);
    }

    /// Subtracts a connection that has ended.
    pub fn forget(&mut self, core: &Core) {
        self.bytes = self.bytes.saturating_sub(core.counted_private_bytes);
    }
}

impl Core {
    /// An estimate of the ticks until the connection's memory is free: the time that the rest of its output takes at the
    /// pace so far, but at least the time without progress. During its first ticks it is the connection's age.
    pub(super) fn ticks_to_go(&self, now: Tick) -> u64 {
        let (since, written) = self.outbox.as_ref().map_or((self.progress, 0), |outbox| outbox.waiting());
        let age = u64::from(now.since(since));
        if age < TRIAL_TICKS {
            return age;
        }
        let bytes = self.outbox.as_ref().map_or(0, |outbox| outbox.bytes()) as u64;
        let at_this_pace = bytes.saturating_mul(age) / (written + TAKEN_AT_ONCE);
        at_this_pace.max(u64::from(now.since(self.progress)))
    }

    pub(super) fn is_slow(&self, now: Tick) -> bool {
        u64::from(now.since(self.progress)) >= IDLE_TICKS || self.ticks_to_go(now) >= PATIENCE_TICKS
    }

    /// Whether only a close frame is left to send.
    pub(super) fn is_nearly_done(&self) -> bool {
        (self.closing || self.phase != Phase::Open) && self.counted_private_bytes <= CLOSE_FRAME_BYTES
    }
}
