//! Servers, mailboxes, the writer and connections under a simulation without sockets, threads or clocks: seeded, so
//! that what fails can be seen again.
//!
//! `SIMULATION_SEED=n` runs one seed, `SIMULATION_SEEDS=n` so many of them.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on shall fail")]

#[allow(dead_code, reason = "each test uses a part")]
#[path = "../common/rng.rs"]
mod rng;

mod connection;
mod reactor;
mod sdk;
mod simulation;
mod wire;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Seeds of a run without a given number.
const SEEDS: u64 = 300;
/// Seeds of a long run.
const SEEDS_LONG: u64 = 10_000;

/// The wall clock, which stands still.
const WALL_MS: i64 = 1_750_000_000_000;
const HEAD_MS: u64 = 10_000;
const VERDICT_MS: u64 = 5000;
const TOKEN_HOLD_MS: u64 = 3000;
const IDLE_MS: u64 = 60_000;
const STALL_MS: u64 = 20_000;
const CLOSE_MS: u64 = 5000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Runs every seed, on all cores: simulations share nothing.
fn run(seeds: std::ops::Range<u64>) {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let part = &|first: u64| seeds.clone().skip(first as usize).step_by(threads).for_each(run_one);
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads as u64).map(|first| scope.spawn(move || part(first))).collect();
        for part in parts {
            if let Err(panic) = part.join() {
                resume_unwind(panic);
            }
        }
    });
}

fn run_one(seed: u64) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| simulation::run(seed))) {
        eprintln!("seed {seed} failed; again: SIMULATION_SEED={seed} cargo test --test simulation");
        resume_unwind(panic);
    }
}

#[test]
fn every_connection_ends_with_the_data_of_its_environment() {
    match number("SIMULATION_SEED") {
        Some(seed) => run(seed..seed + 1),
        None => run(0..number("SIMULATION_SEEDS").unwrap_or(SEEDS)),
    }
}

#[test]
#[ignore = "takes minutes"]
fn every_connection_ends_with_the_data_of_its_environment_for_many_seeds() {
    run(SEEDS..SEEDS + number("SIMULATION_SEEDS").unwrap_or(SEEDS_LONG));
}
