//! Whether SDKs get a change later while events flood in. A second agent gets the same flood at other times: what that
//! changes is only that the machine has other work.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::flood::{Calls, Flood};
use super::server::EventServer;
use super::{Plan, median, wait_until_sent, way};
use crate::compare::{broadcast, ms, spread};
use crate::crowd::Crowd;
use crate::data::Sdk;
use crate::sides::{Setup, Side};

/// Events of a call.
const EVENTS: usize = 50;
/// Changes on each side of a round.
const CHANGES: u64 = 10;
/// Before a change, so that each travels alone.
const PAUSE: Duration = Duration::from_millis(20);
/// From the start of a flood to the first change.
const BEGIN: Duration = Duration::from_millis(300);

/// Where the events go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Nobody,
    AnotherAgent,
    ThisAgent,
}

/// Events flood in at this rate, or as fast as they are answered.
const SIDES: [(&str, To, bool); 5] = [
    ("no events", To::Nobody, true),
    ("to another agent, at the rate", To::AnotherAgent, true),
    ("to this agent, at the rate", To::ThisAgent, true),
    ("to another agent, at full speed", To::AnotherAgent, false),
    ("to this agent, at full speed", To::ThisAgent, false),
];

/// What one side took in one round.
#[derive(Clone, Copy)]
struct Figures {
    half_ms: f64,
    most_ms: f64,
    last_ms: f64,
    calls_per_s: f64,
}

/// The name of a row, and its figure.
type Row = (&'static str, fn(&Figures) -> f64);

const ROWS: [Row; 3] = [
    ("ms to half of the SDKs", |f| f.half_ms),
    ("ms to 99 % of them", |f| f.most_ms),
    ("ms to the last", |f| f.last_ms),
];

/// Runs all rounds and prints medians and spreads.
pub fn run(setup: &Setup, plan: &Plan) -> io::Result<()> {
    let server = EventServer::start()?;
    let calls = Arc::new(Calls::new(EVENTS));
    let way = way("forward, in memory", "forward", false, &["--events-queue-bytes", "1073741824"]);
    let (agent, other) = (way.start(setup, &server, &[], &[])?, way.start(setup, &server, &[], &[])?);
    let mut crowd = Crowd::new()?;
    crowd.connect(agent.address, plan.sdks, Sdk::Server)?;
    let mut all = vec![Vec::new(); SIDES.len()];
    let mut changes = 0;
    for round in 0..plan.rounds {
        for turn in 0..SIDES.len() {
            let index = (round + turn) % SIDES.len();
            let (_, to, at_rate) = SIDES[index];
            let flooded = match to {
                To::Nobody => None,
                To::AnotherAgent => Some(&other),
                To::ThisAgent => Some(&agent),
            };
            let rate = at_rate.then_some(plan.rate);
            let figures = measure(plan, &agent, flooded, rate, &calls, &mut crowd, &mut changes)?;
            all[index].push(figures);
        }
    }
    println!(
        "\na change to {} SDKs, {CHANGES} a round, {} rounds: median (min .. max); the rate is {} calls/s of {EVENTS} evaluations",
        plan.sdks, plan.rounds, plan.rate
    );
    for (name, figure) in ROWS {
        for ((side, ..), figures) in SIDES.iter().zip(&all) {
            let ratios = figures.iter().zip(&all[0]).map(|(one, other)| figure(one) / figure(other));
            println!(
                "{name:24} {side:32} {:34} ratio {}",
                spread(figures.iter().map(figure)),
                spread(ratios)
            );
        }
    }
    for ((side, ..), figures) in SIDES.iter().zip(&all) {
        let calls_per_s = spread(figures.iter().map(|figures| figures.calls_per_s));
        println!("{:24} {side:32} {calls_per_s}", "calls/s meanwhile");
    }
    for (name, this, another) in [("at the rate", 2, 1), ("at full speed", 4, 3)] {
        let ratios = all[this].iter().zip(&all[another]).map(|(one, other)| one.last_ms / other.last_ms);
        println!("ms to the last, this agent beside another, {name}: ratio {}", spread(ratios));
    }
    Ok(())
}

fn measure(
    plan: &Plan,
    agent: &Side,
    flooded: Option<&Side>,
    rate: Option<f64>,
    calls: &Arc<Calls>,
    crowd: &mut Crowd,
    changes: &mut u64,
) -> io::Result<Figures> {
    let flood = flooded.map(|side| Flood::start(side.address, calls, plan.clients, rate)).transpose()?;
    std::thread::sleep(BEGIN);
    let (mut half, mut most, mut last) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..CHANGES {
        std::thread::sleep(PAUSE);
        *changes += 1;
        let times = broadcast(agent, crowd, *changes)?;
        let at = |share: f64| ms(times[((times.len() - 1) as f64 * share) as usize]);
        half.push(at(0.5));
        most.push(at(0.99));
        last.push(at(1.0));
    }
    let posted = flood.map(Flood::end).transpose()?;
    if let Some(side) = flooded {
        wait_until_sent(side)?;
    }
    let calls_per_s = posted.map_or(0.0, |posted| posted.accepted as f64 / posted.took.as_secs_f64());
    Ok(Figures { half_ms: median(half), most_ms: median(most), last_ms: median(last), calls_per_s })
}
