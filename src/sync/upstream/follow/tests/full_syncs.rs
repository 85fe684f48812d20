//! When a full sync is asked for, and what is done with what comes.

use crate::protocol::to_relay::MessageKind;

use crate::protocol::from_relay::RelayRequest;
use crate::protocol::status::SyncState;

use super::super::*;
use super::{Bench, HOME, OTHER, home, is_dial, is_full_request};

#[test]
fn everything_is_asked_for_again_by_time_on_the_same_session() {
    let mut bench = Bench::stable();
    while !bench.hear(1, 1_000).iter().any(is_full_request) {}
    assert!((540_000..=661_000).contains(&bench.now_ms), "{}", bench.now_ms);
    assert_eq!(bench.full(1, &home(), &[]), Some(2));
    bench.follow.full_sync_requested();
    assert!(bench.actions().iter().any(is_full_request));
    // One at a time.
    bench.follow.full_sync_requested();
    assert!(!bench.actions().iter().any(is_full_request));
    assert_eq!(bench.full(1, &home(), &[]), Some(3));
    assert!(bench.actions().iter().any(is_full_request));
}

#[test]
fn unknown_secrets_ask_for_everything_at_once_and_then_rarely() {
    let mut bench = Bench::stable();
    bench.follow.unknown_secret();
    assert!(bench.actions().iter().any(is_full_request));
    // What is shown after it was asked for needs another.
    bench.follow.unknown_secret();
    bench.full(1, &home(), &[]);
    let asked_ms = bench.now_ms;
    assert!(!bench.actions().iter().any(is_full_request));
    let actions = bench.hear(1, 29_999);
    assert!(!actions.iter().any(is_full_request), "{actions:?}");
    assert!(bench.hear(1, 1).iter().any(is_full_request));
    assert_eq!(bench.now_ms, asked_ms + 30_000);
    bench.full(1, &home(), &[]);
    assert!(!bench.hear(1, 300_000).iter().any(is_full_request));
}

#[test]
fn an_empty_full_is_refused_and_another_asked_for() {
    let mut bench = Bench::stable();
    bench.follow.full_sync_requested();
    bench.actions();
    let empty = Received::Full { coverage: &Coverage::default(), empty: true, provisional: false };
    assert_eq!(bench.follow.message(bench.now_ms, 1, empty), Instruction::Refuse);
    assert_eq!(bench.follow.state(), SyncState::Interrupted);
    let actions = bench.actions();
    assert!(
        actions.iter().any(is_full_request) && actions.contains(&Action::ReportStatus { number: 1 }),
        "{actions:?}"
    );
    // Then less and less often, up to the cap.
    let mut asked = 0;
    for _ in 0..100 {
        bench.follow.message(bench.now_ms, 1, empty);
        asked += bench.hear(1, 60_000).iter().filter(|action| is_full_request(action)).count();
    }
    assert!((90..=101).contains(&asked), "{asked}");
    assert!(bench.full(1, &home(), &[]).is_some());
    assert_eq!(bench.follow.state(), SyncState::Stable);
}

#[test]
fn a_provisional_full_is_taken_in_but_answers_only_when_it_is_verified() {
    let mut bench = Bench::stable();
    bench.follow.unknown_secret();
    let request = RelayRequest::verified_full(2);
    assert!(bench.actions().contains(&Action::Request { number: 1, request }));
    let provisional = Received::Full { coverage: &home(), empty: false, provisional: true };
    assert_eq!(
        bench.follow.message(bench.now_ms, 1, provisional),
        Instruction::ReplaceAll { answered: None }
    );
    bench.follow.full_in_service(
        bench.now_ms,
        NewFull { number: 1, coverage: home(), changed: &[], confirms: Confirms::Everything },
        false,
    );
    let take = bench.follow.message(bench.now_ms, 1, Received::Verified(2));
    assert_eq!(take, Instruction::ConfirmAll { answered: 2 });
    // What was never asked for is not verified, and a full sync that nobody asked for answers nothing.
    assert_eq!(bench.follow.message(bench.now_ms, 1, Received::Verified(3)), Instruction::Ignore);
    assert_eq!(bench.full(1, &home(), &[]), None);
}

#[test]
fn what_cannot_be_read_asks_for_everything_and_stays_where_it_is() {
    let mut bench = Bench::stable();
    bench.follow.message(bench.now_ms, 1, Received::Unreadable(None));
    assert_eq!(bench.follow.state(), SyncState::Interrupted);
    assert!(bench.actions().iter().any(is_full_request));
    // A broken push is not the answer.
    bench.follow.message(bench.now_ms, 1, Received::Unreadable(Some(MessageKind::Change)));
    assert!(!bench.actions().iter().any(is_full_request));
    assert_eq!(bench.full(1, &home(), &[]), Some(2));
    assert_eq!(bench.follow.state(), SyncState::Stable);
    // Where an answer is awaited, garbage may have been it: nobody can tell what comes next.
    bench.follow.full_sync_requested();
    bench.actions();
    bench.follow.message(bench.now_ms, 1, Received::Unreadable(None));
    assert!(bench.actions().contains(&Action::Drop { number: 1, why: DropReason::Unreadable }));
}

