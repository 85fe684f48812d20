//! The queue without a thread: whatever is written, fails and overflows in any order, the file has no gap, nobody is told
//! too early, and nobody is forgotten.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// A group with one number: of an entry, or of all entries in a whole state.
struct Number(u32);

impl Records for Number {
    fn write(&self, out: &mut dyn FnMut(u8, &[u8])) {
        out(0, &self.0.to_le_bytes());
    }
}

fn number_of(group: &dyn Records) -> u32 {
    let mut number = 0;
    group.write(&mut |_, body| number = u32::from_le_bytes(body.try_into().unwrap()));
    number
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Append {
        waits: bool,
    },
    Replace {
        waits: bool,
    },
    /// The thread takes work, if it has none.
    Take,
    /// The work ends.
    Finish {
        succeeds: bool,
    },
}

/// What happens around a queue. Entries are numbered from 0; a whole state of `n` contains those below `n`.
struct World {
    shared: Shared,
    at: Instant,
    entries: u32,
    /// The file holds the entries below this.
    durable: u32,
    is_trusted: bool,
    work: Option<Work>,
    /// Who waited for how many entries to be durable, and what they were told.
    told: Arc<Mutex<Vec<(u32, bool)>>>,
    waiting: usize,
    asked: u32,
}

impl World {
    fn new(queue_max: usize) -> Self {
        let options = Options { queue_max, done_within: Duration::from_secs(1 << 30), ..Options::default() };
        Self {
            shared: Shared::new(options),
            at: Instant::now(),
            entries: 0,
            durable: 0,
            is_trusted: true,
            work: None,
            told: Arc::default(),
            waiting: 0,
            asked: 0,
        }
    }

    fn done(&mut self, waits: bool) -> Option<Done> {
        if !waits {
            return None;
        }
        self.waiting += 1;
        let (told, needs) = (self.told.clone(), self.entries);
        Some(Box::new(move |result: Result<(), String>| told.lock().push((needs, result.is_ok()))))
    }

    fn replace(&mut self, waits: bool) {
        let done = self.done(waits);
        self.shared.replace(Box::new(Number(self.entries)), done, self.at);
    }

    fn step(&mut self, step: Step) {
        self.at += Duration::from_millis(1);
        match step {
            Step::Append { waits } => {
                self.entries += 1;
                let done = self.done(waits);
                self.shared.append(Box::new(Number(self.entries - 1)), done, self.at);
            }
            Step::Replace { waits } => self.replace(waits),
            Step::Take if self.work.is_none() => self.take(),
            Step::Take => {}
            Step::Finish { succeeds } => self.finish(succeeds),
        }
        let told = self.told.lock();
        assert!(
            told.iter().all(|&(needs, is_ok)| !is_ok || needs <= self.durable),
            "{told:?}: {}",
            self.durable
        );
    }

    fn take(&mut self) {
        let timing = Timing { is_trusted: self.is_trusted, retry_at: self.at, ask_at: self.at };
        self.work = self.shared.queue.lock().work(timing, self.at);
    }

    fn finish(&mut self, succeeds: bool) {
        match self.work.take() {
            Some(Work::Ask) => {
                self.asked += 1;
                self.replace(false);
            }
            Some(Work::Append(items)) if succeeds => {
                for item in items {
                    assert_eq!(number_of(&*item.group), self.durable, "a gap in the file");
                    self.durable += 1;
                    item.done.into_iter().for_each(|done| done(Ok(())));
                }
                self.shared.succeeded();
            }
            Some(Work::Replace(whole)) if succeeds => {
                let number = number_of(&*whole.group);
                assert!(number >= self.durable, "older data replaced newer");
                (self.durable, self.is_trusted) = (number, true);
                self.shared.succeeded();
                whole.into_dones().for_each(|done| done(Ok(())));
            }
            Some(Work::Append(items)) => self.fail(items, None),
            Some(Work::Replace(whole)) => self.fail(Vec::new(), Some(whole)),
            Some(Work::Expire(_) | Work::Stop(_)) => panic!("nobody waited that long"),
            None => {}
        }
    }

    fn fail(&mut self, items: Vec<Item>, whole: Option<FullState>) {
        self.is_trusted = false;
        self.shared.failed(items, whole, "test".into(), self.at);
    }

    /// Lets the disk work until there is nothing to do.
    fn settle(&mut self) {
        for _ in 0..10 {
            self.step(Step::Finish { succeeds: true });
            self.step(Step::Take);
        }
        assert!(self.work.is_none());
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(|waits| Step::Append { waits }),
        1 => any::<bool>().prop_map(|waits| Step::Replace { waits }),
        3 => Just(Step::Take),
        3 => prop::bool::weighted(0.6).prop_map(|succeeds| Step::Finish { succeeds }),
    ]
}

proptest! {
    #[test]
    fn the_file_has_no_gap_and_all_are_told_what_is_true(
        steps in prop::collection::vec(any_step(), 1..200),
        queue_max in 1usize..6,
    ) {
        let mut world = World::new(queue_max);
        steps.into_iter().for_each(|step| world.step(step));
        world.settle();
        prop_assert_eq!(world.durable, world.entries);
        prop_assert_eq!(world.told.lock().len(), world.waiting, "somebody was not told");
        let status = world.shared.status(world.at);
        prop_assert_eq!((status.stale_since_ms, status.error, status.queued), (None, None, 0));
    }
}

/// What went wrong: groups were dropped after a whole state had been queued, the write before it failed, and those who waited for
/// the groups were told that this contained them.
#[test]
fn a_whole_answered_for_what_came_after_it() {
    let mut world = World::new(1);
    let append = Step::Append { waits: true };
    for step in [append, Step::Take, Step::Replace { waits: true }, append, append] {
        world.step(step);
    }
    for step in [Step::Finish { succeeds: false }, Step::Take, Step::Finish { succeeds: true }] {
        world.step(step);
    }
    assert_eq!(world.durable, 1);
    world.settle();
    assert_eq!((world.durable, world.asked), (3, 1));
}

/// What went wrong: a write that had begun before the stop failed after it, and the whole state that was queued behind it was
/// given up without an attempt.
#[test]
fn a_failure_during_a_stop_took_the_last_attempt_away() {
    let mut world = World::new(10);
    for step in [Step::Append { waits: true }, Step::Take, Step::Replace { waits: true }] {
        world.step(step);
    }
    world.shared.begin_stop();
    world.step(Step::Finish { succeeds: false });
    let later = world.at + Duration::from_secs(60);
    let timing = Timing { is_trusted: false, retry_at: later, ask_at: later };
    let first = world.shared.queue.lock().work(timing, world.at);
    let Some(Work::Replace(whole)) = first else { panic!("no attempt") };
    world.shared.failed(Vec::new(), Some(whole), "test".into(), world.at);
    let Some(Work::Stop(waiting)) = world.shared.queue.lock().work(timing, world.at) else {
        panic!("no end")
    };
    assert_eq!(waiting.len(), 2);
}

#[test]
fn the_file_is_stale_since_the_oldest_group_that_it_lacks() {
    let mut world = World::new(10);
    let begun = world.at;
    world.step(Step::Append { waits: false });
    world.step(Step::Take);
    let later = begun + Duration::from_secs(10);
    assert_eq!(world.shared.status(begun + Duration::from_secs(5)).stale_since_ms, None);
    let stale_since = world.shared.status(later).stale_since_ms.unwrap();
    let expected = wall_ms(Duration::from_millis(9_999));
    assert!((expected - stale_since).abs() < 1_000, "{stale_since} and not {expected}");
}
