//! A session that is not mapped to everything is replaced by one that is.

use crate::protocol::status::SyncState;

use super::super::*;
use super::{Bench, HOME, OTHER, both, home, is_dial, is_full_request, since};

#[test]
fn what_the_server_did_not_map_gets_a_second_session_that_takes_over() {
    let mut bench = Bench::stable();
    bench.follow.full_sync_requested();
    bench.actions();
    bench.full(1, &both(), &[OTHER]);
    assert!(bench.actions().contains(&Action::Dial { number: 2, register: false }));
    // The first one goes on being read.
    let change = Received::Change { environments: &[HOME], unknown_environment: false };
    assert_eq!(bench.follow.message(bench.now_ms, 1, change), Instruction::Merge { remember: false });
    assert_eq!(bench.dialled(2, Ok(()))[0], Action::Request { number: 2, request: since() });
    assert_eq!(bench.follow.state(), SyncState::Stable);
    assert_eq!(bench.patch(2, &[HOME, OTHER]), Instruction::Merge { remember: false });
    assert_eq!(bench.actions(), [Action::Close { number: 1 }]);
    // What the first one still says counts, and the second knows it all.
    assert_eq!(bench.follow.message(bench.now_ms, 1, change), Instruction::Merge { remember: false });
    bench.follow.full_sync_requested();
    bench.actions();
    bench.full(2, &both(), &[]);
    assert!(!bench.actions().iter().any(is_dial));
}

#[test]
fn a_new_server_secret_gets_a_second_session_and_the_first_stays_if_that_fails() {
    let mut bench = Bench::stable();
    bench.follow.full_sync_requested();
    bench.actions();
    bench.full(1, &Coverage::with(&[(HOME, &["a", "new"])]), &[]);
    let mut number = 2;
    assert!(bench.actions().contains(&Action::Dial { number, register: false }));
    for _ in 0..5 {
        bench.dialled(number, Err(FailureKind::Failed));
        assert_eq!(bench.follow.state(), SyncState::Stable);
        number += 1;
        let before_ms = bench.now_ms;
        while !bench.hear(1, 1).contains(&Action::Dial { number, register: false }) {}
        assert!(bench.now_ms - before_ms <= 60_001);
    }
    bench.dialled(number, Ok(()));
    bench.follow.ended(bench.now_ms, 1, FailureKind::Failed);
    assert!(!bench.actions().iter().any(is_dial), "the second is there");
}

#[test]
fn a_session_that_is_not_told_of_all_that_is_held_is_replaced_once_for_each_reason() {
    let mut bench = Bench::stable();
    bench.follow.ended(bench.now_ms, 1, FailureKind::Failed);
    bench.until(is_dial);
    // It was opened while the other one was out of the scope, and so it says when it is asked; a full sync has it again.
    bench.dialled(2, Ok(()));
    bench.patch(2, &[HOME]);
    bench.follow.full_sync_requested();
    assert!(bench.actions().iter().any(is_full_request));
    bench.follow.sessions.get(2).unwrap().known = Some(both());
    bench.full(2, &both(), &[]);
    assert!(bench.actions().iter().any(is_dial));
    // Its successor is not mapped to it either: the server has its reasons.
    bench.dialled(3, Ok(()));
    bench.patch(3, &[HOME]);
    bench.follow.full_sync_requested();
    bench.actions();
    bench.full(3, &both(), &[]);
    assert!(!bench.actions().iter().any(is_dial));
    assert!(!bench.hear(3, 300_000).iter().any(is_full_request));
    // An environment in service that a new session is not mapped to may have left the scope: a full sync is asked for.
    bench.follow.ended(bench.now_ms, 3, FailureKind::Failed);
    bench.until(is_dial);
    bench.dialled(4, Ok(()));
    bench.patch(4, &[OTHER]);
    assert!(bench.actions().iter().any(is_full_request));
    bench.full(4, &Coverage::with(&[(OTHER, &["b"])]), &[]);
    assert!(!bench.actions().iter().any(is_dial));
}

#[test]
fn a_session_that_hears_no_pushes_is_replaced_but_not_often() {
    let mut bench = Bench::stable();
    // As with a request that is too long to be asked: what it is mapped to is not known.
    let forget = |bench: &mut Bench| {
        for number in 1..=2 {
            if let Some(session) = bench.follow.sessions.get(number) {
                (session.mapped, session.mapping_requested) = (None, true);
            }
        }
    };
    forget(&mut bench);
    let resync = |bench: &mut Bench, session| {
        bench.follow.full_sync_requested();
        bench.actions();
        bench.full(session, &home(), &[HOME]);
        bench.actions().iter().any(is_dial)
    };
    assert!(resync(&mut bench, 1), "a change that was not pushed");
    bench.dialled(2, Ok(()));
    bench.patch(2, &[HOME]);
    forget(&mut bench);
    assert!(!resync(&mut bench, 2));
    bench.hear(2, 300_000);
    assert!(!resync(&mut bench, 2));
    bench.hear(2, 301_000);
    assert!(resync(&mut bench, 2));
    // An environment without a server secret is never mapped.
    let mut bench = Bench::stable();
    bench.follow.full_sync_requested();
    bench.actions();
    let coverage = Coverage::with(&[(HOME, &["a"]), (OTHER, &[])]);
    bench.full(1, &coverage, &[]);
    assert!(bench.actions().iter().any(is_dial));
    bench.dialled(2, Ok(()));
    bench.patch(2, &[HOME]);
    forget(&mut bench);
    bench.follow.full_sync_requested();
    bench.actions();
    bench.full(2, &coverage, &[OTHER]);
    assert!(!bench.actions().iter().any(is_dial));
    // On this one a push came in.
    let change = Received::Change { environments: &[HOME], unknown_environment: false };
    bench.follow.message(bench.now_ms, 2, change);
    assert!(!resync(&mut bench, 2));
}
