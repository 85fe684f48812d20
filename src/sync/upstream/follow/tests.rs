//! Single decisions, one a test.

use crate::model::environment_id::EnvironmentId;

use crate::protocol::from_relay::RelayRequest;
use crate::protocol::status::SyncState;

use super::*;

mod confirmation;
mod full_syncs;
mod replacement;
mod world;
mod world_steps;

pub(super) const TIMING: Timing = Timing {
    ping_ms: 15_000,
    silence_ms: 45_000,
    sync_ms: 60_000,
    sync_bytes: 6_000,
    resync_ms: 600_000,
    unknown_secret_ms: 30_000,
    retry_ms: 60_000,
    status_ms: 60_000,
    dial_ms: 10_000,
};

pub(super) const HOME: EnvironmentId = EnvironmentId::from_bytes([1; 16]);
pub(super) const OTHER: EnvironmentId = EnvironmentId::from_bytes([2; 16]);

/// A request for what is newer.
pub(super) fn since() -> RelayRequest {
    RelayRequest { timestamp_ms: 1, ..RelayRequest::default() }
}

/// Data that can be asked for by timestamps once something is in service.
#[derive(Debug, Default)]
pub(super) struct Holding {
    since: Option<RelayRequest>,
    asked: u64,
}

impl DataInService for Holding {
    fn since(&self) -> Option<RelayRequest> {
        self.since.clone()
    }

    fn begin_full(&mut self) -> u64 {
        self.asked += 1;
        self.asked
    }
}

pub(super) struct Bench {
    pub(super) follow: Follower,
    pub(super) data: Holding,
    pub(super) now_ms: u64,
    grace_due: bool,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(TIMING)
    }

    pub(super) fn with(options: Timing) -> Self {
        Self { follow: Follower::new(options, 7), data: Holding::default(), now_ms: 0, grace_due: false }
    }

    /// A grace that only a full sync ends is due, or not.
    pub(super) fn set_grace_due(&mut self, grace_due: bool) {
        self.grace_due = grace_due;
        self.follow.schedule.set_grace_due(self.now_ms, grace_due, &mut self.follow.random);
    }

    /// What is to be done now.
    pub(super) fn actions(&mut self) -> Vec<Action> {
        self.follow.turn(self.now_ms, self.grace_due, &mut self.data)
    }

    /// Goes on to the next deadline, and returns what is to be done then.
    pub(super) fn next(&mut self) -> Vec<Action> {
        let deadline_ms = self.follow.deadline_ms();
        assert!(deadline_ms > self.now_ms && deadline_ms < u64::MAX, "{deadline_ms}");
        self.now_ms = deadline_ms;
        self.actions()
    }

    /// Goes on until there is an action that `is` one.
    pub(super) fn until(&mut self, is: impl Fn(&Action) -> bool) -> Action {
        for _ in 0..1000 {
            if let Some(action) = self.next().into_iter().find(|action| is(action)) {
                return action;
            }
        }
        panic!("never: {:?}", self.follow)
    }

    /// Goes on for a time, while something comes in on the session.
    pub(super) fn hear(&mut self, session: u64, for_ms: u64) -> Vec<Action> {
        let until_ms = self.now_ms + for_ms;
        let mut actions = Vec::new();
        while self.now_ms < until_ms {
            self.follow.bytes_received(self.now_ms, session, 6, false);
            self.now_ms = self.follow.deadline_ms().min(until_ms).max(self.now_ms + 1);
            actions.extend(self.actions());
        }
        actions
    }

    /// Goes on until the action is to be done, while something comes in on the session; a day at most.
    fn hear_until(&mut self, session: u64, action: &Action) {
        let give_up_ms = self.now_ms + 86_400_000;
        while !self.hear(session, 1).contains(action) {
            assert!(self.now_ms < give_up_ms, "never: {:?}", self.follow);
        }
    }

    pub(super) fn dialled(&mut self, number: u64, result: Result<(), FailureKind>) -> Vec<Action> {
        self.follow.dialled(self.now_ms, number, result, &mut self.data);
        self.actions()
    }

    pub(super) fn full(
        &mut self,
        session: u64,
        coverage: &Coverage,
        changed: &[EnvironmentId],
    ) -> Option<u64> {
        let brought = Received::Full { coverage, empty: false, provisional: false };
        match self.follow.message(self.now_ms, session, brought) {
            Instruction::ReplaceAll { answered } => {
                self.follow.full_in_service(
                    self.now_ms,
                    NewFull {
                        number: session,
                        coverage: coverage.clone(),
                        changed,
                        confirms: Confirms::Everything,
                    },
                    false,
                );
                self.data.since = Some(since());
                answered
            }
            other => panic!("{other:?}"),
        }
    }

    /// One that has had its first full sync.
    pub(super) fn stable() -> Self {
        let mut bench = Self::new();
        bench.make_stable();
        bench
    }

    pub(super) fn make_stable(&mut self) {
        let bench = self;
        assert_eq!(bench.actions(), [Action::Dial { number: 1, register: true }]);
        bench.follow.registered();
        let asks = bench.dialled(1, Ok(()));
        assert_eq!(
            asks,
            [
                Action::Request { number: 1, request: RelayRequest::full() },
                Action::ReportStatus { number: 1 }
            ]
        );
        assert_eq!(bench.follow.state(), SyncState::Starting);
        assert_eq!(bench.full(1, &home(), &[HOME]), Some(1));
        let probe = Action::Request { number: 1, request: since() };
        assert_eq!(bench.actions(), [probe, Action::ReportStatus { number: 1 }]);
        bench.patch(1, &[HOME]);
        assert_eq!(bench.actions(), []);
        assert_eq!(bench.follow.state(), SyncState::Stable);
    }

    /// The answer to a request for what is newer: nothing, of these environments.
    pub(super) fn patch(&mut self, session: u64, environments: &[EnvironmentId]) -> Instruction {
        self.follow.message(
            self.now_ms,
            session,
            Received::Patch { environments, unknown_environment: false },
        )
    }
}

