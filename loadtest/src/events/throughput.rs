//! What calls cost in each mode: the agent has one core, and the clients and the server of events have the others.

use std::collections::BTreeMap;
use std::io;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::flood::{Calls, Flood};
use super::server::EventServer;
use super::{Plan, Way, events, median, wait_until_sent, way};
use crate::compare::{ms, spread};
use crate::sides::Setup;

/// How long calls are made in a round.
const DURATION: Duration = Duration::from_millis(1500);
/// So that nothing is refused: then a round would measure how soon SDKs try again.
const ROOM: [&str; 2] = ["--events-queue-bytes", "4294967296"];
/// Events of a call: as SDKs send them when much happens, and when little does.
const EVENTS: [usize; 2] = [50, 1];

const FORWARD: Way = way("forward, in memory", "forward", false, &ROOM);

/// What is compared, each with the first.
const WAYS: [Way; 6] = [
    way("drop", "drop", false, &[]),
    FORWARD,
    way("forward, gzip", "forward", false, &[ROOM[0], ROOM[1], "--events-gzip", "true"]),
    way("forward, folder", "forward", true, &ROOM),
    way("pseudonymize, in memory", "pseudonymize", false, &ROOM),
    way("local", "local", true, &ROOM),
];

/// What a way took in one round.
#[derive(Clone, Default)]
struct Figures {
    accepted_per_s: f64,
    calls_per_s: f64,
    events_per_cpu_s: f64,
    cpu_us_per_call: f64,
    half_ms: f64,
    requests_per_call: f64,
    bytes_per_event: f64,
    refused: f64,
    cpu_us_by_thread: BTreeMap<String, f64>,
}

/// The name of a row, and its figure.
type Row = (&'static str, fn(&Figures) -> f64);

/// The threads that have to do with events.
const THREADS: [&str; 4] = ["reactor", "events", "events-send", "events-gzip"];

/// Compared with `drop`.
const COSTS: [Row; 5] = [
    ("events/s accepted", |f| f.accepted_per_s),
    ("calls/s accepted", |f| f.calls_per_s),
    ("CPU µs a call, until all is sent", |f| f.cpu_us_per_call),
    ("events for a second of CPU time", |f| f.events_per_cpu_s),
    ("ms to half of the answers", |f| f.half_ms),
];
/// Compared with a request for each call.
const SAVED: [Row; 2] = [
    ("requests to the server a call", |f| f.requests_per_call),
    ("bytes to the server an event", |f| f.bytes_per_event),
];

/// Runs all rounds and prints medians and spreads.
pub fn run(setup: &Setup, plan: &Plan) -> io::Result<()> {
    let all_cores = cores()?;
    let [first, others @ ..] = &all_cores[..] else { return Err(io::Error::other("there is no core")) };
    if !others.is_empty() {
        stay_on(others)?;
    }
    let outcome = EVENTS.iter().try_for_each(|&events| compare(setup, plan, events, first));
    stay_on(&all_cores)?;
    outcome
}

/// The numbers of the cores that this program may use.
fn cores() -> io::Result<Vec<String>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
    let cores = list.trim().split(',').filter_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<usize>().ok()?..=last.parse().ok()?)
    });
    Ok(cores.flatten().map(|core| core.to_string()).collect())
}

/// This thread, and those that it starts from now on, use only these cores.
fn stay_on(cores: &[String]) -> io::Result<()> {
    let mut taskset = Command::new("taskset");
    taskset.args(["-p", "-c", &cores.join(","), &std::process::id().to_string()]).stdout(Stdio::null());
    let is_done = taskset.status()?.success();
    if is_done { Ok(()) } else { Err(io::Error::other("taskset (util-linux) could not choose cores")) }
}

