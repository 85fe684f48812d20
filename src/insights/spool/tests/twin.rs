//! Random steps have the results of a plain twin, the same as those of the queue in memory.

use std::cell::{Cell, RefCell};

use proptest::prelude::*;

use super::*;
use crate::insights::queue_twin::{any_step, run};

const AGE_MAX_MS: i64 = 300;

/// Runs the steps; every second time the process is killed and the machine fails where the spool is opened again.
fn check(steps: &[crate::insights::queue_twin::Step], bytes_max: u64, seed: u64) {
    let options = SpoolOptions { bytes_max, age_max_ms: AGE_MAX_MS, segment_bytes: 2000 };
    let disk = RefCell::new(SimulatedDisk::default());
    let rounds = Cell::new(0u64);
    let spool = open_with(&disk.borrow(), options);
    let has_room = bytes_max > 100_000;
    run(spool, steps, AGE_MAX_MS, has_room, |spool| {
        rounds.set(rounds.get() + 1);
        if rounds.get().is_multiple_of(2) {
            drop(spool);
        } else {
            std::mem::forget(spool);
            let crashed = disk.borrow().after_crash(&mut random(seed + rounds.get()));
            disk.replace(crashed);
        }
        // Without a drop by age: the twin asks for that.
        Some(Spool::open(disk.borrow().shared(), directory(), options, i64::MIN).unwrap())
    });
}

proptest! {
    #[test]
    fn random_steps_have_the_results_of_a_plain_twin(
        steps in prop::collection::vec(any_step(4), 1..120),
        seed in any::<u64>(),
    ) {
        check(&steps, 1 << 20, seed % 1000);
    }

    #[test]
    fn random_steps_in_little_space_have_the_results_of_a_plain_twin(
        steps in prop::collection::vec(any_step(3), 1..150),
        seed in any::<u64>(),
    ) {
        check(&steps, 20_000, seed % 1000);
    }
}