pub(super) fn home() -> Coverage {
    Coverage::with(&[(HOME, &["a"])])
}

pub(super) fn both() -> Coverage {
    Coverage::with(&[(HOME, &["a"]), (OTHER, &["b"])])
}

pub(super) fn is_dial(action: &Action) -> bool {
    matches!(action, Action::Dial { .. })
}

pub(super) fn is_full_request(action: &Action) -> bool {
    matches!(action, Action::Request { request, .. } if request.is_full())
}

#[test]
fn it_tries_again_for_ever_whatever_the_failure_and_registers_until_that_is_done() {
    for fault in [FailureKind::Failed, FailureKind::Refused] {
        let mut bench = Bench::new();
        bench.actions();
        for number in 1..=200 {
            bench.follow.not_registered(bench.now_ms, fault);
            assert_eq!(bench.dialled(number, Err(fault)), []);
            let before_ms = bench.now_ms;
            let dial = bench.until(is_dial);
            assert_eq!(dial, Action::Dial { number: number + 1, register: true });
            let waited_ms = bench.now_ms - before_ms;
            assert!(waited_ms <= 60_000, "{waited_ms}");
            // Who was refused waits for somebody to mend it.
            assert!(fault == FailureKind::Failed || waited_ms >= 30_000, "{waited_ms}");
        }
        assert_eq!(bench.follow.failed_attempts(), 200);
    }
}

#[test]
fn sessions_that_end_before_they_are_synced_count_as_failed_attempts() {
    let mut bench = Bench::new();
    bench.actions();
    for number in 1..=5 {
        bench.dialled(number, Ok(()));
        assert_eq!(bench.follow.failed_attempts(), number - 1);
        bench.follow.ended(bench.now_ms, number, FailureKind::Refused);
        assert_eq!(bench.follow.failed_attempts(), number);
        bench.until(is_dial);
    }
    bench.dialled(6, Ok(()));
    bench.full(6, &home(), &[HOME]);
    assert_eq!(bench.follow.failed_attempts(), 0);
    bench.follow.ended(bench.now_ms, 6, FailureKind::Failed);
    assert_eq!(bench.follow.failed_attempts(), 0, "that one had done");
}