fn compare(setup: &Setup, plan: &Plan, events: usize, core: &str) -> io::Result<()> {
    let calls = Arc::new(Calls::new(events));
    // What FeatBit's agent does: a request for each call.
    let of_one_call =
        ["--events-flush-seconds".into(), "0".into(), "--events-request-events".into(), events.to_string()];
    let ways: Vec<(Way, &[String])> = WAYS
        .into_iter()
        .map(|way| (way, &[][..]))
        .chain([(Way { name: "forward, a request a call", ..FORWARD }, &of_one_call[..])])
        .collect();
    let mut all = vec![Vec::new(); ways.len()];
    for round in 0..plan.rounds {
        // Each way goes first in turn, so that none always runs on a machine that another has warmed up.
        for turn in 0..ways.len() {
            let index = (round + turn) % ways.len();
            let (way, more) = ways[index];
            all[index].push(measure(setup, plan, &way, more, &calls, core)?);
        }
    }
    println!(
        "\ncalls of {events} evaluations in {:.0} bytes, {} connections, the agent on one core, {} rounds: median (min .. max)",
        calls.body_bytes, plan.clients, plan.rounds
    );
    let refused: f64 = all.iter().flatten().map(|figures| figures.refused).sum();
    println!("calls refused in all rounds: {refused}");
    let rows = COSTS.iter().map(|row| (row, 0)).chain(SAVED.iter().map(|row| (row, ways.len() - 1)));
    for ((name, figure), beside) in rows {
        for ((way, _), figures) in
            ways.iter().zip(&all).filter(|(_, figures)| figures.iter().any(|one| figure(one) > 0.0))
        {
            let ratios = figures.iter().zip(&all[beside]).map(|(one, other)| figure(one) / figure(other));
            println!(
                "{name:34} {:28} {:40} ratio {}",
                way.name,
                spread(figures.iter().map(figure)),
                spread(ratios)
            );
        }
    }
    for ((way, _), figures) in ways.iter().zip(&all) {
        let of = |thread: &&str| {
            let all = figures.iter().filter_map(|figures| figures.cpu_us_by_thread.get(*thread).copied());
            let all: Vec<f64> = all.collect();
            (!all.is_empty()).then(|| format!("{thread} {:.1}", median(all)))
        };
        println!(
            "CPU µs a call, by thread           {:28} {}",
            way.name,
            THREADS.iter().filter_map(of).collect::<Vec<_>>().join(", ")
        );
    }
    Ok(())
}

fn measure(
    setup: &Setup,
    plan: &Plan,
    way: &Way,
    more: &[String],
    calls: &Arc<Calls>,
    core: &str,
) -> io::Result<Figures> {
    let server = EventServer::start()?;
    let agent = way.start(setup, &server, &["taskset", "-c", core], more)?;
    // A few calls first, so that one-time costs do not count.
    let first = Flood::start(agent.address, calls, plan.clients, None)?;
    while first.accepted() < 100 {
        std::thread::sleep(Duration::from_millis(1));
    }
    first.end()?;
    wait_until_sent(&agent)?;
    let (before, counts) = (agent.server.threads()?, server.counts());
    let accepted = events(&agent, "accepted")?;
    let flood = Flood::start(agent.address, calls, plan.clients, None)?;
    std::thread::sleep(DURATION);
    let posted = flood.end()?;
    wait_until_sent(&agent)?;
    let (after, then) = (agent.server.threads()?, server.counts());
    let events = events(&agent, "accepted")? - accepted;
    let count = posted.accepted as f64;
    if events != posted.accepted * calls.events as u64 {
        return Err(io::Error::other("the agent did not count the events that it has accepted"));
    }
    let cpu = |(name, (cpu_ns, _)): (&String, &(u64, u64))| {
        let before = before.get(name).map_or(0, |before| before.0);
        (name.clone(), cpu_ns.saturating_sub(before) as f64 / 1000.0 / count)
    };
    let cpu_us_by_thread: BTreeMap<String, f64> = after.iter().map(cpu).collect();
    let cpu_us_per_call: f64 = cpu_us_by_thread.values().sum();
    Ok(Figures {
        accepted_per_s: events as f64 / posted.took.as_secs_f64(),
        calls_per_s: count / posted.took.as_secs_f64(),
        events_per_cpu_s: events as f64 / count * 1e6 / cpu_us_per_call,
        cpu_us_per_call,
        half_ms: posted.times.get(posted.times.len() / 2).copied().map_or(f64::NAN, ms),
        requests_per_call: (then.0 - counts.0) as f64 / count,
        bytes_per_event: (then.1 - counts.1) as f64 / events as f64,
        refused: posted.refused as f64,
        cpu_us_by_thread,
    })
}
