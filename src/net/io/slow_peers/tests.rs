//! Who is given up when time or memory runs out.

use std::time::Duration;

use super::super::super::service::Origin;
use super::super::tests::{Bench, Fake, LIMITS};
use super::*;

/// What went wrong: a peer that takes a byte now and then held its output for ever.
#[test]
fn output_that_is_taken_too_slowly_ends_the_connection() {
    for (bytes, ended) in [(299, &[Ended::Slow][..]), (300, &[])] {
        let mut bench = Bench::new(0);
        bench.receive(b"private\n");
        for (taken, seconds) in [(bytes - 10, 15), (10, 14), (1, 1)] {
            bench.later(Duration::from_secs(seconds));
            bench.writable(taken);
        }
        bench.later(Duration::from_secs(1));
        assert_eq!(bench.service.ended, ended, "{bytes} bytes in 30 s");
        // Each period counts for itself.
        bench.later(Duration::from_secs(28));
        bench.writable(1);
        bench.later(Duration::from_secs(2));
        assert_eq!(bench.service.ended, [Ended::Slow]);
    }
}

impl Bench {
    /// Another connection, that has private output of 5,000 bytes waiting after so many were taken.
    fn holder(&mut self, taken: usize) -> (Key, Fake) {
        let wire = Fake::default();
        wire.0.borrow_mut().room = taken;
        let key = self.io.insert(wire.clone(), Origin(0), &mut self.service);
        wire.0.borrow_mut().incoming.push_back(b"private\n".to_vec());
        self.io.readable(key, false, &mut [0; 16], &mut self.service);
        (key, wire)
    }
}

impl Bench {
    fn is_closing(&mut self, key: Key) -> bool {
        self.io.visit(key, |_, ()| ()).is_none()
    }
}

#[test]
fn beyond_the_limit_of_memory_those_who_would_hold_most_for_longest_are_closed() {
    let mut bench = Bench::new(100);
    let dead: Vec<_> = (0..12).map(|number| bench.holder(number % 2)).collect();
    let (moving, moving_wire) = bench.holder(0);
    bench.later(Duration::from_secs(10));
    moving_wire.0.borrow_mut().room = 1000;
    bench.io.writable(moving, &mut bench.service);
    let mut fresh = Vec::new();
    while bench.io.pending_private_bytes() < LIMITS.private_bytes_max {
        fresh.push(bench.holder(0).0);
        bench.io.reap(&mut bench.service);
    }
    assert!(!dead.iter().any(|(key, _)| bench.is_closing(*key)), "there is enough for all");
    fresh.push(bench.holder(0).0);
    bench.io.reap(&mut bench.service);
    // Down to where large output need not wait.
    assert!(!bench.io.memory_is_short());
    assert!(!bench.is_closing(moving) && !fresh.iter().any(|key| bench.is_closing(*key)));
    // What was begun is sent to its end, what was not is forgotten.
    let mut closed = 0;
    for (number, (key, wire)) in dead.iter().enumerate() {
        if !bench.is_closing(*key) {
            continue;
        }
        closed += 1;
        wire.0.borrow_mut().room = 100_000;
        bench.io.writable(*key, &mut bench.service);
        let expected = if number % 2 == 1 { "p".repeat(5000) + "sorry" } else { "sorry".into() };
        assert_eq!(wire.0.borrow().written, expected.as_bytes());
        assert!(wire.0.borrow().shut_down);
    }
    assert!(closed >= 6, "{closed}");
}

#[test]
fn room_is_made_by_those_who_are_slow_and_by_nobody_else() {
    let mut bench = Bench::new(100);
    let (slow, _) = bench.holder(0);
    bench.later(Duration::from_secs(20));
    let mut fresh = vec![bench.holder(0).0, bench.holder(0).0];
    while !bench.io.memory_is_short() {
        fresh.push(bench.holder(0).0);
    }
    bench.io.make_room(&mut bench.service);
    assert!(bench.is_closing(slow) && !fresh.iter().any(|key| bench.is_closing(*key)));
    let (next, _) = bench.holder(0);
    bench.later(Duration::from_millis(1900));
    bench.io.make_room(&mut bench.service);
    assert!(!bench.is_closing(next));
    bench.clock = bench.clock.after(Duration::from_millis(200));
    bench.io.set_now(bench.clock);
    bench.io.make_room(&mut bench.service);
    assert!(fresh.iter().any(|key| bench.is_closing(*key)));
}

#[test]
fn one_connection_alone_may_hold_more_than_all_may_together() {
    let mut bench = Bench::new(0);
    bench.receive(&b"private\n".repeat(LIMITS.private_bytes_max / 5000 + 2));
    assert!(bench.io.pending_private_bytes() > LIMITS.private_bytes_max);
    bench.io.reap(&mut bench.service);
    assert!(bench.service.ended.is_empty());
    // Until another connection needs it.
    bench.later(Duration::from_secs(10));
    bench.holder(0);
    bench.holder(0);
    bench.io.reap(&mut bench.service);
    bench.later(Duration::from_secs(1));
    let (key, _) = bench.holder(0);
    bench.io.make_room(&mut bench.service);
    assert!(bench.is_closing(bench.key) && !bench.is_closing(key));
}

#[test]
fn input_that_is_not_complete_counts_as_memory() {
    let mut bench = Bench::new(100);
    bench.receive(b"12345678");
    assert!(bench.io.pending_private_bytes() >= 8);
    bench.io.visit(bench.key, |link, ()| link.hold_memory(1000));
    assert!(bench.io.pending_private_bytes() >= 1008);
    bench.io.visit(bench.key, |link, ()| link.hold_memory(0));
    bench.receive(b"\n");
    assert_eq!(bench.io.pending_private_bytes(), 0);
}
