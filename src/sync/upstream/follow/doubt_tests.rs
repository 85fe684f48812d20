//! What is asked before a grace ends.

use crate::protocol::to_relay::MessageKind;

use super::tests::{Bench, OPTIONS, home, is_dial, is_full};
use super::*;

#[test]
fn a_grace_that_is_due_has_its_full_at_once_and_then_more_and_more_rarely() {
    let mut bench = Bench::with(Options { resync_ms: 0, ..OPTIONS });
    bench.make_stable();
    bench.follow.doubt(bench.now_ms, true);
    let request = RelayRequest::verified_full(2);
    assert!(bench.actions().contains(&Action::Ask { line: 1, request }));
    // It is answered, but not for certain.
    let mut asked_ms = vec![bench.now_ms];
    for _ in 0..7 {
        let provisional = Brought::Full { coverage: &home(), empty: false, provisional: true };
        bench.follow.message(bench.now_ms, 1, provisional);
        bench.follow.in_service(bench.now_ms, 1, home(), &[], false, Vouches::All);
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

/// A full was asked for on line 1 and came; the other end has not said that it is all there is.
fn provisional() -> Bench {
    let mut bench = Bench::stable();
    bench.follow.wish();
    assert!(bench.actions().iter().any(is_full));
    let full = Brought::Full { coverage: &home(), empty: false, provisional: true };
    assert_eq!(bench.follow.message(bench.now_ms, 1, full), Take::Everything { answered: None });
    bench.follow.in_service(bench.now_ms, 1, home(), &[], false, Vouches::All);
    bench
}

fn verified(bench: &mut Bench) -> Take {
    bench.follow.message(bench.now_ms, 1, Brought::Verified(2))
}

#[test]
fn what_was_not_taken_in_is_not_made_certain_by_a_later_word() {
    assert_eq!(verified(&mut provisional()), Take::Certain { answered: 2 });
    // Another full came, and was refused.
    let mut bench = provisional();
    let empty = Brought::Full { coverage: &home(), empty: true, provisional: true };
    assert_eq!(bench.follow.message(bench.now_ms, 1, empty), Take::Refuse);
    assert_eq!(verified(&mut bench), Take::Nothing);
    // One that could not be read, or something that may have been one.
    for kind in [Some(MessageKind::Full), None] {
        let mut bench = provisional();
        bench.follow.message(bench.now_ms, 1, Brought::Broken(kind));
        assert_eq!(verified(&mut bench), Take::Nothing);
    }
    let mut bench = provisional();
    bench.follow.message(bench.now_ms, 1, Brought::Broken(Some(MessageKind::Patch)));
    assert_eq!(verified(&mut bench), Take::Certain { answered: 2 });
    // One that would have taken back what was pushed meanwhile.
    let mut bench = Bench::stable();
    bench.follow.wish();
    bench.actions();
    bench.follow.overflowed();
    let full = Brought::Full { coverage: &home(), empty: false, provisional: true };
    assert_eq!(bench.follow.message(bench.now_ms, 1, full), Take::Nothing);
    assert_eq!(verified(&mut bench), Take::Nothing);
    // One that was taken in makes up for it.
    assert!(bench.actions().iter().any(is_full));
    assert_eq!(bench.follow.message(bench.now_ms, 1, full), Take::Everything { answered: None });
    bench.follow.in_service(bench.now_ms, 1, home(), &[], false, Vouches::All);
    let take = bench.follow.message(bench.now_ms, 1, Brought::Verified(3));
    assert_eq!(take, Take::Certain { answered: 3 });
}

#[test]
fn what_could_not_all_be_read_is_made_certain_as_far_as_it_was() {
    for (vouches, expected) in
        [(Vouches::Gone, Take::Proved { answered: 2 }), (Vouches::Nothing, Take::Nothing)]
    {
        let mut bench = provisional();
        bench.follow.in_service(bench.now_ms, 1, home(), &[], false, vouches);
        assert_eq!(verified(&mut bench), expected);
    }
}

#[test]
fn a_word_on_one_line_says_nothing_of_what_came_on_another() {
    let mut bench = provisional();
    bench.follow.in_service(bench.now_ms, 2, home(), &[], false, Vouches::All);
    assert_eq!(verified(&mut bench), Take::Nothing);
}

#[test]
fn messages_in_two_parts_do_not_have_an_answer_awaited_for_ever() {
    let mut bench = Bench::stable();
    bench.follow.resync();
    assert!(bench.actions().iter().any(is_full));
    let asked_ms = bench.now_ms;
    while !bench.actions().iter().any(|action| matches!(action, Action::Drop { line: 1, .. })) {
        assert!(bench.now_ms < asked_ms + 2 * 60_000, "never: {:?}", bench.follow);
        bench.now_ms += 500;
        let unfinished = bench.now_ms % 1000 == 500;
        bench.follow.heard(bench.now_ms, 1, 4, unfinished);
    }
    assert!(bench.now_ms >= asked_ms + 60_000);
}
