//! Single decisions, one a test.

use crate::model::environment_id::EnvironmentId;
use crate::protocol::to_relay::MessageKind;

use super::*;

pub(super) const OPTIONS: Options = Options {
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

/// Data that can be asked for by timestamps once something is held.
#[derive(Debug, Default)]
pub(super) struct Holding {
    since: Option<RelayRequest>,
    asked: u64,
}

impl Data for Holding {
    fn since(&self) -> Option<RelayRequest> {
        self.since.clone()
    }

    fn begin_full(&mut self) -> u64 {
        self.asked += 1;
        self.asked
    }
}

pub(super) struct Bench {
    pub(super) follow: Follow,
    pub(super) data: Holding,
    pub(super) now_ms: u64,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(OPTIONS)
    }

    pub(super) fn with(options: Options) -> Self {
        Self { follow: Follow::new(options, 7), data: Holding::default(), now_ms: 0 }
    }

    /// What is to be done now.
    pub(super) fn actions(&mut self) -> Vec<Action> {
        self.follow.tick(self.now_ms, &mut self.data);
        std::iter::from_fn(|| self.follow.next_action()).collect()
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

    /// Goes on for a time, while the line is heard of.
    pub(super) fn hear(&mut self, line: u64, for_ms: u64) -> Vec<Action> {
        let until_ms = self.now_ms + for_ms;
        let mut actions = Vec::new();
        while self.now_ms < until_ms {
            self.follow.heard(self.now_ms, line, 6, false);
            self.now_ms = self.follow.deadline_ms().min(until_ms).max(self.now_ms + 1);
            actions.extend(self.actions());
        }
        actions
    }

    /// Goes on until the action is to be done, while the line is heard of; a day at most.
    fn hear_until(&mut self, line: u64, action: &Action) {
        let give_up_ms = self.now_ms + 86_400_000;
        while !self.hear(line, 1).contains(action) {
            assert!(self.now_ms < give_up_ms, "never: {:?}", self.follow);
        }
    }

    pub(super) fn dialled(&mut self, number: u64, result: Result<(), Fault>) -> Vec<Action> {
        self.follow.dialled(self.now_ms, number, result, &mut self.data);
        self.actions()
    }

    pub(super) fn full(&mut self, line: u64, coverage: &Coverage, changed: &[EnvironmentId]) -> Option<u64> {
        let brought = Brought::Full { coverage, empty: false, provisional: false };
        match self.follow.message(self.now_ms, line, brought) {
            Take::Everything { answered } => {
                self.follow.in_service(self.now_ms, line, coverage.clone(), changed, false, Vouches::All);
                self.data.since = Some(since());
                answered
            }
            other => panic!("{other:?}"),
        }
    }

    /// One that has had its first full.
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
            [Action::Ask { line: 1, request: RelayRequest::full() }, Action::Report { line: 1 }]
        );
        assert_eq!(bench.follow.state(), SyncState::Starting);
        assert_eq!(bench.full(1, &home(), &[HOME]), Some(1));
        let probe = Action::Ask { line: 1, request: since() };
        assert_eq!(bench.actions(), [probe, Action::Report { line: 1 }]);
        bench.patch(1, &[HOME]);
        assert_eq!(bench.actions(), []);
        assert_eq!(bench.follow.state(), SyncState::Stable);
    }

    /// The answer to a request for what is newer: nothing, of these environments.
    pub(super) fn patch(&mut self, line: u64, environments: &[EnvironmentId]) -> Take {
        self.follow.message(self.now_ms, line, Brought::Patch { environments, strange: false })
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

pub(super) fn is_full(action: &Action) -> bool {
    matches!(action, Action::Ask { request, .. } if request.is_full())
}

#[test]
fn it_tries_again_for_ever_whatever_the_failure_and_registers_until_that_is_done() {
    for fault in [Fault::Failed, Fault::Refused] {
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
            assert!(fault == Fault::Failed || waited_ms >= 30_000, "{waited_ms}");
        }
        assert_eq!(bench.follow.failed_attempts(), 200);
    }
}

