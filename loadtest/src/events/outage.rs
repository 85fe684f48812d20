//! The server of events is away until the spool is full, and comes back: memory, disk and the time to send it all.

use std::io;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::flood::{Calls, Flood};
use super::server::EventServer;
use super::{Plan, events, wait_until_sent, way};
use crate::sides::{Setup, Side};

/// Events of a call.
const EVENTS: usize = 50;
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long a spool may take until it is full.
const FULL: Duration = Duration::from_secs(1800);

/// Measures it once and prints it.
pub fn run(setup: &Setup, plan: &Plan) -> io::Result<()> {
    check_disk(setup, plan.spool_bytes)?;
    let server = EventServer::away()?;
    let calls = Arc::new(Calls::new(EVENTS));
    let way = way("forward, folder", "forward", true, &["--events-retry-seconds", "1"]);
    let more = ["--events-spool-bytes".to_owned(), plan.spool_bytes.to_string()];
    let agent = way.start(setup, &server, &[], &more)?;
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let (pss, cpu) = (agent.server.pss_bytes()?, agent.server.cpu_ns()?);
    println!(
        "\nthe server is away until a spool of {:.0} MiB is full; calls of {EVENTS} evaluations",
        mib(plan.spool_bytes as f64)
    );
    println!("memory before (PSS), MiB                    {:.1}", mib(pss as f64));

    let begun = Instant::now();
    let flood = Flood::start(agent.address, &calls, plan.clients, None)?;
    let most = most_memory(&agent, |agent| {
        if begun.elapsed() > FULL {
            return Err(io::Error::other("the spool did not become full"));
        }
        Ok(events(agent, "expired_by_size")? > 0)
    })?;
    let posted = flood.end()?;
    let filled = begun.elapsed().as_secs_f64();
    let (accepted, expired) = (events(&agent, "accepted")?, events(&agent, "expired_by_size")?);
    let waiting = accepted - expired;
    let on_disk = agent.metric("featbit_agent_usage_events_spool_bytes")?;
    let cpu_us = (agent.server.cpu_ns()? - cpu) as f64 / 1000.0;
    println!("memory meanwhile at most (PSS), MiB         {:.1}", mib(most as f64));
    println!("seconds until it was full                   {filled:.1}");
    println!(
        "calls/s accepted, refused in all            {:.0}, {}",
        posted.accepted as f64 / filled,
        posted.refused
    );
    println!("events that wait; dropped as the oldest     {waiting}; {expired}");
    println!(
        "MiB on the disk, bytes an evaluation        {:.1}, {:.1}",
        mib(on_disk),
        on_disk / waiting as f64
    );
    println!("body bytes an evaluation                    {:.1}", calls.body_bytes / EVENTS as f64);
    println!("CPU ms for 1,000 evaluations                {:.2}", cpu_us / accepted as f64);

    let cpu = agent.server.cpu_ns()?;
    server.listen()?;
    let back = Instant::now();
    while server.counts().0 == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let noticed = back.elapsed().as_secs_f64();
    let begun = Instant::now();
    let most = std::thread::scope(|scope| {
        let sent = scope.spawn(|| wait_until_sent(&agent));
        let most = most_memory(&agent, |_| Ok(sent.is_finished()));
        sent.join().map_err(|_| io::Error::other("a thread panicked"))??;
        most
    })?;
    let drained = begun.elapsed().as_secs_f64();
    let cpu_us = (agent.server.cpu_ns()? - cpu) as f64 / 1000.0;
    let (requests, bytes) = server.counts();
    println!("seconds until the agent noticed its return  {noticed:.1}");
    println!("seconds until the server had all            {drained:.1}");
    println!(
        "events/s, MB/s                              {:.0}, {:.0}",
        waiting as f64 / drained,
        bytes as f64 / 1e6 / drained
    );
    println!("requests                                    {requests}");
    println!("CPU ms for 1,000 evaluations                {:.2}", cpu_us / waiting as f64);
    println!("memory meanwhile at most (PSS), MiB         {:.1}", mib(most as f64));
    println!("memory at its peak (VmHWM), MiB             {:.1}", mib(agent.server.peak_bytes()? as f64));
    std::thread::sleep(Duration::from_secs(2));
    println!(
        "MiB on the disk then, memory (PSS), MiB     {:.1}, {:.1}",
        mib(agent.metric("featbit_agent_usage_events_spool_bytes")?),
        mib(agent.server.pss_bytes()? as f64)
    );
    Ok(())
}

/// Refuses to fill the disk.
fn check_disk(setup: &Setup, spool_bytes: u64) -> io::Result<()> {
    let output = Command::new("df").args(["--output=avail", "-B1"]).arg(&setup.folder).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let free: u64 = text.lines().last().and_then(|line| line.trim().parse().ok()).unwrap_or(0);
    if free / 2 < spool_bytes {
        let folder = setup.folder.display();
        return Err(io::Error::other(format!(
            "{folder} has only {free} bytes free: set TMPDIR or --spool-bytes"
        )));
    }
    Ok(())
}

/// Waits, and returns the most memory that the agent had meanwhile.
fn most_memory(agent: &Side, mut is_over: impl FnMut(&Side) -> io::Result<bool>) -> io::Result<u64> {
    let mut most = 0;
    loop {
        most = most.max(agent.server.pss_bytes()?);
        if is_over(agent)? {
            return Ok(most);
        }
        std::thread::sleep(LOOK);
    }
}
