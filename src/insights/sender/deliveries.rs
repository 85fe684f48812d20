//! The sending of all streams to one server: which of them may send next.
//!
//! Must not read a clock or draw random numbers. Times are in milliseconds of a clock that only rises.

use std::collections::HashMap;

use crate::insights::queue::{PeekLimits, StreamKey};

use super::breaker::BreakerState;
use super::delivery::{Delivery, DeliveryState, Verdict};
use super::outcome::Outcome;
use super::server_gate::ServerGate;

/// The sending of all streams.
#[derive(Clone, Debug)]
pub struct Deliveries {
    max: PeekLimits,
    retry_cap_ms: u64,
    gate: ServerGate,
    streams: HashMap<StreamKey, Entry>,
    /// Counts the requests.
    requests: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    delivery: Delivery,
    /// Which request was its last; 0 before the first.
    last: u64,
}

impl Deliveries {
    /// Nothing was sent yet. A request carries at most `max`, and no delay is longer than `retry_cap_ms`, unless the
    /// server asks for it.
    pub fn new(max: PeekLimits, retry_cap_ms: u64) -> Self {
        let gate = ServerGate::new(retry_cap_ms);
        Self { max, retry_cap_ms, gate, streams: HashMap::new(), requests: 0 }
    }

    /// Which of these streams, all with events, is to send next, and how much at most: of those that may, the one that has
    /// waited longest since its last request. Call [`Deliveries::begun`] if it does.
    pub fn next(
        &self,
        streams: impl IntoIterator<Item = StreamKey>,
        now_ms: u64,
    ) -> Option<(StreamKey, PeekLimits)> {
        if !self.gate.may_send(now_ms) {
            return None;
        }
        let ready = streams.into_iter().filter_map(|stream| match self.streams.get(&stream) {
            None => Some((0, stream, self.fresh().limits())),
            Some(entry) if entry.delivery.may_send(now_ms) => {
                Some((entry.last, stream, entry.delivery.limits()))
            }
            Some(_) => None,
        });
        ready.min_by_key(|&(last, stream, _)| (last, stream)).map(|(_, stream, limits)| (stream, limits))
    }

    /// When the next of these streams, all with events, may send; `None` if that depends on a request under way, or there
    /// are no streams. A time in the past means now.
    pub fn next_at_ms(&self, streams: impl IntoIterator<Item = StreamKey>) -> Option<u64> {
        let gate_ms = self.gate.next_at_ms()?;
        let each = streams.into_iter().filter_map(|stream| match self.streams.get(&stream) {
            None => Some(0),
            Some(entry) => entry.delivery.next_at_ms(),
        });
        each.min().map(|at_ms| at_ms.max(gate_ms))
    }

    /// A request of this stream begins.
    pub fn begun(&mut self, stream: StreamKey) {
        self.gate.begun(stream);
        self.requests += 1;
        let last = self.requests;
        let entry = self.entry(stream);
        entry.last = last;
        entry.delivery.begun();
    }

    /// The request of this stream has ended. It carried the first `events` of it, `bytes` of text by the queue's count.
    pub fn ended(
        &mut self,
        stream: StreamKey,
        outcome: &Outcome,
        (events, bytes): (usize, usize),
        now_ms: u64,
        random: u64,
    ) -> Verdict {
        self.gate.ended(stream, outcome, now_ms, random);
        self.entry(stream).delivery.ended(outcome, events, bytes, now_ms, random)
    }

    /// A request that was announced by [`Deliveries::begun`] was not sent after all.
    pub fn not_sent(&mut self, stream: StreamKey, now_ms: u64) {
        let outcome = Outcome::Again(super::outcome::Fault::Abandoned);
        // Abandoned: it stays.
        let _ = self.ended(stream, &outcome, (0, 0), now_ms, 0);
    }

    /// Forgets a stream whose environment is gone. Not while a request is under way.
    pub fn forget(&mut self, stream: StreamKey) {
        self.streams.remove(&stream);
    }