#[test]
fn lines_that_end_before_they_are_synced_count_as_failed_attempts() {
    let mut bench = Bench::new();
    bench.actions();
    for number in 1..=5 {
        bench.dialled(number, Ok(()));
        assert_eq!(bench.follow.failed_attempts(), number - 1);
        bench.follow.ended(bench.now_ms, number, Fault::Refused);
        assert_eq!(bench.follow.failed_attempts(), number);
        bench.until(is_dial);
    }
    bench.dialled(6, Ok(()));
    bench.full(6, &home(), &[HOME]);
    assert_eq!(bench.follow.failed_attempts(), 0);
    bench.follow.ended(bench.now_ms, 6, Fault::Failed);
    assert_eq!(bench.follow.failed_attempts(), 0, "that one had done");
}

#[test]
fn what_is_out_of_touch_further_up_changes_the_word_and_nothing_else() {
    let mut bench = Bench::stable();
    let deadline_ms = bench.follow.deadline_ms();
    for (is_current, state) in [(false, SyncState::Interrupted), (true, SyncState::Stable)] {
        bench.follow.above(1, is_current);
        assert_eq!(bench.follow.state(), state);
        assert_eq!(bench.actions(), [Action::Report { line: 1 }]);
        assert_eq!(bench.follow.deadline_ms(), deadline_ms);
    }
    // Of one that is gone it says nothing.
    bench.follow.above(7, false);
    assert_eq!((bench.follow.state(), bench.actions()), (SyncState::Stable, vec![]));
    // Another line knows nothing of it.
    bench.follow.above(1, false);
    bench.follow.ended(bench.now_ms, 1, Fault::Failed);
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
    assert_eq!(bench.dialled(1, Ok(())), [Action::Drop { line: 1, why: Why::Late }]);
    assert!(bench.dialled(2, Ok(())).iter().any(is_full));
}

#[test]
fn a_line_that_is_not_heard_of_is_pinged_and_then_given_up() {
    let mut bench = Bench::stable();
    for at_ms in [15_000, 30_000] {
        assert_eq!(bench.next(), [Action::Ping { line: 1 }]);
        assert_eq!(bench.now_ms, at_ms);
    }
    let dropped = bench.next();
    assert_eq!(bench.now_ms, 45_000);
    assert_eq!(dropped[0], Action::Drop { line: 1, why: Why::Silent });
    assert_eq!(bench.follow.state(), SyncState::Interrupted);
    assert_eq!(bench.until(is_dial), Action::Dial { number: 2, register: false });
    // It goes on from what is held.
    let asks = bench.dialled(2, Ok(()));
    assert_eq!(asks[0], Action::Ask { line: 2, request: since() });
    bench.patch(2, &[HOME]);
    assert_eq!(bench.follow.state(), SyncState::Stable);
}

#[test]
fn whoever_was_too_busy_to_ask_does_not_call_the_server_silent() {
    let mut bench = Bench::stable();
    // As while a large dataset is compiled.
    bench.now_ms += 300_000;
    assert!(!bench.actions().iter().any(|action| matches!(action, Action::Drop { .. })));
    bench.follow.heard(bench.now_ms, 1, 6, false);
    assert!(!bench.hear(1, 200_000).iter().any(|action| matches!(action, Action::Drop { .. })));
}

#[test]
fn pongs_are_no_answer_but_a_slow_one_is() {
    let mut bench = Bench::new();
    bench.actions();
    bench.dialled(1, Ok(()));
    for _ in 0..20 {
        bench.now_ms += 20_000;
        bench.follow.heard(bench.now_ms, 1, 2_000, true);
        assert!(!bench.actions().iter().any(|action| matches!(action, Action::Drop { .. })));
    }
    let actions = bench.hear(1, 60_000);
    assert!(actions.contains(&Action::Drop { line: 1, why: Why::Unanswered }), "{actions:?}");
}

