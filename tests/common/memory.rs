//! The memory of the agent's process, as the system reports it.

use std::fs;

use super::agent::Agent;

/// Bytes of a megabyte.
pub const MB: usize = 1 << 20;

/// Looks at how far the memory of an agent grows from now on.
#[derive(Debug)]
pub struct Growth {
    pid: u32,
    before: usize,
}

impl Growth {
    /// From now on.
    pub fn of(agent: &Agent) -> Self {
        let pid = agent.pid();
        // Forgets the peak so far (proc(5)).
        fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("the agent's process is ours");
        Self { pid, before: field(pid, "VmRSS:") }
    }

    /// Bytes by which resident memory was beyond its beginning at its peak.
    pub fn peak(&self) -> usize {
        field(self.pid, "VmHWM:").saturating_sub(self.before)
    }

    /// Bytes by which it is beyond it now.
    pub fn now(&self) -> usize {
        field(self.pid, "VmRSS:").saturating_sub(self.before)
    }

    /// Fails if it ever grew by more, and says by how much it did.
    pub fn expect_within(&self, what: &str, bytes: usize) {
        let (peak, now) = (self.peak(), self.now());
        eprintln!(
            "{what}: memory grew by {:.1} MB at most, {:.1} MB now; allowed are {:.1} MB; {:.1} MB before",
            peak as f64 / MB as f64,
            now as f64 / MB as f64,
            bytes as f64 / MB as f64,
            self.before as f64 / MB as f64
        );
        assert!(peak <= bytes, "{what}: memory grew by {peak} bytes, allowed are {bytes}");
    }
}

fn field(pid: u32, name: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the agent runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a field of proc(5)");
    let kib: usize = line.trim().trim_end_matches(" kB").trim().parse().expect("a number");
    kib * 1024
}

/// Lets this process have as many descriptors as it may.
pub fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