#[test]
fn what_is_out_of_touch_further_up_changes_the_word_and_nothing_else() {
    let mut bench = Bench::stable();
    let deadline_ms = bench.follow.deadline_ms();
    for (is_current, state) in [(false, SyncState::Interrupted), (true, SyncState::Stable)] {
        bench.follow.upstream_is_connected(1, is_current);
        assert_eq!(bench.follow.state(), state);
        assert_eq!(bench.actions(), [Action::ReportStatus { number: 1 }]);
        assert_eq!(bench.follow.deadline_ms(), deadline_ms);
    }
    // Of one that is gone it says nothing.
    bench.follow.upstream_is_connected(7, false);
    assert_eq!((bench.follow.state(), bench.actions()), (SyncState::Stable, vec![]));
    // Another session knows nothing of it.
    bench.follow.upstream_is_connected(1, false);
    bench.follow.ended(bench.now_ms, 1, FailureKind::Failed);
    assert_eq!(bench.until(is_dial), Action::Dial { number: 2, register: false });
    bench.dialled(2, Ok(()));
    bench.patch(2, &[HOME]);
    assert_eq!(bench.follow.state(), SyncState::Stable);
}

#[test]
fn a_dial_that_says_nothing_is_given_up_and_comes_too_late() {
    let mut bench = Bench::new();
    bench.actions();
    // Its registration is still under way.
    assert_eq!(bench.until(is_dial), Action::Dial { number: 2, register: false });
    assert!(bench.now_ms >= 15_000);
    assert_eq!(bench.dialled(1, Ok(())), [Action::Drop { number: 1, why: DropReason::Late }]);
    assert!(bench.dialled(2, Ok(())).iter().any(is_full_request));
}

#[test]
fn a_session_that_is_not_heard_of_is_pinged_and_then_given_up() {
    let mut bench = Bench::stable();
    for at_ms in [15_000, 30_000] {
        assert_eq!(bench.next(), [Action::Ping { number: 1 }]);
        assert_eq!(bench.now_ms, at_ms);
    }
    let dropped = bench.next();
    assert_eq!(bench.now_ms, 45_000);
    assert_eq!(dropped[0], Action::Drop { number: 1, why: DropReason::Silent });
    assert_eq!(bench.follow.state(), SyncState::Interrupted);
    assert_eq!(bench.until(is_dial), Action::Dial { number: 2, register: false });
    // It goes on from what is in service.
    let asks = bench.dialled(2, Ok(()));
    assert_eq!(asks[0], Action::Request { number: 2, request: since() });
    bench.patch(2, &[HOME]);
    assert_eq!(bench.follow.state(), SyncState::Stable);
}

#[test]
fn whoever_was_too_busy_to_ask_does_not_call_the_server_silent() {
    let mut bench = Bench::stable();
    // As while a large dataset is compiled.
    bench.now_ms += 300_000;
    assert!(!bench.actions().iter().any(|action| matches!(action, Action::Drop { .. })));
    bench.follow.bytes_received(bench.now_ms, 1, 6, false);
    assert!(!bench.hear(1, 200_000).iter().any(|action| matches!(action, Action::Drop { .. })));
}

#[test]
fn pongs_are_no_answer_but_a_slow_one_is() {
    let mut bench = Bench::new();
    bench.actions();
    bench.dialled(1, Ok(()));
    for _ in 0..20 {
        bench.now_ms += 20_000;
        bench.follow.bytes_received(bench.now_ms, 1, 2_000, true);
        assert!(!bench.actions().iter().any(|action| matches!(action, Action::Drop { .. })));
    }
    let actions = bench.hear(1, 60_000);
    assert!(actions.contains(&Action::Drop { number: 1, why: DropReason::Unanswered }), "{actions:?}");
}

