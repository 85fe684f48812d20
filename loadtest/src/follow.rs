//! An agent that follows a server: how soon it is ready with a large dataset, and how long a change takes from the server
//! to the last of many SDKs, beside a broadcast of the floor to as many.

use std::io;
use std::time::{Duration, Instant};

use crate::compare::{broadcast, ms, spread};
use crate::crowd::Crowd;
use crate::data::{self, Sdk};
use crate::sides::{Keeping, Setup};
use crate::source::Source;

/// Changes in a round.
const CHANGES: u64 = 20;
/// Flags of the large dataset, 3 MB.
const LARGE: usize = 3000;

/// Runs all rounds and prints medians and spreads.
pub fn run(setup: &Setup, connections: usize, rounds: usize) -> io::Result<()> {
    let mut starts = Vec::new();
    let mut changes = Vec::new();
    for round in 0..rounds {
        starts.push(start_up(setup)?);
        let pair = if round % 2 == 0 {
            let agent = from_source(setup, connections)?;
            (agent, from_floor(setup, connections)?)
        } else {
            let floor = from_floor(setup, connections)?;
            (from_source(setup, connections)?, floor)
        };
        changes.push(pair);
    }
    println!("{rounds} rounds: median (min .. max)");
    let of = |figure: fn(&(f64, f64, f64)) -> f64| spread(starts.iter().map(figure));
    println!("{LARGE} flags, ms from start to ready             {}", of(|start| start.0));
    println!("{LARGE} flags, PSS then, MB                       {}", of(|start| start.1));
    println!("{LARGE} flags, PSS at its peak (VmHWM), MB        {}", of(|start| start.2));
    println!("a change to {connections} SDKs, {CHANGES} a round:");
    for (name, share) in [("ms to half of them", 0.5), ("ms to 99 % of them", 0.99), ("ms to the last", 1.0)]
    {
        let at = |times: &[Duration]| ms(times[((times.len() - 1) as f64 * share) as usize]);
        let agent = spread(changes.iter().map(|(agent, _)| at(agent)));
        let floor = spread(changes.iter().map(|(_, floor)| at(floor)));
        let ratio = spread(changes.iter().map(|(agent, floor)| at(agent) / at(floor)));
        println!("{name:45} agent {agent:30} floor {floor:30} ratio {ratio}");
    }
    Ok(())
}

/// Milliseconds from the start of the process to readiness, memory then, and its peak, both in MB.
fn start_up(setup: &Setup) -> io::Result<(f64, f64, f64)> {
    let source = Source::start(data::relay_full(LARGE))?;
    let begun = Instant::now();
    let agent = setup.following(&source.url(), &Keeping::default())?;
    agent.wait_until_ready()?;
    let ready = begun.elapsed();
    let server = &agent.server;
    Ok((ms(ready), server.pss_bytes()? as f64 / 1e6, server.peak_bytes()? as f64 / 1e6))
}

/// When each of the changes reached each SDK of an agent, from the moment the server sent it; sorted.
fn from_source(setup: &Setup, connections: usize) -> io::Result<Vec<Duration>> {
    let source = Source::start(data::relay_full(data::FLAGS))?;
    let agent = setup.following(&source.url(), &Keeping::default())?;
    source.wait_for_request()?;
    agent.wait_until_ready()?;
    let mut crowd = Crowd::new()?;
    crowd.connect(agent.address, connections, Sdk::Server)?;
    let mut all = Vec::new();
    for number in 1..=CHANGES {
        let patch = data::relay_patch(number);
        let begun = Instant::now();
        source.push(&patch)?;
        all.extend(crowd.wait_for_one_more(begun)?);
    }
    all.sort_unstable();
    Ok(all)
}

/// The same of the floor, from the request to send.
fn from_floor(setup: &Setup, connections: usize) -> io::Result<Vec<Duration>> {
    let floor = setup.floor(&[])?;
    let mut crowd = Crowd::new()?;
    crowd.connect(floor.address, connections, Sdk::Server)?;
    let mut all = Vec::new();
    for number in 1..=CHANGES {
        all.extend(broadcast(&floor, &mut crowd, number)?);
    }
    all.sort_unstable();
    Ok(all)
}
