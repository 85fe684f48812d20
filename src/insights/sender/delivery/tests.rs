//! A stream against a model of a server: what it takes and what not, in good times and bad.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::insights::sender::outcome::{NoAnswer, Refusal};
use crate::insights::sender::portions::SINGLES_MAX;
use crate::insights::sender::tests::no_connection;

const CAP_MS: u64 = 60_000;

/// A server that knows which events are bad (by number), and what is too large. All texts have one byte.
#[derive(Clone, Debug, Default)]
struct Server {
    bad: BTreeSet<usize>,
    events_max: usize,
    got: Vec<usize>,
}

impl Server {
    fn answer(&mut self, events: &[usize]) -> Outcome {
        if events.len() > self.events_max {
            return Outcome::TooLarge;
        }
        if events.iter().any(|event| self.bad.contains(event)) {
            return Outcome::Rejected { status: 400 };
        }
        self.got.extend(events);
        Outcome::Taken
    }
}

/// A queue of numbered events, and what became of them.
struct Stream {
    delivery: Delivery,
    queue: Vec<usize>,
    dead: Vec<usize>,
    requests: usize,
    now_ms: u64,
}

impl Stream {
    fn new(events: usize, events_max: usize) -> Self {
        let max = PeekLimits { events: events_max, bytes: 1_000_000 };
        Self {
            delivery: Delivery::new(max, CAP_MS),
            queue: (0..events).collect(),
            dead: Vec::new(),
            requests: 0,
            now_ms: 0,
        }
    }

    /// One request, as soon as it may begin.
    fn step(&mut self, random: u64, answer: impl FnOnce(&[usize]) -> Outcome) {
        let at_ms = self.delivery.next_at_ms().unwrap();
        assert!(at_ms <= self.now_ms + 2 * CAP_MS);
        self.now_ms = self.now_ms.max(at_ms);
        assert!(self.delivery.may_send(self.now_ms));
        let limits = self.delivery.limits();
        assert!(limits.events >= 1 && limits.bytes >= 1);
        let count = limits.events.min(limits.bytes).min(self.queue.len());
        self.delivery.begun();
        assert!(!self.delivery.may_send(u64::MAX), "one at a time");
        self.requests += 1;
        let outcome = answer(&self.queue[..count]);
        match self.delivery.ended(&outcome, count, count, self.now_ms, random) {
            Verdict::Keep => assert_ne!(outcome, Outcome::Taken),
            Verdict::Confirm { events } => {
                assert_eq!((&outcome, events), (&Outcome::Taken, count));
                self.queue.drain(..count);
            }
            Verdict::DeadLetter { events, status } => {
                assert_eq!((outcome.status(), events), (Some(status), count));
                self.dead.extend(self.queue.drain(..count));
            }
        }
    }

    fn run(&mut self, server: &mut Server, requests_max: usize) {
        while !self.queue.is_empty() {
            assert!(self.requests < requests_max, "{} events left", self.queue.len());
            self.step(7, |events| server.answer(events));
        }
    }
}

fn log2(number: usize) -> usize {
    number.max(1).ilog2() as usize
}

#[test]
fn a_bad_event_costs_a_search_and_no_other_event() {
    for bad in [0, 1, 499, 500, 998, 999] {
        let mut server = Server { bad: [bad].into(), events_max: 1000, ..Server::default() };
        let mut stream = Stream::new(1000, 1000);
        stream.run(&mut server, 1 + 2 * log2(1000) + 3);
        assert_eq!(stream.dead, [bad]);
        assert_eq!(server.got.len(), 999);
    }
}

#[test]
fn a_server_that_takes_no_event_at_all_is_not_asked_about_each() {
    let mut server = Server { bad: (0..10_000).collect(), events_max: 1000, ..Server::default() };
    let mut stream = Stream::new(10_000, 1000);
    stream.run(&mut server, 100);
    assert_eq!(stream.dead.len(), 10_000);
    let state = stream.delivery.state();
    assert!(state.gives_up_portions && stream.now_ms > 0, "it waits between portions");
    assert_eq!(state.reason.unwrap().to_string(), "status 400");
    // The first event that is taken ends it.
    stream.queue = vec![10_000];
    stream.run(&mut server, 200);
    assert!(!stream.delivery.state().gives_up_portions);
    assert_eq!((server.got, stream.delivery.state().reason), (vec![10_000], None));
}

#[test]
fn what_is_too_large_is_sent_in_parts_and_the_amount_grows_again_but_rarely_too_much() {
    let mut server = Server { events_max: 300, ..Server::default() };
    let mut stream = Stream::new(100_000, 1000);
    let mut too_large = 0;
    while !stream.queue.is_empty() {
        stream.step(7, |events| {
            let outcome = server.answer(events);
            too_large += usize::from(outcome == Outcome::TooLarge);
            outcome
        });
    }
    assert_eq!(server.got, (0..100_000).collect::<Vec<_>>());
    assert!(too_large <= 2 + log2(100_000 / 250), "{too_large}");
    server.events_max = 1000;
    stream.queue = (0..1_000_000).collect();
    while stream.delivery.limits().events < 1000 {
        stream.step(7, |events| server.answer(events));
    }
}

#[test]
fn an_event_that_is_too_large_alone_is_given_up_and_the_amount_is_soon_as_before() {
    let mut stream = Stream::new(1000, 100);
    let mut got = 0;
    while !stream.queue.is_empty() {
        stream.step(7, |events| match events.contains(&40) {
            true => Outcome::TooLarge,
            false => {
                got += events.len();
                Outcome::Taken
            }
        });
    }
    assert_eq!((stream.dead, got), (vec![40], 999));
    assert!(stream.requests < 50, "{}", stream.requests);
    assert_eq!(stream.delivery.limits().events, 100);
}

