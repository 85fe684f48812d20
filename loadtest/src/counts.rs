//! Counts what the agent and the floor do for one connection, one delivery and one ping.

use std::collections::BTreeSet;
use std::io;

use crate::compare::broadcast;
use crate::crowd::Crowd;
use crate::meter::{Counts, Instructions, Meter, SystemCalls};
use crate::sides::{Setup, Side};

/// What one side did in each phase.
struct Phases {
    connect: Counts,
    /// A change while no SDK is connected.
    change: Counts,
    broadcast: Counts,
    ping: Counts,
}

/// Counts and prints both.
pub fn run(setup: &Setup, connections: usize, only: Option<&str>) -> io::Result<()> {
    println!("{connections} {} SDKs; agent beside floor, an operation", setup.sdk.kind());
    let wanted = |what| only.is_none_or(|only| only == what);
    if wanted("system-calls") {
        println!("\nsystem calls, by strace -f -c");
        let meter = || SystemCalls { file: setup.folder.join("strace.txt") };
        print(setup, connections, meter(), meter())?;
    }
    if wanted("instructions") {
        println!("\ninstructions outside the kernel, by callgrind");
        let meter = |name| Instructions { file: setup.folder.join(name), phases: 0 };
        print(setup, connections, meter("callgrind.agent"), meter("callgrind.floor"))?;
    }
    Ok(())
}

fn print(setup: &Setup, connections: usize, mut agent: impl Meter, mut floor: impl Meter) -> io::Result<()> {
    let wrapper = agent.wrapper();
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let agent = phases(&setup.agent(&wrapper)?, setup, connections, &mut agent)?;
    let wrapper = floor.wrapper();
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let floor = phases(&setup.floor(&wrapper)?, setup, connections, &mut floor)?;
    let count = connections as f64;
    row("connect + full sync", &agent.connect, &floor.connect, count);
    row("a change without connected SDKs", &agent.change, &floor.change, 1.0);
    let deliveries = |side: &Phases| -> Counts {
        let once = |name: &String| side.change.get(name).copied().unwrap_or(0);
        side.broadcast.iter().map(|(name, all)| (name.clone(), all.saturating_sub(once(name)))).collect()
    };
    row("delivery of a broadcast, without the change", &deliveries(&agent), &deliveries(&floor), count);
    row("ping", &agent.ping, &floor.ping, count);
    Ok(())
}

fn phases(side: &Side, setup: &Setup, connections: usize, meter: &mut impl Meter) -> io::Result<Phases> {
    let pid = side.server.id();
    // A small crowd first, so that one-time costs do not count for the measured connections.
    let mut crowd = Crowd::new()?;
    crowd.connect(side.address, 50, setup.sdk)?;
    broadcast(side, &mut crowd, 1)?;
    drop(crowd);
    let change = meter.count(pid, &mut || side.change(2))?;
    let mut crowd = Crowd::new()?;
    let connect = meter.count(pid, &mut || crowd.connect(side.address, connections, setup.sdk).map(drop))?;
    let broadcast = meter.count(pid, &mut || broadcast(side, &mut crowd, 3).map(drop))?;
    let ping = meter.count(pid, &mut || crowd.ping())?;
    Ok(Phases { connect, change, broadcast, ping })
}

fn row(name: &str, agent: &Counts, floor: &Counts, operations: f64) {
    let total = |counts: &Counts| counts.values().sum::<u64>() as f64 / operations;
    let (ours, theirs) = (total(agent), total(floor));
    println!("{name:40} {ours:10.3} / {theirs:10.3} = {:.3}", ours / theirs);
    let names: BTreeSet<&String> = agent.keys().chain(floor.keys()).collect();
    if names.len() < 2 {
        return;
    }
    for name in names {
        let of = |counts: &Counts| counts.get(name).copied().unwrap_or(0) as f64 / operations;
        println!("    {name:36} {:10.3} / {:10.3}", of(agent), of(floor));
    }
}
