//! The comparison: agent and floor in turn, round by round, and the ratios of each round.

use std::io;
use std::time::{Duration, Instant};

use crate::crowd::Crowd;
use crate::sides::{Setup, Side};

/// What one side took in one round.
#[derive(Clone, Copy)]
struct Figures {
    connect_cpu_us: f64,
    connect_wall_ms: f64,
    pss_bytes: f64,
    broadcast_cpu_ms: f64,
    broadcast_p50_ms: f64,
    broadcast_p99_ms: f64,
    ping_cpu_us: f64,
}

/// The name of a row, and its figure.
type Row = (&'static str, fn(&Figures) -> f64);

const ROWS: [Row; 7] = [
    ("connect + full sync, CPU µs a connection", |f| f.connect_cpu_us),
    ("connect + full sync, wall ms", |f| f.connect_wall_ms),
    ("memory a connection, bytes (PSS growth)", |f| f.pss_bytes),
    ("broadcast, CPU ms", |f| f.broadcast_cpu_ms),
    ("broadcast, ms to half of the connections", |f| f.broadcast_p50_ms),
    ("broadcast, ms to 99 % of the connections", |f| f.broadcast_p99_ms),
    ("ping, CPU µs", |f| f.ping_cpu_us),
];

/// Broadcasts in a round; the median of them counts.
const BROADCASTS: u64 = 5;

/// Runs all rounds and prints medians and spreads.
pub fn run(setup: &Setup, connections: usize, rounds: usize) -> io::Result<()> {
    let mut pairs = Vec::new();
    for round in 0..rounds {
        // The sides take turns in going first, so that neither always runs on a machine that the other has warmed up.
        let pair = if round % 2 == 0 {
            let agent = measure(&setup.agent(&[])?, setup, connections)?;
            (agent, measure(&setup.floor(&[])?, setup, connections)?)
        } else {
            let floor = measure(&setup.floor(&[])?, setup, connections)?;
            (measure(&setup.agent(&[])?, setup, connections)?, floor)
        };
        pairs.push(pair);
    }
    println!("{connections} {} SDKs, {rounds} rounds: median (min .. max)", setup.sdk.kind());
    for (name, figure) in ROWS {
        let agent = spread(pairs.iter().map(|(agent, _)| figure(agent)));
        let floor = spread(pairs.iter().map(|(_, floor)| figure(floor)));
        let ratio = spread(pairs.iter().map(|(agent, floor)| figure(agent) / figure(floor)));
        println!("{name:45} agent {agent:30} floor {floor:30} ratio {ratio}");
    }
    Ok(())
}

/// The median of `values`, and the smallest and the largest.
pub fn spread(values: impl Iterator<Item = f64>) -> String {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    format!("{:.2} ({:.2} .. {:.2})", values[values.len() / 2], values[0], values[values.len() - 1])
}

fn measure(side: &Side, setup: &Setup, connections: usize) -> io::Result<Figures> {
    let server = &side.server;
    let count = connections as f64;
    // A small crowd first, so that one-time costs do not count for the measured connections.
    Crowd::new()?.connect(side.address, 50, setup.sdk)?;
    let mut crowd = Crowd::new()?;
    let (cpu, pss) = (server.cpu_ns()?, server.pss_bytes()?);
    let connected = crowd.connect(side.address, connections, setup.sdk)?;
    let connect_cpu_us = (server.cpu_ns()? - cpu) as f64 / 1000.0 / count;
    let pss_bytes = (server.pss_bytes()? as f64 - pss as f64).max(1.0) / count;
    let mut broadcasts = Vec::new();
    for number in 1..=BROADCASTS {
        let cpu = server.cpu_ns()?;
        let times = broadcast(side, &mut crowd, number)?;
        broadcasts.push(((server.cpu_ns()? - cpu) as f64 / 1e6, times));
    }
    broadcasts.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (broadcast_cpu_ms, times) = &broadcasts[broadcasts.len() / 2];
    let at = |share: f64| ms(times[((times.len() - 1) as f64 * share) as usize]);
    let cpu = server.cpu_ns()?;
    crowd.ping()?;
    let ping_cpu_us = (server.cpu_ns()? - cpu) as f64 / 1000.0 / count;
    Ok(Figures {
        connect_cpu_us,
        connect_wall_ms: ms(connected),
        pss_bytes,
        broadcast_cpu_ms: *broadcast_cpu_ms,
        broadcast_p50_ms: at(0.5),
        broadcast_p99_ms: at(0.99),
        ping_cpu_us,
    })
}

/// Changes a flag and waits until every client has the change. Returns the times at which they did, sorted.
pub fn broadcast(side: &Side, crowd: &mut Crowd, number: u64) -> io::Result<Vec<Duration>> {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let changer = scope.spawn(|| side.change(number));
        let times = crowd.wait_for_one_more(begun);
        changer.join().map_err(|_| io::Error::other("the change panicked"))??;
        times
    })
}

/// In milliseconds.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