#[test]
fn each_outcome_opens_the_breaker_for_as_long_as_it_should() {
    let again = |retry_after_ms| Outcome::Again(Fault::Status { status: 503, retry_after_ms });
    let refused = Outcome::Refused(Refusal { status: 401, redirected_to: None });
    let no_answer = Outcome::Again(Fault::NoAnswer { how: NoAnswer::TimedOut, detail: String::new() });
    for (outcome, delays_ms, reason) in [
        (again(None), 0..=1_000, Some("status 503")),
        (again(Some(90_000)), 90_000..=91_000, Some("status 503")),
        (no_answer, 0..=1_000, Some("no answer in time")),
        (refused, 30_000..=60_000, Some("status 401")),
        (Outcome::TooLarge, 0..=0, None),
        (Outcome::Rejected { status: 422 }, 0..=0, None),
        (Outcome::Taken, 0..=0, None),
        (no_connection(), 0..=0, None),
        (Outcome::Again(Fault::Abandoned), 0..=0, None),
    ] {
        for random in [0, 999, 1_000, 123_456_789, u64::MAX] {
            let mut delivery = Delivery::new(PeekLimits { events: 10, bytes: 10 }, CAP_MS);
            delivery.begun();
            let _ = delivery.ended(&outcome, 10, 10, 0, random);
            let state = delivery.state();
            assert!(delays_ms.contains(&delivery.next_at_ms().unwrap()), "{outcome:?}: {state:?}");
            assert_eq!(state.reason.map(|reason| reason.to_string()).as_deref(), reason);
            assert_eq!(state.failures, u32::from(outcome != Outcome::Taken));
        }
    }
}

fn trouble() -> impl Strategy<Value = Option<Outcome>> {
    let status = (0u64..5_000).prop_map(|wait_ms| Fault::Status {
        status: 503,
        retry_after_ms: (wait_ms > 2_000).then_some(wait_ms),
    });
    let no_answer = Just(Fault::NoAnswer { how: NoAnswer::Closed, detail: String::new() });
    let again = prop_oneof![status, no_answer, Just(Fault::Abandoned)].prop_map(Outcome::Again);
    let refused = Just(Outcome::Refused(Refusal { status: 404, redirected_to: None }));
    prop_oneof![3 => Just(None), 2 => prop_oneof![again, refused, Just(no_connection())].prop_map(Some)]
}

proptest! {
    /// In whatever way the server fails for a time: order is kept, nothing is sent beyond the limits, no good event is
    /// lost, each bad one costs a bounded number of requests, and all ends when the server works.
    #[test]
    fn nothing_good_is_lost_and_all_is_sent_in_order(
        count in 0usize..600,
        events_max in 1usize..200,
        server_max in 1usize..200,
        bad in prop::collection::btree_set(0usize..600, 0..SINGLES_MAX as usize),
        troubles in prop::collection::vec((trouble(), any::<u64>()), 0..40),
        random: u64,
    ) {
        let bad: BTreeSet<usize> = bad.into_iter().filter(|event| *event < count).collect();
        let mut server = Server { bad: bad.clone(), events_max: server_max, got: Vec::new() };
        let mut stream = Stream::new(count, events_max);
        for (trouble, random) in &troubles {
            if stream.queue.is_empty() {
                break;
            }
            stream.step(*random, |events| {
                assert!(events.len() <= events_max);
                trouble.clone().unwrap_or_else(|| server.answer(events))
            });
        }
        let fits = events_max.min(server_max);
        // A portion may be half of what fits. A bad event costs a search and the way back to full portions; what is
        // too large costs the way down, and tries upwards now and then.
        let plain = 2 * count.div_ceil(fits);
        let each_bad = 4 * (log2(events_max) + 2);
        let down = log2(events_max) + 1;
        let bound = plain + plain / 4 + bad.len() * (each_bad + down) + down + 8;
        stream.requests = 0;
        while !stream.queue.is_empty() {
            prop_assert!(stream.requests <= bound, "{} left after {}", stream.queue.len(), stream.requests);
            stream.step(random, |events| {
                assert!(events.len() <= events_max);
                server.answer(events)
            });
        }
        let good: Vec<usize> = (0..count).filter(|event| !bad.contains(event)).collect();
        prop_assert_eq!(&server.got, &good);
        prop_assert_eq!(stream.dead, bad.into_iter().collect::<Vec<_>>());
    }

    /// Whatever a server answers, also if it contradicts itself: nothing breaks, and every event has one fate.
    #[test]
    fn no_sequence_of_answers_breaks_it(
        answers in prop::collection::vec((0u8..6, any::<u64>()), 0..200),
    ) {
        let mut stream = Stream::new(1000, 64);
        let mut taken = 0;
        for (answer, random) in answers {
            if stream.queue.is_empty() {
                break;
            }
            stream.step(random, |events| match answer {
                0 => {
                    taken += events.len();
                    Outcome::Taken
                }
                1 => Outcome::TooLarge,
                2 => Outcome::Rejected { status: 400 },
                3 => Outcome::Again(Fault::Status { status: 500, retry_after_ms: Some(random % 10_000) }),
                4 => Outcome::Refused(Refusal { status: 403, redirected_to: None }),
                _ => no_connection(),
            });
            prop_assert_eq!(taken + stream.dead.len() + stream.queue.len(), 1000);
            prop_assert!(stream.dead.is_sorted() && stream.queue.is_sorted());
        }
    }
}