#[test]
fn a_patch_for_a_strange_environment_asks_for_everything() {
    let mut bench = Bench::stable();
    let change = Received::Change { environments: &[OTHER], unknown_environment: true };
    assert_eq!(bench.follow.message(bench.now_ms, 1, change), Instruction::Merge { remember: false });
    assert!(bench.actions().iter().any(is_full_request));
    assert_eq!(bench.follow.state(), SyncState::Stable);
    // While that is under way everything is remembered.
    assert_eq!(bench.follow.message(bench.now_ms, 1, change), Instruction::Merge { remember: true });
}

/// What went wrong: what the server said and the agent does not know was counted, and data stayed stale.
#[test]
fn what_is_not_understood_asks_for_everything_once_more_while_one_is_under_way() {
    let vague = Received::Environment { environment: None, unknown_environment: true };
    for brought in [Received::Unknown, vague] {
        let mut bench = Bench::stable();
        assert_eq!(bench.follow.message(bench.now_ms, 1, brought), Instruction::Ignore);
        assert!(bench.actions().iter().any(is_full_request));
        assert_eq!(bench.follow.state(), SyncState::Stable);
        // The answer that is under way may be older than what is said now.
        assert_eq!(bench.follow.message(bench.now_ms, 1, brought), Instruction::Ignore);
        assert!(!bench.actions().iter().any(is_full_request));
        bench.full(1, &home(), &[]);
        assert!(bench.hear(1, 1_001).iter().any(is_full_request));
    }
}

#[test]
fn a_server_that_says_what_is_not_understood_with_each_full_is_not_asked_in_a_loop() {
    let mut bench = Bench::stable();
    let begin_ms = bench.now_ms;
    let mut fulls = 0;
    while bench.now_ms < begin_ms + 86_400_000 {
        bench.follow.message(bench.now_ms, 1, Received::Unknown);
        if bench.actions().iter().any(is_full_request) || bench.hear(1, 1_000).iter().any(is_full_request) {
            fulls += 1;
            bench.full(1, &home(), &[]);
        }
    }
    // As by time, of which there are 144, and as many more or a little.
    assert!(fulls < 3 * 144, "{fulls}");
}

#[test]
fn all_of_an_environment_is_taken_as_its_items_are() {
    let mut bench = Bench::stable();
    let all = |environment, unknown_environment| Received::Environment {
        environment: Some(environment),
        unknown_environment,
    };
    let take = bench.follow.message(bench.now_ms, 1, all(HOME, false));
    assert_eq!(take, Instruction::Merge { remember: false });
    assert!(!bench.actions().iter().any(is_full_request));
    bench.follow.message(bench.now_ms, 1, all(OTHER, true));
    assert!(bench.actions().iter().any(is_full_request));
    let take = bench.follow.message(bench.now_ms, 1, all(HOME, false));
    assert_eq!(take, Instruction::Merge { remember: true });
}

#[test]
fn before_there_is_data_pushes_are_only_remembered() {
    let mut bench = Bench::new();
    bench.actions();
    bench.dialled(1, Ok(()));
    let change = Received::Change { environments: &[HOME], unknown_environment: true };
    assert_eq!(bench.follow.message(bench.now_ms, 1, change), Instruction::Remember);
}

#[test]
fn a_full_whose_pushes_could_not_be_remembered_is_asked_for_again() {
    let mut bench = Bench::stable();
    bench.follow.full_sync_requested();
    bench.actions();
    bench.follow.pushes_lost();
    let full = Received::Full { coverage: &home(), empty: false, provisional: false };
    assert_eq!(bench.follow.message(bench.now_ms, 1, full), Instruction::Ignore);
    assert!(bench.actions().iter().any(is_full_request));
    assert_eq!(bench.full(1, &home(), &[]), Some(3));
}

#[test]
fn after_data_came_by_another_way_a_new_session_asks_for_everything() {
    let mut bench = Bench::stable();
    bench.follow.foreign_data();
    assert!(!bench.actions().iter().any(is_full_request));
    bench.follow.ended(bench.now_ms, 1, FailureKind::Failed);
    bench.until(is_dial);
    assert!(bench.dialled(2, Ok(())).iter().any(is_full_request));
}

#[test]
fn a_full_that_nobody_answered_is_asked_for_on_the_next_session() {
    let mut bench = Bench::stable();
    bench.follow.full_sync_requested();
    bench.actions();
    bench.follow.ended(bench.now_ms, 1, FailureKind::Failed);
    bench.until(is_dial);
    assert!(bench.dialled(2, Ok(())).iter().any(is_full_request));
}

#[test]
fn the_status_is_reported_by_time_and_when_it_changes() {
    let mut bench = Bench::stable();
    let reports = |actions: &[Action]| {
        actions.iter().filter(|action| matches!(action, Action::ReportStatus { number: 1 })).count()
    };
    assert_eq!(reports(&bench.hear(1, 59_000)), 0);
    assert_eq!(reports(&bench.hear(1, 2_000)), 1);
    assert_eq!(reports(&bench.hear(1, 179_000)), 3);
    bench.follow.message(bench.now_ms, 1, Received::Unreadable(None));
    assert_eq!(reports(&bench.actions()), 1);
}
