//! Gives up connections whose peers are too slow: deadlines that pass, output that stalls, and, when memory is short, the
//! connections that would hold the most for the longest.

use super::super::service::{Ended, Phase, Service};
use super::super::slab::Key;
use super::super::ticks::Tick;
use super::connection::{Connection, Socket};
use super::{Io, Limits};

/// Connections that one slice of a sweep checks.
const SWEEP_SLICE: usize = 4096;

/// Partly sent output of up to this size is still sent before a connection is closed to free memory.
const BEGUN_BYTES_MAX: usize = 16 * 1024;

impl<T: Socket, S> Io<T, S> {
    /// Memory for data that belongs to single connections, in bytes: pending output, incomplete input, and what the service
    /// holds.
    pub fn pending_private_bytes(&self) -> usize {
        self.memory.bytes
    }

    /// Whether so much of that memory is used that large output should wait. The rest is reserved for small output.
    pub fn memory_is_short(&self) -> bool {
        self.memory.bytes > self.limits.private_bytes_max / 4 * 3
    }

    /// If more memory is used than allowed, ends the connections that would hold the most for the longest. Must be called
    /// after connections may have been given output.
    pub fn relieve(&mut self, service: &mut impl Service<Session = S>) {
        let max = self.limits.private_bytes_max;
        if self.memory.bytes <= max {
            self.memory.tolerated = max;
        } else if self.memory.bytes > self.memory.tolerated {
            self.shed(max / 4 * 3, false, service);
            self.memory.tolerated = max.max(self.memory.bytes + self.memory.bytes / 4);
        }
    }

    /// Frees memory for others that wait for it: ends connections with slow peers. Checks once per tick.
    pub fn make_room(&mut self, service: &mut impl Service<Session = S>) {
        let now = self.now;
        if std::mem::replace(&mut self.memory.looked, now) != now {
            self.shed(self.limits.private_bytes_max / 2, true, service);
        }
    }

    /// Ends connections until no more than `goal` bytes are used; with `only_slow`, only those with slow peers.
    fn shed(&mut self, goal: usize, only_slow: bool, service: &mut impl Service<Session = S>) {
        let now = self.now;
        let mut holders: Vec<(u64, usize, Key)> = Vec::new();
        for slot in 0..self.slab.slots() {
            if let Some((key, Connection { core, .. })) = self.slab.at_mut(slot)
                && core.counted_private_bytes > 0
                && !core.is_nearly_done()
                && (!only_slow || core.is_slow(now))
            {
                holders.push((core.ticks_to_go(now), core.counted_private_bytes, key));
            }
        }
        holders.sort_unstable_by(|one, other| other.cmp(one));
        // One connection is spared: one that alone needs more than the limit could otherwise never be served.
        if !only_slow {
            holders.pop();
        }
        for (_, _, key) in holders {
            if self.memory.bytes <= goal {
                break;
            }
            self.shed_one(key, service);
        }
        self.remove_ended(service);
    }

    fn shed_one(&mut self, key: Key, service: &mut impl Service<Session = S>) {
        let Some(connection) = self.slab.get_mut(key) else { return };
        let core = &mut connection.core;
        let input = core.input.take();
        let left = core.outbox.as_mut().map_or(0, |outbox| {
            outbox.drop_unsent();
            outbox.private_bytes()
        });
        self.memory.count(connection, self.now);
        let is_closing = self.slab.get_mut(key).is_none_or(|connection| connection.core.closing);
        let input = input.as_deref().map_or(&[][..], Vec::as_slice);
        if !is_closing
            && left <= BEGUN_BYTES_MAX
            && self.visit(key, |link, session| service.shed(link, session, input)).is_some()
        {
            return;
        }
        if let Some(connection) = self.slab.get_mut(key) {
            (connection.core.outbox, connection.core.held_bytes) = (None, 0);
            self.memory.count(connection, self.now);
        }
        self.kill(key, Ended::Shed);
    }

    /// Checks deadlines and stalls of a slice of the connections. Returns whether the sweep has more slices.
    pub fn sweep(&mut self, service: &mut impl Service<Session = S>) -> bool {
        let Limits { write_stall, write_min_bytes_per_second, .. } = self.limits;
        let write_min_bytes =
            (u128::from(write_min_bytes_per_second) * write_stall.as_millis() / 1000) as u64;
        let end = (self.sweep_at + SWEEP_SLICE).min(self.slab.slots());
        for slot in self.sweep_at..end {
            let Some((key, connection)) = self.slab.at_mut(slot) else { continue };
            let core = &mut connection.core;
            if core.outbox.is_some() && core.progress.after(write_stall).has_come(self.now) {
                self.kill(key, Ended::Stalled);
            } else if let Some(outbox) = &mut core.outbox
                && outbox.is_too_slow(self.now, write_stall, write_min_bytes)
            {
                self.kill(key, Ended::Slow);
            } else if core.deadline.has_come(self.now) {
                core.deadline = Tick::NEVER;
                match core.phase {
                    Phase::Lingering { brief } => {
                        self.counters.linger_timeouts += u64::from(!brief);
                        self.kill(key, Ended::Closed);
                    }
                    _ => {
                        self.visit(key, |link, session| service.deadline(link, session));
                    }
                }
            }
        }
        self.sweep_at = if end == self.slab.slots() { 0 } else { end };
        self.sweep_at != 0
    }
}

#[cfg(test)]
mod tests;
