//! Whether SDKs get a change later because it is kept: agents that follow a server, with and without a backup file and
//! Redis, in turn, round by round.

use std::io;
use std::time::{Duration, Instant};

use crate::compare::{ms, spread};
use crate::crowd::Crowd;
use crate::data::{self, Sdk};
use crate::redis::Redis;
use crate::sides::{Keeping, Setup};
use crate::source::Source;

/// Changes in a round.
const CHANGES: u64 = 40;

/// A pause between changes, so that each travels alone and not with the work that the one before it left behind.
const PAUSE: Duration = Duration::from_millis(5);
/// Until everything is on the disk, at the end.
const WRITTEN: Duration = Duration::from_millis(500);

/// What one side took in one round.
#[derive(Clone, Copy)]
struct Figures {
    half_ms: f64,
    most_ms: f64,
    last_ms: f64,
    cpu_ms: f64,
    backup_bytes: f64,
}

/// The name of a row, and its figure.
type Row = (&'static str, fn(&Figures) -> f64);

const ROWS: [Row; 4] = [
    ("ms to half of them", |f| f.half_ms),
    ("ms to 99 % of them", |f| f.most_ms),
    ("ms to the last", |f| f.last_ms),
    ("CPU ms of the agent", |f| f.cpu_ms),
];

/// The sides: their names, and whether they have a backup file and Redis. The first is what the others are compared with.
const SIDES: [(&str, bool, bool); 4] =
    [("in memory", false, false), ("backup file", true, false), ("Redis", false, true), ("both", true, true)];

/// Runs all rounds and prints medians and spreads.
pub fn run(setup: &Setup, redis: Option<&Redis>, connections: usize, rounds: usize) -> io::Result<()> {
    let sides: Vec<_> = SIDES.into_iter().filter(|side| !side.2 || redis.is_some()).collect();
    let mut all: Vec<Vec<Figures>> = vec![Vec::new(); sides.len()];
    for round in 0..rounds {
        // Each side goes first in turn, so that none always runs on a machine that another has warmed up.
        for turn in 0..sides.len() {
            let index = (round + turn) % sides.len();
            let (_, backup, shared) = sides[index];
            let keeping = Keeping {
                backup: backup.then(|| setup.folder.join(format!("persist-{round}-{index}.backup"))),
                redis: redis.filter(|_| shared).map(|redis| (redis.url.clone(), redis.prefix())),
            };
            all[index].push(measure(setup, &keeping, connections)?);
        }
    }
    println!("a change to {connections} SDKs, {CHANGES} a round, {rounds} rounds: median (min .. max)");
    for (name, figure) in ROWS {
        for (index, (side, ..)) in sides.iter().enumerate() {
            let figures = spread(all[index].iter().map(figure));
            let ratios = all[index].iter().zip(&all[0]).map(|(one, other)| figure(one) / figure(other));
            println!("{name:33} {side:12} {figures:32} ratio {}", spread(ratios));
        }
    }
    let backup_bytes = spread(all[1].iter().map(|figures| figures.backup_bytes));
    println!("{:33} {:12} {backup_bytes}", "bytes written to the file", SIDES[1].0);
    Ok(())
}

fn measure(setup: &Setup, keeping: &Keeping, connections: usize) -> io::Result<Figures> {
    let source = Source::start(data::relay_full(data::FLAGS))?;
    let agent = setup.following(&source.url(), keeping)?;
    source.wait_for_request()?;
    agent.wait_until_ready()?;
    let mut crowd = Crowd::new()?;
    crowd.connect(agent.address, connections, Sdk::Server)?;
    let (mut half, mut most, mut last) = (Vec::new(), Vec::new(), Vec::new());
    let written = agent.metric("featbit_agent_backup_written_bytes_total")?;
    let cpu = agent.server.cpu_ns()?;
    for number in 1..=CHANGES {
        let patch = data::relay_patch(number);
        let begun = Instant::now();
        source.push(&patch)?;
        let times = crowd.wait_for_one_more(begun)?;
        let at = |share: f64| ms(times[((times.len() - 1) as f64 * share) as usize]);
        half.push(at(0.5));
        most.push(at(0.99));
        last.push(at(1.0));
        std::thread::sleep(PAUSE);
    }
    let count = CHANGES as f64;
    let cpu_ms = (agent.server.cpu_ns()? - cpu) as f64 / 1e6 / count;
    std::thread::sleep(WRITTEN);
    Ok(Figures {
        half_ms: median(half),
        most_ms: median(most),
        last_ms: median(last),
        cpu_ms,
        backup_bytes: (agent.metric("featbit_agent_backup_written_bytes_total")? - written) / count,
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