/// It held the agent for ever, which said all the while that it was up to date.
#[test]
fn a_message_that_drips_for_ever_ends_the_line() {
    let mut bench = Bench::stable();
    for second in 0..60 {
        assert_eq!(bench.follow.state(), SyncState::Stable, "{second}");
        bench.follow.heard(bench.now_ms, 1, 1, true);
        bench.now_ms += 1_000;
        let ended = bench.actions().contains(&Action::Drop { line: 1, why: Why::Slow });
        assert_eq!(ended, second == 59);
    }
    assert_eq!(bench.follow.state(), SyncState::Interrupted);
    // One that is slow but gets there goes on for as long as it takes; nothing else can get through meanwhile.
    let mut bench = Bench::stable();
    for second in 0..3_600 {
        bench.follow.heard(bench.now_ms, 1, 150, true);
        bench.now_ms += 1_000;
        let dropped = |action: &Action| matches!(action, Action::Drop { .. });
        assert!(!bench.actions().iter().any(dropped), "{second}");
        let expected = if second < 59 { SyncState::Stable } else { SyncState::Interrupted };
        assert_eq!(bench.follow.state(), expected, "{second}");
    }
    bench.follow.heard(bench.now_ms, 1, 150, false);
    bench.follow.message(
        bench.now_ms,
        1,
        Brought::Full { coverage: &home(), empty: false, provisional: false },
    );
    let data = home();
    bench.follow.in_service(bench.now_ms, 1, data, &[], false, Vouches::All);
    bench.actions();
    assert_eq!(bench.follow.state(), SyncState::Stable);
}

#[test]
fn a_line_that_refuses_later_makes_it_register_again_and_wait() {
    let mut bench = Bench::stable();
    bench.follow.ended(bench.now_ms, 1, Fault::Refused);
    assert_eq!(bench.until(is_dial), Action::Dial { number: 2, register: true });
    assert!((30_000..=60_000).contains(&bench.now_ms), "{}", bench.now_ms);
}

#[test]
fn a_registration_that_failed_is_tried_again_while_the_line_is_open() {
    for fault in [Fault::Failed, Fault::Refused] {
        // No full sync gets in between.
        let mut bench = Bench::with(Options { resync_ms: 1_000_000_000, ..OPTIONS });
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
            fault == Fault::Failed || pauses_ms.iter().all(|pause_ms| *pause_ms >= 30_000),
            "{pauses_ms:?}"
        );
        bench.hear_until(1, &Action::Register);
        bench.follow.registered();
        assert!(!bench.hear(1, 200_000).contains(&Action::Register));
    }
}

#[test]
fn a_line_that_held_makes_failures_before_it_forgotten_once() {
    let mut bench = Bench::new();
    bench.actions();
    for number in 1..10 {
        bench.dialled(number, Err(Fault::Failed));
        bench.until(is_dial);
    }
    bench.dialled(10, Ok(()));
    bench.full(10, &home(), &[]);
    bench.hear(10, 61_000);
    bench.follow.ended(bench.now_ms, 10, Fault::Failed);
    let before_ms = bench.now_ms;
    bench.until(is_dial);
    assert!(bench.now_ms - before_ms <= 1_000);
}

#[test]
fn everything_is_asked_for_again_by_time_on_the_same_line() {
    let mut bench = Bench::stable();
    while !bench.hear(1, 1_000).iter().any(is_full) {}
    assert!((540_000..=661_000).contains(&bench.now_ms), "{}", bench.now_ms);
    assert_eq!(bench.full(1, &home(), &[]), Some(2));
    bench.follow.resync();
    assert!(bench.actions().iter().any(is_full));
    // One at a time.
    bench.follow.resync();
    assert!(!bench.actions().iter().any(is_full));
    assert_eq!(bench.full(1, &home(), &[]), Some(3));
    assert!(bench.actions().iter().any(is_full));
}

