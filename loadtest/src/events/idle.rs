//! How often an agent wakes that has nothing to do.

use std::io;
use std::time::Duration;

use super::server::EventServer;
use super::way;
use crate::sides::Setup;

/// Until what belongs to the start is over.
const SETTLE: Duration = Duration::from_secs(3);
/// How long it is watched.
const WATCH: Duration = Duration::from_secs(10);

/// Measures each mode once and prints it.
pub fn run(setup: &Setup) -> io::Result<()> {
    println!("\nhow often the threads of an idle agent wake in {} s", WATCH.as_secs());
    for way in [
        way("drop", "drop", false, &[]),
        way("forward, in memory", "forward", false, &[]),
        way("forward, folder", "forward", true, &[]),
        way("local", "local", true, &[]),
    ] {
        let server = EventServer::start()?;
        let agent = way.start(setup, &server, &[], &[])?;
        std::thread::sleep(SETTLE);
        let before = agent.server.threads()?;
        std::thread::sleep(WATCH);
        let after = agent.server.threads()?;
        let waits = |(name, (_, waits)): (&String, &(u64, u64))| {
            let before = before.get(name).map_or(0, |before| before.1);
            format!("{name} {}", waits.saturating_sub(before))
        };
        println!("{:20} {}", way.name, after.iter().map(waits).collect::<Vec<_>>().join(", "));
    }
    Ok(())
}
