//! Usage events: what calls cost in each mode, what the server of events gets, what an outage of it takes, and whether
//! flags come later while events flood in.

mod disk;
mod fan_out;
mod flood;
mod idle;
mod outage;
mod server;
mod throughput;

use std::io;
use std::time::{Duration, Instant};

use crate::sides::{Setup, Side};
use server::EventServer;

/// How long the agent may take until the server has all events.
const SENT: Duration = Duration::from_secs(600);

/// What is measured.
pub struct Plan {
    /// Streaming SDKs that wait for changes of flags.
    pub sdks: usize,
    /// Connections that make calls.
    pub clients: usize,
    /// Rounds of each comparison.
    pub rounds: usize,
    /// Calls a second, where not as many as possible are made.
    pub rate: f64,
    /// The size of the spool that the outage fills.
    pub spool_bytes: u64,
}

/// Measures all parts, or only one.
pub fn run(setup: &Setup, plan: &Plan, only: Option<&str>) -> io::Result<()> {
    let wanted = |part| only.is_none_or(|only| only == part);
    if wanted("throughput") {
        throughput::run(setup, plan)?;
    }
    if wanted("outage") {
        outage::run(setup, plan)?;
    }
    if wanted("disk") {
        disk::run(setup, plan)?;
    }
    if wanted("fan-out") {
        fan_out::run(setup, plan)?;
    }
    if wanted("idle") {
        idle::run(setup)?;
    }
    Ok(())
}

/// How an agent deals with usage events.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    mode: &'static str,
    /// Whether it has a folder for events.
    has_folder: bool,
    more: &'static [&'static str],
}

const fn way(name: &'static str, mode: &'static str, has_folder: bool, more: &'static [&'static str]) -> Way {
    Way { name, mode, has_folder, more }
}

impl Way {
    /// Starts an agent. Its folder is new.
    fn start(
        &self,
        setup: &Setup,
        server: &EventServer,
        wrapper: &[&str],
        more: &[String],
    ) -> io::Result<Side> {
        let folder = setup.folder.join("events");
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        let mut options = vec!["--events-mode".to_owned(), self.mode.to_owned()];
        if self.mode == "forward" || self.mode == "pseudonymize" {
            options.extend(["--event-uri".to_owned(), server.url()]);
        }
        if self.has_folder {
            options.extend(["--events-directory".to_owned(), folder.display().to_string()]);
        }
        if self.mode == "pseudonymize" {
            let key = setup.folder.join("pseudonym.key");
            options.extend(["--events-pseudonym-key-file".to_owned(), key.display().to_string()]);
        }
        options.extend(self.more.iter().map(|&one| one.to_owned()));
        options.extend_from_slice(more);
        setup.agent_with(wrapper, &options)
    }
}

/// How many events had this fate so far.
fn events(agent: &Side, fate: &str) -> io::Result<u64> {
    let name = format!("featbit_agent_usage_events_total{{environment=\"load:test\",result=\"{fate}\"}}");
    Ok(agent.metric(&name)? as u64)
}

/// Waits until the server has all events that are not dropped or kept.
fn wait_until_sent(agent: &Side) -> io::Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < SENT {
        let ended = ["sent", "dropped", "kept", "withheld", "expired_by_size", "rejected"];
        let ended = ended.iter().map(|fate| events(agent, fate)).sum::<io::Result<u64>>()?;
        if ended >= events(agent, "accepted")? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(io::Error::other("the agent did not send all events"))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
