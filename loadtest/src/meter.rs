//! Costs that do not vary from run to run: system calls, counted by strace, and instructions outside the kernel, counted
//! by callgrind.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Counts by name: of each system call, or of instructions.
pub type Counts = BTreeMap<String, u64>;

/// Counts what one process does during a phase.
pub trait Meter {
    /// The command that the process must be started under; empty if none.
    fn wrapper(&self) -> Vec<String>;
    /// Counts what the process does during `phase`.
    fn count(&mut self, pid: u32, phase: &mut dyn FnMut() -> io::Result<()>) -> io::Result<Counts>;
}

/// Counts system calls, of all threads.
pub struct SystemCalls {
    /// Where strace puts its summary.
    pub file: PathBuf,
}

impl Meter for SystemCalls {
    fn wrapper(&self) -> Vec<String> {
        Vec::new()
    }

    fn count(&mut self, pid: u32, phase: &mut dyn FnMut() -> io::Result<()>) -> io::Result<Counts> {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-c", "-U", "calls,name", "-o"]).arg(&self.file).args(["-p", &pid.to_string()]);
        let mut strace = Attached(needed("strace", strace.stderr(Stdio::piped()).spawn())?);
        let mut printed = String::new();
        // The pipe stays open until the end: strace writes more, and would die of SIGPIPE.
        let mut stderr = strace.0.stderr.take().map(BufReader::new);
        if let Some(stderr) = &mut stderr {
            stderr.read_line(&mut printed)?;
        }
        if !printed.contains("attached") {
            return Err(io::Error::other(format!("strace could not attach (it needs root): {printed}")));
        }
        let outcome = phase();
        // On SIGINT, strace detaches and writes its summary.
        kill_process(Pid::from_child(&strace.0), Signal::INT)?;
        strace.0.wait()?;
        outcome?;
        Ok(fs::read_to_string(&self.file)?.lines().filter_map(calls).collect())
    }
}

/// A child that is ended when it is dropped.
struct Attached(Child);

impl Drop for Attached {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::INT);
        let _ = self.0.wait();
    }
}

/// A line of strace's summary.
fn calls(line: &str) -> Option<(String, u64)> {
    let (count, name) = line.trim().split_once(' ')?;
    let name = name.trim();
    (name != "total").then_some((name.to_owned(), count.parse().ok()?))
}

/// Counts instructions outside the kernel.
pub struct Instructions {
    /// Where callgrind puts its profiles: this, and a number for each phase.
    pub file: PathBuf,
    /// Phases so far.
    pub phases: u32,
}

impl Meter for Instructions {
    fn wrapper(&self) -> Vec<String> {
        let out = format!("--callgrind-out-file={}", self.file.display());
        // So that every profile can be read without the others.
        ["valgrind", "--quiet", "--tool=callgrind", "--compress-strings=no", &out].map(str::to_owned).to_vec()
    }

    fn count(&mut self, pid: u32, phase: &mut dyn FnMut() -> io::Result<()>) -> io::Result<Counts> {
        control(pid, "zero")?;
        phase()?;
        control(pid, "dump")?;
        self.phases += 1;
        let mut file = self.file.clone().into_os_string();
        file.push(format!(".{}", self.phases));
        let profile = fs::read_to_string(&file)?;
        let totals = profile.lines().find_map(|line| line.strip_prefix("totals:")?.trim().parse().ok());
        let totals = totals.ok_or_else(|| io::Error::other("no totals in callgrind's profile"))?;
        Ok(BTreeMap::from([("instructions".to_owned(), totals)]))
    }
}

/// Sends a command to the valgrind that runs the process.
fn control(pid: u32, what: &str) -> io::Result<()> {
    let mut vgdb = Command::new("vgdb");
    vgdb.arg(format!("--pid={pid}")).arg(what).stdout(Stdio::null()).stderr(Stdio::null());
    let status = needed("valgrind", vgdb.status())?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("vgdb {what}: {status}"))) }
}

fn needed<T>(package: &str, outcome: io::Result<T>) -> io::Result<T> {
    outcome.map_err(|error| io::Error::other(format!("{package} (Debian's package) is needed: {error}")))
}

#[cfg(test)]
mod tests {
    use super::calls;

    #[test]
    fn lines_of_a_summary_are_counts_and_names() {
        assert_eq!(calls("     1002 accept4"), Some(("accept4".to_owned(), 1002)));
        for line in ["    calls syscall", "--------- ----------------", "     4012 total", ""] {
            assert_eq!(calls(line), None);
        }
    }
}