/// What went wrong: it occupied the agent for ever, which said all the while that it was up to date.
#[test]
fn a_message_that_drips_for_ever_ends_the_session() {
    let mut bench = Bench::stable();
    for second in 0..60 {
        assert_eq!(bench.follow.state(), SyncState::Stable, "{second}");
        bench.follow.bytes_received(bench.now_ms, 1, 1, true);
        bench.now_ms += 1_000;
        let ended = bench.actions().contains(&Action::Drop { number: 1, why: DropReason::Slow });
        assert_eq!(ended, second == 59);
    }
    assert_eq!(bench.follow.state(), SyncState::Interrupted);
    // One that is slow but gets there goes on for as long as it takes; nothing else can get through meanwhile.
    let mut bench = Bench::stable();
    for second in 0..3_600 {
        bench.follow.bytes_received(bench.now_ms, 1, 150, true);
        bench.now_ms += 1_000;
        let dropped = |action: &Action| matches!(action, Action::Drop { .. });
        assert!(!bench.actions().iter().any(dropped), "{second}");
        let expected = if second < 59 { SyncState::Stable } else { SyncState::Interrupted };
        assert_eq!(bench.follow.state(), expected, "{second}");
    }
    bench.follow.bytes_received(bench.now_ms, 1, 150, false);
    bench.follow.message(
        bench.now_ms,
        1,
        Received::Full { coverage: &home(), empty: false, provisional: false },
    );
    let data = home();
    bench.follow.full_in_service(
        bench.now_ms,
        NewFull { number: 1, coverage: data, changed: &[], confirms: Confirms::Everything },
        false,
    );
    bench.actions();
    assert_eq!(bench.follow.state(), SyncState::Stable);
}

#[test]
fn a_session_that_refuses_later_makes_it_register_again_and_wait() {
    let mut bench = Bench::stable();
    bench.follow.ended(bench.now_ms, 1, FailureKind::Refused);
    assert_eq!(bench.until(is_dial), Action::Dial { number: 2, register: true });
    assert!((30_000..=60_000).contains(&bench.now_ms), "{}", bench.now_ms);
}

#[test]
fn a_registration_that_failed_is_tried_again_while_the_session_is_open() {
    for fault in [FailureKind::Failed, FailureKind::Refused] {
        // No full sync gets in between.
        let mut bench = Bench::with(Timing { resync_ms: 1_000_000_000, ..TIMING });
        bench.actions();
        bench.follow.not_registered(bench.now_ms, fault);
        bench.dialled(1, Ok(()));
        bench.full(1, &home(), &[]);
        bench.actions();
        bench.patch(1, &[HOME]);
        let mut pauses_ms = Vec::new();
        for _ in 0..30 {
            let before_ms = bench.now_ms;
            bench.hear_until(1, &Action::Register);
            pauses_ms.push(bench.now_ms - before_ms);
            // One at a time.
            assert!(!bench.hear(1, 1_000).contains(&Action::Register));
            bench.follow.not_registered(bench.now_ms, fault);
        }
        assert!(pauses_ms.iter().all(|pause_ms| *pause_ms <= 60_001), "{pauses_ms:?}");
        assert!(
            fault == FailureKind::Failed || pauses_ms.iter().all(|pause_ms| *pause_ms >= 30_000),
            "{pauses_ms:?}"
        );
        bench.hear_until(1, &Action::Register);
        bench.follow.registered();
        assert!(!bench.hear(1, 200_000).contains(&Action::Register));
    }
}

#[test]
fn a_session_that_held_makes_failures_before_it_forgotten_once() {
    let mut bench = Bench::new();
    bench.actions();
    for number in 1..10 {
        bench.dialled(number, Err(FailureKind::Failed));
        bench.until(is_dial);
    }
    bench.dialled(10, Ok(()));
    bench.full(10, &home(), &[]);
    bench.hear(10, 61_000);
    bench.follow.ended(bench.now_ms, 10, FailureKind::Failed);
    let before_ms = bench.now_ms;
    bench.until(is_dial);
    assert!(bench.now_ms - before_ms <= 1_000);
}
