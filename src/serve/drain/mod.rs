//! The end of the agent's life: what is under way is finished, and streaming SDKs are closed a few at a time, so that
//! they do not all come to the next agent at once.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::net::slab::Key;

pub mod send_away;

/// How long the first is kept until every reactor has stopped accepting: one may be busy, or have ended by a bug.
const ALL_CLOSED: Duration = Duration::from_secs(2);
/// How long the last closing handshakes may take once every connection has been closed.
const LAST_WAIT: Duration = Duration::from_secs(5);
/// The last part of that, which is for the end of TCP.
const LAST_END: Duration = Duration::from_millis(2500);

/// Whether a reactor drains, and whom it closes next.
#[derive(Debug, Default)]
pub(crate) struct Drain(Option<UnderWay>);

#[derive(Debug)]
struct UnderWay {
    waiting: VecDeque<Key>,
    total: usize,
    begun: Instant,
    over: Duration,
    /// This reactor's listeners have been closed.
    closed: bool,
}

impl UnderWay {
    /// How many connections should have been closed by now.
    fn due(&self) -> usize {
        let share = if self.over.is_zero() {
            1.0
        } else {
            (self.begun.elapsed().as_secs_f64() / self.over.as_secs_f64()).min(1.0)
        };
        (self.total as f64 * share).ceil() as usize
    }

    /// Whether some should have been closed that were not.
    fn is_behind(&self) -> bool {
        !self.waiting.is_empty() && self.total - self.waiting.len() < self.due()
    }
}

impl Drain {
    /// Begins to close these connections, spread over `over`.
    pub fn begin(&mut self, open: Vec<Key>, over: Duration) {
        if self.0.is_none() {
            let (total, waiting) = (open.len(), VecDeque::from(open));
            self.0 = Some(UnderWay { waiting, total, begun: Instant::now(), over, closed: false });
        }
    }

    /// Whether the reactor drains.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The reactor's listeners are closed. Says whether that is new.
    pub fn listeners_closed(&mut self) -> bool {
        self.0.as_mut().is_some_and(|drain| !std::mem::replace(&mut drain.closed, true))
    }

    /// Whether other reactors that still accept are waited for.
    pub fn waits_for_others(&self) -> bool {
        self.0.as_ref().is_some_and(|drain| drain.begun.elapsed() < ALL_CLOSED)
    }

    /// Whether all is done that can be done, with as many connections still `open`.
    pub fn is_over(&self, is_empty: bool) -> bool {
        self.0.as_ref().is_some_and(|drain| {
            is_empty || drain.waiting.is_empty() && drain.begun.elapsed() > drain.over + LAST_WAIT
        })
    }

    /// Whether some connections should have been closed that were not.
    pub fn is_behind(&self) -> bool {
        self.0.as_ref().is_some_and(UnderWay::is_behind)
    }

    /// Takes the next connection to close, if its time has come.
    pub fn take_due(&mut self) -> Option<Key> {
        let drain = self.0.as_mut().filter(|drain| drain.is_behind())?;
        drain.waiting.pop_front()
    }

    /// Once every connection has been closed: those that came in while the listeners were being closed are `late`.
    pub fn add_late(&mut self, late: impl FnOnce() -> Vec<Key>) {
        if let Some(drain) = &mut self.0
            && drain.waiting.is_empty()
        {
            let late = late();
            drain.total += late.len();
            drain.waiting.extend(late);
        }
    }

    /// How long a peer may take for its part of the closing handshake: at most `close`.
    pub fn close_wait(&self, close: Duration) -> Duration {
        self.0.as_ref().map_or(close, |drain| {
            close.min((drain.over + LAST_WAIT - LAST_END).saturating_sub(drain.begun.elapsed()))
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
        assert!(!drain.is_on() && drain.take_due().is_none() && !drain.is_over(true));
        drain.begin(keys(0..10), Duration::from_secs(3600));
        assert_eq!(drain.take_due(), Some(Key::from_u64(0)), "the first at once");
        assert!(!drain.is_behind() && drain.take_due().is_none());
        let mut at_once = Drain::default();
        at_once.begin(keys(0..2), Duration::ZERO);
        assert_eq!(std::iter::from_fn(|| at_once.take_due()).count(), 2);
        at_once.add_late(|| keys(5..6));
        assert_eq!(at_once.take_due(), Some(Key::from_u64(5)));
        assert!(!at_once.is_over(false) && at_once.is_over(true));
    }
}
