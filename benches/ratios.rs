//! The costs that this project is measured by inside one process: each beside a reference operation, taking turns in one
//! run.
//!
//! ```text
//! cargo bench --bench ratios                       CPU time: median (min .. max) of 7 paired rounds
//! cargo bench --bench ratios -- --rounds 15
//! cargo bench --bench ratios -- --instructions     instructions, counted by valgrind's callgrind
//! cargo bench --bench ratios -- --instructions --profiles FOLDER
//! cargo bench --bench ratios -- --only regex       the lines whose name contains this
//! ```
//!
//! Times vary with the machine and with what else runs on it, instruction counts do not; but an instruction that
//! waits for memory or for the one before it costs more than another, so that the time decides.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench that cannot measure has to stop")]

mod fixtures;
mod works;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use works::{PAIRS, Pair, Work};

/// Turns of each side in a round; the median of them counts.
const TURNS: usize = 5;
/// CPU time of a turn, at least.
const TURN: Duration = Duration::from_millis(15);

struct Options {
    rounds: usize,
    instructions: bool,
    profiles: Option<PathBuf>,
    only: String,
    /// Runs this one once, under callgrind.
    operation: Option<String>,
}

fn main() {
    let options = options();
    if let Some(name) = &options.operation {
        let mut work = works::make(name);
        work.prepare();
        // What is made once, at the first time, must not count.
        work.run();
        work.prepare();
        return measured(&mut *work);
    }
    let pairs = PAIRS.iter().filter(|pair| pair.name.contains(&options.only));
    if options.instructions {
        println!("instructions an operation, by callgrind");
        pairs.for_each(|pair| by_instructions(pair, &options));
    } else {
        println!("CPU time an operation; median (min .. max) of {} paired rounds", options.rounds);
        pairs.for_each(|pair| by_time(pair, options.rounds));
    }
}

fn options() -> Options {
    let mut options =
        Options { rounds: 7, instructions: false, profiles: None, only: String::new(), operation: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
        match argument.as_str() {
            // `cargo bench` adds it.
            "--bench" => {}
            "--rounds" => options.rounds = value().parse().unwrap(),
            "--instructions" => options.instructions = true,
            "--profiles" => options.profiles = Some(value().into()),
            "--only" => options.only = value(),
            "--operation" => options.operation = Some(value()),
            _ => panic!("{argument} is unknown"),
        }
    }
    options
}

/// What callgrind counts and the clock times: this function and what it calls, nothing else.
#[inline(never)]
fn measured(work: &mut dyn Work) {
    work.run();
}

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Nanoseconds an operation, in one turn.
fn turn(work: &mut dyn Work) -> f64 {
    let (mut spent, mut operations) = (Duration::ZERO, 0);
    while spent < TURN {
        work.prepare();
        let begun = cpu();
        measured(work);
        spent += cpu() - begun;
        operations += work.operations();
    }
    spent.as_nanos() as f64 / f64::from(operations)
}

fn by_time(pair: &Pair, rounds: usize) {
    let (mut work, mut beside) = (works::make(pair.name), works::make(pair.beside));
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let (mut own, mut other) = (Vec::new(), Vec::new());
        for number in 0..TURNS {
            // The sides take turns in going first, so that neither always finds the caches as the other left them.
            if (round + number) % 2 == 0 {
                own.push(turn(&mut *work));
                other.push(turn(&mut *beside));
            } else {
                other.push(turn(&mut *beside));
                own.push(turn(&mut *work));
            }
        }
        let (own, other) = (sorted(own)[TURNS / 2], sorted(other)[TURNS / 2]);
        ours.push(own);
        theirs.push(other);
        ratios.push(own / other);
    }
    let (ours, theirs, ratios) = (sorted(ours), sorted(theirs), sorted(ratios));
    let middle = rounds / 2;
    let verdict = pair.verdict(ratios[middle]);
    println!(
        "{:44} {:>10} / {:34} {:>10}  {:.5} ({:.5} .. {:.5}) {verdict}",
        pair.name,
        time(ours[middle]),
        pair.beside,
        time(theirs[middle]),
        ratios[middle],
        ratios[0],
        ratios[rounds - 1],
    );
}

fn by_instructions(pair: &Pair, options: &Options) {
    let (own, other) = (count(pair.name, options), count(pair.beside, options));
    let ratio = own / other;
    let verdict = pair.verdict(ratio);
    println!("{:44} {own:>12.0} / {:34} {other:>12.0}  {ratio:.5} {verdict}", pair.name, pair.beside);
}

/// Instructions of one operation.
fn count(name: &str, options: &Options) -> f64 {
    let profile = match &options.profiles {
        Some(folder) => folder.join(format!("callgrind.{}", name.replace([' ', ',', ':'], "-"))),
        None => PathBuf::from("/dev/null"),
    };
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*ratios*measured*"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(std::env::current_exe().unwrap())
        .args(["--operation", name])
        .output()
        .unwrap_or_else(|error| panic!("valgrind (Debian's package) is needed: {error}"));
    let text = String::from_utf8_lossy(&output.stderr);
    let collected =
        text.lines().find_map(|line| line.split("Collected :").nth(1)?.trim().parse::<f64>().ok());
    match collected {
        Some(count) if output.status.success() && count > 0.0 => {
            count / f64::from(works::make(name).operations())
        }
        _ => panic!("callgrind counted nothing for `{name}`:\n{text}"),
    }
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

fn time(ns: f64) -> String {
    match ns {
        ns if ns < 1e4 => format!("{ns:.1} ns"),
        ns if ns < 1e7 => format!("{:.1} µs", ns / 1e3),
        ns => format!("{:.1} ms", ns / 1e6),
    }
}
