//! The drain when the agent shuts down: requests under way are finished, and streaming connections are closed a few at a
//! time, so that their SDKs do not all reconnect to another agent at once.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::net::slab::Key;

pub mod close_connection;

/// How long a reactor waits for the others to stop accepting before it closes its first connection. Bounded, since another
/// reactor may be busy, or may have ended by a bug.
const STOP_ACCEPTING_WAIT: Duration = Duration::from_secs(2);
/// How long the last closing handshakes may take after the agent has begun to close the last connection.
const LAST_CLOSE_WAIT: Duration = Duration::from_secs(5);
/// The last part of [`LAST_CLOSE_WAIT`], reserved for the end of TCP.
const TCP_END_WAIT: Duration = Duration::from_millis(2500);

/// Whether a reactor drains, and which connection it closes next.
#[derive(Debug, Default)]
pub(crate) struct Drain(Option<UnderWay>);

#[derive(Debug)]
struct UnderWay {
    waiting: VecDeque<Key>,
    total: usize,
    begun: Instant,
    /// Over how long the closes are spread.
    period: Duration,
    /// Whether this reactor's listeners are closed.
    listeners_closed: bool,
}

impl UnderWay {
    /// How many connections should have been closed by now.
    fn due(&self) -> usize {
        let share = if self.period.is_zero() {
            1.0
        } else {
            (self.begun.elapsed().as_secs_f64() / self.period.as_secs_f64()).min(1.0)
        };
        (self.total as f64 * share).ceil() as usize
    }

    /// Whether another connection should have been closed by now.
    fn is_behind(&self) -> bool {
        !self.waiting.is_empty() && self.total - self.waiting.len() < self.due()
    }
}

impl Drain {
    /// Begins to close the `open` connections, spread over `period`. Does nothing if the drain has begun before.
    pub fn begin(&mut self, open: Vec<Key>, period: Duration) {
        if self.0.is_none() {
            let (total, waiting) = (open.len(), VecDeque::from(open));
            let begun = Instant::now();
            self.0 = Some(UnderWay { waiting, total, begun, period, listeners_closed: false });
        }
    }

    /// Whether the reactor drains.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Records that the reactor's listeners are closed. True if that is new and the reactor drains.
    pub fn set_listeners_closed(&mut self) -> bool {
        self.0.as_mut().is_some_and(|drain| !std::mem::replace(&mut drain.listeners_closed, true))
    }

    /// Whether this reactor may still wait for others that accept connections.
    pub fn may_wait_for_others(&self) -> bool {
        self.0.as_ref().is_some_and(|drain| drain.begun.elapsed() < STOP_ACCEPTING_WAIT)
    }

    /// Whether the drain is finished: no connection is left, or the last ones have had their time.
    pub fn is_finished(&self, no_connections: bool) -> bool {
        self.0.as_ref().is_some_and(|drain| {
            no_connections
                || drain.waiting.is_empty() && drain.begun.elapsed() > drain.period + LAST_CLOSE_WAIT
        })
    }

    /// Whether another connection should have been closed by now.
    pub fn is_behind(&self) -> bool {
        self.0.as_ref().is_some_and(UnderWay::is_behind)
    }

    /// Takes the next connection to close, if it is due.
    pub fn take_due(&mut self) -> Option<Key> {
        let drain = self.0.as_mut().filter(|drain| drain.is_behind())?;
        drain.waiting.pop_front()
    }

    /// Once every known connection was closed: adds `late` ones, accepted while the listeners were being closed.
    pub fn add_late(&mut self, late: impl FnOnce() -> Vec<Key>) {
        if let Some(drain) = &mut self.0
            && drain.waiting.is_empty()
        {
            let late = late();
            drain.total += late.len();
            drain.waiting.extend(late);
        }
    }

    /// How long a peer may take to answer a close frame: `close`, or less when the drain ends before that.
    pub fn close_wait(&self, close: Duration) -> Duration {
        self.0.as_ref().map_or(close, |drain| {
            let end = drain.period + LAST_CLOSE_WAIT - TCP_END_WAIT;
            close.min(end.saturating_sub(drain.begun.elapsed()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_due_bit_by_bit_and_late_ones_follow() {
        let keys = |range: std::ops::Range<u64>| range.map(Key::from_u64).collect::<Vec<_>>();
        let mut drain = Drain::default();
        assert!(!drain.is_on() && drain.take_due().is_none() && !drain.is_finished(true));
        drain.begin(keys(0..10), Duration::from_secs(3600));
        assert_eq!(drain.take_due(), Some(Key::from_u64(0)), "the first at once");
        assert!(!drain.is_behind() && drain.take_due().is_none());
        let mut at_once = Drain::default();
        at_once.begin(keys(0..2), Duration::ZERO);
        assert_eq!(std::iter::from_fn(|| at_once.take_due()).count(), 2);
        at_once.add_late(|| keys(5..6));
        assert_eq!(at_once.take_due(), Some(Key::from_u64(5)));
        assert!(!at_once.is_finished(false) && at_once.is_finished(true));
    }
}