#[test]
fn unknown_secrets_ask_for_everything_at_once_and_then_rarely() {
    let mut bench = Bench::stable();
    bench.follow.wish();
    assert!(bench.actions().iter().any(is_full));
    // What is shown after it was asked for needs another.
    bench.follow.wish();
    bench.full(1, &home(), &[]);
    let asked_ms = bench.now_ms;
    assert!(!bench.actions().iter().any(is_full));
    let actions = bench.hear(1, 29_999);
    assert!(!actions.iter().any(is_full), "{actions:?}");
    assert!(bench.hear(1, 1).iter().any(is_full));
    assert_eq!(bench.now_ms, asked_ms + 30_000);
    bench.full(1, &home(), &[]);
    assert!(!bench.hear(1, 300_000).iter().any(is_full));
}

#[test]
fn an_empty_full_is_refused_and_another_asked_for() {
    let mut bench = Bench::stable();
    bench.follow.resync();
    bench.actions();
    let empty = Brought::Full { coverage: &Coverage::default(), empty: true, provisional: false };
    assert_eq!(bench.follow.message(bench.now_ms, 1, empty), Take::Refuse);
    assert_eq!(bench.follow.state(), SyncState::Interrupted);
    let actions = bench.actions();
    assert!(actions.iter().any(is_full) && actions.contains(&Action::Report { line: 1 }), "{actions:?}");
    // Then less and less often, up to the cap.
    let mut asked = 0;
    for _ in 0..100 {
        bench.follow.message(bench.now_ms, 1, empty);
        asked += bench.hear(1, 60_000).iter().filter(|action| is_full(action)).count();
    }
    assert!((90..=101).contains(&asked), "{asked}");
    assert!(bench.full(1, &home(), &[]).is_some());
    assert_eq!(bench.follow.state(), SyncState::Stable);
}

#[test]
fn a_provisional_full_is_taken_in_but_answers_only_when_it_is_verified() {
    let mut bench = Bench::stable();
    bench.follow.wish();
    let request = RelayRequest::verified_full(2);
    assert!(bench.actions().contains(&Action::Ask { line: 1, request }));
    let provisional = Brought::Full { coverage: &home(), empty: false, provisional: true };
    assert_eq!(bench.follow.message(bench.now_ms, 1, provisional), Take::Everything { answered: None });
    bench.follow.in_service(bench.now_ms, 1, home(), &[], false, Vouches::All);
    let take = bench.follow.message(bench.now_ms, 1, Brought::Verified(2));
    assert_eq!(take, Take::Certain { answered: 2 });
    // What was never asked for is not verified, and a full that nobody asked for answers nothing.
    assert_eq!(bench.follow.message(bench.now_ms, 1, Brought::Verified(3)), Take::Nothing);
    assert_eq!(bench.full(1, &home(), &[]), None);
}

#[test]
fn what_cannot_be_read_asks_for_everything_and_stays_where_it_is() {
    let mut bench = Bench::stable();
    bench.follow.message(bench.now_ms, 1, Brought::Broken(None));
    assert_eq!(bench.follow.state(), SyncState::Interrupted);
    assert!(bench.actions().iter().any(is_full));
    // A broken push is not the answer.
    bench.follow.message(bench.now_ms, 1, Brought::Broken(Some(MessageKind::Change)));
    assert!(!bench.actions().iter().any(is_full));
    assert_eq!(bench.full(1, &home(), &[]), Some(2));
    assert_eq!(bench.follow.state(), SyncState::Stable);
    // Where an answer is awaited, garbage may have been it: nobody can tell what comes next.
    bench.follow.resync();
    bench.actions();
    bench.follow.message(bench.now_ms, 1, Brought::Broken(None));
    assert!(bench.actions().contains(&Action::Drop { line: 1, why: Why::Unreadable }));
}

#[test]
fn a_patch_for_a_strange_environment_asks_for_everything() {
    let mut bench = Bench::stable();
    let change = Brought::Change { environments: &[OTHER], strange: true };
    assert_eq!(bench.follow.message(bench.now_ms, 1, change), Take::Items { remember: false });
    assert!(bench.actions().iter().any(is_full));
    assert_eq!(bench.follow.state(), SyncState::Stable);
    // While that is under way everything is remembered.
    assert_eq!(bench.follow.message(bench.now_ms, 1, change), Take::Items { remember: true });
}