    /// The state of a stream; `None` if nothing of it was sent yet.
    pub fn state(&self, stream: StreamKey) -> Option<DeliveryState> {
        self.streams.get(&stream).map(|entry| entry.delivery.state())
    }

    /// The state of the connection to the server, and why there is none.
    pub fn server_state(&self) -> (BreakerState, Option<&str>) {
        (self.gate.state(), self.gate.reason())
    }

    fn fresh(&self) -> Delivery {
        Delivery::new(self.max, self.retry_cap_ms)
    }

    fn entry(&mut self, stream: StreamKey) -> &mut Entry {
        let (max, retry_cap_ms) = (self.max, self.retry_cap_ms);
        let fresh = || Entry { delivery: Delivery::new(max, retry_cap_ms), last: 0 };
        self.streams.entry(stream).or_insert_with(fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insights::sender::outcome::Fault;
    use crate::insights::sender::tests::{no_connection, stream};

    fn deliveries() -> Deliveries {
        Deliveries::new(PeekLimits { events: 100, bytes: 1000 }, 60_000)
    }

    fn next(deliveries: &Deliveries, now_ms: u64) -> Option<StreamKey> {
        deliveries.next([3, 1, 2].map(stream), now_ms).map(|(stream, _)| stream)
    }

    fn end(deliveries: &mut Deliveries, stream: StreamKey, outcome: Outcome, now_ms: u64) -> Verdict {
        deliveries.ended(stream, &outcome, (10, 100), now_ms, 500)
    }

    #[test]
    fn streams_take_turns_and_one_that_fails_stops_no_other() {
        let mut all = deliveries();
        for expected in [1, 2, 3] {
            assert_eq!(next(&all, 0), Some(stream(expected)));
            all.begun(stream(expected));
        }
        assert_eq!((next(&all, 0), all.next_at_ms([1, 2].map(stream))), (None, None));
        let busy = Fault::Status { status: 503, retry_after_ms: None };
        assert_eq!(end(&mut all, stream(1), Outcome::Again(busy), 0), Verdict::Keep);
        assert_eq!(end(&mut all, stream(3), Outcome::Taken, 0), Verdict::Confirm { events: 10 });
        assert_eq!(end(&mut all, stream(2), Outcome::Taken, 0), Verdict::Confirm { events: 10 });
        for expected in [2, 3, 2] {
            assert_eq!(next(&all, 0), Some(stream(expected)));
            all.begun(stream(expected));
            let _ = end(&mut all, stream(expected), Outcome::Taken, 0);
        }
        assert_eq!(all.next_at_ms([stream(1)]), Some(500));
        assert_eq!(next(&all, 500), Some(stream(1)));
        assert_eq!(all.state(stream(1)).unwrap().reason.unwrap().to_string(), "status 503");
        assert_eq!((all.state(stream(4)), all.next_at_ms([])), (None, None));
    }

    #[test]
    fn without_a_connection_all_wait_although_no_stream_is_at_fault() {
        let mut all = deliveries();
        all.begun(stream(1));
        assert_eq!(end(&mut all, stream(1), no_connection(), 0), Verdict::Keep);
        assert_eq!(next(&all, 499), None);
        assert_eq!(all.next_at_ms([stream(3)]), Some(500));
        assert_eq!(all.state(stream(1)).unwrap().breaker, BreakerState::Closed);
        // Another one probes, alone.
        assert_eq!(next(&all, 500), Some(stream(2)));
        all.begun(stream(2));
        assert_eq!((next(&all, 9_999), all.next_at_ms([stream(3)])), (None, None));
        all.not_sent(stream(2), 600);
        assert_eq!(next(&all, 600), Some(stream(3)));
        all.begun(stream(3));
        let _ = end(&mut all, stream(3), Outcome::Taken, 700);
        assert_eq!(all.server_state(), (BreakerState::Closed, None));
        assert!(next(&all, 700).is_some());
    }
}
