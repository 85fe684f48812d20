//! What is asked before a grace ends, and what the answer confirms.

use crate::protocol::to_relay::MessageKind;

use crate::protocol::from_relay::RelayRequest;

use super::super::*;
use super::{Bench, TIMING, home, is_dial, is_full_request};

#[test]
fn a_grace_that_is_due_has_its_full_at_once_and_then_more_and_more_rarely() {
    let mut bench = Bench::with(Timing { resync_ms: 0, ..TIMING });
    bench.make_stable();
    bench.set_grace_due(true);
    let request = RelayRequest::verified_full(2);
    assert!(bench.actions().contains(&Action::Request { number: 1, request }));
    // It is answered, but not for certain.
    let mut asked_ms = vec![bench.now_ms];
    for _ in 0..7 {
        let provisional = Received::Full { coverage: &home(), empty: false, provisional: true };
        bench.follow.message(bench.now_ms, 1, provisional);
        bench.follow.full_in_service(
            bench.now_ms,
            NewFull { number: 1, coverage: home(), changed: &[], confirms: Confirms::Everything },
            false,
        );
        bench.set_grace_due(true);
        while !bench.hear(1, 1).iter().any(is_full_request) {}
        asked_ms.push(bench.now_ms);
    }
    let pauses_s: Vec<u64> = asked_ms.windows(2).map(|two| (two[1] - two[0]) / 1_000).collect();
    assert_eq!(pauses_s, [30, 60, 120, 240, 480, 480, 480]);
    bench.full(1, &home(), &[]);
    bench.set_grace_due(false);
    assert!(!bench.hear(1, 1_000_000).iter().any(is_full_request));
}

#[test]
fn while_the_server_is_away_a_due_grace_waits_and_the_next_session_asks_for_everything() {
    let mut bench = Bench::stable();
    bench.follow.ended(bench.now_ms, 1, FailureKind::Failed);
    bench.set_grace_due(true);
    assert!(!bench.actions().iter().any(is_full_request));
    bench.until(is_dial);
    assert!(bench.dialled(2, Ok(())).iter().any(is_full_request));
}

#[test]
fn graces_that_become_due_again_and_again_do_not_make_it_ask_without_end() {
    let mut bench = Bench::stable();
    let mut asked = 0;
    let until_ms = bench.now_ms + 600_000;
    while bench.now_ms < until_ms {
        bench.set_grace_due(true);
        if bench.hear(1, 100).iter().any(is_full_request) {
            asked += 1;
            bench.full(1, &home(), &[]);
            bench.set_grace_due(false);
        }
    }
    assert!((10..60).contains(&asked), "{asked}");
}

/// A full sync was asked for on session 1 and came; the server has not said that it is all there is.
fn provisional() -> Bench {
    let mut bench = Bench::stable();
    bench.follow.unknown_secret();
    assert!(bench.actions().iter().any(is_full_request));
    let full = Received::Full { coverage: &home(), empty: false, provisional: true };
    assert_eq!(bench.follow.message(bench.now_ms, 1, full), Instruction::ReplaceAll { answered: None });
    bench.follow.full_in_service(
        bench.now_ms,
        NewFull { number: 1, coverage: home(), changed: &[], confirms: Confirms::Everything },
        false,
    );
    bench
}

fn verified(bench: &mut Bench) -> Instruction {
    bench.follow.message(bench.now_ms, 1, Received::Verified(2))
}

#[test]
fn what_was_not_taken_in_is_not_made_certain_by_a_later_word() {
    assert_eq!(verified(&mut provisional()), Instruction::ConfirmAll { answered: 2 });
    // Another full sync came, and was refused.
    let mut bench = provisional();
    let empty = Received::Full { coverage: &home(), empty: true, provisional: true };
    assert_eq!(bench.follow.message(bench.now_ms, 1, empty), Instruction::Refuse);
    assert_eq!(verified(&mut bench), Instruction::Ignore);
    // One that could not be read, or something that may have been one.
    for kind in [Some(MessageKind::Full), None] {
        let mut bench = provisional();
        bench.follow.message(bench.now_ms, 1, Received::Unreadable(kind));
        assert_eq!(verified(&mut bench), Instruction::Ignore);
    }
    let mut bench = provisional();
    bench.follow.message(bench.now_ms, 1, Received::Unreadable(Some(MessageKind::Patch)));
    assert_eq!(verified(&mut bench), Instruction::ConfirmAll { answered: 2 });
    // One that would have taken back what was pushed meanwhile.
    let mut bench = Bench::stable();
    bench.follow.unknown_secret();
    bench.actions();
    bench.follow.pushes_lost();
    let full = Received::Full { coverage: &home(), empty: false, provisional: true };
    assert_eq!(bench.follow.message(bench.now_ms, 1, full), Instruction::Ignore);
    assert_eq!(verified(&mut bench), Instruction::Ignore);
    // One that was taken in makes up for it.
    assert!(bench.actions().iter().any(is_full_request));
    assert_eq!(bench.follow.message(bench.now_ms, 1, full), Instruction::ReplaceAll { answered: None });
    bench.follow.full_in_service(
        bench.now_ms,
        NewFull { number: 1, coverage: home(), changed: &[], confirms: Confirms::Everything },
        false,
    );
    let take = bench.follow.message(bench.now_ms, 1, Received::Verified(3));
    assert_eq!(take, Instruction::ConfirmAll { answered: 3 });
}

#[test]
fn what_could_not_all_be_read_is_made_certain_as_far_as_it_was() {
    for (confirms, expected) in [
        (Confirms::Removals, Instruction::ConfirmRemovals { answered: 2 }),
        (Confirms::Nothing, Instruction::Ignore),
    ] {
        let mut bench = provisional();
        bench.follow.full_in_service(
            bench.now_ms,
            NewFull { number: 1, coverage: home(), changed: &[], confirms },
            false,
        );
        assert_eq!(verified(&mut bench), expected);
    }
}

#[test]
fn a_word_on_one_session_says_nothing_of_what_came_on_another() {
    let mut bench = provisional();
    bench.follow.full_in_service(
        bench.now_ms,
        NewFull { number: 2, coverage: home(), changed: &[], confirms: Confirms::Everything },
        false,
    );
    assert_eq!(verified(&mut bench), Instruction::Ignore);
}

#[test]
fn messages_in_two_parts_do_not_have_an_answer_awaited_for_ever() {
    let mut bench = Bench::stable();
    bench.follow.full_sync_requested();
    assert!(bench.actions().iter().any(is_full_request));
    let asked_ms = bench.now_ms;
    while !bench.actions().iter().any(|action| matches!(action, Action::Drop { number: 1, .. })) {
        assert!(bench.now_ms < asked_ms + 2 * 60_000, "never: {:?}", bench.follow);
        bench.now_ms += 500;
        let unfinished = bench.now_ms % 1000 == 500;
        bench.follow.bytes_received(bench.now_ms, 1, 4, unfinished);
    }
    assert!(bench.now_ms >= asked_ms + 60_000);
}
