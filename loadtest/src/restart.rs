//! A start with data on the disk: from the start of the process to the first SDK that has everything, by a backup file
//! and by a data file with the same flags, beside the time that simd-json takes to parse them.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::compare::{ms, spread};
use crate::crowd::Crowd;
use crate::data::{self, Sdk};
use crate::sides::{Keeping, Setup, Side};

/// One start.
struct Start {
    served_ms: f64,
    pss_mb: f64,
    peak_mb: f64,
}

struct Round {
    backup: Start,
    data_file: Start,
    parse_ms: f64,
}

/// Runs all rounds and prints medians and spreads.
pub fn run(setup: &Setup, flags: usize, rounds: usize) -> io::Result<()> {
    let dump = data::dump_of(flags);
    let data_file = setup.folder.join("large.json");
    fs::write(&data_file, &dump)?;
    let backup = filled(setup, &dump)?;
    let mut all = Vec::new();
    for round in 0..rounds {
        let by_backup =
            || start(|| setup.offline(None, &Keeping { backup: Some(backup.clone()), ..Keeping::default() }));
        let by_data_file = || start(|| setup.offline(Some(&data_file), &Keeping::default()));
        // The sides take turns in going first, so that neither always runs on a machine that the other has warmed up.
        all.push(if round % 2 == 0 {
            let (backup, parse_ms) = (by_backup()?, parse(&dump)?);
            Round { backup, parse_ms, data_file: by_data_file()? }
        } else {
            let (data_file, parse_ms) = (by_data_file()?, parse(&dump)?);
            Round { backup: by_backup()?, parse_ms, data_file }
        });
    }
    println!("{flags} flags, {} bytes, {rounds} rounds: median (min .. max)", dump.len());
    let row = |name: &str, figure: &dyn Fn(&Round) -> f64| {
        println!("{name:58} {}", spread(all.iter().map(figure)));
    };
    row("simd-json's parse of the dump, ms", &|round| round.parse_ms);
    row("backup file: ms from start to the first SDK served", &|round| round.backup.served_ms);
    row("… as a multiple of the parse", &|round| round.backup.served_ms / round.parse_ms);
    row("data file: ms from start to the first SDK served", &|round| round.data_file.served_ms);
    row("… as a multiple of the parse", &|round| round.data_file.served_ms / round.parse_ms);
    row("backup file beside data file", &|round| round.backup.served_ms / round.data_file.served_ms);
    row("backup file: PSS then, MB", &|round| round.backup.pss_mb);
    row("backup file: PSS at its peak (VmHWM), MB", &|round| round.backup.peak_mb);
    row("data file: PSS then, MB", &|round| round.data_file.pss_mb);
    row("data file: PSS at its peak (VmHWM), MB", &|round| round.data_file.peak_mb);
    Ok(())
}

/// The backup file of an agent that was given `dump` and then killed.
fn filled(setup: &Setup, dump: &[u8]) -> io::Result<PathBuf> {
    let file = setup.folder.join("large.backup");
    let agent = setup.offline(None, &Keeping { backup: Some(file.clone()), ..Keeping::default() })?;
    agent.bootstrap(dump)?;
    Ok(file)
}

/// Starts an agent and times it until one SDK has its full payload.
fn start(agent: impl Fn() -> io::Result<Side>) -> io::Result<Start> {
    let begun = Instant::now();
    let agent = agent()?;
    Crowd::new()?.connect(agent.address, 1, Sdk::Server)?;
    let served = begun.elapsed();
    // Memory that is freed right after the start should not count.
    std::thread::sleep(Duration::from_millis(300));
    let mb = |bytes: u64| bytes as f64 / 1e6;
    Ok(Start {
        served_ms: ms(served),
        pss_mb: mb(agent.server.pss_bytes()?),
        peak_mb: mb(agent.server.peak_bytes()?),
    })
}

/// The median of a few parses by simd-json, in milliseconds.
fn parse(dump: &[u8]) -> io::Result<f64> {
    let mut times = Vec::new();
    for _ in 0..5 {
        let mut bytes = dump.to_vec();
        let begun = Instant::now();
        let tape = simd_json::to_tape(&mut bytes).map_err(io::Error::other)?;
        times.push(ms(begun.elapsed()));
        drop(tape);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