/// What went wrong: what the server said and the agent does not know was counted, and data stayed stale.
#[test]
fn what_is_not_understood_asks_for_everything_once_more_while_one_is_under_way() {
    let vague = Brought::Environment { environment: None, strange: true };
    for brought in [Brought::Unknown, vague] {
        let mut bench = Bench::stable();
        assert_eq!(bench.follow.message(bench.now_ms, 1, brought), Take::Nothing);
        assert!(bench.actions().iter().any(is_full));
        assert_eq!(bench.follow.state(), SyncState::Stable);
        // The answer that is under way may be older than what is said now.
        assert_eq!(bench.follow.message(bench.now_ms, 1, brought), Take::Nothing);
        assert!(!bench.actions().iter().any(is_full));
        bench.full(1, &home(), &[]);
        assert!(bench.hear(1, 1_001).iter().any(is_full));
    }
}

#[test]
fn a_server_that_says_what_is_not_understood_with_each_full_is_not_asked_in_a_loop() {
    let mut bench = Bench::stable();
    let begin_ms = bench.now_ms;
    let mut fulls = 0;
    while bench.now_ms < begin_ms + 86_400_000 {
        bench.follow.message(bench.now_ms, 1, Brought::Unknown);
        if bench.actions().iter().any(is_full) || bench.hear(1, 1_000).iter().any(is_full) {
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
    let all = |environment, strange| Brought::Environment { environment: Some(environment), strange };
    let take = bench.follow.message(bench.now_ms, 1, all(HOME, false));
    assert_eq!(take, Take::Items { remember: false });
    assert!(!bench.actions().iter().any(is_full));
    bench.follow.message(bench.now_ms, 1, all(OTHER, true));
    assert!(bench.actions().iter().any(is_full));
    let take = bench.follow.message(bench.now_ms, 1, all(HOME, false));
    assert_eq!(take, Take::Items { remember: true });
}

#[test]
fn before_there_is_data_pushes_are_only_remembered() {
    let mut bench = Bench::new();
    bench.actions();
    bench.dialled(1, Ok(()));
    let change = Brought::Change { environments: &[HOME], strange: true };
    assert_eq!(bench.follow.message(bench.now_ms, 1, change), Take::Remember);
}

#[test]
fn a_full_whose_pushes_could_not_be_remembered_is_asked_for_again() {
    let mut bench = Bench::stable();
    bench.follow.resync();
    bench.actions();
    bench.follow.overflowed();
    let full = Brought::Full { coverage: &home(), empty: false, provisional: false };
    assert_eq!(bench.follow.message(bench.now_ms, 1, full), Take::Nothing);
    assert!(bench.actions().iter().any(is_full));
    assert_eq!(bench.full(1, &home(), &[]), Some(3));
}

#[test]
fn after_data_came_by_another_way_a_new_line_asks_for_everything() {
    let mut bench = Bench::stable();
    bench.follow.disturbed();
    assert!(!bench.actions().iter().any(is_full));
    bench.follow.ended(bench.now_ms, 1, Fault::Failed);
    bench.until(is_dial);
    assert!(bench.dialled(2, Ok(())).iter().any(is_full));
}

#[test]
fn a_full_that_nobody_answered_is_asked_for_on_the_next_line() {
    let mut bench = Bench::stable();
    bench.follow.resync();
    bench.actions();
    bench.follow.ended(bench.now_ms, 1, Fault::Failed);
    bench.until(is_dial);
    assert!(bench.dialled(2, Ok(())).iter().any(is_full));
}

#[test]
fn the_status_is_reported_by_time_and_when_it_changes() {
    let mut bench = Bench::stable();
    let reports = |actions: &[Action]| {
        actions.iter().filter(|action| matches!(action, Action::Report { line: 1 })).count()
    };
    assert_eq!(reports(&bench.hear(1, 59_000)), 0);
    assert_eq!(reports(&bench.hear(1, 2_000)), 1);
    assert_eq!(reports(&bench.hear(1, 179_000)), 3);
    bench.follow.message(bench.now_ms, 1, Brought::Broken(None));
    assert_eq!(reports(&bench.actions()), 1);
}
