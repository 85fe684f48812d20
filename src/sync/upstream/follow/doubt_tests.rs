//! What is asked before a grace ends.

use super::tests::{Bench, OPTIONS, home, is_dial, is_full};
use super::*;

#[test]
fn a_grace_that_is_due_has_its_full_at_once_and_then_more_and_more_rarely() {
    let mut bench = Bench::with(Options { resync_ms: 0, ..OPTIONS });
    bench.make_stable();
    bench.follow.doubt(bench.now_ms, true);
    let text = r#"{"messageType":"data-sync","data":{"timestamp":0,"verify":2}}"#.to_owned();
    assert!(bench.actions().contains(&Action::Ask { line: 1, text, full: true }));
    // It is answered, but not for certain.
    let mut asked_ms = vec![bench.now_ms];
    for _ in 0..7 {
        let provisional = Brought::Full { coverage: &home(), empty: false, provisional: true };
        bench.follow.message(bench.now_ms, 1, provisional);
        bench.follow.in_service(bench.now_ms, 1, home(), &[], false);
        bench.follow.doubt(bench.now_ms, true);
        while !bench.hear(1, 1).iter().any(is_full) {}
        asked_ms.push(bench.now_ms);
    }
    let pauses_s: Vec<u64> = asked_ms.windows(2).map(|two| (two[1] - two[0]) / 1_000).collect();
    assert_eq!(pauses_s, [30, 60, 120, 240, 480, 480, 480]);
    bench.full(1, &home(), &[]);
    bench.follow.doubt(bench.now_ms, false);
    assert!(!bench.hear(1, 1_000_000).iter().any(is_full));
}

#[test]
fn while_the_server_is_away_a_due_grace_waits_and_the_next_line_asks_for_everything() {
    let mut bench = Bench::stable();
    bench.follow.ended(bench.now_ms, 1, Fault::Failed);
    bench.follow.doubt(bench.now_ms, true);
    assert!(!bench.actions().iter().any(is_full));
    bench.until(is_dial);
    assert!(bench.dialled(2, Ok(())).iter().any(is_full));
}

#[test]
fn graces_that_become_due_again_and_again_do_not_make_it_ask_without_end() {
    let mut bench = Bench::stable();
    let mut asked = 0;
    let until_ms = bench.now_ms + 600_000;
    while bench.now_ms < until_ms {
        bench.follow.doubt(bench.now_ms, true);
        if bench.hear(1, 100).iter().any(is_full) {
            asked += 1;
            bench.full(1, &home(), &[]);
            bench.follow.doubt(bench.now_ms, false);
        }
    }
    assert!((10..60).contains(&asked), "{asked}");
}
