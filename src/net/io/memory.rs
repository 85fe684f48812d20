//! Memory that single connections take, and how soon a peer will free it.

use super::super::service::{Core, Phase};
use super::super::ticks::Tick;
use super::connection::Connection;

/// What the kernel takes of a peer's output before that begins to wait; so much counts as taken by a peer of which
/// nothing is known yet.
const TAKEN_AT_ONCE: u64 = 64 * 1024;

/// What a close frame takes.
const CLOSE_FRAME_BYTES: usize = 256;

/// Ticks before which nobody counts as slow.
const TRIAL_TICKS: u64 = 10;

/// Ticks without progress from which on a peer is slow, and ticks that the rest of its output may take.
const IDLE_TICKS: u64 = 20;
const PATIENCE_TICKS: u64 = 50;

/// Memory that single connections hold, over all of them.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) bytes: usize,
    /// More than the limit was held by one connection alone: nobody is looked for before it is this much.
    pub(super) tolerated: usize,
    /// When somebody slow was last looked for.
    pub(super) looked: Tick,
}

impl Memory {
    /// Takes note of what a connection holds now.
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

    /// The connection is gone.
    pub fn forget(&mut self, core: &Core) {
        self.bytes = self.bytes.saturating_sub(core.counted_private_bytes);
    }
}

impl Core {
    /// In how many ticks the memory will be free, as far as one can tell: as many as the rest of the output takes at
    /// the pace so far, and at least as many as nothing has moved. Nobody is judged before its trial is over.
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

    /// Nothing but a close frame is left to be sent.
    pub(super) fn is_nearly_done(&self) -> bool {
        (self.closing || self.phase != Phase::Open) && self.counted_private_bytes <= CLOSE_FRAME_BYTES
    }
}
